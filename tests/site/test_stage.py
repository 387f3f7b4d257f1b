"""The stages in Chromium: before a model is loaded and with one, by mouse, finger and keyboard, from a shared link; and
that their pictures and numbers are those of the package."""

import json
import re
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402
import stages  # noqa: E402

from diffusion_tutorial.still_life.judge import Judge  # noqa: E402

FACTS = playground_site.stage.facts()
WORDS = playground_site.stage.words()
STAGES = list(FACTS)
AXE = ROOT / "scripts/vendor/node_modules/axe-core/axe.min.js"
SHEET_LIMIT = 60_000  # bytes
ABOVE_LIMIT = 40_000  # of one that is on the first screen
WAIT = 60_000
SHIFT = """() => {
  window.shift = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((e) => e.hadRecentInput || (window.shift += e.value)))
    .observe({ type: "layout-shift", buffered: true });
}"""

pytestmark = pytest.mark.site
every_stage = pytest.mark.parametrize("name", STAGES)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages") / "site"
    playground_site.write(folder)
    address, faults, running = playground_site.serve(folder)
    yield address, faults
    running.shutdown()


@pytest.fixture
def open_stage(browser, server):
    """A function that opens a stage's page in a fresh browser profile; page.errors lists what went wrong."""
    contexts = []

    def go(name, hash="", width=1280, theme="light", **options):
        server[1].by_path, server[1].asked[:] = {}, []
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        if options.get("java_script_enabled", True):
            page.add_init_script(f"({SHIFT})()")
        page.goto(f"{server[0]}/stage-{name}-{theme}.html{hash}", wait_until="load")
        return page

    yield go
    for context in contexts:
        context.close()


def slider(page):
    return page.locator(".dt-stage input[type=range]")


def shown(page):
    """Which stop each view shows, from where its picture lies: -1 if it is between two."""
    return page.evaluate("""async () => {
      const about = JSON.parse(document.querySelector(".dt-stage script").textContent);
      await new Promise((done) => setTimeout(done, 50));
      return [...document.querySelectorAll(".stage-view img")].map((image, view) => {
        const box = image.parentElement.getBoundingClientRect(), here = image.getBoundingClientRect();
        const scale = box.width / about.sheet.side, size = about.sheet.side + 2 * about.sheet.pad;
        const x = ((box.left - here.left) / scale - about.sheet.pad) / size;
        const y = ((box.top - here.top) / scale - about.sheet.pad) / size;
        if (Math.abs(x - Math.round(x)) > 0.01 || Math.abs(y - Math.round(y)) > 0.01) return -1;
        return Math.round(y) * about.sheet.columns + Math.round(x) - view * about.stops.length;
      });
    }""")


def dots(page):
    """(x, y) of each dot of the curve, in the drawing's own units."""
    return page.evaluate("""() => [...document.querySelectorAll(".stage-curve circle")].map((dot) =>
      dot.style.visibility === "hidden" ? null : [Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy"))])""")


# --- what the page brings


@every_stage
def test_before_the_readers_word_no_model_is_fetched_and_little_else(open_stage, server, name):
    page = open_stage(name)
    page.wait_for_load_state("networkidle")
    asked = list(server[1].asked)
    assert not [path for path in asked if "/model/" in path or "element.mjs" in path]
    assert sum(path.endswith(".webp") for path in asked) == 1
    assert page.errors == [] and page.evaluate("shift") < 0.01


@every_stage
def test_sheets_are_light(name):
    files = [playground_site.stage.PICTURES / s["file"] for s in FACTS[name]["sets"]]
    limit = ABOVE_LIMIT if FACTS[name]["above"] else SHEET_LIMIT
    assert all(file.stat().st_size <= limit for file in files)


