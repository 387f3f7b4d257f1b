"""The judge as steps of nbgrader's `autograde`, in the place of running the notebook in a kernel."""

from __future__ import annotations

import functools
from pathlib import Path

import nbformat
from nbconvert.preprocessors import Preprocessor
from nbgrader.converters.autograde import Autograde
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.preprocessors.execute import Execute
from traitlets import Enum, Float, List, Unicode

from . import repair, sandbox
from .judge import Host, Judge, Paper
from .source import cells


@functools.cache
def judge(folder: Path, name: str, kind: str, command: tuple[str, ...], seconds: float, call: float) -> Judge:
    """The judge of an assignment of a course; its sandbox lives until `fresh`."""
    place = folder / "source" / name
    notebook = nbformat.read(place / f"{name}.ipynb", as_version=4)
    files = {
        p.name: p.read_bytes()
        for p in sorted(place.iterdir())
        if p.suffix not in (".ipynb", "") and p.is_file()
    }
    host = Host(kind, hidden=[folder, Path(__file__).resolve().parents[1] / "assignments"], command=command)
    return Judge(notebook, host, seconds, call, files)


class Repair(NbGraderPreprocessor, Preprocessor):
    """Brings a submission back into the release's order before nbgrader reads its marks."""

    course = Unicode(help="the course's folder").tag(config=True)

    def preprocess(self, nb, resources):
        name = resources["nbgrader"]["assignment"]
        release = nbformat.read(Path(self.course) / "release" / name / f"{name}.ipynb", as_version=4)
        made, remarks = repair.repair(nb, release, gives(Path(self.course), name))
        for remark in remarks:
            self.log.warning("%s, %s: %s", resources["nbgrader"]["student"], name, remark)
        return made, resources


def gives(folder: Path, name: str) -> dict[str, tuple[str, ...]]:
    """The names that each answer of an assignment gives."""
    notebook = nbformat.read(folder / "source" / name / f"{name}.ipynb", as_version=4)
    return {answer.id: answer.names for answer in Paper.read(notebook).answers}


class Grade(NbGraderPreprocessor, Preprocessor):
    """Has a notebook graded by `judge`, and writes what came of it where nbgrader looks for it."""

    course = Unicode(help="the course's folder").tag(config=True)
    sandbox = Enum(sandbox.KINDS, "auto", help="how a submission is kept in; 'none' is at your own risk").tag(
        config=True
    )
    command = List(Unicode(), help="words that start Python in a container, for sandbox 'command'").tag(
        config=True
    )
    seconds = Float(240.0, help="for all cells up to an answer").tag(config=True)
    call_seconds = Float(30.0, help="for each call that a test makes").tag(config=True)

    def preprocess(self, nb, resources):
        name, student = resources["nbgrader"]["assignment"], resources["nbgrader"]["student"]
        if self.sandbox == "none":
            self.log.warning("%s, %s: graded WITHOUT a sandbox, as the configuration asks", student, name)
        court = judge(
            Path(self.course), name, self.sandbox, tuple(self.command), self.seconds, self.call_seconds
        )
        court.host.stop()  # a process of its own for each submission
        try:
            verdict = court.grade(nb)
        finally:
            court.host.stop()
        for grade_id, cell in {**cells(nb, "solution"), **cells(nb, "grade")}.items():
            if cell.cell_type == "code":
                cell.outputs = []
            if grade_id in verdict.said and verdict.said[grade_id]:
                cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=verdict.said[grade_id])]
            if grade_id in verdict.outcomes:
                outcome = verdict.outcomes[grade_id]
                if outcome.points == 0:
                    line = f"AssertionError: {outcome.message}"
                    made = nbformat.v4.new_output(
                        "error", ename="AssertionError", evalue=outcome.message, traceback=[line]
                    )
                    cell.outputs = [made]
                elif outcome.points < outcome.most:
                    data = {"text/plain": repr(outcome.points)}
                    cell.outputs = [nbformat.v4.new_output("execute_result", data, execution_count=1)]
        return nb, resources


def configure(c, course: str | Path) -> None:
    """What nbgrader_config.py of a course calls: our steps in nbgrader's own."""
    course = str(Path(course).resolve())
    c.Repair.course = c.Grade.course = course
    c.HTMLExporter.sanitize_html = True  # for nbgrader's own feedback: no markup of a student's acts
    c.Autograde.sanitize_preprocessors = [Repair, *default("sanitize_preprocessors")]
    c.Autograde.autograde_preprocessors = [
        Grade if step is Execute else step for step in default("autograde_preprocessors")
    ]


def default(name: str) -> list:
    return list(Autograde.class_traits()[name].default())
