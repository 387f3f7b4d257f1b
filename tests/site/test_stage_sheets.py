"""A stage whose sheet of pictures is slow, missing or cut off: it says that it waits, says what is missing, and goes on."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402

FACTS = playground_site.stage.facts()
MISSING = playground_site.stage.words()["shared"]["missing"]
STAGES = [name for name, facts in FACTS.items() if facts["views"]]
SEVERAL = [name for name in STAGES if len(FACTS[name]["sets"]) > 1]

pytestmark = pytest.mark.site
every_stage = pytest.mark.parametrize("name", STAGES)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets") / "site"
    playground_site.write(folder)
    address, faults, running = playground_site.serve(folder)
    yield address, faults
    running.shutdown()


@pytest.fixture
def open_stage(browser, server):
    """A function that opens a stage's page where some files go wrong: {end of a path: what}."""
    contexts = []

    def go(name, **wrong):
        server[1].by_path = wrong
        server[1].go.clear()
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.errors, page.go = [], server[1].go
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(f"{server[0]}/stage-{name}-light.html", wait_until="domcontentloaded")
        page.locator(".stage-views[aria-busy]").wait_for(state="attached")
        page.locator(".dt-stage").scroll_into_view_if_needed()
        return page

    yield go
    server[1].go.set()
    for context in contexts:
        context.close()
    server[1].by_path = {}


def busy(page):
    return page.locator(".stage-views").get_attribute("aria-busy")


def until_busy(page, value):
    page.wait_for_function(
        "(value) => document.querySelector('.stage-views').ariaBusy === value", arg=value, timeout=20_000
    )


def sheet(name, k=0):
    return FACTS[name]["sets"][k]["file"]


def choose(page, k):
    page.locator(".stage-set").nth(k).click()


@every_stage
def test_while_the_first_sheet_is_on_its_way_the_stage_is_busy_and_can_be_moved(open_stage, name):
    page = open_stage(name, **{sheet(name): "held"})
    assert busy(page) == "true"
    slider = page.locator(".dt-stage input[type=range]")
    slider.press("End")
    assert slider.input_value() == str(len(FACTS[name]["stops"]) - 1) and busy(page) == "true"
    page.go.set()
    until_busy(page, "false")
    assert page.locator(".stage-view img").first.evaluate("(image) => image.naturalWidth > 0")
    assert page.locator(".stage-says").inner_text() != MISSING and page.errors == []


@every_stage
@pytest.mark.parametrize("fault", ["missing", "cut"])
def test_where_the_first_sheet_does_not_come_it_says_so_and_the_control_lives(open_stage, name, fault):
    page = open_stage(name, **{sheet(name): fault})
    until_busy(page, "false")
    assert page.locator(".stage-says").inner_text() == MISSING == page.locator(".stage-spoken").inner_text()
    slider = page.locator(".dt-stage input[type=range]")
    slider.press("Home")
    page.wait_for_function(
        "(said) => document.querySelector('.stage-says').textContent === said", arg=MISSING
    )
    assert slider.input_value() == "0" and page.locator(".stage-chip").first.is_enabled()
    assert page.errors == []


@pytest.mark.parametrize("name", SEVERAL)
def test_the_old_pictures_stand_until_another_sets_have_come(open_stage, name):
    page = open_stage(name, **{sheet(name, 1): "held"})
    until_busy(page, "false")
    image = page.locator(".stage-view img").first
    choose(page, 1)
    assert busy(page) == "true" and image.get_attribute("src").endswith(sheet(name))
    page.go.set()
    until_busy(page, "false")
    assert image.get_attribute("src").endswith(sheet(name, 1)) and page.errors == []


@pytest.mark.parametrize("name", SEVERAL)
def test_where_another_set_does_not_come_it_says_so_and_the_first_is_still_there(open_stage, name):
    page = open_stage(name, **{sheet(name, 1): "missing"})
    until_busy(page, "false")
    image, says = page.locator(".stage-view img").first, page.locator(".stage-says")
    choose(page, 1)
    page.wait_for_function(
        "(said) => document.querySelector('.stage-says').textContent === said", arg=MISSING
    )
    assert busy(page) == "false" and image.get_attribute("src").endswith(sheet(name))
    choose(page, 0)
    assert busy(page) == "false" and says.inner_text() != MISSING and page.errors == []
