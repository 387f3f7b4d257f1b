"""Still Life's stage in Chromium: words, steps, guess and link, before a model is loaded and with one, by mouse, finger and
keyboard; and that its pictures, shades and numbers are those of the package."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site"), str(ROOT / "book" / "_ext")]

import parts_stage as PARTS  # noqa: E402  book/_ext
import playground_site  # noqa: E402
import stage_parts as maker  # noqa: E402  scripts

from diffusion_tutorial import load  # noqa: E402

FACTS = PARTS.facts()
OWN = PARTS.words()["still-life"]
AXE = ROOT / "scripts/vendor/node_modules/axe-core/axe.min.js"
LIMIT = 32_000  # bytes of the sheets of a sentence
WAIT = 60_000
pytestmark = pytest.mark.site


def html(live=True):
    model = {"manifest": "static/model/manifest.json", "megabytes": "1.2"} if live else None
    return PARTS.element("static", model)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "site"
    playground_site.write(folder)
    shutil.copytree(PARTS.PICTURES, folder / "static" / PARTS.FOLDER)
    for theme in ("light", "dark"):
        below = "<p>" + "What stands below. " * 40 + "</p>"
        playground_site.page(folder / f"parts-{theme}.html", theme, html() + below, "parts-stage")
    address, faults, running = playground_site.serve(folder)
    yield address, faults
    running.shutdown()


@pytest.fixture
def open_stage(browser, server):
    contexts = []

    def go(hash="", width=1280, theme="light", **options):
        server[1].by_path, server[1].asked[:] = {}, []
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.add_init_script("""window.shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((e) =>
          e.hadRecentInput || (window.shift += e.value))).observe({ type: "layout-shift", buffered: true });""")
        page.goto(f"{server[0]}/parts-{theme}.html{hash}", wait_until="load")
        return page

    yield go
    for context in contexts:
        context.close()


def shade(page, set_, word, at):
    """The darkness of the shade on show, (h, w) of 0 to 255, once it is that of this state: middles of its places."""
    page.wait_for_function(
        "(shown) => document.querySelector('.parts-shade').dataset.shown === shown", arg=f"{set_} {word} {at}"
    )
    return np.array(
        page.evaluate("""() => {
          const canvas = document.querySelector(".parts-shade"), context = canvas.getContext("2d");
          const { data } = context.getImageData(0, 0, canvas.width, canvas.height), n = 8, fine = canvas.width / n;
          return [...Array(n)].map((_, y) => [...Array(n)].map((_, x) =>
            data[4 * ((y * fine + fine / 2) * canvas.width + x * fine + fine / 2) + 3]));
        }""")
    )


def stored_shade(set_, word, at):
    one = FACTS["sets"][set_]
    whole = np.asarray(Image.open(PARTS.PICTURES / one["shades"]))[..., 3]
    h, w = one["map"]
    return whole[word * h : (word + 1) * h, at * w : (at + 1) * w].astype(int)


def word(page, k):
    return page.locator(f".parts-word[data-word='{k}']")


def place(set_, name):
    return next(k for k, token in enumerate(FACTS["sets"][set_]["tokens"]) if token["name"] == name)


# --- what the page brings


def test_before_the_readers_word_no_model_is_fetched_and_little_else(open_stage, server):
    page = open_stage()
    page.wait_for_load_state("networkidle")
    asked = list(server[1].asked)
    assert not [path for path in asked if "/model/" in path or "element.mjs" in path]
    assert sorted(path.rpartition("/")[2] for path in asked if path.endswith(".webp")) == [
        "still-life-1-latents.webp",
        "still-life-1-shades.webp",
        "still-life-1.webp",
    ]
    assert page.errors == [] and page.evaluate("shift") < 0.01


def test_sheets_are_light():
    for one in FACTS["sets"]:
        size = sum((PARTS.PICTURES / one[name]).stat().st_size for name in ("file", "latents", "shades"))
        assert size <= LIMIT, one["file"]


def test_without_javascript_a_still_stands(open_stage):
    still = open_stage(java_script_enabled=False).locator(".stage-still")
    assert still.locator("img").is_visible() and still.locator("figcaption").is_visible()
    assert still.locator("img").evaluate("(image) => image.naturalWidth") == FACTS["sheet"]["width"]


# --- words and steps


def test_a_word_is_picked_by_tap_and_by_keyboard(open_stage):
    page, first = open_stage(), FACTS["first"]
    start = first["word"]
    assert np.abs(shade(page, 0, start, first["at"]) - stored_shade(0, start, first["at"])).max() <= 24
    wall = place(0, "wall")
    word(page, wall).click()
    assert np.abs(shade(page, 0, wall, first["at"]) - stored_shade(0, wall, first["at"])).max() <= 24
    assert (
        word(page, wall).get_attribute("aria-pressed") == "true"
        and "“wall”" in page.locator(".parts-lit figcaption").inner_text()
    )
    word(page, wall).press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.word") == str(wall - 1)
    shade(page, 0, wall - 1, first["at"])
    page.keyboard.press("End")
    last = len(FACTS["sets"][0]["tokens"]) - 1
    shade(page, 0, last, first["at"])
    assert OWN["marks"]["end"] in page.locator(".stage-says").inner_text()
    assert page.locator(".parts-word[tabindex='0']").count() == 1  # one stop of the tab key
    assert page.errors == []


def test_a_mouse_that_passes_over_a_word_shows_it_and_keeps_the_picked_one(open_stage):
    page, first = open_stage(), FACTS["first"]
    sphere = place(0, "sphere")
    word(page, sphere).hover()
    shade(page, 0, sphere, first["at"])
    page.mouse.move(5, 5)
    shade(page, 0, first["word"], first["at"])
    assert word(page, first["word"]).get_attribute("aria-pressed") == "true"


def test_the_slider_moves_pictures_shade_dot_and_numbers_together(open_stage):
    page = open_stage()
    page.locator(".stage-reveal").click()
    slider, token = page.locator(".dt-parts input"), FACTS["sets"][0]["tokens"][FACTS["first"]["word"]]
    frame, kind = PARTS.FRAME, FACTS["kinds"]["floor"]
    for key, at in (("End", len(FACTS["stops"]) - 1), ("ArrowLeft", len(FACTS["stops"]) - 2), ("Home", 0)):
        slider.press(key)
        step = FACTS["stops"][at]
        assert page.locator(".stage-value").inner_text() == str(step)
        share = int(100 * token["weights"][at] + 0.5)
        assert f"gets {share}% of all looks" in page.locator(".stage-says").inner_text()
        shade(page, 0, FACTS["first"]["word"], at)
        dot = page.locator("circle[data-series='0']")
        assert abs(float(dot.get_attribute("cx")) - frame["left"] - frame["width"] * step / 19) < 0.1
        y = frame["top"] + frame["height"] * (1 - kind["pointed"][at])
        assert abs(float(dot.get_attribute("cy")) - y) < 0.1
        lefts = page.locator(".parts-view img").evaluate_all(
            "(all) => all.map((i) => parseFloat(i.style.left))"
        )
        for left, (_, form, _) in zip(lefts, PARTS.VIEWS, strict=True):
            side, pad = FACTS[form]["side"], FACTS[form]["pad"]
            assert abs(left + 100 * (at * (side + 2 * pad) + pad) / side) < 0.1
    assert page.errors == []


def test_another_sentence_has_its_own_words_and_pictures(open_stage):
    page, first = open_stage(), FACTS["first"]
    page.locator(".stage-set").nth(1).click()
    said = page.locator(".parts-word span").all_inner_texts()
    assert (
        said[1:-1] == FACTS["sets"][1]["sentence"].split()
        and page.locator(".parts-word small").first.inner_text()
    )
    floor = place(1, "floor")  # the word of the same name stays picked
    assert np.abs(shade(page, 1, floor, first["at"]) - stored_shade(1, floor, first["at"])).max() <= 24
    page.locator(".stage-set").nth(3).click()
    shade(page, 3, 1, first["at"])  # it has no floor
    word(page, 1).press("End")
    shade(page, 3, len(FACTS["sets"][3]["tokens"]) - 1, first["at"])
    assert page.errors == []


def test_words_that_name_no_place_say_so(open_stage):
    page = open_stage()
    page.locator(".stage-reveal").click()
    assert page.locator(".stage-data").is_visible() and page.locator(".parts-none").is_hidden()
    word(page, place(0, "on")).click()
    assert page.locator(".parts-none").is_visible()
    assert page.locator(".stage-data").evaluate("(g) => getComputedStyle(g).visibility") == "hidden"


def test_a_guess_is_answered_and_shows_the_curve(open_stage):
    page = open_stage()
    assert page.locator(".stage-data").is_hidden() and page.locator(".stage-answer").is_hidden()
    option = page.locator(".stage-option").nth(2)
    option.focus()
    option.press("Enter")
    answer = page.locator(".stage-answer").inner_text()
    assert OWN["guess"]["labels"][2] in answer and not re.search(r"[{}]", answer)
    assert option.get_attribute("aria-pressed") == "true" and page.locator(".stage-data").is_visible()
    page.wait_for_function("location.hash.endsWith('guess=2')")
    assert answer in page.locator(".stage-spoken").inner_text()


def test_a_chip_sets_word_and_step_and_says_what_to_look_at(open_stage):
    page = open_stage()
    assert page.locator(".stage-chip").count() == 3
    for k, chip in enumerate(OWN["chips"]):
        page.locator(".stage-chip").nth(k).click()
        shade(page, chip["set"], place(chip["set"], chip["word"]), FACTS["stops"].index(chip["step"]))
        look = page.locator(".stage-look").inner_text()
        assert look and not re.search(r"[{}]", look)
        pressed = page.locator(".stage-chip").evaluate_all("(chips) => chips.map((c) => c.ariaPressed)")
        assert pressed == [str(j == k).lower() for j in range(3)]


# --- the address


def test_a_shared_link_opens_its_state(open_stage):
    page = open_stage("#stage=still-life&sentence=2&word=5&step=16&guess=0")
    shade(page, 1, 5, FACTS["stops"].index(16))
    assert page.locator(".stage-answer").is_visible()
    assert page.locator(".parts-word span").nth(5).inner_text() == FACTS["sets"][1]["tokens"][5]["name"]
    page.evaluate("location.hash = '#stage=still-life&sentence=1&word=1&step=0'")
    shade(page, 0, 1, 0)
    assert page.locator(".stage-answer").is_hidden()


@pytest.mark.parametrize(
    "bad", ["word=99&step=3", "sentence=9&word=-1", "sentence=0&step=%00&guess=x", "guess=7"]
)
def test_a_link_with_values_that_are_none_opens_the_first_state(open_stage, bad):
    page, first = open_stage(f"#stage=still-life&{bad}"), FACTS["first"]
    shade(page, 0, first["word"], first["at"])
    assert page.locator(".stage-answer").is_hidden() and page.errors == []


def test_the_link_is_copied(open_stage):
    page = open_stage(permissions=["clipboard-read", "clipboard-write"])
    word(page, 3).click()
    page.locator(".stage-copy").click()
    page.wait_for_function("document.querySelector('.stage-copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert page.url.endswith("#stage=still-life&sentence=1&word=3&step=4")


# --- the model, and what goes wrong


def test_the_model_goes_on_with_the_stages_sentence(open_stage):
    page = open_stage()
    page.locator(".stage-set").nth(2).click()
    page.locator(".stage-draw").click()
    page.wait_for_function("""() => /Done/.test(document.querySelector("diffusion-playground")
      ?.shadowRoot.querySelector(".bar .note")?.textContent)""")
    labels = page.locator(".row figure canvas").evaluate_all("(all) => all.map((c) => c.ariaLabel)")
    assert labels and all(FACTS["sets"][2]["sentence"] in label and "seed 7" in label for label in labels)
    assert page.errors == []


def test_shades_that_do_not_come_say_so(open_stage, server):
    page = open_stage()
    server[1].by_path = {"still-life-2-shades.webp": "missing"}
    page.locator(".stage-set").nth(1).click()
    page.wait_for_function("/could not/.test(document.querySelector('.stage-says').textContent)")


@pytest.mark.parametrize("width,theme", [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_after_use_and_targets_are_large(open_stage, width, theme):
    page = open_stage(width=width, theme=theme, color_scheme=theme, reduced_motion="reduce")
    page.locator(".stage-option").first.click()
    page.locator(".stage-chip").nth(1).click()
    small = page.locator(".dt-parts").evaluate(
        """(stage) => [...stage.querySelectorAll("button, select, input")].filter((e) => e.offsetParent)
          .map((e) => [e.className || e.type, e.offsetWidth, e.offsetHeight]).filter(([, w, h]) => w < 44 || h < 44)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run('.dt-stage', { resultTypes: ['violations'] })")["violations"]
    assert [f"{fault['id']}: {node['html'][:160]}" for fault in found for node in fault["nodes"]] == []


