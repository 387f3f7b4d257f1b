"""Search by section: when the site is built, each section of its pages becomes a record of Pagefind's index.

A record holds prose, captions and tables; navigation, code and drawn formulas are left out. A line of the glossary and
an entry of the reference are records too. The page loads the index only when a reader searches (book/_static/search.mjs).
"""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from vendored import ask, package
from words import language, say

FOLDER = "pagefind"
HEADINGS = ("h1", "h2", "h3", "h4")
VOID = {"img", "br", "hr", "input", "meta", "link", "wbr", "source", "path", "circle", "rect", "use"}
SKIPPED_TAGS = {"script", "style", "svg", "pre", "button", "nav", "template", "form"}
SKIPPED = {
    "headerlink",
    "katex-html",
    "cell_input",
    "highlight",
    "stream",
    "text_plain",
    "eqno",
    "dt-plumbing",
    "dt-source",
}


@dataclass
class Section:
    """A heading with what stands under it up to the next heading."""

    anchor: str
    title: str = ""
    text: list[str] = field(default_factory=list)
    entry: bool = False  # of the reference: a name with its signature

    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text)).strip()


class Sections(HTMLParser):
    """Cuts a page's article into sections; a line of the glossary and an entry of the reference are sections too."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Section] = []
        self.inside = False
        self.skip = 0  # depth within what is not read
        self.heading: str | None = None  # the tag whose text is a title now
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        values = dict(attrs)
        classes = set((values.get("class") or "").split())
        if tag == "article":
            self.inside = True
        if self.skip or tag in SKIPPED_TAGS or classes & SKIPPED or (tag == "div" and "math" in classes):
            self.skip += 1
            return
        anchor = values.get("id") or ""
        if self.inside and tag in HEADINGS and anchor:
            self.found.append(Section(anchor))
            self.heading = tag
        elif self.inside and tag == "dt" and "sig" in classes and anchor:
            self.found.append(Section(anchor, entry=True))
            self.heading = tag
        elif self.inside and tag == "span" and anchor.startswith("term-"):
            self.found.append(Section(anchor))
            self.heading = tag
        elif (
            tag in ("p", "li", "td", "th", "div", "dd", "figcaption", "summary", "tr", "caption")
            and self.found
        ):
            self.found[-1].text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if self.skip:
            self.skip -= 1
            return
        if tag == "article":
            self.inside = False
        if tag == self.heading:
            self.heading = None

    def handle_data(self, data: str) -> None:
        if not self.inside or self.skip or not self.found:
            return
        if self.heading:
            self.found[-1].title += data
        else:
            self.found[-1].text.append(data)


def sections(page: str) -> list[Section]:
    """The sections of a page's HTML, in order."""
    parser = Sections()
    parser.feed(page)
    parser.close()
    return parser.found


def record(section: Section, page: str) -> str:
    """A section as the small page that Pagefind reads: its title counts more than its words."""
    title, words = re.sub(r"\s+", " ", section.title).strip(), section.words()
    worth = 1.0
    if (
        section.entry
    ):  # its name is its title; what it takes is text, and who asks for a word wants a chapter first
        name, bracket, rest = title.partition("(")
        title, words = name.split(" ")[-1].removeprefix("diffusion_tutorial."), f"{bracket}{rest} {words}"
        worth = 0.1
    elif title in (say("Exercises"), say("Quiz")):  # they ask what other sections answer
        worth = 0.3
    return (
        f'<!doctype html><html lang="{(language() or "en").replace("_", "-")}"><body><main data-pagefind-body>'
        f'<h1 data-pagefind-weight="{8 * worth:g}">{html.escape(title)}</h1>'
        f'<p data-pagefind-meta="page" data-pagefind-weight="{2 * worth:g}">{html.escape(page)}</p>'
        f'<p data-pagefind-weight="{worth:g}">{html.escape(words)}</p></main></body></html>'
    )


def short(title: str) -> str:
    """A page's name: the part of its title before a colon."""
    return re.split("[:：]", title)[0].strip()


def write(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    records = []
    for name in sorted(app.env.found_docs):
        file = out / f"{name}.html"
        if not file.exists():
            continue
        found = sections(file.read_text(encoding="utf-8"))
        page = short(found[0].title) if found else name
        for k, section in enumerate(found):
            if (
                k + 1 < len(found) and not section.words()
            ):  # a heading over headings shows what the first one says
                section.text.append(found[k + 1].words())
            anchor = "" if k == 0 else f"#{section.anchor}"
            if section.title.strip() and (section.words() or k == 0):
                records.append({"url": f"/{name}.html{anchor}", "html": record(section, page)})
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    answer = ask("search.mjs", {"sections": records, "to": str(out / FOLDER)})
    if answer["errors"]:
        raise ExtensionError(f"Pagefind: {json.dumps(answer['errors'])[:2000]}")
    for extra in ("pagefind-ui.js", "pagefind-ui.css", "pagefind-modular-ui.js", "pagefind-modular-ui.css"):
        (out / FOLDER / extra).unlink(missing_ok=True)
    for extra in (out / FOLDER).glob("pagefind-component-ui*"):
        extra.unlink()


def no_other_search(app: Sphinx) -> None:
    """Sphinx's own index and its page, which find pages and never sections, are not made."""
    app.builder.search = False


def setup(app: Sphinx) -> dict:
    package("pagefind")
    app.connect("builder-inited", no_other_search)
    app.connect("build-finished", write, priority=850)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
