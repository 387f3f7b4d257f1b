"""From pure noise, and in other kinds of prediction: the limit of every sampler's step, and what rules make of x0."""

from math import sqrt

import pytest
import torch

from diffusion_tutorial import guidance as g
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import SAMPLERS, Moment, Walk, pure_noise_step
from diffusion_tutorial.schedules import ZeroTerminalSNRError

X, X0, Z = (gaussian((2, 3, 4, 4), 1, stream=k).double() for k in range(3))
NO_LIMIT, AVERAGES = (
    "euler-u2",
    "heun",
)  # Heun's mean of two slopes has none either: there the first step is Euler's


def near(sampler, eta, a, a_s):
    """The sampler's own step from a small alpha_bar, to the network that expects X0."""
    eps = (X - sqrt(a) * X0) / sqrt(1 - a)
    return SAMPLERS[sampler].step(X, eps, a, a_s, Walk(eta, lambda: Z, [], lambda x: eps, "u"))[0]


@pytest.mark.parametrize("a_s", [0.02, 0.7, 1.0])
@pytest.mark.parametrize(
    "sampler, eta",
    [(name, 0.0) for name in SAMPLERS if name not in (NO_LIMIT, AVERAGES)] + [("ddim", 0.4), ("ddim", 1.0)],
)
def test_the_step_from_pure_noise_is_the_limit_of_the_steps_from_near_it(sampler, eta, a_s):
    found = pure_noise_step(X, X0, a_s, sampler, eta, lambda: Z)
    errors = [(found - near(sampler, eta, a, a_s)).abs().max() for a in (1e-6, 1e-14)]
    assert errors[1] < 1e-4
    assert a_s == 1.0 or errors[0] > errors[1]  # at alpha_bar = 1 it is x0 from anywhere


def test_a_step_without_a_limit_grows():
    sizes = [near(NO_LIMIT, 0.0, a, 0.5).abs().max() for a in (1e-6, 1e-10)]
    assert sizes[1] > 50 * sizes[0] > 50


RULES = {
    "conditional": g.Conditional(),
    "unconditional": g.Unconditional(),
    "free": g.ClassifierFree(5.0),
    "negative": g.NegativePrompt(5.0),
    "three": g.ThreeBranch(5.0, 1.5),
    "weighted": g.WeightedNegative(5.0, 0.4),
    "ramped": g.WeightedNegative(5.0, g.Ramp(0.3, 0.9)),
    "several": g.SeveralNegatives(5.0, (1.5, 0.5)),
    "perpendicular": g.PerpNeg(5.0, 0.8),
    "scheduled": g.ScheduledScale(g.Ramp(1.5, 7.0)),
    "interval": g.Interval(g.PerpNeg(5.0), 0.2, 0.8),
    "outside": g.Interval(g.PerpNeg(5.0), 0.6, 0.8),
    "a picture each": g.PerPicture([g.ClassifierFree(2.0), g.PerpNeg(3.0)]),
}
OTHERS = {
    "rescaled": g.Rescaled(5.0, 0.7),
    "projected": g.Projected(5.0, 0.2),
    "late": g.Interval(g.Projected(5.0, 0.2), 0.2, 0.8),
    "one of two": g.PerPicture([g.ClassifierFree(2.0), g.Rescaled(3.0, 0.7)]),
}
BRANCHES = ("uncond", "cond", "neg", "neg0", "neg1")
BY_BRANCH = {name: gaussian(X.shape, 2, stream=k).double() for k, name in enumerate(BRANCHES)}


def by_eps(rule, a):
    """The rule on the noise, at a level where there is one, and back to x0."""
    eps = {name: (X - sqrt(a) * x0) / sqrt(1 - a) for name, x0 in BY_BRANCH.items()}
    guided = rule(g.Predictions(eps, X), Moment(2, 5, 400, a))
    return (X - sqrt(1 - a) * guided) / sqrt(a)


@pytest.mark.parametrize("a", [0.001, 0.3, 0.95])
@pytest.mark.parametrize("name", RULES | OTHERS)
def test_a_rule_on_x0_is_the_rule_on_the_noise(name, a):
    rule = (RULES | OTHERS)[name]
    assert g.any_kind(rule) == (name in RULES)
    found = g.guided_x0(rule, BY_BRANCH, X, Moment(2, 5, 400, a))
    torch.testing.assert_close(found, by_eps(rule, a), atol=1e-9, rtol=1e-9)


def test_what_any_kind_says_is_so():
    """Handed x0 as if it were noise, the others give something else: they must be told."""
    for name, rule in OTHERS.items():
        wrong = rule(g.Predictions(BY_BRANCH, X), Moment(2, 5, 400, 0.3))
        assert (wrong - by_eps(rule, 0.3)).abs().max() > 0.1, name


def test_rules_at_pure_noise():
    """At alpha_bar = 0 the noise is x_t whatever the picture; rules act on x0 there, projection exactly so."""
    moment = Moment(0, 5, 999, 0.0)
    expected = g.projected(BY_BRANCH["uncond"], BY_BRANCH["cond"], 5.0, 0.2)
    found = g.guided_x0(g.Projected(5.0, 0.2), BY_BRANCH, X, moment)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    plain = g.guided_x0(g.ClassifierFree(5.0), BY_BRANCH, X, moment)
    assert torch.equal(plain, g.classifier_free(BY_BRANCH["uncond"], BY_BRANCH["cond"], 5.0))
    slope = g.ClassifierGuidance(2.0, lambda x, t: torch.ones_like(x))
    late = g.Interval(slope, 0.2, 1.0, g.Unconditional())
    found = g.guided_x0(late, BY_BRANCH, X, moment)
    torch.testing.assert_close(found, BY_BRANCH["uncond"], atol=1e-9, rtol=1e-9)
    for rule in (slope, g.Interval(slope, 0.0, 1.0), g.PerPicture([g.Unconditional(), slope])):
        with pytest.raises(ZeroTerminalSNRError, match="guidance is .* at alpha_bar = 0, pure noise"):
            g.guided_x0(rule, BY_BRANCH, X, moment)