# --- that they are current, and that the chips say what is so


@pytest.fixture(scope="module")
def model():
    return load("still-life", device="cpu")


def test_numbers_are_those_of_the_package(model):
    new = json.loads(json.dumps(maker.entry(model)))
    assert maker.same({k: v for k, v in FACTS.items() if k != "sets"}, new) == []


@pytest.mark.parametrize("number", range(len(maker.SENTENCES)))
def test_pictures_and_shades_are_what_the_weights_draw(model, number):
    views, maps = maker.drawn(model, maker.SENTENCES[number])
    one = FACTS["sets"][number]
    assert maker.same(one, json.loads(json.dumps(maker.one_set(model, number, maps)))) == []
    for key, part, form in (("file", views[:2], maker.SHEET), ("latents", views[2:], maker.SMALL)):
        assert maker.near(PARTS.PICTURES / one[key], part, form) < maker.NEAR
    stored = np.asarray(Image.open(PARTS.PICTURES / one["shades"]))[..., 3].astype(int)
    assert np.abs(stored - maker.shades(maps)).max() <= 2


def test_every_word_has_its_place():
    page = BeautifulSoup(html(live=False), "html.parser")
    about = json.loads(page.find("script").string)
    assert page.find(class_="stage-draw") is None and about["model"] is None
    given = {"word", "weight", "even", "step", "sentence"}
    for text in (*about["words"]["alts"], *(about["words"][k] for k in ("says", "plain", "lit"))):
        assert set(re.findall(r"\{(\w+)\}", text)) <= given, text
    assert set(re.findall(r"\{(\w+)\}", about["words"]["answer"])) == {"guess"}
    shown = page.find(class_="stage-all").get_text() + page.find("noscript").get_text()
    assert "{" not in shown and not any("{" in text for text in about["words"]["curves"].values())
    assert len(OWN["sets"]) == len(FACTS["sets"]) and set(about["words"]["curves"]) == {
        "object",
        "floor",
        "wall",
    }


