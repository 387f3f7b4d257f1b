"""Figures: grids of pictures, filmstrips of a run, bars and curves with intervals, and the one way to show
them.

Every function returns a `matplotlib.figure.Figure` that pyplot does not know, so nothing is drawn twice and
threads may draw. Figures have a white ground of their own: they read alike on a light and on a dark page.
`figure` shows one with alternative text and a caption.
"""

from __future__ import annotations

import base64
import html
import io
import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .errors import allowed, check_choice, check_integer, check_number

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, PAPER, RULE = "#1a1a1a", "#ffffff", "#d0d0d0"
_DPI = 100
_GAP = 6  # pixels between pictures
_LINE = 17  # pixels a line of a title
_TITLE = 9  # points of a title's letters
_RESAMPLE = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


# --- pictures -----------------------------------------------------------------------------------------------


def to_pil(images, scale: int = 1, resample: str = "lanczos") -> list[Image.Image]:
    """Pictures of any kind to a list of RGB pictures, enlarged `scale` times by "nearest" or "lanczos".

    images: a tensor (B, 3, H, W) or (3, H, W) in [0, 1], a `Samples`, one PIL picture, or a sequence of
    these. Raises ValueError for anything else, a scale < 1 or an unknown resample.
    """
    check_integer("scale", scale, 1)
    check_choice("resample", resample, _RESAMPLE)
    if hasattr(images, "images"):
        images = images.images
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(images)
    if isinstance(images, Tensor):
        batch = images.detach().float().cpu()
        batch = batch[None] if batch.ndim == 3 else batch
        if batch.ndim != 4 or batch.shape[1] != 3:
            raise ValueError(
                allowed("images", tuple(images.shape), "a tensor (B, 3, H, W) or (3, H, W) in [0, 1]")
            )
        array = (batch.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        pictures = [Image.fromarray(a) for a in array]
    elif isinstance(images, Image.Image):
        pictures = [images.convert("RGB")]
    elif isinstance(images, Sequence) and not isinstance(images, str) and len(images):
        pictures = [p for one in images for p in to_pil(one)]
    else:
        raise ValueError(
            allowed("images", type(images).__name__, "a tensor (B, 3, H, W), Samples or PIL pictures")
        )
    if scale == 1:
        return pictures
    return [p.resize((p.width * scale, p.height * scale), _RESAMPLE[resample]) for p in pictures]


def show_grid(
    images,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    scale: int = 2,
    resample: str = "lanczos",
    row_titles: Sequence[str] | None = None,
):
    """Pictures in a grid, row by row, each pixel of the enlarged picture one pixel of the figure.

    images: as `to_pil` takes. titles: one a picture (above it), or one a column (above the first row).
    columns: pictures a row, by default all up to eight. row_titles: one a row, at its left.
    Returns the figure. Raises ValueError where counts do not match.
    """
    pictures = to_pil(images, scale, resample)
    columns = min(len(pictures), 8) if columns is None else check_integer("columns", columns, 1)
    rows = math.ceil(len(pictures) / columns)
    if titles is not None and len(titles) not in (len(pictures), columns):
        raise ValueError(
            allowed("titles", f"{len(titles)} titles", f"{len(pictures)} (pictures) or {columns} (columns)")
        )
    if row_titles is not None and len(row_titles) != rows:
        raise ValueError(allowed("row_titles", f"{len(row_titles)} titles", f"{rows} (rows)"))
    each = titles is not None and len(titles) == len(pictures)
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    room = max(10, int(width / 6.6))  # letters that fit above a picture
    above = [_wrap(t, room) for t in titles] if titles is not None else []
    head = [0] * rows  # the height of the titles above each row
    for k, title in enumerate(above):
        row = k // columns if each else 0
        head[row] = max(head[row], _LINE * (title.count("\n") + 1))
    left = 12 + max(_width(part) for t in row_titles for part in t.split("\n")) if row_titles else _GAP
    total_w = left + columns * (width + _GAP)
    total_h = sum(head) + rows * (height + _GAP) + _GAP
    fig = _figure(total_w / _DPI, total_h / _DPI, fixed=True)
    sheet = Image.new("RGB", (total_w, total_h), PAPER)
    y = 0
    for row in range(rows):
        y += head[row]
        for k in range(row * columns, min((row + 1) * columns, len(pictures))):
            x = left + (k % columns) * (width + _GAP)
            sheet.paste(pictures[k], (x, y + _GAP // 2))
            if above and (each or row == 0):
                fig.text(
                    (x + width / 2) / total_w,
                    1 - (y - 1) / total_h,
                    above[k],
                    ha="center",
                    va="bottom",
                    fontsize=9,
                    color=INK,
                    linespacing=1.15,
                )
        if row_titles:
            fig.text(
                (left - 6) / total_w,
                1 - (y + _GAP // 2 + height / 2) / total_h,
                row_titles[row],
                ha="right",
                va="center",
                fontsize=_TITLE,
                color=INK,
            )
        y += height + _GAP
    axes = fig.add_axes((0, 0, 1, 1), zorder=-1)
    axes.imshow(np.asarray(sheet), aspect="auto", interpolation="nearest")
    axes.set_axis_off()
    return fig


def filmstrip(
    samples,
    which: Sequence[str] = ("x_t", "x0"),
    steps: Sequence[int] | int = 8,
    index: int = 0,
    scale: int = 2,
    resample: str = "lanczos",
):
    """One sample on its way from noise to picture: a row for what the sampler holds, a row for what it
    expects.

    samples: a `Samples` with its trajectory. which: "x_t" (the decoded latent of each step) and "x0" (the
    decoded prediction). steps: which steps to show, as positions in the trajectory, or how many, evenly
    spread with the first and last among them. index: which picture of the batch. Returns the figure. Raises
    ValueError for bad arguments.
    """
    run = samples.trajectory
    if not len(run):
        raise ValueError(
            allowed("samples.trajectory", run, "samples with a trajectory (sample with keep_trajectory=True)")
        )
    if not which:
        raise ValueError(allowed("which", which, "'x_t', 'x0' or both"))
    for name in which:
        check_choice("which", name, ("x_t", "x0"))
    check_integer("index", index, 0, len(samples.latents) - 1)
    if isinstance(steps, int):
        count = check_integer("steps", steps, 1)
        steps = sorted({round(s) for s in np.linspace(0, len(run) - 1, min(count, len(run)))})
    for s in steps:
        check_integer("steps", s, 0, len(run) - 1)
    names = {"x_t": "x_t", "x0": "x0 predicted"}
    latents = torch.cat([getattr(run[s], name)[index : index + 1] for name in which for s in steps])
    return show_grid(
        samples.decode(latents),
        titles=[f"t = {run[s].t}" for s in steps],
        columns=len(steps),
        scale=scale,
        resample=resample,
        row_titles=[names[name] for name in which],
    )


def labelled_grid(
    images,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    scale: int = 1,
    resample: str = "lanczos",
    least: int = 0,
) -> Image.Image:
    """A picture of pictures with labels above the columns and at the left of the rows. Needs no matplotlib.

    images: as `to_pil` takes, row by row. least: the least width of a column in pixels. Raises ValueError
    where the number of pictures is not rows times columns.
    """
    pictures = to_pil(images, scale, resample)
    if len(pictures) != len(row_labels) * len(column_labels):
        raise ValueError(
            allowed("images", f"{len(pictures)} pictures", f"{len(row_labels)} rows x {len(column_labels)}")
        )
    font = ImageFont.load_default(13)
    width, height = pictures[0].size
    left = 12 + max(math.ceil(font.getlength(t)) for t in row_labels)
    cell = max(width, least, *(math.ceil(font.getlength(t)) for t in column_labels)) + _GAP
    sheet = Image.new(
        "RGB", (left + cell * len(column_labels), 22 + (height + _GAP) * len(row_labels)), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for c, text in enumerate(column_labels):
        draw.text((left + c * cell + (cell - _GAP) / 2, 11), text, fill=INK, font=font, anchor="mm")
    for r, text in enumerate(row_labels):
        y = 22 + r * (height + _GAP)
        draw.text((left - 6, y + height / 2), text, fill=INK, font=font, anchor="rm")
        for c in range(len(column_labels)):
            sheet.paste(
                pictures[r * len(column_labels) + c], (left + c * cell + (cell - _GAP - width) // 2, y)
            )
    return sheet


# --- numbers ------------------------------------------------------------------------------------------------


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
    names, rows = list(values), [_interval(name, v) for name, v in values.items()]
    fig = _figure(6.4, 0.5 + 0.36 * len(names) + (0.3 if xlabel else 0))
    axes = fig.add_subplot()
    y = np.arange(len(names))[::-1]
    for k, (value, a, b) in enumerate(rows):
        axes.barh(y[k], value - low, left=low, height=0.62, color=PALETTE[0])
        axes.plot((a, b), (y[k], y[k]), color=INK, lw=1.6, solid_capstyle="butt")
        axes.text(1.0 + 0.02 * (1 - low), y[k], f"{value:.3f}", va="center", ha="left", fontsize=9, color=INK)
    if bar is not None:
        axes.axvline(bar, color=PALETTE[1], lw=1.2, ls="--")
        axes.text(bar, len(names) - 0.45, f"{bar:g}", color=PALETTE[1], fontsize=8, ha="center", va="bottom")
    axes.set(yticks=y, yticklabels=names, xlim=(low, 1.0), ylim=(-0.6, len(names) - 0.4), xlabel=xlabel)
    return _plain(fig, axes, grid="x")


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
    fig = _figure(6.4, 3.6)
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
    return _plain(fig, axes, grid="both")


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
    fig = _figure(6.4, 3.8)
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
            axes.annotate(tag, at, (5, 5), textcoords="offset points", fontsize=8, color=PALETTE[k])
        ends.append((x[-1], y[-1], label, PALETTE[k]))
    if logx:
        axes.set_xscale("log")
        axes.minorticks_off()
    if ticks is not None:
        axes.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _label_ends(fig, axes, ends)
    return _plain(fig, axes, grid="both")


def _label_ends(fig, axes, ends) -> None:
    """Labels right of the axes, pushed apart so that none covers another."""
    if not ends or (len(ends) == 1 and not ends[0][2]):
        return
    fig.draw_without_rendering()
    # Heights as fractions of the axes, bottom up; then at least a line between neighbours.
    placed = sorted(
        (axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[1], label, colour)
        for x, y, label, colour in ends
    )
    step, heights = 0.075, []
    for at, _, _ in placed:
        heights.append(max(at, heights[-1] + step) if heights else at)
    over = max(0.0, heights[-1] - 1.0)
    for (_, label, colour), at in zip(placed, heights, strict=True):
        axes.text(1.02, at - over, label, transform=axes.transAxes, color=colour, fontsize=9, va="center")


def _interval(name: str, triple: Sequence[float]) -> tuple[float, float, float]:
    if len(triple) != 3:
        raise ValueError(allowed(f"values[{name!r}]", triple, "(value, low, high)"))
    value, low, high = (check_number(f"values[{name!r}]", float(v)) for v in triple)
    if not low <= value <= high:
        raise ValueError(allowed(f"values[{name!r}]", tuple(triple), "low <= value <= high"))
    return value, low, high


def _figure(width: float, height: float, fixed: bool = False):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=_DPI, facecolor=PAPER, layout=None if fixed else "constrained")
    FigureCanvasAgg(fig)
    if not fixed:
        fig.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return fig


def _plain(fig, axes, grid: str):
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    return fig


def _width(text: str) -> int:
    """Pixels that a title's line takes."""
    from matplotlib.textpath import TextPath

    return math.ceil(TextPath((0, 0), text, size=_TITLE).get_extents().x1 * _DPI / 72) if text.strip() else 0


def _wrap(text: str, room: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, room)) or text


# --- the one way a chapter shows a figure, and the one way it shows a table of text ---------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> None:
    """Show a table of text. head: a name for each column. rows: a cell for each column, the first names the row.

    `caption` is the table's name for readers who cannot see it, too; required. Words between backticks are set
    as code. Raises ValueError for an empty caption, and for a row whose length is not that of `head`.
    """
    from IPython.display import HTML, display

    if not isinstance(caption, str) or not caption.strip():
        raise ValueError(allowed("caption", caption, "a sentence that says what the table shows"))
    for row in rows:
        if len(row) != len(head):
            raise ValueError(
                allowed("rows", f"a row with {len(row)} cells", f"{len(head)} cells, as in head")
            )
    top = "".join(f'<th scope="col">{_marked(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{_marked(first)}</th>'
        + "".join(f"<td{_kept_whole(c)}>{_marked(c)}</td>" for c in rest)
        + "</tr>"
        for first, *rest in rows
    )
    name = html.escape(caption)
    display(
        HTML(
            f'<div style="overflow-x:auto" role="region" aria-label="{name}" tabindex="0"><table class="table dt-table">'
            f"<caption>{name}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
        )
    )


def _kept_whole(text: str) -> str:
    """A number with its interval stands on one line; the site's style sheet knows the class."""
    return ' class="n"' if len(str(text)) <= 20 else ""


def _marked(text: str) -> str:
    parts = html.escape(str(text), quote=False).split("`")
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in enumerate(parts))


def figure(
    fig, alt: str, caption: str | None = None, dpi: int = _DPI, scale: int = 1, resample: str = "lanczos"
):
    """Show a figure, or pictures, with alternative text for readers who cannot see it, and a caption.

    fig: a matplotlib figure, a PIL picture, or what `to_pil` takes (several pictures become a grid). alt:
    what the figure shows, in a sentence or two; required. caption: plain text under the figure. dpi: of a
    matplotlib figure. scale, resample: for pictures. Inside a notebook the output is an HTML figure that
    holds the picture itself, as PNG or WebP; elsewhere only the text is
    shown. Raises ValueError for an empty alt.
    """
    from IPython.display import display

    bundle = figure_bundle(fig, alt, caption, dpi, scale, resample)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and _is_figure(fig):
        pyplot.close(fig)  # a figure of pyplot's would be shown a second time at the end of the cell
    display(bundle, raw=True)


def figure_bundle(
    fig, alt: str, caption: str | None = None, dpi: int = _DPI, scale: int = 1, resample: str = "lanczos"
) -> dict[str, str]:
    """The MIME bundle that `figure` displays: text/html and text/plain."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(allowed("alt", alt, "a sentence that says what the figure shows"))
    alt = " ".join(alt.split())
    if _is_figure(fig):
        data, kind, width, height = encode(fig, dpi)
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


def encode(fig, dpi: int = _DPI) -> tuple[bytes, str, int, int]:
    """A matplotlib figure or a PIL picture to (bytes, "png" or "webp", width, height).

    Lines and text have few colours and become a PNG, which is exact; pictures have many and become a WebP, a
    tenth of the size.
    """
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
