"""The site keeps the source's references, and notebooks say what the site shows: the same numbers, names and places."""

import re
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from published import Book  # noqa: E402
from published.faults import targets  # noqa: E402

import notebooks  # noqa: E402

BOOK = Book.read(ROOT)
CHAPTERS = [path.stem for path in notebooks.chapters(ROOT / "book")]

pytestmark = pytest.mark.site
every_chapter = pytest.mark.parametrize("name", CHAPTERS)


@pytest.fixture(scope="module")
def soup(html):
    """A function that reads a page of the site, once."""
    read = {}

    def page(name: str) -> BeautifulSoup:
        if name not in read:
            read[name] = BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        return read[name]

    return page


def texts(name: str) -> list[str]:
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("page", BOOK.pages)
def test_equations_have_the_numbers_of_the_site(soup, page):
    shown = {
        div["id"].removeprefix("equation-"): div.select_one(".eqno").get_text()
        for div in soup(page).select('div.math[id^="equation-"]')
    }
    assert {label: re.match(r"\((\d+)\)", text)[1] for label, text in shown.items()} == {
        label: str(BOOK.numbers[label]) for label in BOOK.pages[page].labels
    }


@every_chapter
def test_citations_have_the_words_of_the_site(soup, name):
    links = soup(f"notebooks/{name}").select('.bibtex-citation a[href*="bibliography.html#"]')
    site = sorted({re.sub(r"\s+", " ", link.get_text()) for link in links})
    ours = "\n".join(texts(name)[:-1])
    keys = {key for key in BOOK.papers.data.entries if key in cited_in(name)}
    assert site == sorted({BOOK.papers.cited(key) for key in keys})
    assert all(f"[{BOOK.papers.cited(key)}]({BOOK.papers.address(key)})" in ours for key in keys)


def cited_in(name: str) -> set[str]:
    source = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    return {key.strip() for keys in re.findall(r"\{cite:p\}`([^`]+)`", source) for key in keys.split(",")}


@every_chapter
def test_the_page_keeps_references_that_lead_to_equations_and_papers(soup, name):
    page = soup(f"notebooks/{name}")
    source = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    asked = re.findall(r"\{eq\}`([\w-]+)`", source)
    # Those that other folds or searches add aside, each reference of the text is a link.
    assert sorted(
        a["href"].partition("#equation-")[2] for a in page.select('a[href*="#equation-"].reference')
    ) == sorted(asked)
    assert not page.find(id="references") and "\\tag" not in page.select_one("article").get_text()


@every_chapter
def test_places_on_the_site_that_a_notebook_names_are_there(html, soup, name):
    for target in {t for text in texts(name) for t in targets(text) if t.startswith(BOOK.address.site)}:
        page, _, place = target.removeprefix(BOOK.address.site).partition("#")
        assert (html / page).is_file(), target
        assert not place or soup(page.removesuffix(".html")).find(id=place), target


@every_chapter
def test_download_and_launch_buttons_have_the_published_notebook(html, soup, name):
    path = f"notebooks/{name}.ipynb"
    assert (html / "_sources" / path).read_bytes() == (ROOT / path).read_bytes()
    links = [a.get("href", "") for a in soup(f"notebooks/{name}").select("a[href]")]
    assert any(link.startswith(BOOK.address.colab) and link.endswith(path) for link in links)
    assert any(link.startswith(BOOK.address.binder) and link.endswith(path) for link in links)
