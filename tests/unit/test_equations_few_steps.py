"""The page "Few steps": a check for each labelled equation, and none without.

Each check writes the equation out anew, away from the package's own formula, and compares the two, or the equation with
quadrature, finite differences or simulation.
"""

import math
from math import sqrt
from pathlib import Path

import labels
import pytest
import torch
from worlds import BUMPS, EPS, GRID, PAIRS, RING, SCHEDULE, X, Z, close

from diffusion_tutorial.mixtures import (
    law,
    law_distance,
    reverse_density,
    reverse_gaussian,
    reverse_kl,
    solve,
    tiny,
)
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import ddim_sigma, ddim_step, ddpm_step

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "few-steps.md"


def coefficients(a_t, a_s):
    """Of x_0 and of x_t in the posterior's mean, and its variance, as in the chapter."""
    alpha, beta = a_t / a_s, 1 - a_t / a_s
    return sqrt(a_s) * beta / (1 - a_t), sqrt(alpha) * (1 - a_s) / (1 - a_t), (1 - a_s) / (1 - a_t) * beta


def forward_step():
    """A step at a time, 20,000 walkers to t = 200."""
    x = torch.full((20_000, 1), 0.8, dtype=torch.float64)
    for t, beta in enumerate(SCHEDULE.betas.tolist()[:200]):
        x = sqrt(1 - beta) * x + sqrt(beta) * gaussian(x.shape, 2, stream=t).double()
    a = SCHEDULE.alpha_bar(199)
    assert abs(x.mean().item() - sqrt(a) * 0.8) < 0.02 and abs(x.var().item() - (1 - a)) < 0.02


def marginal():
    mean, variance = 1.0, 0.0
    for t, beta in enumerate(SCHEDULE.betas.tolist()):
        mean, variance = sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        close([mean, variance], [sqrt(SCHEDULE.alpha_bar(t)), 1 - SCHEDULE.alpha_bar(t)], 1e-12)
    close(
        SCHEDULE.add_noise(X, EPS, 300),
        sqrt(SCHEDULE.alpha_bar(300)) * X + sqrt(1 - SCHEDULE.alpha_bar(300)) * EPS,
    )


def loss():
    """The mixture's eps is the least squares answer: no linear change of it does better."""
    a, n = 0.4, 50_000
    x_0, eps = BUMPS.sample(n, 1), gaussian((n, 1), 2).double()
    best = BUMPS.eps(sqrt(a) * x_0 + sqrt(1 - a) * eps, a)
    error = lambda prediction: (eps - prediction).square().mean().item()  # noqa: E731
    assert error(best) < min(error(c * best + d) for c, d in ((0.95, 0), (1.05, 0), (1, 0.05), (1, -0.05)))


def reverse():
    """Bayes' rule against simulated pairs: x_s of those whose x_t falls near 0.1."""
    a_t, a_s, n = 0.3, 0.6, 400_000
    x_s = BUMPS.sample(n, 1, a_s)
    x_t = sqrt(a_t / a_s) * x_s + sqrt(1 - a_t / a_s) * gaussian((n, 1), 5).double()
    near = x_s[(x_t - 0.1).abs() < 0.02]
    density = reverse_density(BUMPS, torch.tensor([0.1], dtype=torch.float64), a_t, a_s, GRID)[0] * 0.002
    mean = density @ GRID
    close(
        [near.mean().item(), near.std().item()],
        [mean.item(), (density @ (GRID - mean) ** 2).sqrt().item()],
        0.03,
    )


def square():
    """The logarithm of the product is -(A / 2) (x_s - B / A)^2 up to a constant, on a whole grid of x_s."""
    for a_t, a_s in PAIRS:
        alpha, beta, x_0, x_t = a_t / a_s, 1 - a_t / a_s, 0.8, 0.1
        logs = -((x_t - sqrt(alpha) * GRID) ** 2) / (2 * beta) - (GRID - sqrt(a_s) * x_0) ** 2 / (
            2 * (1 - a_s)
        )
        a = alpha / beta + 1 / (1 - a_s)
        b = sqrt(alpha) * x_t / beta + sqrt(a_s) * x_0 / (1 - a_s)
        rest = logs + 0.5 * a * (GRID - b / a) ** 2
        close(rest - rest[0], torch.zeros_like(GRID), 1e-8 * a * 40)
        c_0, c_t, variance = coefficients(a_t, a_s)
        close([1 / a, b / a], [variance, c_0 * x_0 + c_t * x_t])


