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
    return table.rows(systems, landscape.counted())


def test_a_row_for_every_system_and_numbers_only_where_counted(systems, rows):
    assert [row["id"] for row in rows] == list(systems)
    assert {row["id"] for row in rows if row["computed"]} == set(landscape.counted())


def test_the_text_shows_what_is_unverified_and_unknown(rows):
    lines = table.as_text(rows).splitlines()
    line = next(line for line in lines if line.startswith("Midjourney V5 "))
    assert "2023-03-15*" in line and "unknown" in line and "not counted" in line
    assert next(line for line in lines if line.startswith("Stable Diffusion XL")).split()[-1] == "yes"


def test_the_html_has_a_row_and_a_list_of_sources_for_every_system(rows):
    page = table.as_html(rows)
    assert page.count("<tr ") == len(rows)
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


def test_the_figure_of_costs_has_every_counted_system_with_a_date(systems):
    numbers = landscape.counted()
    shown = {text.get_text() for text in figures.cost(systems, numbers).axes[0].texts}
    assert shown == {systems[name].name for name in numbers if systems[name].released}


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
