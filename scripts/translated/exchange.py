"""A catalogue's open messages as a plain text, and the answers to it.

    @3fa2b1 heading
    Why straight is cheap

In the answers the same name stands above the translation. A name is made of the message's text, so an answer to a
message that has changed since is told from one that holds.
"""

from __future__ import annotations

import re

import polib

from .catalogue import KEPT, name_of
from .rules import Rules

HEAD = re.compile(r"@(?P<name>[0-9a-f]{6})\b.*$")
SAME = "="  # an answer: this stays as it is


def exported(entries: list[polib.POEntry]) -> str:
    """The messages, each under its name; of a changed one also the old text and its translation."""
    made = []
    for entry in entries:
        made.append(f"@{name_of(entry.msgid)} {entry.comment}")
        if "fuzzy" in entry.flags:
            made += [f"# was: {entry.previous_msgid}", f"# said: {entry.msgstr}"]
        made += [entry.msgid, ""]
    return "\n".join(made)


def answers(text: str) -> dict[str, str]:
    """From a message's name to what is said under it; lines that begin with "# " are remarks."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if match := HEAD.match(line):
            lines = found.setdefault(match["name"], [])
            lines.clear()
        elif not line.startswith("# "):
            lines.append(line.strip())
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def imported(catalogue: polib.POFile, said: dict[str, str], rules: Rules) -> tuple[int, list[str]]:
    """Fill a catalogue with answers. (how many were taken, what was refused and why)"""
    named = {name_of(entry.msgid): entry for entry in catalogue if not entry.obsolete}
    taken, refused = 0, []
    for name, answer in said.items():
        entry = named.get(name)
        if entry is None:
            refused.append(f"@{name}: no such message (any more); export again")
            continue
        if not answer:
            continue
        kept = answer == SAME
        faults = (
            rules.kept(entry.msgid, entry.comment)
            if kept
            else rules.faults(entry.msgid, answer, entry.comment)
        )
        if faults:
            refused.append(f"@{name} {entry.comment}: {'; '.join(faults)}\n    {entry.msgid}\n    {answer}")
            continue
        entry.msgstr = entry.msgid if kept else answer
        entry.tcomment = KEPT if kept else ""
        entry.flags = [flag for flag in entry.flags if flag != "fuzzy"]
        entry.previous_msgid = None
        taken += 1
    return taken, refused
