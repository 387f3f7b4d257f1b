"""Submissions that say the same: answers are compared without names, layout, comments and texts."""

from __future__ import annotations

import ast
import hashlib
import itertools

from . import repair
from .course import Course
from .source import cells

FEWEST = 60  # signs of a normalised answer below which equality says nothing


class Nameless(ast.NodeTransformer):
    """Names that a cell gives itself become numbers in the order in which they appear; docstrings go."""

    def __init__(self, own: set[str]):
        self.own, self.seen = own, {}

    def name(self, text: str) -> str:
        return self.seen.setdefault(text, f"n{len(self.seen)}") if text in self.own else text

    def visit_Name(self, node):
        node.id = self.name(node.id)
        return node

    def visit_arg(self, node):
        node.arg, node.annotation = self.name(node.arg), None
        return node

    def visit_FunctionDef(self, node):
        node.name, node.returns = self.name(node.name), None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)


def normalised(source: str) -> str:
    """A cell as a text that renaming, layout, comments and docstrings do not change; what is no Python, without blanks."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return "".join(source.split())
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    own |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    return ast.unparse(ast.fix_missing_locations(Nameless(own).visit(tree)))


def answers(course: Course, name: str, student: str) -> dict[str, str]:
    """The normalised answers of a submission, by question, without those that are the release's or our solution's."""
    from .grader import gives

    release = course.release(name)
    notebook, _ = repair.read(course.folder / "submitted" / student / name, name)
    made, _ = repair.repair(notebook, release, gives(course.folder, name))
    given, stubs, ours = (cells(n, "solution") for n in (made, release, course.ours(name)))
    found = {}
    for key, cell in given.items():
        text = normalised(cell.source)
        if len(text) >= FEWEST and text not in (normalised(stubs[key].source), normalised(ours[key].source)):
            found[key] = text
    return found


def pairs(course: Course, name: str) -> list[tuple[str, str, list[str], int]]:
    """(one, another, questions that are equal, questions that could be), the most alike first."""
    of = {student: answers(course, name, student) for student in course.students(name)}
    found = []
    for one, other in itertools.combinations(sorted(of), 2):
        both = set(of[one]) & set(of[other])
        same = sorted(key for key in both if digest(of[one][key]) == digest(of[other][key]))
        if same:
            found.append((one, other, same, len(both)))
    return sorted(found, key=lambda row: (-len(row[2]), row[0], row[1]))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def report(course: Course, name: str) -> list[str]:
    """A line for each pair. Short answers, untouched ones and those that are our solution's own are not compared."""
    found = [
        f"{name}: {one} and {other}: {len(same)} of {both} answers are equal: {', '.join(same)}"
        for one, other, same, both in pairs(course, name)
    ]
    return found or [f"{name}: no two of {len(course.students(name))} submissions have an equal answer"]
