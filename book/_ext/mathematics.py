"""Mathematics drawn when the site is built: KaTeX's HTML for eyes, MathML for speech, and no script in the page.

All formulas of a build go to one Node process, which ends before the pages are written; what it answered is kept
beside the build by formula. A formula that KaTeX cannot read is a warning at its line, which fails `make site`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from vendored import ask, package, version

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from published.blocks import breaks_lines

logger = logging.getLogger(__name__)
KEPT = "formulas.json"
JOINER = "&#8288;"  # a browser may break a line on either side of a formula, unless this stands there
_CLOSING = re.compile(r"[.,:;!?)\]’”%，。：；！？、）》」-]")
_ANNOTATION = re.compile(r"<annotation encoding=\"application/x-tex\">.*?</annotation>", re.S)


def source(node: nodes.Element) -> tuple[str, bool]:
    """(what KaTeX is to read, whether it stands on lines of its own).

    As in Sphinx's own renderer, an empty line in a displayed formula parts two equations, and `\\\\` breaks one.
    """
    text = node.astext().strip()
    if not isinstance(node, nodes.math_block):
        return text, False
    if node.get("nowrap"):
        return text, True
    parts = [
        rf"\begin{{split}}{p}\end{{split}}" if breaks_lines(p) else p for p in re.split(r"\n\s*\n", text)
    ]
    whole = r" \\ ".join(parts)
    return (rf"\begin{{aligned}}{whole}\end{{aligned}}" if len(parts) > 1 else whole), True


class Formulas:
    """What KaTeX made of each (formula, displayed or not), kept in a file between builds."""

    def __init__(self, path: Path):
        self.path, self.key = path, f"katex {version('katex')}"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.found: dict[str, dict[str, str]] = kept.get("found", {}) if kept.get("key") == self.key else {}

    @staticmethod
    def name(tex: str, display: bool) -> str:
        return f"{'display' if display else 'inline'} {tex}"

    def learn(self, asked: list[tuple[str, bool]]) -> None:
        """Have drawn what is not known yet, all at once."""
        new = [pair for pair in dict.fromkeys(asked) if self.name(*pair) not in self.found]
        if not new:
            return
        answers = ask("katex.mjs", [{"tex": tex, "display": display} for tex, display in new])
        for pair, answer in zip(new, answers, strict=True):
            if "html" in answer:  # the formula's source is in the chapter: the page need not carry it again
                answer["html"] = _ANNOTATION.sub("", answer["html"])
            self.found[self.name(*pair)] = answer
        self.path.write_text(json.dumps({"key": self.key, "found": self.found}), encoding="utf-8")

    def html(self, node: nodes.Element) -> str:
        pair = source(node)
        if self.name(*pair) not in self.found:  # a formula that a later transform made
            self.learn([pair])
        answer = self.found[self.name(*pair)]
        if "error" in answer:
            logger.warning("KaTeX cannot read %r: %s", pair[0], answer["error"], location=node)
            return f"<code>{nodes.unescape(pair[0])}</code>"
        return answer["html"]


def gather(app: Sphinx, env) -> None:
    """Before a page is written, have every formula of the book drawn."""
    if app.builder.format != "html":
        return
    path = Path(app.outdir).parent / KEPT
    path.parent.mkdir(parents=True, exist_ok=True)
    app.formulas = Formulas(path)
    kinds = (nodes.math, nodes.math_block)
    pages = [env.get_doctree(name) for name in sorted(env.found_docs)]
    app.formulas.learn([source(n) for page in pages for n in page.findall(lambda n: isinstance(n, kinds))])


def holds(node: nodes.math) -> bool:
    """Whether a sign that must not begin a line comes right after the formula."""
    after = node.parent[node.parent.index(node) + 1 :]
    return bool(after) and isinstance(after[0], nodes.Text) and bool(_CLOSING.match(after[0].astext()))


def visit_inline(self, node: nodes.math) -> None:
    self.body.append(self.starttag(node, "span", "", CLASS="math"))
    self.body.append(f"{self.builder.app.formulas.html(node)}</span>{JOINER if holds(node) else ''}")
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", "", CLASS="math"))
    self.body.append(f'<div class="formula">{self.builder.app.formulas.html(node)}</div>')
    if node.get("number"):
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    package("katex")
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.connect("env-updated", gather)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
