"""The entries of references.bib as a notebook shows them: author and year with a link, and a list at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from pybtex.backends.markdown import Backend
from pybtex.database import BibliographyData, Entry, parse_file
from pybtex.plugin import find_plugin
from pybtex.richtext import Text

from .blocks import not_allowed

STYLE = "alpha"  # `bibtex_default_style` of _config.yml


class Plain(Backend):
    """Markdown that escapes only what Markdown would read as more than a letter inside a sentence."""

    def format_str(self, text: str) -> str:
        return re.sub(r"([\\`*_\[\]$])", r"\\\1", escape(text, quote=False))

    def format_href(self, url: str, text: str, external: bool = False) -> str:
        return f"<{url}>" if "://" in text else f"[{text}]({url})"


@cache
def plain(tex: str) -> str:
    """A name without TeX's accents and braces, which are slow to read."""
    return str(Text.from_latex(tex))


@dataclass(frozen=True)
class Papers:
    data: BibliographyData

    @classmethod
    def read(cls, path: Path) -> Papers:
        return cls(parse_file(path))

    def entry(self, key: str) -> Entry:
        if key not in self.data.entries:
            raise not_allowed("a citation", key, "a key of book/references.bib")
        return self.data.entries[key]

    def address(self, key: str) -> str:
        fields = self.entry(key).fields
        if "url" in fields:
            return fields["url"]
        if "doi" in fields:
            return f"https://doi.org/{fields['doi']}"
        raise not_allowed(f"the address of {key}", None, "an entry with url or doi")

    def authors(self, key: str) -> str:
        """`Ho et al.`, `Ho and Salimans`, `Guttenberg`, as the site writes them."""
        entry = self.entry(key)
        persons = entry.persons.get("author") or entry.persons.get("editor") or []
        names = [
            " ".join(plain(part) for part in (*person.prelast_names, *person.last_names))
            for person in persons
        ]
        if not names:
            raise not_allowed(f"the authors of {key}", None, "an entry with author or editor")
        return (
            names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
        )

    def year(self, key: str) -> str:
        return self.entry(key).fields.get("year", "")

    def cited(self, key: str) -> str:
        """`Ho et al., 2020`."""
        return ", ".join(filter(None, (self.authors(key), self.year(key))))

    def parenthetical(self, keys: list[str]) -> str:
        """`([Ho et al., 2020](address); …)`."""
        return f"({'; '.join(f'[{self.cited(key)}]({self.address(key)})' for key in keys)})"

    def textual(self, keys: list[str]) -> str:
        """`Ho et al. ([2020](address)) and …`; an entry without a year is a link by its author."""
        return " and ".join(
            f"{self.authors(key)} ([{self.year(key)}]({self.address(key)}))"
            if self.year(key)
            else f"[{self.authors(key)}]({self.address(key)})"
            for key in keys
        )

    def listed(self, keys: set[str]) -> list[str]:
        """The entries as lines of Markdown, by author and year."""
        style = find_plugin("pybtex.style.formatting", STYLE)()
        entries = BibliographyData({key: self.entry(key) for key in keys})
        made = style.format_bibliography(entries, sorted(keys))
        return [re.sub(r"\s*\n\s*", " ", entry.text.render(Plain())) for entry in made]
