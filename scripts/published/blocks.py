"""A MyST text as blocks: prose, fenced code, displayed formulas, directives, names of places."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}(?=[^`]*$)|~{3,}|:{3,})(?P<info>.*)$")
DIRECTIVE = re.compile(r"\{(?P<name>[\w:+.-]+)\}\s*(?P<argument>.*)")
OPTION = re.compile(r":(?P<name>[\w-]+):(?:\s+(?P<value>.*))?$")
MATH = re.compile(
    r"(?P<indent> *)\$\$(?P<body>.+?)\$\$[ \t]*(?:\((?P<label>[\w:-]+)\))?[ \t]*(?=\n|\Z)", re.S
)
PLACE = re.compile(r"\((?P<name>[\w:-]+)\)=\s*$")
# `\\` where a line of a formula ends, and what opens and closes a group in which one belongs to the group.
TOKENS = re.compile(r"\\begin\b|\\end\b|\\\\|(?<!\\)[{}]|\\[{}]")
DECORATION = re.compile(r"\{[.#][\w-]+(?:\s+[.#]?[\w=\"-]+)*\}\s*$")


class Unpublishable(ValueError):
    """The source says something that has no form in a plain notebook."""


def not_allowed(name: str, value: object, allowed: str) -> Unpublishable:
    return Unpublishable(f"{name} is {value!r}; allowed: {allowed}")


@dataclass(frozen=True)
class Block:
    """A piece of a text.

    kind        "prose", "code" (a fence that stays as it is), "math", "directive", "place" (`(name)=`)
    body        its lines; of a formula the TeX, of a directive what stands in it without options
    indent      spaces before its first line
    name        of a directive or place; of a formula its label
    """

    kind: str
    body: str
    indent: str = ""
    name: str = ""
    argument: str = ""
    options: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> list[Block]:
    """The blocks of `text`, in order. Raises Unpublishable where a fence or formula is not closed."""
    lines, found, prose, at = text.split("\n"), [], [], 0

    def end_prose() -> None:
        if prose:
            found.append(Block("prose", "\n".join(prose)))
            prose.clear()

    while at < len(lines):
        line = lines[at]
        if match := FENCE.match(line):
            end = closing(lines, at, match["fence"])
            end_prose()
            found.append(fenced(match, lines[at : end + 1]))
            at = end + 1
        elif line.lstrip().startswith("$$"):
            match = MATH.match("\n".join(lines[at:]))
            if match is None:
                raise not_allowed(
                    "a displayed formula", line, "`$$`, TeX, `$$ (label)` on lines of their own"
                )
            end_prose()
            found.append(Block("math", match["body"].strip("\n"), match["indent"], match["label"] or ""))
            at += match[0].count("\n") + 1
        elif match := PLACE.match(line):
            end_prose()
            found.append(Block("place", "", name=match["name"]))
            at += 1
        elif DECORATION.match(line):  # `{.class}` before a block: looks, which a plain notebook has not
            at += 1
        else:
            prose.append(line)
            at += 1
    end_prose()
    return found


def closing(lines: list[str], start: int, fence: str) -> int:
    """The number of the line that closes the fence of line `start`."""
    end = re.compile(rf" *{re.escape(fence[0])}{{{len(fence)},}}\s*$")
    for number in range(start + 1, len(lines)):
        if end.match(lines[number]):
            return number
    raise not_allowed("a fence", lines[start], "one that is closed")


def fenced(match: re.Match, lines: list[str]) -> Block:
    """The block of a fence and all its lines."""
    indent, info = match["indent"], match["info"].strip()
    inside = [line.removeprefix(indent) for line in lines[1:-1]]
    directive = DIRECTIVE.fullmatch(info)
    if directive is None:
        if match["fence"].startswith(":"):
            raise not_allowed("a colon fence", lines[0].strip(), "`:::{name}`")
        return Block("code", "\n".join(lines), indent)
    options = {}
    while inside and (option := OPTION.match(inside[0])):
        options[option["name"]] = option["value"] or ""
        inside.pop(0)
    body = "\n".join(inside).strip("\n")
    return Block("directive", body, indent, directive["name"], directive["argument"].strip(), options)


def indented(text: str, indent: str) -> str:
    """`text` with `indent` before every line that is not empty."""
    return "\n".join(indent + line if line else line for line in text.split("\n"))


def breaks_lines(tex: str) -> bool:
    r"""True if `\\` stands in a formula outside every environment and brace, where only KaTeX breaks the line."""
    depth = 0
    for token in TOKENS.findall(tex):
        if token in (r"\begin", "{"):
            depth += 1
        elif token in (r"\end", "}"):
            depth -= 1
        elif token == r"\\" and depth == 0:
            return True
    return False
