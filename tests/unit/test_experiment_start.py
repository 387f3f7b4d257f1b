"""The starts, the exact denoiser and the paired figures of `experiments.start`, and what it stored."""

import math

import pytest
import torch

from diffusion_tutorial.experiments import start
from diffusion_tutorial.experiments.few_steps import Setting
from diffusion_tutorial.experiments.start import (
    EXACT,
    GROUPS,
    MAIN,
    ROWS,
    SPACED,
    Gaussian,
    Surrogate,
    digits,
    key,
    paired_frechet,
    paired_total_variation,
    shares,
    starts,
)
from diffusion_tutorial.mixtures import GaussianMixture
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.results import read
from diffusion_tutorial.still_life.evaluate import law


def test_the_gaussian_start_has_the_moments_of_the_marginal():
    latents = 2 + gaussian((4000, 1, 2, 2), 5) @ torch.tensor([[1.0, 0.6], [0.0, 0.8]])
    fitted, z, a = Gaussian(latents), gaussian((20_000, 1, 2, 2), 6), 0.3
    x = fitted.start(z, a).flatten(1).double()
    wanted = a * torch.cov(latents.flatten(1).double().T) + (1 - a) * torch.eye(4)
    assert (torch.cov(x.T) - wanted).abs().max() < 0.03
    assert (x.mean(0) - math.sqrt(a) * latents.flatten(1).mean(0)).abs().max() < 0.03
    torch.testing.assert_close(fitted.start(z, 0.0), z, atol=1e-5, rtol=0)


def test_starts_hold_what_they_say():
    latents, z = 3 + gaussian((5, 1, 2, 2), 1), gaussian((5, 1, 2, 2), 2)
    assert starts("noise", z, 0.3, None, None) is z
    right = starts("marginal", z, 0.3, None, latents)
    torch.testing.assert_close(right, math.sqrt(0.3) * latents + math.sqrt(0.7) * z)
    with pytest.raises(ValueError, match="kind is 'marginal'"):
        starts("marginal", z, 0.3, None, None)


def test_the_surrogate_is_the_mixture_of_the_book():
    """Its eps, its classes and its draws, against `GaussianMixture` in three dimensions."""
    means = torch.tensor([[-2.0, 0.0, 1.0], [1.0, 2.0, 0.0], [0.0, -1.0, 3.0]])
    root = gaussian((3, 3), 4)
    cov = (root @ root.T / 3 + 0.1 * torch.eye(3)).double()
    cov = (cov + cov.T) / 2
    weights = torch.tensor([0.2, 0.5, 0.3])
    ours, book = Surrogate(means, cov, weights), GaussianMixture(weights, means, cov.expand(3, 3, 3))
    x = gaussian((50, 3), 5).double()
    for a in (0.005, 0.3, 0.95):
        torch.testing.assert_close(ours.eps(x, a), book.eps(x, a), atol=1e-9, rtol=0)
        assert torch.equal(ours.kind(x, a), book.responsibilities(x, a).argmax(1))
        normal = -0.5 * x.square().sum(1) - 1.5 * math.log(2 * math.pi)
        torch.testing.assert_close(ours.log_ratio(x, a), normal - book.log_prob(x, a), atol=1e-6, rtol=0)
    even = Surrogate(means, cov)
    drawn = even.draw(gaussian((40_000, 3), 6).double(), 0.7, seed=8)
    known = GaussianMixture([1.0] * 3, means, cov.expand(3, 3, 3)).at(0.7)
    assert (drawn.mean(0) - known.mean).abs().max() < 0.03 and (
        torch.cov(drawn.T) - known.cov
    ).abs().max() < 0.06


def test_the_surrogate_is_fitted_to_its_classes():
    labels = (torch.arange(9000) % 3).long()
    centres = torch.tensor([[0.0, 0.0], [3.0, 1.0], [-2.0, 4.0]])
    latents = centres[labels] + 0.5 * gaussian((9000, 2), 3)
    found = Surrogate.fit(latents, labels, 3)
    assert (found.means @ found.basis.T - centres).abs().max() < 0.05
    assert (found.spread - 0.25).abs().max() < 0.02
    assert (found.kind(latents.double(), 1.0) == labels).double().mean() > 0.99


