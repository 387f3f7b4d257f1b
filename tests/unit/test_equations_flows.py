"""Every displayed equation of the page "Flows and a handful of steps" and its check."""

from math import sqrt
from pathlib import Path

import labels
import pytest
import torch

from diffusion_tutorial.mixtures import ring
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.samplers import trajectory
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.training import distil

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "flows.md"
X_0, EPS = (gaussian((5, 2), seed=3, stream=k).double() for k in range(2))
SCHEDULE = FlowSchedule()


def line():
    """x_t over the sum of its weights, at the level that the schedule gives for sigma."""
    for sigma in (0.1, 0.5, 0.9):
        a = SCHEDULE.alpha_bar(1000 * sigma)
        x_t = sqrt(a) * X_0 + sqrt(1 - a) * EPS
        total = sqrt(a) + sqrt(1 - a)
        assert sqrt(1 - a) / total == pytest.approx(sigma)
        torch.testing.assert_close(x_t / total, (1 - sigma) * X_0 + sigma * EPS)
        torch.testing.assert_close(PREDICTIONS["flow"].network_input(x_t, a), x_t / total)


def velocity():
    """The mean of eps - x0 given the point, by sampling the pairs, is the mean noise less the mean picture."""
    six, sigma = ring(), 0.6
    a = SCHEDULE.alpha_bar(1000 * sigma)
    c = sqrt((1 - sigma) ** 2 + sigma**2)
    at = torch.tensor([[0.4, 0.1]], dtype=torch.float64)
    eps = six.eps(at / c, a)
    exact = eps - (at / c - sqrt(1 - a) * eps) / sqrt(a)
    x0 = six.posterior_sample((at / c).expand(40_000, 2), a, seed=1)
    pairs = (at - (1 - sigma) * x0) / sigma - x0
    torch.testing.assert_close(pairs.mean(0, keepdim=True), exact, atol=0.03, rtol=0)
    a_t = torch.tensor(a)
    torch.testing.assert_close(PREDICTIONS["flow"].target(X_0, EPS, a_t), EPS - X_0)


def euler():
    """The package's DDIM on a flow's levels takes this step."""
    six = ring()
    x = gaussian((5, 2), 1).double()
    steps = list(trajectory(lambda x_t, t: six.eps(x_t, SCHEDULE.alpha_bar(t)), x, SCHEDULE, 6))
    for step in steps[:-1]:
        a, b = step.alpha_bar_t, step.alpha_bar_s
        total, after = sqrt(a) + sqrt(1 - a), sqrt(b) + sqrt(1 - b)
        sigma, to = sqrt(1 - a) / total, sqrt(1 - b) / after
        moved = step.x_t / total + (to - sigma) * (step.eps - step.x0)
        torch.testing.assert_close(step.x_s / after, moved, atol=1e-9, rtol=0)


def bend():
    """0 for a straight path; for x = z r(sigma), by hand."""
    sigmas = torch.linspace(1, 0.05, 20, dtype=torch.float64)
    slopes = 2 * sigmas  # of r = sigma^2: the chord is 1
    wanted = float((slopes - 1).square().mean())

    def b(moves, chord):
        return float(sum((m - chord).square().sum() for m in moves) / (len(moves) * chord.square().sum()))

    z = EPS[0]
    assert b([slope * z for slope in slopes], z) == pytest.approx(wanted)
    assert b([z] * 20, z) == 0


def student():
    """rho grows like the length for large errors and like the square for small ones."""
    e = gaussian((1, 4, 16, 16), 1)
    d, w = e.numel(), 0.03
    for size in (10.0, 1.0, 1e-3):
        norm = float((size * e).norm())
        wanted = (sqrt(norm**2 + d * w**2) - sqrt(d) * w) / sqrt(d)
        assert float(distil.huber(size * e)) == pytest.approx(wanted, rel=1e-3)


CHECKS = {
    "eq-flow-line": line,
    "eq-flow-velocity": velocity,
    "eq-flow-euler": euler,
    "eq-flow-bend": bend,
    "eq-flow-student": student,
}


def test_every_equation_has_a_check():
    labels.hold(CHAPTER, CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_equation(name):
    CHECKS[name]()
