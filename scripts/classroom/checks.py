"""Kept submissions, graded without nbgrader: what the judge gave that it should not have, in words."""

from __future__ import annotations

import copy

from nbformat import NotebookNode

from .course import EMPTY
from .judge import Host, Judge
from .repair import repair
from .source import Submission, answered, cells, emptied, kept, source, tests

SALT = "a class"


class Bench:
    """The judge of one assignment for one salt, and what its release looks like."""

    def __init__(self, name: str, host: Host, salt: str = SALT, seconds=120.0, call_seconds=20.0):
        self.name, self.salt = name, salt
        self.ours = source(name, salt)
        self.release = emptied(self.ours, EMPTY)
        self.judge = Judge(self.ours, host, seconds, call_seconds, files(name))
        self.most = {t: float(c.metadata["nbgrader"]["points"]) for t, c in tests(self.ours).items()}
        self.gives = {a.id: a.names for a in self.judge.paper.answers}

    def notebook(self, submission: Submission) -> NotebookNode:
        return answered(self.name, copy.deepcopy(self.release), self.ours, submission)

    def points(self, notebook: NotebookNode, only=None) -> dict[str, float]:
        made, _ = repair(notebook, self.release, self.gives)
        return self.judge.grade(made, only).points()

    def mistakes(self, key: str, submission: Submission) -> list[str]:
        """What a kept submission got that it should not have."""
        found = []
        for test, lost in submission.loses.items():
            if test not in self.most:
                found.append(f"{self.name}, {key}: there is no test {test!r}")
            elif not 0 < lost <= self.most[test]:
                found.append(f"{self.name}, {key}: {test} cannot lose {lost:g} of {self.most[test]:g} points")
        made, _ = repair(self.notebook(submission), self.release, self.gives)
        for test, outcome in self.judge.grade(made).outcomes.items():
            expected = self.most[test] - submission.loses.get(test, 0)
            if abs(outcome.points - expected) > 1e-9:
                found.append(
                    f"{self.name}, {key}: {test} got {outcome.points:g} of {outcome.most:g} points, should get "
                    f"{expected:g}: {outcome.message}"
                )
        return found

    def empty(self) -> list[str]:
        """The release handed in as it is must get no point."""
        got = self.points(copy.deepcopy(self.release))
        return [f"{self.name}, empty: {test} got {points:g} points" for test, points in got.items() if points]


def files(name: str) -> dict[str, bytes]:
    """The data that come with an assignment."""
    from .source import SOURCES

    return {p.name: p.read_bytes() for p in sorted((SOURCES / "files" / name).glob("*.safetensors"))}


def grade(chosen: list[str], everything: bool, salt: str = SALT) -> list[str]:
    """Grade our solution, the empty release, and one wrong and one right answer an assignment, or every kept one."""
    found = []
    with Host() as host:
        for name in chosen:
            bench = Bench(name, host, salt)
            all_kept = kept(name, salt)
            wrong = [key for key, s in all_kept.items() if s.loses]
            right = [key for key, s in all_kept.items() if not s.loses]
            for key in all_kept if everything else [*wrong[:1], *right[:1]]:
                found += bench.mistakes(key, all_kept[key])
            found += bench.mistakes("ours", Submission("the solution"))
            found += bench.empty()
    return found


__all__ = ["Bench", "cells", "grade"]
