"""Samplers: one pure function a step, and `trajectory`, a generator that walks the steps.

Notation, as in the papers:

    x_t, x_s       the sample at the noisier level t and at the next level s, (B, ...)
    eps            the noise that the denoiser predicts in x_t, same shape
    x0             the picture that this implies, (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t)
    alpha_bar      the share of the picture's variance left, in (0, 1]; DDIM's paper writes alpha for it

Coefficients are Python floats, that is float64; tensors keep their dtype. Every step returns (x_s, x0) and
raises ValueError for levels outside (0, 1], mismatched shapes, and noise that is needed and missing.

Papers: DDPM is Ho et al. 2020, DDIM is Song et al. 2021a (arXiv 2010.02502), EDM is Karras et al. 2022,
DPM-Solver++ is Lu et al. 2022 (arXiv 2211.01095).

Numbers of equations: DDIM's 12 and 16 and DDPM's 7 are as diffusers' schedulers, which were read, cite them. The other
numbers of equations, algorithms, sections and appendices below were not opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import expm1, log, sqrt
from numbers import Real
from typing import NamedTuple

from torch import Tensor

from .schedules import FlowSchedule, NoiseSchedule, Transition, ZeroTerminalSNRError

# eps(x_t, t); what it is conditioned on is closed over. One that acts by the step or the level has a method
# at(x_t, moment), a `Moment`, which is asked instead.
Denoiser = Callable[[Tensor, int | float], Tensor]
NoiseSource = Callable[[int], Tensor]  # noise for step k, in the shape of x_t


# ------------------------------------------------------------------------------------------------------------
# Steps


def ddim_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """DDIM: keep the marginals, choose the noise (DDIM eq. 12, with sigma of eq. 16).

    x_s = sqrt(alpha_bar_s) x0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma noise

    eta in [0, 1] scales sigma: 0 is deterministic, 1 is DDPM's posterior. At eta = 0 the levels may come in
    either order (inversion); with noise, alpha_bar_s must not be below alpha_bar_t.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, noise=noise)
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    return _ddim_move(x0, eps, ddim_sigma(a_t, a_s, eta), a_s, noise), x0


def ddim_sigma(alpha_bar_t: float, alpha_bar_s: float, eta: float) -> float:
    """eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)    (DDIM eq. 16)"""
    _check_eta(eta)
    if eta == 0 or alpha_bar_s == 1:
        return 0.0
    _check_order(alpha_bar_t, alpha_bar_s)
    return eta * sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_s))


def ddim_step_v(
    x_t: Tensor,
    v: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`ddim_step` for a denoiser that predicts v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0.

    v (Salimans and Ho 2022, appendix D) still tells x0 at alpha_bar_t = 0, where eps says nothing about it,
    so this is the step for schedules with zero terminal SNR. alpha_bar_t may be 0.
    """
    a_t = 0.0 if float(alpha_bar_t) == 0 else _level("alpha_bar_t", alpha_bar_t)
    a_s = _level("alpha_bar_s", alpha_bar_s)
    _check_shapes(x_t, v=v, noise=noise)
    x0 = sqrt(a_t) * x_t - sqrt(1 - a_t) * v
    eps = sqrt(1 - a_t) * x_t + sqrt(a_t) * v
    return _ddim_move(x0, eps, ddim_sigma(a_t, a_s, eta), a_s, noise), x0


def _ddim_move(x0: Tensor, eps: Tensor, sigma: float, a_s: float, noise: Tensor | None) -> Tensor:
    # Rounding may leave a tiny negative number under the root at eta = 1.
    direction = sqrt(max(1 - a_s - sigma**2, 0.0)) * eps
    return _add_noise(sqrt(a_s) * x0 + direction, sigma, noise)


def ddim_inversion_step(
    x_s: Tensor, eps: Tensor, alpha_bar_s: float, alpha_bar_t: float
) -> tuple[Tensor, Tensor]:
    """DDIM backwards: from the cleaner level s up to t, returning (x_t, x0) (DDIM section 5.4).

    The same map as `ddim_step` at eta = 0. It undoes it exactly only if eps is what was predicted at x_t; the
    denoiser knows x_s alone, and that is the reconstruction error.
    """
    return ddim_step(x_s, eps, alpha_bar_s, alpha_bar_t)


def ddpm_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    noise: Tensor | None = None,
    variance: str = "small",
) -> tuple[Tensor, Tensor]:
    """DDPM: a draw from the posterior q(x_s | x_t, x0) (DDPM eq. 7), also when levels are skipped.

    x_s = sqrt(alpha_bar_s) beta / (1 - alpha_bar_t) x0
        + sqrt(alpha) (1 - alpha_bar_s) / (1 - alpha_bar_t) x_t + sigma noise

    with alpha = alpha_bar_t / alpha_bar_s and beta = 1 - alpha. variance "small" is the posterior's own,
    beta (1 - alpha_bar_s) / (1 - alpha_bar_t); "large" is beta (DDPM section 3.2; DDIM's table calls it sigma
    hat). No noise is added at the last step, alpha_bar_s = 1: there it would only be seen.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, noise=noise)
    _check_order(a_t, a_s)
    alpha = a_t / a_s
    beta = 1 - alpha
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    mean = sqrt(a_s) * beta / (1 - a_t) * x0 + sqrt(alpha) * (1 - a_s) / (1 - a_t) * x_t
    return _add_noise(mean, _ddpm_sigma(a_t, a_s, variance), noise), x0


