"""The words of figures and tables that come out of data: taken from what the English notebooks drew.

Their numbers are taken out, as `diffusion_tutorial.words.shown` looks for them. What a cell's code says itself (a caption,
a title) is in its page's catalogue; whatever reaches `plots` by way of data is here.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from .code import has_words

SVG = re.compile(r'data:image/svg\+xml;base64,([^"]+)"')
TEXT = re.compile(r"<text[^>]*>(?:<tspan[^>]*>)?([^<]+)<")
CELL = re.compile(
    r"<(?:t[hd]|summary|dt|caption|label)\b[^>]*>(.*?)</(?:t[hd]|summary|dt|caption|label)>", re.S
)
NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(?:[.,]\d+)*")
LONGEST = 90  # letters; what is longer is an excerpt or a note of a source, and stays as it was read


def pattern(text: str) -> str:
    """As `diffusion_tutorial.words.pattern`; a test holds the two together."""
    count = iter(range(1, 1000))
    return NUMBER.sub(lambda _: f"{{{next(count)}}}", " ".join(text.split()))


def drawn(path: Path) -> Iterator[str]:
    """The texts of a notebook's figures and tables."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", ()):
            page = output.get("data", {}).get("text/html", "")
            page = "".join(page)
            for match in SVG.finditer(page):
                for text in TEXT.findall(base64.b64decode(match[1]).decode()):
                    yield html.unescape(text)
            for text in CELL.findall(page):
                code = re.sub(r"</?code>", "`", text)
                yield html.unescape(re.sub(r"<[^>]+>", "", code))


def messages(folder: Path) -> Iterator[str]:
    """The patterns of all texts that have words, from every notebook of a folder."""
    for path in sorted(folder.glob("*.ipynb")):
        for text in drawn(path):
            said = pattern(text)
            if said and len(said) <= LONGEST and has_words([re.sub(r"\{\d+\}", " ", said)]):
                yield said
