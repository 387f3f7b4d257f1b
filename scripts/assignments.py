"""Graded assignments: from one source with solutions to a course folder that nbgrader works on.

    python scripts/assignments.py make [--salt TEXT] [--course FOLDER] [name ...]
    python scripts/assignments.py grade [name ...] [--all]   grade the kept submissions and compare the points

A source is assignments/NAME.md, a MyST notebook. Tags say what nbgrader makes of a cell:

    answer:NAME         a student's cell; what stands between BEGIN SOLUTION and END SOLUTION is taken out
    test:NAME:POINTS    a graded cell; what stands between BEGIN HIDDEN TESTS and END HIDDEN TESTS is taken out
    locked              text or code that a student cannot change

`{{ int("name", low, high) }}` and `{{ choice("name", [...]) }}` stand for constants that follow from the salt, so
that two classes have different numbers, and one class the same at every grading.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
SOURCES, SUBMISSIONS = ROOT / "assignments", ROOT / "assignments" / "submissions"
EMPTY = "raise NotImplementedError()  # your answer"
SECRETS = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")
CONFIG = """\
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "diffusion-answered"
c.ClearSolutions.code_stub = {{"python": {empty!r}}}
c.ExecutePreprocessor.timeout = 240  # seconds a cell: an endless loop ends as a failed cell
"""


@dataclass(frozen=True)
class Submission:
    """A kept answer: the student's cells that differ from ours, and the points that each test takes off."""

    why: str
    cells: dict[str, str] = field(default_factory=dict)
    loses: dict[str, float] = field(default_factory=dict)


def names() -> list[str]:
    return sorted(path.stem for path in SOURCES.glob("*.md") if path.stem != "README")


# --- source ---------------------------------------------------------------------------------------------------


def salted(text: str, salt: str) -> str:
    """`text` with every {{ int(...) }} and {{ choice(...) }} replaced by what the salt and the name give."""

    def value(match: re.Match) -> str:
        call = ast.parse(match[1], mode="eval").body
        kind, arguments = call.func.id, [ast.literal_eval(a) for a in call.args]
        number = int.from_bytes(hashlib.sha256(f"{salt}\n{arguments[0]}".encode()).digest()[:8], "big")
        if kind == "int":
            _, low, high = arguments
            return str(low + number % (high - low + 1))
        if kind == "choice":
            return str(arguments[1][number % len(arguments[1])])
        raise ValueError(f"{match[0]} is not known; allowed: int(name, low, high), choice(name, [...])")

    return re.sub(r"\{\{ (.*?) \}\}", value, text)


def source(name: str, salt: str = "") -> NotebookNode:
    """The instructor's notebook. Raises ValueError for a tag that it does not know, or an id used twice."""
    notebook = jupytext.reads(
        salted((SOURCES / f"{name}.md").read_text(encoding="utf-8"), salt), fmt="md:myst"
    )
    notebook.metadata = NotebookNode({"kernelspec": notebook.metadata["kernelspec"]})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen = set()
    for number, cell in enumerate(notebook.cells):
        (tag,) = cell.metadata.get("tags", []) or ["text"]
        kind, _, rest = tag.partition(":")
        grade_id, _, points = rest.partition(":")
        if kind not in ("answer", "test", "locked", "text") or (kind == "test") != bool(points):
            raise ValueError(f"{name}: the tag {tag!r}; allowed: answer:NAME, test:NAME:POINTS, locked")
        mark = {"schema_version": 3, "grade": kind == "test", "solution": kind == "answer", "task": False}
        mark |= {"locked": kind in ("test", "locked")}
        if kind == "test":
            mark["points"] = float(points)
        if kind != "text":
            mark["grade_id"] = grade_id or f"locked-{number}"
            if mark["grade_id"] in seen:
                raise ValueError(f"{name}: {mark['grade_id']!r} is used twice")
            seen.add(mark["grade_id"])
        cell.metadata = NotebookNode({"nbgrader": mark} if kind != "text" else {})
        cell["id"] = mark.get("grade_id", f"text-{number}")
    return notebook


