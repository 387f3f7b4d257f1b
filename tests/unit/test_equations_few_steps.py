"""The chapter "Few steps": a check for each labelled equation, and none without.

Each check writes the equation out anew, away from the package's own formula, and compares the two, or the equation with
quadrature, finite differences or simulation.
"""

import math
from math import exp, log, sqrt
from pathlib import Path

import labels
import numpy as np
import pytest
import torch

from diffusion_tutorial.mixtures import (
    GaussianMixture,
    contraction,
    even_log_snr,
    exact_flow,
    karras,
    law,
    law_distance,
    order,
    reverse_density,
    reverse_gaussian,
    reverse_kl,
    solve,
    tiny,
)
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import (
    ddim_sigma,
    ddim_step,
    ddim_step_v,
    ddpm_step,
    dpm_solver_pp_2m_step,
    dpm_solver_pp_3m_step,
    heun_step,
)
from diffusion_tutorial.schedules import NoiseSchedule

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "few-steps.md"
SCHEDULE = NoiseSchedule.linear()
BUMPS = GaussianMixture([0.6, 0.4], [[-1.0], [1.0]], [0.04, 0.04])
RING = tiny.ring()
X, EPS, Z = (gaussian((5, 2), 1, stream=k).double() for k in range(3))
PAIRS = [(0.001, 0.3), (0.2, 0.21), (0.3, 0.9), (0.5, 0.999)]
GRID = torch.linspace(-6, 6, 6001, dtype=torch.float64)


def close(a, b, tolerance=1e-9):
    assert torch.as_tensor(a).sub(torch.as_tensor(b)).abs().max() < tolerance


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


def sigma():
    for a_t, a_s in PAIRS:
        for eta in (0.0, 0.3, 1.0):
            close(ddim_sigma(a_t, a_s, eta), eta * sqrt((1 - a_s) / (1 - a_t)) * sqrt(1 - a_t / a_s), 1e-12)


def eta_one():
    for a_t, a_s in PAIRS:
        c_0, c_t, variance = coefficients(a_t, a_s)
        close(ddim_sigma(a_t, a_s, 1.0) ** 2, variance, 1e-12)
        direction = sqrt(1 - a_s - variance) / sqrt(1 - a_t)
        close([direction, sqrt(a_s) - direction * sqrt(a_t)], [c_t, c_0], 1e-9)


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


def ddim():
    for a_t, a_s in PAIRS:
        sigma = ddim_sigma(a_t, a_s, 0.4)
        x0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
        x_s, predicted = ddim_step(X, EPS, a_t, a_s, 0.4, Z)
        close(predicted, x0)
        close(x_s, sqrt(a_s) * x0 + sqrt(1 - a_s - sigma**2) * EPS + sigma * Z)


def ode():
    """The slope of y along the exact flow, which knows nothing of the samplers, is eps."""
    x, h = RING.sample(8, 3, alpha_bar=0.5), 1e-3
    u = sqrt((1 - 0.5) / 0.5)
    y = {}
    for sign in (1, -1):
        a = 1 / (1 + (u + sign * h) ** 2)
        y[sign] = exact_flow(RING, x, 0.5, a) / sqrt(a)
    close((y[1] - y[-1]) / (2 * h), RING.eps(x, 0.5), 1e-3)
    starts = BUMPS.at(1e-4).quantile((torch.arange(50) + 0.5) / 50)[:, None]
    close(exact_flow(BUMPS, starts, 1e-4)[:, 0], BUMPS.quantile((torch.arange(50) + 0.5) / 50), 1e-4)


def exponential():
    """x_s from the integral of eps along the path, by the trapezium rule on 80 points of the exact flow."""
    x, a_t, a_s = RING.sample(8, 3, alpha_bar=0.3), 0.3, 0.7
    u = torch.linspace(sqrt((1 - a_t) / a_t), sqrt((1 - a_s) / a_s), 81, dtype=torch.float64)
    state, values = x, [RING.eps(x, a_t)]
    levels = [1 / (1 + v**2) for v in u.tolist()]
    for a, b in zip(levels, levels[1:]):
        state = exact_flow(RING, state, a, b)
        values.append(RING.eps(state, b))
    integral = torch.trapezoid(torch.stack(values), u, dim=0)
    close(state, sqrt(a_s / a_t) * x + sqrt(a_s) * integral, 2e-3)