def _ddpm_sigma(a_t: float, a_s: float, variance: str) -> float:
    if variance not in ("small", "large"):
        raise ValueError(f"variance is {variance!r}; allowed: 'small' or 'large'")
    if a_s == 1:
        return 0.0
    beta = 1 - a_t / a_s
    return sqrt(beta if variance == "large" else beta * (1 - a_s) / (1 - a_t))


# The remaining steps solve the probability-flow ODE (Song et al. 2021b). In the variables of EDM,
#     y = x / sqrt(alpha_bar),   u = sqrt((1 - alpha_bar) / alpha_bar),
# it reads dy/du = eps (DDIM eq. 14): noise level u is time, and eps is the velocity.


def euler_step(
    x_t: Tensor, eps: Tensor, alpha_bar_t: float, alpha_bar_s: float, variable: str = "u"
) -> tuple[Tensor, Tensor]:
    """Euler's method: y_s = y_t + (u_s - u_t) eps.

    variable = "u" is diffusers' EulerDiscreteScheduler and the same map as `ddim_step` at eta = 0.
    variable = "u^2" takes u squared for time, (u_s^2 - u_t^2) / (2 u_t) in place of u_s - u_t: DDIM eq. 15,
    the ODE of the score papers. It has the same limit and a larger error at few steps.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps)
    u_t, u_s = _noise_level(a_t), _noise_level(a_s)
    if variable == "u":
        du = u_s - u_t
    elif variable == "u^2":
        _check_noisy(a_t)
        du = (u_s**2 - u_t**2) / (2 * u_t)
    else:
        raise ValueError(f"variable is {variable!r}; allowed: 'u' or 'u^2'")
    y = x_t / sqrt(a_t)
    return sqrt(a_s) * (y + du * eps), y - u_t * eps


def heun_step(
    x_t: Tensor, eps: Tensor, alpha_bar_t: float, alpha_bar_s: float, eps_s: Tensor, variable: str = "u"
) -> tuple[Tensor, Tensor]:
    """Heun's method: Euler with the mean of two velocities (EDM algorithm 1).

    eps_s is the denoiser's answer at level s to x_s of `euler_step`, a second evaluation. x0 is that of
    `eps`.

    variable = "u" averages dy/du = eps. variable = "sigma" averages the velocity of the straight-line flow,
    eps - x0 at both ends, with sigma = u / (1 + u) for time: from almost pure noise, where u is in the hundreds, the
    first step in u is too long for an average of its ends to mean anything. Euler's step is the same in both.
    """
    _check_shapes(x_t, eps=eps, eps_s=eps_s)
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    if variable == "u":
        return euler_step(x_t, (eps + eps_s) / 2, a_t, a_s)[0], x0
    if variable != "sigma":
        raise ValueError(f"variable is {variable!r}; allowed: 'u' or 'sigma'")
    below, _ = euler_step(x_t, eps, a_t, a_s)  # what eps_s was asked about
    x0_s = (below - sqrt(1 - a_s) * eps_s) / sqrt(a_s)
    scale_t, scale_s = (1 / (sqrt(a) + sqrt(1 - a)) for a in (a_t, a_s))  # to the flow's own coordinates
    dsigma = scale_s * sqrt(1 - a_s) - scale_t * sqrt(1 - a_t)
    return (scale_t * x_t + dsigma * (eps - x0 + eps_s - x0_s) / 2) / scale_s, x0


def dpm_solver_pp_2m_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    x0_before: Tensor | None = None,
    alpha_bar_before: float | None = None,
) -> tuple[Tensor, Tensor]:
    """DPM-Solver++(2M): first order in x0, with x0 moved on to the middle of the step (algorithm 2).

    x_s = sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) x_t - sqrt(alpha_bar_s) (exp(-h) - 1) D

    with lam = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)), h = lam_s - lam_t, h0 = lam_t - lam_before and
    D = x0 + (x0 - x0_before) h / (2 h0), on the line through both. Second order for one evaluation a step.
    Without a step before, and at alpha_bar_s = 1 where lam is infinite, D = x0 and the step is DDIM's.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, x0_before=x0_before)
    _check_noisy(a_t)
    if (x0_before is None) != (alpha_bar_before is None):
        raise ValueError("one of x0_before and alpha_bar_before is None; allowed: both or neither")
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    if a_s == 1:
        return x0, x0
    h = _half_log_snr(a_s) - _half_log_snr(a_t)
    d = x0
    if x0_before is not None:
        h0 = _half_log_snr(a_t) - _half_log_snr(_level("alpha_bar_before", alpha_bar_before))
        d = x0 + (h / (2 * h0)) * (x0 - x0_before)
    return sqrt((1 - a_s) / (1 - a_t)) * x_t - sqrt(a_s) * expm1(-h) * d, x0


