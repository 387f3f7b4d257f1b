"""Code on a page: what is open, what is folded to which line, by tag and without; and folds in a browser."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "book" / "_ext")]

from cells import comment, condition, kind  # noqa: E402
from pages_bench import pages  # noqa: E402

CHAPTERS = [page for page in pages() if page.startswith("notebooks/")]
WIDE = "x" * 76  # the longest line of teaching code


@pytest.mark.parametrize(
    ("source", "tags", "expected"),
    [
        ("import torch\nfrom math import log", [], "plumbing"),
        ("plots.figure(\n    a,\n    alt='b',\n)", [], "plumbing"),
        ("rows = [1]\nplots.table(rows,\n  caption='c',\n)", [], "plumbing"),
        ("sampler_widget(model)", ["nbval-ignore-output"], "plumbing"),
        ("assert a < 1", [], "check"),
        ("for x in y:\n    print(x)\n    assert x", [], "check"),
        ("print(a)", [], "teaching"),
        ("def f(x):\n    return x\n\nassert f(1) == 1\nprint(f(2))", [], "teaching"),
        ("x = 1\ny = step(x)\nz = step(y)\nassert z", [], "teaching"),
        ("plots.figure(a)\nassert a", [], "check"),
        ("x = step(1)", ["plumbing"], "plumbing"),
        ("assert a", ["teaching"], "teaching"),
        ("x = step(1)", ["check", "nbval-ignore-output"], "check"),
        ("%pip install x", [], "teaching"),
        ("this is no python", [], "teaching"),
        ("", [], "teaching"),
    ],
)
def test_the_kind_of_a_cell(source, tags, expected):
    assert kind(source, tags) == expected


def test_the_line_of_a_fold_comes_from_the_first_comment_or_the_check():
    assert comment("# Draws two curves.\n# One a colour.\nx = 1  # no") == "Draws two curves. One a colour"
    assert comment("x = 1\n# later") == ""
    assert condition("y = 2\nassert abs(y - 2) < 1e-9, 'far'") == "abs(y - 2) < 1e-09"


@pytest.mark.site
@pytest.mark.parametrize("page", CHAPTERS)
def test_every_cell_of_the_notebook_is_on_the_page_in_its_kind(html, page):
    from bs4 import BeautifulSoup

    soup = BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    shown = soup.select("article div.cell")
    stored = [
        cell
        for cell in nbformat.read(ROOT / f"{page}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
        and cell.source.strip()
        and "remove-cell" not in cell.metadata.get("tags", ())
    ]
    assert len(shown) == len(stored)
    for box, cell in zip(shown, stored):
        tags = cell.metadata.get("tags", [])
        if any(tag.startswith("hide-") for tag in tags):  # an exercise's solution, which folds as a whole
            assert box.select_one("details.hide .cell_input")
            continue
        which = kind(cell.source, tags)
        assert f"dt-{which}-cell" in box["class"]
        code = box.select_one(".cell_input")
        assert re.sub(r"\s", "", code.get_text()) == re.sub(r"\s", "", cell.source)
        assert bool(code.find_parent("details", class_="dt-code")) == (which != "teaching")
        if which == "check":
            line = box.select_one("summary").get_text()
            assert line.startswith("✓ checked:") and len(line) > len("✓ checked:  code")
        if which == "plumbing":  # what it draws is not folded away with it
            assert all(
                not part.find_parent("details", class_="dt-code") for part in box.select(".cell_output")
            )


@pytest.fixture
def opened(browser, address):
    contexts = []

    def open_page(path, **settings):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{address}/{path}", wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.site
@pytest.mark.parametrize("javascript", [True, False])
def test_a_fold_opens_by_the_keyboard_with_and_without_a_script(opened, javascript):
    page = opened(f"{CHAPTERS[0]}.html", java_script_enabled=javascript)
    fold = page.locator("details.dt-code").first
    code = fold.locator("pre").first
    assert not code.is_visible()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    assert code.is_visible()
    assert page.locator(".dt-switch").is_visible() is javascript


@pytest.mark.site
def test_the_switch_opens_all_code_and_is_remembered_on_the_next_chapter(opened, address):
    page = opened(f"{CHAPTERS[0]}.html")
    page.get_by_text("with all code").click()
    count = "[...document.querySelectorAll('details.dt-code')].filter((fold) => fold.open).length"
    every = page.locator("details.dt-code").count()
    assert page.evaluate(count) == every > 0
    page.goto(f"{address}/{CHAPTERS[1]}.html", wait_until="load")
    assert page.evaluate(count) == page.locator("details.dt-code").count() > 0
    page.get_by_text("reading", exact=True).click()
    assert page.evaluate(count) == 0
    page.reload(wait_until="load")
    assert page.evaluate(count) == 0


@pytest.mark.site
def test_a_line_of_teaching_code_fits_and_a_longer_one_shows_that_it_scrolls(opened):
    page = opened(f"{CHAPTERS[0]}.html")
    measure = """(text) => {
      const pre = document.querySelector(".dt-teaching-cell .cell_input pre");
      pre.textContent = text;
      const style = getComputedStyle(pre);
      return [pre.scrollWidth - pre.clientWidth, style.overflowX, style.backgroundAttachment.includes("local")];
    }"""
    wide, _, _ = page.evaluate(measure, WIDE)
    assert wide <= 0
    wide, overflow, cue = page.evaluate(measure, 2 * WIDE)
    assert wide > 0 and overflow == "auto" and cue


@pytest.mark.site
@pytest.mark.parametrize("page", CHAPTERS)
@pytest.mark.parametrize("width", [1280, 390])
def test_a_link_far_down_the_page_lands_below_the_bar(browser, address, page, width):
    """Sections far from the window are not laid out yet: the heading that a link names must be where it says."""
    context = browser.new_context(viewport={"width": width, "height": 844})
    opened = context.new_page()
    opened.goto(f"{address}/{page}.html", wait_until="load")
    anchors = opened.evaluate("[...document.querySelectorAll('article h2[id]')].map((heading) => heading.id)")
    for anchor in [anchors[-1], anchors[len(anchors) // 2]]:
        opened.evaluate("(anchor) => { location.hash = anchor; }", anchor)
        opened.wait_for_timeout(700)
        top = opened.evaluate(
            "(anchor) => document.getElementById(anchor).getBoundingClientRect().top", anchor
        )
        last = opened.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert 30 <= top <= 220 or (last and 30 <= top <= 844), (anchor, top)
    context.close()


@pytest.mark.site
@pytest.mark.parametrize("page", CHAPTERS)
def test_in_the_dark_a_plot_is_the_dark_one_and_stands_on_no_slab(opened, page):
    page = opened(f"{page}.html", color_scheme="dark")
    plots = page.evaluate(
        """[...document.querySelectorAll("article img.dt-vector")].filter((image) => image.offsetParent)
          .map((image) => [image.classList.contains("only-dark"), getComputedStyle(image).backgroundColor])"""
    )
    assert set(map(tuple, plots)) <= {(True, "rgba(0, 0, 0, 0)")}
    turned = page.evaluate(
        """[...document.querySelectorAll("article img.dt-pixels")].map((image) => getComputedStyle(image).filter)"""
    )
    assert all("invert" in how for how in turned)


@pytest.mark.site
def test_print_opens_proofs_and_answers_and_leaves_plumbing_away(opened):
    page = opened(f"{CHAPTERS[-1]}.html")
    page.emulate_media(media="print")
    fold = page.locator("details.dt-fold").first
    assert fold.locator("p").last.is_visible() or fold.locator("p").last.bounding_box()["height"] > 0
    for part in (".bd-sidebar-primary", ".bd-header-article", ".dt-switch", "details.dt-plumbing"):
        assert not page.locator(part).first.is_visible()
