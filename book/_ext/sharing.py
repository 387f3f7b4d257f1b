"""Links to the repository, Binder and Colab; what a shared link shows; the sitemap; what pages that are no document need.

A page writes `<repo:CONTRIBUTING.md>`, `[Colab](colab:notebooks/still-life.ipynb)` or
`[Binder](binder:notebooks/still-life.ipynb)`; the address comes from `_config.yml` by scripts/address.py.
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from urllib.parse import quote

from docutils import nodes
from sphinx.application import Sphinx
from words import folder, language

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from address import Address  # noqa: E402

LENGTH = 200


def configure(app: Sphinx, config) -> None:
    here = Address.read(Path(app.confdir) / "_config.yml")
    config.html_baseurl = f"{here.site}{folder()}"
    config.myst_url_schemes = {
        "http": None,
        "https": None,
        "mailto": None,
        "repo": f"{here.repository}/blob/{here.branch}/{{{{path}}}}",
        "binder": f"{here.binder}?urlpath=lab/tree/{{{{path}}}}",
        "colab": f"{here.colab}/{{{{path}}}}",
    }


def resolve_substitutions(app: Sphinx, docname: str, source: list[str]) -> None:
    """`{{ repository }}`, `{{ repository_quoted }}` (for a URL's query), `{{ folder }}` and `{{ site }}` in a page,
    code blocks included."""
    here = Address.read(Path(app.confdir) / "_config.yml")
    values = {"repository": here.repository, "repository_quoted": quote(here.repository, safe="")}
    for name, value in (values | {"folder": here.name, "site": here.site}).items():
        source[0] = source[0].replace(f"{{{{ {name} }}}}", value)
    if folder():  # launch links open the notebooks of the language
        source[0] = re.sub(r"\]\((binder|colab):notebooks/", rf"](\1:notebooks/{folder()}", source[0])


def name_terms(app: Sphinx, doctree: nodes.document) -> None:
    """`[word](glossary.md#term-word)` finds the words of a page that carry an id, as it finds headings."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for span in doctree.findall(nodes.inline):
        for name in span["ids"]:
            slugs.setdefault(name, (span.line, name, span.astext()))


def describe(doctree: nodes.document) -> str:
    """The page's own `description`, or the start of its first paragraph."""
    for meta in doctree.findall(nodes.meta):
        if meta.get("name") == "description":
            return meta["content"]
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            text = re.sub(r"\s+", " ", paragraph.astext()).strip()
            if len(text) > 40:
                cut = text[: text.rfind(" ", 0, LENGTH)].rstrip(",;:. ")
                return text if len(text) <= LENGTH else f"{cut} …"
    return ""


def add_metadata(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if doctree is None:
        return
    context.setdefault("metatags", "")
    base, title = app.config.html_baseurl, re.sub(r"<[^>]+>", "", context.get("title", ""))
    text = describe(doctree)
    tags = {"og:type": "article", "og:site_name": app.config.html_title, "og:title": title}
    tags["og:url"] = f"{base}{pagename}.html"
    if text:
        tags["og:description"] = text
    if (Path(app.confdir) / "book/_static/social.png").exists():
        tags["og:image"] = f"{base}_static/social.png"
        context["metatags"] += '\n<meta name="twitter:card" content="summary_large_image" />'
    lines = [f'<meta property="{key}" content="{escape(value)}" />' for key, value in tags.items()]
    if text and 'name="description"' not in context["metatags"]:
        lines.append(f'<meta name="description" content="{escape(text)}" />')
    context["metatags"] += "\n" + "\n".join(lines)


def from_the_top(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The page for 404 may stand at any address, so its links start at the site's own."""
    if pagename == "404":
        context["metatags"] = (
            f'<base href="{app.config.html_baseurl}" />\n<meta name="robots" content="noindex" />'
        )
    elif pagename == "search":
        context["metatags"] = '<meta name="robots" content="noindex" />'


def mend(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """What speech needs: cells in Chinese say so, and what holds no list items is not called a list."""
    body = context.get("body", "")
    if not language():
        body = re.sub(r"<td>(?=<p>[\u4e00-\u9fff])", '<td lang="zh-Hans">', body)
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    # A hidden cell's own words name its button; the label over them would say something else.
    context["body"] = body.replace('<summary aria-label="Toggle hidden content">', "<summary>")


def write_files(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    base, out = app.config.html_baseurl, Path(app.outdir)
    names = sorted(app.env.found_docs)
    pages = "".join(f"  <url><loc>{escape(base)}{name}.html</loc></url>\n" for name in names)
    (out / "sitemap.xml").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{pages}</urlset>\n",
        encoding="utf-8",
    )
    (out / ".nojekyll").write_text("", encoding="utf-8")


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", configure, priority=100)
    app.connect("source-read", resolve_substitutions)
    app.connect("doctree-read", name_terms)
    app.connect("html-page-context", add_metadata, priority=600)
    app.connect("html-page-context", from_the_top, priority=600)
    app.connect("html-page-context", mend)
    app.connect("build-finished", write_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
