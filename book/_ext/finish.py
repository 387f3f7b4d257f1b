"""The last touch on a page, and on the site: what readers need and nothing else.

As a page is written, its icons are drawn, its pictures go to files, and scripts that nothing in it uses fall away.
When all are written, fonts and stylesheet are cut to what the pages use, and the theme's other files are removed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import deeper
import fonts
import icons
import pictures
import styles
from sphinx.application import Sphinx
from sphinx.util import logging
from words import SPOKEN, language, say

logger = logging.getLogger(__name__)
# Scripts of Sphinx, the theme and Jupyter Book's extensions whose work the pages do without them or in site.mjs:
# icons, menus, the frame (frame.mjs), Sphinx's search, copying, folds, tabs, a kernel in the page.
UNUSED = (
    "bootstrap", "clipboard.min", "copybutton", "copybutton_funcs", "design-tabs", "doctools",
    "documentation_options", "fontawesome", "language_data", "pydata-sphinx-theme", "searchindex", "searchtools",
    "sphinx-book-theme", "sphinx_highlight", "sphinx-thebe", "togglebutton",
)  # fmt: skip
INLINE = ("thebe", "toggle", "DOCUMENTATION_OPTIONS")
FOLDERS = (
    "styles",
    "vendor",
    "webpack-macros.html",
    "sbt-webpack-macros.html",
    "locales",
    "sphinx-design.min.css",
)
_SYMBOL_HEAD = re.compile(
    r'<th class="head[^"]*"><p><span class="math">(?:(?!</th>).)*</span></p></th>', re.S
)
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"


def used(item) -> bool:
    """Whether a page needs a script of Sphinx's list."""
    attributes = getattr(item, "attributes", {}) or {}
    name = Path(str(getattr(item, "filename", None) or item)).name.partition("?")[0]
    inline = attributes.get("body") or ""
    if attributes.get("type") == STATE or "thebe" in str(attributes.get("type")):
        return False
    return not (name.removesuffix(".js") in UNUSED or any(word in inline for word in INLINE))


def no_widgets(app: Sphinx, config) -> None:
    """Notebooks keep widgets, and beside each the picture that the page shows: the page needs no manager."""
    config.nb_ipywidgets_js = {}


