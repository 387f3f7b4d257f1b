"""Every displayed equation of the chapter "Landscape" and its check."""

from pathlib import Path

import labels
import pytest

from diffusion_tutorial import landscape
from diffusion_tutorial.landscape import count

LIVE = ("sd-1", "deepfloyd-if")  # counted anew; the others' counts are held by the digest of their recipes
CHAPTER = Path(__file__).resolve().parents[2] / "book" / "landscape.md"


def cost():
    """Steps times passes times one call, for every counted system; and a call counted twice is twice the work."""
    systems, counted = landscape.load(), landscape.counted()
    assert len(counted) >= 20
    for name, found in counted.items():
        recipe = systems[name].count
        stages = [recipe, *recipe.get("then", [])]
        calls = [count.flops_of(s["denoiser"], s["size"], s["text_tokens"]) for s in stages if name in LIVE]
        assert calls == [stage["flops_call"] for stage in found["stages"] if name in LIVE]
        work = [
            s["steps"] * s["passes"] * f["flops_call"] for s, f in zip(stages, found["stages"], strict=True)
        ]
        assert found["flops_image"] == pytest.approx(sum(work))
    assert (
        counted["sd-1"]["calls"] == 2 * systems["sd-1"].count["steps"]
    )  # classifier-free guidance asks twice
    assert counted["flux-1-schnell"]["calls"] == systems["flux-1-schnell"].count["steps"]


EQUATIONS = {"eq-landscape-cost": cost}


@pytest.mark.parametrize("label", EQUATIONS)
def test_equation(label):
    EQUATIONS[label]()


def test_every_labelled_equation_has_its_check():
    labels.hold(CHAPTER, EQUATIONS)