@every_stage
def test_without_javascript_a_still_stands(open_stage, name):
    page = open_stage(name, java_script_enabled=False)
    still = page.locator(".stage-still")
    assert still.locator("img").first.is_visible() and still.locator("figcaption").is_visible()
    assert (
        still.locator("img").first.evaluate("(image) => image.naturalWidth") == FACTS[name]["sheet"]["width"]
    )


# --- the control


@every_stage
def test_the_keyboard_moves_pictures_dot_and_address_together(open_stage, name):
    page, facts = open_stage(name), FACTS[name]
    slider(page).focus()
    frame = playground_site.stage.FRAME
    page.locator(".stage-reveal").click()
    for key in ("End", "ArrowLeft", "Home", "ArrowRight"):
        slider(page).press(key)
        at = int(slider(page).input_value())
        assert shown(page) == [at] * facts["views"]
        assert page.locator(".stage-value").inner_text() == facts["stops"][at]
        for series, dot in zip(facts["sets"][0]["curve"], dots(page), strict=True):
            if series[at] is None:
                assert dot is None
                continue
            x = frame["left"] + frame["width"] * at / (len(facts["stops"]) - 1)
            y = frame["top"] + frame["height"] * (1 - min(series[at] / facts["top"], 1))
            assert abs(dot[0] - x) < 0.1 and abs(dot[1] - y) < 0.1
    page.wait_for_function("location.hash.length > 1")
    of_set = f"&{facts['setKey']}={facts['sets'][0]['name']}" if len(facts["sets"]) > 1 else ""
    assert page.url.endswith(f"#stage={name}&{facts['key']}={facts['stops'][1]}{of_set}")
    said = page.locator(".stage-view img").evaluate_all("(images) => images.map((image) => image.alt)")
    assert all(said) and not re.search(r"[{}]", " ".join(said) + page.locator(".stage-says").inner_text())
    assert page.locator(".stage-spoken").inner_text() == page.locator(".stage-says").inner_text()
    assert page.errors == []


@every_stage
def test_a_drag_on_the_pictures_moves_them(open_stage, name):
    page = open_stage(name, width=390)
    box = page.locator(".stage-views").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = int(slider(page).input_value())
    there = -1 if before else 1
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + there * box["width"] / 4, y, steps=3)
    page.mouse.up()
    after = int(slider(page).input_value())
    assert (after - before) * there > 0 and shown(page) == [after] * FACTS[name]["views"]
    page.mouse.move(x, y)
    assert int(slider(page).input_value()) == after  # the button is up


@every_stage
def test_a_guess_is_marked_and_answered(open_stage, name):
    page, facts = open_stage(name), FACTS[name]
    mark = page.locator(".stage-mark")
    assert page.locator(".stage-data").is_hidden() and page.locator(".stage-answer").is_hidden()
    option = page.locator(".stage-option").nth(1)
    option.focus()
    option.press("Enter")
    assert option.get_attribute("aria-pressed") == "true" and page.locator(".stage-data").is_visible()
    answer = page.locator(".stage-answer").inner_text()
    guess = facts["guesses"][1]
    assert facts["stops"][guess] in answer and not re.search(r"[{}]", answer)
    at = facts["guesses"][1] / (len(facts["stops"]) - 1)
    x = float(re.search(r"translate\(([\d.]+)", mark.get_attribute("transform"))[1])
    assert abs(x - playground_site.stage.FRAME["left"] - at * playground_site.stage.FRAME["width"]) < 0.1
    page.wait_for_function("(guess) => location.hash.endsWith(`guess=${guess}`)", arg=facts["stops"][guess])
    assert answer in page.locator(".stage-spoken").inner_text()


