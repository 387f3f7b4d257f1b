"""Which model for which task: the chapter's first table, computed from the data by rules that stand here.

A rule takes the systems that qualify, and names all that tie. A tie is meant in the sense of the source: on a board of
preferences, two systems whose 95% intervals overlap with the first one's are not told apart. Nothing is weighed by
taste, so where the data has no score for a task, the rule says what it goes by instead.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .facts import Board, System

ROOM = 3.0  # GB beside the weights, for what one picture of 1024 pixels needs while it is made: an assumption
LARGE = 1024  # pixels of a side: what the cheapest must reach


@dataclass(frozen=True)
class Choice:
    """A row: the task, the systems that the rule names (the first one best), by what, and the date of the evidence."""

    task: str
    rule: str
    systems: tuple[System, ...]
    values: tuple[str, ...]
    as_of: str


def memory(system: System, counted: Mapping[str, dict]) -> tuple[float | None, str]:
    """(GB that it takes, or None; in words): all weights in bf16 as counted, else what was published.

    What a maker says of the card stands beside our count, as makers move parts in and out.
    """
    found = counted.get(system.id)
    said = system.report("memory")
    parts = []
    if found:
        parts.append(
            f"{found['bytes_bf16'] / 1e9:.1f} GB of weights{' and more' if found['missing'] else ''}"
        )
    for report in said[:1]:
        who = "its maker says" if report.by == "maker" else "others say"
        parts.append(f"{who} {report.value:g} GB ({report.setting})")
    if system["weights"].value == "closed":
        return None, "a service"
    if not parts:
        return None, "not counted"
    least = [report.value for report in said if report.by == "maker"]
    if found and not found["missing"]:
        least.append(found["bytes_bf16"] / 1e9 + ROOM)
    return min(least, default=None), "; ".join(parts)


def fits(system: System, counted: Mapping[str, dict], card: float) -> bool:
    """Whether a card of that many GB holds it: all weights and ROOM beside them, or the maker's word that it does."""
    need, _ = memory(system, counted)
    return need is not None and need <= card


def liked(
    board: Board, systems: Mapping[str, System], may: Callable[[System], bool]
) -> tuple[list[System], list[str]]:
    """The best of those that qualify on a board, and all whose interval overlaps with its: (systems, scores)."""
    found = [(board.of(s.id), s) for s in systems.values() if board.of(s.id) and may(s)]
    found.sort(key=lambda pair: -pair[0].score)
    ties = [(p, s) for p, s in found if p.score + p.margin >= found[0][0].score - found[0][0].margin]
    return [s for _, s in ties], [f"{p.score:g} ± {p.margin:g}" for p, _ in ties]


def boards_of(kind: str, boards: Iterable[Board]) -> list[Board]:
    """Boards of a kind, the newest first."""
    return sorted((b for b in boards if b.kind == kind), key=lambda b: b.date, reverse=True)