def cells(notebook: NotebookNode, kind: str) -> dict[str, NotebookNode]:
    """The cells that nbgrader marks as "grade" or "solution", by their id."""
    marked = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get(kind)]
    return {c.metadata["nbgrader"]["grade_id"]: c for c in marked}


# --- course ---------------------------------------------------------------------------------------------------


class Course:
    """A folder as nbgrader wants it: source/, release/, submitted/, autograded/, feedback/, gradebook.db."""

    def __init__(self, folder: Path):
        self.folder = Path(folder).resolve()
        # nbgrader calls the program alembic of its own environment by name.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def api(self):
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config, PyFileConfigLoader

        config = Config(PyFileConfigLoader("nbgrader_config.py", path=str(self.folder)).load_config())
        config.CourseDirectory.root = str(self.folder)
        config.CourseDirectory.db_url = f"sqlite:///{self.folder / 'gradebook.db'}"
        return NbGraderAPI(config=config)

    def make(self, chosen: list[str], salt: str) -> None:
        """Write the sources and the student release of the chosen assignments.

        Raises RuntimeError, with nothing changed, where submissions to one of them are in the folder already.
        """
        for name in chosen:
            if any((self.folder / "submitted").glob(f"*/{name}")):
                raise RuntimeError(
                    f"{self.folder.name}/submitted holds answers to {name!r}; allowed: another --course folder"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "nbgrader_config.py").write_text(CONFIG.format(empty=EMPTY), encoding="utf-8")
        for name in chosen:
            place = self.folder / "source" / name
            place.mkdir(parents=True, exist_ok=True)
            nbformat.write(source(name, salt), place / f"{name}.ipynb")
            done = self.api().generate_assignment(name, force=True, create=True)
            if not done["success"]:
                raise RuntimeError(
                    f"{name}: nbgrader made no release:\n{done.get('log') or done.get('error')}"
                )
            self.check(name)

    def release(self, name: str) -> NotebookNode:
        return nbformat.read(self.folder / "release" / name / f"{name}.ipynb", as_version=4)

    def check(self, name: str) -> None:
        """Raises RuntimeError if the student release shows a solution or a hidden test, or lost a cell."""
        ours = nbformat.read(self.folder / "source" / name / f"{name}.ipynb", as_version=4)
        theirs = self.release(name)
        text = "\n".join(cell.source for cell in theirs.cells)
        for secret in SECRETS:
            if secret in text:
                raise RuntimeError(f"{name}: the release contains {secret!r}")
        for cell in ours.cells:
            for begin, end in (SECRETS[:2], SECRETS[2:]):
                for part in re.findall(rf"### {begin}\n(.*?)### {end}", cell.source, re.S):
                    for line in part.splitlines():
                        if len(line.strip()) > 12 and line.strip() in text:
                            raise RuntimeError(f"{name}: the release contains the line {line.strip()!r}")
        for kind in ("grade", "solution"):
            if list(cells(ours, kind)) != list(cells(theirs, kind)):
                raise RuntimeError(f"{name}: the release has not the cells of the source")

    def submit(self, name: str, student: str, notebook: NotebookNode, file: str | None = None) -> None:
        place = self.folder / "submitted" / student / name
        place.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place / (file or f"{name}.ipynb"))

    def autograde(self, name: str, student: str) -> dict:
        """nbgrader's own report: success, log, error."""
        return self.api().autograde(name, student, force=True, create=True)

    def scores(self, name: str, student: str) -> dict[str, tuple[float, float]]:
        """(points, most points) of each graded cell."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}") as book:
            notebook = book.find_submission_notebook(name, name, student)
            return {g.name: (g.score, g.max_score) for g in notebook.grades}


# --- kept submissions -------------------------------------------------------------------------------------------


def submissions(name: str) -> dict[str, Submission]:
    """The kept answers to an assignment, wrong ones and right ones written differently."""
    file = SUBMISSIONS / f"{name.replace('-', '_')}.py"
    spec = importlib.util.spec_from_file_location(f"submissions_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("assignments", sys.modules[__name__])
    spec.loader.exec_module(module)
    return module.SUBMISSIONS


def answered(name: str, release: NotebookNode, ours: NotebookNode, submission: Submission) -> NotebookNode:
    """The student's notebook with our solutions, but for the cells that the submission has of its own."""
    unknown = set(submission.cells) - set(cells(release, "solution"))
    if unknown:
        raise ValueError(f"{name}: a submission answers {sorted(unknown)}, which are no answer cells")
    solutions = cells(ours, "solution")
    for grade_id, cell in cells(release, "solution").items():
        cell.source = submission.cells.get(grade_id, solutions[grade_id].source)
    return release


