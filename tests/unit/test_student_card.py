"""The student that ships: its measurements, small, and its card, which is that of the stored ones."""

import pytest
import torch

from diffusion_tutorial.checkpoints import load
from diffusion_tutorial.experiments import fast as experiment
from diffusion_tutorial.results import read
from diffusion_tutorial.still_life.judge import Judge
from diffusion_tutorial.still_life.models import KNOWN
from diffusion_tutorial.training import card


@pytest.fixture(scope="module")
def models():
    return load("still-life-flow", device="cpu"), load("still-life-fast", device="cpu"), Judge.load()


def test_the_card_is_that_of_the_stored_results():
    found, teachers = read("still_life_fast"), read("still_life_teachers")["measured"]
    text = (KNOWN["still-life-fast"].path / "README.md").read_text(encoding="utf-8")
    for what, got, sign, bar, met in card.fast_bars(found["measured"], teachers):
        assert f"| {what} | {got:.4g} | {sign} {bar:g} | {'met' if met else '**not met**'} |" in text
    sums = (KNOWN["still-life-fast"].path / "SHA256SUMS").read_text(encoding="utf-8")
    assert found["settings"]["weights"] in sums and "-dirty" not in found["commit"]


def test_the_flows_card_is_that_of_the_stored_results():
    found = read("still_life_flow")
    text = (KNOWN["still-life-flow"].path / "README.md").read_text(encoding="utf-8")
    for what, got, sign, bar, met in card.flow_bars(found["measured"]):
        assert f"| {what} | {got:.4g} | {sign} {bar:g} | {'met' if met else '**not met**'} |" in text
    sums = (KNOWN["still-life-flow"].path / "SHA256SUMS").read_text(encoding="utf-8")
    assert found["settings"]["weights"] in sums and "-dirty" not in found["commit"]


def test_the_relay_is_the_flow_first_and_then_the_student(models):
    flow, fast, _ = models
    relay = experiment.Relay(flow, fast, ["a sphere"])
    x = torch.randn(1, *fast.latent_shape, generator=torch.Generator().manual_seed(0))
    first, later = (relay(x, t) for t in (999.0, 600.0))
    torch.testing.assert_close(first, flow.eps(x, 999.0, ["a sphere"]))
    torch.testing.assert_close(later, fast.adapter.eps(x, 600.0, fast.encode_text(["a sphere"])))


def test_a_negative_prompt_acts_on_the_students_pictures(models):
    """What the page counts in 500: fewer of them are red, from the same noises."""
    _, fast, judge = models
    found = experiment.negative(fast, judge, 60, 1)
    before, after = (e.value for e in found["red"])
    assert after < before and found["sphere_lost"].value < 0.1


def test_the_scale_acts_on_the_students_pictures(models):
    _, fast, judge = models
    low, high = (experiment.acts(fast, judge, 60, 1, scale) for scale in (1.0, 6.0))
    assert high["adherence"].value > low["adherence"].value
    assert sum(e.value for e in high["entropy"].values()) < sum(e.value for e in low["entropy"].values())


def test_the_weak_twins_card_is_that_of_the_stored_results():
    found = read("guidance_continued")
    folder = KNOWN["still-life-weak"].path
    text = (folder / "README.md").read_text(encoding="utf-8")
    for t in (301, 61):
        e = found["measured"][f"errors, weak, {t}"]["best scale"]
        assert f"| {t} | {e['value']:.2f} [{e['low']:.2f}, {e['high']:.2f}] |" in text
    assert (folder / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size < 3e6
    assert "-dirty" not in found["commit"]
