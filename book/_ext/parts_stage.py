"""Still Life's stage, its parts: `:::{stage} still-life`, the one stage whose control is a sentence.

A reader picks a word and a step, and sees which places of the picture look the word up, what the latents hold, and what
the decoder makes of them. As other stages it is whole in the page, in its final size, with its first pictures, and a still
with a caption stands in its place without JavaScript. Words come from book/stages.yml, under still-life; pictures and
numbers from book/images/parts, which scripts/stage_parts.py makes. playground/src/parts-stage.mjs moves it.
"""

from __future__ import annotations

import json
import shutil
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from stage import FRAME, HIGH, LAZY, WIDE, WORDS, Stage, filled, live_model, words

from playground import FOLDER as PROGRAM
from playground import depart_other, visit_other

PICTURES = Path(__file__).resolve().parents[1] / "images" / "parts"
FOLDER, NAME, PRESET = (
    "parts",
    "still-life",
    "still-life",
)  # of the site's _static; of the stage; of the playground
PLACES = 20  # of a text, as the model reads it


class parts_stage(nodes.General, nodes.Element):
    """The stage. Children are the directive's body."""


class AnyStage(Stage):
    """`stage` as it is, and with the name still-life this one."""

    def run(self) -> list[nodes.Node]:
        if self.arguments[0] != NAME:
            return super().run()
        self.env.note_dependency(str(WORDS))
        self.env.note_dependency(str(PICTURES / "parts.json"))
        node = parts_stage()
        self.set_source_info(node)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def facts() -> dict:
    """What scripts/stage_parts.py wrote."""
    return json.loads((PICTURES / "parts.json").read_text(encoding="utf-8"))


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def element(static: str, live: dict | None) -> str:
    """The HTML of the stage. static: the way from the page to the site's static folder; live: as `live_model` says."""
    found, said = facts(), words()
    own, shared = said[NAME], said["shared"]
    folder, label = f"{static}/{FOLDER}/", escape(own["name"])
    parts = [
        f'<p class="stage-name">{label}</p>',
        f'<p class="stage-hint">{escape(filled(own["hint"], found["facts"]))}</p>',
        '<div class="stage-all pst-js-only">',
        guess(own, shared),
        sets(found, own),
        tokens(found, own),
        '<div class="stage-body">',
        f'<div class="stage-side">{lit(found, own, folder)}</div>',
        f'<div class="stage-side">{held(found, own, folder)}{control(found, own)}</div>',
        "</div>",
        f'<div class="stage-body"><div class="stage-side">{curve(found, own, shared)}</div>'
        f'<div class="stage-side">{chips(found, own, shared)}</div></div>',
        offer(shared, live),
        '<p class="stage-spoken" role="status"></p>',
        "</div>",
        still(found, own, folder),
        f'<script type="application/json">{data(found, own, shared, folder, live)}</script>',
    ]
    return f'<section class="dt-stage dt-parts" id="stage-{NAME}" aria-label="{label}">\n{chr(10).join(parts)}</section>\n'


def button(classes: str, label: str, pressed: bool | None = False, **data) -> str:
    extra = "".join(f' data-{name}="{escape(str(value))}"' for name, value in data.items())
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    return f'<button type="button" class="{classes}"{state}{extra}>{escape(label)}</button>'


def row(found: dict, own: dict) -> dict:
    """The numbers of the first state's sentences."""
    first = found["first"]
    chosen = found["sets"][first["set"]]
    token = chosen["tokens"][first["word"]]
    return {
        "word": own["marks"].get(token["name"], token["name"]),
        "weight": percent(token["weights"][first["at"]]),
        "even": percent(token["count"] / PLACES),
        "step": str(found["stops"][first["at"]]),
        "sentence": chosen["sentence"],
    }


def guess(own: dict, shared: dict) -> str:
    question = escape(own["guess"]["question"])
    options = "".join(button("stage-option", text, guess=k) for k, text in enumerate(own["guess"]["labels"]))
    return (
        f'<div class="stage-guess" role="group" aria-label="{question}"><p><b>{escape(shared["guess"])}</b> {question}</p>'
        f"<div>{options}</div></div>"
    )


def sets(found: dict, own: dict) -> str:
    name = escape(own["set"])
    choice = "".join(
        button("stage-set", label, k == found["first"]["set"], set=k) for k, label in enumerate(own["sets"])
    )
    return f'<div class="stage-sets" role="group" aria-label="{name}"><span>{name}</span>{choice}</div>'