@every_stage
def test_a_chip_sets_the_control_and_says_what_to_look_at(open_stage, name):
    page, facts = open_stage(name), FACTS[name]
    assert page.locator(".stage-chip").count() == 3
    for k, chip in enumerate(WORDS[name]["chips"]):
        page.locator(".stage-chip").nth(k).click()
        at = facts["stops"].index(chip["at"])
        page.wait_for_function("!document.querySelector('.stage-views[aria-busy]')")
        assert shown(page) == [at] * facts["views"]
        file = next(
            s["file"] for s in facts["sets"] if s["name"] == chip.get("set", facts["sets"][0]["name"])
        )
        assert page.locator(".stage-view img").first.get_attribute("src").endswith(file)
        look = page.locator(".stage-look").inner_text()
        assert look and not re.search(r"[{}]", look)
        pressed = page.locator(".stage-chip").evaluate_all("(chips) => chips.map((c) => c.ariaPressed)")
        assert pressed == [str(j == k).lower() for j in range(3)]
    assert page.errors == []


# --- the address


@every_stage
def test_a_shared_link_opens_its_state(open_stage, name):
    facts = FACTS[name]
    last, chosen, guess = len(facts["stops"]) - 2, facts["sets"][-1], facts["guesses"][-1]
    said = {
        facts["key"]: facts["stops"][last],
        facts["setKey"]: chosen["name"],
        "guess": facts["stops"][guess],
    }
    state = f"#stage={name}&{urlencode(said)}"
    page = open_stage(name, hash=state)
    page.wait_for_function(
        "(file) => document.querySelector('.stage-view img').src.endsWith(file)", arg=chosen["file"]
    )
    assert shown(page) == [last] * facts["views"] and page.locator(".stage-answer").is_visible()
    page.evaluate("(hash) => (location.hash = hash)", f"#stage={name}&{facts['key']}={facts['stops'][0]}")
    page.wait_for_function("document.querySelector('.dt-stage input[type=range]').value === '0'")


@pytest.mark.parametrize("bad", ["step=99", "step=-1&guess=7", "step=%00&set=x", "step=0x2&guess=%3Cb%3E"])
def test_a_link_with_values_that_are_none_opens_the_first_state(open_stage, bad):
    page = open_stage("first", hash=f"#stage=first&{bad}")
    assert shown(page) == [FACTS["first"]["first"]] * 2 and page.locator(".stage-answer").is_hidden()
    assert page.errors == []


