"""Figures of the landscape: a timeline, a family tree, and the cost of an image, at default and at equal size."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..plots import INK, PALETTE, RULE
from .facts import FAMILIES, System

COLOURS = dict(zip(FAMILIES, (*PALETTE[:5], "#767676"), strict=True))
# How the mark of a system is filled, by its weights.
WEIGHTS = {
    "open": {"marker": "o", "fillstyle": "full"},
    "gated": {"marker": "o", "fillstyle": "left"},
    "withdrawn": {"marker": "X", "fillstyle": "full"},
    "closed": {"marker": "o", "fillstyle": "none"},
}


def _mark(axes, system: System, x: float, y: float) -> None:
    look = {"ms": 7, "mew": 1.4, "color": COLOURS[system.family], "markerfacecoloralt": "white", "zorder": 3}
    axes.plot(x, y, ls="", **look, **WEIGHTS[system["weights"].value])


def _weights_legend(axes, **place) -> None:
    handles = [
        Line2D([], [], ls="", color=INK, ms=6, markerfacecoloralt="white", label=name, **look)
        for name, look in WEIGHTS.items()
    ]
    axes.add_artist(
        axes.legend(handles=handles, title="weights", title_fontsize=8, fontsize=8, edgecolor=RULE, **place)
    )


def timeline(systems: Mapping[str, System]) -> Figure:
    """Every system with a release, one a line, oldest first; the mark says what became of its weights."""
    dated = sorted((s for s in systems.values() if s.released), key=lambda s: s.released[0])
    fig = Figure(figsize=(8.4, 0.205 * len(dated) + 0.9), layout="constrained")
    axes = fig.add_subplot()
    for y, system in enumerate(dated):
        x = system.released[0]
        axes.plot([2022, x], [y, y], color=RULE, lw=0.6, zorder=0)
        verified = system["release"].state == "verified"
        _mark(axes, system, x, y)
        label = system.name + ("" if verified else " *")
        right = x < 2025.3
        axes.annotate(
            label,
            (x, y),
            xytext=(8 if right else -8, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    axes.set_ylim(len(dated) - 0.4, -0.8)
    axes.set_xlim(2022, 2027)
    axes.set_xticks(range(2022, 2028))
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    handles = [
        Line2D([], [], marker="o", ls="", color=colour, ms=6, label=name) for name, colour in COLOURS.items()
    ]
    _weights_legend(axes, loc="lower left", bbox_to_anchor=(0, 0))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.16, 0), fontsize=8, edgecolor=RULE)
    return fig


def tree(systems: Mapping[str, System]) -> Figure:
    """Systems whose architecture is known, a lane a family; a line leads from a system to what builds on it."""
    fig = Figure(figsize=(8.4, 9.6), layout="constrained")
    axes = fig.add_subplot()
    place: dict[str, tuple[float, float]] = {}
    top = 0.0
    for family in FAMILIES[:-1]:
        members = sorted(
            (s for s in systems.values() if s.family == family and s.released), key=lambda s: s.released[0]
        )
        ends: list[float] = []  # where the last label of each line of the lane ends
        for system in members:
            x = system.released[0]
            line = next((k for k, end in enumerate(ends) if end < x), len(ends))
            ends[line : line + 1] = [x + 0.16 + 0.061 * len(system.name)]
            place[system.id] = (x, top + line + 0.75)
        height = len(ends) + 0.7
        axes.axhspan(top, top + height, color=COLOURS[family], alpha=0.08, lw=0)
        axes.text(2022.02, top + 0.08, family, va="top", fontsize=10, weight="bold", color=COLOURS[family])
        top += height + 0.15
    for system in systems.values():
        if system.parent and {system.id, system.parent[0]} <= set(place):
            (x0, y0), (x1, y1) = place[system.parent[0]], place[system.id]
            axes.annotate(
                "",
                (x1, y1),
                (x0, y0),
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
            x + 0.07,
            y,
            systems[name].name,
            va="center",
            fontsize=8.2,
            color=INK,
            zorder=2,
            bbox={"facecolor": "white", "alpha": 0.88, "edgecolor": "none", "pad": 0.6},
        )
    axes.set_ylim(top, 0)
    axes.set_xlim(2022, 2027.6)
    axes.set_xticks(range(2022, 2028))
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    return fig


def cost(systems: Mapping[str, System], counted: Mapping[str, dict]) -> Figure:
    """FLOPs of an image, a line a system, the dearest on top: at its default size, and at one size for all.

    A filled mark is an image as it is made by default, a ring one of 1024 x 1024 pixels with the same steps and
    guidance; where the default is that size, only the filled one is seen. Cascades have no ring: their sizes are fixed.
    """
    order = sorted(counted, key=lambda name: counted[name]["flops_image"])
    fig = Figure(figsize=(8.4, 0.235 * len(order) + 1.2), layout="constrained")
    axes = fig.add_subplot()
    for y, name in enumerate(order):
        found, colour = counted[name], COLOURS[systems[name].family]
        axes.axhline(y, color=RULE, lw=0.5, zorder=0)
        if found["flops_equal"] is not None:
            axes.plot(found["flops_equal"], y, "o", ms=8, mfc="none", mec=colour, mew=1.4)
        axes.plot(found["flops_image"], y, "o", ms=5, color=colour)
        side = round(found["pixels"] ** 0.5)
        label = systems[name].name + (f", {side} px" if side != 1024 else "")
        axes.text(
            -0.01,
            y,
            label,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    shown = [f for f in FAMILIES if any(systems[name].family == f for name in order)]
    handles = [Line2D([], [], marker="o", ls="", color=COLOURS[f], ms=5, label=f) for f in shown]
    handles.append(
        Line2D([], [], marker="o", ls="", ms=8, mfc="none", mec=INK, mew=1.4, label="at 1024 x 1024")
    )
    axes.legend(handles=handles, fontsize=8, loc="lower right", edgecolor=RULE)
    axes.set_xscale("log")
    axes.set_ylim(-0.7, len(order) - 0.3)
    axes.set_yticks([])
    axes.set_xlabel("FLOPs an image")
    axes.spines[["left", "right", "top"]].set_visible(False)
    return fig
