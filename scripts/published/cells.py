"""The text of a cell, and the cells of a chapter, as published."""

from __future__ import annotations

import copy
import re

import nbformat
from nbformat import NotebookNode
from translated.words import say

from .blocks import Block, Unpublishable, breaks_lines, indented, not_allowed, parse
from .book import Book, flat
from .faults import faults
from .inline import cited, inline

NOTES = ("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error", "seealso")
LOOKS = {"class", "name", "open", "icon", "color", "animate", "width", "height", "align", "figclass", "scale"}
OPTIONS = {"image": LOOKS | {"alt"}, "figure": LOOKS | {"alt"}, "math": LOOKS | {"label"}}  # of others: LOOKS
ASIDES = "admonition, dropdown, " + ", ".join(NOTES)
DIRECTIVES = f"{ASIDES}, code, code-block, figure, image, math, playground, stage"
FOLD = re.compile(r"<details\b[^>]*>\s*<summary>(?P<title>.*?)</summary>|(?P<end></details>)", re.S)
HEADING = re.compile(r"^(#{1,6}) ", re.M)
RULE = "---"


def formula(tex: str, label: str, book: Book) -> str:
    r"""A displayed formula with its number as `\tag{3}`."""
    if re.search(r"\n\s*\n", tex):
        raise not_allowed("a displayed formula", tex, "one without empty lines")
    if breaks_lines(tex):
        tex = f"\\begin{{split}}\n{tex.strip()}\n\\end{{split}}"
    tag = f"\n\\tag{{{book.number(label)}}}" if label else ""
    return f"$$\n{tex.strip()}{tag}\n$$"


def quoted(title: str, body: str) -> str:
    """A block quote with a bold title."""
    lines = [f"**{title}**", *(["", *body.split("\n")] if body else [])]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def head(name: str) -> str:
    """The title of a note that has none of its own."""
    said = {"note": say("Note"), "tip": say("Tip"), "hint": say("Hint"), "important": say("Important")}
    said |= {"warning": say("Warning"), "caution": say("Caution"), "seealso": say("See also")}
    return said.get(name, name.capitalize())


def opened(title: str) -> str:
    """The start of a fold. The title is bold, so that it is one where a reader takes the fold away."""
    return f"<details>\n<summary><b>{title}</b></summary>"


def directive(block: Block, book: Book, here: str) -> str:
    """A directive as plain Markdown."""
    name, argument, body = block.name, block.argument, block.body
    known = OPTIONS.get(name, LOOKS)
    if strange := sorted(set(block.options) - known):
        raise not_allowed(f"an option of {name}", ", ".join(strange), ", ".join(sorted(known)))
    if name in ("code", "code-block"):
        return f"```{argument}\n{body}\n```"
    if name == "math":
        return formula("\n".join(filter(None, (argument, body))), block.options.get("label", ""), book)
    if name in ("image", "figure"):
        alt = block.options.get("alt", "").replace("\n", " ")
        if not alt:
            raise not_allowed("the alternative text of a picture", alt, "`:alt:` with what it shows")
        picture = f"![{alt}]({book.image(argument)})"
        return "\n\n".join(filter(None, (picture, text(body, book, here))))
    inside = text(body, book, here)
    if name in ("playground", "stage"):
        live = say("Live on [the page of this chapter]({page}).", page=book.page_address(here))
        return quoted(live, inside)
    if name == "dropdown" or (
        name in ("admonition", *NOTES) and "dropdown" in block.options.get("class", "")
    ):
        return f"{opened(argument or head(name))}\n\n{inside}\n\n</details>"
    if name == "admonition":
        return quoted(inline(argument, book, here), inside)
    if name in NOTES:
        first = f"{argument}\n{body}" if argument else body
        return quoted(head(name), text(first, book, here))
    raise not_allowed("a directive", name, DIRECTIVES)


