"""Assignments through nbgrader: releases hide what they must, and every kept answer has the points that it should."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import assignments  # noqa: E402
from assignments import Course, Submission  # noqa: E402

NAMES = assignments.names()
KEPT = {name: assignments.submissions(name) for name in NAMES}


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    course = Course(tmp_path_factory.mktemp("course"))
    course.make(NAMES, salt="tests")
    # Half a minute is long for any cell of ours, and short enough for the endless loop below.
    config = course.folder / "nbgrader_config.py"
    config.write_text(config.read_text().replace("timeout = 240", "timeout = 30"))
    return course


def ours(course, name):
    return nbformat.read(course.folder / "source" / name / f"{name}.ipynb", as_version=4)


def full(course, name, **cells):
    return assignments.answered(name, course.release(name), ours(course, name), Submission("", cells))


def points(course, name, student):
    return {test: got for test, (got, _) in course.scores(name, student).items()}


def most(course, name):
    return {test: cell.metadata["nbgrader"]["points"] for test, cell in cells(course, name).items()}


def cells(course, name):
    return assignments.cells(ours(course, name), "grade")


# --- sources and releases -----------------------------------------------------------------------------------


def test_there_is_an_assignment_for_each_question():
    assert NAMES == ["few-steps", "guidance", "landscape", "negative-prompts"]


@pytest.mark.parametrize("name", NAMES)
def test_enough_answers_are_kept(name):
    wrong = [s for s in KEPT[name].values() if s.loses]
    assert len(wrong) >= 5 and len(KEPT[name]) - len(wrong) >= 2
    assert all(s.cells for s in KEPT[name].values())
    lost = {test for s in wrong for test in s.loses}
    tests = assignments.cells(assignments.source(name), "grade")
    hidden = {test for test, cell in tests.items() if "BEGIN HIDDEN" in cell.source}
    assert hidden <= lost, f"no kept answer fails {sorted(hidden - lost)}"


@pytest.mark.parametrize("name", NAMES)
def test_points_are_what_the_text_says(name):
    notebook = assignments.source(name)
    given = [c.metadata["nbgrader"]["points"] for c in assignments.cells(notebook, "grade").values()]
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert re.search(rf"minutes, {sum(given):g} points", " ".join(text.split()))
    sections = [int(p) for p in re.findall(r"^## \d+\. .*\((\d+) points\)", text, re.M)]
    assert sum(sections) == sum(given)


@pytest.mark.parametrize("name", NAMES)
def test_a_release_that_shows_too_much_is_refused(course, name):
    file = course.folder / "release" / name / f"{name}.ipynb"
    kept = file.read_text(encoding="utf-8")
    course.check(name)
    try:
        notebook = course.release(name)
        hidden = next(c.source for c in ours(course, name).cells if "BEGIN HIDDEN" in c.source)
        line = hidden.split("### BEGIN HIDDEN TESTS\n")[1].splitlines()[0]
        notebook.cells[0].source += f"\n{line}\n" + "\n".join(
            s for s in hidden.splitlines() if len(s.strip()) > 12 and "HIDDEN" not in s
        )
        nbformat.write(notebook, file)
        with pytest.raises(RuntimeError, match="the release contains"):
            course.check(name)
    finally:
        file.write_text(kept, encoding="utf-8")


def test_constants_follow_from_the_salt():
    text = 'n = {{ int("n", 3, 900) }}, k = {{ choice("k", [1, 2, 3]) }}, again {{ int("n", 3, 900) }}'
    one, two = assignments.salted(text, "a"), assignments.salted(text, "b")
    assert one == assignments.salted(text, "a") != two
    n, again = re.findall(r"(?:n =|again) (\d+)", one)
    assert n == again and 3 <= int(n) <= 900
    with pytest.raises(ValueError, match="float.*allowed: int"):
        assignments.salted('{{ float("n", 1, 2) }}', "a")


def test_a_course_with_answers_in_it_is_not_made_anew(course):
    name = NAMES[0]
    course.submit(name, "early", course.release(name))
    with pytest.raises(RuntimeError, match="holds answers"):
        course.make([name], salt="another")


# --- grades -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_our_solution_has_every_point_and_an_empty_release_none(course, name):
    assert assignments.mistakes(course, name, "ours", Submission("the solution")) == []
    assert assignments.nothing(course, name) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_answer_loses_the_right_points(course, name):
    student = next(key for key, s in KEPT[name].items() if s.loses)
    assert assignments.mistakes(course, name, student, KEPT[name][student]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name, student", [(name, student) for name in NAMES for student in KEPT[name]])
def test_every_kept_answer(course, name, student):
    assert assignments.mistakes(course, name, student, KEPT[name][student]) == []


@pytest.mark.slow
@pytest.mark.parametrize("salt", ["", "2027", "group b"])
def test_the_solution_is_right_for_other_salts(tmp_path, salt):
    course = Course(tmp_path)
    course.make(NAMES, salt)
    for name in NAMES:
        assert assignments.mistakes(course, name, "ours", Submission("the solution")) == []


# --- what else students hand in -------------------------------------------------------------------------------


def first_answer(course, name):
    return next(iter(assignments.cells(ours(course, name), "solution")))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_endless_loop_costs_the_points_of_its_cell(course, name):
    answer = first_answer(course, name)
    course.submit(name, "loop", full(course, name, **{answer: "while True:\n    pass"}))
    assert course.autograde(name, "loop")["success"]
    got, all_points = points(course, name, "loop"), most(course, name)
    assert 0 < sum(got.values()) < sum(all_points.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_kernel_that_dies_is_reported_and_gets_nothing(course, name):
    answer = first_answer(course, name)
    course.submit(name, "crash", full(course, name, **{answer: "import os\nos._exit(1)"}))
    done = course.autograde(name, "crash")
    assert not done["success"] and "Kernel died" in done["log"]
    assert sum(points(course, name, "crash").values()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_deleted_test_cell_gets_no_points(course, name):
    test = list(cells(course, name))[-1]
    notebook = full(course, name)
    notebook.cells = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") != test]
    course.submit(name, "deleted", notebook)
    assert course.autograde(name, "deleted")["success"]
    assert points(course, name, "deleted") == {**most(course, name), test: 0}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_altered_test_cell_is_put_back(course, name):
    student, wrong = next((key, s) for key, s in KEPT[name].items() if s.loses)
    notebook = full(course, name, **wrong.cells)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = "assert True"
    course.submit(name, f"altered-{student}", notebook)
    assert course.autograde(name, f"altered-{student}")["success"]
    lost = {test: p - wrong.loses.get(test, 0) for test, p in most(course, name).items()}
    assert points(course, name, f"altered-{student}") == lost


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_renamed_file_is_named_in_the_log(course, name):
    course.submit(name, "renamed", full(course, name), f"{name}-final.ipynb")
    done = course.autograde(name, "renamed")
    assert not done["success"] and f"{name}-final.ipynb" in done["log"]
    assert sum(points(course, name, "renamed").values()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_feedback_says_what_was_wrong(course, name):
    student, wrong = next((key, s) for key, s in KEPT[name].items() if s.loses)
    assert assignments.mistakes(course, name, student, wrong) == []
    assert course.api().generate_feedback(name, student, force=True)["success"]
    page = (course.folder / "feedback" / student / name / f"{name}.html").read_text(encoding="utf-8")
    assert "AssertionError" in page and "Score:" in page


# --- the page for instructors, as it stands -------------------------------------------------------------------


@pytest.mark.slow
def test_the_exchange_carries_work_there_and_feedback_back(tmp_path):
    """The commands of "With JupyterHub", one user being both instructor and student."""
    name, root, home = "few-steps", tmp_path / "exchange", tmp_path / "student"
    root.mkdir(mode=0o777)
    root.chmod(0o777)
    home.mkdir()
    course = Course(tmp_path / "course")
    course.make([name], salt="hub")

    def nbgrader(where, *words):
        program = str(Path(sys.executable).with_name("nbgrader"))
        done = subprocess.run(
            [program, *words, f"--Exchange.root={root}"],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    there = ("--course", "diffusion-answered")
    nbgrader(course.folder, "release_assignment", name)
    nbgrader(home, "fetch_assignment", name, *there)
    fetched = nbformat.read(home / name / f"{name}.ipynb", as_version=4)
    solved = assignments.answered(name, fetched, ours(course, name), Submission("the solution"))
    nbformat.write(solved, home / name / f"{name}.ipynb")
    nbgrader(home, "submit", name, *there)
    nbgrader(course.folder, "collect", name)
    (student,) = (path.name for path in (course.folder / "submitted").iterdir())
    nbgrader(course.folder, "autograde", name)
    assert points(course, name, student) == most(course, name)
    nbgrader(course.folder, "generate_feedback", name)
    nbgrader(course.folder, "release_feedback", name)
    nbgrader(home, "fetch_feedback", name, *there)
    assert list((home / name / "feedback").rglob("*.html"))
    nbgrader(course.folder, "export")
    lines = (course.folder / "grades.csv").read_text().splitlines()
    assert len(lines) == 2 and ",24.0,24.0" in lines[1]
