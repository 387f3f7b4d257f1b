"""Negative prompts beyond the two formulas: refinements, `sample`'s further negatives, the board, the widget, and
which pipelines take one.
"""

import inspect
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial import guidance as g
from diffusion_tutorial import metrics
from diffusion_tutorial.checkpoints import random_pipeline, wrap
from diffusion_tutorial.errors import PromptError
from diffusion_tutorial.experiments import negative_prompts as experiment
from diffusion_tutorial.landscape.support import support
from diffusion_tutorial.mixtures import NAMES, OUTSIDE, Board, levels, of_colour
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.plots import to_pil
from diffusion_tutorial.samplers import Moment
from diffusion_tutorial.widgets import negative_widget

SHAPE = (3, 4, 5, 3)
E0, EP, EN, EM = (gaussian(SHAPE, seed).double() for seed in (1, 2, 3, 4))
scales = st.floats(-20, 20, allow_nan=False)


@pytest.fixture(scope="module")
def model():
    return wrap(random_pipeline(), "tiny")


# ------------------------------------------------------------------------------------------------------------
# Functions


@given(scales, scales)
@settings(max_examples=40, deadline=None)
def test_weighted_negative_is_three_branch(s, w):
    """With lambda_pos = s and lambda_neg = w (s - 1), for every s and w."""
    left, right = g.weighted_negative(E0, EP, EN, s, w), g.three_branch(E0, EP, EN, s, w * (s - 1))
    torch.testing.assert_close(left, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("s", [-1.0, 0.0, 1.0, 4.0])
def test_weighted_negative_is_exact_at_its_ends(s):
    assert torch.equal(g.weighted_negative(E0, EP, EN, s, 0), g.classifier_free(E0, EP, s))
    assert torch.equal(g.weighted_negative(E0, EP, EN, s, 1), g.negative_prompt(EN, EP, s))


def test_several_negatives_of_one_is_three_branch_and_of_equals_adds_weights():
    torch.testing.assert_close(g.several_negatives(E0, EP, [EN], 4, [2]), g.three_branch(E0, EP, EN, 4, 2))
    torch.testing.assert_close(
        g.several_negatives(E0, EP, [EN, EN], 4, [2, 1]), g.three_branch(E0, EP, EN, 4, 3)
    )
    swapped = g.several_negatives(E0, EP, [EM, EN], 4, [1, 2])
    torch.testing.assert_close(g.several_negatives(E0, EP, [EN, EM], 4, [2, 1]), swapped)
    torch.testing.assert_close(g.several_negatives(E0, EP, [], 4, []), g.classifier_free(E0, EP, 4.0))


def test_perpendicular_is_at_right_angles_row_by_row():
    left = g.perpendicular(EN, EP)
    assert (left * EP).flatten(1).sum(1).abs().max() < 1e-10
    along = EN - left
    for k in range(len(EN)):  # what was taken off is a multiple of the axis, each row its own
        torch.testing.assert_close(along[k], (along[k] * EP[k]).sum() / EP[k].square().sum() * EP[k])
    torch.testing.assert_close(g.perpendicular(EN[1:2], EP[1:2]), left[1:2])
    assert torch.equal(g.perpendicular(EN, torch.zeros_like(EN)), EN)


def test_perp_neg_is_the_authors_form():
    """Their code: uncond + s (pos - w (neg - <neg, pos> / |pos|^2 pos)), with pos and neg taken from uncond."""
    pos, neg = EP[:1] - E0[:1], EN[:1] - E0[:1]
    expected = E0[:1] + 4.0 * (pos - 0.7 * (neg - (neg * pos).sum() / pos.norm() ** 2 * pos))
    torch.testing.assert_close(g.perpendicular_negative(E0[:1], EP[:1], EN[:1], 4.0, 0.7), expected)


def test_perp_neg_leaves_the_push_along_the_whole_prompt_alone():
    plain = g.classifier_free(E0, EP, 4.0)
    torch.testing.assert_close(g.perpendicular_negative(E0, EP, EP, 4.0), plain)
    torch.testing.assert_close(g.perpendicular_negative(E0, EP, E0 + 2 * (EP - E0), 4.0), plain)
    torch.testing.assert_close(g.perpendicular_negative(E0, EP, E0, 4.0), plain)
    # The push along d_pos is s times it, whatever the negative.
    push, axis = g.perpendicular_negative(E0, EP, EN, 4.0) - E0, EP - E0
    torch.testing.assert_close(
        (push * axis).flatten(1).sum(1), 4.0 * axis.square().flatten(1).sum(1), rtol=1e-9, atol=1e-9
    )


def test_catches_the_projection_on_the_wrong_vector():
    """A public implementation first took off the part of the positive along the negative: it removes nothing."""
    pos, neg = EP - E0, EN - E0
    wrong = E0 + 4.0 * (pos - (pos * neg).flatten(1).sum(1).view(-1, 1, 1, 1) / neg.square().flatten(1).sum(1).view(
        -1, 1, 1, 1) * neg)  # fmt: skip
    assert (wrong - g.perpendicular_negative(E0, EP, EN, 4.0)).abs().mean() > 0.5


NAN = float("nan")


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: g.weighted_negative(E0, EP, EN, NAN, 0.5), "guidance_scale is .*; allowed: a finite number"),
        (lambda: g.weighted_negative(E0, EP, EN, 2.0, NAN), "weight is .*; allowed: a finite number"),
        (lambda: g.weighted_negative(E0, EP, EN[:1], 2.0, 0.5), "eps_neg\\.shape is .*; allowed:"),
        (lambda: g.several_negatives(E0, EP, [EN], 2.0, [1, 2]), "lambdas_neg is .*; allowed: 1 weights"),
        (
            lambda: g.several_negatives(E0, EP, [EN, EM[:1]], 2.0, [1, 2]),
            r"eps_negs\[1\]\.shape is .*; allowed:",
        ),
        (
            lambda: g.several_negatives(E0, EP, [EN], 2.0, [NAN]),
            r"lambdas_neg\[0\] is .*; allowed: a finite number",
        ),
        (
            lambda: g.perpendicular_negative(E0, EP, EN, 2.0, NAN),
            "neg_weight is .*; allowed: a finite number",
        ),
        (lambda: g.perpendicular_negative(E0, EP[:1], EN, 2.0), "eps_pos\\.shape is .*; allowed:"),
        (lambda: g.perpendicular(EN, EP[:1]), "axis\\.shape is .*; allowed:"),
        (lambda: g.WeightedNegative(NAN), "scale is .*; allowed: a finite number"),
        (lambda: g.WeightedNegative(2.0, NAN), "weight is .*; allowed: a finite number"),
        (
            lambda: g.WeightedNegative(2.0, lambda f: NAN).needs(Moment(0, 10, 500, 0.5)),
            "weight is .*; allowed: a finite number",
        ),
        (lambda: g.Ramp(0, NAN), "last is .*; allowed: a finite number"),
        (lambda: g.SeveralNegatives(2.0, ()), "lambdas_neg is empty"),
        (lambda: g.SeveralNegatives(2.0, (1.0, NAN)), r"lambdas_neg\[1\] is .*; allowed: a finite number"),
        (lambda: g.PerpNeg(NAN), "scale is .*; allowed: a finite number"),
        (lambda: g.PerpNeg(2.0, NAN), "neg_weight is .*; allowed: a finite number"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


# ------------------------------------------------------------------------------------------------------------
# Rules


def run(rule, step=0, num_steps=10):
    """Call a rule with what it asks for and nothing else."""
    every = {"uncond": E0, "cond": EP, "neg": EN, "neg0": EN, "neg1": EM}
    needs = rule.needs(Moment(step, num_steps, 500, 0.5))
    assert set(needs) <= set(rule.branches)
    return rule({name: every[name] for name in needs}, Moment(step, num_steps, 500, 0.5))


@pytest.mark.parametrize(
    "rule, branches, expected",
    [
        (g.WeightedNegative(4.0), {"neg", "cond"}, g.negative_prompt(EN, EP, 4.0)),
        (g.WeightedNegative(4.0, 0), {"uncond", "cond"}, g.classifier_free(E0, EP, 4.0)),
        (g.WeightedNegative(4.0, 0.3), {"uncond", "neg", "cond"}, g.weighted_negative(E0, EP, EN, 4.0, 0.3)),
        (g.WeightedNegative(4.0, g.Ramp(1, 0)), {"uncond", "neg", "cond"}, g.negative_prompt(EN, EP, 4.0)),
        (
            g.SeveralNegatives(4.0, (2, 1)),
            {"uncond", "cond", "neg0", "neg1"},
            g.several_negatives(E0, EP, [EN, EM], 4, [2, 1]),
        ),
        (g.PerpNeg(4.0, 0.5), {"uncond", "cond", "neg"}, g.perpendicular_negative(E0, EP, EN, 4.0, 0.5)),
    ],
)
def test_rules(rule, branches, expected):
    assert set(rule.branches) == branches
    assert torch.equal(run(rule), expected)


def test_a_schedule_asks_for_what_its_weight_needs():
    rule = g.WeightedNegative(4.0, g.Ramp(0, 1))
    assert [len(rule.needs(Moment(k, 4, 500, 0.5))) for k in range(4)] == [2, 3, 3, 3]
    torch.testing.assert_close(run(rule, 2, 4), g.weighted_negative(E0, EP, EN, 4.0, 0.5))
    late = g.WeightedNegative(4.0, lambda fraction: float(fraction >= 0.5))
    window = g.Interval(g.NegativePrompt(4.0), 0.5, 1.0, outside=g.ClassifierFree(4.0))
    for k in range(10):
        assert torch.equal(run(late, k), run(window, k)) and len(late.needs(Moment(k, 10, 500, 0.5))) == 2


# ------------------------------------------------------------------------------------------------------------
# In `sample`


def sample(model, **changes):
    return model.sample(
        **{"prompt": "red", "num_inference_steps": 4, "num_images": 2, "keep_trajectory": False} | changes
    )


@pytest.mark.parametrize("s", [1.0, 2.0, 4.0, 7.5])
def test_guess_and_used_formula_make_the_same_trajectory(model, s):
    """At lambda_pos = s, lambda_neg = s - 1, step by step through the network."""
    guess, used = (
        model.sample(
            "red", "blue" if rule.branches != ("cond",) else None, 6, guidance=rule, num_images=2, seed=3
        )
        for rule in (g.ThreeBranch(s, s - 1), g.NegativePrompt(s))
    )
    for a, b in zip(guess.trajectory, used.trajectory, strict=True):
        assert (a.x_s - b.x_s).abs().max() <= 1e-4 * b.x_s.abs().max()
    if s > 1:  # and the two do not both ignore the negative
        plain = sample(model, num_inference_steps=6, guidance_scale=s, seed=3)
        assert (used.latents - plain.latents).abs().max() > 1e-3


@pytest.mark.parametrize("s", [0.0, 2.0, 4.0, 15.0])
def test_special_negatives_in_the_loop(model, s):
    """An empty negative is plain guidance, bit for bit; the prompt itself gives the conditional run."""
    empty = sample(model, negative_prompt="", guidance_scale=s)
    assert torch.equal(empty.latents, sample(model, guidance_scale=s).latents)
    assert torch.equal(empty.images, sample(model, guidance_scale=s).images)
    itself, conditional = (
        sample(model, negative_prompt="red", guidance_scale=s),
        sample(model, guidance_scale=1.0),
    )
    assert (itself.latents - conditional.latents).abs().max() <= 1e-5 * conditional.latents.abs().max()


def test_scale_one_warns_and_lengths_are_checked(model):
    with pytest.warns(UserWarning, match="negative_prompt has no effect at guidance_scale 1"):
        one = sample(model, negative_prompt="blue", guidance_scale=1.0)
    assert torch.equal(one.latents, sample(model, guidance_scale=1.0).latents)
    for wrong in ([], ["a", "b", "c"]):
        with pytest.raises(PromptError, match="negative_prompt is .*; allowed: a text, or a list of 2"):
            sample(model, prompt=["red", "green"], negative_prompt=wrong)
    with pytest.warns(UserWarning, match="negative_prompt is .x x .*, more than the 77 tokens"):
        cut = sample(model, negative_prompt="x " * 80)
    assert torch.equal(cut.latents, sample(model, negative_prompt="x " * 75).latents)


def test_several_negatives_in_sample(model):
    rule = g.SeveralNegatives(3.0, (2.0, 1.0))
    both = sample(model, guidance=rule, negatives=["blue", "green"])
    assert both.nfe == 4 * 4
    assert torch.equal(
        both.latents, sample(model, prompt=["red"], guidance=rule, negatives=("blue", "green")).latents
    )
    one = sample(model, guidance=g.SeveralNegatives(3.0, (2.0,)), negatives=["blue"])
    three = sample(model, negative_prompt="blue", guidance=g.ThreeBranch(3.0, 2.0))
    torch.testing.assert_close(one.latents, three.latents, rtol=1e-4, atol=1e-4)
    assert (both.latents - one.latents).abs().max() > 1e-3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"negatives": ["blue"]}, "guidance is None; allowed with 1 negatives: a rule"),
        (
            {"negatives": ["blue"] * 3, "guidance": g.SeveralNegatives(3.0, (1, 1))},
            "allowed with 3 negatives",
        ),
        ({"guidance": g.SeveralNegatives(3.0, (1.0, 1.0)), "negatives": ["blue"]}, "guidance is SeveralNeg"),
        ({"guidance": g.SeveralNegatives(3.0, (1.0,))}, "guidance is SeveralNegatives"),
        ({"negatives": "blue", "guidance": g.SeveralNegatives(3.0, (1.0,))}, "negatives is 'blue'; allowed"),
        ({"negatives": [], "guidance": g.SeveralNegatives(3.0, (1.0,))}, r"negatives is \[\]; allowed"),
        ({"negatives": [3], "guidance": g.SeveralNegatives(3.0, (1.0,))}, "negatives is 3; allowed: text"),
    ],
)
def test_bad_negatives_are_named(model, changes, message):
    with pytest.raises(ValueError, match=message):
        sample(model, **changes)


