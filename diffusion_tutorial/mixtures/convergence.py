"""How far a sampler with few steps is from where it should be: measured on mixtures, where the truth is known.

Two kinds of truth. A deterministic sampler follows the probability-flow ODE, so each start has one right end
(`exact_flow`), and the error of a path is a distance between points. A sampler that adds noise can only be
right in distribution: there it is the exact reverse step (`reverse_density`, `reverse_kl`), and the distances
of `mixtures`, that tell.

Equation numbers of papers below were not opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ..metrics import Estimate
from ..noise import step_noise, uniform
from ..samplers import ByLevel, ddim_sigma, ddim_step, ddpm_step, walk
from ..schedules import NoiseSchedule, Transition, path
from .gaussian import GaussianMixture

VARIANCES = ("small", "large", "matched")


def even_log_snr(start: float, stop: float, n: int) -> tuple[Transition, ...]:
    """n steps from alpha_bar = start to stop, both in (0, 1), of equal length in log(alpha_bar / (1 - alpha_bar))."""
    if n < 1 or not (0 < start < 1 and 0 < stop < 1):
        raise ValueError(
            f"(n, start, stop) is ({n!r}, {start!r}, {stop!r}); "
            "allowed: n of 1 or more, start and stop in (0, 1)"
        )
    ends = [log(a / (1 - a)) for a in (start, stop)]
    return path(torch.sigmoid(torch.linspace(*ends, n + 1, dtype=torch.float64)).tolist())


def karras(start: float, stop: float, n: int, rho: float = 7.0) -> tuple[Transition, ...]:
    """n steps on EDM's levels from alpha_bar = start, the last one from stop to 1 (Karras et al. 2022).

    u^(1 / rho) is even from the first level to the n-th, with u = sqrt((1 - alpha_bar) / alpha_bar); rho = 1 is even
    in u, and the larger rho, the more of the levels lie at the clean end. The form is that of diffusers'
    `_convert_to_karras`; the paper's equation was not opened. Raises ValueError for n < 1, levels outside (0, 1),
    rho <= 0.
    """
    if n < 1 or not (0 < start < 1 and 0 < stop < 1) or rho <= 0:
        raise ValueError(
            f"(n, start, stop, rho) is ({n!r}, {start!r}, {stop!r}, {rho!r}); allowed: n of 1 or more, start and stop "
            "in (0, 1), rho above 0"
        )
    high, low = (((1 - a) / a) ** (0.5 / rho) for a in (start, stop))
    roots = torch.linspace(high, low, n, dtype=torch.float64) if n > 1 else torch.tensor([high])
    return path([*(1 / (1 + roots ** (2 * rho))).tolist(), 1.0])


def karras_timesteps(schedule: NoiseSchedule, n: int, rho: float = 7.0) -> tuple[Transition, ...]:
    """The same on a table: from the noisiest timestep to t = 0 and to alpha_bar = 1, each level the nearest of the
    table's in log u, which is what a network knows. Raises ValueError where two of the n levels fall on one timestep."""
    table = schedule.alphas_cumprod
    log_u = 0.5 * ((1 - table) / table).log()
    wanted = [s.alpha_bar_t for s in karras(table[-1].item(), table[0].item(), n, rho)]
    steps = [(log_u - 0.5 * log((1 - a) / a)).abs().argmin().item() for a in wanted]
    if len(set(steps)) < n:
        raise ValueError(f"n is {n}; allowed: fewer, so that no timestep is visited twice")
    ends = [*steps[1:], None]
    levels = [*(table[t].item() for t in steps[1:]), 1.0]
    return tuple(Transition(t, s, table[t].item(), a) for t, s, a in zip(steps, ends, levels, strict=True))


