"""What the text of a chapter may name: equations with the numbers of the site, papers, pages and places in them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from address import Address
from sphinx_external_toc.parsing import parse_toc_yaml

from .blocks import Block, Unpublishable, not_allowed, parse
from .papers import Papers

FOLDER = "notebooks"  # where the links of a chapter's text start
FRONT = re.compile(r"\A---\n.*?\n---\n", re.S)
HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*$", re.M)
SPAN = re.compile(r"\[[^\[\]]+\]\{#([\w-]+)[^}]*\}")
SLUG_LEVELS = 3  # `myst_heading_anchors` of _config.yml


@dataclass(frozen=True)
class Page:
    """A document of the site, as "notebooks/guidance" or "book/glossary", and its source's text."""

    name: str
    text: str
    twin: Page | None = (
        None  # the English page, where this one is in another language: its anchors are this one's
    )

    @cached_property
    def blocks(self) -> list[Block]:
        return list(flat(parse(FRONT.sub("", self.text))))

    @cached_property
    def prose(self) -> str:
        return "\n\n".join(block.body for block in self.blocks if block.kind == "prose")

    @cached_property
    def labels(self) -> list[str]:
        """The labels of its equations, in order."""
        return [label for block in self.blocks if (label := equation(block))]

    @cached_property
    def title(self) -> str:
        match = HEADING.search(self.prose)
        return match[2] if match else self.name

    @cached_property
    def places(self) -> dict[str, str]:
        """From a name that `(name)=` gives to the heading after it."""
        found, waiting = {}, []
        for block in self.blocks:
            if block.kind == "place":
                waiting.append(block.name)
            elif block.kind == "prose" and block.body.strip():
                match = HEADING.match(block.body.lstrip("\n"))
                found |= dict.fromkeys(waiting, match[2] if match else "")
                waiting = []
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """What may stand behind `#` in a link to the page."""
        slugs: set[str] = set()
        for level, heading in HEADING.findall(self.prose):
            if len(level) <= SLUG_LEVELS:
                slug = first = re.sub(r"[^\w\u4e00-\u9fff\- ]", "", heading.lower().replace(" ", "-"))
                number = 1
                while slug in slugs:
                    slug, number = f"{first}-{number}", number + 1
                slugs.add(slug)
        own = slugs | set(self.places) | set(SPAN.findall(self.text))
        return own | self.twin.anchors if self.twin else own


def flat(blocks: list[Block]) -> Iterator[Block]:
    """The blocks, and those inside directives that hold text."""
    for block in blocks:
        yield block
        if block.kind == "directive" and block.name not in ("code-cell", "math", "raw", "code", "code-block"):
            yield from flat(parse(block.body))


def equation(block: Block) -> str:
    """The label of a block that is a numbered equation, or ''."""
    if block.kind == "math":
        return block.name
    return block.options.get("label", "") if block.kind == "directive" and block.name == "math" else ""


def order(toc: Path) -> list[str]:
    """The documents of the site in reading order, which is the order of the equations' numbers."""
    site = parse_toc_yaml(toc)

    def walk(name: str) -> Iterator[str]:
        yield name
        for tree in site[name].subtrees:
            for item in tree.items:
                if str(item) in site:
                    yield from walk(str(item))

    return list(walk(site.root.docname))


def source_of(name: str, root: Path, spoken: str = "") -> Path:
    """The text of a document: a chapter's stands in book/; in another language in the folder `spoken` of it."""
    folder, _, stem = name.rpartition("/")
    path = root / ("book" if folder == FOLDER else folder) / spoken / f"{stem}.md"
    if not path.is_file():
        raise Unpublishable(f"{name}, which _toc.yml names, has no source {path.relative_to(root)}")
    return path


