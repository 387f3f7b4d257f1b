"""The page that a student gets: points by question, what each test found, and formulas that show offline.

One file without scripts and without addresses. What a student wrote or printed is escaped.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import re
from pathlib import Path

from nbformat import NotebookNode

from .course import Course, CourseError
from .source import cells, read

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{
  font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem;
}}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid #bbb; padding-top: .8rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd; }}
td.points {{ white-space: nowrap; text-align: right; }}
pre {{ background: #f4f4f4; padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }}
.message {{ overflow-wrap: anywhere; }}
blockquote {{ border-left: 4px solid #555; margin-left: 0; padding-left: 1rem; }}
img {{ max-width: 100%; }}
@media print {{ h2 {{ break-after: avoid; }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write(course: Course, name: str, student: str) -> Path:
    """Write feedback/STUDENT/NAME/NAME.html. Raises CourseError if nothing was graded."""
    file = course.folder / "autograded" / student / name / f"{name}.ipynb"
    if not file.is_file():
        raise CourseError(f"{student}, {name}: not graded yet; allowed: `autograde` first")
    graded, comments = read(file), marks(course, name, student)
    place = course.folder / "feedback" / student / name / f"{name}.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    scores = course.scores(name, student)
    place.write_text(page(name, student, course.ours(name), graded, scores, comments), encoding="utf-8")
    return place


def marks(course: Course, name: str, student: str) -> dict[str, str]:
    """What an instructor wrote in the formgrader, by cell."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.folder / 'gradebook.db'}") as book:
        notebook = book.find_submission_notebook(name, name, student)
        return {c.name: c.comment for c in notebook.comments if c.comment and c.comment != "No response."}


def questions(ours: NotebookNode) -> list[tuple[str, list[NotebookNode]]]:
    """(heading, cells) of each question of an assignment."""
    found: list[tuple[str, list]] = []
    for cell in ours.cells:
        head = re.match(r"## (.*)", cell.source) if cell.cell_type == "markdown" else None
        if head:
            found.append((head[1], []))
        if found:
            found[-1][1].append(cell)
    return found


def page(name, student, ours, graded, scores, comments) -> str:
    """The page as text. ours: the instructor's notebook; graded: the student's, with outputs of the judge."""
    theirs = {**cells(graded, "solution"), **cells(graded, "grade")}
    got, most = (sum(pair[k] or 0 for pair in scores.values()) for k in (0, 1))
    title = f"{name}: {student}, {got:g} of {most:g} points"
    body = [f"<h1>{html.escape(title)}</h1>"]
    summary, parts = [], []
    for number, (heading, inside) in enumerate(questions(ours), 1):
        ids = [c.metadata["nbgrader"]["grade_id"] for c in inside if c.metadata.get("nbgrader")]
        own = [i for i in ids if i in scores]
        points, best = (sum(scores[i][k] or 0 for i in own) for k in (0, 1))
        plain = re.sub(r" \(\d+ points?\)$", "", heading)
        summary.append(
            f'<tr><td><a href="#q{number}">{text_of(plain)}</a></td>'
            f'<td class="points">{points:g} of {best:g}</td></tr>'
        )
        parts.append(f'<h2 id="q{number}">{text_of(plain)}: {points:g} of {best:g} points</h2>')
        for cell in inside:
            mark = cell.metadata.get("nbgrader", {})
            key = mark.get("grade_id")
            if cell.cell_type == "markdown" and not mark.get("solution"):
                words = re.sub(r"\A## .*\n*", "", cell.source)
                parts += [prose(words)] if words else []
            elif mark.get("solution") and key in theirs:
                parts.append("<p>Your answer:</p>")
                parts.append(f"<pre>{html.escape(theirs[key].source)}</pre>")
                said = spoken(theirs[key])
                parts += [f"<p>It printed or raised:</p><pre>{html.escape(said)}</pre>"] if said else []
            if mark.get("solution") and mark.get("grade"):
                asked = re.sub(r"### (BEGIN|END) SOLUTION\n?", "", cell.source)
                parts.append(f"<p>How it is graded:</p>{prose(asked)}")
            if key in comments:
                parts.append(f"<blockquote>{html.escape(comments[key])}</blockquote>")
        rows = []
        for key in own:
            points, best = scores[key]
            what = html.escape(key.replace("-", " "))
            message = html.escape(reason(theirs.get(key), points, best))
            mark = "✓" if points == best else "✗" if points is not None else "–"
            shown = "to be graded by hand" if points is None else f"{points:g} of {best:g}"
            rows.append(
                f'<tr><td>{mark} {what}</td><td class="message">{message}</td><td class="points">{shown}</td></tr>'
            )
        parts.append(
            "<table><tr><th>test</th><th>what it found</th><th>points</th></tr>" + "".join(rows) + "</table>"
        )
    body.append("<table>" + "".join(summary) + "</table>")
    return PAGE.format(title=html.escape(title), body="\n".join(body + parts))


def spoken(cell: NotebookNode) -> str:
    """What an answer cell printed, cut at 3000 signs."""
    text = "".join(o.get("text", "") for o in cell.get("outputs", []) if o.output_type == "stream")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
    return text if len(text) <= 3000 else text[:1500] + "\n...\n" + text[-1500:]


def reason(cell: NotebookNode | None, points, most) -> str:
    """Why a test did not give all its points."""
    if cell is None or points == most or cell.cell_type != "code":
        return ""
    for output in cell.outputs:
        if output.output_type == "error":
            return output.evalue
    return "in part"


# --- text and formulas ------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Our Markdown as HTML, with formulas as pictures. Markup in it is escaped."""
    from markdown_it import MarkdownIt

    kept: list[str] = []

    def keep(match):
        kept.append(formula(match[1] or match[2]))
        return f"FORMULA{len(kept) - 1}END"

    text = re.sub(r"\$\$(.+?)\$\$|\$([^$]+)\$", keep, text, flags=re.S)
    made = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return re.sub(r"FORMULA(\d+)END", lambda m: kept[int(m[1])], made)


def text_of(text: str) -> str:
    """A line of Markdown, without its paragraph."""
    return re.sub(r"\A<p>|</p>\s*\Z", "", prose(text))


@functools.cache
def formula(latex: str) -> str:
    """A formula as a picture inside the page; its LaTeX is the alternative text, and stands for it where it cannot be."""
    from matplotlib import mathtext

    latex = " ".join(latex.split())
    name = html.escape(latex, quote=True)
    try:
        buffer = io.BytesIO()
        depth = mathtext.math_to_image(f"${plain(latex)}$", buffer, dpi=72, format="svg")
    except (ValueError, RuntimeError):
        return f"<code>{name}</code>"
    data = base64.b64encode(buffer.getvalue()).decode()
    height = re.search(rb'height="([\d.]+)pt"', buffer.getvalue())
    size = f"height: {float(height[1]) / 10:.2f}em; " if height else ""
    style = f"{size}vertical-align: -{float(depth) / 10:.2f}em"
    return f'<img alt="{name}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def plain(latex: str) -> str:
    """LaTeX in the words that matplotlib knows."""
    for old, new in ((r"\le ", r"\leq "), (r"\ge ", r"\geq "), (r"\ne ", r"\neq "), (r"\tfrac", r"\frac")):
        latex = latex.replace(old, new)
    return re.sub(r"\\(text|operatorname)\{", r"\\mathrm{", latex)
