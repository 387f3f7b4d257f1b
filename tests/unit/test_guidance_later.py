"""Rules that use more than predictions: a classifier's gradient, the state, the place in the run."""

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import normalized_guidance
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from hypothesis import given
from hypothesis import strategies as st

from diffusion_tutorial import (
    ClassifierFree,
    ClassifierGuidance,
    GaussianMixture,
    NoiseSchedule,
    Projected,
    Ramp,
    Rescaled,
    ScheduledScale,
    gaussian,
    projected,
    rescaled,
    walk,
)
from diffusion_tutorial.guidance import COND, UNCOND, Predictions
from diffusion_tutorial.samplers import Moment

U, C, X = (gaussian((3, 4, 8, 8), seed=k).double() for k in (1, 2, 3))
PREDICTIONS = Predictions({UNCOND: U, COND: C}, X)
scales = st.floats(-5, 20)


def test_rescaled_is_that_of_diffusers():
    guided = U + 7 * (C - U)
    for phi in (0.0, 0.3, 0.7, 1.0):
        assert torch.allclose(rescaled(guided, C, phi), rescale_noise_cfg(guided, C, phi), atol=1e-12)


def test_rescaled_gives_back_the_spread():
    full = rescaled(U + 7 * (C - U), C, 1.0)
    assert torch.allclose(full.std((1, 2, 3)), C.std((1, 2, 3)))
    assert torch.equal(rescaled(C, U, 0.0), C)


def test_what_is_rescaled_matters():
    """v and x0 get the conditional spread back; the same rule on eps leaves them with another one."""
    moment, a = Moment(3, 10, 500, 0.37), 0.37
    to = {
        "eps": lambda eps: eps,
        "v": lambda eps: (eps - (1 - a) ** 0.5 * X) / a**0.5,
        "x0": lambda eps: (X - (1 - a) ** 0.5 * eps) / a**0.5,
    }
    for of, seen in to.items():
        made = {kind: seen(Rescaled(8.0, 1.0, of=kind)(PREDICTIONS, moment)) for kind in to}
        assert torch.allclose(made[of].std((1, 2, 3)), seen(C).std((1, 2, 3)), atol=1e-10)
        for other in set(to) - {of}:
            assert (made[other].std((1, 2, 3)) - seen(C).std((1, 2, 3))).abs().max() > 0.02
    assert torch.allclose(
        Rescaled(8.0, 0.0, of="v")(PREDICTIONS, moment), ClassifierFree(8.0)(PREDICTIONS, moment), atol=1e-10
    )
    with pytest.raises(ValueError, match="of is 'score'; allowed: 'eps', 'v', 'x0'"):
        Rescaled(8.0, 0.7, of="score")


@pytest.mark.parametrize("phi", [-0.1, 1.1, float("nan")])
def test_rescaled_refuses_other_shares(phi):
    with pytest.raises(ValueError, match="phi"):
        rescaled(U, C, phi)


@given(scales)
def test_projected_with_the_whole_parallel_part_is_classifier_free(scale):
    assert torch.allclose(projected(U, C, scale, 1.0), U + scale * (C - U), atol=1e-10)


def test_projected_is_that_of_diffusers():
    for scale, parallel in ((4.0, 0.0), (8.0, 0.5), (2.5, 1.0)):
        theirs = normalized_guidance(C, U, scale - 1, eta=parallel, use_original_formulation=True)
        assert torch.allclose(projected(U, C, scale, parallel), theirs, atol=1e-12)


def test_projected_adds_nothing_along_the_conditional_picture():
    added = projected(U, C, 9.0) - C
    assert ((added * C).sum((1, 2, 3)).abs() < 1e-9).all() and added.abs().max() > 1


@pytest.mark.parametrize(
    "rule", [Rescaled(5.0, 0.0), Projected(5.0, 1.0), ScheduledScale(lambda fraction: 5.0)]
)
def test_rules_in_their_limit_are_classifier_free(rule):
    plain = ClassifierFree(5.0)(PREDICTIONS, Moment(3, 10, 500, 0.37))
    assert torch.allclose(rule(PREDICTIONS, Moment(3, 10, 500, 0.37)), plain, atol=1e-10)
    assert set(rule.needs(Moment(3, 10, 500, 0.37))) == {UNCOND, COND} == set(rule.branches)


def test_a_scheduled_scale_changes_over_the_run_and_saves_what_it_can():
    rule = ScheduledScale(Ramp(1, 11))
    assert rule.needs(Moment(0, 10, 500, 0.1)) == (COND,) and rule(PREDICTIONS, Moment(0, 10, 500, 0.1)) is C
    assert torch.allclose(rule(PREDICTIONS, Moment(5, 10, 500, 0.1)), U + 6 * (C - U))


def test_classifier_guidance_asks_about_the_state_and_its_timestep():
    asked = []

    def gradient(x, t):
        asked.append((x, t))
        return torch.ones_like(x)

    got = ClassifierGuidance(3.0, gradient)(PREDICTIONS, Moment(0, 10, 500, 0.75))
    assert torch.allclose(got, U - 1.5)  # sqrt(1 - 0.75) times 3
    assert asked[0][0] is X and asked[0][1] == 500
    rule = ClassifierGuidance(3.0, gradient, conditional=True)
    assert rule.branches == (COND,) and torch.allclose(rule(PREDICTIONS, Moment(0, 10, 500, 0.75)), C - 1.5)


@pytest.mark.parametrize("make", [lambda s: ClassifierGuidance(s, None), Rescaled, Projected])
def test_scales_must_be_finite(make):
    with pytest.raises(ValueError, match="scale"):
        make(float("inf"))


def test_with_exact_parts_both_kinds_of_guidance_are_one():
    """The exact noisy classifier of a mixture turns the unconditional model into the guided one."""
    mixture, schedule = (
        GaussianMixture([0.4, 0.6], [[-1.0, 0.3], [1.0, 0.0]], [0.1, 0.3]),
        NoiseSchedule.linear(),
    )
    free, cond = mixture.denoiser(schedule), mixture.conditional(1).denoiser(schedule)

    def gradient(x, t):
        leaf = x.clone().requires_grad_()
        log_p = mixture.class_log_posterior(leaf, schedule.alpha_bar(t))[:, 1]
        return torch.autograd.grad(log_p.sum(), leaf)[0]

    def run(rule):
        def eps(x, t):
            predictions = Predictions({UNCOND: free(x, t), COND: cond(x, t)}, x)
            return rule(predictions, Moment(0, 1, t, schedule.alpha_bar(t)))

        *_, last = walk(eps, start, schedule.transitions(30, "trailing", previous="grid"), "ddim")
        return last.x_s

    start = gaussian((50, 2), seed=4).double()
    assert torch.allclose(run(ClassifierGuidance(4.0, gradient)), run(ClassifierFree(4.0)), atol=1e-8)
