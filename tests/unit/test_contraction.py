"""A wrong start: the flow carries its divergence along, exact steps with noise shrink it. Against quadrature."""

from math import log, sqrt

import pytest
import torch

from diffusion_tutorial.mixtures import GaussianMixture
from diffusion_tutorial.mixtures.contraction import by_exact_steps, by_flow, forgotten, share_above, start
from diffusion_tutorial.mixtures.convergence import karras, karras_timesteps
from diffusion_tutorial.schedules import NoiseSchedule

SD = NoiseSchedule.scaled_linear(set_alpha_to_one=False, steps_offset=1)
WALLS = GaussianMixture([1.0] * 4, [[-2.0], [6.0], [14.0], [22.0]], [1.0] * 4)  # their mean is 10, not 0
NOISE_GRID = torch.linspace(-9, 9, 401, dtype=torch.float64)
GRID = torch.linspace(-20, 40, 1201, dtype=torch.float64)
TOP = SD.alpha_bar(999)


@pytest.fixture(scope="module")
def pure_noise():
    return start(WALLS, TOP, NOISE_GRID)


def test_the_divergence_of_two_normals_is_the_known_one():
    one = GaussianMixture([1.0], [[3.0]], [4.0])
    a = 0.2
    mean, variance = sqrt(a) * 3, a * 4 + 1 - a
    known = 0.5 * (1 / variance + mean**2 / variance - 1 + log(variance))
    assert start(one, a, NOISE_GRID).divergence == pytest.approx(known, abs=1e-9)
    with pytest.raises(ValueError, match="grid holds"):
        start(one, a, torch.linspace(-1, 1, 50, dtype=torch.float64))


def test_the_flow_keeps_it_and_the_noise_shrinks_it(pure_noise):
    """The old sentence said that a stochastic sampler "forgets" its start: it keeps a quarter of the divergence here."""
    assert pure_noise.divergence > 0.15
    before = pure_noise.divergence
    for a in (0.02, 0.1, 0.5, 0.9):
        flow = by_flow(WALLS, pure_noise, TOP, a)
        assert flow.divergence == pytest.approx(pure_noise.divergence, rel=2e-3)
        noisy = by_exact_steps(WALLS, pure_noise, TOP, a, GRID)
        assert noisy.divergence < before - 1e-4
        before = noisy.divergence
    assert 0.15 * pure_noise.divergence < before < 0.4 * pure_noise.divergence
    bright = sqrt(0.9) * 18
    shares = [share_above(p, bright) for p in (flow, noisy, start(WALLS, 0.9, GRID, WALLS.at(0.9)))]
    assert shares[0] < 0.09 < 0.12 < shares[1] < 0.2 < shares[2] < 0.26


def test_what_the_step_gains_is_what_it_forgets(pure_noise):
    for a in (0.02, 0.5):
        gained = pure_noise.divergence - by_exact_steps(WALLS, pure_noise, TOP, a, GRID).divergence
        assert gained == pytest.approx(forgotten(WALLS, pure_noise, TOP, a, GRID), abs=1e-9)
        assert gained > 0.1


def test_exact_steps_compose(pure_noise):
    """One long step and two short ones: the number of exact steps does not matter."""
    halfway = by_exact_steps(WALLS, pure_noise, TOP, 0.05, GRID)
    two = by_exact_steps(WALLS, halfway, 0.05, 0.5, GRID)
    one = by_exact_steps(WALLS, pure_noise, TOP, 0.5, GRID)
    assert (one.weights - two.weights).abs().sum() < 1e-6


def test_the_right_start_stays_right():
    for p in (by_flow, by_exact_steps):
        right = start(WALLS, 0.3, GRID, WALLS.at(0.3))
        assert abs(right.divergence) < 1e-9
        moved = p(WALLS, right, 0.3, 0.7, *(() if p is by_flow else (GRID,)))
        assert abs(moved.divergence) < 1e-3


def test_karras_levels():
    levels = karras(0.0047, 0.999, 8)
    u = [sqrt((1 - s.alpha_bar_t) / s.alpha_bar_t) for s in levels]
    roots = [v ** (1 / 7) for v in u]
    gaps = [a - b for a, b in zip(roots, roots[1:])]
    assert max(gaps) - min(gaps) < 1e-12 and levels[-1].alpha_bar_s == 1
    assert levels[0].alpha_bar_t == pytest.approx(0.0047) and levels[-1].alpha_bar_t == pytest.approx(0.999)
    even = [sqrt((1 - s.alpha_bar_t) / s.alpha_bar_t) for s in karras(0.0047, 0.999, 8, rho=1.0)]
    assert [a - b for a, b in zip(even, even[1:])] == pytest.approx([(even[0] - even[-1]) / 7] * 7)
    for call in (
        lambda: karras(0.1, 1.0, 5),
        lambda: karras(0.1, 0.9, 0),
        lambda: karras(0.1, 0.9, 5, rho=0),
    ):
        with pytest.raises(ValueError, match=r"\(n, start, stop, rho\) is"):
            call()


def test_karras_levels_are_those_of_diffusers():
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, use_karras_sigmas=True,
        final_sigmas_type="zero",
    )  # fmt: skip
    for n in (5, 10, 20):
        scheduler.set_timesteps(n)
        theirs = scheduler.sigmas[:-1].double().tolist()
        ours = [sqrt((1 - s.alpha_bar_t) / s.alpha_bar_t) for s in karras(TOP, SD.alpha_bar(0), n)]
        assert ours == pytest.approx(theirs, rel=1e-4)
        steps = [s.t for s in karras_timesteps(SD, n)]
        assert max(abs(a - b) for a, b in zip(steps, scheduler.timesteps.tolist())) <= 1
        assert steps[0] == 999 and steps[-1] == 0
    with pytest.raises(ValueError, match="n is 200"):
        karras_timesteps(SD, 200)
