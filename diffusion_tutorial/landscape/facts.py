"""The landscape's facts: one YAML file, each fact with where it was read, or with the words that nobody says.

A fact is one of three things, its *state*:

verified    a value, a primary source that was opened, a short verbatim excerpt, and the day it was read;
unverified  a value that somebody states, and the reason why it does not count as verified;
unknown     no value: no primary source that we opened says it.

`load()` reads models.yaml and checks all of it; `schema.json` says the same for editors and other programs.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import yaml

from ..errors import allowed

FILE = Path(str(resources.files(__package__) / "models.yaml"))
FIELDS = (
    "developer",
    "release",
    "weights",
    "licence",
    "architecture",
    "prediction",
    "text_encoders",
    "resolution",
    "pipeline",
    "steps",
    "scale",
    "negative_prompt",
    "status",
)
VALUES = {
    "weights": ("open", "gated", "closed", "withdrawn"),
    "negative_prompt": ("yes", "no", "conditional"),
}
FAMILIES = ("latent U-Net", "cascaded pixel", "DiT", "MMDiT", "undisclosed")
SOURCE_KINDS = ("paper", "model card", "official page", "repository", "library", "secondary")
PRIMARY = SOURCE_KINDS[:-1]
LONGEST_EXCERPT = 300
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_URL = re.compile(r"https://[a-z0-9.-]+\.[a-z]{2,}(/[^\s<>\"]*)?", re.IGNORECASE)
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")


@dataclass(frozen=True)
class Source:
    """Where something was read. `copy`: the address of the copy that was read instead of `url`, if any."""

    id: str
    title: str
    url: str
    kind: str
    read: datetime.date
    copy: str | None = None


@dataclass(frozen=True)
class Fact:
    """One field of one system. `where`: for facts from a library, "Class.method:argument"."""

    value: object
    state: str
    source: Source | None = None
    excerpt: str | None = None
    note: str | None = None
    where: str | None = None

    def __str__(self) -> str:
        return "unknown" if self.state == "unknown" else str(self.value)

    def provenance(self) -> str:
        """One line: "verified on DATE from SOURCE", "unverified: REASON" or "unknown"."""
        if self.state == "verified":
            copied = ", read in a copy" if self.source.copy else ""
            return f"verified on {self.source.read.isoformat()} from {self.source.title}{copied}"
        if self.state == "unverified":
            return f"unverified: {self.note}"
        return f"unknown{': ' + self.note if self.note else ''}"


@dataclass(frozen=True)
class System:
    """One text-to-image system. `asked`: it is on the list of the question that the chapter answers.

    nearest, parent: id and reason, of the nearest open relative of a closed system, and of the system that this one
    builds on. count: what `count.count` takes.
    """

    id: str
    name: str
    asked: bool
    family: str
    facts: Mapping[str, Fact]
    count: Mapping | None = None
    nearest: tuple[str, str] | None = None
    parent: tuple[str, str] | None = None

    def __getitem__(self, field: str) -> Fact:
        if field not in self.facts:
            raise KeyError(allowed("field", field, ", ".join(FIELDS)))
        return self.facts[field]

    @property
    def open(self) -> bool:
        """Whether its weights are or were to be had."""
        return self["weights"].value in ("open", "gated", "withdrawn")

    @property
    def released(self) -> tuple[float, str] | None:
        """The release as a year with fraction, and as written; None where it is unknown."""
        text = self["release"].value
        if text is None:
            return None
        year, month, day = (*map(int, text.split("-")), 0, 0)[:3]
        return year + ((month or 6.5) - 1) / 12 + ((day or 15) - 1) / 365.25, text


def load(path: str | Path | None = None) -> dict[str, System]:
    """All systems by id, in the file's order. Raises ValueError that names the system, the field and the fault."""
    return _load(FILE if path is None else Path(path))


def sources(path: str | Path | None = None) -> dict[str, Source]:
    """All sources by id. Raises ValueError as `load` does."""
    return _sources(_read(FILE if path is None else Path(path)))


