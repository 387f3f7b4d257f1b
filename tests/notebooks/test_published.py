"""Every notebook reads in a plain reader: nothing raw, nothing that leads nowhere, nothing lost of its source."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupytext.config import load_jupytext_config

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "book" / "_ext")]
import assignments  # noqa: E402
import notebooks as pairing  # noqa: E402
from classroom.source import source as assignment  # noqa: E402
from published import Book, faults  # noqa: E402
from published.faults import formulas, targets  # noqa: E402
from vendored import ask  # noqa: E402

BOOK = Book.read(ROOT)
STORED = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
RAW_ROLE = re.compile(r"\{(?:eq|cite|cite:\w|ref|doc|term|numref)\}")


def texts(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def stored(path) -> list[str]:
    return texts(nbformat.read(path, as_version=4))


def source(path) -> list[str]:
    return texts(pairing.read_source(ROOT / "book" / f"{path.stem}.md"))


@every_notebook
def test_nothing_is_raw(path):
    assert [fault for text in stored(path) for fault in faults(text)] == []


@pytest.mark.parametrize("name", assignments.names())
def test_nothing_is_raw_in_an_assignment(name):
    assert [fault for text in texts(assignment(name)) for fault in faults(text)] == []


@every_notebook
def test_no_output_holds_a_role(path):
    notebook = nbformat.read(path, as_version=4)
    shown = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    words = "\n".join(o.get("text", "") + "".join(map(str, o.get("data", {}).values())) for o in shown)
    assert not RAW_ROLE.findall(words)


def leads_nowhere(target: str) -> str:
    """Why an address of a notebook leads nowhere, as far as the repository can tell; '' if it does not."""
    here = BOOK.address
    for kind in ("blob", "raw"):
        prefix = f"{here.repository}/{kind}/{here.branch}/"
        if target.startswith(prefix):
            return "" if (ROOT / target.removeprefix(prefix)).exists() else "no such file in the repository"
    if target.startswith(here.site):
        name, _, anchor = target.removeprefix(here.site).partition("#")
        page = BOOK.pages.get(name.removesuffix(".html"))
        if page is None:
            return "no such page of the site"
        equations = {f"equation-{label}" for label in page.labels}
        return "" if not anchor or anchor in page.anchors | equations else "no such place on the page"
    if re.match(r"(https?|mailto):", target):
        return ""
    return "" if (ROOT / "notebooks" / target).is_file() else "no such file beside the notebook"


@every_notebook
def test_every_link_and_picture_of_ours_is_there(path):
    found = [
        (target, why) for text in stored(path) for target in targets(text) if (why := leads_nowhere(target))
    ]
    assert not found


@pytest.mark.parametrize(
    "target",
    [
        "nothing.ipynb",
        "../book/nothing.png",
        f"{BOOK.address.site}nothing.html",
        f"{BOOK.address.site}book/glossary.html#nothing",
        f"{BOOK.address.repository}/raw/{BOOK.address.branch}/nothing.png",
    ],
)
def test_a_dead_address_is_seen(target):
    assert leads_nowhere(target)


@every_notebook
def test_every_formula_is_one_for_katex(path):
    """VS Code draws with KaTeX, which is stricter than MathJax; `\\tag` stands in displayed formulas alone."""
    asked = [{"tex": tex, "display": display} for text in stored(path) for tex, display in formulas(text)]
    answers = ask("katex.mjs", asked)
    assert not [(a["error"], q["tex"]) for q, a in zip(asked, answers, strict=True) if "error" in a]


def test_a_formula_that_katex_refuses_is_seen():
    (tag, display), (_, inline) = formulas("$$\na \\tag{3}\n$$\n\n$a \\tag{3}$")
    asked = [{"tex": tag, "display": display}, {"tex": tag, "display": inline}]
    assert ["error" in answer for answer in ask("katex.mjs", asked)] == [False, True]


@every_notebook
def test_equations_carry_the_books_numbers_in_order(path):
    labels = re.findall(r"^\$\$ \(([\w-]+)\)$", "\n".join(source(path)), re.M)
    tags = [int(n) for n in re.findall(r"\\tag\{(\d+)\}", "\n".join(stored(path)))]
    assert tags == [BOOK.numbers[label] for label in labels]
    assert tags == list(range(tags[0], tags[0] + len(tags))) if tags else not labels


@every_notebook
def test_the_papers_that_it_cites_are_listed_at_its_end(path):
    keys = {
        k.strip()
        for keys in re.findall(r"\{cite:\w\}`([^`]+)`", "\n".join(source(path)))
        for k in keys.split(",")
    }
    *before, last = stored(path)
    listed = [line for line in last.splitlines() if line.startswith("- ")] if keys else []
    assert len(listed) == len(keys)
    for key in keys:
        assert any(BOOK.papers.address(key) in text for text in before)
        assert sum(BOOK.papers.address(key) in line for line in listed) == 1, key


def words(text: str) -> list[str]:
    """The words of a text without what MyST means and no reader sees, and without the marks of Markdown."""
    text = re.sub(
        r"\{[\w:]+\}`[^`]*`|\]\([^)]*\)|^\$\$ \([\w-]+\)$|^:::.*$|</?\w[^>]*>", " ", text, flags=re.M
    )
    return re.findall(r"\w+", text)


@every_notebook
def test_no_word_of_the_source_is_lost(path):
    published = iter(words("\n".join(stored(path))))
    lost = [word for word in words("\n".join(source(path))) if word not in published]
    assert not lost, "the source's words, in their order, are among the notebook's"


@every_notebook
def test_jupyterlab_cannot_write_a_notebook_over_its_source(path):
    assert "jupytext" not in nbformat.read(path, as_version=4).metadata
    assert load_jupytext_config(str(path)).default_formats(str(path)) is None
    text = ROOT / "book" / f"{path.stem}.md"
    assert load_jupytext_config(str(text)).default_formats(str(text)) is None
