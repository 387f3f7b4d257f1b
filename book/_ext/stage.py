"""The `stage` directive: the live figure at the top of a page.

    :::{stage} few-steps
    In a live notebook the chapter's widgets do the same.
    :::

The page gets all of it as HTML, in its final size, with its first picture: nothing jumps when playground/src/stage.mjs
brings it to life, and without JavaScript a still with a caption stands in its place. Words come from book/stages.yml,
pictures and numbers from book/images/stages, which scripts/stages.py makes. The body is for readers of the notebook.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from translated.values import translated
from words import known

from playground import CLASSIC, depart_other, model, names, shared, stills, visit_other
from playground import FOLDER as PROGRAM

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from address import Address  # noqa: E402

WORDS, PICTURES = ROOT / "book" / "stages.yml", ROOT / "book" / "images" / "stages"
FOLDER = "stages"  # of the site's _static
FRAME = {"left": 34, "top": 12, "width": 310, "height": 96}  # of the curve, in a drawing of WIDE x HIGH
WIDE, HIGH = 360, 132


class stage(nodes.General, nodes.Element):
    """name: its name. Children are the directive's body."""


class Stage(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name, known = self.arguments[0], facts()
        if name not in known:
            raise self.error(f"stage: no stage {name!r}; there are: {', '.join(known)}")
        self.env.note_dependency(str(WORDS))
        self.env.note_dependency(str(PICTURES / "stages.json"))
        node = stage(name=name)
        self.set_source_info(node)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def facts() -> dict:
    """What scripts/stages.py wrote, by stage."""
    return json.loads((PICTURES / "stages.json").read_text(encoding="utf-8"))


def words() -> dict:
    """The catalogue: "shared" and a part for each stage."""
    return translated(yaml.safe_load(WORDS.read_text(encoding="utf-8")), known())


def filled(text: str, *rows: dict) -> str:
    """A sentence with the numbers of the rows in its places. A name that no row has stays, for the page's program."""
    known = {name: value for row in rows for name, value in row.items()}
    return re.sub(r"\{(\w+)\}", lambda found: str(known.get(found[1], found[0])), text)


def placed(sheet: dict, cell: int) -> str:
    """Where a cell's picture lies in its square, as CSS; playground/src/stage-state.mjs has the same."""
    size = sheet["side"] + 2 * sheet["pad"]
    left, top = (
        -100 * (k * size + sheet["pad"]) / sheet["side"]
        for k in (cell % sheet["columns"], cell // sheet["columns"])
    )
    return f"left: {left:.4g}%; top: {top:.4g}%; width: {100 * sheet['width'] / sheet['side']:.4g}%"


def points(values: list, most: float) -> list:
    """The points of a curve in FRAME, None for None; playground/src/stage-state.mjs has the same."""
    last = max(len(values) - 1, 1)
    return [
        None
        if v is None
        else (
            FRAME["left"] + FRAME["width"] * k / last,
            FRAME["top"] + FRAME["height"] * (1 - min(v, most) / most),
        )
        for k, v in enumerate(values)
    ]


PLAIN = ("stage-draw", "stage-copy", "stage-copy-cell", "stage-save", "stage-reveal")  # they stay as they are


def button(classes: str, label: str, **data) -> str:
    extra = "".join(f' data-{name}="{escape(str(value))}"' for name, value in data.items())
    pressed = "" if classes in PLAIN else ' aria-pressed="false"'
    return f'<button type="button" class="{classes}"{pressed}{extra}>{escape(label)}</button>'


def live_model(static: str, preset: str | None) -> dict | None:
    """What the playground needs to know of a preset's models, or None where they were not exported."""
    found = model(stills()[preset].get("models", [CLASSIC])) if preset else None
    return told(*found, static) if found else None


def told(manifest: str, sizes: dict[str, float], static: str) -> dict:
    """The element's attributes for models of these sizes, in MB; more than one are named, with what each weighs."""
    known = {"manifest": f"{shared(static)}/{PROGRAM}/model/{manifest}", "megabytes": f"{sum(sizes.values()):.1f}"}
    if len(sizes) > 1:
        each = ", ".join(f"{names()[name]} {size:.1f} MB" for name, size in sizes.items())
        known |= {"models": " ".join(sizes), "sizes": each}
    return known


def element(name: str, static: str, live: dict | None, links: dict | None = None) -> str:
    """The HTML of a stage. static: the way from the page to the site's static folder; live: as `live_model` gives it;
    links: where its notebook opens, by name."""
    found, said = facts()[name], words()
    own, shared = said[name], said["shared"]
    folder = f"{static}/{FOLDER}/"
    row = found["sets"][0]["rows"][found["first"]]
    say = {"at": found["first"], "row": row | {"stop": stops(found, own)[found["first"]]}}
    place = (found.get("plane") or {}).get("side")
    drawn = {side: plane(found, own) if place == side else "" for side in ("left", "right")}
    hint = f'<p class="stage-hint">{escape(filled(own["hint"], found["facts"]))}</p>'
    parts = [
        f'<p class="stage-name">{escape(own["name"])}</p>',
        '<div class="stage-all pst-js-only">',
        '<div class="stage-body">',
        f'<div class="stage-side">{drawn["left"]}{views(found, own, folder)}{control(name, found, own, say)}'
        f"{chips(found, own, shared)}</div>",
        f'<div class="stage-side">{hint}{guess(found, own, shared)}{drawn["right"]}'
        f"{curve(found, own, shared)}</div>",
        "</div>",
        offer(found, own, shared, live),
        notebook(found, own, shared, links),
        '<p class="stage-spoken" role="status"></p>',
        "</div>",
        still(found, own, folder),
        f'<script type="application/json">{data(name, found, own, shared, folder, live)}</script>',
    ]
    label = escape(own["name"])
    return (
        f'<section class="dt-stage stage-of-{name}" id="stage-{name}" aria-label="{label}">\n'
        + "\n".join(parts)
        + "</section>\n"
    )


def guess(found: dict, own: dict, shared: dict) -> str:
    options = "".join(button("stage-option", label, guess=k) for k, label in enumerate(guesses(found, own)))
    question, first = escape(own["guess"]["question"]), escape(shared["guess"])
    return (
        f'<div class="stage-guess" role="group" aria-label="{question}"><p><b>{first}</b> {question}</p>'
        f"<div>{options}</div></div>"
    )


def stops(found: dict, own: dict) -> list[str]:
    """The stops as a reader sees them: words where the catalogue has some, or the values themselves."""
    return own.get("stops") or found["stops"]


def guesses(found: dict, own: dict) -> list[str]:
    """What a reader may guess, in words: labels of its own, or stops of the control."""
    return own["guess"].get("labels") or [stops(found, own)[at] for at in found["guesses"]]


def plane(found: dict, own: dict) -> str:
    """The place of a figure that playground/src draws, in its final size; where it is a pad, the keyboard reaches it."""
    said = own["plane"]
    wide, high = found["plane"]["size"]
    key = "".join(
        f'<span class="stage-series-{k}">{escape(text)}</span>' for k, text in enumerate(said.get("key", ()))
    )
    role = (
        f'role="application" tabindex="0" aria-label="{escape(said["pad"])}"'
        if found["plane"].get("pad")
        else f'role="img" aria-label="{escape(filled(said["alt"], found["facts"]))}"'
    )
    return (
        f'<figure class="stage-plane"><div {role} style="aspect-ratio: {wide} / {high}"><canvas></canvas></div>'
        f'<figcaption>{escape(said["caption"])}</figcaption>{f"""<p class="stage-key">{key}</p>""" if key else ""}</figure>'
    )


def views(found: dict, own: dict, folder: str) -> str:
    """The first pictures, each a square of a sheet, and the choice of the set; there may be no pictures."""
    first, sheet, count = found["sets"][0], found["sheet"], len(found["stops"])
    row, made = first["rows"][found["first"]] | {"stop": stops(found, own)[found["first"]]}, []
    for k, view in enumerate(own.get("views", ())):
        alt = escape(filled(view["alt"], row, found["facts"]))
        image = (
            f'<img class="dark-light" src="{folder}{first["file"]}" alt="{alt}" '
            f'width="{sheet["width"]}" height="{sheet["height"]}" style="{placed(sheet, k * count + found["first"])}" '
            f'decoding="async"{"" if found["above"] else LAZY} draggable="false">'
        )
        made.append(
            f'<figure class="stage-view"><div>{image}</div><figcaption>{escape(view["label"])}</figcaption></figure>'
        )
    choice = "".join(button("stage-set", label, set=k) for k, label in enumerate(own.get("sets", ())))
    group = ""
    if choice:
        name = escape(own["set"])
        group = f'<div class="stage-sets" role="group" aria-label="{name}"><span>{name}</span>{choice}</div>'
    return group + (f'<div class="stage-views">{"".join(made)}</div>' if made else "")


LAZY = ' loading="lazy"'


def control(name: str, found: dict, own: dict, say: dict) -> str:
    last = len(found["stops"]) - 1
    left, right = own["ends"]
    return (
        f'<div class="stage-control"><label for="stage-{name}-at">{escape(own["control"])} '
        f'<output class="stage-value" for="stage-{name}-at">{escape(say["row"]["stop"])}</output></label>'
        f'<input type="range" id="stage-{name}-at" min="0" max="{last}" step="1" value="{say["at"]}" '
        f'aria-valuetext="{escape(filled(own["plain"], say["row"], found["facts"]))}" '
        f'style="--share: {100 * say["at"] / last:.4g}%" autocomplete="off">'
        f'<p class="stage-ends"><span>{escape(left)}</span><span>{escape(right)}</span></p></div>'
        f'<p class="stage-says">{escape(filled(own["plain"], say["row"], found["facts"]))}</p>'
    )


def curve(found: dict, own: dict, shared: dict) -> str:
    """What was measured, veiled until the reader has guessed."""
    series, most, at = found["sets"][0]["curve"], found["top"], found["first"]
    low = FRAME["top"] + FRAME["height"]
    lines = [
        f'<path class="stage-axis" d="M{FRAME["left"]} {low}h{FRAME["width"]}M{FRAME["left"]} {low}v-{FRAME["height"]}"/>'
    ]
    for value, text in found["ticks"]:
        y = low - FRAME["height"] * value / most
        lines.append(f'<text x="{FRAME["left"] - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for x, anchor, text in zip(
        (FRAME["left"], FRAME["left"] + FRAME["width"]), ("start", "end"), own["curve"]["ends"]
    ):
        lines.append(f'<text x="{x}" y="{low + 16}" text-anchor="{anchor}">{escape(text)}</text>')
    veiled = [f'<g class="stage-mark" style="visibility: hidden"><path d="M0 {FRAME["top"]}V{low}"/></g>']
    for k, values in enumerate(series):
        path = points(values, most)
        text = " ".join(f"{p[0]:.1f},{p[1]:.1f}" for p in path if p)
        x, y = path[at] or (0, 0)
        hidden = "" if path[at] else ' style="visibility: hidden"'
        veiled.append(
            f'<g class="stage-series-{k}"><polyline data-series="{k}" points="{text}"/>'
            f'<circle data-series="{k}" r="5" cx="{x:.1f}" cy="{y:.1f}"{hidden}/></g>'
        )
    key = "".join(
        f'<span class="stage-series-{k}">{escape(text)}</span>'
        for k, text in enumerate(own["curve"]["series"])
    )
    title = escape(filled(own["curve"]["title"], found["facts"]))
    return (
        f'<figure class="stage-curve" data-veiled><figcaption>{title}</figcaption><p class="stage-key">{key}</p>'
        f'<div><svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title}">{"".join(lines)}'
        f'<g class="stage-data">{"".join(veiled)}</g></svg>'
        f'<p class="stage-veil">{escape(shared["veiled"])} {button("stage-reveal", shared["reveal"])}</p></div></figure>'
        '<p class="stage-answer" hidden></p>'
    )


def chips(found: dict, own: dict, shared: dict) -> str:
    names = [s["name"] for s in found["sets"]]
    made = "".join(
        button(
            "stage-chip",
            chip["label"],
            at=found["stops"].index(chip["at"]),
            set=names.index(chip.get("set", names[0])),
            look=filled(chip["look"], found["facts"]),
        )
        for chip in own["chips"]
    )
    label = escape(shared["try"])
    return (
        f'<div class="stage-try"><p><b>{label}</b></p><div role="group" aria-label="{label}">{made}</div>'
        f'<p class="stage-look">{escape(shared["look"])}</p></div>'
    )


def offer(found: dict, own: dict, shared: dict, live: dict | None) -> str:
    """What leads on: the sentence, where the stage has one, the live model, and the link."""
    copy = button("stage-copy", shared["copy"]) + button("stage-save", shared["save"])
    if not live or not found["preset"]:
        return f'<div class="stage-offer">{copy}</div>'
    promise = escape(filled(shared["promise"], live))
    return (
        f'<div class="stage-offer">{sentence(found, own, shared)}{button("stage-draw", shared["draw"])}{copy}'
        f'<p class="stage-promise">{promise}</p></div>'
    )


def notebook(found: dict, own: dict, shared: dict, links: dict | None) -> str:
    """A cell with the stage's settings, to copy, and where the notebook opens."""
    if not found.get("code"):
        return ""
    ways = "".join(f' <a href="{escape(to)}">{escape(name)}</a>' for name, to in (links or {}).items())
    opens = f"<p>{escape(shared['opens'])}{ways}</p>" if ways else ""
    return (
        f'<details class="stage-notebook"><summary>{escape(shared["notebook"])}</summary>'
        f'<p>{escape(shared["cell"])}</p><pre tabindex="0"><code></code></pre>'
        f"{button('stage-copy-cell', shared['copy_cell'])}{opens}</details>"
    )


def sentence(found: dict, own: dict, shared: dict) -> str:
    """A choice of words for the live picture."""
    if "sentence" not in own:
        return ""

    def choice(match: re.Match) -> str:
        if match[1] == "article":
            return '<span class="stage-article">a</span>'
        place = found["sentence"][match[1]]
        options = "".join(
            f'<option value="{word}"{" selected" if word == place["chosen"] else ""}>{word}</option>'
            for word in place["words"]
        )
        return (
            f'<select class="stage-word" name="{match[1]}" aria-label="{match[1]}" autocomplete="off">'
            f'<option value="">{escape(shared["any"])}</option>{options}</select>'
        )

    return (
        f'<p class="stage-sentence" role="group" aria-label="{escape(own["asks"])}">{escape(own["asks"])} '
        + re.sub(r"\{(\w+)\}", choice, own["sentence"])
        + "</p>"
    )


def still(found: dict, own: dict, folder: str) -> str:
    """What readers without JavaScript see."""
    sheet, first = found["sheet"], found["sets"][0]
    if not first["file"]:
        return (
            f'<noscript><p class="stage-still">{escape(filled(own["still"], found["facts"]))}</p></noscript>'
        )
    picture = (
        f'<img class="dark-light" src="{folder}{first["file"]}" width="{sheet["width"]}" height="{sheet["height"]}" '
        f'alt="{escape(filled(own["still"], found["facts"], first["rows"][0]))}">'
    )
    return (
        f'<noscript><figure class="stage-still">{picture}<figcaption>{escape(filled(own["still"], found["facts"]))}'
        "</figcaption></figure></noscript>"
    )


def data(name: str, found: dict, own: dict, shared: dict, folder: str, live: dict | None) -> str:
    """What the page's program needs, as JSON."""
    sets = found["sets"]
    about = {
        key: found.get(key)
        for key in (
            *("key", "setKey", "stops", "first", "guesses", "sheet", "preset", "live"),
            *("plane", "code"),
        )
    }
    if found.get("plane"):
        about["plane"] = found["plane"] | {"words": {k: v for k, v in own["plane"].items() if k != "caption"}}
    said = {
        "plain": filled(own["plain"], found["facts"]),
        "says": filled(own["says"], found["facts"]),
        "alts": [filled(view["alt"], found["facts"]) for view in own.get("views", ())],
        "guesses": guesses(found, own),
        "stops": stops(found, own),
        "answer": filled(own["guess"]["answer"], found["facts"]),
        **{key: shared[key] for key in ("look", "copied", "live", "missing")},
        "inAddress": shared["in_address"],
    }
    about |= {
        "name": name,
        "sets": sets,
        "folder": folder,
        "frame": FRAME | {"most": found["top"]},
        "words": said,
        "model": live,
    }
    return json.dumps(about, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def opened(page: str) -> dict:
    """Where the page's notebook opens; a page that is none has Still Life's, which has the model."""
    here = Address.read(ROOT / "_config.yml")
    path = f"{page if page.startswith('notebooks/') else 'notebooks/still-life'}.ipynb"
    return {"Binder": here.binder_notebook(path), "Colab": here.colab_notebook(path)}


def visit_html(self, node: stage) -> None:
    up = "../" * self.builder.current_docname.count("/")
    static = f"{up}_static"
    name, page = node["name"], self.builder.current_docname
    self.body.append(element(name, static, live_model(static, facts()[name]["preset"]), opened(page)))
    raise nodes.SkipNode


def gather(app: Sphinx, config) -> None:
    """Put the pictures beside the build; Sphinx copies them into the site."""
    staged = Path(app.outdir).parent / "staged-stages"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(PICTURES, staged / FOLDER, ignore=shutil.ignore_patterns("*.json"))
    config.html_static_path.append(str(staged))


def add_program(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Pages that have a stage load its program."""
    if doctree is not None and next(doctree.findall(stage), None) is not None:
        app.add_js_file(f"{PROGRAM}/stage.mjs", type="module")


def setup(app: Sphinx) -> dict:
    other = (visit_other, depart_other)
    app.add_node(stage, html=(visit_html, None), latex=other, text=other, man=other, texinfo=other)
    app.add_directive("stage", Stage)
    app.connect("config-inited", gather, priority=200)
    app.connect("html-page-context", add_program)
    app.add_css_file("stage.css", priority=910)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
