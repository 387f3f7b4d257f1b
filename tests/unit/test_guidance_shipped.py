"""Each rule through `TextToImage.sample` on Still Life: limits, evaluations, and that guidance does guide."""

import pytest
import torch

from diffusion_tutorial.checkpoints import load
from diffusion_tutorial.guidance import (
    ClassifierFree,
    ClassifierGuidance,
    Conditional,
    Interval,
    Projected,
    Ramp,
    Rescaled,
    ScheduledScale,
    Unconditional,
)
from diffusion_tutorial.metrics import adherence
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.still_life.captions import parse
from diffusion_tutorial.still_life.classifier import NoisyClassifier
from diffusion_tutorial.still_life.judge import Judge

PROMPT, STEPS = "a red sphere", 4


@pytest.fixture(scope="module")
def model():
    return load("still-life")


@pytest.fixture(scope="module")
def gradient():
    classifier, said = NoisyClassifier.load(), parse(PROMPT)
    return lambda x, t: classifier.grad_log_prob(x, t, said)


def draw(model, rule, prompt=PROMPT, steps=STEPS, n=3):
    x = gaussian((n, *model.latent_shape), 41)
    return model.sample(
        prompt, num_inference_steps=steps, guidance=rule, num_images=n, latents=x, keep_trajectory=False
    )


@pytest.mark.parametrize(
    "rule, plain",
    [
        (Rescaled(4.0, 0.0), ClassifierFree(4.0)),
        (Projected(4.0, 1.0), ClassifierFree(4.0)),
        (ScheduledScale(lambda fraction: 4.0), ClassifierFree(4.0)),
        (Interval(ClassifierFree(4.0)), ClassifierFree(4.0)),
        (Interval(ClassifierFree(4.0), 0.5, 0.5), Conditional()),
        (ScheduledScale(Ramp(1, 1)), Conditional()),
        (Rescaled(1.0, 1.0), Conditional()),
        (Projected(1.0), Conditional()),
    ],
)
def test_limits_draw_the_same_latents(model, rule, plain):
    torch.testing.assert_close(draw(model, rule).latents, draw(model, plain).latents, atol=2e-3, rtol=0)


def test_rules_inside_their_limits_draw_others(model):
    plain = draw(model, ClassifierFree(8.0)).latents
    for rule in (
        Rescaled(8.0, 0.7),
        Projected(8.0),
        ScheduledScale(Ramp(1, 15)),
        Interval(ClassifierFree(8.0), 0.5),
    ):
        assert (draw(model, rule).latents - plain).abs().mean() > 0.01, rule


def test_evaluations_are_those_that_the_rules_need(model, gradient):
    expected = {
        Conditional(): 4,
        ClassifierFree(4.0): 8,
        ClassifierGuidance(4.0, gradient): 4,
        Rescaled(4.0): 8,
        Projected(4.0): 8,
        Interval(ClassifierFree(4.0), 0.25, 0.75): 6,
        ScheduledScale(Ramp(1, 5)): 7,  # the first step is at scale 1
    }
    assert {rule: draw(model, rule).nfe for rule in expected} == expected


def test_classifier_guidance_at_zero_is_its_base(model, gradient):
    free = draw(model, ClassifierGuidance(0.0, gradient)).latents
    assert torch.equal(free, draw(model, Unconditional()).latents)
    base = draw(model, ClassifierGuidance(0.0, gradient, conditional=True)).latents
    assert torch.equal(base, draw(model, Conditional()).latents)


def test_classifier_guidance_reads_no_text(model, gradient):
    """The unconditional model and the classifier know what was said; the prompt is not asked."""
    rule = ClassifierGuidance(4.0, gradient)
    assert torch.equal(draw(model, rule).latents, draw(model, rule, "a blue cube").latents)
    assert torch.equal(draw(model, rule).latents, draw(model, rule, None).latents)


def test_a_picture_is_guided_alone_or_in_a_batch(model, gradient):
    rule = ClassifierGuidance(8.0, gradient)
    torch.testing.assert_close(
        draw(model, rule, n=3).latents[:1], draw(model, rule, n=1).latents, atol=2e-3, rtol=0
    )


def test_classifier_guidance_guides(model, gradient):
    """From the unconditional model, which seldom draws a red sphere (1 of 35 pairs), to mostly red spheres."""
    judge, said = Judge.load(), parse(PROMPT)
    shares = {
        scale: adherence(
            judge.read(draw(model, ClassifierGuidance(scale, gradient), steps=10, n=16).images), said
        )
        for scale in (0.0, 16.0)
    }
    assert shares[0.0].high < 0.5 < shares[16.0].low, shares
