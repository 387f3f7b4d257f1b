"""The tests run here, with the grader's own cells and helpers; the submission is asked through a pipe.

What a test calls is a `Remote`: its arguments travel as copies, its result comes back as plain numbers, text and
float64 tensors. Nothing that a submission patches, redefines or overloads is in this process.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import os
import select
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from . import codec, sandbox

HERE = Path(__file__).resolve().parent
MEMORY = 2 << 30  # bytes of data that a submission may hold


@dataclass(frozen=True)
class Outcome:
    """What a test gave: points of so many, and why not all."""

    points: float
    most: float
    message: str = ""


@dataclass
class Verdict:
    """A graded notebook: outcomes by test, and by answer cell what it printed and raised."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def points(self) -> dict[str, float]:
        return {name: outcome.points for name, outcome in self.outcomes.items()}


class StudentError(Exception):
    """The submission raised what is no built-in exception, or sent what is no value."""


class Gone(StudentError):
    """The submission's process ended, or did not answer in time."""


# --- what an assignment asks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """An answer cell: the names that it gives, our source, and the tests of them, each (id, points, source)."""

    id: str
    names: tuple[str, ...]
    source: str
    tests: tuple[tuple[str, float, str], ...]
    functions: bool


@dataclass(frozen=True)
class Paper:
    """An assignment as the judge needs it: locked cells, and answers in their order."""

    locked: dict[str, str]
    answers: tuple[Answer, ...]

    @classmethod
    def read(cls, notebook: NotebookNode) -> Paper:
        """From the instructor's notebook. Raises ValueError for a test that names no answer, or two."""
        locked, given, tests, asked = {}, {}, {}, set()
        for cell in notebook.cells:
            mark = cell.metadata.get("nbgrader", {})
            if cell.cell_type != "code" or not mark:
                continue
            if mark["solution"]:
                given[mark["grade_id"]] = cell.source
            elif not mark["grade"]:
                locked[mark["grade_id"]] = cell.source
            else:
                names = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Name)]
                used = {n.id for n in names} - {n.id for n in names if isinstance(n.ctx, ast.Store)}
                asked |= used
                of = [name for name, source in given.items() if used & set(top_names(source))]
                if len(of) != 1:
                    raise ValueError(f"the test {mark['grade_id']!r} tests {of}; allowed: one answer")
                tests.setdefault(of[0], []).append((mark["grade_id"], float(mark["points"]), cell.source))
        answers = []
        for name, source in given.items():
            functions = any(isinstance(s, ast.FunctionDef) for s in ast.parse(source).body)
            names = tuple(n for n in top_names(source) if n in asked)
            answers.append(Answer(name, names, source, tuple(tests.get(name, ())), functions))
        return cls(locked, tuple(answers))


def top_names(source: str) -> tuple[str, ...]:
    """Names that a cell defines: functions and plain assignments, also those in a loop or a `with`."""
    found, todo = [], list(ast.parse(source).body)
    while todo:
        statement = todo.pop(0)
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found.append(statement.name)
        elif isinstance(statement, ast.Assign):
            found += [t.id for t in statement.targets if isinstance(t, ast.Name)]
        elif isinstance(statement, ast.With | ast.For | ast.While | ast.If):
            todo = statement.body + todo
    return tuple(dict.fromkeys(found))


# --- the other side ---------------------------------------------------------------------------------------------


