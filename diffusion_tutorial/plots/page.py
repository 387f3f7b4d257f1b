"""The one way a chapter shows a figure, and the one way it shows a table of text."""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .. import words
from ..errors import allowed
from .pictures import show_grid, to_pil
from .style import DPI, SHOWN, in_language, svg


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str, cards: bool = False) -> None:
    """Show a table of text. head: a name for each column. rows: a cell for each column, the first names the row.

    `caption` is the table's name for readers who cannot see it, too; required. Words between backticks are set as
    code. cards: on a phone each row of the page's table is a card, whose cells begin with their column's name; for tables
    of words, which nobody reads down a column. Raises ValueError for an empty caption, and for a row whose length is not
    that of `head`.
    """
    from IPython.display import HTML, display

    if not isinstance(caption, str) or not caption.strip():
        raise ValueError(allowed("caption", caption, "a sentence that says what the table shows"))
    for row in rows:
        if len(row) != len(head):
            raise ValueError(
                allowed("rows", f"a row with {len(row)} cells", f"{len(head)} cells, as in head")
            )
    # As cards its parts are boxes, and no table to those who hear it unless it says so.
    role = (lambda name: f' role="{name}"') if cards else lambda _: ""
    top = "".join(f'<th scope="col"{role("columnheader")}>{_marked(name)}</th>' for name in head)
    labels = [f' data-label="{html.escape(words.shown(name))}"' if cards else "" for name in head[1:]]
    body = "".join(
        f'<tr{role("row")}><th scope="row"{role("rowheader")}>{_marked(first)}</th>'
        + "".join(
            f"<td{_kept_whole(c, 10 if cards else 20)}{role('cell')}{label}>{_marked(c)}</td>"
            for c, label in zip(rest, labels, strict=True)
        )
        + "</tr>"
        for first, *rest in rows
    )
    name, group = html.escape(words.shown(caption)), role("rowgroup")
    classes = f"table dt-table{' dt-cards' if cards else ''}"
    display(
        HTML(
            f'<div style="overflow-x:auto" role="region" aria-label="{name}" tabindex="0">'
            f'<table class="{classes}"{role("table")}><caption>{name}</caption>'
            f"<thead{group}><tr{role('row')}>{top}</tr></thead><tbody{group}>{body}</tbody></table></div>"
        )
    )


def _kept_whole(text: str, most: int) -> str:
    """A number with its interval, of at most so many letters, stands on one line: a class of the site's style sheet."""
    return ' class="n"' if len(str(text)) <= most else ""


def _marked(text: str) -> str:
    parts = html.escape(words.shown(str(text)), quote=False).split("`")
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in enumerate(parts))


def figure(
    fig, alt: str, caption: str | None = None, dpi: int = DPI, scale: int = 1, resample: str = "lanczos"
):
    """Show a figure, or pictures, with alternative text for readers who cannot see it, and a caption.

    fig: a matplotlib figure, a PIL picture, or what `to_pil` takes (several pictures become a grid). alt:
    what the figure shows, in a sentence or two; required. caption: plain text under the figure. dpi: of a
    matplotlib figure. scale, resample: for pictures. Inside a notebook the output is an HTML figure that
    holds the picture itself, as SVG, PNG or WebP; elsewhere only the text is
    shown. Raises ValueError for an empty alt.
    """
    from IPython.display import display

    bundle = figure_bundle(fig, alt, caption, dpi, scale, resample)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and _is_figure(fig):
        pyplot.close(fig)  # a figure of pyplot's would be shown a second time at the end of the cell
    display(bundle, raw=True)


def figure_bundle(
    fig, alt: str, caption: str | None = None, dpi: int = DPI, scale: int = 1, resample: str = "lanczos"
) -> dict[str, str]:
    """The MIME bundle that `figure` displays: text/html and text/plain."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(allowed("alt", alt, "a sentence that says what the figure shows"))
    alt = " ".join(alt.split())
    if _is_figure(fig):
        data, kind, width, height = encode(in_language(fig), dpi)
    else:
        pictures = to_pil(fig, scale, resample)
        if len(pictures) > 1:
            data, kind, width, height = encode(show_grid(pictures), dpi)
        else:
            data, kind, width, height = encode(pictures[0])
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    note = f"<figcaption>{html.escape(caption, quote=False)}</figcaption>" if caption else ""
    # "dark-light" tells the theme that the picture suits both of its modes: it must not dim a picture's
    # colours.
    page = (
        f'<figure class="dt-figure" style="margin:1em 0"><img class="dark-light" src="{source}" '
        f'alt="{html.escape(alt)}" width="{width}" height="{height}" '
        f'style="max-width:100%;height:auto">{note}</figure>'
    )
    return {"text/html": page, "text/plain": f"[figure: {alt}]"}


def encode(fig, dpi: int = DPI) -> tuple[bytes, str, int, int]:
    """A matplotlib figure or a PIL picture to (bytes, "svg+xml", "png" or "webp", width, height in pixels shown).

    A figure of lines and text becomes an SVG. What has few colours becomes a PNG, which is exact; pictures have many and
    become a WebP, a tenth of the size.
    """
    if getattr(fig, "vector", False):
        width, height = (round(SHOWN * DPI * inches) for inches in fig.get_size_inches())
        return svg(fig), "svg+xml", width, height
    picture = _rendered(fig, dpi) if _is_figure(fig) else fig.convert("RGB")
    buffer = io.BytesIO()
    kind = "png" if picture.getcolors(4096) else "webp"
    if kind == "png":
        picture.save(buffer, format="PNG", optimize=True)
    else:
        picture.save(buffer, format="WEBP", quality=92, method=4)
    return buffer.getvalue(), kind, picture.width, picture.height


def _rendered(fig, dpi: int) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas, before = FigureCanvasAgg(fig), fig.dpi
    fig.set_dpi(dpi)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    fig.set_dpi(before)
    return picture


def _is_figure(value) -> bool:
    return hasattr(value, "savefig")