def precision():
    """The coefficient of x_s^2 over one denominator, and the step of the numerator that the text gives."""
    for a_t, a_s in PAIRS:
        alpha, beta = a_t / a_s, 1 - a_t / a_s
        a = alpha / beta + 1 / (1 - a_s)
        for other in ((alpha * (1 - a_s) + beta) / (beta * (1 - a_s)), (1 - a_t) / (beta * (1 - a_s))):
            close(other / a, 1.0)
        close(alpha * (1 - a_s) + beta, alpha - a_t + 1 - alpha)


def posterior():
    for a_t, a_s in PAIRS:
        alpha, beta, x_0, x_t = a_t / a_s, 1 - a_t / a_s, 0.8, 0.1
        logs = -0.5 * (GRID - sqrt(a_s) * x_0) ** 2 / (1 - a_s) - 0.5 * (x_t - sqrt(alpha) * GRID) ** 2 / beta
        p = torch.softmax(logs, 0)
        c_0, c_t, variance = coefficients(a_t, a_s)
        mean = p @ GRID
        close([mean.item(), (p @ (GRID - mean) ** 2).item()], [c_0 * x_0 + c_t * x_t, variance], 1e-6)


def ddpm():
    for a_t, a_s in PAIRS:
        c_0, c_t, variance = coefficients(a_t, a_s)
        x0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
        close(ddpm_step(X, EPS, a_t, a_s, Z)[0], c_0 * x0 + c_t * X + sqrt(variance) * Z)
        close(ddpm_step(X, EPS, a_t, a_s, Z, "large")[0], c_0 * x0 + c_t * X + sqrt(1 - a_t / a_s) * Z)


def total_variance():
    x_t = torch.tensor([-1.0, 0.1, 0.9], dtype=torch.float64)
    for a_t, a_s in ((0.3, 0.5), (0.3, 0.9), (0.7, 0.8)):
        p = reverse_density(BUMPS, x_t, a_t, a_s, GRID) * 0.002
        mean = p @ GRID
        exact = (p * (GRID - mean[:, None]) ** 2).sum(1)
        c_0, _, small = coefficients(a_t, a_s)
        logs = BUMPS.log_prob(GRID[:, None]) - 0.5 * (x_t[:, None] - sqrt(a_t) * GRID) ** 2 / (1 - a_t)
        q = torch.softmax(logs, 1)
        doubt = (q * (GRID - (q @ GRID)[:, None]) ** 2).sum(1)
        close(exact, small + c_0**2 * doubt, 1e-7)
        close(reverse_gaussian(BUMPS, x_t, a_t, a_s, "matched")[1], exact, 1e-7)
        close(reverse_gaussian(BUMPS, x_t, a_t, a_s, "matched")[0], mean, 1e-7)
    # "the truth lies between" held for no more than the mean over x_t: a single x_t may exceed "large"
    x_t = BUMPS.at(0.3).quantile((torch.arange(200) + 0.5) / 200)
    small, large, exact = (
        reverse_gaussian(BUMPS, x_t, 0.3, 0.5, v)[1] for v in ("small", "large", "matched")
    )
    assert 0.45 < (exact > large).double().mean() < 0.65 and (exact > small).all()
    assert small[0] < exact.mean() < large[0]
    # the slope 2: a quarter of the squared *relative* error of the variance, which is of order beta
    sizes = []
    for beta in (0.005, 0.01, 0.02):
        a_s = 0.3 / (1 - beta)
        wrong, right = (reverse_gaussian(BUMPS, x_t, 0.3, a_s, v)[1] for v in ("large", "matched"))
        quarter = ((wrong / right - 1) ** 2 / 4).mean().item()
        assert reverse_kl(BUMPS, x_t, 0.3, a_s, "large").mean().item() == pytest.approx(quarter, rel=0.1)
        sizes.append(sqrt(quarter))
    assert [b / a for a, b in zip(sizes, sizes[1:])] == pytest.approx(
        [2, 2], rel=0.05
    )  # order beta; beta^2 would be 4


