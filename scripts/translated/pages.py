"""Pages in another language: the source with its messages translated; what is open stays English and says so."""

from __future__ import annotations

import re

from . import code, markdown
from .spans import Span, replaced

OPEN = "〔此段尚未翻译〕"
MARKED = ("paragraph", "item")  # kinds that carry the note themselves; the note at the top counts the others
TITLE = re.compile(r"^# .+$", re.M)
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?P<body>.*?)^```$", re.M | re.S)


def made(source: str, words: dict[str, str], language: str) -> tuple[str, int]:
    """(a page's source in another language, how many of its messages are still English).

    Raises ValueError where the program of a cell would be another one.
    """
    left = 0

    def say(span: Span) -> str | None:
        nonlocal left
        found = words.get(span.message)
        if found is not None:
            return found
        left += 1
        return f"{span.message} {OPEN}" if span.kind in MARKED else None

    text = replaced(source, markdown.spans(source), say)
    differences(source, text)
    if left:
        note = f"*{OPEN[1:-1].replace('此段', f'本页有 {left} 处')}，暂以英文显示。*"
        text = TITLE.sub(lambda found: f"{found[0]}\n\n{note}", text, count=1)
    if "\nkernelspec:\n" in text:
        text = text.replace("---\n", f"---\nlanguage: {language}\n", 1)
    return text, left


def cells(source: str) -> list[str]:
    """The code of a source's cells."""
    found = []
    for match in CELL.finditer(source):
        lines = match["body"].split("\n")
        while lines and (lines[0].startswith(":") or not lines[0].strip()):
            lines.pop(0)
        found.append("\n".join(lines))
    return found


def differences(source: str, text: str) -> None:
    """Raise ValueError with the cell where two languages' programs differ in more than what readers see."""
    ours, theirs = cells(source), cells(text)
    if len(ours) != len(theirs):
        raise ValueError(f"the cells are {len(theirs)}; allowed: {len(ours)}, as in English")
    for old, new in zip(ours, theirs, strict=True):
        if old != new and code.skeleton(old) != code.skeleton(new):
            raise ValueError(f"a cell is another program than in English:\n{new}")
