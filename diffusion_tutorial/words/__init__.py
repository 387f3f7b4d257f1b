"""The words that readers see in figures, tables and widgets, in the language of the notebook.

The environment's DIFFUSION_TUTORIAL_LANGUAGE names the language, such as "zh_CN"; a notebook in another language than
English sets it in its first cell. `zh_CN.json` is made from translations/zh_CN/*.po by `make translations`; where it has
no word, the English one is shown. Prompts, names of models and errors stay English.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from functools import cache
from importlib.resources import files

NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(?:[.,]\d+)*")


def language() -> str:
    """The language asked for; "" for English, and for one that there are no words of."""
    asked = os.environ.get("DIFFUSION_TUTORIAL_LANGUAGE", "")
    return asked if asked and _words(asked) else ""


@cache
def _words(name: str) -> dict[str, str]:
    path = files(__name__) / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if re.fullmatch(r"\w+", name) and path.is_file() else {}


def pattern(text: str) -> str:
    """A text with its numbers taken out, {1}, {2}, …: "DDIM, 20 steps" is "DDIM, {1} steps"."""
    count = iter(range(1, 1000))
    return NUMBER.sub(lambda _: f"{{{next(count)}}}", " ".join(text.split()))


def say(text: str, /, **fields: object) -> str:
    """A text in the reader's language, with its {fields} filled in."""
    asked = language()
    said = _words(asked).get(text, text) if asked else text
    return re.sub(r"\{(\w+)\}", lambda found: str(fields.get(found[1], found[0])), said) if fields else said


def shown(text: str) -> str:
    """A label of a figure or table in the reader's language, whatever its numbers are."""
    asked = language()
    if not asked or not isinstance(text, str):
        return text
    plain, words = " ".join(text.split()), _words(asked)
    if plain in words:
        return words[plain]
    said = words.get(pattern(plain))
    if said is None:
        return text
    numbers = NUMBER.findall(plain)
    return re.sub(r"\{(\d+)\}", lambda found: numbers[int(found[1]) - 1], said)


def page(html: str) -> str:
    """A piece of HTML with the words between its tags in the reader's language; attributes stay."""
    if not language():
        return html
    return re.sub(r">([^<>]*[A-Za-z]{2}[^<>]*)<", lambda found: f">{shown(found[1])}<", html)


def columns(text: str) -> int:
    """The width of a line in columns: a Han sign takes two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def wrapped(text: str, width: int) -> str:
    """A text in lines of at most about `width` columns; between Han signs a line may end anywhere."""
    lines, line = [], ""
    for unit in re.findall(r"[^\s\u2e80-\uffff]+\s*|.", text, re.S):
        if line and columns(line + unit.rstrip()) > width and unit[0] not in "，。；：、？！）”’":
            lines.append(line.rstrip())
            line = ""
        line += unit
    return "\n".join([*lines, line.rstrip()])
