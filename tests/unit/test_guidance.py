"""guidance.py: the formulas, their identities, the rule objects, and the known mistakes."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial import guidance as g
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import Moment

SHAPE = (2, 4, 5, 3)
E0, EP, EN = (gaussian(SHAPE, seed).double() for seed in (1, 2, 3))
scales = st.floats(-20, 20, allow_nan=False)


def test_classifier_free_at_the_fixed_points():
    assert g.classifier_free(E0, EP, 1.0) is EP
    assert torch.equal(g.classifier_free(E0, EP, 0.0), E0)
    torch.testing.assert_close(g.classifier_free(E0, EP, 4.0), -3 * E0 + 4 * EP)


@settings(max_examples=40, deadline=None)
@given(scales)
def test_classifier_free_is_the_papers_formula(s):
    """(1 + w) eps_cond - w eps_uncond with w = s - 1."""
    w = s - 1
    torch.testing.assert_close(g.classifier_free(E0, EP, s), (1 + w) * EP - w * E0, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(scales)
def test_negative_prompt_is_the_three_branch_rule_without_the_empty_prompt(s):
    """The weight of eps_uncond is 1 - lp + ln, zero at lp = s, ln = s - 1."""
    left = g.three_branch(E0, EP, EN, s, s - 1)
    torch.testing.assert_close(left, g.negative_prompt(EN, EP, s), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(left, g.three_branch(EN, EP, EN, s, s - 1), rtol=1e-11, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(scales)
def test_with_equal_weights_the_two_formulas_differ_by_uncond_minus_neg(s):
    difference = g.three_branch(E0, EP, EN, s, s) - g.negative_prompt(EN, EP, s)
    torch.testing.assert_close(difference, E0 - EN, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("s", [-2.0, 0.0, 1.0, 3.7, 15.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_special_negatives(s, dtype):
    e0, ep = E0.to(dtype), EP.to(dtype)
    assert torch.equal(g.negative_prompt(e0, ep, s), g.classifier_free(e0, ep, s))  # empty negative
    assert torch.equal(g.negative_prompt(ep, ep, s), ep)  # negative equal to positive
    assert g.negative_prompt(e0, ep, s).dtype == dtype


def test_classifier():
    expected = E0 - math.sqrt(1 - 0.3) * 2.5 * EP
    torch.testing.assert_close(g.classifier(E0, EP, 0.3, 2.5), expected)
    assert torch.equal(g.classifier(E0, EP, 0.3, 0.0), E0)
    assert torch.equal(g.classifier(E0, EP, 1.0, 5.0), E0)  # no noise, no push


def test_classifier_with_the_bayes_gradient_is_classifier_free():
    """grad log p(y|x_t) = -(eps_cond - eps_uncond) / sqrt(1 - alpha_bar) by Bayes' rule."""
    grad = -(EP - E0) / math.sqrt(1 - 0.3)
    torch.testing.assert_close(g.classifier(E0, grad, 0.3, 3.0), g.classifier_free(E0, EP, 3.0))


# Mistakes seen in public teaching code. Each is written out here and must differ from ours.


def test_catches_guidance_on_three_of_four_channels():
    wrong = E0.clone()
    wrong[:, :3] = E0[:, :3] + 3.0 * (EP[:, :3] - E0[:, :3])
    right = g.classifier_free(E0, EP, 3.0)
    assert torch.equal(wrong[:, :3], right[:, :3])
    assert (wrong[:, 3] - right[:, 3]).abs().mean() > 0.5
    for channel in range(4):  # ours moves every channel
        assert (right[:, channel] - E0[:, channel]).abs().min() > 0


def test_catches_a_scale_off_by_one():
    wrong = EP + 3.0 * (EP - E0)
    assert torch.allclose(wrong, g.classifier_free(E0, EP, 4.0))
    assert (wrong - g.classifier_free(E0, EP, 3.0)).abs().mean() > 0.5


def test_catches_a_misplaced_root_in_classifier_guidance():
    right = g.classifier(E0, EP, 0.3, 2.0)
    for wrong in (E0 - (1 - 0.3) * 2 * EP, E0 - math.sqrt(0.3) * 2 * EP, E0 + math.sqrt(1 - 0.3) * 2 * EP):
        assert (wrong - right).abs().mean() > 0.1


# Rules


