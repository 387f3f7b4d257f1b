"""Steps that came after DDIM and that programs offer by name: Euler ancestral, DPM-Solver++ as an SDE, UniPC.

Notation, return values and errors are those of `samplers`. Formulas are those of diffusers' schedulers, whose source
was read; equation numbers of the papers were not opened.

Papers: DPM-Solver++ is Lu et al. 2022 (arXiv 2211.01095), UniPC is Zhao et al. 2023 (arXiv 2302.04867).
"""

from __future__ import annotations

from math import expm1, sqrt

from torch import Tensor

from .samplers import (
    _add_noise,
    _check_noisy,
    _check_order,
    _check_shapes,
    _half_log_snr,
    _level,
    _levels,
    _noise_level,
    dpm_solver_pp_2m_step,
)


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

    with h and D as in `dpm_solver_pp_2m_step` (diffusers' DPMSolverMultistepScheduler, algorithm_type
    "sde-dpmsolver++", solver_order 2). Without a step before, D = x0 and the step is `ddpm_step` with the small
    variance. At alpha_bar_s = 1 the result is x0 and no noise is added.
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, noise=noise, x0_before=x0_before)
    _check_order(a_t, a_s)
    if (x0_before is None) != (alpha_bar_before is None):
        raise ValueError("x0_before and alpha_bar_before go together: give both or neither")
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
    x_before: Tensor | None = None,
    x0_before: list[Tensor] | tuple[Tensor, ...] = (),
    alpha_bar_before: list[float] | tuple[float, ...] = (),
    last: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """UniPC of order 2: mend x_t with what the network said there, then take DPM-Solver++(2M)'s step from it.

    Returns (x_s, x0, corrected x_t); the next step wants the last one as its x_before. x_before is None at the first
    step. x0_before and alpha_bar_before hold the last prediction first, then the one before it. `last`: a first
    order step, as the end of a run takes it.

    The correction goes once more from x_before to level t, now with the prediction at t among the points of its
    polynomial (`unipc_correct`); it costs no evaluation, since that prediction is made anyway. Its x0 stays that of
    the uncorrected x_t. The form is diffusers' UniPCMultistepScheduler with solver_order 2, solver_type "bh2".
    """
    a_t, a_s = _levels(alpha_bar_t, alpha_bar_s)
    _check_shapes(x_t, eps=eps, x_before=x_before)
    _check_noisy(a_t)
    if len(x0_before) != len(alpha_bar_before) or len(x0_before) > 2:
        raise ValueError(
            "x0_before and alpha_bar_before must hold up to two steps, the same ones, "
            f"got {len(x0_before)} and {len(alpha_bar_before)}"
        )
    if (x_before is None) != (len(x0_before) == 0):
        raise ValueError("x_before and x0_before go together: give both or neither")
    x0 = (x_t - sqrt(1 - a_t) * eps) / sqrt(a_t)
    if x_before is not None:
        x_t = unipc_correct(x_before, x0, a_t, x0_before, alpha_bar_before)
    implied = (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)  # the noise with which the corrected x_t has this x0
    memory = () if last else (*x0_before[:1], *alpha_bar_before[:1])
    return dpm_solver_pp_2m_step(x_t, implied, a_t, a_s, *memory)[0], x0, x_t


def unipc_correct(
    x_before: Tensor,
    x0: Tensor,
    alpha_bar_t: float,
    x0_before: list[Tensor] | tuple[Tensor, ...],
    alpha_bar_before: list[float] | tuple[float, ...],
) -> Tensor:
    """x_t anew from x_before, with the prediction x0 at level t known: UniPC's corrector, of order 1 or 2.

    x_t = sqrt((1 - alpha_bar_t) / (1 - alpha_bar_p)) x_before
        - sqrt(alpha_bar_t) (exp(-h) - 1) (x0_p + c1 (x0_q - x0_p) / r + c2 (x0 - x0_p))

    p and q are the last step and the one before it, h = lam_t - lam_p, r = (lam_q - lam_p) / h. With p alone c1 = 0
    and c2 = 1 / 2, the trapezium rule. With both, (c1, c2) solve c1 + c2 = b1, c1 r + c2 = b2, which makes the step
    exact for predictions that are a parabola in lam: b1 and b2 are the weighted means of tau / h and (tau / h)^2 over
    the step, b1 = 1 / (1 - exp(-h)) - 1 / h and b2 = 1 / (1 - exp(-h)) - 2 b1 / h.
    """
    a_t, a_p = _level("alpha_bar_t", alpha_bar_t), _level("alpha_bar_before", alpha_bar_before[0])
    _check_shapes(x_before, x0=x0, **{"x0_before[0]": x0_before[0]})
    h = _half_log_snr(a_t) - _half_log_snr(a_p)
    change = 0.5 * (x0 - x0_before[0])
    if len(x0_before) > 1:
        r = (_half_log_snr(_level("alpha_bar_before", alpha_bar_before[1])) - _half_log_snr(a_p)) / h
        whole = -1 / expm1(-h)
        b1 = whole - 1 / h
        b2 = whole - 2 * b1 / h
        c1 = (b2 - b1) / (r - 1)
        change = c1 * (x0_before[1] - x0_before[0]) / r + (b1 - c1) * (x0 - x0_before[0])
    return sqrt((1 - a_t) / (1 - a_p)) * x_before - sqrt(a_t) * expm1(-h) * (x0_before[0] + change)
