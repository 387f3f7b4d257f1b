"""The landscape's facts: one YAML file, each fact with where it was read, or with the words that nobody says.

A fact is one of three things, its *state*:

verified    a value, a primary source that was opened, a short verbatim excerpt, and the day it was read;
unverified  a value that somebody states, and the reason why it does not count as verified;
unknown     no value: no primary source that we opened says it.

The file has four parts: `sources`; `licences`, each with its class (may one earn money with it?); `boards`, dated lists
of what people preferred in blind pairs; and `systems`, which may also carry `reported`: memory, seconds, prices and
scores as somebody published them. The same three states hold for all of these.

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
    "maker_steps",
    "maker_scale",
    "library_steps",
    "library_scale",
    "negative_prompt",
    "edits",
    "status",
)
VALUES = {
    "weights": ("open", "gated", "closed", "withdrawn"),
    "negative_prompt": ("yes", "no", "conditional"),
    "edits": ("yes", "no"),
}
FAMILIES = ("latent U-Net", "cascaded pixel", "DiT", "MMDiT", "autoregressive", "undisclosed")
COMMERCIAL = ("yes", "capped", "no", "unknown")
# A status begins with one of these words; the first three say that it can be had today.
STATUS = (
    "available",
    "current",
    "live",
    "superseded",
    "deprecated",
    "withdrawn",
    "shut down",
    "removed",
    "mirrored",
)
REPORTED = ("parameters", "memory", "seconds", "price", "geneval", "dpg", "longtext")
UNITS = {
    "parameters": "B",
    "memory": "GB",
    "seconds": "s",
    "price": "US$",
    "geneval": "",
    "dpg": "",
    "longtext": "",
}
BOARDS = ("text to image", "editing")
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
class Licence:
    """A licence's class. commercial: "yes", "capped" (to a size of company, users or seats), "no" or "unknown".

    condition: under what it holds, in a few words of ours, or None.
    """

    name: str
    commercial: str
    fact: Fact
    condition: str | None = None


@dataclass(frozen=True)
class Report:
    """A number as somebody published it. `by`: "maker" or "others"; `setting`: of what, at which size, on which card.

    `what` is one of REPORTED, in the unit UNITS[what].
    """

    what: str
    value: float
    setting: str
    by: str
    fact: Fact


@dataclass(frozen=True)
class Place:
    """One model's line on a board: its score, half the width of its 95% interval, and the votes behind it."""

    model: str
    vendor: str
    score: float
    margin: float
    votes: int
    system: str | None = None


@dataclass(frozen=True)
class Board:
    """A dated list of preferences. `kind`: one of BOARDS. `whole`: all of the list is here, not only its top."""

    id: str
    kind: str
    date: datetime.date
    whole: bool
    fact: Fact
    places: tuple[Place, ...]

    def of(self, system: str) -> Place | None:
        """The best line of a system, or None. Two lines of one system differ by resolution or effort."""
        found = [place for place in self.places if place.system == system]
        return max(found, key=lambda place: place.score, default=None)


@dataclass(frozen=True)
class System:
    """One text-to-image system. `asked`: it is on the list of the question that the chapter answers.

    nearest, parent: id and reason, of the nearest open relative of a closed system, and of the system that this one
    builds on. count: what `count.count` takes; an open system without it says why in `uncounted`.
    """

    id: str
    name: str
    asked: bool
    family: str
    facts: Mapping[str, Fact]
    licence: Licence | None = None
    reported: tuple[Report, ...] = ()
    count: Mapping | None = None
    uncounted: str | None = None
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
    def to_hold(self) -> bool:
        """Whether its weights can be had from its maker today."""
        return self["weights"].value in ("open", "gated")

    @property
    def commercial(self) -> str:
        """The class of its licence: one of COMMERCIAL."""
        return self.licence.commercial if self.licence else "unknown"

    @property
    def current(self) -> bool:
        """Whether it can be had today and its maker names no successor in its place."""
        return str(self["status"].value or "").startswith(STATUS[:3])

    def report(self, what: str, by: str | None = None) -> list[Report]:
        """What was published of it under that name, the maker's own before others'."""
        if what not in REPORTED:
            raise ValueError(allowed("what", what, ", ".join(REPORTED)))
        found = [r for r in self.reported if r.what == what and by in (None, r.by)]
        return sorted(found, key=lambda report: report.by != "maker")

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


