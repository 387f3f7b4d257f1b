"""What readers see of YAML files: the words of the stages, the site's title, the captions of its contents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .code import has_words

SETTINGS = {"at", "set", "file", "mode", "models", "word"}  # values of controls and names of files, not words
SITE = {"_config.yml": ("title", "author", "html.extra_footer", "sphinx.config.html_theme_options.toc_title")}


def leaves(tree: Any) -> Iterator[str]:
    """The texts of a tree of dictionaries and lists, in order."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key not in SETTINGS:
                yield from leaves(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from leaves(value)
    elif isinstance(tree, str) and has_words([re.sub(r"\{\w+\}", " ", tree)]):
        yield tree.strip()


def translated(tree: Any, words: dict[str, str]) -> Any:
    """The tree with every text that has a translation translated."""
    if isinstance(tree, dict):
        return {k: v if k in SETTINGS else translated(v, words) for k, v in tree.items()}
    if isinstance(tree, list):
        return [translated(value, words) for value in tree]
    return words.get(tree.strip(), tree) if isinstance(tree, str) else tree


def at(tree: dict, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree


def site(root: Path) -> Iterator[str]:
    """The texts of _config.yml that the site shows, and the captions of _toc.yml."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    for path in SITE["_config.yml"]:
        yield at(config, path).strip()
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        yield part["caption"]


DRAWN = re.compile(
    r"(?P<open><(?:title|desc|text|tspan|figcaption)\b[^>]*>|aria-label=\")(?P<text>[^<\"]*[A-Za-z]{2}[^<\"]*)(?=[<\"])"
)


def drawing(text: str) -> Iterator[str]:
    """The words of a drawing in HTML or SVG."""
    for match in DRAWN.finditer(text):
        yield " ".join(match["text"].split())


def drawn(text: str, words: dict[str, str]) -> str:
    """The drawing with its words translated."""
    return DRAWN.sub(
        lambda match: match["open"] + words.get(" ".join(match["text"].split()), match["text"]), text
    )
