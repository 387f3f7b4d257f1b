"""A course: the folder that nbgrader works on, made whole or not at all, and graded without stopping."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import repair
from .source import ROOT, SECRETS, SOURCES, cells, source

EMPTY = "raise NotImplementedError()  # your answer"
CONFIG = """\
# nbgrader's settings for this course. Written once: what you change here stays.
import sys
from pathlib import Path

clone = Path({clone!r})  # where the book's repository is
if not (clone / "scripts" / "classroom").is_dir():
    raise SystemExit(f"there is no clone of the book in {{clone}}; set `clone` in nbgrader_config.py")
sys.path.insert(0, str(clone / "scripts"))
from classroom.grader import configure  # noqa: E402

c = get_config()  # noqa: F821
configure(c, Path(__file__).parent)
c.CourseDirectory.course_id = "diffusion-answered"
c.ClearSolutions.code_stub = {{"python": {empty!r}}}
# c.Grade.seconds = 240  # for all cells up to an answer: an endless loop costs that answer
# c.Grade.sandbox = "auto"  # or "bwrap", "unshare", "command"; "none" runs submissions with your own rights
# c.Grade.command = ["docker", "run", "--rm", "-i", "--network", "none", "IMAGE", "python"]
"""


class CourseError(RuntimeError):
    """What was asked of a course cannot be done; nothing was changed."""


class Course:
    """A folder as nbgrader wants it: source/, release/, submitted/, autograded/, feedback/, gradebook.db.

    course.json holds the salt, and what was released when it was made.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser().resolve()
        # nbgrader calls the program alembic of its own environment by name.
        own = str(Path(sys.executable).parent)
        if own not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([own, os.environ["PATH"]])

    def api(self, **settings):
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config, PyFileConfigLoader

        config = Config(PyFileConfigLoader("nbgrader_config.py", path=str(self.folder)).load_config())
        config.CourseDirectory.root = str(self.folder)
        config.CourseDirectory.db_url = f"sqlite:///{self.folder / 'gradebook.db'}"
        for name, value in settings.items():
            setattr(config.CourseDirectory, name, value)
        return NbGraderAPI(config=config)

    # --- made -------------------------------------------------------------------------------------------------

    def state(self) -> dict:
        """{"salt": text, "released": {name: checksum}}, empty for a new course."""
        file = self.folder / "course.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def check_folder(self) -> None:
        """Raises CourseError unless the course can stand here."""
        if self.folder.exists() and not self.folder.is_dir():
            raise CourseError(f"--course is {str(self.folder)!r}, a file; allowed: a folder, or a new name")
        inside = self.folder == ROOT or self.folder in ROOT.parents
        if inside or self.folder.is_relative_to(SOURCES) or self.folder.is_relative_to(ROOT / "scripts"):
            raise CourseError(
                f"--course is {str(self.folder)!r}; allowed: a folder of its own, outside the sources"
            )
        if self.folder.is_dir() and not self.state() and any(self.folder.iterdir()):
            if not (self.folder / "nbgrader_config.py").is_file():
                raise CourseError(
                    f"--course is {str(self.folder)!r}, which holds other files; allowed: an empty folder, or a course"
                )
        there = next(p for p in (self.folder, *self.folder.parents) if p.exists())
        if not os.access(there, os.W_OK) or not there.is_dir():
            raise CourseError(f"--course is {str(self.folder)!r}; allowed: a folder where you may write")

    def make(self, chosen: list[str], salt: str | None, replace: bool = False) -> list[str]:
        """Write the sources and the student release of the chosen assignments; what was done, in words.

        Without a salt the course's own is kept ("" for a new course). All is made beside the course and moved into it at
        the end, so that a failure leaves the course as it was. Settings that are there are kept.

        Raises CourseError where a release that is out would be another one, unless `replace`, and where submissions to
        it are in the folder already, whatever `replace` says.
        """
        self.check_folder()
        state = self.state()
        salt = state.get("salt", "") if salt is None else salt
        if state and salt != state["salt"] and not replace:
            raise CourseError(
                f"the salt is {salt!r}; allowed: {state['salt']!r}, with which this course was made, or none, "
                "or --replace for other constants"
            )
        if state and salt != state["salt"] and (others := set(state["released"]) - set(chosen)):
            raise CourseError(
                f"the salt changes for {', '.join(chosen)} only; allowed: {', '.join(sorted(others))} too"
            )
        try:
            return self.made(chosen, salt, replace, state)
        except OSError as error:
            raise CourseError(f"the course was not made, and is as it was: {error}") from error

    def made(self, chosen: list[str], salt: str, replace: bool, state: dict) -> list[str]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        done = []
        with tempfile.TemporaryDirectory(prefix=".course-", dir=self.folder.parent) as place:
            new = Course(place)
            new.folder.joinpath("nbgrader_config.py").write_text(
                CONFIG.format(empty=EMPTY, clone=str(ROOT)), encoding="utf-8"
            )
            if (self.folder / "gradebook.db").is_file():
                shutil.copy2(self.folder / "gradebook.db", new.folder / "gradebook.db")
            sums = dict(state.get("released", {}))
            changed = []
            for name in chosen:
                made = source(name, salt)
                total = checksum(made)
                if sums.get(name) == total and (self.folder / "release" / name / f"{name}.ipynb").is_file():
                    done.append(f"{name}: as it was")
                    continue
                if any((self.folder / "submitted").glob(f"*/{name}")):
                    raise CourseError(
                        f"submitted/ holds answers to {name!r}, and its release would change; allowed: another --course"
                    )
                if (self.folder / "release" / name).is_dir() and not replace:
                    raise CourseError(
                        f"{name!r} is released, and would change; allowed: --replace if nobody has it yet, or another "
                        "--course"
                    )
                target = new.folder / "source" / name
                target.mkdir(parents=True)
                nbformat.write(made, target / f"{name}.ipynb")
                for extra in sorted((SOURCES / "files" / name).glob("*.safetensors")):
                    shutil.copy2(extra, target / extra.name)
                if not (answer := new.api().generate_assignment(name, force=True, create=True))["success"]:
                    raise CourseError(
                        f"{name}: nbgrader made no release:\n{answer.get('log') or answer.get('error')}"
                    )
                new.check(name)
                sums[name] = total
                changed.append(name)
                done.append(f"{name}: made")
            (new.folder / "course.json").write_text(
                json.dumps({"salt": salt, "released": sums}, indent=1, ensure_ascii=False) + "\n",
                encoding="utf-8",
            )
            self.folder.mkdir(exist_ok=True)
            if not (self.folder / "nbgrader_config.py").is_file():
                os.replace(new.folder / "nbgrader_config.py", self.folder / "nbgrader_config.py")
            for name in changed:
                for part in ("source", "release"):
                    (self.folder / part).mkdir(exist_ok=True)
                    if (self.folder / part / name).is_dir():
                        os.replace(self.folder / part / name, new.folder / f"old-{part}-{name}")
                    os.replace(new.folder / part / name, self.folder / part / name)
            if changed:
                os.replace(new.folder / "gradebook.db", self.folder / "gradebook.db")
            os.replace(new.folder / "course.json", self.folder / "course.json")
        return done

    def release(self, name: str) -> NotebookNode:
        return nbformat.read(self.folder / "release" / name / f"{name}.ipynb", as_version=4)

    def ours(self, name: str) -> NotebookNode:
        return nbformat.read(self.folder / "source" / name / f"{name}.ipynb", as_version=4)

    def check(self, name: str) -> None:
        """Raises CourseError if the student release shows a solution or a hidden test, or lost a cell."""
        ours, theirs = self.ours(name), self.release(name)
        text = "\n".join(cell.source for cell in theirs.cells)
        for secret in SECRETS:
            if secret in text:
                raise CourseError(f"{name}: the release contains {secret!r}")
        for cell in ours.cells:
            for begin, end in (SECRETS[:2], SECRETS[2:]):
                for part in re.findall(rf"### {begin}\n(.*?)### {end}", cell.source, re.S):
                    for line in part.splitlines():
                        line = line.strip()
                        # Inputs are no secret: a hidden test may draw them as an open one does.
                        shown = re.match(
                            r"(x|u|e0|ep|x, z|u, c|x, eps|e0, ep, en|x, text, null|steps, errors), ?.* = ",
                            line,
                        )
                        common = "gaussian(" in line or line.startswith(
                            ("def ", "n = ", "x, ", "for k", "wanted = c")
                        )
                        if len(line) > 12 and line in text and not (shown or common):
                            raise CourseError(f"{name}: the release contains the line {line!r}")
        for kind in ("grade", "solution"):
            if list(cells(ours, kind)) != list(cells(theirs, kind)):
                raise CourseError(f"{name}: the release has not the cells of the source")

    # --- graded -----------------------------------------------------------------------------------------------

    def submit(self, name: str, student: str, notebook: NotebookNode, file: str | None = None) -> None:
        place = self.folder / "submitted" / student / name
        place.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, place / (file or f"{name}.ipynb"))

    def students(self, name: str) -> list[str]:
        return sorted(p.parent.name for p in (self.folder / "submitted").glob(f"*/{name}") if p.is_dir())

    def autograde(self, name: str, student: str, log=None) -> dict:
        """nbgrader's own report: success, log, error; and `remarks`, what was mended before.

        nbgrader reads a mended copy, in .mended/; what was handed in stays as it is.
        """
        from .grader import gives

        given = self.folder / "submitted" / student / name
        copy = self.folder / ".mended" / student / name
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        notebook, remarks = repair.read(given, name)
        made, more = repair.repair(notebook, self.release(name), gives(self.folder, name))
        remarks = [*remarks, *(more if notebook.cells else [])]
        nbformat.write(made, copy / f"{name}.ipynb")
        if (given / "timestamp.txt").is_file():
            shutil.copy2(given / "timestamp.txt", copy / "timestamp.txt")
        try:
            done = self.api(submitted_directory=".mended").autograde(name, student, force=True, create=True)
        except (Exception, SystemExit) as error:
            done = {"success": False, "error": f"{type(error).__name__}: {error}", "log": ""}
        return {**done, "remarks": remarks}

    def autograde_all(self, name: str, students: list[str] | None = None) -> int:
        """Grade everybody; a line each, also in grading.log. Returns how many could not be graded."""
        from . import sandbox

        log = logging.getLogger("classroom")
        missing = 0
        setting = self.api().config.Grade
        if str(setting.get("sandbox", "auto")) == "auto":
            sandbox.found(tuple(setting.get("command", ())))  # before the first student, not after
        with (self.folder / "grading.log").open("a", encoding="utf-8") as file:

            def say(text):
                print(text, flush=True)
                print(text, file=file, flush=True)

            for student in students or self.students(name):
                done = self.autograde(name, student)
                for remark in done["remarks"]:
                    say(f"{student}, {name}: {remark}")
                if done["success"]:
                    scores = self.scores(name, student)
                    got, most = (sum(pair[k] or 0 for pair in scores.values()) for k in (0, 1))
                    say(f"{student}, {name}: {got:g} of {most:g} points")
                else:
                    missing += 1
                    why = str(done.get("error") or done.get("log") or "no reason given").strip().splitlines()
                    say(f"{student}, {name}: NOT GRADED: {why[-1] if why else ''}")
        log.debug("graded %s", name)
        return missing

    def scores(self, name: str, student: str) -> dict[str, tuple[float, float]]:
        """(points, most points) of each graded cell."""
        from nbgrader.api import Gradebook

        with Gradebook(f"sqlite:///{self.folder / 'gradebook.db'}") as book:
            notebook = book.find_submission_notebook(name, name, student)
            return {g.name: (g.score, g.max_score) for g in notebook.grades}


def checksum(notebook: NotebookNode) -> str:
    """Of all that a class gets: cells and their marks."""
    parts = [[c.cell_type, c.source, c.metadata.get("nbgrader", {})] for c in notebook.cells]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
