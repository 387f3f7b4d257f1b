"""The faces of the site, cut to the letters that its pages use, and stand-ins of the same width while they come.

Source Serif 4 for reading, Inter for the frame, JetBrains Mono for code, KaTeX's for mathematics; all served from here.
"""

from __future__ import annotations

import hashlib
import html
import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer
from sphinx.application import Sphinx
from vendored import package

logging.getLogger("fontTools").setLevel(logging.WARNING)
FOLDER = "fonts"  # of the site's _static
LETTERS = (
    "".join(map(chr, range(0x20, 0x7F))) + "\u00a0–—‘’“”…·×−→≤≥≈²³é"
)  # what a script may write at any time
EDITION = 1  # of this file's settings: kept fonts of another edition are cut anew


@dataclass(frozen=True)
class Face:
    """One font file of the site, made from files of the npm package `source`."""

    name: str
    family: str
    source: str
    files: tuple[str, ...]  # the first one's glyph wins; the others add letters, in faces of their own
    weights: tuple[int, int]
    features: tuple[str, ...]
    style: str = "normal"


_SERIF, _INTER = "@fontsource-variable/source-serif-4/files", "@fontsource-variable/inter/files"
_MONO = "@fontsource-variable/jetbrains-mono/files"
FACES = (
    Face(
        "serif",
        "Source Serif",
        _SERIF,
        tuple(f"source-serif-4-{part}-wght-normal.woff2" for part in ("latin", "latin-ext", "greek")),
        (400, 700),
        ("kern", "liga"),
    ),
    Face(
        "serif-italic",
        "Source Serif",
        _SERIF,
        tuple(f"source-serif-4-{part}-wght-italic.woff2" for part in ("latin", "greek")),
        (400, 400),
        (),
        "italic",
    ),
    # Inter's kerning weighs as much as its letters.
    Face(
        "frame",
        "Inter",
        _INTER,
        tuple(f"inter-{p}-wght-normal.woff2" for p in ("latin", "greek")),
        (400, 700),
        (),
    ),
    Face(
        "mono",
        "JetBrains Mono",
        _MONO,
        tuple(f"jetbrains-mono-{p}-wght-normal.woff2" for p in ("latin", "greek")),
        (400, 400),
        (),
    ),
)
FIRST = ("serif.woff2", "frame.woff2")  # on every page's first screen
FORMULA = (
    "KaTeX_Main-Regular.woff2",
    "KaTeX_Math-Italic.woff2",
)  # on the first screen where there is mathematics

# Stand-ins: (family, fonts of readers' systems, width of ours by theirs, our ascent, our descent, style).
# Widths are averages over English text, heights parts of an em; from @capsizecss/metrics 4.3.0, and for DejaVu, which
# it does not list, measured in the same way from its file.
STANDINS = (
    ("Source Serif", ("Georgia",), 0.479 / 0.4458, 1.036, 0.335),
    ("Source Serif", ("Noto Serif",), 0.479 / 0.481, 1.036, 0.335),
    ("Source Serif", ("Times New Roman", "Liberation Serif"), 0.479 / 0.4063, 1.036, 0.335),
    ("Source Serif", ("DejaVu Serif",), 0.4719 / 0.5075, 1.036, 0.335),
    ("Source Serif", ("Georgia Italic",), 0.441 / 0.4546, 1.036, 0.335, "italic"),
    ("Source Serif", ("Noto Serif Italic",), 0.441 / 0.469, 1.036, 0.335, "italic"),
    (
        "Source Serif",
        ("Times New Roman Italic", "Liberation Serif Italic"),
        0.441 / 0.4082,
        1.036,
        0.335,
        "italic",
    ),
    ("Source Serif", ("DejaVu Serif Italic",), 0.432 / 0.5075, 1.036, 0.335, "italic"),
    ("Inter", ("Arial", "Liberation Sans"), 0.4775 / 0.4458, 0.9688, 0.2412),
    ("Inter", ("Roboto",), 0.4775 / 0.4448, 0.9688, 0.2412),
    ("Inter", ("DejaVu Sans",), 0.4693 / 0.5022, 0.9688, 0.2412),
    ("JetBrains Mono", ("Courier New", "Liberation Mono"), 1.0, 1.02, 0.3),
    ("JetBrains Mono", ("DejaVu Sans Mono",), 0.6 / 0.6021, 1.02, 0.3),
)


