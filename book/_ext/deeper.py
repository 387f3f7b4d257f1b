"""Sections that are not on a chapter's core path, folded whole: their heading is the fold's line.

In book/*.md such a section has `<!-- deeper -->` under its heading. A notebook shows it like any other section, since
its cells cannot be folded together there; on the page it is a <details> that needs no script, that a link into it opens
(book/_static/site.mjs), and that print opens.
"""

from __future__ import annotations

import re

MARK = "<!-- deeper -->"
_HEADING = r"<(h[3-6])\b[^>]*>(?:(?!</h[3-6]>).)*</\3>"
_SECTION = re.compile(
    rf'(<section[^>]*>)\s*((?:<span id="[^"]*"></span>\s*)*{_HEADING})\s*{MARK}(.*?)</section>', re.S
)


def folded(html: str) -> str:
    """A page's HTML with its marked sections folded. Raises ValueError where a mark is not under a heading of the third
    level or lower, and where a marked section holds sections of its own."""

    def fold(found: re.Match) -> str:
        opening, heading, _, body = found.groups()
        if "<section" in body:
            raise ValueError(
                f"the section {re.sub('<[^>]*>', '', heading)!r} is marked as deeper and holds sections of its own"
            )
        return f'{opening}<details class="dt-fold dt-deeper"><summary>{heading}</summary>{body}</details></section>'

    html = _SECTION.sub(fold, html)
    if MARK in html:
        raise ValueError(f"{MARK} stands where no heading is: {html[html.index(MARK) :][:80]!r}")
    return html


def outside(html: str) -> str:
    """The HTML without what is in folds; their lines stay."""
    kept, depth, at = [], 0, 0
    for tag in re.finditer(r"<details\b[^>]*>|</details>|</summary>", html):
        if tag[0] == "</summary>":
            if depth == 1:
                kept.append(html[at : tag.end()])
        elif tag[0] == "</details>":
            depth -= 1
            at = tag.end() if depth == 0 else at
        else:
            if depth == 0:
                kept.append(html[at : tag.start()])
                at = tag.end()
            depth += 1
    return "".join([*kept, html[at:]])