def test_what_the_chips_say_is_so():
    """“floor” lights the floor and, in the end, all; “green” is nearly the same everywhere; two nouns light one thing."""
    early, late = FACTS["stops"].index(4), FACTS["stops"].index(19)

    def light(set_, name, at):
        return 255 - stored_shade(set_, place(set_, name), at)

    floor, green = light(0, "floor", early), light(0, "green", early)
    ball = floor[2:5, 3:5]  # its middle
    assert (
        floor[6:].mean() > 2 * floor[:2].mean() and floor[6:].mean() > 2 * ball.mean()
    )  # the wall is above, the floor below
    settled = light(0, "floor", late)
    assert settled[6:].mean() < 1.2 * settled[:2].mean()
    assert green.std() / green.mean() < 0.5 * floor.std() / floor.mean()
    tokens = FACTS["sets"][0]["tokens"]
    assert tokens[place(0, "green")]["weights"][early] < 0.4 * tokens[place(0, "floor")]["weights"][early]
    at = FACTS["stops"].index(8)
    whole = np.asarray(Image.open(PARTS.PICTURES / FACTS["sets"][3]["file"]).convert("RGB"), float) / 255
    size, pad = FACTS["sheet"]["side"] + 2 * FACTS["sheet"]["pad"], FACTS["sheet"]["pad"]
    picture = whole[pad : size - pad, at * size + pad : (at + 1) * size - pad]
    blue = np.argwhere(picture[..., 2] - picture[..., :2].max(2) > 0.2) / 12  # in places of the map
    (top, left), (foot, right) = blue.min(0), blue.max(0)
    peaks = [np.array(divmod(int(light(3, name, at).argmax()), 8)) + 0.5 for name in ("sphere", "cube")]
    assert all(left - 0.5 < x < right + 0.5 and top - 0.5 < y < foot + 0.5 for y, x in peaks)
    assert peaks[1][0] < (top + foot) / 2 < peaks[0][0]  # the cube's is above the middle, the sphere's below