def dpm_solver_pp_3m_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    x0_before: Sequence[Tensor] = (),
    alpha_bar_before: Sequence[float] = (),
    curvature: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """DPM-Solver++(3M): a parabola through three predictions of x0, integrated over the step.

    x_s = sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) x_t - sqrt(alpha_bar_s) (p1 x0 - p2 D1 + 2 curvature p3 D2)

    with p1 = exp(-h) - 1, p2 = p1 / h + 1, p3 = p2 / h - 1 / 2; D1 and D2 are h times the slope at x0 and h^2
    times half the second derivative of the parabola in lam (h and lam as in `dpm_solver_pp_2m_step`).
    x0_before and alpha_bar_before hold the last prediction first, then the one before it. With one of them the
    step is 2M's, with none, and at alpha_bar_s = 1, DDIM's.

    curvature = 1/2 is the formula in use, diffusers' solver_order=3. The exact integral has curvature = 1: the
    formula in use is of order 2 in the limit, with a smaller constant than 2M's.
    """
    if len(x0_before) != len(alpha_bar_before) or len(x0_before) > 2:
        raise ValueError(
            f"(x0_before, alpha_bar_before) is of {len(x0_before)} and {len(alpha_bar_before)} steps; "
            "allowed: up to two, the same ones"
        )
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    if len(x0_before) < 2 or a_s == 1:
        return dpm_solver_pp_2m_step(x_t, eps, a_t, a_s, *x0_before[:1], *alpha_bar_before[:1])
    _check_shapes(x_t, eps=eps, **{"x0_before[0]": x0_before[0], "x0_before[1]": x0_before[1]})
    _check_noisy(a_t)
    lam_2, lam_1 = (_half_log_snr(_level("alpha_bar_before", a)) for a in alpha_bar_before[::-1])
    lam, h = _half_log_snr(a_t), _half_log_snr(a_s) - _half_log_snr(a_t)
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    last, earlier = (x0 - x0_before[0]) / (lam - lam_1), (x0_before[0] - x0_before[1]) / (lam_1 - lam_2)
    bend = (last - earlier) / (lam - lam_2)  # half the parabola's second derivative
    d1, d2 = h * (last + (lam - lam_1) * bend), h * h * bend
    p1 = expm1(-h)
    p2 = p1 / h + 1
    p3 = p2 / h - 0.5
    move = p1 * x0 - p2 * d1 + 2 * curvature * p3 * d2
    return sqrt((1 - a_s) / (1 - a_t)) * x_t - sqrt(a_s) * move, x0


