"""No displayed formula is cut: on a desktop all of it is seen, on a phone it breaks or shows that it scrolls."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from pages_bench import pages  # noqa: E402

MEASURE = """async () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  await document.fonts.ready;
  return [...document.querySelectorAll("div.math")].map((math) => {
    const formula = math.querySelector(".formula");
    const frame = formula.getBoundingClientRect();
    const parts = [...formula.querySelectorAll(".katex-html .katex-base")].map((part) => part.getBoundingClientRect());
    const number = math.querySelector(".eqno")?.getBoundingClientRect();
    const style = getComputedStyle(formula);
    return {
      name: formula.querySelector("math")?.textContent.slice(0, 60) ?? "",
      parts: parts.length,
      wide: formula.scrollWidth - formula.clientWidth,
      out: Math.max(0, ...parts.map((part) => Math.max(part.right - frame.right, frame.left - part.left))),
      under: number ? Math.max(0, ...parts.map((part) => (part.bottom > number.top && part.top < number.bottom
        ? part.right - number.left : 0))) : 0,
      clipped: formula.scrollHeight - formula.clientHeight,
      scrolls: style.overflowX === "auto",
      shades: style.backgroundAttachment.split(",").filter((word) => word.trim() === "scroll").length,
    };
  });
}"""

pytestmark = pytest.mark.site


@pytest.fixture(scope="module", params=[1280, 390])
def width(request):
    return request.param


@pytest.mark.parametrize("page", pages())
def test_every_displayed_formula_is_whole_or_shows_that_it_scrolls(browser, address, page, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    try:
        opened = context.new_page()
        opened.goto(f"{address}/{page}.html", wait_until="load")
        found = opened.evaluate(MEASURE)
    finally:
        context.close()
    for formula in found:
        assert formula["parts"], f"nothing drawn: {formula}"
        assert formula["clipped"] <= 1, f"cut above or below: {formula}"
        if width >= 1280:
            assert formula["wide"] <= 1 and formula["out"] <= 1, f"cut at {width}: {formula}"
            assert formula["under"] <= 0, f"runs under its number at {width}: {formula}"
        elif formula["wide"] > 1:
            assert formula["scrolls"] and formula["shades"] >= 2, f"wide without a cue at {width}: {formula}"


def test_the_measure_sees_a_cut_formula(browser):
    """A formula that is too wide, in a frame that hides what does not fit."""
    page = browser.new_page()
    page.set_content(
        '<div class="math"><div class="formula" style="width: 50px; overflow: hidden; white-space: nowrap">'
        '<span class="katex-html"><span class="katex-base">a formula of some length</span></span></div></div>'
    )
    (found,) = page.evaluate(MEASURE)
    page.close()
    assert found["wide"] > 1 and found["out"] > 1 and not found["scrolls"]
