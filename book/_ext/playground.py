"""The `playground` directive: the model in the page, over pictures that need neither it nor JavaScript.

    :::{playground} few-steps
    In a live notebook the next cell has the same controls.
    :::

The body is for readers of the notebook; on the page the element takes its place. The element's program is
playground/src, its model what `make model` writes to playground/build, its pictures book/images/playground. A site
built without the model is whole, and the element says that it has none.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from translated.values import translated
from translated.words import exchanged
from words import known, language, say

ROOT = Path(__file__).resolve().parents[2]
SOURCE, MODEL = ROOT / "playground" / "src", ROOT / "playground" / "build"
STILLS = ROOT / "book" / "images" / "playground"
FOLDER = "playground"  # of the site's _static


class playground(nodes.General, nodes.Element):
    """preset: its name. Children are the directive's body."""


class Playground(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name, known = self.arguments[0], stills()
        if name not in known:
            raise self.error(f"playground: no preset {name!r}; there are: {', '.join(known)}")
        node = playground(preset=name)
        self.set_source_info(node)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def stills() -> dict:
    """The pictures and words of each preset, as scripts/playground_stills.py wrote them."""
    return translated(json.loads((STILLS / "stills.json").read_text(encoding="utf-8")), known())


CLASSIC = "still-life"


def names() -> dict[str, str]:
    """What a reader calls the models."""
    return {
        CLASSIC: say("the classic"),
        "still-life-flow": say("the flow"),
        "still-life-fast": say("the student"),
    }


def shared(static: str) -> str:
    """The way to what both languages share, the models: it lies in the English site."""
    return static.replace("_static", "../_static", 1) if language() else static


def model(models: Sequence[str] = (CLASSIC,)) -> tuple[str, dict[str, float]] | None:
    """(path of the manifest in MODEL, megabytes by model), or None where one of them was not exported.

    What models share is counted with the classic, which every preset has.
    """
    path = MODEL / "manifest.json"
    if not path.is_file():
        return None
    manifest = json.loads(path.read_text(encoding="utf-8"))
    own = {CLASSIC: manifest["files"]} | {n: m["files"] for n, m in manifest.get("models", {}).items()}
    if not set(models) <= set(own):
        return None
    sizes = {name: sum(file["bytes"] for file in own[name]) / 1e6 for name in models}
    return path.name, sizes


def attributes(found: tuple[str, dict[str, float]] | None, static: str) -> str:
    """What the element of a preset has to know of its models, found as by `model`."""
    if found is None:
        return ""
    manifest, sizes = found
    told = f' manifest="{shared(static)}/model/{manifest}" megabytes="{sum(sizes.values()):.1f}"'
    if list(sizes) == [CLASSIC]:
        return told
    each = say(", ").join(f"{names()[model]} {size:.1f} MB" for model, size in sizes.items())
    return f'{told} models="{" ".join(sizes)}" sizes="{each}"'


def element(name: str, static: str) -> str:
    """The HTML of a preset; `static` is the way from the page to the folder of the playground."""
    entry = stills()[name]
    found = None if name == "mixture" else model(entry.get("models", [CLASSIC]))
    size = f"--columns: {entry['columns']}; --phone: {entry['phone']}"
    passing = figure([p for p in entry["pictures"] if not p.get("kept")], entry["caption"], size, static)
    lasting = [p for p in entry["pictures"] if p.get("kept")]
    kept = figure(lasting, entry["kept"], size, static, ' slot="kept"') if lasting else ""
    return (
        f'<diffusion-playground preset="{name}"{attributes(found, static)}>\n'
        f'<div slot="head" class="playground-head"><p class="playground-title">{escape(entry["title"])}</p>'
        f"<p>{escape(entry['hint'])}</p></div>\n{kept}{passing}</diffusion-playground>\n"
    )


def figure(pictures: list[dict], caption: str, size: str, static: str, slot: str = "") -> str:
    """Pictures with one caption. Those in the slot "kept" stay when the live ones come."""
    images = "".join(picture(p, static) for p in pictures)
    return (
        f'<figure{slot} class="playground-stills" style="{size}"><div>{images}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def picture(entry: dict, static: str) -> str:
    """One picture with its label. "dark-light" tells the theme to leave its colours as they are."""
    kind = f"only-{entry['mode']}" if "mode" in entry else "dark-light"
    return (
        f'<span class="playground-still {kind}"><img class="{kind}" src="{static}/stills/{entry["file"]}" '
        f'width="{entry["width"]}" height="{entry["height"]}" alt="{escape(entry["alt"])}" loading="lazy">'
        f"<span>{escape(entry['label'])}</span></span>"
    )


def visit_html(self, node: playground) -> None:
    up = "../" * self.builder.current_docname.count("/")
    self.body.append(element(node["preset"], f"{up}_static/{FOLDER}"))
    raise nodes.SkipNode


def visit_other(self, node: playground) -> None:
    """The body alone."""


def depart_other(self, node: playground) -> None:
    pass


def stage(app: Sphinx, config) -> None:
    """Gather the program, the model and the pictures beside the build; Sphinx copies them into the site."""
    staged = Path(app.outdir).parent / "staged-playground"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(SOURCE, staged / FOLDER)
    shutil.copytree(STILLS, staged / FOLDER / "stills", ignore=shutil.ignore_patterns("*.json"))
    for path in (staged / FOLDER).glob("*.mjs") if language() else ():
        path.write_text(exchanged(path.read_text(encoding="utf-8"), known()), encoding="utf-8")
    if (MODEL / "manifest.json").is_file() and not language():
        shutil.copytree(MODEL, staged / FOLDER / "model")
    config.html_static_path.append(str(staged))


def front_page(app: Sphinx, env, added: set, changed: set, removed: set) -> list[str]:
    """One page is always written anew: where no page is, Sphinx does not look at scripts and styles that changed."""
    return [app.config.root_doc]


def add_program(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Pages that have a playground load its program; the others do not know of it."""
    if doctree is not None and next(doctree.findall(playground), None) is not None:
        app.add_js_file(f"{FOLDER}/element.mjs", type="module")


def setup(app: Sphinx) -> dict:
    other = (visit_other, depart_other)
    app.add_node(playground, html=(visit_html, None), latex=other, text=other, man=other, texinfo=other)
    app.add_directive("playground", Playground)
    app.connect("config-inited", stage, priority=200)
    app.connect("env-get-outdated", front_page)
    app.connect("html-page-context", add_program)
    app.add_css_file("playground.css", priority=910)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
