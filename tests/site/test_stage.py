"""The stages in Chromium: before a model is loaded and with one, by mouse, finger and keyboard, from a shared link; and
that their pictures and numbers are those of the package."""

import ast
import inspect
import json
import re
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from bs4 import BeautifulSoup
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402
import stages  # noqa: E402

from diffusion_tutorial import TextToImage  # noqa: E402
from diffusion_tutorial.mixtures import OUTSIDE  # noqa: E402
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
pictured = pytest.mark.parametrize("name", [name for name in STAGES if FACTS[name]["views"]])
drawn = pytest.mark.parametrize("name", [name for name in STAGES if FACTS[name]["plane"]])


def guess_of(facts, k):
    """How a guess stands in the address."""
    stop = facts["guesses"][k]
    return str(k + 1) if stop is None else facts["stops"][stop]


def guess_said(name, k):
    """The words of a guess."""
    labels = WORDS[name]["guess"].get("labels")
    return labels[k] if labels else FACTS[name]["stops"][FACTS[name]["guesses"][k]]


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
    assert sum(path.endswith(".webp") for path in asked) == (1 if FACTS[name]["views"] else 0)
    assert page.errors == [] and page.evaluate("shift") < 0.01


@every_stage
def test_sheets_are_light(name):
    files = [playground_site.stage.PICTURES / s["file"] for s in FACTS[name]["sets"] if s["file"]]
    limit = ABOVE_LIMIT if FACTS[name]["above"] else SHEET_LIMIT
    assert all(file.stat().st_size <= limit for file in files)


@pictured
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
        assert page.locator(".stage-value").inner_text() == WORDS[name].get("stops", facts["stops"])[at]
        for series, dot in zip(facts["sets"][0]["curve"], dots(page), strict=True):
            if series[at] is None:
                assert dot is None
                continue
            x = frame["left"] + frame["width"] * at / (len(facts["stops"]) - 1)
            y = frame["top"] + frame["height"] * (1 - min(series[at] / facts["top"], 1))
            assert abs(dot[0] - x) < 0.1 and abs(dot[1] - y) < 0.1
    of_set = f"&{facts['setKey']}={facts['sets'][0]['name']}" if len(facts["sets"]) > 1 else ""
    address = f"#stage={name}&{facts['key']}={facts['stops'][1]}{of_set}"
    page.wait_for_function("(address) => location.hash === address", arg=address)
    said = page.locator(".stage-view img").evaluate_all("(images) => images.map((image) => image.alt)")
    assert all(said) and not re.search(r"[{}]", " ".join(said) + page.locator(".stage-says").inner_text())
    assert page.locator(".stage-spoken").inner_text() == page.locator(".stage-says").inner_text()
    assert page.errors == []


@pictured
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
    assert guess_said(name, 1) in answer and not re.search(r"[{}]", answer)
    stop = facts["guesses"][1]
    if stop is None:
        assert mark.evaluate("(mark) => mark.style.visibility") == "hidden"
    else:
        at = stop / (len(facts["stops"]) - 1)
        x = float(re.search(r"translate\(([\d.]+)", mark.get_attribute("transform"))[1])
        assert abs(x - playground_site.stage.FRAME["left"] - at * playground_site.stage.FRAME["width"]) < 0.1
    page.wait_for_function("(guess) => location.hash.endsWith(`guess=${guess}`)", arg=guess_of(facts, 1))
    assert answer in page.locator(".stage-spoken").inner_text()


@every_stage
def test_a_chip_sets_the_control_and_says_what_to_look_at(open_stage, name):
    page, facts = open_stage(name), FACTS[name]
    assert page.locator(".stage-chip").count() == 3
    for k, chip in enumerate(WORDS[name]["chips"]):
        page.locator(".stage-chip").nth(k).click()
        at = facts["stops"].index(chip["at"])
        assert slider(page).input_value() == str(at)
        page.wait_for_function("!document.querySelector('.stage-views[aria-busy=true]')")
        assert shown(page) == [at] * facts["views"]
        file = next(
            s["file"] for s in facts["sets"] if s["name"] == chip.get("set", facts["sets"][0]["name"])
        )
        if file:
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
    last, chosen = len(facts["stops"]) - 2, facts["sets"][-1]
    said = {
        facts["key"]: facts["stops"][last],
        facts["setKey"]: chosen["name"],
        "guess": guess_of(facts, len(facts["guesses"]) - 1),
    }
    state = f"#stage={name}&{urlencode(said)}"
    page = open_stage(name, hash=state)
    if chosen["file"]:
        page.wait_for_function(
            "(file) => document.querySelector('.stage-view img').src.endsWith(file)", arg=chosen["file"]
        )
    assert slider(page).input_value() == str(last)
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


