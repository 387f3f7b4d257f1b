"""The page "Solvers": a check for each labelled equation, and none without.

Each check writes the equation out anew, away from the package's own formula, and compares the two, or the equation with
quadrature, finite differences or simulation.
"""

from math import exp, log, sqrt
from pathlib import Path

import labels
import numpy as np
import pytest
import torch
from worlds import BUMPS, EPS, PAIRS, RING, SCHEDULE, X, Z, close

from diffusion_tutorial.mixtures import even_log_snr, exact_flow, karras, law, law_distance, order, solve
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import (
    ddim_sigma,
    ddim_step,
    ddpm_step,
    dpm_solver_pp_2m_step,
    dpm_solver_pp_3m_step,
    heun_step,
)
from diffusion_tutorial.schedules import NoiseSchedule

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "solvers.md"


def ddim_zero():
    for a_t, a_s in PAIRS:
        x0 = (X - sqrt(1 - a_t) * EPS) / sqrt(a_t)
        close(ddim_step(X, EPS, a_t, a_s)[0], sqrt(a_s) * x0 + sqrt(1 - a_s) * EPS)


def line():
    """In y and u a step is a straight piece of slope eps that starts at y_t and would reach the prediction at u = 0."""
    for a_t, a_s in PAIRS:
        u_t, u_s = (sqrt((1 - a) / a) for a in (a_t, a_s))
        x_s, x0 = ddim_step(X, EPS, a_t, a_s)
        close(x0, X / sqrt(a_t) - u_t * EPS, 1e-8)
        close(x_s / sqrt(a_s), x0 + u_s * EPS, 1e-8)
        close(x_s / sqrt(a_s), X / sqrt(a_t) + (u_s - u_t) * EPS, 1e-8)


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


CHECKS = {
    "eq-ddim-zero": ddim_zero,
    "eq-line": line,
    "eq-ode": ode,
    "eq-exponential": exponential,
    "eq-ddim-euler": ddim_euler,
    "eq-semilinear": semilinear,
    "eq-order": error_order,
    "eq-heun": heun,
    "eq-2m": two_m,
    "eq-multistep": multistep,
    "eq-karras": karras_levels,
    "eq-vp": vp,
    "eq-reverse-sde": reverse_sde,
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
        (lambda: even_log_snr(0.1, 1.0, 5), "stop"),
        (lambda: even_log_snr(0.1, 0.5, 0), "\\(n, start, stop\\) is .*; allowed: n"),
        (lambda: order([1, 2], torch.zeros(2, 3)), "errors"),
        (lambda: order([1, 2, 3], torch.ones(2, 3)), "errors"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
