"""Prose: roles, links, pictures and formulas inside a paragraph.

One pass over the text finds whatever has a meaning of its own, code and formulas included, so that nothing inside them
is taken for something else.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from .blocks import not_allowed
from .book import Book

_RUN = r"(?:(?!\n\s*\n).)+?"  # inside one paragraph
_LABEL = r"(?:\\.|`[^`]*`|\$[^$]*\$|\[(?:\\.|[^\[\]\\])*\]|[^\[\]\\`$\n]|\n(?!\s*\n))*+"
_TARGET = r"<[^>\n]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*"
TOKEN = re.compile(
    r"(?P<escape>\\[!-/:-@\[-`{-~])"
    rf"|(?<!\{{)\{{(?P<role>[A-Za-z][\w:+-]*)\}}(?P<ticks>`+)(?P<said>{_RUN})(?<!`)(?P=ticks)(?!`)"
    rf"|(?P<code>(?P<quote>`+)(?!`){_RUN}(?<!`)(?P=quote)(?!`))"
    rf"|(?P<display>\$\${_RUN}\$\$)"
    r"|\$(?P<math>(?:\\.|[^$\\\n]|\n(?!\s*\n))+?)\$"
    r"|\{\{\s*(?P<value>\w+)\s*\}\}"
    rf"|(?P<bang>!?)\[(?P<label>{_LABEL})\]\((?P<target>{_TARGET})(?:\s+\"[^\"]*\")?\)(?:\{{[^}}\n]*\}})?"
    r"|\[(?P<span>[^\[\]]+)\]\{[#.][^}\n]*\}"
    r"|<(?P<auto>[a-z][a-z0-9+.-]*:[^\s<>]+)>"
    r"|(?P<html><(?:img|a)\b)"
    r"|(?P<note>\[\^[^\]]+\])"
    r"|(?P<reference>^\[[^\]\n]+\]:\s)"
    r"|(?P<definition>^:\s+\S)"
    r"|(?P<comment>^%[^\n]*\n?)",
    re.S | re.M,
)
REFUSED = {
    "html": "links and pictures in Markdown",
    "note": "a sentence in the text in place of a footnote",
    "reference": "links with their target beside them, [text](target)",
    "definition": "a list or a table in place of a list of definitions",
}
NAMED = re.compile(r"(?P<title>.+?)\s*<(?P<target>[^<>]+)>\s*", re.S)  # `title <target>` of a role
CITATIONS = ("cite", "cite:p", "cite:t")
ROLES = "abbr, cite, cite:p, cite:t, doc, eq, math, ref, sub, sup, term"


def inline(text: str, book: Book, here: str) -> str:
    """A piece of prose of the page `here`, published. Raises Unpublishable for what has no plain form."""
    return TOKEN.sub(lambda match: published(match, book, here), text)


def published(match: re.Match, book: Book, here: str) -> str:
    """What one token becomes."""
    if match["role"]:
        return role(match["role"], match["said"], book, here)
    if match["math"]:
        return f"${match['math'].strip()}$"  # with a space inside, VS Code and GitHub do not see a formula
    if match["label"] is not None:
        return link(match, book, here)
    if match["span"]:
        return inline(match["span"], book, here)
    if match["value"]:
        return value(match["value"], book)
    if match["auto"]:
        address, title = book.link(match["auto"], here)
        return f"<{address}>" if address == title else f"[{title}]({address})"
    if match["comment"] is not None:
        return ""
    for name, allowed in REFUSED.items():
        if match[name]:
            raise not_allowed(f"a part of the text ({name})", match[0], allowed)
    return match[0]  # an escape, code, a formula on its own


def role(name: str, said: str, book: Book, here: str) -> str:
    """A role, {name}`said`."""
    if name == "eq":
        return book.equation(said.strip(), here)
    if name in CITATIONS:
        keys = [key.strip() for key in said.split(",")]
        return book.papers.textual(keys) if name == "cite:t" else book.papers.parenthetical(keys)
    if name == "math":
        return f"${said.strip()}$"
    if name in ("sub", "sup"):
        return f"<{name}>{said}</{name}>"
    named = NAMED.fullmatch(said)
    title, target = (named["title"], named["target"]) if named else ("", said.strip())
    if name == "abbr":
        return f"{title} ({target})" if named else said
    if name == "term":
        return title or target
    if name == "doc":
        address, own = book.link(target if "." in target.rpartition("/")[2] else f"{target}.md", here)
        return f"[{title or own}]({address})"
    if name == "ref":
        page, own = book.place(target)
        return f"[{title or own}]({book.page_address(page, target)})"
    raise not_allowed("a role", name, ROLES)


def link(match: re.Match, book: Book, here: str) -> str:
    """A link or a picture, with its address."""
    target, label = match["target"].strip("<>"), match["label"]
    if match["bang"]:
        if not label.strip():
            raise not_allowed(
                "the alternative text of a picture", label, "a sentence that says what it shows"
            )
        return f"![{label}]({quote(book.image(target), safe='/:?=&%#')})"
    address, title = book.link(target, here)
    words = inline(label, book, here).strip() or title
    if not words:
        raise not_allowed("the text of a link", match[0], "a text, or a target that has a title")
    return f"[{words}]({address})"


def value(name: str, book: Book) -> str:
    """`{{ name }}`, as the site's own extension replaces it."""
    here = book.address
    values = {
        "repository": here.repository,
        "repository_quoted": quote(here.repository, safe=""),
        "folder": here.name,
        "site": here.site,
    }
    if name not in values:
        raise not_allowed("a substitution", name, ", ".join(values))
    return values[name]


def cited(text: str) -> set[str]:
    """The keys of all papers that a text cites."""
    return {
        key.strip()
        for match in TOKEN.finditer(text)
        if match["role"] in CITATIONS
        for key in match["said"].split(",")
    }
