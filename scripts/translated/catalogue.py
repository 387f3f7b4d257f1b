"""Catalogues: one .po file a page, in translations/LANGUAGE/."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polib

ALIKE = 0.6  # how alike an old message must be for its translation to be offered for a changed one
KEPT = "kept as it is"  # a translator's comment on a message whose translation is the message


@dataclass(frozen=True)
class Message:
    """What is to be said in another language: the text, and what kind of text it is (see spans.Span)."""

    text: str
    kind: str


def name_of(message: str) -> str:
    """The short name by which a message is exchanged with translators; it changes with the message."""
    return hashlib.sha256(message.encode()).hexdigest()[:6]


def unique(messages: Iterable[Message]) -> list[Message]:
    """Each text once, in order."""
    seen: dict[str, Message] = {}
    for message in messages:
        seen.setdefault(message.text, message)
    return list(seen.values())


def empty(language: str) -> polib.POFile:
    catalogue = polib.POFile(wrapwidth=0)
    catalogue.metadata = {
        "Project-Id-Version": "Diffusion, answered",
        "Language": language,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
    }
    return catalogue


def read(path: Path) -> polib.POFile:
    """The catalogue of a file; an empty one for the folder's language where there is no file."""
    return polib.pofile(str(path), wrapwidth=0) if path.exists() else empty(path.parent.name)


def save(catalogue: polib.POFile, path: Path) -> bool:
    """Write a catalogue if it differs from its file; True if it did."""
    text = str(catalogue).rstrip("\n") + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True


def merged(messages: Iterable[Message], old: polib.POFile) -> polib.POFile:
    """The messages with their old translations.

    A message that is new takes the translation of the most similar one that is gone, marked `fuzzy` and with the old
    text beside it: a translator mends it, and until then the page shows English. What is gone is dropped.
    """
    wanted = unique(messages)
    texts = {message.text for message in wanted}
    had = {entry.msgid: entry for entry in old if not entry.obsolete}
    gone = {text: entry for text, entry in had.items() if text not in texts and entry.msgstr}
    made = empty(old.metadata.get("Language", ""))
    made.metadata = dict(old.metadata)
    for message in wanted:
        entry = polib.POEntry(msgid=message.text, comment=message.kind)
        if before := had.get(message.text):
            entry.msgstr, entry.flags, entry.tcomment = before.msgstr, list(before.flags), before.tcomment
            entry.previous_msgid = before.previous_msgid
        elif close := closest(message.text, gone):
            twin = gone.pop(close)
            entry.msgstr, entry.flags = twin.msgstr, ["fuzzy"]
            entry.previous_msgid = twin.previous_msgid if "fuzzy" in twin.flags else close
        made.append(entry)
    return made


def closest(text: str, among: Iterable[str]) -> str | None:
    """The most similar of some texts, if it is similar at all."""
    best, ratio = None, ALIKE
    for other in among:
        matcher = difflib.SequenceMatcher(None, text, other, autojunk=False)
        if matcher.real_quick_ratio() > ratio and matcher.quick_ratio() > ratio and matcher.ratio() > ratio:
            best, ratio = other, matcher.ratio()
    return best


def done(entry: polib.POEntry) -> bool:
    """True if an entry's translation holds for its present text."""
    return bool(entry.msgstr) and "fuzzy" not in entry.flags and not entry.obsolete


def translations(catalogue: polib.POFile) -> dict[str, str]:
    """From a text to its translation, for what is translated and not stale."""
    return {entry.msgid: entry.msgstr for entry in catalogue if done(entry)}


def waiting(catalogue: polib.POFile) -> list[polib.POEntry]:
    """The entries that are untranslated or stale."""
    return [entry for entry in catalogue if not done(entry) and not entry.obsolete]