@cache
def _load(path: Path) -> dict[str, System]:
    data = _read(path)
    known = _sources(data)
    systems = {}
    if not isinstance(data.get("systems"), Mapping) or not data["systems"]:
        raise ValueError(allowed("systems", data.get("systems"), "a mapping from id to system"))
    for name, entry in data["systems"].items():
        systems[name] = _system(name, entry, known)
    for system in systems.values():
        _check_links(system, systems)
    cited = {f.source.id for s in systems.values() for f in s.facts.values() if f.source}
    counts = [entry for s in systems.values() for entry in (s.count or {}).get("published", [])]
    for entry in counts:
        if entry["source"] not in known:
            raise ValueError(
                allowed("count.published.source", entry["source"], "one of the ids under sources")
            )
    unused = set(known) - cited - {entry["source"] for entry in counts}
    if unused:
        raise ValueError(f"sources: {', '.join(sorted(unused))}: no fact cites it")
    return systems


def _read(path: Path) -> dict:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, Mapping) or set(data) != {"sources", "systems"}:
        raise ValueError(allowed(path.name, sorted(data or ()), "the keys 'sources' and 'systems'"))
    return data


class _Loader(yaml.SafeLoader):
    """Dates, yes and no stay the words that were written; a key that comes twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(
                f"line {node.start_mark.line + 1}: {', '.join(sorted(twice))} stands there twice"
            )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":bool"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def _keys(where: str, entry, required: set, optional: set) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: {allowed('it', entry, 'a mapping')}")
    missing, extra = required - set(entry), set(entry) - required - optional
    if missing:
        raise ValueError(f"{where}: {', '.join(sorted(missing))} is missing")
    if extra:
        names = ", ".join(sorted(required | optional))
        raise ValueError(f"{where}: {', '.join(sorted(map(str, extra)))} is unknown; allowed: {names}")


def _sources(data: Mapping) -> dict[str, Source]:
    found = {}
    for name, entry in (data["sources"] or {}).items():
        where = f"sources.{name}"
        _check_id(where, name)
        _keys(where, entry, {"title", "url", "kind", "read"}, {"copy"})
        for key in ("url", "copy"):
            if entry.get(key) is not None and not _URL.fullmatch(str(entry[key])):
                raise ValueError(f"{where}.{key}: {allowed('it', entry[key], 'an https address')}")
        if entry["kind"] not in SOURCE_KINDS:
            raise ValueError(f"{where}.kind: {allowed('it', entry['kind'], ', '.join(SOURCE_KINDS))}")
        try:
            read = datetime.date.fromisoformat(str(entry["read"]))
        except ValueError:
            raise ValueError(f"{where}.read: {allowed('it', entry['read'], 'a date, YYYY-MM-DD')}") from None
        found[name] = Source(name, str(entry["title"]), entry["url"], entry["kind"], read, entry.get("copy"))
    return found


def _system(name: str, entry, known: Mapping[str, Source]) -> System:
    _check_id(name, name)
    _keys(name, entry, {"name", "asked", "family", "facts"}, {"count", "nearest", "parent"})
    if not isinstance(entry["asked"], bool):
        raise ValueError(f"{name}.asked: {allowed('it', entry['asked'], 'true or false')}")
    if entry["family"] not in FAMILIES:
        raise ValueError(f"{name}.family: {allowed('it', entry['family'], ', '.join(FAMILIES))}")
    _keys(f"{name}.facts", entry["facts"], set(FIELDS), set())
    facts = {field: _fact(f"{name}.{field}", field, entry["facts"][field], known) for field in FIELDS}
    links = {}
    for key in ("nearest", "parent"):
        if entry.get(key) is not None:
            _keys(f"{name}.{key}", entry[key], {"system", "because"}, set())
            links[key] = (entry[key]["system"], entry[key]["because"])
    if entry.get("count") is not None:
        _check_count(f"{name}.count", entry["count"])
    return System(name, entry["name"], entry["asked"], entry["family"], facts, entry.get("count"), **links)


def _fact(where: str, field: str, entry, known: Mapping[str, Source]) -> Fact:
    if entry == "unknown":
        return Fact(None, "unknown")
    _keys(where, entry, {"value"}, {"source", "excerpt", "unverified", "where", "note"})
    value, reason = entry["value"], entry.get("unverified")
    if value == "unknown":
        if set(entry) - {"value", "note"}:
            raise ValueError(f"{where}: an unknown value has no source; allowed: a note")
        return Fact(None, "unknown", note=entry.get("note"))
    if value is None or value == "":
        raise ValueError(f"{where}.value is empty; allowed: a value, or the word unknown")
    if field in VALUES and value not in VALUES[field]:
        raise ValueError(f"{where}: {allowed('value', value, ', '.join(VALUES[field]))}")
    if field == "release" and not (isinstance(value, str) and _DATE.fullmatch(value)):
        raise ValueError(f"{where}: {allowed('value', value, 'YYYY, YYYY-MM or YYYY-MM-DD in quotes')}")
    source = entry.get("source")
    if source is not None and source not in known:
        raise ValueError(f"{where}: {allowed('source', source, 'one of the ids under sources')}")
    source, excerpt = known.get(source), entry.get("excerpt")
    if excerpt is not None and not 0 < len(str(excerpt).strip()) <= LONGEST_EXCERPT:
        raise ValueError(
            f"{where}.excerpt has {len(str(excerpt))} characters; allowed: 1 to {LONGEST_EXCERPT}"
        )
    if reason is None:
        if source is None or excerpt is None:
            raise ValueError(
                f"{where}: a verified fact needs a source and an excerpt; allowed: also unverified"
            )
        if source.kind not in PRIMARY:
            raise ValueError(
                f"{where}: {source.id} is a secondary source; allowed: such a fact as unverified"
            )
    where_ = entry.get("where")
    if (where_ is not None) != (source is not None and source.kind == "library"):
        raise ValueError(f"{where}: 'where' names a signature, for facts from a library and only for these")
    return Fact(
        value,
        "verified" if reason is None else "unverified",
        source,
        str(excerpt).strip() if excerpt is not None else None,
        reason if reason is not None else entry.get("note"),
        where_,
    )


def _check_id(where: str, name) -> None:
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ValueError(f"{where}: {allowed('id', name, 'small letters, digits and hyphens')}")


def _check_count(where: str, recipe) -> None:
    required = {"denoiser", "size", "text_tokens", "steps", "passes"}
    _keys(where, recipe, required, {"then", "others", "missing", "copies", "published", "note"})
    for k, stage in enumerate([recipe, *recipe.get("then", [])]):
        place = where if k == 0 else f"{where}.then[{k - 1}]"
        if k:
            _keys(place, stage, required, set())
        for key in required - {"denoiser"}:
            if not isinstance(stage[key], int) or isinstance(stage[key], bool) or stage[key] < 1:
                raise ValueError(f"{place}.{key}: {allowed('it', stage[key], 'an integer >= 1')}")
    for entry in recipe.get("published", []):
        _keys(f"{where}.published", entry, {"component", "parameters", "source", "excerpt"}, {"explained"})


def _check_links(system: System, systems: Mapping[str, System]) -> None:
    if system["weights"].value == "closed" and system.nearest is None:
        raise ValueError(f"{system.id}: nearest is missing; a closed system names its nearest open relative")
    if system.nearest and (system.nearest[0] not in systems or not systems[system.nearest[0]].open):
        raise ValueError(
            f"{system.id}.nearest: {allowed('system', system.nearest[0], 'the id of an open system')}"
        )
    if system.parent and (system.parent[0] not in systems or system.parent[0] == system.id):
        raise ValueError(
            f"{system.id}.parent: {allowed('system', system.parent[0], 'the id of another system')}"
        )