def test_long_negatives_are_cut_with_a_word(model):
    with pytest.warns(UserWarning, match="negatives"):
        sample(model, negatives=["x" * 90], guidance=g.SeveralNegatives(3.0, (1.0,)))


# ------------------------------------------------------------------------------------------------------------
# The board


BOARD = Board()


def test_the_board_names_its_blobs():
    assert BOARD.named("red sphere") == [0] and BOARD.named("cube") == [4, 5, 6, 7]
    assert [NAMES[k] for k in BOARD.named("blue")] == ["blue sphere", "blue cube"]
    assert BOARD.named("") == list(range(8)) and BOARD.named("red blue") == []
    shares = BOARD.read(torch.cat([BOARD.centres, torch.tensor([[9.0, 9.0], [0.0, 0.0]]).double()]))
    assert all(shares[name] == pytest.approx(0.1) for name in NAMES) and shares[OUTSIDE] == pytest.approx(0.2)
    assert of_colour(shares, "red") == pytest.approx(0.2)


def test_the_truth_without_a_negative_is_what_bayes_says():
    """eps of p(x | not n) is eps0 - P / (1 - P) (eps_n - eps0) with P = p(n | x_t)."""
    x = gaussian((64, 2), 5).double() * 1.5
    for alpha_bar in (0.01, 0.3, 0.9):
        share = BOARD.has("red", x, alpha_bar)[:, None]
        e0, en = BOARD.whole.eps(x, alpha_bar), BOARD.prompt("red").eps(x, alpha_bar)
        expected = BOARD.without("", "red").eps(x, alpha_bar)
        near = (share[:, 0] < 0.999).nonzero()[:, 0]  # elsewhere 1 - P has lost its digits
        torch.testing.assert_close(
            (e0 - share / (1 - share) * (en - e0))[near], expected[near], rtol=1e-6, atol=1e-6
        )


