"""The table of systems in Chromium: sorting, filters, the keyboard, and reading without a script."""

from pathlib import Path

import pytest

from diffusion_tutorial import landscape
from diffusion_tutorial.landscape import table

SCRIPT = Path(__file__).resolve().parents[2] / "book/_static/landscape.mjs"
AT = "http://landscape.test/"


@pytest.fixture(scope="module")
def rows():
    return table.rows(landscape.load(), landscape.counted(), landscape.boards().values())


def opened(browser, rows, **settings):
    page = browser.new_page(**settings)
    body = f'<!doctype html><html lang="en"><title>t</title>{table.as_html(rows)}'
    body += '<script type="module" src="/landscape.mjs"></script></html>'
    page.route(AT + "**", lambda route: route.fulfill(body=body, content_type="text/html; charset=utf-8"))
    page.route(
        AT + "landscape.mjs",
        lambda route: route.fulfill(body=SCRIPT.read_text("utf-8"), content_type="text/javascript"),
    )
    page.goto(AT)
    return page


@pytest.fixture
def page(browser, rows):
    page = opened(browser, rows)
    page.wait_for_selector(".dt-landscape form")
    yield page
    page.close()


def names(page):
    return page.locator("tbody tr:visible th").all_inner_texts()


def test_reads_without_a_script(browser, rows):
    page = opened(browser, rows, java_script_enabled=False)
    assert names(page) == [row["name"] for row in rows]
    page.close()


def test_filters_keep_the_rows_that_match(page, rows):
    page.select_option("select[name=family]", "MMDiT")
    assert names(page) == [row["name"] for row in rows if row["family"] == "MMDiT"]
    page.fill("input[name=text]", "flux")
    assert names(page) == [r["name"] for r in rows if r["family"] == "MMDiT" and "FLUX" in r["name"]]
    assert page.inner_text("output") == f"{len(names(page))} of {len(rows)} systems"
    page.click("button[type=reset]")
    page.wait_for_function(f"document.querySelector('output').textContent.startsWith('{len(rows)} ')")
    assert len(names(page)) == len(rows)


def test_the_licence_class_filters(page, rows):
    page.select_option("select[name=commercial]", "capped")
    capped = [row["name"] for row in rows if row["commercial"]["value"] == "capped"]
    assert capped and names(page) == capped


def test_a_memory_limit_drops_what_is_not_fully_counted(page, rows):
    page.select_option("select[name=memory]", "8")
    fit = [r for r in rows if r["computed"] and not r["computed"]["missing"]]
    assert names(page) == [r["name"] for r in fit if r["computed"]["bytes_bf16"] <= 8e9]


def test_the_keyboard_sorts_by_number_with_the_uncounted_last(page, rows):
    button = page.locator("thead button", has_text="denoiser, B")
    counted = sorted(r["computed"]["denoiser_parameters"] for r in rows if r["computed"])
    for direction in ("ascending", "descending"):
        button.focus()
        page.keyboard.press("Enter")
        assert page.locator("th[data-column=denoiser-b]").get_attribute("aria-sort") == direction
        order = {r["name"]: r["computed"] and r["computed"]["denoiser_parameters"] for r in rows}
        shown = [order[name] for name in names(page)]
        expected = counted if direction == "ascending" else counted[::-1]
        assert shown[: len(counted)] == pytest.approx(expected, rel=1e-5)
        assert all(value is None for value in shown[len(counted) :])


def test_a_name_opens_its_sources(page):
    page.click("tbody a[href='#source-sdxl']")
    assert page.locator("#source-sdxl dl").is_visible()
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_the_first_columns_fit_without_a_scroller_and_a_box_shows_the_rest(browser, rows):
    page = opened(browser, rows, viewport={"width": 690, "height": 900})
    page.wait_for_selector(".dt-landscape form")
    heads = page.locator("thead th:visible button")
    assert heads.all_inner_texts() == list(table.FIRST)
    measure = "(e) => [e.scrollWidth - e.clientWidth, e.scrollHeight - e.clientHeight]"
    scroller = page.locator(".dt-scroll")
    assert scroller.evaluate(measure) == [0, 0]
    page.get_by_label(f"all {len(table.columns(rows[0]))} columns").check()
    assert heads.all_inner_texts() == list(table.columns(rows[0]))
    wide, tall = scroller.evaluate(measure)
    assert wide > 0 and tall > 0 and scroller.evaluate("(e) => getComputedStyle(e).overflowX") == "auto"
    page.close()


@pytest.mark.parametrize("javascript", [True, False])
def test_on_a_phone_a_system_is_a_card_whose_cells_begin_with_their_titles(browser, rows, javascript):
    page = opened(browser, rows, viewport={"width": 390, "height": 844}, java_script_enabled=javascript)
    shown = list(table.FIRST)[1:]
    for count in (len(shown), len(table.columns(rows[0])) - 1):
        card = page.locator("tbody tr").nth(3)
        cells = card.locator("td:visible")
        assert cells.count() == count
        if javascript:
            titles = card.evaluate(
                """(row) => [...row.cells].slice(1).filter((cell) => cell.offsetHeight)
                  .map((cell) => getComputedStyle(cell, "::before").content.slice(1, -1))"""
            )
            assert titles == (shown if count == len(shown) else list(table.columns(rows[0]))[1:])
            edges = page.evaluate(
                """[...document.querySelectorAll(".dt-landscape :is(td, th, p, caption)")]
                  .filter((e) => e.offsetHeight).map((e) => e.getBoundingClientRect().right)"""
            )
            assert max(edges) <= 390
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_label(f"all {len(table.columns(rows[0]))} columns").check()
    assert not page.locator("thead").is_visible()
    page.close()


def test_a_card_is_a_row_with_named_cells_to_those_who_hear_it(browser, rows):
    page = opened(browser, rows, viewport={"width": 390, "height": 844})
    page.wait_for_selector(".dt-landscape form")
    heard = page.locator(".dt-landscape table").aria_snapshot()
    assert "- table" in heard and heard.count("- rowheader") == len(rows)
    first = rows[0]
    assert f'- cell "{table.FIRST[1]} {table.columns(first)[table.FIRST[1]][0]}"' in heard
    page.close()


def test_a_list_sorts_the_cards(browser, rows):
    page = opened(browser, rows, viewport={"width": 390, "height": 844})
    page.get_by_label("Sort by").select_option("GB in bf16")
    sizes = {r["name"]: r["computed"] and r["computed"]["bytes_bf16"] for r in rows}
    counted = [sizes[name] for name in names(page) if sizes[name]]
    assert counted == sorted(counted) and sizes[names(page)[-1]] is None
    page.get_by_label("Sort by").select_option("as listed")
    listed = [row["name"] for row in rows]
    assert names(page) == listed
    page.get_by_label("Sort by").select_option("GB in bf16")
    assert names(page) != listed
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function("document.querySelector('select[name=by]').value === ''")
    page.wait_for_function(
        "(first) => document.querySelector('tbody th').textContent === first", arg=listed[0]
    )
    assert names(page) == listed
    page.close()
