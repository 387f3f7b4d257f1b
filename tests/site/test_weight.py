"""What each page weighs on a first visit to a phone, through the compressing server, against the bars of the design."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from pages_bench import BARS, pages, weigh  # noqa: E402

# Pages that do not meet a bar yet: {page: {kind: kB that it may weigh}}. This list can only become shorter.
EXCEPTIONS: dict[str, dict[str, int]] = {}

pytestmark = pytest.mark.site


@pytest.mark.parametrize("page", pages())
def test_page_is_light(browser, address, page):
    found = weigh(browser, f"{address}/{page}.html")
    allowed = EXCEPTIONS.get(page, {})
    over = {kind: round(found[kind], 1) for kind, bar in BARS.items() if found[kind] > allowed.get(kind, bar)}
    assert not over, f"{page} weighs too much, in kB: {over}"
    idle = [kind for kind in allowed if found[kind] <= BARS[kind]]
    assert not idle, f"{page} meets the bars of {idle}: take them out of EXCEPTIONS"


def test_exceptions_name_pages_and_bars_and_ask_for_more_than_the_bar():
    assert set(EXCEPTIONS) <= set(pages())
    for allowed in EXCEPTIONS.values():
        assert all(kB > BARS[kind] for kind, kB in allowed.items())


BURDENS = re.compile(
    r"(?:require|embed-amd|fontawesome|mathjax|bootstrap|searchindex)[\w.-]*\.js|widget-state"
    r"|data:image/(?:png|webp|jpeg|gif)"
)


@pytest.mark.parametrize("page", pages())
def test_page_carries_nothing_that_it_does_not_show(html, page):
    """The ways in which weight came before: a widget manager, icons as a font, mathematics as a program, base64."""
    head_and_all = (html / f"{page}.html").read_text(encoding="utf-8")
    assert [found[0] for found in BURDENS.finditer(head_and_all)] == []
