"""The landscape as a table: rows of plain values, text for a terminal, JSON, and HTML for a page.

The HTML stands by itself: it reads without a script, and `_static/landscape.mjs`, where a page has it, adds sorting
and filters.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from .facts import FIELDS, UNITS, Board, Fact, Place, System

TITLES = {
    "developer": "developer",
    "release": "first available",
    "weights": "weights",
    "licence": "licence",
    "architecture": "architecture",
    "prediction": "the network predicts",
    "text_encoders": "text encoders",
    "resolution": "resolution",
    "pipeline": "diffusers class",
    "maker_steps": "the maker's steps",
    "maker_scale": "the maker's scale",
    "library_steps": "the library's default steps",
    "library_scale": "the library's default scale",
    "negative_prompt": "negative prompt",
    "edits": "takes a picture to edit",
    "status": "status now",
}
MARKS = {"verified": "", "unverified": "*", "unknown": ""}


def rows(
    systems: Mapping[str, System], counted: Mapping[str, dict], boards: Iterable[Board] = ()
) -> list[dict]:
    """One dict a system: id, name, family, every field as {value, state, ...}, and the computed numbers or None.

    `commercial` is the class of its licence, with where that was read; `reported` what others and the maker published;
    `liked` its line on the newest board for text to image that has it.
    """
    newest = sorted((b for b in boards if b.kind == "text to image"), key=lambda b: b.date, reverse=True)
    found = []
    for system in systems.values():
        liked = next(((b, b.of(system.id)) for b in newest if b.of(system.id)), None)
        found.append(_row(system, counted.get(system.id), liked))
    return found


def _row(system: System, found: dict | None, liked: tuple[Board, Place] | None) -> dict:
    row = {
        "id": system.id,
        "name": system.name,
        "asked": system.asked,
        "family": system.family,
        "facts": {field: _fact(system[field]) for field in FIELDS},
        "commercial": _fact(system.licence.fact) if system.licence else {"value": None, "state": "unknown"},
        "reported": [
            _fact(r.fact) | {"what": r.what, "value": r.value, "setting": r.setting, "by": r.by}
            for r in system.reported
        ],
        "liked": None,
        "computed": None,
    }
    if system.licence and system.licence.condition:
        row["commercial"]["condition"] = system.licence.condition
    if system.uncounted:
        row["uncounted"] = system.uncounted
    if liked:
        board, place = liked
        row["liked"] = {
            "score": place.score,
            "margin": place.margin,
            "votes": place.votes,
            "model": place.model,
        }
        row["liked"] |= {"date": board.date.isoformat(), "source": board.fact.source.url}
    if system.nearest:
        row["nearest"] = {"system": system.nearest[0], "because": system.nearest[1]}
    if found:
        row["computed"] = {
            "denoiser_parameters": found["parameters"][system.count["denoiser"]],
            **{
                key: found[key]
                for key in (
                    "parameters",
                    "flops_call",
                    "calls",
                    "stages",
                    "flops_image",
                    "flops_equal",
                    "pixels",
                    "buffers",
                    "bytes_bf16",
                    "missing",
                )
            },
            "flops_pixel": found["flops_image"] / found["pixels"],
            "because": {e["component"]: e["because"] for e in system.count.get("missing", [])},
        }
    return row


def _fact(fact: Fact) -> dict:
    found = {"value": fact.value, "state": fact.state}
    if fact.source:
        found |= {"source": fact.source.url, "title": fact.source.title, "read": fact.source.read.isoformat()}
        if fact.source.copy:
            found["copy"] = fact.source.copy
    found |= {
        key: text
        for key, text in {"excerpt": fact.excerpt, "note": fact.note, "where": fact.where}.items()
        if text
    }
    return found


# --- the columns that all printed forms share ---------------------------------------------------------------


def columns(row: dict) -> dict[str, tuple[str, object]]:
    """Title -> (what is shown, what it sorts by) of one row; None sorts last."""
    facts, computed = row["facts"] | {"commercial": row["commercial"]}, row["computed"]

    def shown(field):
        fact = facts[field]
        text = "unknown" if fact["value"] is None else str(fact["value"]) + MARKS[fact["state"]]
        return text, fact["value"]

    def number(key, scale, form):
        if computed is None:
            return "not counted", None
        if computed[key] is None:
            return "fixed stages", None
        text = form.format(computed[key] / scale)
        return text + ("+" if key == "bytes_bf16" and computed["missing"] else ""), computed[key] / scale

    def published(what):
        found = next((r for r in row["reported"] if r["what"] == what), None)
        if found is None:
            return "unknown", None
        return f"{found['value']:g}{' (maker)' if found['by'] == 'maker' else ''}", found["value"]

    liked = row["liked"]
    return {
        "system": (row["name"], row["name"].lower()),
        "first available": shown("release"),
        "weights": shown("weights"),
        "licence": shown("licence"),
        "commercial use": shown("commercial"),
        "family": (row["family"], row["family"]),
        "denoiser, B": number("denoiser_parameters", 1e9, "{:.2f}"),
        "PFLOP an image": number("flops_image", 1e15, "{:.3f}"),
        "MFLOP a pixel": number("flops_pixel", 1e6, "{:.0f}"),
        "PFLOP at 1024 px": number("flops_equal", 1e15, "{:.3f}"),
        "GB in bf16": number("bytes_bf16", 1e9, "{:.1f}"),
        "steps, maker": shown("maker_steps"),
        "scale, maker": shown("maker_scale"),
        "steps, library": shown("library_steps"),
        "scale, library": shown("library_scale"),
        "negative prompt": shown("negative_prompt"),
        "edits": shown("edits"),
        "liked": (f"{liked['score']:g} ± {liked['margin']:g} ({liked['date']})", liked["score"])
        if liked
        else ("not listed", None),
        "GenEval": published("geneval"),
        "DPG-Bench": published("dpg"),
        "status now": shown("status"),
    }


# The columns that show a fact: title -> field.
SHOWN = {
    "first available": "release",
    "weights": "weights",
    "licence": "licence",
    "commercial use": "commercial",
    "steps, maker": "maker_steps",
    "scale, maker": "maker_scale",
    "steps, library": "library_steps",
    "scale, library": "library_scale",
    "negative prompt": "negative_prompt",
    "edits": "edits",
    "status now": "status",
}
TERMINAL = (
    *("system", "first available", "weights", "commercial use", "family", "denoiser, B", "PFLOP an image"),
    *("MFLOP a pixel", "GB in bf16", "steps, maker", "steps, library", "negative prompt", "edits"),
)
# What a page shows before a reader asks for every column.
FIRST = (
    *("system", "first available", "weights", "commercial use", "family", "denoiser, B", "GB in bf16"),
    "negative prompt",
)
NOTES = (
    "* is unverified: somebody says it, but no primary source that was opened. unknown: no primary source that was "
    "opened says it. + in memory: a component whose configuration was not obtained is left out. Commercial use: "
    "what the licence of the model allows, capped to a size of company or number of users; read it yourself. "
    "PFLOP and MFLOP: with the maker's steps, else the library's. Liked: Elo score with its 95% interval on the day "
    "of the list; scores of different days are not on one scale."
)


def as_text(found: Sequence[dict], names: Sequence[str] = ()) -> str:
    """Lines for a terminal; long cells are cut. names: columns to show, by default TERMINAL."""
    names = names or TERMINAL
    table = [list(names)] + [[_cut(columns(row)[n][0], 28) for n in names] for row in found]
    widths = [max(len(line[k]) for line in table) for k in range(len(names))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:], "", NOTES])


def one_as_text(system: System, found: dict | None) -> str:
    """All facts of one system with where each comes from."""
    lines = [f"{system.name} ({system.family})", ""]
    for field, fact in system.facts.items():
        lines.append(f"{TITLES[field]}: {fact}")
        lines.append(f"    {fact.provenance()}")
        if fact.source:
            lines.append(f"    {fact.source.copy or fact.source.url}")
        if fact.excerpt:
            lines.append(f"    “{fact.excerpt}”")
        if fact.note and fact.state == "verified":
            lines.append(f"    note: {fact.note}")
    if system.licence:
        condition = f", {system.licence.condition}" if system.licence.condition else ""
        lines += [
            f"commercial use: {system.commercial}{condition}",
            f"    {system.licence.fact.provenance()}",
        ]
        if system.licence.fact.excerpt:
            lines.append(f"    “{system.licence.fact.excerpt}”")
    if system.reported:
        lines += ["", "as published:"]
    for report in system.reported:
        unit = f" {UNITS[report.what]}" if UNITS[report.what] else ""
        lines.append(f"    {report.what} {report.value:g}{unit} ({report.setting}), said by {_by(report.by)}")
        lines.append(f"        {report.fact.provenance()}")
    if system.uncounted:
        lines += ["", f"not counted: {system.uncounted}"]
    if found:
        lines += ["", "computed:"]
        lines += [
            f"    {name}: {count / 1e6:,.1f} M parameters" for name, count in found["parameters"].items()
        ]
        for stage in found["stages"]:
            of = f" of {stage['denoiser']}" if len(found["stages"]) > 1 else ""
            lines.append(f"    {stage['flops_call'] / 1e12:.2f} TFLOP a call{of}, {stage['calls']} calls")
        side = int(found["pixels"] ** 0.5)
        lines.append(f"    {found['flops_image'] / 1e12:,.0f} TFLOP an image of {side} x {side} pixels")
        lines.append(f"    {found['flops_image'] / found['pixels'] / 1e6:,.0f} MFLOP a pixel")
        for name, stored in found["buffers"].items():
            lines.append(f"    {stored / 1e6:,.1f} M numbers stored beside the parameters of {name}")
        lines.append(f"    {found['bytes_bf16'] / 1e9:.1f} GB of weights in bf16")
        for entry in system.count.get("missing", []):
            lines.append(f"    left out: {entry['component']}, as {entry['because']}")
    if system.nearest:
        lines += ["", f"nearest open relative: {system.nearest[0]}. {system.nearest[1]}"]
    return "\n".join(lines)


def _by(who: str) -> str:
    return "its maker" if who == "maker" else "others"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# --- HTML ---------------------------------------------------------------------------------------------------

_STYLE = """
.dt-landscape { font-size: 0.84rem; margin: 1rem 0; container-type: inline-size; }
.dt-landscape .dt-scroll { border: 1px solid var(--pst-color-border, #ddd); border-radius: 8px; }
.dt-landscape table { border-collapse: separate; border-spacing: 0; width: 100%; margin: 0; line-height: 1.4; }
.dt-landscape caption { text-align: left; padding: 0.5rem; caption-side: top; font-weight: 600; }
.dt-landscape table :is(th, td) { text-align: left; vertical-align: top; background: var(--pst-color-background, #fff); }
.dt-landscape :is(tbody th, thead th) { font-weight: 600; }
.dt-landscape:not(:has(.dt-every:checked)) .dt-more { display: none; }
.dt-landscape td[data-state="unknown"] { color: var(--pst-color-text-muted, #666); font-style: italic; }
.dt-landscape td[data-state="unverified"] { text-decoration: underline dotted; text-underline-offset: 0.2em; }
.dt-landscape th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer; text-align: inherit; }
.dt-landscape th[aria-sort="ascending"] button::after { content: " ▲"; }
.dt-landscape th[aria-sort="descending"] button::after { content: " ▼"; }
.dt-landscape form { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; margin: 0 0 0.7rem; align-items: end; }
.dt-landscape form label { display: grid; gap: 0.15rem; }
.dt-landscape label.dt-check { display: flex; gap: 0.4rem; align-items: center; }
.dt-landscape form :is(input, select, button) { font: inherit; padding: 0.25rem 0.4rem; color: inherit;
  background: var(--pst-color-surface, #f6f6f6); border: 1px solid var(--pst-color-text-muted, #777);
  border-radius: 5px; }
.dt-landscape output { display: block; margin-bottom: 0.4rem; }
.dt-landscape > label.dt-check { margin-bottom: 0.5rem; }
.dt-landscape details { border-bottom: 1px solid var(--pst-color-border, #ddd); padding: 0.25rem 0; }
.dt-landscape summary { cursor: pointer; }
.dt-landscape dl { margin: 0.4rem 0 0.8rem 1rem; overflow-wrap: anywhere; }
.dt-landscape dt { font-weight: 600; margin-top: 0.45rem; }
.dt-landscape dd { margin: 0 0 0 1rem; }
.dt-landscape q { color: var(--pst-color-text-muted, #555); }
.dt-landscape [hidden] { display: none !important; }
@container (min-width: 600px) {
  .dt-landscape form label.dt-by { display: none; }
  .dt-landscape table :is(th, td) { padding: 0.35rem 0.4rem; border-bottom: 1px solid var(--pst-color-border, #ddd); }
  .dt-landscape thead th { vertical-align: bottom; }
  .dt-landscape:not(:has(.dt-every:checked)) table :is(th, td) { overflow-wrap: break-word; font-size: 0.76rem;
    padding: 0.3rem 0.25rem; }
  .dt-landscape td[data-number] { text-align: right; font-variant-numeric: tabular-nums; }
  .dt-landscape:has(.dt-every:checked) .dt-scroll { overflow: auto; max-height: 80vh; }
  .dt-landscape:has(.dt-every:checked) table { width: max-content; }
  .dt-landscape:has(.dt-every:checked) :is(th, td) { max-width: 16rem; }
  .dt-landscape:has(.dt-every:checked) thead th { position: sticky; top: 0; z-index: 2; white-space: nowrap; }
  .dt-landscape:has(.dt-every:checked) :is(tbody th, thead th:first-child) { position: sticky; left: 0; z-index: 1;
    max-width: 9.5rem; }
  .dt-landscape:has(.dt-every:checked) thead th:first-child { z-index: 3; }
}
@container (max-width: 599.9px) {
  .dt-landscape .dt-scroll { border: 0; }
  .dt-landscape :is(table, caption, tbody) { display: block; }
  .dt-landscape thead { display: none; }
  .dt-landscape tbody tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0.35rem 0.8rem; margin: 0 0 0.7rem;
    padding: 0.6rem 0.8rem; border: 1px solid var(--pst-color-border, #ddd); border-radius: 8px; }
  .dt-landscape table tbody :is(th, td) { border: 0; padding: 0; min-width: 0; overflow-wrap: anywhere; }
  .dt-landscape tbody th { grid-column: 1 / -1; font-size: 1.05em; }
  .dt-landscape tbody td::before { content: attr(data-label); display: inline-block; width: 100%; font-size: 0.82em;
    font-style: normal; color: var(--pst-color-text-muted, #666); }
}
@media print { .dt-landscape :is(form, output, label.dt-check) { display: none; } }
"""


def as_html(found: Sequence[dict]) -> str:
    """A table with the sources of every row below it; classes and data attributes are for landscape.mjs.

    It shows the columns of FIRST, and all of them to whoever ticks the box. In a narrow window each row is a card whose
    cells begin with their column's title; the roles keep it a table to those who hear it.
    """
    titles = list(columns(found[0]))
    head = "".join(
        f'<th role="columnheader" scope="col"{_more(title)} data-column="{_slug(title)}">{html.escape(title)}</th>'
        for title in titles
    )
    body = "".join(_html_row(row) for row in found)
    lists = "".join(_html_sources(row) for row in found)
    return (
        f'<div class="dt-landscape" data-landscape><style>{_STYLE}</style>'
        f'<p id="dt-landscape-notes">{html.escape(NOTES)}</p>'
        f'<label class="dt-check"><input type="checkbox" class="dt-every">all {len(titles)} columns</label>'
        '<div class="dt-scroll" role="region" aria-label="Text-to-image systems" tabindex="0">'
        f'<table role="table" aria-describedby="dt-landscape-notes"><caption>{len(found)} text-to-image systems</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{body}</tbody></table></div>'
        f'<details class="dt-all"><summary>Where each fact was read, with excerpts</summary>{lists}</details></div>'
    )


def _html_row(row: dict) -> str:
    facts, cells = row["facts"] | {"commercial": row["commercial"]}, []
    for title, (text, key) in columns(row).items():
        if title == "system":
            cells.append(
                f'<th role="rowheader" scope="row"><a href="#source-{row["id"]}">{html.escape(text)}</a></th>'
            )
            continue
        state = facts[SHOWN[title]]["state"] if title in SHOWN else "computed"
        attributes = f' data-state="{state if key is not None else "unknown"}"'
        if isinstance(key, (int, float)):
            attributes += f' data-number="{key:.6g}"'
        if state == "unverified":
            attributes += f' title="{html.escape("unverified: " + facts[SHOWN[title]].get("note", ""))}"'
        label = html.escape(title)
        cells.append(
            f'<td role="cell"{_more(title)} data-label="{label}"{attributes}>{html.escape(text)}</td>'
        )
    memory = row["computed"]["bytes_bf16"] / 1e9 if row["computed"] else ""
    data = {
        "weights": facts["weights"]["value"],
        "family": row["family"],
        "commercial": row["commercial"]["value"] or "unknown",
        "negative": facts["negative_prompt"]["value"] or "unknown",
        "asked": str(row["asked"]).lower(),
        "memory": f"{memory:.3f}" if memory else "",
        "partial": str(bool(row["computed"] and row["computed"]["missing"])).lower(),
    }
    attributes = " ".join(f'data-{key}="{html.escape(str(value))}"' for key, value in data.items())
    return f"""<tr role="row" {attributes}>{"".join(cells)}</tr>"""


def _more(title: str) -> str:
    """The class of a column that is shown on request."""
    return "" if title in FIRST else ' class="dt-more"'


def _html_sources(row: dict) -> str:
    entries = [_html_fact(TITLES[field], fact) for field, fact in row["facts"].items()]
    use = row["commercial"]
    said = f"{use['value']}, {use['condition']}" if "condition" in use else use["value"]
    entries.append(_html_fact("commercial use", use | {"value": said}))
    for fact in row["reported"]:
        unit = f" {UNITS[fact['what']]}" if UNITS[fact["what"]] else ""
        said = f"{fact['value']:g}{unit}: {fact['setting']}, said by {_by(fact['by'])}"
        entries.append(_html_fact(fact["what"], fact | {"value": said}))
    if "uncounted" in row:
        entries.append(f"<dt>not counted</dt><dd>{html.escape(row['uncounted'])}</dd>")
    for component, because in (row["computed"] or {}).get("because", {}).items():
        entries.append(
            f"<dt>left out of memory</dt><dd>{html.escape(component)}: {html.escape(because)}</dd>"
        )
    name = html.escape(row["name"])
    return f'<details id="source-{row["id"]}"><summary>{name}</summary><dl>{"".join(entries)}</dl></details>'


def _html_fact(title: str, fact: dict) -> str:
    value = "unknown" if fact["value"] is None else str(fact["value"])
    state = fact["state"] + (f", {fact['note']}" if "note" in fact else "")
    parts = [f"{html.escape(value)} <em>({html.escape(state)})</em>"]
    if "source" in fact:
        name = html.escape(fact["title"])
        parts.append(
            f'<a href="{html.escape(fact.get("copy", fact["source"]))}">{name}</a>'
            f"{' (read in a copy)' if 'copy' in fact else ''}, read {fact['read']}"
        )
    if "excerpt" in fact:
        parts.append(f"<q>{html.escape(fact['excerpt'])}</q>")
    return f"<dt>{html.escape(title)}</dt><dd>{'<br>'.join(parts)}</dd>"


def _slug(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