def letters(page: str) -> set[str]:
    """The characters that a page's HTML shows or may show."""
    return set(html.unescape(re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", page, flags=re.S)))


Face3 = tuple[str, str, str]  # (family, style, weight)
PLAIN: Face3 = ("KaTeX_Main", "normal", "400")
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_PIECE = re.compile(r'<span(?: class="([^"]*)")?[^>]*>|(</span>)|<(svg|math)\b.*?</\3>|<[^>]+>|([^<]+)', re.S)


def mathematics_choices(css: str) -> list[tuple[set[str], set[str], dict[str, str]]]:
    """From KaTeX's stylesheet, which classes choose a face: (the parent's, the element's, what they set)."""
    found = []
    for selectors, body in _RULE.findall(re.sub(r"/\*.*?\*/|@font-face\s*\{[^}]*\}", "", css, flags=re.S)):
        sets = {k: v.strip(" \"'") for k, v in re.findall(r"font-(family|style|weight):\s*([^;,]+)", body)}
        if not sets:
            continue
        for selector in selectors.split(","):
            parts = [set(re.findall(r"\.([\w-]+)", part)) for part in re.split(r"[ >]+", selector.strip())]
            parent = parts[-2] if selector.strip().endswith("> span") and len(parts) > 1 else set()
            found.append((parent, parts[-1], sets))
    return [(parent, own - {"katex"}, sets) for parent, own, sets in found if parent or own - {"katex"}]


def mathematics_letters(page: str, choices: list) -> dict[Face3, set[str]]:
    """The characters that each face of KaTeX draws in a page's formulas."""
    found: dict[Face3, set[str]] = {}
    for start in re.finditer(r'<span class="katex-html"', page):
        stack: list[tuple[set[str], dict[str, str]]] = [
            (set(), dict(zip(("family", "style", "weight"), PLAIN)))
        ]
        for piece in _PIECE.finditer(page, start.start()):
            if piece[2]:
                stack.pop()
                if len(stack) == 1:
                    break
            elif piece[0].startswith("<span"):
                classes, (above, value) = set((piece[1] or "").split()), stack[-1]
                value = dict(value)
                for parent, own, sets in choices:
                    if own <= classes and parent <= above:
                        value |= sets
                stack.append((classes, value))
            elif piece[4]:
                value = stack[-1][1]
                weight = {"bold": "700", "normal": "400"}.get(value["weight"], value["weight"])
                found.setdefault((value["family"], value["style"], weight), set()).update(
                    html.unescape(piece[4])
                )
    return found


def cut(
    source: Path, wanted: set[str], features: tuple[str, ...], weights: tuple[int, int] | None
) -> tuple[bytes, set[int]]:
    """(WOFF2 of the letters of `wanted` that the font has, their code points)."""
    font = TTFont(source)
    points = {ord(c) for c in wanted} & set(font.getBestCmap())
    if not points:
        return b"", set()
    options = Options(layout_features=list(features), hinting=False, name_IDs=[1, 2], notdef_outline=True)
    options.drop_tables += ["FFTM"]
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=points)
    subsetter.subset(font)
    if weights and "fvar" in font:
        limit = weights[0] if weights[0] == weights[1] else weights
        font = instancer.instantiateVariableFont(font, {"wght": limit})
    font.flavor = "woff2"
    made = io.BytesIO()
    font.save(made)
    return made.getvalue(), points


def kept_cut(
    kept: Path, source: Path, wanted: set[str], features: tuple[str, ...] = (), weights=None
) -> tuple[bytes, set[int]]:
    """`cut`, remembered in the folder `kept` by font and letters."""
    asked = f"{EDITION} {source.name} {source.stat().st_size} {sorted(wanted)} {features} {weights}"
    name = kept / hashlib.sha256(asked.encode()).hexdigest()[:20]
    if not name.with_suffix(".woff2").exists():
        kept.mkdir(parents=True, exist_ok=True)
        data, points = cut(source, wanted, features, weights)
        name.with_suffix(".txt").write_text(" ".join(map(str, sorted(points))), encoding="utf-8")
        name.with_suffix(".woff2").write_bytes(data)
    points = {int(p) for p in name.with_suffix(".txt").read_text(encoding="utf-8").split()}
    return name.with_suffix(".woff2").read_bytes(), points


def ranges(points: set[int]) -> str:
    """A set of code points as CSS's unicode-range."""
    runs: list[list[int]] = []
    for p in sorted(points):
        if runs and p == runs[-1][1] + 1:
            runs[-1][1] = p
        else:
            runs.append([p, p])
    return ", ".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in runs)


