"""Each stage with what it has of the real thing: the exported model in Chromium, and Firefox."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402
from test_playground_firefox import FIREFOX, Marionette  # noqa: E402

FACTS = playground_site.stage.facts()
WAIT = 300_000  # milliseconds

pytestmark = [pytest.mark.site, pytest.mark.slow]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages") / "site"
    playground_site.write_real(folder)
    address, _, running = playground_site.serve(folder)
    yield address
    running.shutdown()


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts["preset"]])
def test_the_real_model_goes_on_with_what_the_stage_shows(browser, real, name):
    """From its first state: pictures come, with the stage's settings in their labels, and are no flat colour."""
    page, errors = browser.new_page(), []
    page.set_default_timeout(WAIT)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{real}/stage-{name}-light.html")
    page.locator(".stage-draw").click()
    page.wait_for_function(
        """() => /Done/.test(document.querySelector("diffusion-playground")
          ?.shadowRoot.querySelector(".bar .note")?.textContent)"""
    )
    facts = FACTS[name]
    live = facts["live"][facts["first"]] | facts["sets"][0]["live"]
    labels = page.locator(".row figure canvas").evaluate_all("(all) => all.map((c) => c.ariaLabel)")
    assert labels and all(f"“{live['prompt']}”" in text for text in labels), labels
    colours = page.locator(".row figure canvas").evaluate_all(
        """(all) => all.map((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const pixels = Array.from({ length: data.length / 4 }, (_, k) => data.slice(4 * k, 4 * k + 3).join());
          return new Set(pixels).size;
        })"""
    )
    assert min(colours) > 50 and errors == []
    page.close()


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    if FIREFOX is None:
        pytest.skip("no Firefox: apt-get install firefox-esr")
    opened = Marionette(tmp_path_factory.mktemp("firefox") / "profile")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages") / "site"
    playground_site.write(folder)
    address, _, running = playground_site.serve(folder)
    yield address
    running.shutdown()


@pytest.mark.parametrize("name", list(FACTS))
def test_firefox_moves_the_stage(firefox, quick, name):
    """The slider, a chip and a guess, and the figure where there is one; what stands in the address opens again."""
    facts = FACTS[name]
    firefox.send("WebDriver:Navigate", {"url": f"{quick}/stage-{name}-light.html"})
    found = firefox.await_script(
        """
        const settle = (ms = 500) => new Promise((done) => setTimeout(done, ms));
        const one = (name) => document.querySelector(name);
        const figure = one(".stage-plane > div");
        for (let k = 0; figure && !figure.dataset.points && k < 100; k++) await settle(100);
        const before = figure?.dataset.points ?? null;
        const slider = one(".dt-stage input[type=range]");
        slider.value = slider.max;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        one(".stage-option").click();
        await settle(1000);
        const moved = { hash: location.hash, value: slider.value, answered: !one(".stage-answer").hidden };
        one(".stage-chip").click();
        await settle(1500);
        const images = [...document.querySelectorAll(".stage-view img")];
        const { scrollWidth, clientWidth } = document.documentElement;
        return {
          ...moved, before, agent: navigator.userAgent, fits: scrollWidth <= clientWidth,
          chip: one(".stage-chip").getAttribute("aria-pressed"),
          pictures: images.every((image) => image.complete && image.naturalWidth > 0),
        };
        """
    )
    assert isinstance(found, dict) and "Firefox" in found["agent"], json.dumps(found)
    assert f"{facts['key']}={facts['stops'][-1]}" in found["hash"] and "guess=" in found["hash"]
    assert found["answered"] and found["chip"] == "true" and found["pictures"] and found["fits"]
    assert (found["before"] is None) == (facts["plane"] is None)