@every_stage
def test_the_picture_is_saved(open_stage, name):
    page = open_stage(name, accept_downloads=True)
    if FACTS[name]["plane"]:
        plane_of(page)
    with page.expect_download() as saved:
        page.locator(".stage-save").click()
    at = FACTS[name]["stops"][FACTS[name]["first"]]
    assert saved.value.suggested_filename.startswith(f"stage-{name}-{FACTS[name]['key']}-{at}")
    picture = Image.open(saved.value.path()).convert("RGB")
    assert picture.width >= picture.height >= 100 and len(picture.getcolors(1 << 20)) > 20
    assert page.errors == []


@every_stage
def test_the_cell_says_what_the_stage_shows(open_stage, name):
    """It parses, follows the control, and its keywords are those of `sample`."""
    facts = FACTS[name]
    if not facts["code"]:
        return
    page = open_stage(name, permissions=["clipboard-read", "clipboard-write"])
    page.locator(".stage-notebook summary").click()
    cells = []
    for key in ("Home", "End"):
        slider(page).press(key)
        cells.append(page.locator(".stage-notebook code").inner_text())
    live = [facts["live"][at] | facts["sets"][0]["live"] for at in (0, -1)]
    for cell, settings in zip(cells, live, strict=True):
        calls = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
        sample = next(call for call in calls if getattr(call.func, "attr", "") == "sample")
        said = {k.arg: ast.literal_eval(k.value) for k in sample.keywords}
        assert set(said) <= set(inspect.signature(TextToImage.sample).parameters)
        assert ast.literal_eval(sample.args[0]) == settings["prompt"] and said["seed"] == settings["seed"]
        assert max(map(len, cell.splitlines())) <= 76
    assert cells[0] != cells[1] or facts["live"][0] == facts["live"][-1]
    page.locator(".stage-copy-cell").click()
    page.wait_for_function("document.querySelector('.stage-copy-cell').textContent === 'Copied'")
    assert page.evaluate("navigator.clipboard.readText()") == cells[1]


# --- the plane


def plane_of(page):
    """The figure, once it is drawn."""
    page.wait_for_function("document.querySelector('.stage-plane > div').dataset.points")
    return page.locator(".stage-plane > div")