def choices(
    systems: Mapping[str, System], counted: Mapping[str, dict], boards: Mapping[str, Board]
) -> list[Choice]:
    """The rows of the first table, in order. Rows without a system that qualifies are left out."""
    rows = []

    def by_board(task: str, kind: str, rule: str, may: Callable[[System], bool]) -> None:
        """The newest board on which somebody qualifies decides."""
        for board in boards_of(kind, boards.values()):
            found, scores = liked(board, systems, may)
            if found:
                rows.append(Choice(task, rule, tuple(found), tuple(scores), board.date.isoformat()))
                return

    def by_number(task: str, rule: str, found: list[tuple[float, System, str]], as_of: str = "") -> None:
        """The smallest number first; only equal numbers tie."""
        found = sorted(found, key=lambda item: item[0])
        ties = [item for item in found if item[0] == found[0][0]] if found else []
        if ties:
            date = as_of or max(read_on(system) for _, system, _ in ties)
            rows.append(Choice(task, rule, tuple(s for _, s, _ in ties), tuple(t for *_, t in ties), date))

    text, edit = "text to image", "editing"
    by_board("the best liked picture, as a service", text, "first in blind pairs", service)
    by_board("edit a picture, as a service", edit, "first in blind pairs of edits", service)
    by_board("the best liked picture, with weights you hold", text, "first in blind pairs", hold)
    by_board("the same, for business", text, "first in blind pairs", sell)
    for card in (16, 8):
        by_board(
            f"the same on a card of {card} GB",
            text,
            "first in blind pairs of those that fit",
            lambda s, card=card: sell(s) and fits(s, counted, card),
        )
    by_board(
        "edit a picture, with weights you hold, for business",
        edit,
        "first in blind pairs of edits",
        lambda s: sell(s) and s["edits"].value == "yes",
    )
    by_number(
        "long text in the picture, with weights you hold, for business",
        "highest on LongText-Bench",
        [
            (
                -report.value,
                s,
                f"{report.value:.3f}, said by {'its maker' if report.by == 'maker' else 'others'}",
            )
            for s in systems.values()
            if sell(s)
            for report in s.report("longtext")[:1]
        ],
    )
    by_number(
        "negative prompts and a scale that act, for business",
        "newest that takes both",
        [
            (-s.released[0], s, f"since {s.released[1]}")
            for s in systems.values()
            if sell(s) and s.released and guided(s)
        ],
    )
    by_number(
        "many pictures for little work, for business",
        f"least work a pixel, of those that make {LARGE} px or more",
        [
            (found["flops_image"] / found["pixels"], systems[name], f"{work(found):.0f} MFLOP a pixel")
            for name, found in counted.items()
            if sell(systems[name]) and found["pixels"] >= LARGE**2
        ],
    )
    by_number(
        "to learn, and for this book",
        "fewest bytes of those that this book's samplers run",
        [
            (counted[name]["bytes_bf16"], systems[name], f"{counted[name]['bytes_bf16'] / 1e9:.1f} GB")
            for name in counted
            if systems[name].open and str(systems[name]["prediction"].value).startswith("noise")
        ],
    )
    return rows


def service(system: System) -> bool:
    """Whether it can be had today as a service only."""
    return system["weights"].value == "closed" and system.current


def hold(system: System) -> bool:
    """Whether its weights can be had today."""
    return system.to_hold and system.current


def sell(system: System) -> bool:
    """Whether its weights can be had today under a licence that allows to earn money without a cap."""
    return hold(system) and system.commercial == "yes"


def work(found: Mapping) -> float:
    """MFLOP a pixel of one image as it is made by default."""
    return found["flops_image"] / found["pixels"] / 1e6


def guided(system: System) -> bool:
    """Whether a negative prompt and a scale act with default arguments.

    The argument is there without a condition, the scale (the maker's, else the library's) is above 1, and where the
    system is counted, a step takes two passes.
    """
    scales = [system[field].value for field in ("maker_scale", "library_scale")]
    scale = next((value for value in scales if isinstance(value, (int, float))), 0)
    twice = system.count is None or system.count["passes"] == 2
    return system["negative_prompt"].value == "yes" and scale > 1 and twice


def read_on(system: System) -> str:
    """The last day on which anything about a system was read."""
    dates = [fact.source.read for fact in system.facts.values() if fact.source]
    dates += [report.fact.source.read for report in system.reported if report.fact.source]
    return max(dates, default=datetime.date.min).isoformat()


def as_rows(found: Iterable[Choice], counted: Mapping[str, dict]) -> list[tuple[str, ...]]:
    """(task, model, licence class, memory, as of, by what) for each choice, in words."""
    return [
        (
            choice.task,
            " | ".join(system.name for system in choice.systems),
            " | ".join(licence_class(system) for system in choice.systems),
            " | ".join(memory(system, counted)[1] for system in choice.systems),
            choice.as_of,
            f"{choice.rule}: {', '.join(choice.values)}",
        )
        for choice in found
    ]


def licence_class(system: System) -> str:
    """The class of its licence, with an asterisk where it is unverified, and whether a form stands before the weights."""
    star = "*" if system.licence and system.licence.fact.state == "unverified" else ""
    return f"{system.commercial}{star}" + (", gated" if system["weights"].value == "gated" else "")