class Host:
    """The sandbox with the submission's side in it. Started when first needed, and again when it is lost."""

    def __init__(self, kind: str = "auto", hidden=(), command=(), warm=("diffusion_tutorial.mixtures",)):
        self.kind, self.hidden, self.command, self.warm = kind, list(hidden), list(command), list(warm)
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Raises NoSandbox, or RuntimeError with what Python said if the host does not come up."""
        if self.process is not None and self.process.poll() is None:
            return
        self.stop()
        path = ["/package"]
        if self.kind == "none":
            path = [str(sandbox.package().parent)]
        elif self.kind == "command" or (
            self.kind == "auto" and sandbox.found(tuple(self.command)) == "command"
        ):
            path = []
        limits = {"memory": MEMORY, "seconds": 1200, "warm": self.warm}
        parts = [(HERE / name).read_text(encoding="utf-8") for name in ("codec.py", "host.py")]
        # 0 and 1 are the pipes; the submission gets others in their place.
        parts.append(
            "import os, sys\n"
            "inbox, outbox = os.dup(0), os.dup(1)\n"
            "null = os.open('/dev/null', os.O_RDWR)\n"
            "os.dup2(null, 0); os.dup2(null, 1)\n"
            f"serve(inbox, outbox, {path!r}, {limits!r})\n"
        )
        self.process = sandbox.launch(self.kind, "\n".join(parts), self.hidden, self.command)
        for pipe in (self.process.stdin, self.process.stdout):
            os.set_blocking(pipe.fileno(), False)
        try:
            message, _ = self.receive(time.monotonic() + 120)
        except StudentError:
            message = {}
        if message.get("op") != "ready":
            os.set_blocking(self.process.stderr.fileno(), False)
            said = (self.process.stderr.read() or b"").decode("utf-8", "replace")[-1500:]
            self.stop()
            raise RuntimeError(f"the sandbox does not start:\n{said}")

    def stop(self) -> None:
        if self.process is not None:
            sandbox.close(self.process)
            self.process = None

    def send(self, message: dict, blobs, deadline: float) -> None:
        data = memoryview(codec.pack(message, list(blobs)))
        fd = self.process.stdin.fileno()
        while data:
            self.wait([], [fd], deadline)
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Gone("the process ended") from None

    def receive(self, deadline: float) -> tuple[dict, list]:
        fd = self.process.stdout.fileno()

        def read(n):
            chunks = []
            while n:
                self.wait([fd], [], deadline)
                try:
                    chunk = os.read(fd, min(n, 1 << 20))
                except BlockingIOError:
                    continue
                if not chunk:
                    raise Gone("the process ended")
                chunks.append(chunk)
                n -= len(chunk)
            return b"".join(chunks)

        try:
            message, blobs = codec.unpack(read)
            if type(message) is not dict or type(message.get("op")) is not str:
                raise codec.Undecodable("no message")
            return message, blobs
        except codec.Undecodable as error:
            self.stop()
            raise Gone(f"the process sent what is no message: {error}") from None

    def wait(self, reading, writing, deadline: float) -> None:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                self.stop()
                raise Gone("the time is up")
            ready = select.select(reading, writing, [], min(left, 5))
            if ready[0] or ready[1]:
                return


class Remote:
    """A function of the submission's. Calling it runs it there."""

    def __init__(self, phase: Phase, name: str):
        self._phase, self.__name__ = phase, name

    def __call__(self, *args, **kwargs):
        return self._phase.call(self.__name__, args, kwargs)

    def __repr__(self):
        return f"<{self.__name__}>"