def mistakes(course: Course, name: str, student: str, submission: Submission) -> list[str]:
    """Grade a kept submission; what nbgrader gave that it should not have, in words."""
    ours = nbformat.read(course.folder / "source" / name / f"{name}.ipynb", as_version=4)
    course.submit(name, student, answered(name, course.release(name), ours, submission))
    done = course.autograde(name, student)
    if not done["success"]:
        return [f"{name}, {student}: not graded:\n{done.get('log') or done.get('error')}"]
    found = []
    scores = course.scores(name, student)
    for test, lost in submission.loses.items():
        if test not in scores:
            found.append(f"{name}, {student}: there is no test {test!r}")
        elif not 0 < lost <= scores[test][1]:
            found.append(f"{name}, {student}: {test} cannot lose {lost:g} of {scores[test][1]:g} points")
    for test, (got, most) in scores.items():
        expected = most - submission.loses.get(test, 0)
        if abs(got - expected) > 1e-9:
            found.append(f"{name}, {student}: {test} got {got:g} of {most:g} points, should get {expected:g}")
    return found


def nothing(course: Course, name: str) -> list[str]:
    """The release handed in as it is must get no point."""
    course.submit(name, "empty", course.release(name))
    done = course.autograde(name, "empty")
    if not done["success"]:
        return [f"{name}, empty: not graded:\n{done.get('log') or done.get('error')}"]
    return [
        f"{name}, empty: {test} got {got:g} points"
        for test, (got, _) in course.scores(name, "empty").items()
        if got
    ]


def grade(chosen: list[str], everything: bool) -> list[str]:
    """Grade our solution, the empty release, and one wrong answer an assignment (or every kept one)."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        course = Course(Path(folder))
        course.make(chosen, salt="a class")
        for name in chosen:
            kept = submissions(name)
            wrong = [key for key, submission in kept.items() if submission.loses]
            for student in kept if everything else wrong[:1]:
                found += mistakes(course, name, student, kept[student])
            found += mistakes(course, name, "ours", Submission("the solution"))
            found += nothing(course, name)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("make", "grade"))
    parser.add_argument("names", nargs="*", help="assignments; all if none is named")
    parser.add_argument("--salt", default="", help="any text; another salt gives other constants")
    parser.add_argument("--course", type=Path, default=ROOT / "course", help="where `make` writes")
    parser.add_argument(
        "--all", action="store_true", help="grade every kept submission, not one an assignment"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(names()):
        parser.error(f"no assignment named {', '.join(sorted(unknown))}; there are: {', '.join(names())}")
    chosen = options.names or names()
    if options.action == "make":
        if shutil.which("nbgrader") is None:
            print("nbgrader itself is not on the PATH: grade with `.venv/bin/nbgrader`", file=sys.stderr)
        Course(options.course).make(chosen, options.salt)
        print(f"{', '.join(chosen)}: source and release are in {options.course}")
        return 0
    found = grade(chosen, options.all)
    print("\n".join(found) or f"{', '.join(chosen)}: every kept submission has the points that it should")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
