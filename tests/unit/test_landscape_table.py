"""The landscape printed: text, JSON, HTML, figures and the command."""

import json
import re

import pytest
from matplotlib.figure import Figure

from diffusion_tutorial import cli, landscape
from diffusion_tutorial.landscape import figures, table


@pytest.fixture(scope="module")
def systems():
    return landscape.load()


@pytest.fixture(scope="module")
def rows(systems):
    return table.rows(systems, landscape.counted(), landscape.boards().values())


def test_a_row_for_every_system_and_numbers_only_where_counted(systems, rows):
    assert [row["id"] for row in rows] == list(systems)
    assert {row["id"] for row in rows if row["computed"]} == set(landscape.counted())


def test_the_text_shows_what_is_unverified_and_unknown(rows):
    lines = table.as_text(rows).splitlines()
    line = next(line for line in lines if line.startswith("Midjourney V5 "))
    assert "2023-03*" in line and "unknown" in line and "not counted" in line
    line = next(line for line in lines if line.startswith("Stable Diffusion XL"))
    assert line.split()[-2:] == ["yes", "no"]


def test_memory_carries_a_plus_where_a_part_of_it_was_not_counted(rows):
    """Read back from the text, the page and the cell itself: HiDream's is a lower bound, Stable Diffusion 1's is not."""
    marked = {row["id"]: table.columns(row)["GB in bf16"][0] for row in rows if row["computed"]}
    assert {name for name, cell in marked.items() if cell.endswith("+")} == {"hidream-i1"}
    assert all(
        cell.endswith("+") == bool(row["computed"]["missing"])
        for row in rows
        if row["computed"]
        for cell in [table.columns(row)["GB in bf16"][0]]
    )
    line = next(line for line in table.as_text(rows).splitlines() if line.startswith("HiDream-I1"))
    assert re.search(r"\d\+( |$)", line)
    page = table.as_html([row for row in rows if row["id"] in ("hidream-i1", "sd-1")])
    assert len(re.findall(r">[\d.]+\+</td>", page)) == 1
    assert "left out of memory" in page and "two CLIP text encoders" in page


def test_cost_stands_an_image_a_pixel_and_at_one_size(rows):
    found = {row["id"]: row["computed"] for row in rows if row["computed"]}
    for name, numbers in found.items():
        assert numbers["flops_pixel"] * numbers["pixels"] == pytest.approx(numbers["flops_image"]), name
        if numbers["pixels"] == 1024**2 and len(numbers["stages"]) == 1:
            assert numbers["flops_equal"] == numbers["flops_image"]
    # 512 px are a quarter of the pixels, and attention costs more than pixels.
    assert found["sd-1"]["flops_equal"] > 4 * found["sd-1"]["flops_image"]
    assert found["deepfloyd-if"]["flops_equal"] is None
    cells = {row["id"]: table.columns(row) for row in rows}
    assert cells["deepfloyd-if"]["PFLOP at 1024 px"][0] == "fixed stages"


def test_the_makers_defaults_and_the_librarys_have_columns_of_their_own(rows):
    cells = table.columns(next(row for row in rows if row["id"] == "flux-1-dev"))
    assert (cells["steps, maker"][0], cells["steps, library"][0]) == ("50", "28")
    assert (cells["scale, maker"][0], cells["scale, library"][0]) == ("2.5", "3.5")


def test_preferences_carry_their_interval_and_their_day(rows):
    cells = {row["id"]: table.columns(row)["liked"][0] for row in rows}
    assert cells["gpt-image-2"] == "1381 ± 5 (2026-08-24)"
    assert cells["hunyuan-image-3"] == "1151 ± 3 (2026-04-19)" and cells["sd-1"] == "not listed"


def test_the_html_has_a_row_and_a_list_of_sources_for_every_system(rows):
    page = table.as_html(rows)
    assert page.count('<tr role="row" data-') == len(rows)
    assert set(re.findall(r'href="#(source-[^"]+)"', page)) == set(re.findall(r'id="(source-[^"]+)"', page))


def test_the_html_escapes_what_it_shows(rows):
    row = json.loads(json.dumps(rows[0]))
    row["name"] = "<script>x</script>"
    row["facts"]["status"]["note"] = "<b>note</b>"
    page = table.as_html([row])
    assert "<script>" not in page and "<b>" not in page


@pytest.mark.parametrize("draw", [figures.timeline, figures.tree])
def test_figures_name_systems(draw, systems):
    figure = draw(systems)
    assert isinstance(figure, Figure)
    shown = {text.get_text().removesuffix(" *") for text in figure.axes[0].texts}
    assert "PixArt-Σ" in shown and "DALL·E 2" in shown


def test_the_figure_of_costs_has_every_counted_system_and_its_size(systems):
    numbers = landscape.counted()
    shown = {text.get_text() for text in figures.cost(systems, numbers).axes[0].texts}
    names = {text.partition(", ")[0] for text in shown}
    assert names == {systems[name].name for name in numbers}
    assert "Stable Diffusion 1.x, 512 px" in shown and "FLUX.1 [dev]" in shown


def test_the_command_prints_the_table_one_system_and_json(capsys, rows):
    assert cli.main(["landscape"]) == 0
    assert "Midjourney V6" in capsys.readouterr().out
    assert cli.main(["landscape", "sdxl"]) == 0
    assert "2,567.5 M parameters" in capsys.readouterr().out
    assert cli.main(["landscape", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows


@pytest.mark.parametrize("arguments", [["nonsense"], ["sdxl", "--check"], ["--json", "--check"]])
def test_the_command_refuses(arguments, capsys):
    assert cli.main(["landscape", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "allowed" in err


@pytest.mark.parametrize(("faults", "status"), [([], 0), (["sdxl: something"], 1)])
def test_check_reports_by_its_status(faults, status, monkeypatch, capsys):
    monkeypatch.setattr(landscape, "check", lambda: faults)
    assert cli.main(["landscape", "--check"]) == status
    assert capsys.readouterr().err.splitlines() == faults