@drawn
def test_the_figure_is_drawn_and_follows_the_control(open_stage, name):
    page = open_stage(name)
    figure = plane_of(page)
    slider(page).press("Home")
    page.wait_for_timeout(500)
    before = figure.get_attribute("data-points")
    slider(page).press("ArrowRight")
    page.wait_for_function(
        "(before) => document.querySelector('.stage-plane > div').dataset.points !== before", arg=before
    )
    page.wait_for_timeout(100)  # the next frame paints
    colours = figure.locator("canvas").evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let k = 0; k < data.length; k += 4) seen.add((data[k] << 16) | (data[k + 1] << 8) | data[k + 2]);
          return seen.size;
        }"""
    )
    assert colours > 20 and page.errors == [] and page.evaluate("shift") < 0.01


def board_points(text):
    """The first point of each rule, as the figure holds it."""
    return torch.tensor([[float(v) for v in point.split(",")] for point in text.split()]).double()


def test_the_boards_points_are_the_packages(open_stage):
    page = open_stage("negative-prompts", hash="#stage=negative-prompts&scale=2&negative=a-red-sphere")
    found = board_points(plane_of(page).get_attribute("data-points"))
    rules = [make(2.0) for make in stages.RULES]
    board, seed = stages.Board(), stages.BOARD_SEED
    wanted = [board.sample(rule, "sphere", "red sphere", 1, seed, stages.STEPS)[0] for rule in rules]
    assert (found - torch.stack(wanted)).abs().max() < 1e-3


def test_the_negative_is_dragged_and_moved_by_the_keyboard(open_stage):
    page = open_stage("negative-prompts", width=390)
    figure = plane_of(page)
    before = figure.get_attribute("data-points")
    figure.focus()
    for _ in range(3):
        figure.press("ArrowUp")
    page.wait_for_function("location.hash.includes('place=-1.5%2C0.75')")  # to the red sphere's own place
    assert page.locator(".stage-set").nth(1).get_attribute("aria-pressed") == "true"
    page.wait_for_function(
        "(before) => document.querySelector('.stage-plane > div').dataset.points !== before", arg=before
    )
    box = figure.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + box["width"] / 12.8 * 0.75, steps=3)
    page.mouse.up()
    page.wait_for_function("/place=0(\\.05)?%2C-0\\.[78]/.test(location.hash)")  # the cubes'
    assert page.locator(".stage-set").nth(2).get_attribute("aria-pressed") == "true"
    page.mouse.move(x, y)
    page.locator(".stage-set").first.click()
    page.wait_for_function("!location.hash.includes('place')")
    assert page.errors == []


# --- the model


@pytest.mark.parametrize("name", [name for name in STAGES if FACTS[name]["preset"]])
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
    assert json.loads(json.dumps(stages.entry(name, stage))) == FACTS[name]


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
        assert len(facts["guesses"]) >= 3
        assert facts["preset"] is None or facts["preset"] in playground_site.playground.stills()
        assert len(WORDS[name].get("views", ())) == facts["views"]
        assert len(WORDS[name].get("sets", [0])) == len(facts["sets"])


def pictures(name, chosen=0):
    """The pictures of a sheet as the page shows them: views of stops of (3, 64, 64) in [0, 1]."""
    return [torch.nn.functional.interpolate(view, (64, 64), mode="area") for view in cells(name, chosen)]


def cells(name, chosen=0):
    """Views of stops of (3, side, side) in [0, 1]."""
    stage = stages.STAGES[name]()
    found = stages.cells_of(stages.file_of(name, stage.sets[chosen]), stage, FACTS[name]["views"])
    return [torch.stack([torch.tensor(cell).permute(2, 0, 1).float() for cell in view]) for view in found]


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
    last = at[1000]
    names = ("shape", "colour", "floor", "wall")
    # Start 0, 10 steps: DDIM has its scene. DDPM's ball is orange.
    assert all(one[name][k] == one[name][last] for name in names for k in range(at[10], last))
    assert other.words["colour"][other["colour"][at[10]]] == "orange"
    # Start 0, 1000 steps: DDIM is where it was at 10, and DDPM has had five colours.
    assert len(set(other["colour"][at[10] :].tolist())) == 5
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


def test_negative_prompts_are_the_models():
    """One scale of one negative, drawn anew."""
    from diffusion_tutorial import load

    stage = stages.STAGES["negative-prompts"]()
    places = [stages.PUSHES.index(1)]
    drawn = stage.sets[1].draw(load("still-life"), places)
    path = stages.file_of("negative-prompts", stage.sets[1])
    assert stages.distance(path, drawn, stage, places) < stages.NEAR
    assert stages.distance(path, [drawn[1], drawn[0], drawn[2]], stage, places) > stages.NEAR


def four(name, chosen, view, at):
    """The four starts of a cell: (4, 3, 64, 64)."""
    whole = cells(name, chosen)[view][at]
    return torch.stack([whole[:, y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64)])


def test_the_chips_of_negative_prompts_show_what_they_say():
    facts, at = FACTS["negative-prompts"], stages.PUSHES.index
    board, names = stages.Board(), [s["name"] for s in FACTS["negative-prompts"]["sets"]]

    def where(rule, negative, scale):
        return board.sample(stages.RULES[rule](scale), "sphere", negative, 500, 0, stages.STEPS)

    # “red”, 2: no rule leaves a tenth of the points on what was asked for; they lie right of the board.
    assert all(curve[at(2)] < 0.1 for curve in facts["sets"][0]["curve"])
    for rule in range(3):
        points = where(rule, "red", 2.0)
        assert board.read(points)[OUTSIDE] > 0.8 and points[:, 0].median() > board.centres[:, 0].max() + 1
    # “a red sphere”, 1: under three predictions half of the points end in the cubes' row, and a picture is a ring.
    low = [(where(rule, "red sphere", 1.0)[:, 1] < 0).double().mean() for rule in range(3)]
    assert low[1] > 0.4 and max(low[0], low[2]) < 0.05
    judge, shapes = Judge.load(), []
    for view in range(3):
        read = judge.read(four("negative-prompts", names.index("a-red-sphere"), view, at(1)))
        shapes.append([read.words["shape"][k] for k in read["shape"].tolist()])
    assert shapes[1].count("torus") == 1 and not {"torus"} & {*shapes[0], *shapes[2]}
    # “a cube”, 4: Perp-Neg's points stay, the others leave.
    used, three, perpendicular = (curve[at(4)] for curve in facts["sets"][names.index("a-cube")]["curve"])
    assert perpendicular > 0.9 and max(used, three) < 0.1


def test_the_solvers_ways_are_the_packages(open_stage):
    """Where the page's points end is where the package's do, by each sampler."""
    facts = FACTS["solvers"]
    starts = torch.tensor(facts["plane"]["starts"], dtype=torch.float64).reshape(-1, 2)
    page = open_stage("solvers")
    for k, chosen in enumerate(facts["sets"]):
        page.locator(".stage-set").nth(k).click()
        page.wait_for_timeout(500)
        found = torch.tensor([float(v) for v in plane_of(page).get_attribute("data-points").split(",")])
        levels = stages.even_log_snr(*stages.LEVELS, int(facts["stops"][facts["first"]]))
        wanted = stages.solve(stages.tiny.ring(), starts, levels, chosen["sampler"])
        assert (found.reshape(-1, 2) - wanted).abs().max() < 1e-4


def test_the_chips_of_solvers_show_what_they_say():
    facts = FACTS["solvers"]
    starts = torch.tensor(facts["plane"]["starts"], dtype=torch.float64).reshape(-1, 2)
    blobs = stages.tiny.ring()
    exact = stages.exact_flow(blobs, starts, *stages.LEVELS)

    def ends(sampler, n):
        return stages.solve(blobs, starts, stages.even_log_snr(*stages.LEVELS, n), sampler)

    def off(sampler, n):
        return (ends(sampler, n) - exact).norm(dim=1)

    pixel = 2 * facts["plane"]["half"] / 320  # of the figure, in units of the plane
    # DDIM, 4: most ends miss the dots, which are four pixels in radius.
    assert off("ddim", 4).median() > 4 * pixel
    # Heun, 2: worse than DDIM, and past the blobs.
    assert off("heun", 2).mean() > off("ddim", 2).mean()
    assert (ends("heun", 2).norm(dim=1) - exact.norm(dim=1)).mean() > 0.3
    # 2M, 16: next to nothing is off by more than a pixel or two.
    assert off("dpm++2m", 16).median() < 2 * pixel


def test_schedules_and_flows_are_the_models():
    """Some of their pictures, drawn anew."""
    from diffusion_tutorial import load

    for name, places in (("schedules", [0, 3]), ("flows", [0, 1, 2])):
        stage = stages.STAGES[name]()
        drawn = stage.sets[0].draw(load("still-life"), places)
        assert stages.distance(stages.file_of(name, stage.sets[0]), drawn, stage, places) < stages.NEAR
        assert (
            stages.distance(stages.file_of(name, stage.sets[0]), [v[::-1] for v in drawn], stage, places)
            > stages.NEAR
        )


def nine(at):
    """The nine starts of the schedules' picture: (9, 3, 64, 64)."""
    (view,) = cells("schedules")
    return torch.stack([view[at][:, y : y + 64, x : x + 64] for y in (0, 64, 128) for x in (0, 64, 128)])