def test_the_link_is_copied(open_stage):
    page = open_stage("first", permissions=["clipboard-read", "clipboard-write"])
    slider(page).press("End")
    page.locator(".stage-copy").click()
    page.wait_for_function("document.querySelector('.stage-copy').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert page.url.endswith("#stage=first&step=20")


# --- the model


@every_stage
def test_the_model_goes_on_with_the_stages_settings(open_stage, name):
    page, facts = open_stage(name), FACTS[name]
    at = facts["first"]
    page.locator(".stage-draw").click()
    page.wait_for_function(
        """() => /Done/.test(document.querySelector("diffusion-playground")
          ?.shadowRoot.querySelector(".bar .note")?.textContent)"""
    )
    labels = page.locator(".row figure canvas").evaluate_all("(all) => all.map((c) => c.ariaLabel)")
    live = facts["live"][at] | facts["sets"][0]["live"]
    wanted = [f"seed {live['seed']}"]
    wanted += [f"“{live['prompt']}”"] if "prompt" in live else []
    assert labels and all(text in label for label in labels for text in wanted), labels
    assert page.errors == []


def test_the_sentence_is_the_live_pictures(open_stage):
    page = open_stage("first")
    for word, value in (("size", ""), ("material", ""), ("colour", "orange"), ("shape", "torus")):
        page.locator(f".stage-word[name={word}]").select_option(value)
    assert page.locator(".stage-article").inner_text() == "an"
    page.locator(".stage-draw").click()
    page.locator("canvas[aria-label*='an orange torus on a green floor in front of a white wall']").wait_for()


def test_where_the_program_does_not_arrive_it_says_so(open_stage, server):
    page = open_stage("first")
    server[1].by_path = {"captions.mjs": "missing"}
    page.locator(".stage-draw").click()
    page.wait_for_function("/could not/.test(document.querySelector('.stage-promise').textContent)")
    assert page.locator(".stage-draw").is_enabled()


# --- for everyone


@every_stage
@pytest.mark.parametrize("width,theme", [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_after_use_and_targets_are_large(open_stage, name, width, theme):
    page = open_stage(name, width=width, theme=theme, color_scheme=theme, reduced_motion="reduce")
    page.locator(".stage-option").first.click()
    page.locator(".stage-chip").first.click()
    small = page.locator(".dt-stage").evaluate(
        """(stage) => [...stage.querySelectorAll("button, select, input")].filter((e) => e.offsetParent)
          .map((e) => [e.className || e.type, e.offsetWidth, e.offsetHeight]).filter(([, w, h]) => w < 44 || h < 44)"""
    )
    assert small == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run('.dt-stage', { resultTypes: ['violations'] })")["violations"]
    assert [f"{fault['id']}: {node['html'][:160]}" for fault in found for node in fault["nodes"]] == []


# --- that they are current


@every_stage
def test_numbers_and_settings_are_those_of_the_package(name):
    """What scripts/stages.py would write; it was run after the last change."""
    stage = stages.STAGES[name]()
    assert json.loads(json.dumps(stages.entry(name, stage, FACTS[name]["views"]))) == FACTS[name]


def test_every_word_has_its_place():
    """No sentence of the catalogue asks for a number that is not there, and every stage has all its parts."""
    assert list(FACTS) == list(stages.STAGES) == [name for name in WORDS if name not in ("shared", "still-life")]
    for name, facts in FACTS.items():
        page = BeautifulSoup(playground_site.stage.element(name, "static", None), "html.parser")
        about = json.loads(page.find("script").string)
        assert page.find(class_="stage-draw") is None and about["model"] is None
        row = next(row for row in facts["sets"][0]["rows"] if "plain" not in row)
        for text in (*about["words"]["alts"], about["words"]["says"], about["words"]["plain"]):
            assert set(re.findall(r"\{(\w+)\}", text)) <= set(row), text
        assert set(re.findall(r"\{(\w+)\}", about["words"]["answer"])) <= {"guess"}
        assert "{" not in page.find(class_="stage-all").get_text() + page.find("noscript").get_text()
        assert all(len(s["rows"]) == len(facts["stops"]) for s in facts["sets"])
        assert len(facts["guesses"]) >= 3 and facts["preset"] in playground_site.playground.stills()


def pictures(name, chosen=0):
    """The pictures of a sheet as the page shows them: views of stops of (3, 64, 64) in [0, 1]."""
    stage = stages.STAGES[name]()
    found = stages.cells_of(stages.file_of(name, stage.sets[chosen]), stage, FACTS[name]["views"])
    small = [[torch.tensor(cell).permute(2, 0, 1).float() for cell in view] for view in found]
    return [torch.nn.functional.interpolate(torch.stack(view), (64, 64), mode="area") for view in small]


def apart(a, b):
    return float((a - b).square().mean().sqrt())


def test_the_first_pages_run_is_the_models():
    """The run, drawn anew."""
    from diffusion_tutorial import load

    stage = stages.STAGES["first"]()
    places = range(len(stage.stops))
    drawn = stage.sets[0].draw(load("still-life"), places)
    assert stages.distance(stages.file_of("first", stage.sets[0]), drawn, stage, places) < stages.NEAR


def test_the_first_pages_chips_show_what_they_say():
    holds, expects = pictures("first")
    judge, end = Judge.load(), holds[-1]
    read = {"holds": judge.read(holds), "expects": judge.read(expects)}
    shape, colour, floor = (read["holds"][key][-1] for key in ("shape", "colour", "floor"))
    words = judge.read(end[None]).words
    assert (words["shape"][shape], words["colour"][colour], words["floor"][floor]) == (
        "sphere",
        "red",
        "green",
    )
    # Step 0: noise on the left; on the right a ball on green.
    assert apart(holds[0], end) > 0.25
    assert read["expects"]["shape"][0] == shape and read["expects"]["floor"][0] == floor
    # Step 8: what it expects is nearly final, what it holds is not.
    assert apart(expects[8], end) < 0.05 and apart(holds[8], end) > 4 * apart(expects[8], end)
    # Step 15: the shape is there, and the floor in front is not even yet.
    uneven = [float(image[:, 50:].std((1, 2)).mean()) for image in holds]
    assert read["holds"]["shape"][15] == shape and uneven[15] > 5 * uneven[20]


def test_few_steps_are_the_models():
    """A start at few steps, drawn anew."""
    from diffusion_tutorial import load

    stage = stages.STAGES["few-steps"]()
    places = [k for k, n in enumerate(stages.COUNTS) if n <= 5]
    drawn = stage.sets[2].draw(load("still-life"), places)
    path = stages.file_of("few-steps", stage.sets[2])
    assert stages.distance(path, drawn, stage, places) < stages.NEAR
    other = stages.file_of("few-steps", stage.sets[1])
    assert stages.distance(other, drawn, stage, places) > stages.NEAR  # another start would be seen


def test_the_chips_of_few_steps_show_what_they_say():
    judge, at = Judge.load(), {n: k for k, n in enumerate(stages.COUNTS)}
    (ddim, ddpm), (ddim_2, _) = pictures("few-steps", 0), pictures("few-steps", 2)
    one, other, third = (judge.read(images) for images in (ddim, ddpm, ddim_2))
    last = at[100]
    names = ("shape", "colour", "floor", "wall")
    # Start 0, 10 steps: DDIM has its scene. DDPM's ball is orange, and has another colour at 25, 50 and 100.
    assert all(one[name][k] == one[name][last] for name in names for k in range(at[10], last))
    assert other.words["colour"][other["colour"][at[10]]] == "orange"
    assert len(set(other["colour"][at[10] :].tolist())) == 4
    # Start 0, 100 steps: DDIM is where it was at 10.
    assert apart(ddim[at[10]], ddim[last]) < 0.2 * apart(ddpm[at[10]], ddpm[last])
    # Start 2: DDIM at 5 steps is another scene than at 10, and from there it stays.
    assert any(third[name][at[5]] != third[name][last] for name in ("shape", "colour"))
    assert all(third[name][k] == third[name][last] for name in names for k in range(at[10], last))


def test_guidance_is_the_models():
    """Two scales of a start, drawn anew."""
    from diffusion_tutorial import load

    stage = stages.STAGES["guidance"]()
    places = [stages.WISHED_SCALES.index(s) for s in (2, 32)]
    drawn = stage.sets[0].draw(load("still-life"), places)
    path = stages.file_of("guidance", stage.sets[0])
    assert stages.distance(path, drawn, stage, places) < stages.NEAR
    assert stages.distance(path, [drawn[0][::-1]], stage, places) > stages.NEAR


def test_the_chips_of_guidance_show_what_they_say():
    judge, at = Judge.load(), {s: k for k, s in enumerate(stages.WISHED_SCALES)}
    (images,) = pictures("guidance", 0)
    read = judge.read(images)

    def seen(name, scale):
        return read.words[name][read[name][at[scale]]]

    # Scale 0: no word is heard.
    assert seen("shape", 0) != "sphere" and seen("colour", 0) != "red"
    # Scale 2: both are, and the scene is that of scale 8.
    assert (seen("shape", 2), seen("colour", 2)) == ("sphere", "red")
    names = ("shape", "colour", "size", "material", "floor", "wall")
    assert all(seen(name, 2) == seen(name, s) for name in names for s in (3, 4, 6, 8))
    # Scale 32: floor and wall have other colours, which the prompt does not name.
    assert seen("floor", 32) == "red" != seen("floor", 2) and seen("wall", 32) == "blue" != seen("wall", 2)
