"""A piece of a source that readers see, where it stands, and how a translation is written in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """`source[start:end]` says `message`; `write(translation)` is what stands there in another language.

    kind    what it is, for translators and for the rules: "paragraph", "heading", "item", "row", "fold", "formula",
            "description", "alt", "text" (a string in code), "f-string", "docstring", "comment", "value" (of a YAML file)
    """

    start: int
    end: int
    message: str
    kind: str
    write: Callable[[str], str] = str

    def moved(self, by: int) -> Span:
        return Span(self.start + by, self.end + by, self.message, self.kind, self.write)


def replaced(source: str, spans: list[Span], translate: Callable[[Span], str | None]) -> str:
    """`source` with each span translated; one for which `translate` answers None stays as it is."""
    made, at = [], 0
    for span in sorted(spans, key=lambda span: span.start):
        said = translate(span)
        if said is None:
            continue
        made += [source[at : span.start], span.write(said)]
        at = span.end
    return "".join([*made, source[at:]])