def text(source: str, book: Book, here: str) -> str:
    """A text of the page `here`, published."""
    made = []
    for block in parse(source):
        if block.kind == "prose":
            made.append(inline(block.body, book, here))
        elif block.kind == "code":
            made.append(block.body)
        elif block.kind == "math":
            made.append(indented(formula(block.body, block.name, book), block.indent))
        elif block.kind == "directive":
            made.append(indented(directive(block, book, here), block.indent))
    return "\n".join(made).strip("\n")


def pairs(sources: list[str]) -> dict[tuple[int, int], bool]:
    """From each end of a fold, (cell, place), to whether the other end stands in the same cell.

    Raises Unpublishable for a fold without its other end.
    """
    whole: dict[tuple[int, int], bool] = {}
    waiting: list[tuple[int, int]] = []
    for number, source in enumerate(sources):
        for match in FOLD.finditer(source):
            end = (number, match.start())
            if match["end"] is None:
                waiting.append(end)
            elif waiting:
                start = waiting.pop()
                whole[start] = whole[end] = start[0] == number
            else:
                raise not_allowed(
                    "</details>", source[max(0, end[1] - 60) : match.end()], "after <details><summary>"
                )
    if waiting:
        number, at = waiting[-1]
        raise not_allowed("<details>", sources[number][at : at + 60], "one that is closed")
    return whole


def folds(sources: list[str]) -> list[str]:
    """The texts of a notebook's Markdown cells with their folds as every reader shows them.

    A fold inside one cell is <details> with a bold title. One that goes on over code cells cannot be, since a reader
    draws each cell by itself: its title becomes a heading, and its end a rule, unless a heading follows.
    """
    whole, made, level = pairs(sources), [], 1

    for number, source in enumerate(sources):
        piece, at = "", 0
        for match in FOLD.finditer(source):
            before, inside = source[at : match.start()], whole[number, match.start()]
            at, level = match.end(), last_level(before, level)
            if inside:
                new = "</details>" if match["end"] else opened(match["title"].strip())
            elif match["end"] is None:
                new = f"{'#' * min(level + 1, 6)} {match['title'].strip()}"
            else:
                new = "" if source[at:].lstrip("\n").startswith("#") else RULE
            piece = piece + before + new if new else (piece + before).rstrip("\n")
        level = last_level(source[at:], level)
        made.append(piece + source[at:])
    return made


def last_level(text: str, level: int) -> int:
    """The level of a text's last heading; `level` if it has none."""
    found = HEADING.findall(text)
    return len(found[-1]) if found else level


def references(sources: list[str], book: Book) -> NotebookNode | None:
    """The cell that lists what the texts cite; None if they cite nothing."""
    blocks = [block for source in sources for block in flat(parse(source))]
    keys = {key for b in blocks for key in cited(b.body if b.kind == "prose" else b.argument)}
    if not keys:
        return None
    lines = "\n".join(f"- {line}" for line in book.papers.listed(keys))
    cell = nbformat.v4.new_markdown_cell(f"## {say('References')}\n\n{lines}")
    cell["id"] = "references"
    return cell


def publish(notebook: NotebookNode, book: Book, here: str) -> NotebookNode:
    """A chapter's notebook with its Markdown cells published and its references listed at the end.

    Code cells, outputs, tags and the names of cells stay as they are. Raises Unpublishable with the cell named.
    """
    if here not in book.pages:
        raise not_allowed("a chapter", here, "one that _toc.yml names")
    made = copy.deepcopy(notebook)
    made.metadata.pop("jupytext", None)
    cells = [cell for cell in made.cells if cell.cell_type == "markdown"]
    sources = [cell.source for cell in cells]
    try:
        folded = folds(sources)
    except Unpublishable as error:
        raise Unpublishable(f"{here}: {error}") from None
    for cell, source in zip(cells, folded, strict=True):
        try:
            cell.source = text(source, book, here)
            if found := faults(cell.source):
                raise Unpublishable("; ".join(found))
        except Unpublishable as error:
            start = source.strip().partition("\n")[0][:60]
            raise Unpublishable(f"{here}, cell {cell['id']} ({start!r}): {error}") from None
    listed = references(sources, book)
    if listed is not None:
        made.cells.append(listed)
    return made