def euler_ancestral_step(
    x_t: Tensor, eps: Tensor, alpha_bar_t: float, alpha_bar_s: float, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Euler ancestral: Euler's step to less noise than level s has, then the rest as fresh noise.

    y_s = y_t + (u_down - u_t) eps + u_up noise, with u_up^2 = u_s^2 (u_t^2 - u_s^2) / u_t^2 and
    u_down^2 + u_up^2 = u_s^2, in the variables of `euler_step` (diffusers' EulerAncestralDiscreteScheduler).

    It is the same map as `ddim_step` at eta = 1 and `ddpm_step` with the small variance: put u^2 = 1 / alpha_bar - 1.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, noise=noise)
    _check_order(a_t, a_s)
    u_t, u_s = _noise_level(a_t), _noise_level(a_s)
    up = u_s * sqrt(max(1 - (u_s / u_t) ** 2, 0.0))
    down = u_s**2 / u_t  # sqrt(u_s^2 - up^2)
    y = x_t / sqrt(a_t)
    return _add_noise(sqrt(a_s) * (y + (down - u_t) * eps), sqrt(a_s) * up, noise), y - u_t * eps


def dpm_solver_pp_sde_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    noise: Tensor | None = None,
    x0_before: Tensor | None = None,
    alpha_bar_before: float | None = None,
) -> tuple[Tensor, Tensor]:
    """DPM-Solver++ for the reverse SDE, with x0 moved on to the middle of the step ("2M SDE").

    x_s = sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) exp(-h) x_t + sqrt(alpha_bar_s) (1 - exp(-2h)) D
        + sqrt(1 - alpha_bar_s) sqrt(1 - exp(-2h)) noise

    with h and D as in `dpm_solver_pp_2m_step` (diffusers' DPMSolverMultistepScheduler with algorithm_type
    "sde-dpmsolver++" and solver_order 2; the paper's equations were not opened). Without a step before, D = x0 and
    the step is `ddpm_step` with the small variance. At alpha_bar_s = 1 the result is x0 and no noise is added.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, noise=noise, x0_before=x0_before)
    _check_order(a_t, a_s)
    if (x0_before is None) != (alpha_bar_before is None):
        raise ValueError("one of x0_before and alpha_bar_before is None; allowed: both or neither")
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    if a_s == 1:
        return x0, x0
    h = _half_log_snr(a_s) - _half_log_snr(a_t)
    d = x0
    if x0_before is not None:
        h0 = _half_log_snr(a_t) - _half_log_snr(_level("alpha_bar_before", alpha_bar_before))
        d = x0 + (h / (2 * h0)) * (x0 - x0_before)
    kept = a_t * (1 - a_s) / ((1 - a_t) * a_s)  # exp(-2h)
    mean = sqrt((1 - a_s) / (1 - a_t) * kept) * x_t + sqrt(a_s) * (1 - kept) * d
    return _add_noise(mean, sqrt((1 - a_s) * (1 - kept)), noise), x0


def unipc_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_bar_t: float,
    alpha_bar_s: float,
    x0_before: Sequence[Tensor] = (),
    alpha_bar_before: Sequence[float] = (),
) -> tuple[Tensor, Tensor]:
    """UniPC of order 2: mend x_t with what the network said there, then take DPM-Solver++(2M)'s step from it.

    x_t was made from the level p before it by a rule that did not know x0, the prediction at t. The correction takes
    that step again with x0 among the points of its polynomial,

    x_t <- x_t - sqrt(alpha_bar_t) (exp(-h) - 1) (c1 (x0_q - x0_p) / r + c2 (x0 - x0_p) - old)

    where p and q are the last step and the one before it, h = lam_t - lam_p, r = (lam_q - lam_p) / h < 0, and old is
    what 2M had there, (x0_q - x0_p) / (2 r). With p alone c1 = old = 0 and c2 = 1/2, the trapezium rule. With both,
    c1 + c2 = b1 and c1 r + c2 = b2 make the step exact for predictions on a parabola in lam: b1 and b2 are the means
    of tau / h and (tau / h)^2 over the step under the weight exp(tau - h).

    It costs no evaluation, since the prediction at t is made anyway, and x0 stays that of the uncorrected x_t.
    x0_before and alpha_bar_before hold the last prediction first, then the one before it. The form is that of
    diffusers' UniPCMultistepScheduler with solver_order 2 and solver_type "bh2" (Zhao et al. 2023, arXiv 2302.04867;
    its equations were not opened). Third order in the limit, though its predictor is of second.
    """
    if len(x0_before) != len(alpha_bar_before) or len(x0_before) > 2:
        raise ValueError(
            f"(x0_before, alpha_bar_before) is of {len(x0_before)} and {len(alpha_bar_before)} steps; "
            "allowed: up to two, the same ones"
        )
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, **{f"x0_before[{k}]": x for k, x in enumerate(x0_before)})
    _check_noisy(a_t)
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    if x0_before:
        x_t = x_t + _unipc_correction(
            x0, a_t, x0_before, [_level("alpha_bar_before", a) for a in alpha_bar_before]
        )
    implied = (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)  # the noise with which the corrected x_t has this x0
    return dpm_solver_pp_2m_step(x_t, implied, a_t, a_s, *x0_before[:1], *alpha_bar_before[:1])[0], x0


def _unipc_correction(
    x0: Tensor, a_t: float, x0_before: Sequence[Tensor], a_before: Sequence[float]
) -> Tensor:
    lam_p = _half_log_snr(a_before[0])
    h = _half_log_snr(a_t) - lam_p
    if len(x0_before) == 1:
        change = (x0 - x0_before[0]) / 2
    else:
        r = (_half_log_snr(a_before[1]) - lam_p) / h
        weight = -1 / expm1(-h)
        b1 = weight - 1 / h
        b2 = weight - 2 * b1 / h
        c1 = (b2 - b1) / (r - 1)
        change = (c1 - 0.5) / r * (x0_before[1] - x0_before[0]) + (b1 - c1) * (x0 - x0_before[0])
    return -sqrt(a_t) * expm1(-h) * change


# ------------------------------------------------------------------------------------------------------------
# Walks


class Moment(NamedTuple):
    """Where in a run the denoiser is asked: for rules and denoisers that act by step, timestep or level."""

    step: int  # 0 at the noisiest step, counted in the order of falling noise
    steps: int  # of the run
    t: int | float  # the timestep, or whatever the transitions count in
    alpha_bar: float  # the level of t
    alpha_bar_s: float | None = (
        None  # the level that the step goes to; None where it asks a second time, or nobody says
    )

    @property
    def fraction(self) -> float:
        """step / steps, in [0, 1), 0 at the noisiest step."""
        return self.step / self.steps


class ByLevel(NamedTuple):
    """A denoiser of one that is told the level instead of the timestep, as those of mixtures are."""

    eps: Callable[[Tensor, float], Tensor]  # (x_t, alpha_bar) -> the noise in x_t

    def at(self, x_t: Tensor, moment: Moment) -> Tensor:
        return self.eps(x_t, moment.alpha_bar)


class Walk(NamedTuple):
    """What a step of a walk may use beside x_t, eps and its two levels."""

    eta: float
    noise: Callable[[], Tensor]  # the noise of this step, drawn when asked for
    before: Sequence[tuple[Tensor, float]]  # x0 and alpha_bar_t of the last two steps, the last one first
    eps_at: Callable[[Tensor], Tensor]  # the denoiser's answer to a state at level s: one more evaluation
    time: str  # in which slopes are averaged, see `heun_step`


def _ddim(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    z = walk.noise() if ddim_sigma(a_t, a_s, walk.eta) > 0 else None
    return ddim_step(x_t, eps, a_t, a_s, walk.eta, z)


def _ddpm(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk, variance="small"):
    return ddpm_step(x_t, eps, a_t, a_s, walk.noise() if a_s < 1 else None, variance)


def _euler(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk, variable="u"):
    return euler_step(x_t, eps, a_t, a_s, variable)


def _heun(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    x_s, x0 = euler_step(x_t, eps, a_t, a_s)
    if a_s == 1:  # there is no noise left to predict
        return x_s, x0
    return heun_step(x_t, eps, a_t, a_s, walk.eps_at(x_s), walk.time)


def _2m(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    return dpm_solver_pp_2m_step(x_t, eps, a_t, a_s, *(walk.before[0] if walk.before else ()))


def _3m(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    x0_before, alpha_bar_before = ([pair[k] for pair in walk.before] for k in (0, 1))
    return dpm_solver_pp_3m_step(x_t, eps, a_t, a_s, x0_before, alpha_bar_before)


def _euler_a(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    return euler_ancestral_step(x_t, eps, a_t, a_s, walk.noise() if a_s < 1 else None)


def _2m_sde(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    before = walk.before[0] if walk.before else ()
    return dpm_solver_pp_sde_step(x_t, eps, a_t, a_s, walk.noise() if a_s < 1 else None, *before)


def _unipc(x_t: Tensor, eps: Tensor, a_t: float, a_s: float, walk: Walk) -> tuple[Tensor, Tensor]:
    return unipc_step(x_t, eps, a_t, a_s, *([pair[k] for pair in walk.before] for k in (0, 1)))


class Sampler(NamedTuple):
    """A method: its step, and what `trajectory` and a menu need to know of it."""

    title: str
    order: int | None  # of convergence to the ODE's solution; None where noise is added
    evaluations: int  # of the denoiser, a step; a step of Heun's that ends at alpha_bar = 1 saves the second
    stochastic: bool  # needs noise; "ddim" does when eta > 0
    previous: str  # how the next level is chosen, see NoiseSchedule.transitions
    step: Callable[[Tensor, Tensor, float, float, Walk], tuple[Tensor, Tensor]]  # to x_s and x0

    def nfe(self, steps: int) -> int:
        """Denoiser evaluations of a whole run of `trajectory`."""
        return steps * self.evaluations - (self.evaluations - 1)


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler("DDPM, small variance", None, 1, True, "grid", _ddpm),
    "ddpm-large": Sampler("DDPM, large variance", None, 1, True, "grid", partial(_ddpm, variance="large")),
    "ddim": Sampler("DDIM", 1, 1, False, "stride", _ddim),
    "euler": Sampler("Euler", 1, 1, False, "grid", _euler),
    "euler-u2": Sampler(
        "Euler in the squared noise level", 1, 1, False, "grid", partial(_euler, variable="u^2")
    ),
    "heun": Sampler("Heun", 2, 2, False, "grid", _heun),
    "dpm++2m": Sampler("DPM-Solver++(2M)", 2, 1, False, "grid", _2m),
    "dpm++3m": Sampler("DPM-Solver++(3M)", 2, 1, False, "grid", _3m),  # not 3, see dpm_solver_pp_3m_step
    "unipc": Sampler("UniPC", 3, 1, False, "grid", _unipc),
    "euler-a": Sampler("Euler ancestral", None, 1, True, "grid", _euler_a),
    "dpm++2m-sde": Sampler("DPM-Solver++(2M) SDE", None, 1, True, "grid", _2m_sde),
}


_NO_LIMIT = ("euler-u2",)  # samplers whose step from alpha_bar grows without bound as that goes to 0


def pure_noise_step(
    x_t: Tensor, x0: Tensor, alpha_bar_s: float, sampler: str, eta: float, noise: Callable[[], Tensor]
) -> Tensor:
    """A sampler's step from alpha_bar = 0, the limit of its step from a small alpha_bar: there x_t is the noise itself.

        x_s = sqrt(alpha_bar_s) x0 + sqrt(1 - alpha_bar_s - sigma^2) x_t + sigma noise

    with sigma = eta sqrt(1 - alpha_bar_s) for "ddim", as diffusers' DDIMScheduler has it for networks that predict v.
    Samplers that add noise forget x_t, as at eta = 1; "ddpm-large" adds noise of variance 1. The others take DDIM's
    step, which is theirs where there is no slope and no prediction before it. x0 is the denoiser's, all (B, ...).
    """
    a_s = _level("alpha_bar_s", alpha_bar_s)
    if sampler == "ddpm-large":
        return sqrt(a_s) * x0 + (noise() if a_s < 1 else 0.0)
    eta = 1.0 if SAMPLERS[sampler].stochastic else eta
    sigma = ddim_sigma(0.0, a_s, eta)
    return _ddim_move(x0, x_t, sigma, a_s, noise() if sigma > 0 else None)


class Step(NamedTuple):
    """One step of a walk. Tensors are (B, ...)."""

    index: int  # 0, 1, ...
    t: int | float
    s: int | float | None
    alpha_bar_t: float
    alpha_bar_s: float
    x_t: Tensor
    eps: Tensor
    x0: Tensor
    x_s: Tensor
    nfe: int  # denoiser evaluations so far


def trajectory(
    denoiser: Denoiser,
    x_t: Tensor,
    schedule: NoiseSchedule | FlowSchedule,
    num_inference_steps: int,
    sampler: str = "ddim",
    eta: float = 0.0,
    noise: NoiseSource | None = None,
    spacing: str | None = None,
    steps_offset: int | None = None,
) -> Iterator[Step]:
    """Sample from pure noise x_t (B, ...), one `Step` at a time; the last one's x_s is the result.

    Stopping the iteration stops the work. spacing and steps_offset default to the schedule's. `noise` is
    asked for the noise of step k where a sampler adds any, for example noise.step_noise(x_t.shape, seed).

    A walk that starts at alpha_bar = 0 needs a denoiser with a method x0_of_noise(x_t, moment), the picture that it
    expects there: see `pure_noise_step`.

    Raises ValueError, at the call and not at the first step, for an unknown sampler, eta outside [0, 1] or
    set for a sampler that has none, steps outside [1, num_train_timesteps], missing noise, and
    ZeroTerminalSNRError for a schedule that starts at alpha_bar = 0 and a denoiser that predicts the noise alone.
    """
    _check_sampler(sampler)
    transitions = schedule.transitions(num_inference_steps, spacing, steps_offset, SAMPLERS[sampler].previous)
    return walk(denoiser, x_t, transitions, sampler, eta, noise, schedule.time)


def walk(
    denoiser: Denoiser,
    x_t: Tensor,
    transitions: Sequence[Transition],
    sampler: str = "ddim",
    eta: float = 0.0,
    noise: NoiseSource | None = None,
    time: str = "u",
) -> Iterator[Step]:
    """`trajectory` along given transitions, for example `schedules.path` of a finer grid than the table's.

    time: in which "heun" averages slopes, "u" or "sigma"; `trajectory` takes the schedule's.
    """
    _check_sampler(sampler)
    _check_eta(eta)
    if eta != 0 and sampler != "ddim":
        raise ValueError(f"eta is {eta!r}; allowed with sampler {sampler!r}: 0 (eta belongs to 'ddim')")
    if noise is None and (SAMPLERS[sampler].stochastic or eta > 0):
        raise ValueError(
            "noise is None; "
            f"allowed with sampler {sampler!r} and eta {eta}: a function of the step to the noise that it adds"
        )
    from_noise = getattr(denoiser, "x0_of_noise", None) is not None and sampler not in _NO_LIMIT
    for index, transition in enumerate(transitions):
        pure = from_noise and index == 0 and transition.alpha_bar_t == 0
        _levels(transition.alpha_bar_s if pure else transition.alpha_bar_t, transition.alpha_bar_s)
    return _walk(denoiser, x_t, transitions, sampler, eta, noise, time)


def _walk(denoiser, x_t, transitions, sampler, eta, noise, time) -> Iterator[Step]:
    ask, step, steps = _Asked(denoiser), SAMPLERS[sampler].step, len(transitions)
    before: list[tuple[Tensor, float]] = []
    for index, (t, s, a_t, a_s) in enumerate(transitions):
        now, then = Moment(index, steps, t, a_t, a_s), Moment(index + 1, steps, s, a_s)
        if a_t == 0:
            x0 = ask.x0_of_noise(x_t, now)
            x_s = pure_noise_step(x_t, x0, a_s, sampler, eta, partial(_drawn, noise, index, x_t))
            yield Step(index, t, s, a_t, a_s, x_t, x_t, x0, x_s, ask.nfe)
            x_t = x_s
            continue
        eps = ask(x_t, now)
        more = Walk(eta, partial(_drawn, noise, index, x_t), before, partial(ask, moment=then), time)
        x_s, x0 = step(x_t, eps, a_t, a_s, more)
        before = [(x0, a_t), *before[:1]]
        yield Step(index, t, s, a_t, a_s, x_t, eps, x0, x_s, ask.nfe)
        x_t = x_s


def _drawn(noise: NoiseSource, index: int, x_t: Tensor) -> Tensor:
    return noise(index).to(x_t)


class _Asked:
    """A denoiser as a function of the state and the moment: its `at`, if it has one, or else itself, told t."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser
        self.at = getattr(denoiser, "at", None) or (lambda x_t, moment: denoiser(x_t, moment.t))
        self.nfe = 0

    def __call__(self, x_t: Tensor, moment: Moment) -> Tensor:
        self.nfe += 1
        return self.at(x_t, moment)

    def x0_of_noise(self, x_t: Tensor, moment: Moment) -> Tensor:
        self.nfe += 1
        return self.denoiser.x0_of_noise(x_t, moment)