def solve(
    mixture: GaussianMixture,
    x_t: Tensor,
    transitions: Sequence[Transition],
    sampler: str = "ddim",
    eta: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """(B, D) where a sampler with the mixture's exact eps takes x_t (B, D) along transitions."""
    *_, last = walk(ByLevel(mixture.eps), x_t, transitions, sampler, eta, step_noise(x_t.shape, seed))
    return last.x_s


def exact_flow(mixture: GaussianMixture, x_t: Tensor, alpha_bar_t: float, alpha_bar_s: float = 1.0) -> Tensor:
    """(B, D) the end of the probability-flow ODE's path through each x_t (B, D), to nine digits.

    Solved by scipy's DOP853, a method of order eight with step control that shares no code with `samplers`,
    in the variables of DDIM eq. 14: dy/du = eps with y = x / sqrt(alpha_bar), u = sqrt((1 - alpha_bar) /
    alpha_bar).
    """
    u_t, u_s = (sqrt((1 - a) / a) for a in (alpha_bar_t, alpha_bar_s))

    def velocity(u: float, y: np.ndarray) -> np.ndarray:
        a = 1 / (1 + u * u)
        return mixture.eps(sqrt(a) * torch.from_numpy(y).reshape(x_t.shape), a).numpy().ravel()

    start = (x_t.double() / sqrt(alpha_bar_t)).numpy().ravel()
    run = solve_ivp(velocity, (u_t, u_s), start, method="DOP853", rtol=1e-9, atol=1e-9)
    return sqrt(alpha_bar_s) * torch.from_numpy(run.y[:, -1].copy()).reshape(x_t.shape)


def order(steps: Sequence[int], errors: Tensor, confidence: float = 0.95, resamples: int = 500) -> Estimate:
    """The order of convergence p in error = C / steps^p: minus the slope of log mean error on log steps.

    errors: (len(steps), N) distances from the truth, of the same N starts at each number of steps. The
    interval is the percentile bootstrap over starts; it tells chance, not the curvature of the line.
    """
    e = torch.as_tensor(errors, dtype=torch.float64)
    if (
        e.ndim != 2
        or len(e) != len(steps)
        or len(steps) < 2
        or not (e >= 0).all()
        or not (e.sum(1) > 0).all()
    ):
        raise ValueError(
            f"errors is of shape {tuple(e.shape)}; allowed: ({len(steps)}, N) with N >= 1 and positive means"
        )
    n = e.shape[1]
    drawn = (uniform((resamples, n), 0) * n).long().clamp(max=n - 1)
    means = torch.cat([e.mean(1)[None], e[:, drawn].mean(2).T])  # the sample itself, then its resamples
    x = torch.tensor([log(s) for s in steps], dtype=torch.float64)
    x = x - x.mean()
    slopes = -(means.log() @ x) / (x @ x)
    tail = (1 - confidence) / 2
    low, high = torch.quantile(slopes[1:], torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Estimate(slopes[0].item(), low, high, n)


# ------------------------------------------------------------------------------------------------------------
# One step back on the line, exactly


def reverse_density(
    mixture: GaussianMixture, x_t: Tensor, alpha_bar_t: float, alpha_bar_s: float, grid: Tensor
) -> Tensor:
    """(B, G) the density q(x_s | x_t) on an even grid, (G,) or (B, G), for x_t (B,) of a mixture on the line.

    Bayes' rule by quadrature: q(x_t | x_s) q(x_s), made to sum to one.
    """
    alpha = alpha_bar_t / alpha_bar_s
    grid = grid.expand(len(x_t), -1)
    prior = mixture.log_prob(grid.reshape(-1, 1), alpha_bar_s).reshape(grid.shape)
    likelihood = -0.5 * (x_t[:, None] - sqrt(alpha) * grid) ** 2 / (1 - alpha)
    return torch.softmax(prior + likelihood, dim=1) / (grid[:, 1:2] - grid[:, :1])


def reverse_gaussian(
    mixture: GaussianMixture,
    x_t: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    variance: str = "small",
) -> tuple[Tensor, Tensor]:
    """((B,) means, (B,) variances) of the Gaussian that DDPM puts in the place of q(x_s | x_t).

    variance "small" and "large" are those of `ddpm_step`. "matched" is the exact variance of q(x_s | x_t), the
    small one plus the squared weight of x_0 in the mean times Var[x_0 | x_t] (law of total variance; the mean
    of it over x_t is what Analytic-DPM uses, Bao et al. 2022).
    """
    if variance not in VARIANCES:
        raise ValueError(f"variance is {variance!r}; allowed: {', '.join(map(repr, VARIANCES))}")
    x = x_t[:, None]
    mean, _ = ddpm_step(x, mixture.eps(x, alpha_bar_t), alpha_bar_t, alpha_bar_s, torch.zeros_like(x))
    beta = 1 - alpha_bar_t / alpha_bar_s
    small = beta * (1 - alpha_bar_s) / (1 - alpha_bar_t)
    if variance == "small":
        v = torch.full_like(x_t, small)
    elif variance == "large":
        v = torch.full_like(x_t, beta)
    else:
        weight = sqrt(alpha_bar_s) * beta / (1 - alpha_bar_t)
        v = small + weight**2 * posterior_variance(mixture, x_t, alpha_bar_t)
    return mean[:, 0], v


def posterior_variance(mixture: GaussianMixture, x_t: Tensor, alpha_bar_t: float) -> Tensor:
    """(B,) Var[x_0 | x_t] on the line, from the slope of eps: (1 - a) (1 - sqrt(1 - a) d eps / dx) / a.

    The second-order Tweedie formula: the derivative of the posterior mean is sqrt(a) / (1 - a) times the
    posterior variance.
    """
    x = x_t.detach()[:, None].requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(mixture.eps(x, alpha_bar_t).sum(), x)
    a = alpha_bar_t
    return (1 - a) * (1 - sqrt(1 - a) * slope[:, 0]) / a


def reverse_kl(
    mixture: GaussianMixture,
    x_t: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    variance: str = "small",
    points: int = 801,
) -> Tensor:
    """(B,) Kullback-Leibler divergence from DDPM's Gaussian to q(x_s | x_t), in nats, by quadrature.

    Each x_t has a grid of its own, eight exact standard deviations to both sides of the exact mean.
    """
    mean, v = reverse_gaussian(mixture, x_t, alpha_bar_t, alpha_bar_s, variance)
    spread = reverse_gaussian(mixture, x_t, alpha_bar_t, alpha_bar_s, "matched")[1].sqrt()
    grid = mean[:, None] + spread[:, None] * torch.linspace(-8, 8, points, dtype=torch.float64)
    p = reverse_density(mixture, x_t, alpha_bar_t, alpha_bar_s, grid)
    log_q = -0.5 * ((grid - mean[:, None]) ** 2 / v[:, None] + (2 * torch.pi * v[:, None]).log())
    integrand = torch.where(p > 0, p * (p.clamp(min=1e-300).log() - log_q), torch.zeros_like(p))
    return integrand.sum(1) * (grid[:, 1] - grid[:, 0])


# ------------------------------------------------------------------------------------------------------------
# The law of a sampler on the line, without drawing anything


def law(
    mixture: GaussianMixture,
    transitions: Sequence[Transition],
    sampler: str = "ddim",
    eta: float = 0.0,
    points: int = 801,
    reach: float = 4.0,
) -> tuple[Tensor, Tensor]:
    """(points, weights), (G,) each: the distribution of a sampler's results on the line, by quadrature.

    It starts from the exact law at the first level. A step without noise moves the points; a step with noise
    spreads each by its Gaussian over an even grid on [-reach, reach], so there is no sampling error. sampler is
    "ddpm", "ddpm-large" or "ddim". The grid must be finer than the noise of every step.
    """
    if sampler not in ("ddpm", "ddpm-large", "ddim"):
        raise ValueError(f"sampler is {sampler!r}; allowed: 'ddpm', 'ddpm-large' or 'ddim'")
    grid = torch.linspace(-reach, reach, points, dtype=torch.float64)
    x, w = grid, torch.softmax(mixture.log_prob(grid[:, None], transitions[0].alpha_bar_t), 0)
    for _, _, a_t, a_s in transitions:
        eps, still = mixture.eps(x[:, None], a_t), torch.zeros(len(x), 1, dtype=torch.float64)
        if sampler == "ddim":
            sigma = ddim_sigma(a_t, a_s, eta)
            mean, _ = ddim_step(x[:, None], eps, a_t, a_s, eta, still)
        else:
            large = sampler == "ddpm-large"
            sigma = 0.0 if a_s == 1 else sqrt((1 - a_t / a_s) * (1.0 if large else (1 - a_s) / (1 - a_t)))
            mean, _ = ddpm_step(x[:, None], eps, a_t, a_s, still)
        if sigma == 0:
            x = mean[:, 0]
        else:
            kernel = (-0.5 * ((grid - mean) / sigma) ** 2).exp()
            x, w = grid, (w / kernel.sum(1)) @ kernel
    return x, w


def law_distance(x: Tensor, w: Tensor, truth: GaussianMixture, points: int = 4001) -> float:
    """Wasserstein distance of order 1 between the weighted points and a mixture: the area between the two
    distribution functions."""
    index = x.argsort()
    x, total = x[index], w[index].cumsum(0)
    low, high = truth.quantile(torch.tensor([1e-9, 1 - 1e-9], dtype=torch.float64)).tolist()
    grid = torch.linspace(min(low, x[0].item()), max(high, x[-1].item()), points, dtype=torch.float64)
    before = torch.searchsorted(x, grid, right=True)
    reached = torch.cat([torch.zeros(1, dtype=torch.float64), total])[before]
    return ((reached - truth.cdf(grid)).abs().sum() * (grid[1] - grid[0])).item()
