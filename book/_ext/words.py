"""The site's own words in the language that is built: `say("English")`, from translations/LANGUAGE/words.po.

The first of the extensions, so that the others may ask. Templates have `say` too.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from translated.site import SPOKEN
from translated.words import known, language, say, speak

__all__ = ["SPOKEN", "folder", "known", "language", "say"]


def folder() -> str:
    """The folder of the site that is built, as "zh/"; "" for English."""
    return f"{SPOKEN[language()]}/" if language() else ""


def choose(app: Sphinx, config) -> None:
    speak(config.language if config.language in SPOKEN else "")


def offer(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    context["say"] = say


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", choose, priority=10)
    app.connect("html-page-context", offer, priority=10)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