def ddim_euler():
    for a_t, a_s in PAIRS:
        du = sqrt((1 - a_s) / a_s) - sqrt((1 - a_t) / a_t)
        close(sqrt(a_s / a_t) * X + sqrt(a_s) * du * EPS, ddim_step(X, EPS, a_t, a_s)[0], 1e-8)


def semilinear():
    x, a = RING.sample(8, 3, alpha_bar=0.4), 0.4
    h = 1e-4
    up, down = (exact_flow(RING, x, a, a * exp(sign * h)) for sign in (1, -1))
    close((up - down) / (2 * h), 0.5 * (x - RING.eps(x, a) / sqrt(1 - a)), 1e-4)


def vp():
    """Finer and finer tables of the same beta(t) tend to the exponential of its integral, and the SDE has that law."""
    off = []
    for n in (100, 1000, 10_000):
        betas = torch.linspace(0.1, 20, n, dtype=torch.float64) / n
        off.append(abs(NoiseSchedule(betas).alphas_cumprod[-1].log().item() + 10.05))
    assert off[1] < off[0] / 5 and off[2] < off[1] / 5 and off[2] < 0.01
    close(SCHEDULE.betas * 1000, torch.linspace(0.1, 20, 1000, dtype=torch.float64), 1e-9)
    n, x, beta = (
        1000,
        torch.full((20_000, 1), 0.8, dtype=torch.float64),
        1.5,
    )  # Euler-Maruyama, constant beta, t to 1
    for k in range(n):
        x = x - 0.5 * beta * x / n + sqrt(beta / n) * gaussian(x.shape, 3, stream=k).double()
    a = exp(-beta)
    assert abs(x.mean().item() - sqrt(a) * 0.8) < 0.02 and abs(x.var().item() - (1 - a)) < 0.02


def reverse_sde():
    """Short steps: DDPM's mean moves with the whole score, DDIM's with half of it; the noise has variance beta."""
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
    still = torch.zeros_like(x)
    for a_t in (0.05, 0.4, 0.9):
        beta, eps = 1e-5, BUMPS.eps(x, a_t)
        a_s, score = a_t / (1 - beta), -eps / sqrt(1 - a_t)
        close(score, BUMPS.score(x, a_t))
        noisy, flow = (
            (ddpm_step(x, eps, a_t, a_s, still)[0] - x) / beta,
            (ddim_step(x, eps, a_t, a_s)[0] - x) / beta,
        )
        close(noisy, 0.5 * x + score, 2e-3)
        close(flow, 0.5 * x + 0.5 * score, 2e-3)
        assert (noisy - flow).abs().max() > 0.05
        assert ddim_sigma(a_t, a_s, 1.0) ** 2 / beta == pytest.approx(1, rel=1e-3)
    # many such steps from the right law keep it: the reverse SDE has the law of the data at every level
    points, weights = law(BUMPS, SCHEDULE.transitions(200, "trailing", previous="grid"), "ddim", 1.0)
    assert law_distance(points, weights, BUMPS) < 0.02


def error_order():
    steps = [8, 16, 32, 64]
    x = RING.sample(16, 1, alpha_bar=0.01)
    exact = exact_flow(RING, x, 0.01, 0.9)
    for sampler, p in (("ddim", 1), ("dpm++2m", 2)):
        errors = torch.stack(
            [(solve(RING, x, even_log_snr(0.01, 0.9, n), sampler) - exact).norm(dim=1) for n in steps]
        )
        assert abs(order(steps, errors).value - p) < 0.3
    made_up = torch.stack([torch.full((5,), 3.0 / n**1.5) for n in steps])
    found = order(steps, made_up)
    close([found.value, found.low, found.high], [1.5, 1.5, 1.5], 1e-9)


def heun():
    for a_t, a_s in PAIRS[:3]:
        u_t, u_s = (sqrt((1 - a) / a) for a in (a_t, a_s))
        y = X / sqrt(a_t)
        x_s, _ = heun_step(X, EPS, a_t, a_s, Z)
        close(x_s, sqrt(a_s) * (y + (u_s - u_t) / 2 * (EPS + Z)), 1e-8)


def two_m():
    a_before, a_t, a_s = 0.1, 0.3, 0.6
    lam_before, lam_t, lam_s = (0.5 * log(a / (1 - a)) for a in (a_before, a_t, a_s))
    h, before = lam_s - lam_t, lam_t - lam_before
    x0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
    d = x0 + h / (2 * before) * (x0 - Z)
    expected = sqrt((1 - a_s) / (1 - a_t)) * X - sqrt(a_s) * (exp(-h) - 1) * d
    close(dpm_solver_pp_2m_step(X, EPS, a_t, a_s, Z, a_before)[0], expected)