def test_the_chips_of_schedules_show_what_they_say():
    judge, at = Judge.load(), list(stages.BEGINNINGS).index
    white = {}
    for name in ("leading", "trailing-eta", "trace"):
        read = judge.read(nine(at(name)))
        white[name] = sum(read.words["wall"][k] == "white" for k in read["wall"].tolist())
    assert white["leading"] == white["trailing-eta"] == 0 < white["trace"]
    shares = FACTS["schedules"]["sets"][0]["curve"][0]
    assert shares[at("leading")] < 0.02 < shares[at("trailing-eta")] < 0.25 < shares[at("trace")]


def test_the_chips_of_flows_show_what_they_say():
    at = stages.EVALUATIONS.index
    zero, one = pictures("flows", 0), pictures("flows", 1)
    # One: each is nearer to its own last picture than the next, the student, the flow, the classic.
    classic, flow, student = (apart(view[at(1)], view[at(20)]) for view in zero)
    assert flow > 1.5 * student and classic > 1.5 * flow
    # Four: the flow's is near, the classic's is not.
    classic, flow, _ = (apart(view[at(4)], view[at(20)]) for view in one)
    assert classic > 2 * flow
    # Twenty: of start 1 all three draw the same scene.
    judge = Judge.load()
    scenes = []
    for view in one:
        read = judge.read(view[at(20)][None])
        scenes.append(tuple(read.words[name][read[name][0]] for name in read.words))
    assert len(set(scenes)) == 1


def test_the_readmes_film_is_light_and_moves():
    """scripts/film.py takes it in the built site: a frame a step, and one with the curve."""
    film = Image.open(ROOT / "book" / "images" / "stage.webp")
    assert (ROOT / "book" / "images" / "stage.webp").stat().st_size <= 1_000_000
    assert film.n_frames == len(FACTS["first"]["stops"]) + 1
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.index("book/images/stage.webp") < readme.index("make book")