def kl_chain():
    """The divergence of a two-step chain's law stays below the sum over its steps."""
    levels = [0.05, 0.4, 0.8]
    middle = (torch.arange(64) + 0.5) / 64
    bound = sum(
        reverse_kl(BUMPS, BUMPS.at(a).quantile(middle), a, b, "large").mean().item()
        for a, b in zip(levels, levels[1:])
    )
    x = GRID[::10]
    w = torch.softmax(BUMPS.log_prob(x[:, None], levels[0]), 0)
    for a, b in zip(levels, levels[1:]):
        mean, v = reverse_gaussian(BUMPS, x, a, b, "large")
        kernel = (-0.5 * (x - mean[:, None]) ** 2 / v[:, None]).exp()
        w = (w / kernel.sum(1)) @ kernel
    q = torch.softmax(BUMPS.log_prob(x[:, None], levels[-1]), 0)
    divergence = (q * (q / w.clamp(min=1e-300)).log()).sum().item()
    assert 0 < divergence < bound < 1


def family():
    for a_t, a_s in PAIRS:
        for eta in (0.0, 0.3, 1.0):
            sigma = ddim_sigma(a_t, a_s, eta)
            x_0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
            mean = sqrt(a_s) * x_0 + sqrt(1 - a_s - sigma**2) * (X - sqrt(a_t) * x_0) / sqrt(1 - a_t)
            close(ddim_step(X, EPS, a_t, a_s, eta, Z)[0], mean + sigma * Z, 1e-8)


def sigma():
    for a_t, a_s in PAIRS:
        for eta in (0.0, 0.3, 1.0):
            close(ddim_sigma(a_t, a_s, eta), eta * sqrt((1 - a_s) / (1 - a_t)) * sqrt(1 - a_t / a_s), 1e-12)


def induction():
    for a_t, a_s in PAIRS:
        for eta in (0.0, 0.3, 1.0):
            sigma = ddim_sigma(a_t, a_s, eta)
            n, x_0 = 40_000, 0.8
            eps, z = (gaussian((n, 1), 7, stream=k).double() for k in range(2))
            x_s, _ = ddim_step(sqrt(a_t) * x_0 + sqrt(1 - a_t) * eps, eps, a_t, a_s, eta, z)
            assert (
                abs(x_s.mean().item() - sqrt(a_s) * x_0) < 0.02 and abs(x_s.var().item() - (1 - a_s)) < 0.02
            )
            assert sigma**2 <= 1 - a_s


def eta_one():
    for a_t, a_s in PAIRS:
        c_0, c_t, variance = coefficients(a_t, a_s)
        close(ddim_sigma(a_t, a_s, 1.0) ** 2, variance, 1e-12)
        direction = sqrt(1 - a_s - variance) / sqrt(1 - a_t)
        close([direction, sqrt(a_s) - direction * sqrt(a_t)], [c_t, c_0], 1e-9)


def ddim():
    for a_t, a_s in PAIRS:
        sigma = ddim_sigma(a_t, a_s, 0.4)
        x0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
        x_s, predicted = ddim_step(X, EPS, a_t, a_s, 0.4, Z)
        close(predicted, x0)
        close(x_s, sqrt(a_s) * x0 + sqrt(1 - a_s - sigma**2) * EPS + sigma * Z)


def memory():
    n = 200_000
    x_0 = BUMPS.sample(n, 5)
    eps, z = (gaussian((n, 1), 6, stream=k).double() for k in range(2))
    for a_t, a_s in ((0.05, 0.2), (0.3, 0.5)):
        x_t = sqrt(a_t) * x_0 + sqrt(1 - a_t) * eps
        for eta in (0.0, 0.6, 1.0):
            x_s, _ = ddim_step(x_t, eps, a_t, a_s, eta, z)
            on_x_s, on_x_0 = torch.linalg.lstsq(torch.cat([x_s, x_0], 1), x_t).solution[:, 0].tolist()
            k = sqrt(1 - a_s - ddim_sigma(a_t, a_s, eta) ** 2)
            close(on_x_s, sqrt(1 - a_t) * k / (1 - a_s), 0.02)
            weight = sqrt(a_t) - sqrt(a_s) * sqrt(1 - a_t) * k / (1 - a_s)
            close(on_x_0, weight, 0.02)
            assert (abs(weight) < 1e-12) == (eta == 1)


CHECKS = {
    "eq-forward-step": forward_step,
    "eq-marginal": marginal,
    "eq-loss": loss,
    "eq-reverse": reverse,
    "eq-square": square,
    "eq-precision": precision,
    "eq-posterior": posterior,
    "eq-ddpm": ddpm,
    "eq-total-variance": total_variance,
    "eq-kl-chain": kl_chain,
    "eq-family": family,
    "eq-sigma": sigma,
    "eq-induction": induction,
    "eq-eta-one": eta_one,
    "eq-ddim": ddim,
    "eq-memory": memory,
}


def test_every_labelled_equation_has_its_check():
    labels.hold(CHAPTER, CHECKS)


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label):
    CHECKS[label]()


