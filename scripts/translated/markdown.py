"""What readers see of a MyST source: its blocks, and the code of its cells."""

from __future__ import annotations

import re

from published.blocks import DECORATION, FENCE, MATH, OPTION, PLACE, closing

from . import code
from .spans import Span

FRONT = re.compile(r"\A---\n.*?\n---\n", re.S)
DESCRIPTION = re.compile(r"(?P<head>^ *description:)(?P<body> *(?:>-?)?(?:\n +[^\n]+)+| [^\n]+)", re.M)
ITEM = re.compile(r"(?P<head>\s*(?:[-*+]|\d+[.)])\s+(?:\[[ x]\]\s+)?)(?P<text>\S.*)")
HEADING = re.compile(r"(?P<head>\s*#{1,6}\s+)(?P<text>.+?)\s*$")
QUOTE = re.compile(r"\s*>\s?")
RULE = re.compile(r"\s*(?:\|?[\s:|-]*-{3,}[\s:|-]*|\+\+\+.*|-{3,})$")
SUMMARY = re.compile(r"<summary>(?P<text>.*?)</summary>")
TEXT = re.compile(r"(?P<before>[_^]?\{?|\w)\\text\{(?P<text>[^{}]*)\}")
SHELL = re.compile(r"(?<=\s)#\s+(?P<text>\S.*)$", re.M)
WORDLESS = re.compile(
    r"\$[^$]*\$|`[^`]*`|\{[\w:]+\}`[^`]*`|\]\([^)]*\)|\]\{#[^}]*\}|<[^>]*>|\{\{.*?\}\}|https?://\S+", re.S
)


def has_words(text: str) -> bool:
    """True if something is left to translate once formulas, code and links are taken away."""
    return bool(re.search(r"[A-Za-z]{2,}|\ba\b", WORDLESS.sub(" ", text)))


def spans(source: str) -> list[Span]:
    """Every message of a source, in order; a page's text outside them stays as it is."""
    front = FRONT.match(source)
    start = front.end() if front else 0
    found = []
    if front and (match := DESCRIPTION.search(source, 0, start)):
        said = " ".join(match["body"].replace(">-", " ", 1).split()).strip("\"'")
        write = lambda text: " " + json_string(text)  # noqa: E731
        found.append(Span(match.start("body"), match.end("body"), said, "description", write))
    return found + [span.moved(start) for span in blocks(source[start:])]


def json_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def blocks(source: str) -> list[Span]:
    """The messages of a text without a header."""
    lines = source.split("\n")
    starts = code.offsets(source)
    found: list[Span] = []
    run: list[int] = []  # the lines of the paragraph or item that is being read

    def end() -> None:
        if run:
            found.extend(paragraph(lines, starts, run))
            run.clear()

    at = 0
    while at < len(lines):
        line = lines[at]
        fence = FENCE.match(line)
        if fence and fence["info"].strip() != "" and fence["fence"].startswith(":"):
            end()
            at += 1
            found.extend(directive(line, starts[at - 1]))
            while at < len(lines) and (option := OPTION.match(lines[at].strip())):
                if option["name"] == "alt":
                    place = starts[at] + lines[at].index(option["value"])
                    found.append(Span(place, place + len(option["value"]), option["value"], "alt"))
                at += 1
        elif fence and fence["fence"].startswith(":"):  # the end of one
            end()
            at += 1
        elif fence:
            end()
            last = closing(lines, at, fence["fence"])
            found.extend(fenced(fence["info"].strip(), lines, starts, at, last))
            at = last + 1
        elif line.lstrip().startswith("$$"):
            end()
            match = MATH.match(source[starts[at] :])
            found.extend(formula(match[0], starts[at]))
            at += match[0].count("\n") + 1
        elif not line.strip() or PLACE.match(line) or DECORATION.match(line) or RULE.match(line):
            end()
            at += 1
        elif line.lstrip().startswith(("<!--", "<details", "</details", "<div", "</div", "%")):
            end()
            for match in SUMMARY.finditer(line):
                place = starts[at] + match.start("text")
                found.append(Span(place, starts[at] + match.end("text"), match["text"], "fold"))
            at += 1
        elif line.lstrip().startswith("|") or HEADING.match(line):
            end()
            run.append(at)
            end()
            at += 1
        else:
            if ITEM.match(line):
                end()
            run.append(at)
            at += 1
    end()
    return [span for span in found if span.kind in ("formula", *CODE) or has_words(span.message)]


CODE = ("text", "f-string", "docstring", "comment")


def paragraph(lines: list[str], starts: list[int], run: list[int]) -> list[Span]:
    """The message of some lines that belong together."""
    first, last = run[0], run[-1]
    line, finish = lines[first], starts[last] + len(lines[last])
    if match := HEADING.match(line):
        at = starts[first] + match.start("text")
        return [Span(at, at + len(match["text"]), match["text"], "heading")]
    if line.lstrip().startswith("|"):
        at = starts[first] + len(line) - len(line.lstrip())
        return [Span(at, finish, line.strip(), "row")]
    if match := ITEM.match(line):
        at, kind = starts[first] + match.start("text"), "item"
    else:
        quote = QUOTE.match(line)
        at, kind = starts[first] + (quote.end() if quote else len(line) - len(line.lstrip())), "paragraph"
    texts = [lines[number] for number in run]
    if QUOTE.match(line):
        texts = [QUOTE.sub("", text, count=1) for text in texts]
    texts[0] = lines[first][at - starts[first] :]
    return [Span(at, finish, " ".join(text.strip() for text in texts), kind)]


def directive(line: str, start: int) -> list[Span]:
    """The title of an admonition or fold."""
    match = re.match(r"\s*:{3,}\{(?P<name>[\w:-]+)\}\s*(?P<text>.*)$", line)
    if (
        match
        and match["text"].strip()
        and match["name"] in ("admonition", "dropdown", "note", "tip", "warning")
    ):
        return [Span(start + match.start("text"), start + match.end("text"), match["text"], "fold")]
    return []


def fenced(info: str, lines: list[str], starts: list[int], first: int, last: int) -> list[Span]:
    """The messages of a fence: of a code cell's code, of the comments of shell commands."""
    inside = first + 1
    if info.startswith("{code-cell}"):
        while inside < last and (OPTION.match(lines[inside]) or lines[inside].strip() == ""):
            inside += 1
        return [span.moved(starts[inside]) for span in code.spans("\n".join(lines[inside:last]))]
    if info == "python":
        return [span.moved(starts[inside]) for span in code.spans("\n".join(lines[inside:last]))]
    if info in ("bash", "sh", "console"):
        text, base = "\n".join(lines[inside:last]), starts[inside]
        return [
            Span(base + match.start("text"), base + match.end("text"), match["text"], "comment")
            for match in SHELL.finditer(text)
        ]
    return []


def formula(text: str, start: int) -> list[Span]:
    r"""The words of a displayed formula, \text{with}; one that is an index of a symbol is part of the symbol."""
    return [
        Span(start + match.start("text"), start + match.end("text"), match["text"].strip(), "formula",
             lambda said, old=match["text"]: old.replace(old.strip(), said))
        for match in TEXT.finditer(text)
        if match["before"][:1] not in ("_", "^") and has_words(match["text"])
    ]  # fmt: skip
