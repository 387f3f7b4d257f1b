"""How long a chapter takes to read: `python scripts/reading_time.py [name ...]` prints both times of each.

Words of text at 200 a minute. The core path is what stands open from the top to `## Limits`; the whole is every word, with
folds, limits, exercises and quiz. Code, displayed formulas and what cells show are not counted; a formula in a line is a
word. The line "**Time:**" of a chapter states both, and a test holds it to these numbers.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from notebooks import chapters

BOOK = Path(__file__).resolve().parents[1] / "book"
A_MINUTE = 200  # words
END = re.compile(r"^## (?:Limits|Exercises)\b", re.M)  # of the core path
DEEPER = re.compile(r"^(#{3,}) [^\n]*\n\n<!-- deeper -->.*?(?=^#{2,3} |\Z)", re.M | re.S)
FOLD = re.compile(r"<details.*?</details>", re.S)


def text_of(source: str) -> str:
    """A chapter's text alone: no header, code, displayed formula, comment or directive."""
    source = re.sub(r"\A---\n.*?\n---\n", "", source, flags=re.S)
    source = re.sub(r"^(```|:::)\{.*?^\1\s*$", "", source, flags=re.M | re.S)
    source = re.sub(r"^\$\$\n.*?^\$\$[^\n]*$", "", source, flags=re.M | re.S)
    source = re.sub(r"\$[^$]+\$", "x", source)
    return re.sub(r"\{[\w:]+\}`[^`]*`|\]\([^)]*\)", " ", source)


def words(source: str) -> int:
    plain = re.sub(r"<[^>]*>|[|*#`\[\]]", " ", source)
    return sum(bool(re.search(r"\w", word)) for word in plain.split())


def minutes(source: str) -> tuple[float, float]:
    """(core, whole) of a chapter's source, in minutes."""
    text = text_of(source)
    end = END.search(text)
    core = FOLD.sub("", DEEPER.sub("", text[: end.start() if end else len(text)]))
    return words(core) / A_MINUTE, words(text) / A_MINUTE


def main() -> int:
    for path in chapters(BOOK):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            core, whole = minutes(path.read_text(encoding="utf-8"))
            print(f"{path.stem}: {core:.0f} minutes for the core path, {whole:.0f} for all of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