def boards(path: str | Path | None = None) -> dict[str, Board]:
    """All preference boards by id, the newest first. Raises ValueError as `load` does."""
    path = FILE if path is None else Path(path)
    systems, data = _load(path), _read(path)
    found = {name: _board(name, entry, _sources(data), systems) for name, entry in data["boards"].items()}
    return dict(sorted(found.items(), key=lambda item: item[1].date, reverse=True))


def licences(path: str | Path | None = None) -> dict[str, Licence]:
    """All licences by name. Raises ValueError as `load` does."""
    data = _read(FILE if path is None else Path(path))
    return _licences(data, _sources(data))


def sources(path: str | Path | None = None) -> dict[str, Source]:
    """All sources by id. Raises ValueError as `load` does."""
    return _sources(_read(FILE if path is None else Path(path)))


@cache
def _load(path: Path) -> dict[str, System]:
    data = _read(path)
    known = _sources(data)
    classes = _licences(data, known)
    systems = {}
    if not isinstance(data.get("systems"), Mapping) or not data["systems"]:
        raise ValueError(allowed("systems", data.get("systems"), "a mapping from id to system"))
    for name, entry in data["systems"].items():
        systems[name] = _system(name, entry, known, classes)
    for system in systems.values():
        _check_links(system, systems)
    unused = set(classes) - {s["licence"].value for s in systems.values()}
    if unused:
        raise ValueError(f"licences: {', '.join(sorted(unused))}: no system has it")
    lists = [_board(name, entry, known, systems) for name, entry in data["boards"].items()]
    facts = [fact for s in systems.values() for fact in s.facts.values()]
    facts += [report.fact for s in systems.values() for report in s.reported]
    facts += [licence.fact for licence in classes.values()] + [board.fact for board in lists]
    cited = {fact.source.id for fact in facts if fact.source}
    cited |= {
        entry.get(key, {}).get("source")
        for entry in data["systems"].values()
        for key in ("nearest", "parent")
    }
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
    parts = ("sources", "licences", "boards", "systems")
    if not isinstance(data, Mapping) or set(data) != set(parts):
        raise ValueError(allowed(path.name, sorted(data or ()), f"the keys {', '.join(parts)}"))
    for key in parts[1:3]:
        if not isinstance(data[key], Mapping):
            raise ValueError(f"{key}: {allowed('it', data[key], 'a mapping')}")
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


def _licences(data: Mapping, known: Mapping[str, Source]) -> dict[str, Licence]:
    found = {}
    for name, entry in data["licences"].items():
        where = f"licences.{name}"
        _keys(where, entry, {"commercial"}, {"condition", "source", "excerpt", "unverified", "note"})
        commercial = entry["commercial"]
        if commercial not in COMMERCIAL:
            raise ValueError(f"{where}: {allowed('commercial', commercial, ', '.join(COMMERCIAL))}")
        if commercial == "capped" and not entry.get("condition"):
            raise ValueError(f"{where}.condition is missing; a capped licence says by what")
        fact = {key: entry[key] for key in ("source", "excerpt", "unverified", "note") if key in entry}
        fact = _fact(where, "commercial", fact | {"value": commercial}, known)
        found[name] = Licence(name, commercial, fact, entry.get("condition"))
    return found


def _board(name: str, entry, known: Mapping[str, Source], systems: Mapping[str, System]) -> Board:
    where = f"boards.{name}"
    _check_id(where, name)
    _keys(where, entry, {"board", "date", "whole", "source", "excerpt", "places"}, {"unverified", "note"})
    if entry["board"] not in BOARDS:
        raise ValueError(f"{where}: {allowed('board', entry['board'], ', '.join(BOARDS))}")
    if not isinstance(entry["whole"], bool):
        raise ValueError(f"{where}.whole: {allowed('it', entry['whole'], 'true or false')}")
    try:
        date = datetime.date.fromisoformat(str(entry["date"]))
    except ValueError:
        raise ValueError(f"{where}.date: {allowed('it', entry['date'], 'a date, YYYY-MM-DD')}") from None
    fact = {key: entry[key] for key in ("source", "excerpt", "unverified", "note") if key in entry}
    places = []
    for k, place in enumerate(entry["places"]):
        _keys(f"{where}.places[{k}]", place, {"model", "vendor", "score", "margin", "votes"}, {"system"})
        if place.get("system") is not None and place["system"] not in systems:
            raise ValueError(
                f"{where}.places[{k}]: {allowed('system', place['system'], 'the id of a system')}"
            )
        for key in ("score", "margin", "votes"):
            _check_number(f"{where}.places[{k}].{key}", place[key])
        places.append(Place(**place))
    if [p.score for p in places] != sorted((p.score for p in places), reverse=True):
        raise ValueError(f"{where}.places do not fall from the best score to the worst; allowed: that order")
    fact = _fact(where, "board", fact | {"value": entry["board"]}, known)
    return Board(name, entry["board"], date, entry["whole"], fact, tuple(places))


