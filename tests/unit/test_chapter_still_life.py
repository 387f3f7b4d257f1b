"""The chapter `still-life`: its form, and a check for every equation. The notebook itself runs under nbval."""

import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS = jupytext.read(ROOT / "book" / "still-life.md").cells
PROSE = "\n\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")
CODE = [cell for cell in CELLS if cell.cell_type == "code"]

# Label -> what the cell that names it asserts.
EQUATIONS = {
    "eq-still-guidance": "the loop by hand gives the picture of `sample`",
    "eq-still-x0": "the same loop",
    "eq-still-ddim": "the same loop",
    "eq-still-betas": "the table of the model's own scheduler",
    "eq-still-forward": "a thousand small steps leave the signal and the noise of one jump",
    "eq-still-loss": "the training code's loss, from the same draws",
    "eq-still-psnr": "`metrics.psnr`",
    "eq-still-diversity": "`metrics.total_variation` and `metrics.entropy`",
}


def test_every_equation_is_in_the_table_and_the_other_way_round():
    assert re.findall(r"^\$\$ \((.+?)\)$", PROSE, re.M) == [
        label for label in re.findall(r"\((eq-[\w-]+)\)$", PROSE, re.M)
    ]
    assert set(re.findall(r"^\$\$ \((.+?)\)$", PROSE, re.M)) == set(EQUATIONS)


@pytest.mark.parametrize("label", EQUATIONS)
def test_a_cell_names_the_equation_and_it_or_the_next_asserts(label):
    at = [i for i, cell in enumerate(CODE) if label in cell.source]
    assert at, f"no cell names {label}"
    assert any("assert " in cell.source for cell in CODE[at[0] : at[0] + 2])


def test_every_displayed_equation_has_a_label():
    assert len(re.findall(r"^\$\$", PROSE, re.M)) == 2 * len(EQUATIONS)


def test_it_opens_with_question_answer_aims_and_time():
    opening = [
        PROSE.index(word) for word in ("?**", "**The short answer.**", "**You will be able to**", "**Time:**")
    ]
    assert opening == sorted(opening) and opening[-1] < 2500
    answer = re.search(r"\*\*The short answer\.\*\* (.+?)\n\n", PROSE, re.S)[1]
    assert len(re.findall(r"[.?!](?:\s|$)", answer)) == 3


def test_pictures_stand_in_cells_that_nbval_ignores():
    for cell in CODE:
        if "plots.figure(" in cell.source or "sampler_widget(" in cell.source.split("\n")[-1]:
            assert "nbval-ignore-output" in cell.metadata["tags"], cell.source


def test_directives_are_colon_fences_and_no_path_of_the_repository_is_opened():
    assert "```{" not in PROSE
    text = "\n".join(cell.source for cell in CODE)
    assert "open(" not in text and "Path(" not in text