class Phase:
    """One question's process: the student's cells have run up to its answer, and calls are answered."""

    def __init__(self, host: Host, cells: list[dict], names, seconds: float, call_seconds: float, files=None):
        self.host, self.call_seconds = host, call_seconds
        self.gone = ""
        host.start()
        blobs = list((files or {}).values())
        message = {"op": "phase", "cells": cells, "names": list(names), "files": {}}
        message["files"] = {name: k for k, name in enumerate(files or {})}
        deadline = time.monotonic() + seconds
        self.values, self.cells, self.missing = {}, [], {}
        try:
            host.send(message, blobs, deadline)
            answer, blobs = self.next(deadline, "ran")
        except Gone as error:
            self.gone = str(error)
            return
        self.cells = [one for one in answer.get("cells", []) if type(one) is dict]
        for name, data in dict(answer["names"]).items():
            try:
                if type(data) is list and data[0] == "unknown":
                    raise codec.Undecodable(str(data[1]))
                self.values[name] = codec.decode(data, blobs, lambda _, name: Remote(self, name), plain=True)
            except (codec.Undecodable, IndexError) as error:
                self.missing[name] = f"`{name}` is {error}"

    def next(self, deadline: float, *wanted: str):
        """The next message; Gone if the process has ended, or says what it must not say now."""
        message, blobs = self.host.receive(deadline)
        if message["op"] == "exit":
            raise Gone("the cell ended the process")
        if message["op"] not in wanted:
            self.host.stop()
            raise Gone(f"the process said {message['op']!r}")
        return message, blobs

    def call(self, name: str, args, kwargs):
        """Raises what the student's function raised, as a built-in exception; Gone when nothing comes back."""
        import torch

        if self.gone:
            raise Gone(self.gone)
        functions, tapes, out = [], [], []

        def handle(function):
            functions.append(function)
            return len(functions) - 1

        deadline = time.monotonic() + self.call_seconds
        message = {"op": "call", "name": name}
        message["args"] = codec.encode(list(args), out, handle)
        message["kwargs"] = codec.encode(dict(kwargs), out, handle)
        try:
            self.host.send(message, out, deadline)
            while True:
                message, blobs = self.next(deadline, "result", "callback", "derivative")
                if message["op"] == "result":
                    break
                out = []
                try:
                    value = self.served(message, blobs, functions, tapes)
                    reply = {"op": "reply", "value": codec.encode(value, out)}
                except Exception as error:
                    out, reply = [], {"op": "reply", "error": [type(error).__name__, str(error)]}
                self.host.send(reply, out, deadline)
        except Gone as error:
            self.gone = str(error)
            raise Gone(f"{name}: {error}") from None
        if "error" in message:
            kind, text, own = (str(part) for part in message["error"][:3])
            raised = getattr(builtins, kind, None)
            if not (isinstance(raised, type) and issubclass(raised, Exception)):
                raised = StudentError
            error = raised(text)
            error.of_student = f"{name} raised {own}: {text}" if text else f"{name} raised {own}"
            raise error
        try:
            for given, became in zip(args, message.get("after", [])):
                if isinstance(given, torch.Tensor) and became is not None:
                    now = codec.decode(became[0], blobs, plain=True)
                    with torch.no_grad():
                        given.detach().copy_(now.detach().to(given.dtype).reshape(given.shape))
                    if given.is_leaf and given.is_floating_point():
                        given.requires_grad_(now.requires_grad)
                    if became[1]:
                        given.grad = torch.zeros_like(given)
            return codec.decode(message["value"], blobs, plain=True)
        except (codec.Undecodable, RuntimeError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise StudentError(f"{name} returned {error}") from None

    def served(self, message, blobs, functions, tapes):
        """The value of a callback, or a derivative of an earlier one."""
        import torch

        if message["op"] == "derivative":
            inputs, value = tapes[int(message["of"])]
            gradient = codec.decode(message["gradient"], blobs)
            asked = [i for i in inputs if isinstance(i, torch.Tensor) and i.requires_grad]
            found = iter(torch.autograd.grad(value, asked, gradient.to(value.dtype), retain_graph=True))
            return [next(found) if any(i is a for a in asked) else None for i in inputs]
        function = functions[int(message["function"])]
        args = codec.decode(message["args"], blobs)
        kwargs = codec.decode(message["kwargs"], blobs)
        if message["grad"]:
            with torch.enable_grad():
                value = function(*args)
            tapes.append((args, value))
            return [value.detach(), len(tapes) - 1]
        args = [a.detach() if isinstance(a, torch.Tensor) else a for a in args]
        with torch.device(str(message.get("device", "cpu"))), torch.no_grad():
            return function(*args, **kwargs)

    def close(self) -> None:
        if self.host.process is None:
            return
        deadline = time.monotonic() + 10
        try:
            if not self.gone:
                self.host.send({"op": "done"}, [], deadline)
                self.next(deadline)
        except Gone as error:
            if str(error) != "the cell ended the process":
                self.host.stop()


# --- the verdict ------------------------------------------------------------------------------------------------


class Judge:
    """Grades notebooks of one assignment."""

    def __init__(self, source: NotebookNode, host: Host, seconds=240.0, call_seconds=30.0, files=None):
        self.paper, self.host = Paper.read(source), host
        self.seconds, self.call_seconds, self.files = seconds, call_seconds, files or {}
        self.names: dict = {"__name__": "grader"}
        self.place = tempfile.TemporaryDirectory(prefix="judge-")  # locked cells and tests find the data here
        for name, data in self.files.items():
            Path(self.place.name, name).write_bytes(data)
        for name, text in self.paper.locked.items():
            if name == "install":  # for Colab; it speaks to a notebook
                continue
            exec(compile(text, "<locked cell>", "exec"), self.names)

    def grade(self, notebook: NotebookNode, only=None) -> Verdict:
        """Grade a notebook whose cells are in the release's order (see `repair`); `only` some answers, if named.

        Answers that are values, and follow each other, share a process; if it is lost, each gets one of its own.
        """
        verdict, lost = Verdict(), set()
        asked = [a for a in self.paper.answers if only is None or a.id in only]
        while asked:
            group = [asked.pop(0)]
            while asked and not group[0].functions and not asked[0].functions:
                group.append(asked.pop(0))
            if not self.together(notebook, group, lost, verdict) and len(group) > 1:
                for answer in group:
                    self.together(notebook, [answer], lost, verdict)
        return verdict

    def together(self, notebook, group: list[Answer], lost: set[str], verdict: Verdict) -> bool:
        """Grade these answers in one process. False if it was lost, and there was more than one of them."""
        names = [name for answer in group for name in answer.names]
        cells = self.cells(notebook, group, lost)
        phase = Phase(self.host, cells, names, self.seconds, self.call_seconds, self.files)
        try:
            if phase.gone and len(group) > 1:
                return False
            of = [cell["of"] for cell in cells if cell["say"]]
            for answer in group:
                said = [cell for name, cell in zip(of, phase.cells) if name == answer.id]
                wrong = phase.gone
                for cell in said:
                    error = cell.get("error")
                    if type(error) is list and len(error) == 3:
                        wrong = f"{error[2]}: {error[1]}" if error[1] else str(error[2])
                verdict.said[answer.id] = (
                    "".join(str(c.get("output", ""))[:20_000] for c in said) or phase.gone
                )
                if phase.gone:
                    lost.add(answer.id)
                for name, most, source in answer.tests:
                    verdict.outcomes[name] = self.test(source, most, phase, answer, wrong)
        finally:
            phase.close()
        return True

    def cells(self, notebook: NotebookNode, group: list[Answer], lost: set[str]) -> list[dict]:
        """What runs for a question: the student's cells up to its answer, ours where they are locked, and after
        each earlier answer the reference for it."""
        asked = {answer.id for answer in group}
        ours = {a.id: a for a in self.paper.answers}
        where = [k for k, c in enumerate(notebook.cells) if self.of(c) in asked]
        end = where[-1] if where else -1
        order = [a.id for a in self.paper.answers]
        earlier = set(order[: order.index(group[0].id)])
        last = {self.of(c): k for k, c in enumerate(notebook.cells)}
        found = []
        for k, cell in enumerate(notebook.cells[: end + 1]):
            of, mark = self.of(cell), cell.metadata.get("nbgrader", {})
            if cell.cell_type == "code" and not mark.get("grade") and of not in lost:
                if mark.get("grade_id") in self.paper.locked:
                    if mark["grade_id"] != "install":
                        found.append(
                            {"kind": "locked", "source": self.paper.locked[mark["grade_id"]], "say": False}
                        )
                elif of in asked or of in earlier or of is None:
                    found.append({"kind": "own", "source": cell.source, "say": of in asked, "of": of})
            if of in earlier and k == last[of] and ours[of].functions:
                found.append(
                    {"kind": "reference", "source": ours[of].source, "names": ours[of].names, "say": False}
                )
        return found

    def of(self, cell: NotebookNode) -> str | None:
        """The answer that a cell belongs to, a pasted copy too."""
        mark = cell.metadata.get("nbgrader", {})
        if mark.get("solution"):
            return mark.get("grade_id")
        return cell.metadata.get("copy_of")

    def test(self, source: str, most: float, phase: Phase, answer: Answer, wrong: str) -> Outcome:
        """Run a test cell. All its points, what its last line says, or none with the reason."""
        names = {**self.names, **phase.values}
        for name in answer.names:
            if name not in phase.values and name in names:
                del names[name]
        body = ast.parse(source).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        value = None
        try:
            with contextlib.chdir(self.place.name):
                exec(compile(ast.Module(body, []), "<test>", "exec"), names)
                if last is not None:
                    value = eval(compile(ast.Expression(last.value), "<test>", "eval"), names)
        except AssertionError as error:
            text = getattr(error, "of_student", None) or str(error)
            return Outcome(0.0, most, text or f"not so: {failing(source, error)}")
        except NameError as error:
            if error.name in answer.names:
                because = phase.missing.get(error.name) or (
                    f"the cell raised {wrong}" if wrong else "it is not set"
                )
                return Outcome(0.0, most, f"there is no `{error.name}` to test: {because}")
            return Outcome(0.0, most, getattr(error, "of_student", f"NameError: {error}"))
        except Gone as error:
            return Outcome(0.0, most, str(error))
        except Exception as error:
            text = getattr(error, "of_student", None) or f"{type(error).__name__}: {error}"
            return Outcome(0.0, most, text)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Outcome(most, most)
        points = min(max(float(value), 0.0), most)
        return Outcome(
            points, most, "" if points == most else f"{most - points:g} of {most:g} points lost here"
        )


def failing(source: str, error: BaseException) -> str:
    """The line of a test at which it failed."""
    trace = error.__traceback__
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<test>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return source.splitlines()[line - 1].strip() if line else "a check"
