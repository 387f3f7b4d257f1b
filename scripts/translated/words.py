"""Words of the site's frame, of published notebooks and of the programs in the page: `say("English")` marks them.

`speak(language)` chooses what `say` answers in this process. In JavaScript `say` fills in its fields, and the copy of a
file for another language has its texts exchanged (`exchanged`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from . import catalogue

FOLDER = Path(__file__).resolve().parents[2] / "translations"
TEMPLATE = re.compile(r'\bsay\(\s*"(?P<text>(?:[^"\\]|\\.)*)"')
_now: dict[str, str] = {}
_language = ""


def speak(language: str, names: tuple[str, ...] = ("words", "stages", "playground")) -> None:
    """Let `say` answer in a language, "" for English."""
    global _language
    _now.clear()
    _language = language
    for name in names if language else ():
        _now.update(catalogue.translations(catalogue.read(FOLDER / language / f"{name}.po")))


def language() -> str:
    """What is spoken: "" is English."""
    return _language


def say(text: str, /, **fields: object) -> str:
    """A text in the language that is spoken, with its {fields} filled in."""
    said = _now.get(text, text)
    return re.sub(r"\{(\w+)\}", lambda found: str(fields.get(found[1], found[0])), said)


def known() -> dict[str, str]:
    return dict(_now)


def marked(path: Path) -> Iterator[str]:
    """The texts that a file marks with `say`, in order."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        calls = [
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call)
            and "say" in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
            and node.args
        ]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            if isinstance(call.args[0], ast.Constant):
                yield call.args[0].value
    else:
        for match in TEMPLATE.finditer(text):
            yield json.loads(f'"{match["text"]}"')


def exchanged(text: str, words: dict[str, str]) -> str:
    """A JavaScript file with what it marks said in another language."""

    def one(match: re.Match) -> str:
        said = words.get(json.loads(f'"{match["text"]}"'))
        return match[0] if said is None else f"say({json.dumps(said, ensure_ascii=False)}"

    return TEMPLATE.sub(one, text)
