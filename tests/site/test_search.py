"""Search answers with sections: what readers type, and where one of the first three answers leads."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from site_search import record, sections  # noqa: E402

QUERIES = yaml.safe_load((Path(__file__).parent / "queries.yaml").read_text(encoding="utf-8"))
FIND = """async (asked) => (await import("../_static/search.mjs")).find(asked, 12)"""

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def page(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/book/intro.html")
    yield page
    page.close()


def test_there_are_thirty_queries():
    assert len({query["asked"] for query in QUERIES}) >= 30


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query["asked"])
def test_one_of_the_first_three_answers_is_the_section(page, query):
    found = page.evaluate(FIND, query["asked"])
    first = [(s["url"].partition("//")[2].partition("/")[2], s["title"]) for s in found["sections"][:3]]
    assert any(query["page"] in url and query["title"].lower() in title.lower() for url, title in first), (
        first
    )
    assert query.get("note", "") in (found["note"] or "")


def test_every_answer_leads_to_a_heading_and_shows_prose(page, html):
    for query in QUERIES:
        for answer in page.evaluate(FIND, query["asked"])["sections"]:
            path, _, anchor = answer["url"].partition("//")[2].partition("/")[2].partition("#")
            text = (html / path).read_text(encoding="utf-8")
            assert not anchor or f'id="{anchor}"' in text, answer["url"]
            assert not re.search(r"\\[a-z]+\{|\$\$|Skip to main content|Copy this code", answer["excerpt"]), (
                answer
            )


def test_the_shortcut_opens_search_and_the_keyboard_reaches_an_answer(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/notebooks/guidance.html", wait_until="load")
    page.wait_for_timeout(300)
    assert not [url for url in asked if "pagefind" in url or "search.mjs" in url]
    page.keyboard.press("Control+k")
    page.locator("#pst-search-dialog input").wait_for(state="visible")
    page.keyboard.type("negative prompt")
    page.locator("ol.dt-found a").first.wait_for()
    page.keyboard.press("ArrowDown")
    where = page.evaluate("document.activeElement.href")
    page.keyboard.press("Enter")
    page.wait_for_url(where)
    page.close()


def test_the_page_of_search_answers_a_link_with_a_question(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=guidance")
    page.locator("ol.dt-found a").first.wait_for()
    assert "section" in page.inner_text(".dt-found-said")
    page.close()


def test_a_page_is_cut_at_its_headings_and_its_code_left_out():
    found = sections(
        '<article class="bd-article"><section><h1 id="a">One<a class="headerlink">#</a></h1><p>First <em>words</em>.</p>'
        '<pre>code()</pre><section><h2 id="b">Two</h2><p>Level <span class="katex-html">xx</span>t.</p><img src="x">'
        '<div class="math">E = m</div></section></section></article><p>after</p>'
    )
    assert [(s.anchor, s.title, s.words()) for s in found] == [
        ("a", "One", "First words."),
        ("b", "Two", "Level t."),
    ]
    assert re.search("<h1[^>]*>Two</h1>", record(found[1], "One"))


def test_a_name_of_the_reference_is_told_from_its_signature_and_counts_less():
    (entry,) = sections(
        '<article><dt class="sig" id="x.f"><em>class </em>diffusion_tutorial.x.f(a, b=1)</dt><dd>Does it.</dd></article>'
    )
    text = record(entry, "Reference")
    weight, title = re.search(r'<h1 data-pagefind-weight="([\d.]+)">([^<]*)</h1>', text).groups()
    assert title == "x.f" and "(a, b=1) Does it." in text
    assert float(weight) < float(
        re.search(
            r'<h1 data-pagefind-weight="([\d.]+)"',
            record(sections('<article><h2 id="a">x</h2><p>y</p></article>')[0], "p"),
        )[1]
    )
