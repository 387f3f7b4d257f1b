"""Kept attacks, each run against the judge: what one of them gained, in words."""

from __future__ import annotations

import copy
import importlib.util
import socket
import sys
import tempfile
import threading
from pathlib import Path

import nbformat

from .checks import Bench
from .judge import Host
from .source import ROOT, SUBMISSIONS, Submission, cells

SALT = "a class"


def kept() -> dict:
    """The attacks of assignments/submissions/attacks.py."""
    spec = importlib.util.spec_from_file_location("kept_attacks", SUBMISSIONS / "attacks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.ATTACKS


class Target:
    """A course beside the judge, as it stands while a class is graded: what an attack might want to reach."""

    def __init__(self, folder: Path, bench: Bench):
        self.folder = folder
        for place in ("source/few-steps", "submitted/zoe/few-steps"):
            (folder / place).mkdir(parents=True)
            nbformat.write(bench.ours, folder / place / "few-steps.ipynb")
        (folder / "gradebook.db").write_bytes(b"grades")
        self.before = self.read()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port, self.reached = self.server.getsockname()[1], []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            try:
                self.reached.append(self.server.accept()[1])
            except OSError:
                return

    def read(self) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(self.folder.rglob("*")) if p.is_file()}


def gained(bench: Bench, attack, after: bool = True) -> list[str]:
    """What an attack got or changed; nothing, as it should be. `after`: that the next submission is graded as ever."""
    found = []
    package = {p: p.stat().st_size for p in (ROOT / "diffusion_tutorial").rglob("*.py")}
    with tempfile.TemporaryDirectory() as place:
        target = Target(Path(place), bench)
        code = (
            attack.code.replace("COURSE", place).replace("CLONE", str(ROOT)).replace("PORT", str(target.port))
        )
        notebook = copy.deepcopy(bench.release)
        answers = list(cells(notebook, "solution").values())
        for cell in answers if attack.everywhere else answers[:1]:
            cell.source = f"{cell.source}\n{code}" if cell.source.startswith("def ") else code
        verdict = bench.judge.grade(notebook)
        found += [f"{t} got {o.points:g} points" for t, o in verdict.outcomes.items() if o.points]
        if set(verdict.outcomes) != set(bench.most):
            found.append(f"not graded: {sorted(set(bench.most) - set(verdict.outcomes))}")
        found += [f"it says {said.strip()[:200]!r}" for said in verdict.said.values() if "FOUND" in said]
        if target.read() != target.before:
            found.append("files of the course were changed")
        if target.reached:
            found.append("a server of this machine was reached")
        found += [f"reached: {s!r}" for s in verdict.said.values() if "REACHED [(" in s]
        target.server.close()
    if {p: p.stat().st_size for p in package} != package:
        found.append("the package was changed")
    if (Path(tempfile.gettempdir()) / "the-grader-was-here").exists():
        found.append("something ran outside")
    if after:
        found += bench.mistakes("after an attack", Submission("the solution"))
    return found


def bench(kind: str = "auto", seconds: float = 30.0) -> Bench:
    """A judge for attacks: with a sandbox, or with the boundary between two processes alone ("none")."""
    return Bench(
        "few-steps", Host(kind, hidden=[ROOT / "assignments"]), SALT, seconds=seconds, call_seconds=10.0
    )
