"""The rules of guidance beside diffusers' guiders, over configurations: scale, formulation, place in the run, kind."""

import itertools
from math import sqrt

import pytest
import torch
from diffusers import guiders
from diffusers.models.attention_processor import PAGIdentitySelfAttnProcessor2_0
from diffusers.schedulers import DDIMScheduler

from diffusion_tutorial import (
    AutoGuidance,
    ClassifierFree,
    Interval,
    Perturbed,
    Plus,
    Projected,
    Thresholded,
    ZeroStar,
    gaussian,
    perturbed_guidance,
    plus_scale,
    projected,
    thresholded,
    zero_star,
)
from diffusion_tutorial.checkpoints import perturbed, random_pipeline, self_attention, wrap
from diffusion_tutorial.guidance import COND, PERTURBED, UNCOND, WEAK, Predictions
from diffusion_tutorial.samplers import Moment, walk
from diffusion_tutorial.schedules import NoiseSchedule

U, C, P, X = (gaussian((3, 4, 8, 8), seed=k).double() for k in (1, 2, 3, 4))
SCALES = (0.0, 0.5, 1.5, 4.0, 7.5)
STEPS = 10


class Denoiser:
    def eps(self, x_t, t, condition):
        return x_t

    def encode_text(self, prompts):
        return torch.zeros(len(prompts), 1)


def at(guider, step):
    guider.set_state(step=step, num_inference_steps=STEPS, timestep=torch.tensor(500))
    return guider


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("scale, original", itertools.product(SCALES, (False, True)))
def test_zero_star(scale, original):
    """Their float32 for the factor bounds what two can agree on."""
    guider = at(
        guiders.ClassifierFreeZeroStarGuidance(scale, zero_init_steps=0, use_original_formulation=original), 3
    )
    close(zero_star(U, C, scale + original), guider.forward(pred_cond=C, pred_uncond=U).pred, 1e-5)


@pytest.mark.parametrize("zero_steps, step", itertools.product((0, 1, 3), (0, 1, 2, 3, 9)))
def test_zero_init_is_a_velocity_of_zero_in_the_same_steps(zero_steps, step):
    guider = at(guiders.ClassifierFreeZeroStarGuidance(4.0, zero_init_steps=zero_steps), step)
    theirs = guider.forward(pred_cond=C, pred_uncond=U).pred
    a = 0.37
    to_eps = lambda v: (X + sqrt(a) * v) / (sqrt(a) + sqrt(1 - a))  # noqa: E731
    rule = ZeroStar(4.0, zero_steps)
    moment = Moment(step, STEPS, 500, a)
    asked = {b: to_eps(v) for b, v in ((UNCOND, U), (COND, C)) if b in rule.needs(moment)}
    close(rule(Predictions(asked, X), moment), to_eps(theirs), 1e-5)
    assert (asked == {}) == (step < zero_steps)


@pytest.mark.parametrize(
    "scale, parallel, bound, momentum, original",
    itertools.product((0.5, 1.5, 7.5), (0.0, 0.5, 1.0), (None, 2.0, 30.0), (None, -0.5, 0.3), (False, True)),
)
def test_projected_whole_over_a_run(scale, parallel, bound, momentum, original):
    """Four steps, since momentum is what one leaves to the next. Ours is the original formulation at scale - 1."""
    guider = guiders.AdaptiveProjectedGuidance(
        scale,
        adaptive_projected_guidance_momentum=momentum,
        adaptive_projected_guidance_rescale=bound or 0.0,
        eta=parallel,
        use_original_formulation=original,
    )
    a, memory = 0.37, {}
    rule = Projected(scale + 1, parallel, momentum or 0.0, bound)
    for step in range(4):
        u, c = (gaussian((3, 4, 8, 8), seed=10 + step, stream=k).double() for k in (0, 1))
        guider.set_state(step=step, num_inference_steps=STEPS, timestep=torch.tensor(500))
        guider.prepare_inputs({"x": (c, u)})
        theirs = guider.forward(pred_cond=c, pred_uncond=u).pred
        if not original:  # theirs adds scale times the push to uncond; ours, to cond
            theirs = theirs - u + c
        eps = {b: (X - sqrt(a) * x0) / sqrt(1 - a) for b, x0 in ((UNCOND, u), (COND, c))}
        found = rule(Predictions(eps, X, memory), Moment(step, STEPS, 500, a))
        close((X - sqrt(1 - a) * found) / sqrt(a), theirs)
    if momentum:
        assert set(memory) == {"push"}


def test_a_bound_that_is_never_reached_bounds_nothing():
    close(projected(U, C, 5.0, 0.5, bound=1e6), projected(U, C, 5.0, 0.5))
    d = projected(U, C, 2.0, 1.0, bound=3.0) - C
    close(d.flatten(1).norm(dim=1), torch.full((3,), 3.0).double())


@pytest.mark.parametrize("scale, original", itertools.product(SCALES, (False, True)))
def test_autoguidance(scale, original):
    guider = at(
        guiders.AutoGuidance(scale, auto_guidance_layers=0, dropout=0.1, use_original_formulation=original),
        3,
    )
    theirs = guider.forward(pred_cond=C, pred_uncond=P).pred
    rule = AutoGuidance(scale + original, Denoiser())
    predictions = {b: v for b, v in ((WEAK, P), (COND, C)) if b in rule.branches}
    close(rule(predictions, Moment(3, STEPS, 500, 0.37)), theirs)


