"""Rules that ask more than the model: another denoiser, a broken copy, the run's memory, the step's end. And NAG."""

import pytest
import torch

from diffusion_tutorial import (
    AutoGuidance,
    ClassifierFree,
    Interval,
    PerPicture,
    Perturbed,
    Plus,
    Projected,
    Thresholded,
    ZeroStar,
    gaussian,
    plus_scale,
    thresholded,
    zero_star,
)
from diffusion_tutorial.checkpoints import perturbed, random_pipeline, wrap
from diffusion_tutorial.checkpoints.nag import nag, normalized
from diffusion_tutorial.errors import UnsupportedModelError
from diffusion_tutorial.guidance import COND, UNCOND, WEAK, Predictions, any_kind, others_of
from diffusion_tutorial.samplers import Moment

U, C, X = (gaussian((3, 4, 8, 8), seed=k).double() for k in (1, 2, 3))
NAN = float("nan")


@pytest.fixture(scope="module")
def model():
    return wrap(random_pipeline(seed=3))


@pytest.fixture(scope="module")
def weak():
    return wrap(random_pipeline(seed=4))


def drawn(model, rule, **more):
    arguments = {"num_inference_steps": 4, "seed": 5, "num_images": 2} | more
    return model.sample("red", guidance=rule, **arguments)


def test_autoguidance_asks_the_weak_model_about_the_prompt(model, weak):
    run = drawn(model, AutoGuidance(3.0, weak))
    step = run.trajectory[1]
    with torch.no_grad():
        own, other = (m.eps(step.x_t, step.t, "red") for m in (model, weak))
    torch.testing.assert_close(step.eps, other + 3 * (own - other), rtol=0, atol=1e-5)
    assert run.nfe == 8
    assert drawn(model, AutoGuidance(1.0, weak)).nfe == 4
    torch.testing.assert_close(
        drawn(model, AutoGuidance(0.0, weak)).latents, drawn(weak, ClassifierFree(1.0)).latents
    )


def test_the_model_as_its_own_weak_twin_guides_nowhere(model):
    torch.testing.assert_close(
        drawn(model, AutoGuidance(5.0, model)).latents,
        drawn(model, ClassifierFree(1.0)).latents,
        rtol=0,
        atol=1e-4,
    )


def test_a_broken_copy_is_a_third_evaluation(model):
    broken = perturbed(model)
    assert drawn(model, Perturbed(2.0, 1.0, broken)).nfe == 12
    assert drawn(model, Perturbed(1.0, 1.0, broken)).nfe == 8
    late = Interval(Perturbed(2.0, 1.0, broken), 0.5, 1.0, outside=ClassifierFree(2.0))
    assert drawn(model, late).nfe == 2 * 2 + 2 * 3
    torch.testing.assert_close(
        drawn(model, Perturbed(2.0, 0.0, broken)).latents,
        drawn(model, ClassifierFree(2.0)).latents,
        rtol=0,
        atol=1e-4,
    )
    assert any_kind(late) and not any_kind(ZeroStar(2.0))


def test_momentum_is_remembered_within_a_run_and_forgotten_after_it(model):
    rule = Projected(5.0, momentum=-0.5)
    first, again = drawn(model, rule), drawn(model, rule)
    torch.testing.assert_close(first.latents, again.latents, rtol=0, atol=0)
    assert (first.latents - drawn(model, Projected(5.0)).latents).abs().max() > 1e-5
    rows = PerPicture([rule, Projected(5.0)])
    mixed = drawn(model, rows)
    torch.testing.assert_close(mixed.latents[:1], first.latents[:1], rtol=0, atol=1e-5)


def test_zero_init_asks_nothing_and_moves_along_the_line(model):
    run = drawn(model, ZeroStar(2.0, zero_steps=1))
    assert run.nfe == 6
    step = run.trajectory[0]
    torch.testing.assert_close(step.eps, step.x0, rtol=0, atol=1e-5)  # velocity 0: noise and picture alike


