"""Each page has a twin in the other language: the same place in it, a link to it, and the links that machines read.

Sections are named by their English headings in both, so a link to a place holds in both. The English build writes the
names down (twins.json beside its output); the other one, which is built after it, takes them.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

from address import Address
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from words import SPOKEN, folder, language

logger = logging.getLogger(__name__)
FILE = "twins.json"
NAMES = {"": ("en", "English"), "zh_CN": ("zh-CN", "中文")}


def sections(doctree: nodes.document) -> list[nodes.section]:
    return list(doctree.findall(nodes.section))


def write(app: Sphinx, exception: Exception | None) -> None:
    """Beside the English site: of each page the names of its sections, in order, and of its headings."""
    if exception is not None or language() or app.builder.format != "html":
        return
    found = {}
    for name in sorted(app.env.found_docs):
        doctree = app.env.get_doctree(name)
        found[name] = {
            "ids": [section["ids"] for section in sections(doctree)],
            "slugs": {slug: place[1] for slug, place in app.env.metadata[name].get("myst_slugs", {}).items()},
        }
    (Path(app.outdir).parent / FILE).write_text(json.dumps(found, indent=1), encoding="utf-8")


def take(app: Sphinx, doctree: nodes.document) -> None:
    """Name the sections of a page in another language as the English ones are named."""
    if not language():
        return
    path = Path(app.config.twins)
    if not path.is_file():
        logger.warning("%s is missing: the English site is built first", path)
        return
    known = json.loads(path.read_text(encoding="utf-8")).get(app.env.docname)
    ours = sections(doctree)
    if known is None or len(known["ids"]) != len(ours):
        logger.warning("%s has other sections than in English", app.env.docname)
        return
    renamed = {}
    for section, ids in zip(ours, known["ids"], strict=True):
        old = section["ids"]
        renamed |= dict.fromkeys(old, ids[0])
        section["ids"] = list(ids)
        for name in ids:
            doctree.ids[name] = section
    for name, target in doctree.nameids.items():
        if target in renamed:
            doctree.nameids[name] = renamed[target]
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    titles = {section["ids"][0]: section.next_node(nodes.title).astext() for section in ours}
    for slug, place in list(slugs.items()):
        if place[1] in renamed:
            slugs[slug] = (place[0], renamed[place[1]], place[2])
    for slug, name in known["slugs"].items():
        slugs.setdefault(slug, (0, name, titles.get(name, slug)))


def twin(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The way to the page in the other language, and what search engines and launch buttons need."""
    up = "../" * pagename.count("/")
    own = folder()
    away = f"../{up}" if own else f"{up}{SPOKEN['zh_CN']}/"
    context["twin"] = {
        "href": f"{away}{pagename}.html",
        "lang": NAMES["" if own else "zh_CN"][0],
        "name": NAMES["" if own else "zh_CN"][1],
    }
    site = Address.read(Path(app.confdir) / "_config.yml").site
    if pagename not in ("404", "search"):
        places = {"en": site, "zh-CN": f"{site}{SPOKEN['zh_CN']}/", "x-default": site}
        links = "".join(
            f'\n<link rel="alternate" hreflang="{tag}" href="{escape(base)}{pagename}.html" />'
            for tag, base in places.items()
        )
        context["metatags"] = context.get("metatags", "") + links
    for button in context.get("header_buttons", []) if own else []:
        for one in button.get("buttons", [button]):
            launch = re.search(r"mybinder|colab|jupyterhub|/hub/", one.get("url") or "")
            if launch:
                one["url"] = re.sub(r"(notebooks(?:/|%2F))(?=[\w-]+\.ipynb)", rf"\g<1>{own}", one["url"])


def setup(app: Sphinx) -> dict:
    app.add_config_value("twins", "", "env")
    app.connect("doctree-read", take, priority=300)
    app.connect("html-page-context", twin, priority=980)
    app.connect("build-finished", write, priority=700)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
