"""Pictures: of any kind to PIL, in grids, and the filmstrip of a run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from .. import words
from ..errors import allowed, check_choice, check_integer
from .style import DPI, INK, PAPER, blank, small_font

_GAP = 6  # pixels between pictures
_LINE = 17  # pixels a line of a title
_TITLE = 9  # points of a title's letters
_RESAMPLE = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS}


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


def lit(pictures: Tensor, maps: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1], or one (3, H, W), as bright as maps (B, h, w) say: full where a map is largest.

    The maps are enlarged (bilinear), and each is divided by its largest value. Raises ValueError for maps below 0, maps
    that are 0 everywhere, or a number of pictures that is neither one nor the maps'.
    """
    pictures = pictures[None] if pictures.ndim == 3 else pictures
    if maps.ndim != 3 or len(pictures) not in (1, len(maps)):
        raise ValueError(
            allowed("maps", tuple(maps.shape), f"(B, h, w) for {len(pictures)} pictures, or for one of them")
        )
    largest = maps.amax((1, 2), keepdim=True)
    if float(maps.min()) < 0 or float(largest.min()) <= 0:
        raise ValueError(
            allowed("maps", f"{float(maps.min()):g} to {float(maps.max()):g}", "0 and more, not all 0")
        )
    share = interpolate(
        (maps / largest)[:, None], size=pictures.shape[2:], mode="bilinear", align_corners=False
    )
    return pictures * share


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
    row_titles = row_titles and list(map(words.shown, row_titles))
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
    fig = blank(total_w / DPI, total_h / DPI, fixed=True)
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
        titles=[f"t = {run[s].t:.4g}" for s in steps],
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
    font = small_font(13)
    row_labels, column_labels = (list(map(words.shown, labels)) for labels in (row_labels, column_labels))
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


def _width(text: str) -> int:
    """Pixels that a title's line takes."""
    from matplotlib.textpath import TextPath

    if not text.isascii() and words.language():
        return math.ceil(words.columns(text) * _TITLE * DPI / 72 / 2)
    return math.ceil(TextPath((0, 0), text, size=_TITLE).get_extents().x1 * DPI / 72) if text.strip() else 0


def _wrap(text: str, room: int) -> str:
    if words.language():
        return words.wrapped(words.shown(text), room)
    return "\n".join(textwrap.wrap(text, room)) or text