def choose_scripts(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    context["script_files"] = [item for item in context.get("script_files", []) if used(item)]
    if VIEW in context.get("body", ""):
        logger.warning("%s shows a widget, and the site draws none: store its picture", pagename)


def headings_first(html: str) -> str:
    """A section's id on its heading, where search and a shared link look for it."""
    return re.sub(
        r'<section((?: class="[^"]*")?) id="([^"]+)"((?: class="[^"]*")?)>(\s*(?:<span id="[^"]*"></span>)*\s*)<(h[1-6])>',
        r'<section\1\3>\4<\5 id="\2">',
        html,
    )


def plain_code(html: str) -> str:
    """Highlighted code without the spans of names, brackets, spaces, operators and a string's own braces.

    They are most of the spans, weigh kilobytes in a long chapter, and their colour tells nothing: words, numbers, strings
    and comments keep theirs.
    """
    return re.sub(
        r'<span class="(?:n|o|p|si|w)">([^<]*)</span>|<span></span>', lambda found: found[1] or "", html
    )


def plain_signatures(html: str) -> str:
    """Signatures of the reference with spans for the names alone: the others tell nothing, and are half of its page."""

    def plain(found: re.Match) -> str:
        kept, open_ = [], []
        for part in re.split(r"(</?(?:span|em)\b[^>]*>)", found[0]):
            if part.startswith(("<span", "<em")):
                open_.append(bool(re.search(r'class="(?:sig-prename|sig-name|property)\b', part)))
                kept.append(part if open_[-1] else "")
            elif part.startswith(("</span", "</em")):
                kept.append(part if open_.pop() else "")
            else:
                kept.append(part)
        return "".join(kept)

    return re.sub(r'<dt class="sig .*?</dt>', plain, html, flags=re.S)


def tall(html: str) -> float:
    """About how many pixels of height a section takes in a column of 75 characters: lines, code and pictures."""
    folds = 38 * html.count("<summary")
    html = deeper.outside(html)
    code = sum(block.count("\n") * 20 + 60 for block in re.findall(r"<pre>.*?</pre>", html, re.S))
    seen = re.sub(r"<pre>.*?</pre>|<math.*?</math>", "", html, flags=re.S)
    sizes = re.findall(r'<img(?! class="only-dark)[^>]*\bwidth="(\d+)" height="(\d+)"', html)
    drawn = sum(min(1.0, 620 / int(w)) * int(h) + 60 for w, h in sizes if int(w))
    blocks = len(re.findall(r"<(?:p|li|h[1-6]|tr|div class=\"math)\b", seen))
    text = len(re.sub(r"<[^>]+>", "", seen))
    return text / 75 * 28 + blocks * 22 + code + folds + drawn


def with_heights(html: str) -> str:
    """A guess at the height of each section of a page, so that the scroll bar is about right before it is laid out."""
    parts, depth, starts, at = [], 0, [], 0
    for tag in re.finditer(r"<section\b[^>]*>|</section>", html):
        if tag[0][1] != "/":
            depth += 1
            if depth == 2:
                starts = [tag.start(), tag.end()]
        else:
            if depth == 2:
                guess = round(tall(html[starts[1] : tag.start()]), -1)
                opening = html[starts[0] : starts[1]].replace(
                    "<section", f'<section style="--tall:{guess:.0f}px"', 1
                )
                parts += [html[at : starts[0]], opening, html[starts[1] : tag.end()]]
                at = tag.end()
            depth -= 1
    return "".join([*parts, html[at:]])


def named_symbol(found: re.Match) -> str:
    """A head of a table that is a symbol alone has the symbol's letters as its name."""
    letters = re.sub(r"<[^>]+>", "", re.search(r"<math.*?</math>", found[0], re.S)[0]).strip()
    return found[0].replace("<math ", f'<math aria-label="{letters}" ', 1)


def named(html: str) -> str:
    """Names and roles that speech and eyes agree on: the theme's frame, empty heads of tables, the bibliography."""
    html = html.replace(
        '<div id="pst-primary-sidebar" ',
        f'<div id="pst-primary-sidebar" role="navigation" aria-label="{say("Book")}" ',
    )
    html = re.sub(r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"', r"\1", html)
    html = re.sub(r'<th class="head[^"]*">\s*(?:<p>\s*</p>)?\s*</th>', "<td></td>", html)
    html = _SYMBOL_HEAD.sub(named_symbol, html)
    html = html.replace(
        '<summary><span class="toctree-toggle"',
        f'<summary aria-label="{say("Further pages of this chapter")}"><span class="toctree-toggle"',
    )
    return html.replace(' role="doc-biblioentry"', "").replace(' role="doc-backlink"', "")


def touched(html: str, page: Path, out: Path, kept: Path) -> str:
    """A page's HTML as readers get it; `page` is its file in the folder `out`."""
    way = "../" * len(page.relative_to(out).parent.parts)
    if language():
        html = re.sub(
            r"<html([^>]*?) lang=\"[^\"]*\"", rf'<html\1 lang="{language().replace("_", "-")}"', html
        )
    html = icons.drawn(named(deeper.folded(headings_first(plain_code(plain_signatures(html))))))
    html = pictures.to_files(html, f"{way}_images/", out / "_images", kept / "pictures")
    return with_heights(pictures.sized(html, page))


def wrap(app: Sphinx) -> None:
    """Have every page pass through `touched` as the builder renders it."""
    if app.builder.format != "html":
        return
    out = Path(app.outdir)
    kept = out.parent / "kept"
    templates = app.builder.templates
    render = templates.render

    def render_and_touch(template: str, context: dict) -> str:
        html = render(template, context)
        if "</html>" not in html:  # the theme renders its components too, to see which are empty
            return html
        return touched(html, out / f"{context['pagename']}.html", out, kept)

    templates.render = render_and_touch


def pages_of(out: Path) -> list[Path]:
    return sorted(
        p
        for p in out.rglob("*.html")
        if not {"_static", "_sources", *SPOKEN.values()} & set(p.relative_to(out).parts)
    )


def close(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    static, found = out / "_static", pages_of(out)
    texts = [page.read_text(encoding="utf-8") for page in found]
    # Sphinx copies its static files anew for each build in which a page was written, before this point.
    if (static / "styles").is_dir():
        shutil.rmtree(static / fonts.FOLDER, ignore_errors=True)
        faces = fonts.make(texts, static / fonts.FOLDER, out.parent / "kept" / "fonts")
        clean_scripts(static)
        styles.write(static, app.site_styles, found, faces)
    for name in FOLDERS:
        target = static / name
        shutil.rmtree(target, ignore_errors=True) if target.is_dir() else target.unlink(missing_ok=True)
    for name in ("searchindex.js", "genindex.html"):
        (out / name).unlink(missing_ok=True)
    for sheet in static.glob("*.css"):
        if sheet.name != styles.FILE:
            sheet.unlink()


def clean_scripts(static: Path) -> None:
    for script in [*static.glob("*.js"), *static.glob("scripts/*")]:
        name = script.name.removesuffix(".map").removesuffix(".LICENSE.txt").removesuffix(".js")
        if name in UNUSED or script.suffix == ".map":
            script.unlink()


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", no_widgets, priority=100)
    app.connect("builder-inited", wrap)
    app.connect("html-page-context", choose_scripts, priority=940)
    app.connect("build-finished", close, priority=800)
    app.add_js_file("frame.mjs", type="module")
    app.add_js_file("site.mjs", type="module")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
