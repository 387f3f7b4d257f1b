"""A course through nbgrader: made whole or not at all, graded without stopping, answered, exported."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import lab  # noqa: E402
from classroom import course as course_module  # noqa: E402
from classroom import feedback, pairs, source  # noqa: E402
from classroom.course import Course, CourseError  # noqa: E402
from classroom.source import Submission  # noqa: E402

import assignments  # noqa: E402

NAME = "landscape"  # the quickest to grade
SALT = "autumn"


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Course:
    course = Course(tmp_path_factory.mktemp("course") / "mine")
    course.make([NAME], SALT)
    return course


def solved(course, name=NAME, **cells):
    return source.answered(name, course.release(name), course.ours(name), Submission("", cells))


def points(course, student, name=NAME):
    return sum(got or 0 for got, _ in course.scores(name, student).values())


# --- made -----------------------------------------------------------------------------------------------------


def test_a_release_hides_what_it_must(course):
    course.check(NAME)
    file = course.folder / "release" / NAME / f"{NAME}.ipynb"
    kept = file.read_text(encoding="utf-8")
    try:
        for text in ("n = {{ }} ### BEGIN SOLUTION", "    return prompts * text + rows * denoiser + decoder"):
            notebook = course.release(NAME)
            notebook.cells[0].source += f"\n{text}\n"
            nbformat.write(notebook, file)
            with pytest.raises(CourseError, match="the release contains"):
                course.check(NAME)
    finally:
        file.write_text(kept, encoding="utf-8")


def test_made_again_it_keeps_settings_salt_and_release(course):
    settings = course.folder / "nbgrader_config.py"
    settings.write_text(settings.read_text() + '\nc.Exchange.root = "/srv/exchange"\n')
    release = (course.folder / "release" / NAME / f"{NAME}.ipynb").read_bytes()
    assert course.make([NAME], None) == [f"{NAME}: as it was"]
    assert course.state()["salt"] == SALT and "/srv/exchange" in settings.read_text()
    assert (course.folder / "release" / NAME / f"{NAME}.ipynb").read_bytes() == release
    with pytest.raises(CourseError, match=f"salt is 'spring'; allowed: '{SALT}'"):
        course.make([NAME], "spring")


def test_a_release_that_is_out_is_not_replaced_unless_told(course, monkeypatch):
    monkeypatch.setattr(course_module, "source", lambda name, salt: source.source(name, "another text"))
    with pytest.raises(CourseError, match="is released, and would change; allowed: --replace"):
        course.make([NAME], None)
    course.submit(NAME, "early", course.release(NAME))
    try:
        with pytest.raises(CourseError, match="holds answers"):
            course.make([NAME], None, replace=True)
    finally:
        shutil.rmtree(course.folder / "submitted")


def test_a_failure_leaves_no_half_course(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(course_module.nbformat, "write", full)
    with pytest.raises(CourseError, match="not made, and is as it was: .*No space left"):
        Course(tmp_path / "new").make([NAME], "x")
    assert list(tmp_path.iterdir()) == []


def test_bad_places_are_refused_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    for place, why in (
        (tmp_path / "file", "a file; allowed: a folder"),
        (tmp_path / "full", "holds other files"),
        (ROOT, "a folder of its own"),
        (ROOT / "assignments" / "x", "a folder of its own"),
    ):
        with pytest.raises(CourseError, match=why):
            Course(place).make([NAME], "x")
    monkeypatch.setattr(course_module.os, "access", lambda *a: False)
    with pytest.raises(CourseError, match="where you may write"):
        Course(tmp_path / "locked").make([NAME], "x")
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Course("~/x").folder == tmp_path.resolve() / "x"


def test_the_program_ends_with_a_line_and_2(tmp_path, capsys):
    for words, why in (
        (["make", "--course", str(ROOT / "README.md")], "a file; allowed"),
        (["autograde", "--course", str(tmp_path)], "no course; allowed"),
        (["feedback", "--course", str(tmp_path)], "no course; allowed"),
    ):
        assert assignments.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and why in error and error.count("\n") == 1
    with pytest.raises(SystemExit):
        assignments.main(["make", "nothing"])
    assert "no assignment named nothing" in capsys.readouterr().err


@pytest.mark.parametrize("salt", ['a "quoted" word', "a $HOME and $(date)", "it's", "数 `ls`"])
def test_make_hands_every_salt_over_as_it_is(salt, tmp_path):
    """`make assignments` with a shell's own signs in the salt and a tilde in the folder; no course is made here."""
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$ASSIGNMENTS_SALT" "$@"\n')
    program.chmod(0o755)
    words = [
        "make",
        "-s",
        "-o",
        ".venv/.installed",
        f"PY={program}",
        f"SALT={salt}",
        "COURSE=~/my course",
    ]
    done = subprocess.run([*words, "assignments"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == salt and said[-2:] == ["--course", "~/my course"]


@pytest.mark.parametrize("words, folder", [([], "''"), (["COURSE=~/x y"], "~/x y")])
def test_make_lab_shows_a_course_wherever_it_is(words, folder, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/.installed", f"PY={program}", *words, "lab"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == folder.strip("'"), done.stderr
    (tmp_path / "x y").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(lab.os, "geteuid", lambda: 0)
    made, where = lab.command("~/x y")
    assert where == (tmp_path / "x y").resolve() and "--allow-root" in made
    monkeypatch.setattr(lab.os, "geteuid", lambda: 1000)
    made, where = lab.command("")
    assert where == ROOT and "--allow-root" not in made and "--LabApp.default_url=/lab/tree/notebooks" in made
    with pytest.raises(ValueError, match="COURSE is .*; allowed: a folder"):
        lab.command("~/nothing")


# --- graded -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graded(course, tmp_path_factory):
    """A class in which each but two did something odd, graded in one go. What the log says."""
    hand_in = course.submit
    hand_in(NAME, "ours", solved(course))
    hand_in(NAME, "zoe", course.release(NAME), f"{NAME}-final.ipynb")
    pasted = solved(course)
    cell = next(c for c in pasted.cells if c.get("id") == "rows")
    pasted.cells.append(nbformat.from_dict(dict(cell)))
    file = course.folder / "submitted" / "anna" / NAME / f"{NAME}.ipynb"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(pasted))  # as JupyterLab leaves it, without a check
    wrong = solved(course, rows="def rows(*a, **k):\n    print('<script>x</script>')\n    return '<b>7</b>'")
    wrong.cells.append(nbformat.v4.new_markdown_cell("<script>alert(1)</script>"))
    hand_in(NAME, "mark", wrong)
    broken = course.folder / "submitted" / "bob" / NAME
    broken.mkdir(parents=True)
    (broken / f"{NAME}.ipynb").write_text("")
    (course.folder / "submitted" / "carl" / NAME).mkdir(parents=True)
    before = {p: p.read_bytes() for p in (course.folder / "submitted").rglob("*.ipynb")}
    missing = course.autograde_all(NAME)
    assert missing == 0 and before == {
        p: p.read_bytes() for p in (course.folder / "submitted").rglob("*.ipynb")
    }
    return (course.folder / "grading.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_nothing_stops_the_class(course, graded):
    assert {s: points(course, s) for s in course.students(NAME)} == {
        "ours": 22, "anna": 22, "mark": 19, "zoe": 0, "bob": 0, "carl": 0,
    }  # fmt: skip
    for line in (
        f"zoe, {NAME}: the file is called '{NAME}-final.ipynb'",
        f"anna, {NAME}: the cell of 'rows' was there twice",
        f"bob, {NAME}: the file is no notebook",
        f"carl, {NAME}: there is no {NAME}.ipynb",
        f"ours, {NAME}: 22 of 22 points",
    ):
        assert line in graded


@pytest.mark.slow
def test_feedback_names_the_question_and_is_escaped(course, graded):
    page = feedback.write(course, NAME, "mark").read_text(encoding="utf-8")
    assert "19 of 22 points" in page and "2. Work for a picture: 2 of 5 points" in page
    assert "rows guided" in page and "<script" not in page and "<b>7" not in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    with pytest.raises(CourseError, match="not graded yet"):
        feedback.write(course, NAME, "nobody")
    assert course.api().generate_feedback(NAME, "mark", force=True)["success"]
    page = (course.folder / "feedback" / "mark" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in page, "nbgrader's own page lets no markup of a student's act"


def test_formulas_show_offline():
    for name in source.names():
        for cell in source.source(name, SALT).cells:
            if cell.cell_type == "markdown":
                made = feedback.prose(cell.source)
                assert "$" not in re.sub(r'alt="[^"]*"', "", made).replace("\\$", ""), (
                    f"{name}: {cell.source}"
                )
                for code in re.findall(r"<code>(.*?)</code>", made):
                    assert not code.startswith("\\"), f"{name}: {code} is not drawn"
    assert 'alt="a &lt; b"' in feedback.formula("a < b")
    assert feedback.prose("<img src=x onerror=y>") == "<p>&lt;img src=x onerror=y&gt;</p>\n"


def test_equal_answers_are_found_under_other_names(course, tmp_path, monkeypatch):
    own = "def rows(steps, branches, evaluations=1, first=0, last=None):\n    '''mine'''\n    q = 0\n" \
          "    for k in range(steps):\n        q += branches  # count\n    return q * evaluations + 0"  # fmt: skip
    copied = (
        own.replace("q", "total")
        .replace("mine", "yours")
        .replace("range( steps )", "range(steps)")
        .replace(" k ", " i ")
    )
    other = own.replace("+ 0", "- 0")
    assert pairs.normalised(own) == pairs.normalised(copied) != pairs.normalised(other)
    mine = Course(tmp_path)
    shutil.copytree(course.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("submitted"))
    for student, text in (("one", own), ("two", copied), ("three", other), ("four", None)):
        mine.submit(NAME, student, solved(course, **({"rows": text} if text else {})))
    assert pairs.pairs(mine, NAME) == [("one", "two", ["rows"], 1)]
    assert pairs.report(mine, NAME) == [f"{NAME}: one and two: 1 of 1 answers are equal: rows"]


# --- the page for instructors, as it stands ---------------------------------------------------------------------


@pytest.mark.slow
def test_from_clone_to_grades_by_the_page_alone(tmp_path):
    """The commands of the page, in a folder outside the clone: make, hand in, grade, feedback, pairs, export."""
    folder = tmp_path / "my course"
    env = {
        **os.environ,
        "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }

    def run(*words, where=ROOT):
        done = subprocess.run(words, cwd=where, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        return done.stdout

    program = ("python", str(ROOT / "scripts" / "assignments.py"))
    run(*program, "make", NAME, "--salt", "week 1", "--course", str(folder))
    made = Course(folder)
    made.submit(NAME, "ours", solved(made))
    assert "ours, landscape: 22 of 22 points" in run(*program, "autograde", NAME, "--course", str(folder))
    assert "ours" in run(*program, "feedback", NAME, "--course", str(folder))
    assert "no two of 1" in run(*program, "pairs", NAME, "--course", str(folder))
    run("nbgrader", "export", where=folder)
    lines = (folder / "grades.csv").read_text().splitlines()
    assert len(lines) == 2 and ",22.0,22.0" in lines[1]
    # nbgrader's own command works too, with the judge in the place of a kernel.
    run("nbgrader", "autograde", NAME, "--force", where=folder)
    assert points(made, "ours") == 22


@pytest.mark.slow
def test_the_exchange_carries_work_there_and_feedback_back(tmp_path):
    """The commands of "With JupyterHub", one user being both instructor and student."""
    name, root, home = NAME, tmp_path / "exchange", tmp_path / "student"
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
    nbformat.write(
        source.answered(name, fetched, course.ours(name), Submission("the solution")),
        home / name / f"{name}.ipynb",
    )
    nbgrader(home, "submit", name, *there)
    nbgrader(course.folder, "collect", name)
    (student,) = (path.name for path in (course.folder / "submitted").iterdir())
    assert course.autograde_all(name) == 0 and points(course, student) == 22
    feedback.write(course, name, student)
    nbgrader(course.folder, "release_feedback", name)
    nbgrader(home, "fetch_feedback", name, *there)
    assert list((home / name / "feedback").rglob("*.html"))
