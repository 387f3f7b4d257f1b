"""What every figure shares: colours, size, letters, the ground it is drawn on, axes without frills.

Lines and text are drawn as vectors for a phone: a figure is WIDTH inches wide, and its letters are TEXT points, 11 pixels
where the figure fills a screen of 360. A notebook stores one version, on white; the site derives one for dark pages by
exchanging these colours.
"""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

from .. import words

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, PAPER, RULE = "#1a1a1a", "#ffffff", "#d0d0d0"
DPI = 100
WIDTH, TEXT = 4.2, 9.5  # inches of a figure, points of its letters
SHOWN = 1.2  # a vector figure is shown this much larger, where there is room
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
HAN_FONTS = "'PingFang SC', 'Noto Sans SC', 'Source Han Sans SC', 'Microsoft YaHei', sans-serif"
HAN = Path(__file__).with_name("han.ttf")  # Noto Sans SC, cut to the signs in use by scripts/figure_font.py


@cache
def han() -> str:
    """The family that draws Han, made known to matplotlib."""
    from matplotlib import font_manager

    font_manager.fontManager.addfont(HAN)
    return font_manager.FontProperties(fname=HAN).get_name()


def small_font(points: int):
    """PIL's font for letters in pictures, with Han where they are asked for."""
    from PIL import ImageFont

    return ImageFont.truetype(str(HAN), points) if words.language() else ImageFont.load_default(points)


def in_language(fig):
    """The figure with its texts in the reader's language; in English it is left as it is."""
    if not words.language():
        return fig
    from matplotlib.text import Text

    for text in fig.findobj(Text):
        said = text.get_text()
        new = words.shown(said)
        if new != said and "\n" in said:  # it was broken for its room; so is what takes its place
            new = words.wrapped(new, max(words.columns(line) for line in said.split("\n")))
        text.set_text(new)
        text.set_fontfamily([*text.get_fontfamily(), han()])
    return fig


def blank(width: float, height: float, fixed: bool = False):
    """An empty `matplotlib.figure.Figure` of so many inches, which pyplot does not know.

    So nothing is drawn twice, and threads may draw. fixed: nothing is moved to make room, and the figure is one of
    pixels (pictures), not of lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout=None if fixed else "constrained")
    FigureCanvasAgg(fig)
    if not fixed:
        fig.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    fig.vector = not fixed
    return fig


def plain(fig, axes, grid: str):
    """The figure, its axes with a grid along "x", "y" or "both" and without a frame at the top and right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=TEXT)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(size=TEXT, color=INK)
    return fig


def _families() -> str:
    """The reader's own fonts for a figure's text."""
    return f"{FONTS.removesuffix(', sans-serif')}, {HAN_FONTS}" if words.language() else FONTS


def svg(fig) -> bytes:
    """A figure as SVG, the same bytes for the same figure; its text is text, in the reader's own font."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "diffusion"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    # A hundredth of a point is finer than any screen; what is written out in the figure stays as it is.
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: re.sub(r"(\d\.\d\d)\d+", r"\1", found[0]), text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", rf"font: \1 {_families()}", text)
    return re.sub(r"font-family: [^;\"]*", f"font-family: {_families()}", text).encode()
