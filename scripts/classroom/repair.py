"""A student's notebook, brought back into the release's order. What was mended is said, in a sentence each."""

from __future__ import annotations

import ast
import copy
import json
from pathlib import Path

import nbformat
from nbformat import NotebookNode


def repair(submitted: NotebookNode, release: NotebookNode, gives: dict[str, tuple[str, ...]] | None = None):
    """(notebook, remarks): the release's cells, with the student's answers and own cells in their places.

    Locked and test cells are the release's, whatever was done to them. An answer cell is found by its mark, else by
    its id, else by the names that it defines (`gives`: names by answer). A pasted copy of one runs as a plain cell
    after it. Cells of the student's own stay behind the cell that they followed.
    """
    ours = {mark(c)["grade_id"]: c for c in release.cells if mark(c)}
    unmarked = {cell.get("id"): cell for cell in release.cells if not mark(cell)}
    gives = gives or {}
    remarks, answers, copies, behind = [], {}, {}, {None: []}
    seen, tests = set(), set()
    at = None

    def plain(cell):
        made = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        return made(str(cell.get("source", "")))

    known = {id(c): found(c, ours, unmarked) for c in submitted.get("cells", [])}
    there = {key for key in known.values() if key}
    for cell in submitted.get("cells", []):
        key = known[id(cell)]
        if key is None and cell.get("cell_type") == "code":
            defined = names(str(cell.get("source", "")))
            key = next(
                (k for k, n in gives.items() if k not in there and set(n) & defined and k not in answers),
                None,
            )
            if key is not None:
                remarks.append(
                    f"the cell of {key!r} had lost its mark, and was known by the names that it gives"
                )
        elif key in ours and not mark(cell):
            remarks.append(f"the cell of {key!r} had lost its mark")
        if key is None:
            if str(cell.get("source", "")).strip() and cell.get("cell_type") in ("code", "markdown"):
                behind.setdefault(at, []).append(plain(cell))
            continue
        if key in ours and mark(ours[key])["solution"]:
            source = str(cell.get("source", ""))
            if key not in answers or answers[key] == ours[key].source:
                if key in answers:
                    remarks.append(f"the cell of {key!r} was there twice; the untouched copy is left out")
                answers[key] = source
            elif source not in (ours[key].source, answers[key]):
                pasted = plain(cell)
                pasted.metadata["copy_of"] = key
                copies.setdefault(key, []).append(pasted)
                remarks.append(f"the cell of {key!r} was there twice; both run, in their order")
            else:
                remarks.append(f"the cell of {key!r} was there twice; one of the two is left out")
        elif key in seen and key in ours:
            remarks.append(f"the cell {key!r} was there twice; the release's is taken")
        elif key in ours and str(cell.get("source", "")) != ours[key].source:
            remarks.append(f"the cell {key!r} was altered; the release's is taken")
        seen.add(key)
        tests.add(key)
        at = key
    made = copy.deepcopy(release)
    cells = list(behind[None])
    for cell in made.cells:
        key = mark(cell)["grade_id"] if mark(cell) else cell.get("id")
        if key in answers:
            cell.source = answers[key]
        if mark(cell) and key not in seen:
            remarks.append(f"the cell {key!r} was missing, and is put back")
        cells += [cell, *copies.get(key, []), *behind.get(key, [])]
    made.cells = cells
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return made, list(dict.fromkeys(remarks))


def mark(cell) -> dict:
    """nbgrader's mark of a cell, or {}."""
    found = cell.get("metadata", {}).get("nbgrader", {})
    return found if isinstance(found, dict) and isinstance(found.get("grade_id"), str) else {}


def found(cell, ours: dict, unmarked: dict) -> str | None:
    """The release's cell that this is: by nbgrader's mark, by its id, by its text."""
    name = mark(cell).get("grade_id")
    if name in ours:
        return name
    if cell.get("id") in ours and ours[cell["id"]].cell_type == cell.get("cell_type"):
        return cell["id"]
    if cell.get("id") in unmarked and unmarked[cell["id"]].source == cell.get("source"):
        return cell["id"]
    source = str(cell.get("source", "")).strip()
    same = (k for k, c in ours.items() if source and c.source.strip() == source and not mark(c)["solution"])
    return next(same, None)


def names(source: str) -> set[str]:
    """Names that a cell defines at its top; none if it is no Python."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return set()
    found = {s.name for s in body if isinstance(s, ast.FunctionDef | ast.ClassDef)}
    return found | {
        t.id for s in body if isinstance(s, ast.Assign) for t in s.targets if isinstance(t, ast.Name)
    }


def read(folder: Path, name: str):
    """(notebook, remarks) of what a student handed in as `name`; an empty notebook where nothing can be read."""
    remarks = []
    file = folder / f"{name}.ipynb"
    if not file.is_file():
        others = sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
        if len(others) != 1:
            called = ", ".join(str(p.relative_to(folder)) for p in others[:5]) or "none"
            return nbformat.v4.new_notebook(), [
                f"there is no {name}.ipynb, and notebooks: {called}; graded as empty"
            ]
        file = others[0]
        remarks.append(f"the file is called {file.name!r}, and is taken for {name}.ipynb")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
            raise ValueError("no cells")
        for cell in data["cells"]:
            source = cell["source"]
            cell["source"] = "".join(source) if isinstance(source, list) else str(source)
            if not isinstance(cell.get("metadata"), dict):
                cell["metadata"] = {}
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        return nbformat.v4.new_notebook(), [*remarks, f"the file is no notebook ({error}); graded as empty"]
    return nbformat.from_dict(data), remarks
