"""What every figure shares: colours, the ground it is drawn on, axes without frills.

Figures have a white ground of their own: they read alike on a light and on a dark page.
"""

from __future__ import annotations

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, PAPER, RULE = "#1a1a1a", "#ffffff", "#d0d0d0"
DPI = 100


def blank(width: float, height: float, fixed: bool = False):
    """An empty `matplotlib.figure.Figure` of so many inches, which pyplot does not know.

    So nothing is drawn twice, and threads may draw. fixed: nothing is moved to make room.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout=None if fixed else "constrained")
    FigureCanvasAgg(fig)
    if not fixed:
        fig.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return fig


def plain(fig, axes, grid: str):
    """The figure, its axes with a grid along "x", "y" or "both" and without a frame at the top and right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    return fig