def tokens(found: dict, own: dict) -> str:
    """The sentence, a button a token, with the token's number below the word."""
    first = found["first"]
    made = []
    for k, token in enumerate(found["sets"][first["set"]]["tokens"]):
        mark = " parts-mark" if token["kind"] == "mark" else ""
        text = escape(own["marks"].get(token["name"], token["name"]))
        pressed, at = ("true", 0) if k == first["word"] else ("false", -1)
        made.append(
            f'<button type="button" class="parts-word{mark}" aria-pressed="{pressed}" tabindex="{at}" data-word="{k}">'
            f"<span>{text}</span><small>{token['id']}</small></button>"
        )
    return f'<div class="parts-words" role="group" aria-label="{escape(own["words"])}">{"".join(made)}</div>'


# Of each view: the key of its file in a set, that of the sheet's shape, and its row there.
VIEWS = (("file", "sheet", 0), ("file", "sheet", 1), ("latents", "small", 0))


def view(found: dict, own: dict, folder: str, number: int, caption: str, extra: str = "") -> str:
    """One view, a square of its sheet."""
    key, form, line = VIEWS[number]
    sheet, first = found[form], found["first"]
    size, file = sheet["side"] + 2 * sheet["pad"], found["sets"][first["set"]][key]
    left, top = (-100 * (k * size + sheet["pad"]) / sheet["side"] for k in (first["at"], line))
    said = own["views"][number]
    return (
        f'<figure class="parts-view stage-view parts-of-{form}{" parts-lit" if extra else ""}"><div>'
        f'<img class="dark-light" src="{folder}{file}" alt="{escape(filled(said["alt"], row(found, own)))}" '
        f'width="{sheet["width"]}" height="{sheet["height"]}" '
        f'style="left: {left:.4g}%; top: {top:.4g}%; width: {100 * sheet["width"] / sheet["side"]:.4g}%" '
        f'decoding="async"{LAZY} draggable="false">{extra}</div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def lit(found: dict, own: dict, folder: str) -> str:
    shade = '<canvas class="parts-shade" aria-hidden="true"></canvas>'
    return view(found, own, folder, 0, filled(own["lit"], row(found, own)), shade)


def held(found: dict, own: dict, folder: str) -> str:
    made = "".join(view(found, own, folder, k, own["views"][k]["label"]) for k in (1, 2))
    return f'<div class="parts-held">{made}</div>'


def control(found: dict, own: dict) -> str:
    first, now, last = found["first"], row(found, own), len(found["stops"]) - 1
    left, right = own["ends"]
    return (
        f'<div class="stage-control"><label for="stage-{NAME}-at">{escape(own["control"])} '
        f'<output class="stage-value" for="stage-{NAME}-at">{now["step"]}</output></label>'
        f'<input type="range" id="stage-{NAME}-at" min="0" max="{last}" step="1" value="{first["at"]}" '
        f'aria-valuetext="{escape(filled(own["plain"], now))}" style="--share: {100 * first["at"] / last:.4g}%" '
        f'autocomplete="off">'
        f'<p class="stage-ends"><span>{escape(left)}</span><span>{escape(right)}</span></p></div>'
        f'<p class="stage-says">{escape(filled(own["says"], now))}</p>'
    )


def curve(found: dict, own: dict, shared: dict) -> str:
    """What was measured of words of this kind, veiled until the reader has guessed."""
    low = FRAME["top"] + FRAME["height"]
    across, up = f"M{FRAME['left']} {low}h{FRAME['width']}", f"M{FRAME['left']} {low}v-{FRAME['height']}"
    lines = f'<path class="stage-axis" d="{across}{up}"/>'
    for value in (0, 0.5, 1):
        y = low - FRAME["height"] * value
        lines += f'<text x="{FRAME["left"] - 5}" y="{y + 4:.1f}" text-anchor="end">{percent(value) if value else 0}</text>'
    for x, anchor, text in zip(
        (FRAME["left"], FRAME["left"] + FRAME["width"]), ("start", "end"), own["curve"]["ends"]
    ):
        lines += f'<text x="{x}" y="{low + 16}" text-anchor="{anchor}">{escape(text)}</text>'
    series = "".join(
        f'<g class="stage-series-{k}"><polyline data-series="{k}"/><circle data-series="{k}" r="5"/></g>'
        for k in (0, 1)
    )
    chance = f'<g class="parts-chance"><path d="M{FRAME["left"]} 0h{FRAME["width"]}"/></g>'
    key = "".join(
        f'<span class="stage-series-{k}">{escape(text)}</span>'
        for k, text in enumerate(own["curve"]["series"])
    )
    key += f'<span class="parts-of-chance">{escape(own["curve"]["chance"])}</span>'
    title = escape(filled(own["curve"]["title"], found["facts"]))
    return (
        f'<figure class="stage-curve" data-veiled><figcaption class="parts-title">{title}</figcaption>'
        f'<p class="stage-key">{key}</p><div><svg viewBox="0 0 {WIDE} {HIGH}" role="img" aria-label="{title}">{lines}'
        f'<g class="stage-data">{chance}{series}</g></svg><p class="parts-none" hidden>{escape(own["without"])}</p>'
        f'<p class="stage-veil">{escape(shared["veiled"])} {button("stage-reveal", shared["reveal"], None)}</p>'
        "</div></figure>"
        '<p class="stage-answer" hidden></p>'
    )  # fmt: skip


def chips(found: dict, own: dict, shared: dict) -> str:
    made = []
    for chip in own["chips"]:
        names = [token["name"] for token in found["sets"][chip["set"]]["tokens"]]
        place = {
            "set": chip["set"],
            "word": names.index(chip["word"]),
            "at": found["stops"].index(chip["step"]),
        }
        made.append(button("stage-chip", chip["label"], **place, look=filled(chip["look"], found["facts"])))
    label = escape(shared["try"])
    return (
        f'<div class="stage-try"><p><b>{label}</b></p><div role="group" aria-label="{label}">{"".join(made)}</div>'
        f'<p class="stage-look">{escape(shared["look"])}</p></div>'
    )


def offer(shared: dict, live: dict | None) -> str:
    copy = button("stage-copy", shared["copy"], None)
    if not live:
        return f'<div class="stage-offer">{copy}</div>'
    return (
        f'<div class="stage-offer">{button("stage-draw", shared["draw"], None)}{copy}'
        f'<p class="stage-promise">{escape(filled(shared["promise"], live))}</p></div>'
    )


def still(found: dict, own: dict, folder: str) -> str:
    """What readers without JavaScript see."""
    sheet, text = found["sheet"], escape(filled(own["still"], row(found, own) | found["facts"]))
    picture = (
        f'<img class="dark-light" src="{folder}{found["sets"][0]["file"]}" width="{sheet["width"]}" '
        f'height="{sheet["height"]}" alt="{text}">'
    )
    return (
        f'<noscript><figure class="stage-still">{picture}<figcaption>{text}</figcaption></figure></noscript>'
    )


def data(found: dict, own: dict, shared: dict, folder: str, live: dict | None) -> str:
    """What the page's program needs, as JSON."""
    first = found["first"]
    about = {
        "name": NAME,
        **{key: found[key] for key in ("stops", "sheet", "small", "shares", "kinds")},
        "views": VIEWS,
        "sets": [
            {key: s[key] for key in ("sentence", "file", "latents", "shades", "map", "tokens")}
            for s in found["sets"]
        ],
        "first": {
            "at": first["at"],
            "set": first["set"],
            "token": found["sets"][first["set"]]["tokens"][first["word"]]["name"],
        },
        "guesses": len(own["guess"]["labels"]),
        "places": PLACES,
        "folder": folder,
        "frame": FRAME,
        "preset": PRESET,
        "live": {"seed": found["seed"], "steps": found["steps"], "scale": found["scale"]},
        "model": live,
        "words": {
            **{key: own[key] for key in ("plain", "says", "lit", "marks")},
            "curves": {
                region: filled(text, found["facts"]) for region, text in own["curve"]["titles"].items()
            },
            "none": filled(own["curve"]["title"], found["facts"]),
            "alts": [said["alt"] for said in own["views"]],
            "guesses": own["guess"]["labels"],
            "answer": filled(own["guess"]["answer"], found["facts"]),
            **{key: shared[key] for key in ("look", "copied", "live", "missing")},
            "inAddress": shared["in_address"],
        },
    }
    return json.dumps(about, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def visit_html(self, node: parts_stage) -> None:
    static = "../" * self.builder.current_docname.count("/") + "_static"
    self.body.append(element(static, live_model(static, "still-life")))
    raise nodes.SkipNode


def gather(app: Sphinx, config) -> None:
    """Put the pictures beside the build; Sphinx copies them into the site."""
    staged = Path(app.outdir).parent / "staged-parts"
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(PICTURES, staged / FOLDER, ignore=shutil.ignore_patterns("*.json"))
    config.html_static_path.append(str(staged))


def add_program(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """The page that has this stage loads its program."""
    if doctree is not None and next(doctree.findall(parts_stage), None) is not None:
        app.add_js_file(f"{PROGRAM}/parts-stage.mjs", type="module")


def setup(app: Sphinx) -> dict:
    app.setup_extension("stage")
    other = (visit_other, depart_other)
    app.add_node(parts_stage, html=(visit_html, None), latex=other, text=other, man=other, texinfo=other)
    app.add_directive("stage", AnyStage, override=True)
    app.connect("config-inited", gather, priority=200)
    app.connect("html-page-context", add_program)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