# ------------------------------------------------------------------------------------------------------------
# The page's tools


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: reverse_gaussian(BUMPS, torch.zeros(1), 0.1, 0.2, "none"), "variance is .*; allowed:"),
        (lambda: law(BUMPS, SCHEDULE.transitions(5), "heun"), "sampler is .*; allowed:"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_law_is_that_of_samples():
    levels = SCHEDULE.transitions(8, "trailing", previous="grid")
    x = BUMPS.sample(20_000, 1, alpha_bar=levels[0].alpha_bar_t)
    for sampler, eta in (("ddpm", 0.0), ("ddpm-large", 0.0), ("ddim", 0.0), ("ddim", 0.5)):
        points, weights = law(BUMPS, levels, sampler, eta)
        assert weights.sum().item() == pytest.approx(1)
        ends = solve(BUMPS, x, levels, sampler, eta, seed=3)[:, 0]
        mean = weights @ points
        assert ends.mean().item() == pytest.approx(mean.item(), abs=0.03)
        assert ends.std().item() == pytest.approx((weights @ (points - mean) ** 2).sqrt().item(), abs=0.03)


def test_law_distance_of_the_truth_is_small_and_of_a_shift_is_the_shift():
    x = BUMPS.quantile((torch.arange(4000) + 0.5) / 4000)
    w = torch.full((4000,), 1 / 4000, dtype=torch.float64)
    assert law_distance(x, w, BUMPS) < 2e-3
    assert law_distance(x + 0.5, w, BUMPS) == pytest.approx(0.5, abs=3e-3)


def test_tiny_denoisers_learn_and_copies_start_alike():
    networks = tiny.TinyDenoisers(kinds=2, copies=3, seed=1)
    x = gaussian((6, 10, 2), 1)
    first = networks(x[:1].expand(6, -1, -1), torch.full((6, 10), 0.5))
    assert first.shape == (6, 10, 2)
    torch.testing.assert_close(first[:3], first[3:])
    assert not torch.allclose(first[0], first[1])
    tables = [SCHEDULE.alphas_cumprod[SCHEDULE.timesteps(n, "trailing")] for n in (20, 1000)]
    trained = tiny.train(RING, tables, steps=120, batch=64)
    a = 0.5
    x_0, eps = RING.sample(500, 9).float(), gaussian((500, 2), 10)
    x_t = sqrt(a) * x_0 + sqrt(1 - a) * eps
    mse = (trained(x_t.expand(2, -1, -1), torch.full((2, 500), a)) - eps).square().mean((1, 2))
    floor = (RING.eps(x_t.double(), a) - eps).square().mean().item()
    assert (mse < 0.7).all() and (mse > 0.8 * floor).all()
    assert tiny.sample(trained, SCHEDULE, 5, points=7).shape == (2, 7, 2)


def test_stored_measurement_is_whole():
    stored = tiny.stored()
    assert set(stored["distance"]) == set(tiny.LEVELS)
    for row in stored["distance"].values():
        assert set(row) == set(tiny.STEPS)
        assert all(
            len(v) == stored["settings"]["networks"] and all(0 < d < 1 and math.isfinite(d) for d in v)
            for v in row.values()
        )
    assert {"command", "date", "machine"} <= set(stored)
    assert {"points", "training_steps", "seed"} <= set(stored["settings"])


def test_animation_has_an_alternative_and_can_be_stopped():
    from diffusion_tutorial.plots import animate

    clouds = {"a": [torch.zeros(6, 2), torch.ones(6, 2)], "b": [torch.ones(6, 2), torch.zeros(6, 2)]}
    frames = animate.particle_frames(clouds, notes=["start", "end"], size=60)
    assert len(frames) == 2 and frames[0].size == frames[1].size and frames[0].width == 2 * 60 + 6
    page = animate.animation_bundle(frames, "two <points> move", "A caption & more")["text/html"]
    assert (
        'alt="two &lt;points&gt; move"' in page
        and "<details open" in page
        and "prefers-reduced-motion" in page
    )
    assert "A caption &amp; more" in page and "image/webp" in page
    for call in (
        lambda: animate.animation_bundle(frames, " "),
        lambda: animate.webp([]),
        lambda: animate.particle_frames({"a": [torch.zeros(6, 2)], "b": []}),
        lambda: animate.particle_frames(clouds, notes=["one"]),
    ):
        with pytest.raises(ValueError, match="alt|frames|clouds"):
            call()
