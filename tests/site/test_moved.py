"""Old links still lead: each section and equation that "Few steps" had as one page is found where it is now."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
IDS = (Path(__file__).parent / "few-steps-ids.txt").read_text(encoding="utf-8").split()
OLD = "notebooks/few-steps.html"

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def moved(browser, address) -> dict[str, str]:
    """Old id -> page#id, as the module in the page has it."""
    page = browser.new_page()
    page.goto(f"{address}/{OLD}", wait_until="load")
    found = page.evaluate("""async () => (await import("../_static/moved.mjs")).MOVED""")
    page.close()
    return found["few-steps"]


def ids(html: Path, page: str) -> set[str]:
    soup = BeautifulSoup((html / page).read_text(encoding="utf-8"), "html.parser")
    return {element["id"] for element in soup.find("article").find_all(id=True)}


def test_the_list_is_that_of_the_old_page():
    """33 headings and 30 equations, as it was built at commit 5088868."""
    equations = [name for name in IDS if name.startswith("equation-")]
    assert len(IDS) == len(set(IDS)) == 63 and len(equations) == 30


def test_every_old_id_is_on_the_page_or_leads_to_one_that_exists(html, moved):
    here = ids(html, OLD)
    lost = [name for name in IDS if name not in here and name not in moved]
    assert lost == []
    dead = {
        name: to
        for name, to in moved.items()
        if to.split("#")[1] not in ids(html, f"notebooks/{to.split('#')[0]}.html")
    }
    assert dead == {}
    idle = [name for name in moved if name in here or name not in IDS]
    assert idle == [], "a redirection of an id that is on the page, or never was"


@pytest.mark.parametrize("name", [name for name in IDS if name not in ("quiz", "exercises", "limits")][::6])
def test_an_old_link_lands_at_its_place(browser, address, moved, name):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    target = moved.get(name, f"few-steps#{name}")
    to, _, anchor = target.partition("#")
    page.goto(f"{address}/{OLD}#{name}", wait_until="load")
    page.wait_for_url(f"**/notebooks/{to}.html#{anchor}")
    page.wait_for_load_state("load")
    page.wait_for_timeout(700)
    top = page.evaluate("(id) => document.getElementById(id).getBoundingClientRect().top", anchor)
    assert -5 <= top <= 860
    page.close()


def test_a_place_that_never_was_leads_nowhere(browser, address):
    page = browser.new_page()
    page.goto(f"{address}/{OLD}#no-such-place", wait_until="load")
    page.wait_for_timeout(500)
    assert page.url == f"{address}/{OLD}#no-such-place"
    page.close()
