"""What a reader that knows only plain Markdown and TeX would show raw, or as a dead link."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

RAW = {
    "a role": re.compile(r"\{[A-Za-z][\w:+-]*\}\s*$"),
    "a colon fence": re.compile(r":::"),
    "the name of a place": re.compile(r"^\([\w:-]+\)=", re.M),
    "an attribute or directive": re.compile(r"\{[.#%A-Za-z][^{}]*\}"),
    "a substitution": re.compile(r"\{\{|\}\}"),
    "a formula that does not end": re.compile(r"\$"),
    "a footnote": re.compile(r"\[\^"),
}
IN_HTML = {
    "Markdown inside HTML": re.compile(r"\]\(|`|\*\*|\$"),
    "an attribute or directive": re.compile(r"\{[A-Za-z.#]"),
}


@cache
def reader() -> MarkdownIt:
    return (
        MarkdownIt("commonmark").enable(["table", "strikethrough"]).use(dollarmath_plugin, allow_labels=False)
    )


def leaves(text: str) -> list[Token]:
    """The tokens of a text, those of its paragraphs in their place."""
    return [t for token in reader().parse(text) for t in ([token, *(token.children or [])])]


def faults(text: str) -> list[str]:
    """Each fault of a published text in words; empty if there is none."""
    found = []
    tokens = leaves(text)
    for before, token in zip([None, *tokens], tokens):
        if token.type == "text":
            found += [
                f"{name}: {token.content!r}" for name, form in RAW.items() if form.search(token.content)
            ]
        elif token.type in ("html_block", "html_inline"):
            found += [
                f"{name}: {token.content!r}" for name, form in IN_HTML.items() if form.search(token.content)
            ]
        elif token.type == "fence" and token.info.strip().startswith("{"):
            found.append(f"a directive: {token.info!r}")
        elif token.type == "link_close" and before.type == "link_open":
            found.append(f"an empty link to {before.attrs.get('href')!r}")
        elif token.type == "link_open" and not token.attrs.get("href"):
            found.append("a link to nowhere")
        elif token.type == "image" and not token.content.strip():
            found.append(f"a picture without words: {token.attrs.get('src')!r}")
    return found


def targets(text: str) -> list[str]:
    """The addresses of all links and pictures of a text."""
    return [
        t.attrs["src" if t.type == "image" else "href"]
        for t in leaves(text)
        if t.type in ("link_open", "image")
    ]


def formulas(text: str) -> list[tuple[str, bool]]:
    """(TeX, whether it stands on lines of its own) of every formula of a text."""
    return [
        (t.content, t.type == "math_block") for t in leaves(text) if t.type in ("math_inline", "math_block")
    ]
