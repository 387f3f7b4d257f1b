"""Figures of the landscape: a timeline, a family tree, and the cost of an image, at default and at equal size."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..plots.style import INK, PALETTE, RULE, TEXT, WIDTH, blank
from .facts import FAMILIES, System

COLOURS = dict(zip(FAMILIES, (*PALETTE[:5], "#767676"), strict=True))
# How the mark of a system is filled, by its weights.
WEIGHTS = {
    "open": {"marker": "o", "fillstyle": "full"},
    "gated": {"marker": "o", "fillstyle": "left"},
    "withdrawn": {"marker": "X", "fillstyle": "full"},
    "closed": {"marker": "o", "fillstyle": "none"},
}
LINE = 0.2  # inches from one name to the next
LETTER = 0.082  # inches that a letter of TEXT points takes, on the average


def _mark(axes, system: System, x: float, y: float) -> None:
    look = {
        "ms": 6.5,
        "mew": 1.3,
        "color": COLOURS[system.family],
        "markerfacecoloralt": "white",
        "zorder": 3,
    }
    axes.plot(x, y, ls="", **look, **WEIGHTS[system["weights"].value])


def _legend(fig: Figure, families, *handles: Line2D) -> None:
    """Above the axes: the colours of these families, then further handles."""
    colours = [Line2D([], [], marker="o", ls="", color=COLOURS[f], ms=5.5, label=f) for f in families]
    fig.legend(
        handles=[*colours, *handles],
        loc="outside upper left",
        ncols=2,
        fontsize=TEXT,
        frameon=False,
        handletextpad=0.2,
        columnspacing=0.8,
    )


def _weights() -> list[Line2D]:
    look = {"ls": "", "color": INK, "ms": 6, "markerfacecoloralt": "white"}
    return [Line2D([], [], label=f"weights {name}", **look, **how) for name, how in WEIGHTS.items()]


def _years(axes, last: float) -> None:
    axes.set_xlim(2022, last)
    axes.set_xticks(range(2022, int(last) + 1))
    axes.tick_params(labelsize=TEXT, colors=INK)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)


def timeline(systems: Mapping[str, System]) -> Figure:
    """Every system with a release, one a line, oldest first; the mark says what became of its weights."""
    dated = sorted((s for s in systems.values() if s.released), key=lambda s: s.released[0])
    fig = blank(WIDTH, LINE * len(dated) + 1.6)
    axes = fig.add_subplot()
    for y, system in enumerate(dated):
        x = system.released[0]
        axes.plot([2022, x], [y, y], color=RULE, lw=0.6, zorder=0)
        verified = system["release"].state == "verified"
        _mark(axes, system, x, y)
        right = x < 2024.6
        axes.annotate(
            system.name + ("" if verified else " *"),
            (x, y),
            xytext=(7 if right else -7, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=TEXT,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axes.set_ylim(len(dated) - 0.4, -0.8)
    _years(axes, 2027)
    _legend(fig, FAMILIES, *_weights())
    return fig


def tree(systems: Mapping[str, System]) -> Figure:
    """Systems whose architecture is known, a lane a family; a line leads from a system to what builds on it."""
    last = 2029.2
    letter = LETTER * (last - 2022) / WIDTH  # years
    place: dict[str, tuple[float, float]] = {}
    lanes, top = [], 0.0
    for family in FAMILIES[:-1]:
        members = sorted(
            (s for s in systems.values() if s.family == family and s.released), key=lambda s: s.released[0]
        )
        ends: list[float] = []  # where the last label of each line of the lane ends
        for system in members:
            x = system.released[0]
            line = next((k for k, end in enumerate(ends) if end < x), len(ends))
            ends[line : line + 1] = [x + 0.45 + letter * len(system.name)]
            place[system.id] = (x, top + line + 1.6)
        lanes.append((family, top, len(ends) + 1.3))
        top += lanes[-1][2] + 0.15
    fig = blank(WIDTH, LINE * top + 0.5)
    axes = fig.add_subplot()
    for family, start, height in lanes:
        axes.axhspan(start, start + height, color=COLOURS[family], alpha=0.08, lw=0)
        axes.text(
            2022.05,
            start + 0.1,
            family,
            va="top",
            fontsize=TEXT + 1,
            weight="bold",
            color=INK,
        )
    for system in systems.values():
        if system.parent and {system.id, system.parent[0]} <= set(place):
            axes.annotate(
                "",
                place[system.id],
                place[system.parent[0]],
                zorder=1,
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": "#555555",
                    "lw": 0.9,
                    "shrinkA": 4,
                    "shrinkB": 4,
                    "connectionstyle": "arc3,rad=0.18",
                },
            )
    for name, (x, y) in place.items():
        _mark(axes, systems[name], x, y)
        axes.text(
            x + 0.14,
            y,
            systems[name].name,
            va="center",
            fontsize=TEXT,
            color=INK,
            zorder=2,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.5},
        )
    axes.set_ylim(top, 0)
    _years(axes, last)
    axes.set_xticks(range(2022, 2027))
    return fig


def cost(systems: Mapping[str, System], counted: Mapping[str, dict]) -> Figure:
    """FLOPs of an image, a line a system, the dearest on top: at its default size, and at one size for all.

    A filled mark is an image as it is made by default, a ring one of 1024 x 1024 pixels with the same steps and
    guidance; where the default is that size, the ring lies around it. Cascades have no ring: their sizes are fixed.
    """
    order = sorted(counted, key=lambda name: counted[name]["flops_image"])
    fig = blank(WIDTH, LINE * len(order) + 1.3)
    axes = fig.add_subplot()
    for y, name in enumerate(order):
        found, colour = counted[name], COLOURS[systems[name].family]
        axes.axhline(y, color=RULE, lw=0.5, zorder=0)
        if found["flops_equal"] is not None:
            axes.plot(found["flops_equal"], y, "o", ms=8, mfc="none", mec=colour, mew=1.2)
        axes.plot(found["flops_image"], y, "o", ms=4.5, color=colour)
        side = round(found["pixels"] ** 0.5)
        axes.text(
            -0.02,
            y,
            systems[name].name + (f", {side} px" if side != 1024 else ""),
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=TEXT,
            color=INK,
        )
    shown = [f for f in FAMILIES if any(systems[name].family == f for name in order)]
    ring = Line2D([], [], marker="o", ls="", ms=7, mfc="none", mec=INK, mew=1.2, label="at 1024 x 1024")
    _legend(fig, shown, ring)
    axes.set_xscale("log")
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_yticks([])
    axes.tick_params(labelsize=TEXT, colors=INK)
    axes.set_xlabel("FLOPs an image", size=TEXT, color=INK)
    axes.spines[["left", "right", "top"]].set_visible(False)
    return fig
