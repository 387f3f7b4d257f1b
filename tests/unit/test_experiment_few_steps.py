"""The sweep of the chapter "Few steps": its settings, its starts, and what it stored."""

import math

import pytest
import torch

from diffusion_tutorial import results as record
from diffusion_tutorial.checkpoints import load
from diffusion_tutorial.experiments import few_steps
from diffusion_tutorial.experiments.few_steps import STARTS, Setting, draw, settings, start, trace
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.still_life.scenes import render, sample_scenes


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def latents(model):
    return model.encode(render(sample_scenes(6, 5)))


@pytest.fixture(scope="module")
def stored():
    return record.read("few_steps")


def test_settings_have_names_of_their_own():
    plan = settings()
    assert len({setting.key for setting in plan}) == len(plan)
    assert {s.sampler for s in plan} == {"ddim", "ddpm", "ddpm-large", "dpm++2m"}
    assert {s.n for s in plan if s.steps < 1000} == {500} and {s.n for s in plan if s.steps == 1000} == {128}


def test_a_picture_has_its_noise_whatever_the_chunk_and_the_sampler(model):
    captions = ["a red sphere", "a cube", "a blue cone"]
    for setting in (Setting("ddim", 1.0, 2, 1.0), Setting("ddpm", 0.0, 2, 3.0, "trailing")):
        whole = draw(model, captions, setting)
        torch.testing.assert_close(draw(model, captions, setting, chunk=2), whole, atol=2e-3, rtol=0)
    x = gaussian((3, *model.latent_shape), few_steps.NOISE)
    given = draw(model, captions, Setting("ddim", 0.0, 2, 1.0), x)
    assert torch.equal(given, draw(model, captions, Setting("ddim", 0.0, 2, 1.0)))


def test_latents_are_those_that_the_decoder_reads(model, latents):
    pictures = render(sample_scenes(6, 5))
    assert latents.shape == (6, *model.latent_shape)
    assert (model.decode(latents) - pictures).square().mean().sqrt() < 0.04


def test_starts_hold_what_they_say(latents):
    a = 0.3  # far above the schedule's end, so that the trace shows in six latents
    z = gaussian(latents.shape, few_steps.NOISE)
    assert all(torch.equal(start(kind, latents, a), z) for kind in STARTS if kind.startswith("noise"))
    left = {kind: (start(kind, latents, a) - math.sqrt(1 - a) * z) / math.sqrt(a) for kind in STARTS}
    torch.testing.assert_close(left["marginal"], latents, atol=1e-5, rtol=0)
    torch.testing.assert_close(left["mean"], latents.mean(0, keepdim=True).expand_as(z), atol=1e-5, rtol=0)
    channels = latents.mean((0, 2, 3))[None, :, None, None].expand_as(z)
    torch.testing.assert_close(left["channels"], channels, atol=1e-5, rtol=0)


def test_trace_is_in_standard_deviations_of_the_noise():
    """Two latents of one channel and four places: mean 3 everywhere, one unit up and one down."""
    latents = 3 + torch.tensor([1.0, -1.0])[:, None, None, None].expand(2, 1, 2, 2)
    found = trace(latents, 0.5)
    assert found["mean"].item() == pytest.approx(6) and found["channels"].item() == pytest.approx(6)
    assert found["picture"].item() == pytest.approx(2) and found["channel_means"].tolist() == [3.0]
    assert trace(latents, 0.2)["mean"].item() == pytest.approx(3)


def test_what_is_stored_is_whole(stored):
    """Every setting of the plan, each of as many pictures as it names."""
    measured, plan = stored["measured"], {s.key: s for s in settings()}
    assert set(plan) | {f"leak, {kind}" for kind in STARTS} | {"floor, n 500", "trace"} <= set(measured)
    assert stored["command"].startswith("python -m diffusion_tutorial.experiments.few_steps")
    for key, setting in plan.items():
        found = measured[key]
        assert (
            found["frechet"]["n"] == found["adherence"]["n"] == setting.n
            and found["frechet"]["dimension"] == 64
        )
        for name in ("frechet", "adherence", "all_right"):
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    for kind in STARTS:
        for shares in measured[f"leak, {kind}"]["shares"].values():
            assert sum(shares) == pytest.approx(1, abs=1e-4)