def _report(where: str, entry, known: Mapping[str, Source]) -> Report:
    _keys(where, entry, {"what", "value", "setting", "by"}, {"source", "excerpt", "unverified", "note"})
    for key, choices in (("what", REPORTED), ("by", ("maker", "others"))):
        if entry[key] not in choices:
            raise ValueError(f"{where}: {allowed(key, entry[key], ', '.join(choices))}")
    _check_number(f"{where}.value", entry["value"])
    fact = {k: v for k, v in entry.items() if k not in ("what", "setting", "by")}
    fact = _fact(where, "reported", fact, known)
    return Report(entry["what"], float(entry["value"]), str(entry["setting"]), entry["by"], fact)


def _check_number(where: str, value) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{where}: {allowed('it', value, 'a number > 0')}")


def _system(name: str, entry, known: Mapping[str, Source], classes: Mapping[str, Licence]) -> System:
    _check_id(name, name)
    optional = {"count", "uncounted", "reported", "nearest", "parent"}
    _keys(name, entry, {"name", "asked", "family", "facts"}, optional)
    if not isinstance(entry["asked"], bool):
        raise ValueError(f"{name}.asked: {allowed('it', entry['asked'], 'true or false')}")
    if entry["family"] not in FAMILIES:
        raise ValueError(f"{name}.family: {allowed('it', entry['family'], ', '.join(FAMILIES))}")
    _keys(f"{name}.facts", entry["facts"], set(FIELDS), set())
    facts = {field: _fact(f"{name}.{field}", field, entry["facts"][field], known) for field in FIELDS}
    links = {}
    for key in ("nearest", "parent"):
        if entry.get(key) is not None:
            _keys(f"{name}.{key}", entry[key], {"system", "because"}, {"source"})
            if entry[key].get("source") not in {None, *known}:
                source = entry[key]["source"]
                raise ValueError(f"{name}.{key}: {allowed('source', source, 'one of the ids under sources')}")
            links[key] = (entry[key]["system"], entry[key]["because"])
    if entry.get("count") is not None:
        _check_count(f"{name}.count", entry["count"])
    licence = facts["licence"].value
    if licence is not None and licence not in classes:
        raise ValueError(f"{name}.licence: {allowed('it', licence, 'one of the names under licences')}")
    reported = [_report(f"{name}.reported[{k}]", e, known) for k, e in enumerate(entry.get("reported", []))]
    return System(
        name,
        entry["name"],
        entry["asked"],
        entry["family"],
        facts,
        classes.get(licence),
        tuple(reported),
        entry.get("count"),
        entry.get("uncounted"),
        **links,
    )


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
    if field == "status" and not str(value).startswith(STATUS):
        raise ValueError(f"{where}: {allowed('value', value, 'words that begin with ' + ', '.join(STATUS))}")
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
    for entry in recipe.get("missing", []):
        _keys(f"{where}.missing", entry, {"component", "because"}, set())
    for entry in recipe.get("published", []):
        required = {"component", "parameters", "by", "source", "excerpt"}
        _keys(f"{where}.published", entry, required, {"explained", "unverified"})
        if entry["by"] not in ("maker", "others"):
            raise ValueError(f"{where}.published: {allowed('by', entry['by'], 'maker, others')}")


def _check_links(system: System, systems: Mapping[str, System]) -> None:
    if system.open and (system.count is None) == (system.uncounted is None):
        raise ValueError(
            f"{system.id}: an open system has a count or, in uncounted, the reason why not; allowed: one of the two"
        )
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
