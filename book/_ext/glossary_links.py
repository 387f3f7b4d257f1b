"""The first use of a term in a chapter leads to its line of the glossary.

The glossary is the one place that lists the terms. Only running text is looked at, not headings, code, mathematics,
links or words set in bold. `(VAE)` after a term is another name for it, and a plural counts as a use.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
_LINE = re.compile(r"^\| \[(?P<name>[^\]]+)\]\{#(?P<id>term-[a-z0-9-]+)\} \|", re.M)
# Words that mean something else as often as not: who looks them up finds them by hand.
AMBIGUOUS = {"condition", "score", "judge", "diversity"}


@cache
def names(text: str) -> dict[str, str]:
    """From each name in small letters to the id of its line; for DiT-like words, as written."""
    found = {}
    for line in _LINE.finditer(text):
        name, _, other = line["name"].partition(" (")
        for form in (name, other.rstrip(")")):
            if form and form not in AMBIGUOUS:
                found[_key(form)] = line["id"]
    return found


def _key(word: str) -> str:
    return " ".join(word.split()) if _is_proper(word) else " ".join(word.lower().split())


def _is_proper(word: str) -> bool:
    """U-Net, DDIM, DiT: a capital letter after the first, or a name. Such words are looked for as they are."""
    return bool(re.search(r"[A-Z]", word))


@cache
def pattern(text: str) -> re.Pattern:
    """Any of the names, the longest first."""
    forms = []
    for name in sorted(names(text), key=len, reverse=True):
        words = r"\s+".join(re.escape(word) for word in name.split())
        forms.append(f"{words}s?" if _is_proper(name) else f"(?i:{words})s?")
    return re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})(?![\w-])")


def find(text: str, word: str) -> str | None:
    """The id that a matched word leads to."""
    known = names(text)
    for form in (word, word[:-1] if word.endswith("s") else word):
        for key in (" ".join(form.split()), " ".join(form.lower().split())):
            if key in known:
                return known[key]
    return None


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if not docname.startswith("notebooks/") or app.builder.format != "html":
        return
    text = (Path(app.srcdir) / f"{GLOSSARY}.md").read_text(encoding="utf-8")
    target = app.builder.get_relative_uri(docname, GLOSSARY)
    seen: set[str] = set()
    for node in list(doctree.findall(nodes.Text)):
        if isinstance(node.parent, nodes.paragraph):
            node.parent.replace(node, linked(node.astext(), text, target, seen))


def linked(words: str, text: str, target: str, seen: set[str]) -> list[nodes.Node]:
    """The words as nodes, with a reference at each term that is not in `seen`, which grows."""
    parts, at = [], 0
    for match in pattern(text).finditer(words):
        name = find(text, match[0])
        if name is None or name in seen:
            continue
        seen.add(name)
        parts.append(nodes.Text(words[at : match.start()]))
        reference = nodes.reference(
            "", match[0], refuri=f"{target}#{name}", internal=True, classes=["dt-term"]
        )
        parts.append(reference)
        at = match.end()
    return [*parts, nodes.Text(words[at:])]


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", link_terms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