def test_plus_needs_to_know_where_the_step_goes(model):
    moment = Moment(1, 4, 500, 0.4)
    with pytest.raises(ValueError, match="nobody says where the step goes; allowed: one evaluation a step"):
        Plus(0.5)(Predictions({UNCOND: U, COND: C}, X), moment)
    with pytest.raises(ValueError, match="nobody says where the step goes"):
        drawn(model, Plus(0.5), sampler="heun")
    scale = plus_scale(0.5, 0.4, 0.6)
    torch.testing.assert_close(
        Plus(0.5)({UNCOND: U, COND: C}, moment._replace(alpha_bar_s=0.6)), U + scale * (C - U)
    )
    assert scale > 0.5


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: AutoGuidance(2.0, "weak"), "weak is 'weak'; allowed: a denoiser"),
        (lambda: Perturbed(2.0, NAN, None), "perturbed_scale is nan; allowed: a finite number"),
        (lambda: Perturbed(2.0, 1.0, None), "perturbed is None; allowed: a denoiser"),
        (lambda: ZeroStar(2.0, -1), "zero_steps is -1; allowed: an integer of 0 or more"),
        (lambda: ZeroStar(NAN), "scale is nan; allowed: a finite number"),
        (lambda: Plus(NAN), "weight is nan; allowed: a finite number"),
        (lambda: Thresholded(2.0, 0.0), "percentile is 0.0; allowed: above 0, at most 1"),
        (lambda: Thresholded(2.0, 0.9, 0.0), "bound is 0.0; allowed: finite and above 0"),
        (lambda: thresholded(X, 0.9, NAN), "bound is nan; allowed: finite and above 0"),
        (lambda: Projected(2.0, momentum=NAN), "momentum is nan; allowed: a finite number"),
        (lambda: Projected(2.0, bound=0), "bound is 0; allowed: a finite number above 0"),
        (lambda: zero_star(U, C[:1], 2.0), r"cond.shape is \(1, 4, 8, 8\); allowed: \(3, 4, 8, 8\)"),
        (lambda: plus_scale(0.5, 0.6, 0.4), "is .0.6, 0.4.; allowed: 0 <= alpha_bar_t < alpha_bar_s <= 1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_two_rules_may_not_mean_two_models_by_one_name(model, weak):
    rules = [AutoGuidance(2.0, weak), AutoGuidance(2.0, model)]
    with pytest.raises(ValueError, match="two denoisers for the branch 'weak'"):
        PerPicture(rules)
    assert others_of(*rules[:1]) == {WEAK: weak}


def test_a_weak_model_of_other_latents_is_refused(model):
    class Other:
        latent_shape = (4, 8, 9)
        eps = encode_text = staticmethod(lambda *a: None)

    with pytest.raises(ValueError, match=r"weak.latent_shape is \(4, 8, 9\); allowed: \(4"):
        drawn(model, AutoGuidance(2.0, Other()))


def test_layers_of_a_broken_copy_must_be_there(model):
    with pytest.raises(ValueError, match="layers is .'nowhere',.; allowed: beginnings of .*mid_block"):
        perturbed(model, ("nowhere",))
    with pytest.raises(ValueError, match="kind is 'half'; allowed: 'identity', 'skip'"):
        perturbed(model, kind="half")
    with pytest.raises(UnsupportedModelError, match="model is .*; allowed: one whose U-Net our samplers ask"):
        perturbed(object())


@pytest.mark.parametrize("kind", ["identity", "skip"])
def test_both_kinds_break_something_and_not_the_same(model, kind):
    x = gaussian((1, *model.latent_shape), 6)
    with torch.no_grad():
        own = model.eps(x, 500, "red")
        one, other = (perturbed(model, kind=k).eps(x, 500, "red") for k in ("identity", "skip"))
    assert (own - one).abs().max() > 1e-6 and (one - other).abs().max() > 1e-7


# Normalized attention guidance


def by_hand(p, n, scale, tau, alpha):
    """The authors' lines, position by position."""
    z = p * scale - n * (scale - 1)
    out = torch.empty_like(p)
    for i in range(p.shape[0]):
        for j in range(p.shape[1]):
            ratio = z[i, j].abs().sum() / p[i, j].abs().sum()
            kept = z[i, j] * min(ratio, tau) / ratio
            out[i, j] = kept * alpha + p[i, j] * (1 - alpha)
    return out


@pytest.mark.parametrize(
    "scale, tau, alpha", [(1.0, 2.5, 0.25), (5.0, 2.5, 0.25), (11.0, 1.2, 1.0), (5.0, 1e6, 0.5)]
)
def test_normalized_is_the_authors_formula(scale, tau, alpha):
    p, n = (gaussian((2, 6, 5), seed=k).double() for k in (7, 8))
    torch.testing.assert_close(normalized(p, n, scale, tau, alpha), by_hand(p, n, scale, tau, alpha))


def test_no_push_no_change_and_the_bound_holds():
    p, n = (gaussian((2, 6, 5), seed=k).double() for k in (7, 8))
    torch.testing.assert_close(normalized(p, n, 1.0), p)
    torch.testing.assert_close(normalized(p, p, 9.0), p)
    long = normalized(p, n, 50.0, tau=1.5, alpha=1.0).abs().sum(-1) / p.abs().sum(-1)
    assert (long <= 1.5 + 1e-9).all() and (long > 1.49).any()


def test_nag_in_a_model_is_one_evaluation_and_leaves_the_model_alone(model):
    before = drawn(model, ClassifierFree(1.0))
    same = drawn(nag(model, "blue", 1.0), ClassifierFree(1.0))
    torch.testing.assert_close(same.latents, before.latents, rtol=0, atol=1e-5)
    pushed = drawn(nag(model, "blue", 11.0, alpha=1.0), ClassifierFree(1.0))
    assert (pushed.latents - before.latents).abs().max() > 1e-4 and pushed.nfe == before.nfe == 4
    itself = drawn(nag(model, "red", 11.0, alpha=1.0), ClassifierFree(1.0))
    torch.testing.assert_close(itself.latents, before.latents, rtol=0, atol=1e-4)
    torch.testing.assert_close(drawn(model, ClassifierFree(1.0)).latents, before.latents, rtol=0, atol=0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scale": NAN}, "scale is nan; allowed: a finite number"),
        ({"tau": 0.5}, "tau is 0.5; allowed: a number from 1 to inf"),
        ({"alpha": 1.5}, "alpha is 1.5; allowed: a number from 0 to 1"),
    ],
)
def test_nag_refuses_what_it_cannot_do(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        nag(model, "red", **arguments)


def test_nag_is_for_u_nets():
    with pytest.raises(UnsupportedModelError, match="allowed: one whose U-Net our samplers ask"):
        nag(object(), "red")
