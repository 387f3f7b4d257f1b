"""The site asks nobody but itself: MathJax, require.js, the widget manager and the fonts are copied into it.

They come from the npm packages that `scripts/vendor/package-lock.json` pins; `make site` installs them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ConfigError

VENDOR = Path(__file__).resolve().parents[2] / "scripts" / "vendor"
FONTS = {
    "inter": ("wght-normal",),
    "source-serif-4": ("wght-normal", "wght-italic"),
    "jetbrains-mono": ("wght-normal",),
}
SUBSETS = ("latin", "latin-ext", "greek")
WIDGETS = "@jupyter-widgets/html-manager/dist"
REQUIRE_BASE = 'var require = { baseUrl: document.currentScript.src.replace(/[^/]*$/, "") };\n'
MATHJAX = ("tex-mml-chtml.js", "input/tex/extensions", "output/chtml/fonts", "a11y", "sre", "ui")


def copy_packages(modules: Path, to: Path) -> None:
    """Copy what the pages ask for from the npm packages in `modules` to the folder `to`."""

    def put(source: str, target: str) -> None:
        if (modules / source).is_dir():
            shutil.copytree(modules / source, to / target, dirs_exist_ok=True)
        else:
            (to / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(modules / source, to / target)

    for part in MATHJAX:
        put(f"mathjax/es5/{part}", f"mathjax/{part}")
    put("requirejs/require.js", "require.js")
    put(f"{WIDGETS}/embed-amd.js", f"{WIDGETS}/embed-amd.js")
    for font in (modules / WIDGETS).glob("*.woff2"):
        for folder in (WIDGETS, "@jupyter-widgets"):  # the bundle looks for its fonts in both
            put(f"{WIDGETS}/{font.name}", f"{folder}/{font.name}")
    (to / "base.js").write_text(REQUIRE_BASE, encoding="utf-8")
    for family, styles in FONTS.items():
        for subset in SUBSETS:
            for style in styles:
                name = f"{family}-{subset}-{style}.woff2"
                put(f"@fontsource-variable/{family}/files/{name}", f"fonts/{name}")


def configure(app: Sphinx, config) -> None:
    modules = VENDOR / "node_modules"
    if not (modules / "mathjax").is_dir():
        raise ConfigError(f"{modules} is missing: `make site` installs it, or run `npm ci` in {VENDOR}")
    staged = Path(app.outdir).parent / "vendored"
    copy_packages(modules, staged / "vendor")
    config.html_static_path.append(str(staged))
    config.mathjax_path = "vendor/mathjax/tex-mml-chtml.js"
    config.nb_ipywidgets_js = {
        "vendor/base.js": {},
        "vendor/require.js": {},
        f"vendor/{WIDGETS}/embed-amd.js": {"data-jupyter-widgets-cdn": "_static/vendor/"},
    }


def drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """sphinx-thebe declares its constants twice and points at a third party; the site has no use for it."""

    def is_thebe(item) -> bool:
        inline = getattr(item, "attributes", {}).get("body") or ""
        return "thebe" in f"{getattr(item, 'filename', None) or item} {inline}".lower()

    for kind in ("script_files", "css_files"):
        context[kind] = [item for item in context.get(kind, []) if not is_thebe(item)]


def drop_thebe_files(app: Sphinx, exception: Exception | None) -> None:
    for name in ("sphinx-thebe.js", "sphinx-thebe.css"):
        (Path(app.outdir) / "_static" / name).unlink(missing_ok=True)


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", configure, priority=100)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", drop_thebe_files, priority=900)
    app.add_css_file("custom.css", priority=900)
    app.add_js_file("site.mjs", type="module")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
