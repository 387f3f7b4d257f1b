"""The page "Schedules and their ends": a check for each labelled equation, and none without.

Each check writes the equation out anew, away from the package's own formula, and compares the two, or the equation with
quadrature, finite differences or simulation.
"""

from math import exp, sqrt
from pathlib import Path

import labels
import pytest
import torch
from worlds import EPS, X, close

from diffusion_tutorial.mixtures import GaussianMixture, contraction
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import ddim_step_v
from diffusion_tutorial.schedules import NoiseSchedule

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "schedules.md"


def leak():
    """Telling two pictures apart in x_T: the share of right answers is Phi(d' / 2)."""
    a, n, dimension = 0.0047, 4000, 1024
    x, y, e = (gaussian((n, dimension), 41, stream=k).double() for k in range(3))
    d = sqrt(a / (1 - a)) * (x - y).norm(dim=1)
    close(d.mean().item(), sqrt(2 * dimension * a / (1 - a)), 0.02)
    x_T = sqrt(a) * x + sqrt(1 - a) * e
    right = ((x_T - sqrt(a) * x).norm(dim=1) < (x_T - sqrt(a) * y).norm(dim=1)).double().mean().item()
    close(right, torch.special.ndtr(d / 2).mean().item(), 0.02)
    assert NoiseSchedule.scaled_linear().alpha_bar(999) == pytest.approx(0.0047, abs=5e-5)


def v():
    for a in (0.0, 0.3, 0.9):
        x_t = sqrt(a) * X + sqrt(1 - a) * EPS
        v = sqrt(a) * EPS - sqrt(1 - a) * X
        close(sqrt(a) * x_t - sqrt(1 - a) * v, X)
        close(ddim_step_v(x_t, v, a, 0.95)[1], X)


def forget():
    """The chain rule, with the exact reverse step and with one that is invertible."""
    walls = GaussianMixture([1.0] * 4, [[-2.0], [6.0], [14.0], [22.0]], [1.0] * 4)
    noise_grid, grid = (
        torch.linspace(a, b, n, dtype=torch.float64) for a, b, n in ((-9, 9, 401), (-20, 40, 1201))
    )
    for a_t in (0.0047, 0.0082):
        p = contraction.start(walls, a_t, noise_grid)
        for a_s in (0.03, 0.5):
            after = contraction.by_exact_steps(walls, p, a_t, a_s, grid).divergence
            close(p.divergence, after + contraction.forgotten(walls, p, a_t, a_s, grid), 1e-8)
            assert after < 0.75 * p.divergence  # the noise shrinks it
            flow = contraction.by_flow(walls, p, a_t, a_s).divergence
            assert flow == pytest.approx(p.divergence, rel=1e-3)  # the flow does not
        assert after > 0.1 * p.divergence  # and it is not forgotten


def fisher():
    """The rate of fall over a short exact step, against half the mean squared distance of the scores."""
    walls = GaussianMixture([1.0] * 4, [[-2.0], [6.0], [14.0], [22.0]], [1.0] * 4)
    grid = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    a, step = 0.0082, 2e-3  # beta dt = -d log alpha_bar
    p = contraction.start(walls, a, grid)
    after = contraction.by_exact_steps(walls, p, a, a * exp(step), grid).divergence
    scores = -grid - walls.score(grid[:, None], a)[:, 0]  # of the standard normal, and of the mixture
    rate = 0.5 * (p.weights * scores.square()).sum().item()
    assert (p.divergence - after) / step == pytest.approx(rate, rel=0.02)
    assert rate > 0.05


CHECKS = {
    "eq-leak": leak,
    "eq-v": v,
    "eq-forget": forget,
    "eq-fisher": fisher,
}


def test_every_labelled_equation_has_its_check():
    labels.hold(CHAPTER, CHECKS)


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label):
    CHECKS[label]()
