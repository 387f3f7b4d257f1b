"""Moving pictures in a page: clouds of points on their way, as an animated WebP that the reader can stop."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .. import words
from ..errors import allowed
from .style import INK, PALETTE, PAPER, RULE, small_font

_FINE = 2  # drawn at twice the size, then scaled down: smooth edges


def particle_frames(
    clouds: Mapping[str, Sequence[Tensor]],
    notes: Sequence[str] | None = None,
    limit: float = 2.6,
    size: int = 240,
    trail: int = 5,
    followed: int = 4,
) -> list[Image.Image]:
    """A frame a step: a panel for each cloud, side by side, its title above and a note below.

    clouds: title -> positions (N, 2) at each step, of equal length. limit: the panels show [-limit, limit]
    squared. trail: how many earlier steps the first `followed` points drag behind them, in colour.
    """
    counts = {len(steps) for steps in clouds.values()}
    if len(counts) != 1 or 0 in counts or (notes is not None and {len(notes)} != counts):
        raise ValueError(
            allowed("clouds", f"lengths {sorted(counts)}", "as many steps for each, and notes to fit")
        )
    font, side = small_font(12 * _FINE), size * _FINE
    top, bottom, gap = 18 * _FINE, (16 * _FINE if notes else 0), 6 * _FINE

    def place(points: Tensor, left: int) -> list[tuple[float, float]]:
        xy = (points.double() / limit + 1) / 2 * side
        return [(left + x, top + side - y) for x, y in xy.tolist()]

    frames = []
    for k in range(counts.pop()):
        width = len(clouds) * side + (len(clouds) - 1) * gap
        sheet = Image.new("RGB", (width, top + side + bottom), PAPER)
        draw = ImageDraw.Draw(sheet)
        for panel, (title, steps) in enumerate(clouds.items()):
            left = panel * (side + gap)
            r = 1.6 * _FINE
            for x, y in place(steps[k][followed:], left):
                if left <= x < left + side and top <= y < top + side:
                    draw.ellipse((x - r, y - r, x + r, y + r), fill="#9a9a9a")
            past = [place(steps[j][:followed], left) for j in range(max(0, k - trail), k + 1)]
            for i in range(followed):
                colour = PALETTE[i % len(PALETTE)]
                draw.line([p[i] for p in past], fill=colour, width=_FINE + 1)
                x, y = past[-1][i]
                draw.ellipse((x - 2 * r, y - 2 * r, x + 2 * r, y + 2 * r), fill=colour)
            draw.rectangle((left, top, left + side - 1, top + side - 1), outline=RULE, width=_FINE)
            draw.rectangle((left, 0, left + side, top - 1), fill=PAPER)
            draw.text((left + side / 2, top / 2), words.shown(title), fill=INK, font=font, anchor="mm")
        if notes is not None:
            draw.rectangle((0, top + side, width, top + side + bottom), fill=PAPER)
            draw.text((width / 2, top + side + bottom / 2), words.shown(notes[k]), fill=INK, font=font, anchor="mm")
        frames.append(sheet.resize((sheet.width // _FINE, sheet.height // _FINE), Image.Resampling.LANCZOS))
    return frames


def path_picture(
    positions: Sequence[Tensor],
    log_density: Callable[[Tensor], Tensor],
    limit: float = 2.6,
    size: int = 440,
    followed: int = 6,
) -> Image.Image:
    """Where particles go, in one picture: their paths as lines, their ends as dots, a density behind.

    positions: (N, 2) at each step, the start first. log_density: of points (M, 2), up to a constant; shown as
    shades from white to pale blue. The first `followed` paths have colour, and a ring where they start. The
    picture shows [-limit, limit] squared. Raises ValueError for fewer than two positions.
    """
    if len(positions) < 2:
        raise ValueError(allowed("positions", f"{len(positions)} of them", "at least a start and an end"))
    side = size * _FINE
    axis = (torch.arange(size // 2, dtype=torch.float64) + 0.5) / (size // 2) * 2 * limit - limit
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    density = log_density(torch.stack([x.ravel(), y.ravel()], dim=1)).reshape(x.shape)
    shade = (density - density.max()).exp().sqrt()[..., None]  # the root keeps thin tails in sight
    paper, blue = torch.tensor([255.0, 255.0, 255.0]), torch.tensor([120.0, 175.0, 228.0])
    ground = (paper + shade * (blue - paper)).round().to(torch.uint8).numpy()
    sheet = Image.fromarray(ground).resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(sheet, "RGBA")
    ways = (
        (torch.stack(list(positions)).double() * torch.tensor([1.0, -1.0]) / limit + 1) / 2 * side
    ).tolist()
    paths = list(zip(*ways, strict=True))  # a path each: its (x, y) at every step
    for path in paths[followed:]:
        draw.line([tuple(p) for p in path], fill=(90, 90, 90, 25), width=_FINE)
    for path in paths[followed:]:
        _dot(draw, path[-1], 1.8 * _FINE, fill=(60, 60, 60, 255))
    for k, path in enumerate(paths[:followed]):
        colour = PALETTE[k % len(PALETTE)]
        draw.line([tuple(p) for p in path], fill=colour, width=2 * _FINE)
        _dot(draw, path[0], 4 * _FINE, fill=PAPER, outline=colour, width=2 * _FINE)
        _dot(draw, path[-1], 4 * _FINE, fill=colour)
    draw.rectangle((0, 0, side - 1, side - 1), outline=RULE, width=_FINE)
    return sheet.resize((size, size), Image.Resampling.LANCZOS)


def _dot(draw, at: Sequence[float], radius: float, **style) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), **style)


def webp(
    frames: Sequence[Image.Image], milliseconds: int = 120, rest: int = 1500, quality: int = 60
) -> bytes:
    """Frames to an animated WebP that starts over after resting on the last frame."""
    if not frames:
        raise ValueError(allowed("frames", frames, "at least one picture"))
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [rest]
    frames[0].save(
        buffer, "WEBP", save_all=True, append_images=list(frames[1:]), duration=durations, loop=0,
        quality=quality, method=6,
    )  # fmt: skip
    return buffer.getvalue()


def animation_bundle(
    frames: Sequence[Image.Image],
    alt: str,
    caption: str | None = None,
    milliseconds: int = 120,
    rest: int = 1500,
) -> dict[str, str]:
    """The MIME bundle that `animation` displays: text/html and text/plain."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(allowed("alt", alt, "a sentence that says what the moving picture shows"))
    alt = " ".join(alt.split())
    still = io.BytesIO()
    frames[-1].save(still, "WEBP", quality=60, method=4)
    moving, stopped = (
        f"data:image/webp;base64,{base64.b64encode(data).decode()}"
        for data in (webp(frames, milliseconds, rest), still.getvalue())
    )
    note = f"<figcaption>{html.escape(caption, quote=False)}</figcaption>" if caption else ""
    # Closing the element stops the motion; readers who asked for less of it get the last frame.
    page = (
        '<details open class="dt-animation"><summary>Moving picture (close to stop it)</summary>'
        '<figure class="dt-figure" style="margin:1em 0"><picture>'
        f'<source media="(prefers-reduced-motion: reduce)" srcset="{stopped}">'
        f'<img class="dark-light" src="{moving}" alt="{html.escape(alt)}" width="{frames[0].width}" '
        f'height="{frames[0].height}" style="max-width:100%;height:auto"></picture>{note}</figure></details>'
    )
    return {"text/html": page, "text/plain": f"[moving picture: {alt}]"}


def animation(
    frames: Sequence[Image.Image],
    alt: str,
    caption: str | None = None,
    milliseconds: int = 120,
    rest: int = 1500,
) -> None:
    """Show frames as a moving picture with alternative text and a caption; the reader can stop it.

    Raises ValueError for an empty alt or no frames.
    """
    from IPython.display import display

    display(animation_bundle(frames, alt, caption, milliseconds, rest), raw=True)
