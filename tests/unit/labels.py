"""What holds the displayed equations of a chapter to their checks, for all chapters alike."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path


def hold(chapter: Path, checks: Mapping[str, Callable]) -> None:
    """Every displayed equation has a label, every label a check in the chapter's order, every reference a label."""
    text = chapter.read_text(encoding="utf-8")
    labels = re.findall(r"^\$\$ \(([\w-]+)\)$", text, re.M)
    assert labels == list(checks), "in the order of the chapter"
    assert text.count("\n$$") == 2 * len(labels), "no displayed equation without a label"
    assert set(re.findall(r"\{eq\}`([\w-]+)`", text)) <= set(labels)