@dataclass(frozen=True)
class Book:
    """All pages in order, the papers, and the public addresses. spoken: the folder of another language than English."""

    pages: dict[str, Page]
    papers: Papers
    address: Address
    root: Path
    spoken: str = ""
    numbers: dict[str, int] = field(init=False)
    homes: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        labels = [(label, page.name) for page in self.pages.values() for label in page.labels]
        numbers = {label: number for number, (label, _) in enumerate(labels, 1)}
        if len(numbers) < len(labels):
            names = [label for label, _ in labels]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise not_allowed("labels of more than one equation", twice, "each once")
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "homes", dict(labels))

    @classmethod
    def read(cls, root: Path, spoken: str = "") -> Book:
        """The book of a checkout: _toc.yml, book/*.md, book/references.bib, _config.yml; in English, or made for
        another language."""
        names = order(root / "_toc.yml")
        texts = {name: source_of(name, root).read_text(encoding="utf-8") for name in names}
        pages = {name: Page(name, text) for name, text in texts.items()}
        if spoken:
            there = {name: source_of(name, root, spoken).read_text(encoding="utf-8") for name in names}
            pages = {name: Page(name, there[name], page) for name, page in pages.items()}
        papers = Papers.read(root / "book" / "references.bib")
        return cls(pages, papers, Address.read(root / "_config.yml"), root, spoken)

    def number(self, label: str) -> int:
        if label not in self.numbers:
            raise not_allowed("the label of an equation", label, "one that a page of the book gives")
        return self.numbers[label]

    def page_address(self, name: str, anchor: str = "") -> str:
        folder = f"{self.spoken}/" if self.spoken else ""
        return f"{self.address.site}{folder}{name}.html{'#' + anchor if anchor else ''}"

    def equation(self, label: str, here: str) -> str:
        """`(3)`, with a link to its page if that is another one."""
        number, home = self.number(label), self.homes[label]
        if home == here:
            return f"({number})"
        return f"[({number})]({self.page_address(home, f'equation-{label}')})"

    def place(self, name: str) -> tuple[str, str]:
        """(page, heading) of what `(name)=` names."""
        for page in self.pages.values():
            if name in page.places:
                return page.name, page.places[name]
        raise not_allowed("the name of a place", name, "one that a page gives by `(name)=`")

    def link(self, target: str, here: str) -> tuple[str, str]:
        """(address, title) that a link of a chapter leads to; `here` is the chapter's own page.

        A chapter is its notebook, since a relative path works in every reader; a place in it, and every other page,
        is on the site; what else the repository holds is on GitHub.
        """
        scheme, colon, rest = target.partition(":")
        if colon and scheme in ("http", "https", "mailto"):
            return target, target
        if colon and scheme == "repo":
            self.file(rest)
            return self.address.file(rest), rest
        if colon and scheme in ("binder", "colab"):
            self.file(rest)
            if self.spoken and rest.startswith(f"{FOLDER}/"):
                rest = f"{FOLDER}/{self.spoken}/{rest.removeprefix(f'{FOLDER}/')}"
            return getattr(self.address, f"{scheme}_notebook")(rest), rest
        path, _, anchor = target.partition("#")
        if re.fullmatch(r"[\w-]+", path) and not anchor:
            name, title = self.place(path)
            return self.page_address(name, path), title
        path = posixpath.normpath(posixpath.join(FOLDER, path)) if path else here
        name = re.sub(r"\.(ipynb|md|html)$", "", path)
        if name not in self.pages:
            self.file(path)
            return self.address.file(path), posixpath.basename(path)
        page = self.pages[name]
        if anchor and anchor not in page.anchors | {f"equation-{label}" for label in page.labels}:
            raise not_allowed(f"the place in {name}", anchor, ", ".join(sorted(page.anchors)))
        if name.startswith(f"{FOLDER}/") and not anchor:
            return f"{posixpath.basename(name)}.ipynb", page.title
        return self.page_address(name, anchor), page.title

    def image(self, target: str) -> str:
        """The address of a picture, which works where the notebook stands alone, as on Colab."""
        if re.match(r"https?://", target):
            return target
        path = posixpath.normpath(posixpath.join(FOLDER, target))
        self.file(path)
        return f"{self.address.repository}/raw/{self.address.branch}/{path}"

    def file(self, path: str) -> Path:
        found = self.root / path.partition("#")[0]
        if not path or path.startswith("..") or not found.exists():
            raise not_allowed("a link or picture", path, "a page of the site, or a path of the repository")
        return found
