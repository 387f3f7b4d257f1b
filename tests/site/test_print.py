"""Pages on paper: proofs and answers open, code folded, and few sheets."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from pages_bench import pages  # noqa: E402

# A4 sheets. The longest page once took 47: half of that is what any page may take.
SHEETS = 23
REFERENCE = {"book/api": 70}  # nobody prints it to read it
SHOWN = """() => {
  const seen = (element) => element.checkVisibility() && element.getBoundingClientRect().height > 0;
  const folds = [...document.querySelectorAll("article details.dt-fold")];
  const codes = [...document.querySelectorAll("article details.dt-code .cell_input")];
  return {
    folds: folds.length,
    closed: folds.filter((fold) => !seen(fold.lastElementChild)).map((fold) => fold.textContent.trim().slice(0, 60)),
    code: codes.length,
    open: codes.filter(seen).map((code) => code.textContent.trim().slice(0, 60)),
  };
}"""

pytestmark = pytest.mark.site
every_page = pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] if page in REFERENCE else []) for page in pages()]
)


@pytest.fixture
def opened(browser, address):
    window = browser.new_page()
    yield lambda page: (window.goto(f"{address}/{page}.html", wait_until="load"), window)[1]
    window.close()


@every_page
def test_a_page_takes_few_sheets(opened, page):
    made = opened(page).pdf(format="A4")
    sheets = len(re.findall(rb"/Type\s*/Page\b", made))
    assert 0 < sheets <= REFERENCE.get(page, SHEETS)


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("notebooks/")])
def test_on_paper_proofs_and_answers_are_open_and_code_is_folded(opened, page):
    window = opened(page)
    window.emulate_media(media="print")
    found = window.evaluate(SHOWN)
    assert found["folds"] >= 10 and found["closed"] == []
    assert found["code"] > 0 and found["open"] == []