def test_sampling_the_board():
    points = BOARD.sample(g.ClassifierFree(4.0), "sphere", "", 200, 1)
    shares = BOARD.read(points)
    assert sum(shares[name] for name in NAMES if "sphere" in name) > 0.99
    truth = BOARD.read(BOARD.ends(BOARD.exact("sphere", "red"), 200, 1))
    assert truth["red sphere"] == 0 and truth[OUTSIDE] < 0.02
    same = BOARD.sample(g.NegativePrompt(7.0), "sphere", "sphere", 50, 2)
    torch.testing.assert_close(same, BOARD.sample(g.Conditional(), "sphere", "", 50, 2))
    empty = BOARD.sample(g.NegativePrompt(7.0), "sphere", "", 50, 2)
    torch.testing.assert_close(empty, BOARD.sample(g.ClassifierFree(7.0), "sphere", "", 50, 2))
    assert len(levels(20)) == 20 and levels(20) == sorted(levels(20))


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: BOARD.named("pink"), "text is 'pink'; allowed: words of red"),
        (lambda: BOARD.prompt("red blue"), "blobs is"),
        (lambda: BOARD.without("red", ""), "blobs is"),
        (lambda: Board(0.7), "std is 0.7; allowed"),
        (lambda: BOARD.sample(g.Conditional(), "red", "", 0, 1), "n is 0; allowed"),
    ],
)
def test_bad_boards_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


