"""What all chapters share: how they open, how long they take, and what their pages show of their code."""

import re
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "book" / "_ext")]

from cells import LONGEST, kind  # noqa: E402
from reading_time import minutes, text_of  # noqa: E402

import notebooks as pairing  # noqa: E402

SOURCES = {path.stem: path for path in pairing.chapters(ROOT / "book")}
CHAPTERS = list(SOURCES)
WIDEST, MOST_LINES = 76, 15  # of code that teaches
CORE = 15  # minutes, at most
SHARE = (0.05, 0.5)  # of a page's code that is open

every_chapter = pytest.mark.parametrize("name", CHAPTERS)


@cache
def code_cells(name: str) -> list:
    """Cells with code that a page shows, exercises' solutions left out: they fold as a whole."""
    return [
        cell
        for cell in pairing.read_source(SOURCES[name]).cells
        if cell.cell_type == "code"
        and cell.source.strip()
        and not any(tag.startswith(("hide-", "remove-")) for tag in cell.metadata.get("tags", ()))
    ]


def of_kind(name: str, which: str) -> list[str]:
    return [c.source for c in code_cells(name) if kind(c.source, c.metadata.get("tags", [])) == which]


@every_chapter
def test_a_line_of_teaching_code_fits_the_column(name):
    wide = [
        line for source in of_kind(name, "teaching") for line in source.splitlines() if len(line) > WIDEST
    ]
    assert wide == []


@every_chapter
def test_a_teaching_cell_is_short(name):
    assert [s for s in of_kind(name, "teaching") if len(s.splitlines()) > MOST_LINES] == []


@every_chapter
def test_each_cell_says_its_kind_and_what_is_open_is_the_smaller_part(name):
    untagged = [
        cell.source.splitlines()[0]
        for cell in code_cells(name)
        if not {"teaching", "plumbing", "check"} & set(cell.metadata.get("tags", ()))
    ]
    assert untagged == []
    lines = {k: sum(len(s.splitlines()) for s in of_kind(name, k)) for k in ("teaching", "plumbing", "check")}
    share = lines["teaching"] / sum(lines.values())
    assert SHARE[0] < share < SHARE[1], f"{share:.0%} of the code is open"


@every_chapter
def test_a_folded_cell_says_what_it_does(name):
    """The line of plumbing is its first comment: a sentence without a full stop, that begins with a verb or a noun."""
    lines = [source.splitlines()[0] for source in of_kind(name, "plumbing")]
    assert [line for line in lines if not re.match(r"# [A-Z][^.]{4,109}$", line)] == []


@every_chapter
def test_a_check_prints_one_line_that_says_what_was_checked(name):
    stored = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    checks = [c for c in stored if c.cell_type == "code" and "check" in c.metadata.get("tags", ())]
    assert checks
    for cell in checks:
        if "hide-cell" in cell.metadata.tags:
            continue
        assert "assert " in cell.source, cell.source
        text = "".join(o.get("text", "") for o in cell.outputs)
        assert not re.search(r"\b(True|False|None|nan)\b", text), text
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) == 1 and 20 < len(lines[0]) <= LONGEST, f"{cell.source}\nprints\n{text}"


def sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=[.?!])\s+(?=[A-Z*“])", " ".join(text.split())) if s]


@every_chapter
def test_it_opens_with_the_question_and_three_plain_sentences(name):
    text = SOURCES[name].read_text(encoding="utf-8")
    opening = re.search(
        r"^# .+\n\n\*\*(.+?)\*\*(?s:.*?)\n\n\*\*The short answer\.\*\* (?s:(.+?))\n\n", text, re.M | re.S
    )
    assert opening, "the question, then the short answer"
    question, answer = opening.groups()
    assert "?" in question and text.index(question) < text.index(answer) < text.index("```{code-cell}")
    assert len(sentences(answer)) == 3, sentences(answer)
    assert not re.search(r"[$`]|\{cite|\{eq", answer), "no formula, code or citation in it"


@every_chapter
def test_the_stated_times_are_those_of_200_words_a_minute(name):
    source = SOURCES[name].read_text(encoding="utf-8")
    stated = re.search(
        r"^\*\*Time:\*\* about (\d+) minutes for the core path, (\d+) for all of it\b", source, re.M
    )
    assert stated, "**Time:** about N minutes for the core path, N for all of it"
    core, whole = minutes(source)
    assert [int(n) for n in stated.groups()] == [round(core), round(whole)]
    assert core <= CORE


@every_chapter
def test_instructors_read_the_same_times(name):
    table = (ROOT / "book" / "instructors.md").read_text(encoding="utf-8")
    core, whole = minutes(SOURCES[name].read_text(encoding="utf-8"))
    row = re.search(rf"notebooks/{name}\.ipynb\)[^|]*\| (\d+) / (\d+) min \|", table)
    assert row and [int(n) for n in row.groups()] == [round(core), round(whole)]


def test_the_times_count_text_and_nothing_else():
    text = "word " * 400
    core = f"# T\n\n{text}"
    assert minutes(core)[0] == pytest.approx(2.005)
    for more in (
        "\n\n```{code-cell} ipython3\nx = 1\n```\n",
        "\n\n$$\na = b\n$$ (eq-x)\n",
        "\n\n:::{playground} x\nwords\n:::\n",
        "\n\n<!-- a remark -->\n",
        "{cite:p}`one2020,two2021`",
    ):
        assert minutes(core + more)[1] == pytest.approx(2.005), more
    for folded in (
        f"\n\n### D\n\n<!-- deeper -->\n\n{text}\n",
        f"\n\n<details><summary>s</summary>\n\n{text}\n\n</details>\n",
        f"\n\n## Limits\n\n{text}",
    ):
        assert minutes(core + folded)[0] == pytest.approx(2.005)
        assert minutes(core + folded)[1] > 4
    after = f"\n\n### D\n\n<!-- deeper -->\n\n{text}\n\n### Open again\n\n{text}"
    assert minutes(core + after)[0] == pytest.approx(4, abs=0.03)
    assert "kernelspec" not in text_of("---\nkernelspec: x\n---\n\n# T\n")
