"""An assignment's source: a MyST notebook with solutions, hidden tests, and constants that follow from the salt.

Tags say what nbgrader makes of a cell:

    answer:NAME         a student's cell; what stands between BEGIN SOLUTION and END SOLUTION is taken out
    test:NAME:POINTS    a graded cell; what stands between BEGIN HIDDEN TESTS and END HIDDEN TESTS is taken out
    written:NAME:POINTS an answer in words, graded by hand in the formgrader
    locked              text or code that a student cannot change

The header's `salt` names what the salt chooses: `name: 3..900`, or `name: [one, another]`, and `{{ name }}` stands for
what it is for this class; of an entry with fields, `{{ name.field }}`. `{{ int("name", 3, 900) }}` and
`{{ choice("name", [...]) }}` are the same for what stands in one place only, as a hidden test's seeds.
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
SOURCES, SUBMISSIONS = ROOT / "assignments", ROOT / "assignments" / "submissions"
SECRETS = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


@dataclass(frozen=True)
class Submission:
    """A kept answer: the student's cells that differ from ours, and the points that each test takes off.

    `why` says in a line what it is; `sandboxed` that it needs a real sandbox to be harmless.
    """

    why: str
    cells: dict[str, str] = field(default_factory=dict)
    loses: dict[str, float] = field(default_factory=dict)
    sandboxed: bool = False


def names() -> list[str]:
    return sorted(path.stem for path in SOURCES.glob("*.md") if path.stem != "README")


def number(salt: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{salt}\n{name}".encode()).digest()[:8], "big")


def chosen(table: dict, salt: str) -> dict:
    """What the salt chooses: {name: value or fields}. Raises ValueError for an entry that offers no choice."""
    found = {}
    for name, offers in (table or {}).items():
        if isinstance(offers, str) and (match := re.fullmatch(r"(\d+)\.\.(\d+)", offers)):
            low, high = int(match[1]), int(match[2])
            found[name] = low + number(salt, name) % (high - low + 1)
        elif isinstance(offers, list) and len(offers) > 1:
            found[name] = offers[number(salt, name) % len(offers)]
        else:
            raise ValueError(f"salt: {name} is {offers!r}; allowed: LOW..HIGH, or a list of two or more")
    return found


def salted(text: str, salt: str, table: dict | None = None) -> str:
    """`text` with what the salt and the names give in the place of every {{ ... }}."""
    values = chosen(table or {}, salt)

    def value(match: re.Match) -> str:
        name, _, part = match[1].partition(".")
        if name in values:
            return str(values[name][part] if part else values[name])
        call = ast.parse(match[1], mode="eval").body
        kind = call.func.id if isinstance(call, ast.Call) else ""
        arguments = [ast.literal_eval(a) for a in getattr(call, "args", [])]
        if kind == "int":
            _, low, high = arguments
            return str(low + number(salt, arguments[0]) % (high - low + 1))
        if kind == "choice":
            return str(arguments[1][number(salt, arguments[0]) % len(arguments[1])])
        there = ", ".join(values) or "none in the header"
        raise ValueError(
            f"{match[0]} is not known; allowed: int(name, low, high), choice(name, [...]), and the names {there}"
        )

    return re.sub(r"\{\{ (.*?) \}\}", value, text)


def salts(name: str) -> dict:
    """The header's table of what the salt chooses."""
    header = (SOURCES / f"{name}.md").read_text(encoding="utf-8").split("---\n")[1]
    return yaml.safe_load(header).get("salt", {})