def ddim_inversion(
    denoiser: Denoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    num_inference_steps: int,
    spacing: str | None = None,
    steps_offset: int | None = None,
) -> Iterator[Step]:
    """The noise that deterministic DDIM would turn into x_0: its transitions in reverse, from s up to t.

    The denoiser is asked about timestep t while x is still at s, as diffusers' DDIMInverseScheduler does. In
    the Steps, alpha_bar_t and x_t are where the step starts, alpha_bar_s and x_s where it ends, as in
    `trajectory`, and t is the timestep asked about; the last one's x_s is the noise.
    """
    transitions = schedule.transitions(num_inference_steps, spacing, steps_offset, "stride")
    for transition in transitions:
        _levels(transition.alpha_bar_t, transition.alpha_bar_s)
    return _invert(denoiser, x_0, transitions[::-1])


def _invert(denoiser, x, transitions) -> Iterator[Step]:
    ask, steps = _Asked(denoiser), len(transitions)
    for index, (t, s, a_t, a_s) in enumerate(transitions):
        eps = ask(x, Moment(steps - 1 - index, steps, t, a_t))
        x_up, x0 = ddim_inversion_step(x, eps, a_s, a_t)
        yield Step(index, t, s, a_s, a_t, x, eps, x0, x_up, ask.nfe)
        x = x_up


