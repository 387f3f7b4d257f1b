"""Assignments: releases hide what they must, and every answer has the points that it deserves."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from classroom import attacks, checks, mutants, source  # noqa: E402
from classroom.judge import Host, Paper  # noqa: E402
from classroom.source import Submission  # noqa: E402

NAMES = source.names()
KEPT = {name: source.kept(name, checks.SALT) for name in NAMES}


@pytest.fixture(scope="module")
def host():
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def benches(host):
    made = {}

    def bench(name, salt=checks.SALT):
        if (name, salt) not in made:
            made[name, salt] = checks.Bench(name, host, salt)
        return made[name, salt]

    return bench


# --- sources ------------------------------------------------------------------------------------------------


def test_there_is_an_assignment_for_each_question():
    assert {"few-steps", "guidance", "landscape", "negative-prompts"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_enough_answers_are_kept(name):
    wrong = [s for s in KEPT[name].values() if s.loses]
    assert len(wrong) >= 5 and len(KEPT[name]) - len(wrong) >= 2
    assert all(s.cells for s in KEPT[name].values())
    lost = {test for s in wrong for test in s.loses}
    tests = source.tests(source.source(name))
    hidden = {test for test, cell in tests.items() if "BEGIN HIDDEN" in cell.source}
    assert hidden <= lost, f"no kept answer fails {sorted(hidden - lost)}"


@pytest.mark.parametrize("name", NAMES)
def test_points_are_what_the_text_says(name):
    notebook = source.source(name)
    given = [c.metadata["nbgrader"]["points"] for c in source.cells(notebook, "grade").values()]
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert re.search(rf"minutes, {sum(given):g} points", " ".join(text.split()))
    sections = [int(p) for p in re.findall(r"^## \d+\. .*\((\d+) points\)", text, re.M)]
    assert sum(sections) == sum(given)


@pytest.mark.parametrize("name", NAMES)
def test_every_question_says_what_it_gives(name):
    """Each answer has a test, each assert of a released test a message, and the first code cell installs."""
    notebook = source.source(name)
    assert all(answer.tests for answer in Paper.read(notebook).answers)
    for test, cell in source.tests(notebook).items():
        for line in cell.source.splitlines():
            if line.startswith("assert "):
                assert ", " in line and ('"' in line or line.endswith("(")), (
                    f"{name}, {test}: {line} says nothing"
                )
    first = next(c for c in notebook.cells if c.cell_type == "code")
    assert "%pip install" in first.source and "find_spec" in first.source


def test_constants_follow_from_the_salt():
    table = {
        "k": [1, 2, 3],
        "side": [{"text": "left", "code": "0"}, {"text": "right", "code": "1"}],
        "m": "3..900",
    }
    text = 'n = {{ int("n", 3, 900) }}, again {{ int("n", 3, 900) }}, {{ k }} {{ side.text }} {{ side.code }} {{ m }}'
    made = {salt: source.salted(text, salt, table) for salt in map(str, range(20))}
    assert made["3"] == source.salted(text, "3", table) and len(set(made.values())) > 15
    for line in made.values():
        n, again, k, side, code, m = re.fullmatch(
            r"n = (\d+), again (\d+), (\d) (\w+) (\d) (\d+)", line
        ).groups()
        assert (
            n == again
            and 3 <= int(n) <= 900
            and (side, code) in (("left", "0"), ("right", "1"))
            and int(m) >= 3
        )
    with pytest.raises(ValueError, match="float.*allowed: int.*k, side, m"):
        source.salted('{{ float("n", 1, 2) }}', "a", table)
    with pytest.raises(ValueError, match="k is .*allowed: LOW..HIGH"):
        source.salted("{{ k }}", "a", {"k": [1]})


@pytest.mark.parametrize("name", NAMES)
def test_a_salt_changes_what_students_see(name):
    """At least five of what the salt chooses stand in the release, in code and in answers."""
    ours = source.source(name, "a")
    plain = source.emptied(ours, "raise NotImplementedError()")
    body = (source.SOURCES / f"{name}.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    released = re.sub(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n.*?### END \1", "", body, flags=re.S)
    solutions = "".join(re.findall(r"### BEGIN SOLUTION\n.*?### END SOLUTION", body, re.S))

    def used(text):
        return {n for n in source.salts(name) if re.search(rf"\{{\{{ {n}(\.\w+)? \}}\}}", text)}

    assert len(used(released)) >= 5 and len(used(solutions)) >= 5
    texts = {"\n".join(c.source for c in source.source(name, salt).cells) for salt in "abcdefgh"}
    assert len(texts) == 8, "two of eight salts give one assignment"
    assert "BEGIN" not in "".join(c.source for c in plain.cells)


# --- points -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_our_solution_has_every_point_and_an_empty_release_none(benches, name):
    assert benches(name).mistakes("ours", Submission("the solution")) == []
    assert benches(name).empty() == []


@pytest.mark.parametrize("name", NAMES)
def test_one_wrong_and_one_right_answer(benches, name):
    for wrong in (True, False):
        key = next(key for key, s in KEPT[name].items() if bool(s.loses) == wrong)
        assert benches(name).mistakes(key, KEPT[name][key]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name, student", [(name, student) for name in NAMES for student in KEPT[name]])
def test_every_kept_answer(benches, name, student):
    assert benches(name).mistakes(student, KEPT[name][student]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("salt", ["", "2027", "group b"])
def test_every_kept_answer_for_other_salts(benches, name, salt):
    bench = benches(name, salt)
    found = bench.mistakes("ours", Submission("the solution"))
    for key, submission in source.kept(name, salt).items():
        found += bench.mistakes(key, submission)
    assert found == []


def test_messages_name_what_was_wrong(benches):
    bench = benches("few-steps")
    cells = {
        "forward-jump": "def forward_jump(x_s, noise, a_t, a_s):\n    return np.sqrt(a_t) * x_s",
        "posterior": "def posterior(x_t, x0, a_t, a_s):\n    return x0",
        "fewest": "1 / 0",
        "statements": "answers = {}",
    }
    verdict = bench.judge.grade(bench.notebook(Submission("", cells)))
    said = {test: outcome.message for test, outcome in verdict.outcomes.items()}
    assert said["forward-jump-twice"] == "forward_jump raised NameError: name 'np' is not defined"
    assert "unpack" in said["posterior-at-the-end"]
    assert (
        said["fewest-steps"]
        == "there is no `fewest` to test: the cell raised ZeroDivisionError: division by zero"
    )
    assert said["statements-judged"] == "there is no `statements` to test: it is not set"


# --- mutants ------------------------------------------------------------------------------------------------


def test_operators_yield_what_they_say():
    made = list(mutants.mutants("def f(a, b):\n    return sqrt(1 - a) if a < b else -a"))
    for text in (
        "def f(a, b):\n    return sqrt(1 + a) if a < b else -a",
        "def f(a, b):\n    return 1 - a if a < b else -a",
        "def f(a, b):\n    return sqrt(1 - a) if a <= b else -a",
        "def f(a, b):\n    return sqrt(1 - b) if a < b else -a",
        "def f(a, b):\n    return sqrt(2 - a) if a < b else -a",
        "def f(a, b):\n    return sqrt(1 - a) if a < b else a",
    ):
        assert text in made
    assert len(made) == len(set(made)) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_mutants(benches, host, name):
    """Two mutants and all variants of the first answer; `make test-all` grades all of them."""
    first = Paper.read(source.source(name)).answers[0].id
    total = mutants.account(name, host, most=2, answers=[first], say=lambda _: None)
    assert total["wrong"] == [] and total["mutants"] >= 1 and total["variants"] >= 10


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_mutants_lose_their_own_points(host, name):
    total = mutants.account(name, host, say=lambda _: None)
    assert total["mutants"] >= 25 and total["kept"] == total["variants"], total["wrong"]
    assert total["caught"] >= 0.98 * total["mutants"], total["wrong"]


@pytest.mark.parametrize("name", NAMES)
def test_equivalent_mutants_are_mutants_and_have_a_reason(name):
    answers = {a.id: a for a in Paper.read(source.source(name, mutants.SALT)).answers}
    for answer, rows in mutants.equivalent(name).items():
        lines = {mutants.line_of(answers[answer].source, m) for m in mutants.mutants(answers[answer].source)}
        assert set(rows) <= lines, set(rows) - lines
        assert all(len(why) > 10 for why in rows.values())


# --- attacks ------------------------------------------------------------------------------------------------

ATTACKS = attacks.kept()
FEW = ["answers-read-from-the-test", "always-equal", "the-process-ends", "the-gradebook", "the-clone-run"]


@pytest.fixture(scope="module")
def boxed():
    bench = attacks.bench("auto")
    yield bench
    bench.judge.host.stop()


@pytest.fixture(scope="module")
def unboxed():
    bench = attacks.bench("none")
    yield bench
    bench.judge.host.stop()


def test_twenty_attacks_are_kept():
    assert len(ATTACKS) >= 20
    assert {"cells-emptied-as-trees", "cells-emptied-after-input", *FEW} <= set(ATTACKS)


@pytest.mark.parametrize("key", FEW)
def test_an_attack_gains_nothing(boxed, key):
    assert attacks.gained(boxed, ATTACKS[key], after=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", [k for k in ATTACKS if k not in FEW])
def test_every_attack_gains_nothing(boxed, key):
    assert attacks.gained(boxed, ATTACKS[key]) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ATTACKS)
def test_the_boundary_alone_keeps_the_points(unboxed, key):
    if ATTACKS[key].needs != "process":
        pytest.skip(f"{ATTACKS[key].needs}: without a sandbox a process may read what its owner may")
    assert attacks.gained(unboxed, ATTACKS[key]) == []