def source(name: str, salt: str = "") -> NotebookNode:
    """The instructor's notebook. Raises ValueError for a tag that it does not know, or an id used twice."""
    header, body = (
        (SOURCES / f"{name}.md").read_text(encoding="utf-8").removeprefix("---\n").split("---\n", 1)
    )
    head = yaml.safe_load(header)
    body = salted(body, salt, head.pop("salt", {}))
    notebook = jupytext.reads(f"---\n{yaml.safe_dump(head)}---\n{body}", fmt="md:myst")
    notebook.metadata = NotebookNode({"kernelspec": notebook.metadata["kernelspec"]})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen = set()
    for place, cell in enumerate(notebook.cells):
        (tag,) = cell.metadata.get("tags", []) or ["text"]
        kind, _, rest = tag.partition(":")
        grade_id, _, points = rest.partition(":")
        graded = kind in ("test", "written")
        if kind not in ("answer", "test", "written", "locked", "text") or graded != bool(points):
            raise ValueError(
                f"{name}: the tag is {tag!r}; allowed: answer:NAME, test:NAME:POINTS, written:NAME:POINTS, locked"
            )
        mark = {
            "schema_version": 3,
            "grade": graded,
            "solution": kind in ("answer", "written"),
            "task": False,
        }
        mark |= {"locked": kind in ("test", "locked")}
        if graded:
            mark["points"] = float(points)
        if kind != "text":
            mark["grade_id"] = grade_id or f"locked-{place}"
            if mark["grade_id"] in seen:
                raise ValueError(f"{name}: {mark['grade_id']!r} is used twice")
            seen.add(mark["grade_id"])
        cell.metadata = NotebookNode({"nbgrader": mark} if kind != "text" else {})
        cell["id"] = mark.get("grade_id", f"text-{place}")
    place = next(k for k, c in enumerate(notebook.cells) if c.cell_type == "code")
    notebook.cells.insert(place, install_cell())
    return notebook


def install_cell() -> NotebookNode:
    """The chapters' own first cell: it installs the package where it is missing, as on Colab."""
    import sys

    sys.path.insert(0, str(ROOT / "scripts"))
    import notebooks

    cell = notebooks.install_cell()
    mark = {"schema_version": 3, "grade": False, "solution": False, "task": False, "locked": True}
    cell.metadata = NotebookNode({"nbgrader": {**mark, "grade_id": "install"}})
    cell["id"] = "install"
    return cell


def cells(notebook: NotebookNode, kind: str) -> dict[str, NotebookNode]:
    """The cells that nbgrader marks as "grade" or "solution", by their id."""
    marked = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get(kind)]
    return {c.metadata["nbgrader"]["grade_id"]: c for c in marked}


def tests(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """The cells that are graded by running them; what is graded by hand is not among them."""
    return {name: cell for name, cell in cells(notebook, "grade").items() if cell.cell_type == "code"}


def kept(name: str, salt: str) -> dict[str, Submission]:
    """The kept answers to an assignment, wrong ones and right ones written differently, with the class's constants."""
    import importlib.util

    file = SUBMISSIONS / f"{name.replace('-', '_')}.py"
    spec = importlib.util.spec_from_file_location(f"submissions_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = salts(name)
    return {
        key: Submission(
            s.why, {k: salted(text, salt, table) for k, text in s.cells.items()}, s.loses, s.sandboxed
        )
        for key, s in module.SUBMISSIONS.items()
    }


def answered(name: str, release: NotebookNode, ours: NotebookNode, submission: Submission) -> NotebookNode:
    """The student's notebook with our solutions, but for the cells that the submission has of its own."""
    unknown = set(submission.cells) - set(cells(release, "solution"))
    if unknown:
        raise ValueError(f"{name}: a submission answers {sorted(unknown)}, which are no answer cells")
    solutions = cells(ours, "solution")
    for grade_id, cell in cells(release, "solution").items():
        cell.source = submission.cells.get(grade_id, solutions[grade_id].source)
    return release


def emptied(ours: NotebookNode, stub: str) -> NotebookNode:
    """The student's notebook as nbgrader makes it, without nbgrader: solutions and hidden tests taken out."""
    import copy

    made = copy.deepcopy(ours)
    for cell in made.cells:
        cell.source = re.sub(
            r"^([ ]*)### BEGIN SOLUTION\n.*?### END SOLUTION", rf"\1{stub}", cell.source, flags=re.S | re.M
        )
        cell.source = re.sub(
            r"^### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", "", cell.source, flags=re.S | re.M
        ).rstrip()
    return made


def read(file: Path) -> NotebookNode:
    return nbformat.read(file, as_version=4)