def test_paired_total_variation():
    p = [0.25] * 4
    a = torch.arange(400) % 4
    same = paired_total_variation(a, a, p)
    assert same.value == same.low == same.high == 0
    b = torch.where(torch.arange(400) < 100, torch.zeros_like(a), a)  # a quarter turned to one value
    moved = paired_total_variation(b, a, p)
    assert moved.value == pytest.approx(0.1875) and 0.05 < moved.low < moved.value < moved.high < 0.27
    back = paired_total_variation(a, b, p)
    assert back.value == pytest.approx(-moved.value)
    with pytest.raises(ValueError, match="shapes"):
        paired_total_variation(a, a[:3], p)


def test_pairs_tell_more_than_two_intervals():
    """The same small shift of every picture: certain in pairs, lost between intervals of each alone."""
    reference, x = gaussian((300, 4), 1), gaussian((300, 4), 2)
    moved = paired_frechet(reference, x + 0.15, x)
    assert moved.low > 0
    again = paired_frechet(reference, x, x)
    assert again.value == again.low == again.high == 0


def test_shares_and_digits():
    readings = {"wall": torch.tensor([0, 1, 2, 3]), "floor": torch.tensor([5, 0, 1, 2])}
    said = {"shape": "sphere", "colour": "red", "size": "large", "material": "matte"}
    found = shares(readings, said)
    assert found["readings"]["floor"] == "5012" and torch.equal(digits("5012"), readings["floor"])
    assert found["total_variation"]["wall"].value == 0 and found["shares"]["wall"].tolist() == [0.25] * 4


def test_the_plan():
    assert len({key(*row) for row in ROWS + MAIN}) == len(ROWS + MAIN) and min(row[4] for row in ROWS) >= 500
    assert all(row[4] == 2000 for row in MAIN)
    for prompt in start.PROMPTS:
        cells = {(row[2], row[3]) for row in ROWS if row[:2] == (prompt, "noise")}
        cells |= (
            {(0.0, "leading"), (0.0, "trailing")} if prompt == "a sphere" else set()
        )  # in results/few_steps.json
        assert cells == {(e, s) for e in (0.0, 1.0) for s in ("leading", "trailing")}
    assert len({s.key for s in SPACED}) == len(SPACED) and all(isinstance(s, Setting) for s in SPACED)


# ------------------------------------------------------------------------------------------------------------
# What is stored


@pytest.fixture(scope="module")
def measured():
    found = read("start")
    assert "-dirty" not in found["commit"] and found["commit"] != "unknown"
    return found["measured"]


def test_every_row_is_stored(measured):
    wanted = (
        {key(*row) for row in ROWS}
        | {f"pairs, {name}" for name in GROUPS}
        | {f"spaced, {s.key}" for s in SPACED}
    )
    wanted |= {f"exact, {k}, eta {e:g}, {s}, {n} steps" for k, e, s, n, _ in EXACT} | {"exact, accuracy"}
    wanted |= {f"divergence, {s}" for s in ("leading", "trailing")}
    assert wanted <= set(measured)


def test_stored_shares_follow_from_the_stored_readings(measured):
    for row in (row for row in ROWS + MAIN if key(*row) in measured):
        found = measured[key(*row)]
        for name, text in found["readings"].items():
            counts = torch.bincount(digits(text), minlength=len(found["shares"][name]))
            assert counts.sum() == row[4] == found["n"]
            assert (counts / row[4] - torch.tensor(found["shares"][name])).abs().max() < 1e-5
            p = law(name, {"shape": "sphere"} if row[0] == "a sphere" else {"colour": "red"})
            distance = 0.5 * (counts / row[4] - torch.tensor(p)).abs().sum().item()
            assert found["total_variation"][name]["value"] == pytest.approx(distance, abs=1e-5)