def run(rule, step=0, num_steps=10):
    """Call a rule with what it asks for and nothing else."""
    every = {"uncond": E0, "cond": EP, "neg": EN}
    needs = rule.needs(Moment(step, num_steps, 500, 0.5))
    assert set(needs) <= set(rule.branches)
    return rule({name: every[name] for name in needs}, Moment(step, num_steps, 500, 0.5))


@pytest.mark.parametrize(
    "rule, branches, expected",
    [
        (g.Conditional(), ("cond",), EP),
        (g.Unconditional(), ("uncond",), E0),
        (g.ClassifierFree(3.0), ("uncond", "cond"), g.classifier_free(E0, EP, 3.0)),
        (g.ClassifierFree(1.0), ("cond",), EP),
        (g.ClassifierFree(0.0), ("uncond",), E0),
        (g.NegativePrompt(3.0), ("neg", "cond"), g.negative_prompt(EN, EP, 3.0)),
        (g.NegativePrompt(1.0), ("cond",), EP),
        (g.NegativePrompt(0.0), ("neg",), EN),
        (g.ThreeBranch(4.0, 2.0), ("uncond", "cond", "neg"), g.three_branch(E0, EP, EN, 4.0, 2.0)),
    ],
    ids=str,
)
def test_rules(rule, branches, expected):
    assert rule.branches == branches
    assert torch.equal(run(rule), expected)
    field = [f.name for f in dataclasses.fields(rule)]
    if field:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rule, field[0], 2.0)


def test_interval():
    rule = g.Interval(g.ClassifierFree(3.0), start=0.2, stop=0.8)
    assert rule.branches == ("uncond", "cond")
    active = [len(rule.needs(Moment(k, 10, 500, 0.5))) == 2 for k in range(10)]
    assert active == [False] * 2 + [True] * 6 + [False] * 2
    assert torch.equal(run(rule, 1), EP)
    assert torch.equal(run(rule, 2), g.classifier_free(E0, EP, 3.0))
    other = g.Interval(g.NegativePrompt(3.0), 0.0, 0.5, outside=g.ClassifierFree(2.0))
    assert set(other.branches) == {"neg", "cond", "uncond"}
    assert torch.equal(run(other, 9), g.classifier_free(E0, EP, 2.0))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: g.classifier_free(E0, EP, NAN), "guidance_scale is nan; allowed: a finite number"),
        (lambda: g.negative_prompt(E0, EP, INF), "guidance_scale is inf; allowed: a finite number"),
        (lambda: g.three_branch(E0, EP, EN, 1.0, -INF), "lambda_neg is .*; allowed: a finite number"),
        (lambda: g.three_branch(E0, EP, EN, NAN, 1.0), "lambda_pos is .*; allowed: a finite number"),
        (lambda: g.classifier(E0, EP, 0.5, NAN), "scale is .*; allowed: a finite number"),
        (lambda: g.classifier(E0, EP, 1.5, 1.0), r"alpha_bar_t is 1.5; allowed: in \[0, 1\]"),
        (lambda: g.classifier_free(E0, EP[:1], 2.0), "eps_cond\\.shape is .*; allowed:"),
        (lambda: g.negative_prompt(E0, EP[:, :3], 2.0), "eps_pos\\.shape is .*; allowed:"),
        (lambda: g.three_branch(E0, EP, EN[:1], 2.0, 1.0), "eps_neg\\.shape is .*; allowed:"),
        (lambda: g.classifier(E0, EP[:1], 0.5, 1.0), "grad_log_prob\\.shape is .*; allowed:"),
        (lambda: g.ClassifierFree(INF), "scale is .*; allowed: a finite number"),
        (lambda: g.ClassifierFree("4"), "scale is '4'; allowed: a finite number"),
        (lambda: g.ClassifierFree(None), "scale is .*; allowed: a finite number"),
        (lambda: g.NegativePrompt(NAN), "scale is .*; allowed: a finite number"),
        (lambda: g.ThreeBranch(1.0, INF), "lambda_neg is .*; allowed: a finite number"),
        (lambda: g.Interval(g.Conditional(), 0.6, 0.4), r"\(start, stop\) is .*; allowed: 0 <= start"),
        (lambda: g.Interval(g.Conditional(), -0.1, 0.4), r"\(start, stop\) is .*; allowed: 0 <= start"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