# ------------------------------------------------------------------------------------------------------------
# Small print


def _noise_level(a: float) -> float:
    return sqrt((1 - a) / a)


def _half_log_snr(a: float) -> float:
    return 0.5 * log(a / (1 - a))


def _level(name: str, value: float) -> float:
    value = float(value)
    if value == 0:
        raise ZeroTerminalSNRError(
            f"{name} is 0, pure noise, from which an epsilon prediction cannot give x0; allowed: in (0, 1]. "
            "Use a denoiser that predicts v and ddim_step_v"
        )
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value!r}; allowed: in (0, 1]")
    return value


def _levels(alpha_bar_t: float, alpha_bar_s: float) -> tuple[float, float]:
    return _level("alpha_bar_t", alpha_bar_t), _level("alpha_bar_s", alpha_bar_s)


def _check_eta(eta: float) -> None:
    if not isinstance(eta, Real) or not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta!r}; allowed: in [0, 1]")


def _check_order(a_t: float, a_s: float) -> None:
    if a_s < a_t:
        raise ValueError(
            f"alpha_bar_s is {a_s!r}; allowed: at least alpha_bar_t = {a_t!r} where noise is added"
        )
    _check_noisy(a_t)


def _check_noisy(a_t: float) -> None:
    if a_t == 1:
        raise ValueError("alpha_bar_t is 1; allowed: below 1 for this step, which needs noise that is left")


def _check_shapes(x_t: Tensor, **others: Tensor | None) -> None:
    for name, other in others.items():
        if other is not None and other.shape != x_t.shape:
            raise ValueError(
                f"{name}.shape is {tuple(other.shape)}; allowed: that of x_t, {tuple(x_t.shape)}"
            )


def _add_noise(mean: Tensor, sigma: float, noise: Tensor | None) -> Tensor:
    if sigma == 0:
        return mean
    if noise is None:
        raise ValueError(
            "noise is None; "
            f"allowed: a tensor like x_t, since this step adds noise of standard deviation {sigma:.4g}"
        )
    return mean + sigma * noise


def _check_sampler(sampler: str) -> None:
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is {sampler!r}; allowed: {', '.join(map(repr, SAMPLERS))}")
