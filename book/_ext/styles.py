"""One stylesheet for the site: the theme's, its extensions' and ours in their order, without what no page can use."""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx
from vendored import ask, package

FILE = "site.css"
THEME = ("basic.css", "styles/pydata-sphinx-theme.css")
# What extensions of Jupyter Book bring and no page has: buttons that need their scripts.
DROPPED = (
    "copybutton.css",
    "togglebutton.css",
    "sphinx-thebe.css",
    "sphinx-design.min.css",
    "jupyter-sphinx.css",
)
# Selectors that stay though no page has them as it is built: what scripts of browsers and of the theme add.
KEPT = (r"^::", r"^:target", r"data-theme", r"katex", r":popover-open", r"scrolled", r"pst-sidebar-hidden")
_FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}")
_URL = re.compile(r"url\((?!['\"]?(?:data:|#))['\"]?([^)'\"]+)['\"]?\)")
_COMMENT = re.compile(r"/\*.*?\*/", re.S)


def joined(static: Path, names: list[str]) -> str:
    """The files' rules, one after the other, without faces, which fonts.py makes."""
    texts = []
    for name in names:
        text = _FONT_FACE.sub("", (static / name).read_text(encoding="utf-8"))
        text = re.sub(r'@charset "[^"]*";|/\*# sourceMappingURL=.*?\*/', "", text)
        folder = name.rpartition("/")[0]
        way = f"{folder}/" if folder else ""
        texts.append(_URL.sub(lambda found, way=way: f"url({way}{found[1]})", text))
    return "\n".join(texts)


def minified(css: str) -> str:
    """Without comments and without the space that a browser does not need."""
    parts = re.split(r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", _COMMENT.sub("", css))
    for k in range(0, len(parts), 2):
        text = re.sub(r"\s+", " ", parts[k])
        parts[k] = re.sub(r" ?([{};,]) ?", r"\1", text).replace(";}", "}")
    return "".join(parts)


def remember(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Which stylesheets a page would ask for; the template asks for the one instead."""
    for item in context.get("css_files", []):
        name = str(getattr(item, "filename", item)).removeprefix("_static/").partition("?")[0]
        if (
            name not in (*app.site_styles, "styles/theme.css")
            and Path(name).name not in DROPPED
            and "://" not in name
        ):
            app.site_styles.append(name)


def start(app: Sphinx) -> None:
    app.site_styles = []


def write(static: Path, names: list[str], pages: list[Path], faces: str) -> None:
    """site.css in the folder `static`. `faces` are the rules of the fonts."""
    ours = sorted(names, key=lambda name: Path(name).name in ("custom.css", "playground.css", "stage.css"))
    css = joined(static, [*THEME, *(name for name in ours if name not in THEME)])
    katex = _FONT_FACE.sub("", (package("katex") / "dist" / "katex.css").read_text(encoding="utf-8"))
    scripts = [
        str(p) for p in sorted(static.rglob("*js")) if "model" not in p.parts and p.suffix in (".mjs", ".js")
    ]
    question = {
        "css": f"{katex}\n{css}",
        "pages": [str(p) for p in pages],
        "scripts": scripts,
        "keep": list(KEPT),
    }
    (static / FILE).write_text(minified(faces + ask("purge.mjs", question)["css"]), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", start)
    app.connect("html-page-context", remember, priority=950)
    app.add_css_file("custom.css", priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
