"""Code on a page, in three kinds: what teaches is open, plumbing and checks are folded to one line.

The kind is a tag of the cell in book/*.md, and where there is none it is told from the code:

- `teaching`: the method itself. Open.
- `plumbing`: imports, set-up, drawing, tables. Folded to what the cell's first comment says; what it draws stays.
- `check`: asserts. Folded to "✓ checked:" with the cell's own output; opens to the code.

Folds are <details>: they need no script, open by the keyboard, and the notebook has every cell as it is. A switch at
the top of a chapter opens all of them and is remembered (book/_static/site.mjs).
"""

from __future__ import annotations

import ast
import re
from html import escape

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from words import say

logger = logging.getLogger(__name__)
KINDS = ("teaching", "plumbing", "check")
DRAWING = {"plots", "animate", "figures", "display", "table", "show", "curves", "page", "fields", "pictures"}
SHARE = 0.5  # of a cell's lines that draw, or that check and print, above which it is plumbing or a check
LONGEST = 110  # characters of a line of output that a fold's line can hold


def switch() -> str:
    """What opens the folds of all cells."""
    return (
        f'<fieldset class="dt-switch pst-js-only"><legend>{say("Show")}</legend>'
        f'<label><input type="radio" name="code" value="" checked>{say("reading")}</label>'
        f'<label><input type="radio" name="code" value="all">{say("with all code")}</label></fieldset>'
    )


def parsed(source: str) -> ast.Module | None:
    """The cell's code; None where it is no Python."""
    try:
        return ast.parse(
            "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.splitlines())
        )
    except SyntaxError:
        return None


def root(node: ast.expr) -> str:
    """The first name of `a.b(c).d`."""
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def called(statement: ast.stmt) -> str:
    """The root of the call that a statement is, or ''."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return root(statement.value)
    return ""


def draws(statement: ast.stmt) -> bool:
    name = called(statement)
    return name in DRAWING or name.endswith("_widget")


def checks(statement: ast.stmt) -> bool:
    """An assert, a print, or a loop or choice of nothing else."""
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, (ast.For, ast.If, ast.With)):
        return all(checks(child) for child in [*statement.body, *getattr(statement, "orelse", [])])
    return called(statement) in ("print", "check")


def defines(tree: ast.Module) -> bool:
    return any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(tree))


def lines_of(statement: ast.stmt) -> int:
    return statement.end_lineno - statement.lineno + 1


def kind(source: str, tags: list[str]) -> str:
    """Which of KINDS a cell is: by its tag, else by its code."""
    for tag in KINDS:
        if tag in tags:
            return tag
    tree = parsed(source)
    if tree is None or not tree.body:
        return "teaching"
    body = tree.body
    if all(isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in body):
        return "plumbing"
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
    checking = sum(lines_of(statement) for statement in body if checks(statement))
    if asserts and checking >= SHARE * sum(map(lines_of, body)) and not defines(tree):
        return "check"
    drawing = sum(lines_of(statement) for statement in body if draws(statement))
    if not asserts and drawing >= SHARE * sum(map(lines_of, body)):
        return "plumbing"
    return "teaching"


def comment(source: str) -> str:
    """The comment with which a cell begins, as a sentence without its full stop."""
    found = []
    for line in source.strip().splitlines():
        match = re.match(r"#(?!\s*%%)\s?(.*)", line)
        if not match:
            break
        found.append(match[1].strip())
    return " ".join(found).strip().rstrip(".。")


def says(source: str, outputs: list[nodes.Node]) -> str:
    """One line for a cell of plumbing."""
    words = comment(source)
    if words:
        return words
    tree = parsed(source)
    if tree and all(isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in tree.body):
        return say("Imports")
    if "widget" in source:
        return say("Makes the controls")
    drawn = " ".join(node.astext() for output in outputs for node in output.findall(nodes.raw))
    if "dt-animation" in drawn:
        return say("Draws the moving picture")
    if "<table" in drawn and "<img" not in drawn:
        return say("Makes the table")
    if "<img" in drawn or "<svg" in drawn or "plots." in source:
        return say("Draws the figure")
    return say("Shows the result")


def condition(source: str) -> str:
    """What a check without output asserts, as code."""
    tree = parsed(source)
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)] if tree else []
    if not asserts:
        return ""
    text = ast.unparse(asserts[0].test)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


def printed(outputs: list[nodes.Node]) -> list[str]:
    """The lines that a cell wrote."""
    text = "\n".join(node.astext() for output in outputs for node in output.findall(nodes.literal_block))
    return [line.strip() for line in text.splitlines() if line.strip()]


def opening(classes: str, summary: str) -> nodes.raw:
    return nodes.raw("", f'<details class="dt-code {classes}"><summary>{summary}</summary>\n', format="html")


def closing() -> nodes.raw:
    return nodes.raw("", "</details>\n", format="html")


def fold(cell: nodes.container) -> None:
    """Put a cell's code, or all of it, into a fold, as its kind asks."""
    sources = [child for child in cell.children if child.get("nb_element") == "cell_code_source"]
    outputs = [child for child in cell.children if child.get("nb_element") == "cell_code_output"]
    if not sources or "hide_mode" in cell:
        return
    source = sources[0].astext()
    which = kind(source, cell.get("cell_metadata", {}).get("tags", []))
    cell["classes"].append(f"dt-{which}-cell")
    if which == "teaching":
        return
    if which == "plumbing":
        start = opening(
            "dt-plumbing", f'{escape(says(source, outputs))} <span class="dt-what">{say("code")}</span>'
        )
        cell.children = [start, *sources, closing(), *outputs]
    else:
        lines = printed(outputs)
        if len(lines) == 1 and len(lines[0]) <= LONGEST:
            words, inside, after = escape(lines[0]), outputs, []
        elif lines:
            words, inside, after = escape(comment(source) or say("what is printed below")), [], outputs
        else:
            words = escape(comment(source)) or f"<code>{escape(condition(source))}</code>"
            inside, after = outputs, []
        done, what = say("✓ checked:"), say("code")
        start = opening("dt-check", f'<b>{done}</b> {words} <span class="dt-what">{what}</span>')
        cell.children = [start, *sources, *inside, closing(), *after]
    for child in cell.children:
        child.parent = cell


def fold_cells(app: Sphinx, doctree: nodes.document) -> None:
    cells = [n for n in doctree.findall(nodes.container) if n.get("nb_element") == "cell_code"]
    for cell in cells:
        fold(cell)
    title = next(doctree.findall(nodes.title), None)
    if cells and title is not None:
        title.parent.insert(title.parent.index(title) + 1, nodes.raw("", switch(), format="html"))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", fold_cells)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