@pytest.mark.parametrize(
    "make, scale, k, step",
    itertools.product(
        (guiders.PerturbedAttentionGuidance, guiders.SkipLayerGuidance), (1.0, 4.0, 7.5), (0.5, 2.8), range(6)
    ),
)
def test_perturbed_and_skipped_in_their_part_of_the_run(make, scale, k, step):
    """Both guide by the broken copy in steps strictly between two others: 0 and 4 here, so in 1, 2 and 3."""
    name = "perturbed_guidance" if make is guiders.PerturbedAttentionGuidance else "skip_layer_guidance"
    scale_name = "perturbed_guidance_scale" if "perturbed" in name else "skip_layer_guidance_scale"
    guider = at(
        make(scale, **{scale_name: k, f"{name}_layers": [0], f"{name}_start": 0.0, f"{name}_stop": 0.4}), step
    )
    inside = 0 < step < 4
    asked = (
        {"pred_cond": C}
        | ({"pred_uncond": U} if scale != 1 else {})
        | ({"pred_cond_skip": P} if inside else {})
    )
    theirs = guider.forward(**asked).pred
    rule = Interval(Perturbed(scale, k, Denoiser()), 0.1, 0.4, outside=ClassifierFree(scale))
    moment = Moment(step, STEPS, 500, 0.37)
    ours = rule(Predictions({UNCOND: U, COND: C, PERTURBED: P}, X), moment)
    # Without classifier-free guidance theirs counts the scale from the broken prediction, ours from the prompt's.
    close(ours, theirs + (C - P if inside and scale == 1 else 0))
    assert (PERTURBED in rule.needs(moment)) == inside


@pytest.mark.parametrize("ratio, size", itertools.product((0.8, 0.995, 1.0), (0.2, 1.0, 5.0)))
def test_thresholded_at_the_bound_of_pixels(ratio, size):
    theirs = DDIMScheduler(
        thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=1e6
    )._threshold_sample(size * U)
    close(thresholded(size * U, ratio, 1.0), theirs)
    assert (size < 1) or not torch.equal(theirs, size * U)


def test_thresholding_by_the_conditional_prediction_gives_its_percentile_back():
    a, moment = 0.37, Moment(3, STEPS, 500, 0.37)
    x0 = lambda eps: (X - sqrt(1 - a) * eps) / sqrt(a)  # noqa: E731
    got = x0(Thresholded(8.0, 0.9)(Predictions({UNCOND: U, COND: C}, X), moment))
    close(got.abs().flatten(1).amax(1), x0(C).abs().flatten(1).quantile(0.9, dim=1))
    plain = x0(ClassifierFree(8.0)({UNCOND: U, COND: C}, moment))
    assert (plain.abs().flatten(1).amax(1) > 2 * got.abs().flatten(1).amax(1)).all()


@pytest.mark.parametrize("weight, steps", itertools.product((0.0, 0.3, 0.6, 1.0), (5, 20)))
def test_cfg_plus_plus_is_the_step_of_its_authors(weight, steps):
    """x0 guided by the weight, the unconditional noise added back; written out, beside our DDIM under `Plus`."""
    schedule = NoiseSchedule.scaled_linear()
    uncond, cond = (lambda x: (0.3 * x + U).tanh()), (lambda x: (0.3 * x + C).tanh())

    class Both:
        def at(self, x_t, moment):
            return Plus(weight)(Predictions({UNCOND: uncond(x_t), COND: cond(x_t)}, x_t), moment)

    transitions = schedule.transitions(steps)
    *_, last = walk(Both(), X, transitions, "ddim")
    x = X
    for _, _, a_t, a_s in transitions:
        free, text = uncond(x), cond(x)
        x0 = (x - sqrt(1 - a_t) * (free + weight * (text - free))) / sqrt(a_t)
        x = sqrt(a_s) * x0 + sqrt(1 - a_s) * free
    close(last.x_s, x)
    assert plus_scale(1.0, 0.0, 0.4) == 1 and plus_scale(0.6, 0.3, 1.0) == pytest.approx(0.6)


@pytest.mark.parametrize("layer", ["mid_block", "up_blocks", "down_blocks"])
def test_a_broken_copy_answers_as_diffusers_processor(layer):
    """Their processor takes the plain half and the broken half of a batch; ours, the broken rows alone."""
    model = wrap(random_pipeline(seed=3))
    unet = model.adapter.unet
    names = [name for name in self_attention(unet) if name.startswith(layer)]
    assert names
    plain = dict(unet.attn_processors)
    weights = [p.clone() for p in unet.parameters()]
    x = gaussian((2, *model.latent_shape), 5)
    words = model.encode_text(["red", "blue"])
    with torch.no_grad():
        before = model.eps(x, 500, words)
        ours = perturbed(model, (layer,)).eps(x, 500, words)
        assert torch.equal(model.eps(x, 500, words), before)  # the model is as it was
        unet.set_attn_processor({**plain, **{n: PAGIdentitySelfAttnProcessor2_0() for n in names}})
        theirs = model.eps(torch.cat([x, x]), 500, torch.cat([words, words]))
    close(theirs[:2], before, 1e-5)
    close(theirs[2:], ours, 1e-5)
    assert (ours - before).abs().max() > 1e-6
    assert all(torch.equal(a, b) for a, b in zip(weights, unet.parameters(), strict=True))


def test_the_function_of_three_predictions():
    close(perturbed_guidance(U, C, P, 4.0, 2.0), U + 4 * (C - U) + 2 * (C - P))
    close(perturbed_guidance(U, C, C, 4.0, 2.0), U + 4 * (C - U))