def face_rule(
    family: str, file: str, style: str = "normal", weight: str = "400", points: set[int] | None = None
) -> str:
    only = f" unicode-range: {ranges(points)};" if points else ""
    return (
        f'@font-face {{ font-family: "{family}"; font-style: {style}; font-weight: {weight}; font-display: swap; '
        f'src: url({FOLDER}/{file}) format("woff2");{only} }}\n'
    )


def standin_rules() -> str:
    rules = ""
    for family, fonts, width, ascent, descent, *style in STANDINS:
        roman = fonts[0].removesuffix(" Italic")
        sources = ", ".join(f'local("{font}")' for font in fonts)
        rules += (
            f'@font-face {{ font-family: "{family} like {roman}"; font-style: {style[0] if style else "normal"}; '
            f"src: {sources}; size-adjust: {width:.2%}; "
            f"ascent-override: {ascent / width:.2%}; descent-override: {descent / width:.2%}; line-gap-override: 0%; }}\n"
        )
    return rules


def mathematics_faces(css: str) -> list[tuple[str, Face3]]:
    """(file, face) of each face that KaTeX's stylesheet declares."""
    found = []
    for block in re.findall(r"@font-face\s*\{([^}]*)\}", css):
        value = {k: v.strip(" \"'") for k, v in re.findall(r"font-(family|style|weight):\s*([^;]+)", block)}
        weight = {"bold": "700", "normal": "400"}.get(value["weight"], value["weight"])
        found.append(
            (re.search(r"fonts/([\w-]+\.woff2)", block)[1], (value["family"], value["style"], weight))
        )
    return found


def make(pages: list[str], to: Path, kept: Path) -> str:
    """Write the fonts that the pages need to the folder `to`; returns the rules that name them."""
    to.mkdir(parents=True, exist_ok=True)
    shown = set(LETTERS).union(*map(letters, pages))
    rules = standin_rules()
    for face in FACES:
        seen: set[int] = set()
        for k, file in enumerate(face.files):
            wanted = {c for c in shown if ord(c) not in seen}
            data, points = kept_cut(
                kept,
                package(face.source.rsplit("/", 1)[0]) / "files" / file,
                wanted,
                face.features,
                face.weights,
            )
            new = points - seen
            if not new:
                continue
            seen |= points
            name = f"{face.name}{f'-{k}' if k else ''}.woff2"
            (to / name).write_bytes(data)
            weight = f"{face.weights[0]} {max(face.weights[1], 900)}" if face.weights[1] > 400 else "100 900"
            rules += face_rule(face.family, name, face.style, weight, new if len(face.files) > 1 else None)
    katex = package("katex") / "dist"
    css = (katex / "katex.css").read_text(encoding="utf-8")
    choices, drawn = mathematics_choices(css), {}
    for page in pages:
        for key, shown in mathematics_letters(page, choices).items():
            drawn.setdefault(key, set()).update(shown)
    for file, key in mathematics_faces(css):
        data, points = kept_cut(kept, katex / "fonts" / file, drawn.pop(key, set()) - {"\u200b"})
        if points:
            (to / file).write_bytes(data)
            rules += face_rule(key[0], file, key[1], key[2])
    if drawn:
        raise ValueError(f"KaTeX has no face for {sorted(drawn)}")
    return rules


def preload(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    mathematics = FORMULA if 'class="katex' in context.get("body", "") else ()
    context["preloads"] = [*FIRST, *mathematics]


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", preload)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