# ------------------------------------------------------------------------------------------------------------
# Pipelines


def test_support_agrees_with_the_classes_themselves():
    import diffusers

    rows = {row.pipeline: row for row in support()}
    assert len(rows) >= 20
    for name in (
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "FluxPipeline",
        "PixArtAlphaPipeline",
    ):
        names = inspect.signature(getattr(diffusers, name).__call__).parameters
        assert rows[name].takes_negative == ("negative_prompt" in names)
        for scale, default in rows[name].scales.items():
            assert names[scale].default == default
    sd, xl, flux = (rows[n] for n in ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline"))
    assert "guidance_scale > 1" in sd.condition and not sd.zeros_when_empty and xl.zeros_when_empty
    assert flux.off_by_default and flux.embeds_scale and not sd.off_by_default
    lcm = rows["LatentConsistencyModelPipeline"]
    assert not lcm.takes_negative and not lcm.off_by_default


# ------------------------------------------------------------------------------------------------------------
# The widget


@pytest.fixture
def widget(model):
    made = negative_widget(model, "red", "blue", steps=4, scale=1, guidance=3.0, seed=2, delay=0.02)
    yield made
    assert made.wait(30)


def test_the_widget_shows_what_sample_makes(widget, model):
    shown = widget.shown
    common = {"num_inference_steps": 4, "seed": 2}
    assert torch.equal(shown.plain.images, model.sample("red", guidance_scale=3.0, **common).images)
    assert list(shown.by_formula) == ["used", "guessed"]
    used = model.sample("red", "blue", guidance_scale=3.0, **common)
    guessed = model.sample("red", "blue", guidance=g.ThreeBranch(3.0, 3.0), **common)
    assert torch.equal(shown.by_formula["used"].images, used.images)
    assert torch.equal(shown.by_formula["guessed"].images, guessed.images)
    assert not torch.equal(used.images, guessed.images)
    page = widget.picture.value
    assert page.count("<img") == 1 and "3 pictures of the same noise" in page
    assert "without 8, in use 8, three predictions 12" in page and "seed 2" in page


def test_a_window_and_one_formula(widget, model):
    widget.window.value, widget.formula.value = (1, 3), "perpendicular"
    assert widget.wait(30) and widget.error == ""
    rule = g.Interval(g.PerpNeg(3.0), 0.25, 0.75, outside=g.ClassifierFree(3.0))
    expected = model.sample("red", "blue", 4, guidance=rule, seed=2)
    (found,) = widget.shown.by_formula.values()
    assert torch.equal(found.images, expected.images) and found.nfe == 2 + 3 + 3 + 2
    assert "at steps 2 to 3" in widget.picture.value
    widget.window.value = (2, 2)
    assert widget.wait(30) and "at no step" in widget.picture.value
    (found,) = widget.shown.by_formula.values()
    assert torch.equal(found.images, widget.shown.plain.images)


def test_scale_one_and_errors_are_told(widget, model, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        widget.guidance.value = 1.0
        assert widget.wait(30)
    assert "does not contain the negative prompt" in widget.status.value

    def refuse(text, name):
        if text == "dragon":
            raise PromptError(f"{name} is {text!r}: unknown word; allowed: others")

    monkeypatch.setattr(model, "check_prompt", refuse)
    widget.negative_prompt.value = "dragon"
    assert widget.wait(30)
    assert "negative_prompt is" in widget.status.value and widget.picture.value == ""


def test_the_widgets_pictures_are_side_by_side(widget):
    single = np.asarray(to_pil(widget.shown.plain)[0])
    assert single.shape[0] == single.shape[1]
    assert [s.seed for s in widget.shown.by_formula.values()] == [2, 2]


@pytest.mark.parametrize(
    "changes, name", [({"formula": "all"}, "formula is 'all'"), ({"steps": 0}, "steps is 0")]
)
def test_bad_widget_settings_are_named(model, changes, name):
    with pytest.raises(ValueError, match=name):
        negative_widget(model, "red", "blue", **changes)


# ------------------------------------------------------------------------------------------------------------
# The stored measurement


def test_the_stored_measurement_is_whole():
    results = experiment.Results.stored()
    names = [setting.name for setting in experiment.settings()]
    assert len(set(names)) == len(names)
    for setting in experiment.settings():
        found = results[setting]
        assert found["n"] == setting.n and {len(r) for r in found["read"].values()} == {setting.n}
        assert (found["prompt"], tuple(found["negatives"])) == (setting.prompt, setting.negatives)
        assert 0 < found["saturation"]["value"] < 1 and found["nfe"] >= 2 * experiment.STEPS
        assert abs(sum(results.shares(setting)) - 1) < 1e-9
    assert {"command", "commit", "date", "machine"} <= set(results.found)


def test_figures_follow_from_the_readings():
    a, b = (replace(experiment.none(4.0), name=name, n=4) for name in "ab")
    read = {"colour": "0012", "size": "0101"}
    results = experiment.Results(
        {"measured": {"a": {"read": read}, "b": {"read": read | {"colour": "3012"}}}}
    )
    assert results.rate(a, "red").value == 0.5 and results.rate(b, "red").value == 0.25
    assert results.removed(b, a, "red").value == 0.25
    assert results.shares(a, "size") == [0.5, 0.5] and results.spill(a, b, "size") == 0
    assert results.spill(a, b, "colour") == pytest.approx(0.25)
    assert a in results and experiment.none(2.0) not in results
    assert results.kept(b, a, ("colour", "size")).value == pytest.approx(7 / 8)
    assert results.entropy(a, "size").value == pytest.approx(1.0)


def test_one_setting_is_measured(model):
    class Blank:
        def read(self, pictures):
            return {"colour": torch.zeros(len(pictures), dtype=torch.long)}

    setting = experiment.Setting("x", "red", ("blue", "green"), g.SeveralNegatives(3.0, (1.0, 1.0)), n=3)
    found = experiment.measure(model, Blank(), setting)
    assert found["read"] == {"colour": "000"} and found["nfe"] == 4 * experiment.STEPS
    one = replace(setting, negatives=("blue",), rule=g.NegativePrompt(3.0))
    whole, cut = experiment.draw(model, one), experiment.draw(model, one, chunk=2)
    assert whole.nfe == 40 and (whole.images - cut.images).abs().max() < 1e-4
    flat = torch.full((2, 3, 8, 8), 0.5)
    assert metrics.saturation(flat).abs().max() == 0 and metrics.contrast(flat).abs().max() == 0
    flat[:, 0] = 1.0
    assert metrics.saturation(flat).tolist() == [0.5, 0.5]
