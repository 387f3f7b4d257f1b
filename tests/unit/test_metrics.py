"""metrics.py: known values, coverage of the intervals, bad input."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from diffusion_tutorial import metrics as m
from diffusion_tutorial.noise import gaussian, uniform

VALUES = {"shape": ("sphere", "cube"), "colour": ("red", "green", "blue")}
READ = {"shape": torch.tensor([0, 1, 1, 0]), "colour": torch.tensor([0, 0, 2, 1])}
SAID = [{"shape": "sphere", "colour": "red"}, {"shape": "cube", "colour": "green"}, {}, {"colour": "blue"}]


def test_adherence_by_hand():
    e = m.adherence(READ, SAID, VALUES)
    assert e.value == pytest.approx((1 + 0.5 + 0) / 3) and e.n == 3  # the third picture had nothing said
    assert m.all_right(READ, SAID, VALUES).value == pytest.approx(1 / 3)
    by_name = m.adherence_by_attribute(READ, SAID, VALUES)
    assert by_name["shape"].value == 1 and by_name["shape"].n == 2
    assert by_name["colour"].value == pytest.approx(1 / 3) and by_name["colour"].n == 3


def test_adherence_takes_one_caption_for_all_and_indices():
    assert m.adherence(READ, {"shape": "sphere"}, VALUES).value == 0.5
    assert m.adherence(READ, {"shape": 0}) == m.adherence(READ, {"shape": "sphere"}, VALUES)
    assert m.rate(READ["colour"], 0).value == 0.5


def test_readings_bring_their_words():
    words = {"shape": ("cube", "sphere")}
    read = m.Read({"shape": torch.tensor([0, 1])}, words)
    assert m.all_right(read, {"shape": "cube"}).value == 0.5
    assert m.all_right(dict(read), {"shape": "sphere"}, words).value == 0.5
    with pytest.raises(ValueError, match="said gives shape the value 'cube'; allowed: none"):
        m.all_right(dict(read), {"shape": "cube"})  # without words, a value is an index


def test_wilson_known_values():
    e = m.wilson(8, 10)
    assert (e.low, e.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert m.wilson(10, 10).high == 1 and m.wilson(10, 10).low == pytest.approx(0.7225, abs=1e-4)
    assert m.wilson(0, 10).low == 0
    assert str(m.wilson(8, 10)) == "0.800 [0.490, 0.943], n = 10"


def draws(law, n, seed):
    return torch.searchsorted(torch.tensor(law).double().cumsum(0)[:-1], uniform((1, n), seed)[0])


@pytest.mark.parametrize("law", [[0.5, 0.5], [1 / 8] * 8, [0.7, 0.2, 0.05, 0.05], [0.97, 0.03]])
def test_entropy_is_unbiased_and_its_interval_covers(law):
    truth = -sum(p * math.log2(p) for p in law)
    estimates = [m.entropy(draws(law, 300, s), len(law), resamples=200, seed=s) for s in range(120)]
    values = np.array([e.value for e in estimates])
    limit = 4 * values.std() / math.sqrt(len(values)) + 0.004
    assert abs(values.mean() - truth) < limit
    covered = np.mean([e.low - 1e-9 <= truth <= e.high + 1e-9 for e in estimates])
    assert covered > 0.86
    assert all(0 <= e.low <= e.value <= e.high <= math.log2(len(law)) + 1e-12 for e in estimates)


def test_the_plug_in_entropy_would_be_low():
    """Why the correction: 60 readings of 8 equal values."""
    counts = np.stack([np.bincount(draws([1 / 8] * 8, 60, s), minlength=8) for s in range(200)])
    assert 3 - m._plug_in_entropy(counts).mean() > 0.06
    assert abs(3 - m._miller_madow(counts).mean()) < 0.02


def test_entropy_corners():
    assert m.entropy([2, 2, 2], 3).value == 0 and m.entropy([0], 1) == m.Estimate(0.0, 0.0, 0.0, 1)
    assert m.entropy([0, 1] * 50, 2).value == 1


def test_total_variation():
    assert m.total_variation([0, 0, 1, 1], [0.5, 0.5]).value == 0
    assert m.total_variation([0, 0, 0, 0], [0.25] * 4).value == 0.75
    law = [0.4, 0.3, 0.2, 0.1]
    values = [m.total_variation(draws(law, 500, s), law, resamples=2).value for s in range(200)]
    assert np.mean(values) == pytest.approx(m.total_variation_floor(law, 500), rel=0.08)
    off = m.total_variation(draws([0.6, 0.1, 0.2, 0.1], 2000, 1), law)
    assert off.low < 0.2 < off.high and off.high - off.low < 0.1


def test_frechet_closed_form():
    """Between N(0, 1) and N(3, 4) on the line: 9 + (2 - 1)^2. The features have exactly these moments."""
    z = gaussian((1, 500), 1)[0].double()
    z = ((z - z.mean()) / z.std())[:, None]
    d = m.frechet_distance(z, 2 * z + 3)
    assert d.value == pytest.approx(10, abs=1e-9) and d.n == 500 and d.dimension == 1
    assert d.low < 10 < d.high


def test_frechet_against_scipy():
    a = gaussian((400, 12), 1).double() @ gaussian((12, 12), 2).double()
    b = gaussian((400, 12), 3).double() @ gaussian((12, 12), 4).double() + 0.5
    cov_a, cov_b = np.cov(a.numpy().T), np.cov(b.numpy().T)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + np.trace(cov_a + cov_b - 2 * root)
    ours = m.frechet_distance(a, b)
    assert ours.value == pytest.approx(expected, rel=1e-8)
    assert m.frechet_distance(b, a, resamples=0).value == pytest.approx(ours.value, rel=1e-8)
    assert "12 features" in str(ours)


def test_frechet_of_itself_and_of_few_pictures():
    a = gaussian((10, 40), 1)  # fewer pictures than features: singular covariances
    d = m.frechet_distance(a, a, resamples=0)
    assert 0 <= d.value < 1e-5 and d.low == d.high == d.value
    assert m.frechet_distance(a.float(), a.flip(0)).value < 1e-5


def test_frechet_interval_holds_the_spread_of_repeated_estimates():
    pairs = [(gaussian((300, 4), 2 * s), gaussian((300, 4), 2 * s + 1) * 1.3) for s in range(40)]
    values = [m.frechet_distance(a, b, resamples=0).value for a, b in pairs]
    half = m.frechet_distance(*pairs[0], resamples=100)
    assert (half.high - half.low) / 2 / 1.96 == pytest.approx(np.std(values), rel=0.5)


def test_psnr_and_mean():
    a = torch.zeros(3, 3, 8, 8)
    b = torch.stack([torch.full((3, 8, 8), v) for v in (0.1, 0.01, 0.0)])
    assert m.psnr(a, b)[:2].tolist() == pytest.approx([20.0, 40.0], abs=1e-4)
    assert m.psnr(a, b)[2] == math.inf
    e = m.mean([1.0, 2.0, 3.0, 4.0])
    assert (e.value, e.low, e.high) == (2.5, pytest.approx(0.4457, abs=1e-4), pytest.approx(4.5543, abs=1e-4))


def test_everything_repeats():
    x = draws([0.2, 0.3, 0.5], 100, 1)
    assert m.entropy(x, 3) == m.entropy(x, 3) and m.entropy(x, 3).low != m.entropy(x, 3, seed=1).low
    a, b = gaussian((50, 3), 1), gaussian((50, 3), 2)
    assert m.frechet_distance(a, b) == m.frechet_distance(a, b)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: m.adherence({}, {}), "readings"),
        (lambda: m.adherence({"shape": []}, {"shape": 0}), "readings"),
        (lambda: m.adherence({"shape": [0.5]}, {"shape": 0}), "readings"),
        (lambda: m.adherence({"shape": [0], "colour": [0, 1]}, {"shape": 0}), "one length"),
        (
            lambda: m.adherence(READ, SAID[:2], VALUES),
            "said is 2 dictionaries; allowed: one, or one for each of 4",
        ),
        (lambda: m.adherence(READ, {"size": 0}, VALUES), "said names 'size'.*allowed: shape, colour"),
        (lambda: m.adherence(READ, {"shape": "cone"}, VALUES), "'cone'; allowed: sphere, cube"),
        (lambda: m.adherence(READ, {}), "said"),
        (lambda: m.all_right(READ, [{}] * 4), "said"),
        (lambda: m.wilson(3, 2), "successes"),
        (lambda: m.wilson(1, 2, confidence=1.0), "confidence"),
        (lambda: m.entropy([], 2), "readings"),
        (lambda: m.entropy([0, 2], 2), r"readings is .*; allowed: values in \[0, 2\)"),
        (lambda: m.entropy([-1, 1], 2), "readings"),
        (lambda: m.total_variation([0, 1], [0.5, 0.6]), "law"),
        (lambda: m.total_variation([], [0.5, 0.5]), "readings"),
        (lambda: m.total_variation_floor([0.5, 0.5], 0), "n is .*; allowed:"),
        (lambda: m.frechet_distance(torch.zeros(5, 2), torch.zeros(6, 2)), "allowed: equal ones"),
        (lambda: m.frechet_distance(torch.zeros(1, 2), torch.zeros(1, 2)), "features_a"),
        (lambda: m.frechet_distance(torch.zeros(5, 2), torch.full((5, 2), math.nan)), "features_b"),
        (lambda: m.psnr(torch.zeros(0, 3), torch.zeros(0, 3)), "images"),
        (lambda: m.psnr(torch.zeros(2, 3), torch.zeros(3, 3)), "images"),
        (lambda: m.mean([1.0]), "values"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
