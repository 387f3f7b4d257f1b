"""Every displayed equation of the chapter "Landscape" and its check."""

import re
from pathlib import Path

import pytest

from diffusion_tutorial import landscape

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "landscape.md"


def cost():
    """Steps times passes times one call, for every counted system; and a call counted twice is twice the work."""
    systems, counted = landscape.load(), landscape.counted()
    assert len(counted) >= 20
    for name, found in counted.items():
        recipe = systems[name].count
        assert found["flops_image"] == pytest.approx(recipe["steps"] * recipe["passes"] * found["flops_call"])
    assert (
        counted["sd-1"]["calls"] == 2 * systems["sd-1"].count["steps"]
    )  # classifier-free guidance asks twice
    assert counted["flux-1-schnell"]["calls"] == systems["flux-1-schnell"].count["steps"]


EQUATIONS = {"eq-landscape-cost": cost}


@pytest.mark.parametrize("label", EQUATIONS)
def test_equation(label):
    EQUATIONS[label]()


def test_each_equation_of_the_chapter_has_a_check():
    text = CHAPTER.read_text(encoding="utf-8")
    assert set(re.findall(r"^\$\$ \((eq-[a-z0-9-]+)\)", text, re.M)) == set(EQUATIONS)
    assert text.count("$$\n") == 2 * len(EQUATIONS) - text.count("$$ (eq-")