def multistep():
    """x_s from Gauss's quadrature of the polynomial: a constant is DDIM, a parabola 3M at curvature 1."""
    a_2, a_1, a_t, a_s = 0.08, 0.15, 0.3, 0.6
    lam_2, lam_1, lam_t, lam_s = (0.5 * log(a / (1 - a)) for a in (a_2, a_1, a_t, a_s))
    h, b_1, b_2 = lam_s - lam_t, lam_t - lam_1, lam_t - lam_2
    x0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
    x0_1, x0_2 = Z, X * Z

    def integrate(polynomial):
        nodes, weights = np.polynomial.legendre.leggauss(10)
        taus = ((nodes + 1) * h / 2).tolist()
        total = sum(
            w * h / 2 * exp(tau - h) * polynomial(tau) for tau, w in zip(taus, weights.tolist(), strict=True)
        )
        return sqrt((1 - a_s) / (1 - a_t)) * X + sqrt(a_s) * total

    def parabola(tau):  # Newton's form
        first = (x0 - x0_1) / b_1
        second = (first - (x0_1 - x0_2) / (b_2 - b_1)) / b_2
        return x0 + tau * first + tau * (tau + b_1) * second

    close(parabola(-b_1), x0_1, 1e-9)
    close(parabola(-b_2), x0_2, 1e-9)
    close(integrate(lambda tau: x0), ddim_step(X, EPS, a_t, a_s)[0], 1e-9)
    middle = x0 + h / 2 * (x0 - x0_1) / b_1  # of the line, which 2M takes for the whole step
    close(integrate(lambda tau: middle), dpm_solver_pp_2m_step(X, EPS, a_t, a_s, x0_1, a_1)[0], 1e-9)
    history = [x0_1, x0_2], [a_1, a_2]
    close(integrate(parabola), dpm_solver_pp_3m_step(X, EPS, a_t, a_s, *history, curvature=1.0)[0], 1e-9)
    in_use = dpm_solver_pp_3m_step(X, EPS, a_t, a_s, *history)[0]
    assert (integrate(parabola) - in_use).abs().max() > 1e-3


def karras_levels():
    high, low, n, rho = 157.0, 0.01, 9, 7
    levels = karras(1 / (1 + high**2), 1 / (1 + low**2), n)
    for i, step in enumerate(levels):
        u = (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        assert step.alpha_bar_t == pytest.approx(1 / (1 + u**2), rel=1e-9)
    assert levels[-1].alpha_bar_s == 1 and len(levels) == n


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


CHECKS = {
    "eq-forward-step": forward_step,
    "eq-marginal": marginal,
    "eq-loss": loss,
    "eq-reverse": reverse,
    "eq-square": square,
    "eq-posterior": posterior,
    "eq-ddpm": ddpm,
    "eq-total-variance": total_variance,
    "eq-kl-chain": kl_chain,
    "eq-family": family,
    "eq-induction": induction,
    "eq-sigma": sigma,
    "eq-eta-one": eta_one,
    "eq-memory": memory,
    "eq-ddim": ddim,
    "eq-ode": ode,
    "eq-exponential": exponential,
    "eq-ddim-euler": ddim_euler,
    "eq-semilinear": semilinear,
    "eq-vp": vp,
    "eq-reverse-sde": reverse_sde,
    "eq-order": error_order,
    "eq-heun": heun,
    "eq-2m": two_m,
    "eq-multistep": multistep,
    "eq-karras": karras_levels,
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


# ------------------------------------------------------------------------------------------------------------
# The chapter's tools


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


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: even_log_snr(0.1, 1.0, 5), "stop"),
        (lambda: even_log_snr(0.1, 0.5, 0), "\\(n, start, stop\\) is .*; allowed: n"),
        (lambda: order([1, 2], torch.zeros(2, 3)), "errors"),
        (lambda: order([1, 2, 3], torch.ones(2, 3)), "errors"),
        (lambda: reverse_gaussian(BUMPS, torch.zeros(1), 0.1, 0.2, "none"), "variance is .*; allowed:"),
        (lambda: law(BUMPS, SCHEDULE.transitions(5), "heun"), "sampler is .*; allowed:"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


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
