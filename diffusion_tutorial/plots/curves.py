"""Numbers: bars and curves with their intervals, each labelled where it is."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from .. import words
from ..errors import allowed, check_number
from .style import INK, PALETTE, TEXT, WIDTH, blank, plain

_LABEL = 17  # letters of a label before it takes another line
_LINE = 0.085  # of the axes' height that a line of a label takes


def accuracy_bars(
    values: Mapping[str, Sequence[float]],
    xlabel: str = "right, by the judge",
    bar: float | None = None,
    low: float = 0.0,
):
    """A bar an attribute with its interval and its value in figures.

    values: name -> (value, low, high), fractions in [0, 1]. bar: a level to draw as a line, such as a target.
    low: where the axis starts. Returns the figure. Raises ValueError unless low end <= value <= high end.
    """
    if not values:
        raise ValueError(allowed("values", values, "name -> (value, low, high), at least one"))
    names, rows = list(map(words.shown, values)), [_interval(name, v) for name, v in values.items()]
    fig = blank(WIDTH, 0.5 + 0.3 * len(names) + (0.3 if xlabel else 0))
    axes = fig.add_subplot()
    y = np.arange(len(names))[::-1]
    for k, (value, a, b) in enumerate(rows):
        axes.barh(y[k], value - low, left=low, height=0.62, color=PALETTE[0])
        axes.plot((a, b), (y[k], y[k]), color=INK, lw=1.6, solid_capstyle="butt")
        axes.text(
            1.0 + 0.02 * (1 - low), y[k], f"{value:.3f}", va="center", ha="left", fontsize=TEXT, color=INK
        )
    if bar is not None:
        axes.axvline(bar, color=PALETTE[1], lw=1.2, ls="--")
        axes.text(
            bar, len(names) - 0.45, f"{bar:g}", color=PALETTE[1], fontsize=TEXT, ha="center", va="bottom"
        )
    axes.set(yticks=y, yticklabels=names, xlim=(low, 1.0), ylim=(-0.6, len(names) - 0.4), xlabel=xlabel)
    return plain(fig, axes, grid="x")


def curve_with_interval(
    x: Sequence[float],
    curves: Mapping[str, Sequence],
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = False,
    markers: bool = True,
):
    """Curves with shaded intervals, each labelled at its right end rather than in a legend.

    x: (n,) shared by all. curves: label -> y (n,), or (y, low, high), (n,) each. At most seven curves: the
    palette has no more colours that everyone can tell apart. Returns the figure. Raises ValueError where
    lengths differ.
    """
    if not 1 <= len(curves) <= len(PALETTE):
        raise ValueError(allowed("curves", f"{len(curves)} curves", f"1 to {len(PALETTE)}"))
    x = np.asarray(x, dtype=float)
    fig = blank(WIDTH, 3.0)
    axes = fig.add_subplot()
    ends = []
    for k, (label, curve) in enumerate(curves.items()):
        parts = (
            [np.asarray(p, dtype=float) for p in curve]
            if np.ndim(curve[0])
            else [np.asarray(curve, dtype=float)]
        )
        if len(parts) not in (1, 3) or any(p.shape != x.shape for p in parts):
            raise ValueError(
                allowed(
                    f"curves[{label!r}]",
                    f"shapes {[p.shape for p in parts]}",
                    f"y, or (y, low, high), of length {len(x)} each",
                )
            )
        axes.plot(x, parts[0], color=PALETTE[k], lw=1.8, marker="osD^vPX"[k] if markers else None, ms=4)
        if len(parts) == 3:
            axes.fill_between(x, parts[1], parts[2], color=PALETTE[k], alpha=0.18, lw=0)
        seen = np.flatnonzero(np.isfinite(parts[0]))
        if len(seen):
            ends.append((x[seen[-1]], parts[0][seen[-1]], label, PALETTE[k]))
    if logx:
        axes.set_xscale("log")
        axes.set_xticks(x, [f"{v:g}" for v in x])
        axes.minorticks_off()
    if logy:
        axes.set_yscale("log")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _label_ends(fig, axes, ends)
    return plain(fig, axes, grid="both")


def tracks(
    curves: Mapping[str, Mapping[str, Sequence]],
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    ticks: Sequence[float] | None = None,
):
    """Curves that each have x values of their own, such as a trade-off that a scale runs along.

    curves: label -> {"x": (n,), "y": (n,)}, and if wanted "low" and "high" (n,), drawn as bars, and "tags" (n,),
    short texts beside the points. Labels stand at the curves' last points. ticks: of the x axis. At most seven
    curves. Returns the figure. Raises ValueError where lengths differ.
    """
    if not 1 <= len(curves) <= len(PALETTE):
        raise ValueError(allowed("curves", f"{len(curves)} curves", f"1 to {len(PALETTE)}"))
    fig = blank(WIDTH, 3.2)
    axes = fig.add_subplot()
    ends = []
    for k, (label, curve) in enumerate(curves.items()):
        if not len(curve["x"]) or len({len(values) for values in curve.values()}) != 1:
            lengths = {name: len(values) for name, values in curve.items()}
            raise ValueError(allowed(f"curves[{label!r}]", lengths, "equal lengths, at least one point"))
        x, y = (np.asarray(curve[name], dtype=float) for name in ("x", "y"))
        axes.plot(x, y, color=PALETTE[k], lw=1.8, marker="osD^vPX"[k], ms=5)
        if "low" in curve:
            axes.vlines(x, curve["low"], curve["high"], color=PALETTE[k], lw=1.2, alpha=0.6)
        for at, tag in zip(zip(x, y), curve.get("tags", ())):
            axes.annotate(tag, at, (5, 5), textcoords="offset points", fontsize=TEXT, color=PALETTE[k])
        ends.append((x[-1], y[-1], label, PALETTE[k]))
    if logx:
        axes.set_xscale("log")
        axes.minorticks_off()
    if ticks is not None:
        axes.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _label_ends(fig, axes, ends)
    return plain(fig, axes, grid="both")


def _label_ends(fig, axes, ends) -> None:
    """Labels right of the axes, pushed apart so that none covers another; long ones take two lines."""
    if not ends or (len(ends) == 1 and not ends[0][2]):
        return
    fig.draw_without_rendering()
    # Heights as fractions of the axes, bottom up; then at least a line between neighbours.
    placed = sorted(
        (
            axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1],
            _broken(label),
            colour,
        )
        for x, y, label, colour in ends
    )
    heights = []
    for k, (at, label, _) in enumerate(placed):
        room = _LINE * (1 + label.count("\n") + placed[k - 1][1].count("\n") + 1) / 2
        heights.append(max(at, heights[-1] + room) if heights else at)
    over = max(0.0, heights[-1] - 1.0)
    for (_, label, colour), at in zip(placed, heights, strict=True):
        axes.text(
            1.02,
            at - over,
            label,
            transform=axes.transAxes,
            color=colour,
            fontsize=TEXT,
            va="center",
            linespacing=1,
        )


def _broken(label: str) -> str:
    """A label in lines that fit beside the axes."""
    if words.language():
        return words.wrapped(words.shown(label), _LABEL)
    return "\n".join(textwrap.wrap(label, _LABEL, break_long_words=False, break_on_hyphens=False)) or label


def _interval(name: str, triple: Sequence[float]) -> tuple[float, float, float]:
    if len(triple) != 3:
        raise ValueError(allowed(f"values[{name!r}]", triple, "(value, low, high)"))
    value, low, high = (check_number(f"values[{name!r}]", float(v)) for v in triple)
    if not low <= value <= high:
        raise ValueError(allowed(f"values[{name!r}]", tuple(triple), "low <= value <= high"))
    return value, low, high
