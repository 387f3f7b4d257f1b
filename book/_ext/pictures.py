"""Pictures of a notebook's outputs become files beside the pages; every picture says how large it is.

A notebook keeps its pictures in itself, as base64; a page that did so would be read only once all of them have come.
PNG becomes WebP: without loss where that is small, so that letters in plots stay sharp, else at quality 90. Moving
pictures keep their bytes. A figure of lines, an SVG drawn on white, becomes two files without a ground, one for light and
one for dark pages: an <img> would follow the system, and readers may choose the other. A plot of so many marks that it is
stored as pixels gets a class, by which the style sheet turns it over on a dark page; pictures of samples stay as they are.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path

from PIL import Image

QUALITY = 90
LOSSLESS_UP_TO = (
    24_000  # bytes: a plot with few colours; above, a picture of pixels is better off with some loss
)
FIRST_SCREEN = 900  # characters of text before a picture that is seen without scrolling, at most
_DATA = re.compile(r'(?<=")data:image/(png|webp|gif|jpeg|svg\+xml);base64,([A-Za-z0-9+/=\s]+?)(?=")')
_IMG = re.compile(r"<img\b[^>]*>")
_TAG = re.compile(r"<[^>]+>")


def as_webp(data: bytes) -> bytes:
    """The same pixels: without loss where that is small, else with little of it."""
    image = Image.open(io.BytesIO(data))
    image = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    exact, near = io.BytesIO(), io.BytesIO()
    image.save(exact, "WEBP", lossless=True, method=4, quality=60)
    if exact.tell() <= LOSSLESS_UP_TO:
        return exact.getvalue()
    image.save(near, "WEBP", quality=QUALITY, method=4)
    return min(exact.getvalue(), near.getvalue(), key=len)


def store(kind: str, text: str, images: Path, kept: Path) -> str:
    """The name of the file in `images` that holds a picture given as base64. `kept` remembers what was converted."""
    data = base64.b64decode(text)
    digest = hashlib.sha256(data).hexdigest()[:16]
    suffix = {"svg+xml": "svg", "jpeg": "jpg", "png": "webp"}.get(kind, kind)
    target = images / f"{digest}.{suffix}"
    if not target.exists():
        images.mkdir(parents=True, exist_ok=True)
        if kind == "png":
            before = kept / f"{digest}-{QUALITY}-{LOSSLESS_UP_TO}.webp"
            if not before.exists():
                kept.mkdir(parents=True, exist_ok=True)
                before.write_bytes(as_webp(data))
            data = before.read_bytes()
        target.write_bytes(data)
    return target.name


# A light figure's colours (diffusion_tutorial.plots.style) -> those on a dark ground, as far apart from it and each other.
DARK = {
    "#1a1a1a": "#e6e4e0", "#000000": "#f4f2ee", "#d0d0d0": "#454a52", "#0072b2": "#4aa3df", "#d55e00": "#f2803c",
    "#009e73": "#34c497", "#cc79a7": "#e29cc2", "#e69f00": "#f0b429", "#56b4e9": "#93d0f7", "#767676": "#a9a9a9",
    "#555555": "#b5b5b5",
}  # fmt: skip
_PIXELS = re.compile(r'<img class="dark-light" src="data:image/(?:png|webp);base64,([A-Za-z0-9+/=\s]+)"')
NEAR_WHITE, PLOT = 248, 0.5  # of 255; the least share of such pixels in a plot (a sheet of samples has at most 0.4)
_VECTOR = re.compile(r'<img class="dark-light" src="data:image/svg\+xml;base64,([A-Za-z0-9+/=\s]+)"([^>]*)>')


def clear(svg: str) -> str:
    """A figure without its white ground: figure and axes are filled with white, and nothing else is."""
    return svg.replace("fill: #ffffff", "fill: none")


def dark(svg: str) -> str:
    """A figure in the colours of `DARK`; what is black by default, text and lines without a colour, as well."""
    inked = re.sub(r"<svg ", f'<svg fill="{DARK["#000000"]}" ', svg, count=1)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: DARK.get(found[0], found[0]), inked)


def both_modes(html: str) -> str:
    """Figures of lines twice, as the theme shows one or the other."""

    def two(found: re.Match) -> str:
        svg = clear(base64.b64decode(found[1]).decode())
        return "".join(
            f'<img class="only-{mode} dt-vector" src="data:image/svg+xml;base64,'
            f'{base64.b64encode(text.encode()).decode()}"{found[2]}>'
            for mode, text in (("light", svg), ("dark", dark(svg)))
        )

    return _VECTOR.sub(two, html)


def mostly_white(data: bytes) -> bool:
    """Whether a picture, or the first of a moving one, is a plot on white ground and not a sheet of samples."""
    lightest = Image.open(io.BytesIO(data)).convert("RGB").convert("L").histogram()[NEAR_WHITE:]
    width, height = Image.open(io.BytesIO(data)).size
    return sum(lightest) > PLOT * width * height


def marked(html: str) -> str:
    """Plots of pixels with the class dt-pixels."""

    def mark(found: re.Match) -> str:
        if not mostly_white(base64.b64decode(found[1])):
            return found[0]
        return found[0].replace('class="dark-light"', 'class="dark-light dt-pixels"', 1)

    return _PIXELS.sub(mark, html)


def to_files(html: str, way: str, images: Path, kept: Path) -> str:
    """Base64 pictures of a page as files of the folder `images`; `way` leads there from the page."""
    html = marked(both_modes(html))
    return _DATA.sub(lambda found: f"{way}{store(found[1], found[2], images, kept)}", html)


def size(path: Path) -> tuple[int, int] | None:
    """(width, height) in pixels of a picture's file; None where it is not one, or has no size of its own."""
    if path.suffix == ".svg":
        text = path.read_text(encoding="utf-8")[:2000]
        box = re.search(r'viewBox="[\d.-]+[ ,]+[\d.-]+[ ,]+([\d.]+)[ ,]+([\d.]+)"', text)
        return (round(float(box[1])), round(float(box[2]))) if box else None
    try:
        with Image.open(path) as image:
            return image.size
    except OSError:
        return None


def sized(html: str, page: Path) -> str:
    """Every picture with its width and height, and lazy unless it stands on the first screen of the page's article."""
    start = html.find("<article")
    seen = 0

    def mend(found: re.Match) -> str:
        nonlocal seen
        tag, source = found[0], re.search(r'\bsrc="([^":]+)"', found[0])
        if source and not re.search(r"\bwidth=", tag):
            measured = size((page.parent / source[1]).resolve())
            if measured:
                tag = tag.replace("<img", f'<img width="{measured[0]}" height="{measured[1]}"', 1)
        if start < 0 or found.start() < start or "loading=" in tag:
            return tag
        seen += 1
        if seen == 1 and len(_TAG.sub("", html[start : found.start()])) < FIRST_SCREEN:
            return tag
        return tag.replace("<img", '<img loading="lazy" decoding="async"', 1)

    return _IMG.sub(mend, html)
