"""samplers.py: identities between the steps, the walk, bad input, and the known mistakes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial.mixtures import GaussianMixture
from diffusion_tutorial.noise import gaussian, step_noise
from diffusion_tutorial.samplers import (
    SAMPLERS,
    Moment,
    ddim_inversion,
    ddim_inversion_step,
    ddim_sigma,
    ddim_step,
    ddim_step_v,
    ddpm_step,
    dpm_solver_pp_2m_step,
    dpm_solver_pp_3m_step,
    euler_step,
    heun_step,
    trajectory,
    walk,
)
from diffusion_tutorial.schedules import NoiseSchedule, ZeroTerminalSNRError, path

SHAPE = (2, 4, 3, 3)
X, EPS, Z = (gaussian(SHAPE, seed).double() for seed in (1, 2, 3))
STILL_LIFE = NoiseSchedule.scaled_linear(set_alpha_to_one=False, steps_offset=1)

levels = st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999)).map(sorted)  # alpha_bar_t <= alpha_bar_s


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


# ------------------------------------------------------------------------------------------------------------
# Identities


@settings(max_examples=60, deadline=None)
@given(levels, st.floats(0, 1))
def test_ddim_keeps_the_marginal_for_every_eta(pair, eta):
    """From x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps, x_s has mean sqrt(a_s) x0, variance 1 - a_s (lemma 1)."""
    a_t, a_s = pair
    x0 = X
    x_t = math.sqrt(a_t) * x0 + math.sqrt(1 - a_t) * EPS
    x_s, predicted = ddim_step(x_t, EPS, a_t, a_s, eta, Z)
    close(predicted, x0, 1e-8)
    sigma = ddim_sigma(a_t, a_s, eta)
    assert 0 <= sigma <= math.sqrt(1 - a_s) + 1e-12
    # x_s = sqrt(a_s) x0 + c eps + sigma z with independent eps and z: the squares of c and sigma add up
    c = math.sqrt(max(1 - a_s - sigma**2, 0))
    close(x_s, math.sqrt(a_s) * x0 + c * EPS + sigma * Z, 1e-8)
    assert c**2 + sigma**2 == pytest.approx(1 - a_s, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(levels)
def test_ddim_at_eta_1_is_ddpm(pair):
    a_t, a_s = pair
    close(ddim_step(X, EPS, a_t, a_s, 1.0, Z)[0], ddpm_step(X, EPS, a_t, a_s, Z)[0], 1e-7)


@settings(max_examples=60, deadline=None)
@given(levels)
def test_ddpm_mean_and_variance_are_bayes(pair):
    """The posterior of x_s from the prior N(sqrt(a_s) x0, 1 - a_s) and x_t = sqrt(a_t / a_s) x_s + noise."""
    a_t, a_s = pair
    alpha, beta = a_t / a_s, 1 - a_t / a_s
    if beta < 1e-6:
        return
    precision = 1 / (1 - a_s) + alpha / beta
    x_s, x0 = ddpm_step(X, EPS, a_t, a_s, Z, "small")
    mean = (math.sqrt(a_s) * x0 / (1 - a_s) + math.sqrt(alpha) * X / beta) / precision
    close(x_s, mean + Z / math.sqrt(precision), 1e-6)
    large, _ = ddpm_step(X, EPS, a_t, a_s, Z, "large")
    close(large - mean, math.sqrt(beta) * Z, 1e-6)


@settings(max_examples=60, deadline=None)
@given(levels)
def test_euler_is_ddim_and_ddim_undoes_itself(pair):
    a_t, a_s = pair
    x_s, x0 = ddim_step(X, EPS, a_t, a_s)
    for ours in (euler_step(X, EPS, a_t, a_s), dpm_solver_pp_2m_step(X, EPS, a_t, a_s)):
        close(ours[0], x_s, 1e-8)
        close(ours[1], x0, 1e-8)
    close(heun_step(X, EPS, a_t, a_s, EPS)[0], x_s, 1e-8)
    close(ddim_inversion_step(x_s, EPS, a_s, a_t)[0], X, 1e-8)
    v = math.sqrt(a_t) * EPS - math.sqrt(1 - a_t) * x0
    for mine, other in zip(
        ddim_step_v(X, v, a_t, a_s, 0.4, Z), ddim_step(X, EPS, a_t, a_s, 0.4, Z), strict=True
    ):
        close(mine, other, 1e-7)


@settings(max_examples=60, deadline=None)
@given(levels)
def test_steps_agree_to_first_order_and_are_exact_for_a_point(pair):
    """For data in a single point, eps is constant along the ODE and every solver is exact."""
    a_t, a_s = pair
    point = GaussianMixture([1.0], [[0.7, -1.2]], [0.0])
    x = gaussian((3, 2), 1).double()
    eps = point.eps(x, a_t)
    x_s, x0 = ddim_step(x, eps, a_t, a_s)
    close(x0, point.means.expand(3, 2), 1e-6)
    close(point.eps(x_s, a_s), eps, 1e-5)
    close(heun_step(x, eps, a_t, a_s, point.eps(x_s, a_s))[0], x_s, 1e-5)


def half_log_snr(a: float) -> float:
    return 0.5 * math.log(a / (1 - a))


def test_the_multistep_formula_uses_the_slope_of_x0():
    """Let x0 be a line in lam. Against 2000 midpoint steps, two levels do far better than one."""
    a_before, a_t, a_s = 0.2, 0.3, 0.4

    def x0_at(lam):
        return X + 0.8 * lam * EPS

    def eps_at(x, lam):
        a = 1 / (1 + math.exp(-2 * lam))
        return (x - math.sqrt(a) * x0_at(lam)) / math.sqrt(1 - a), a

    grid = torch.linspace(half_log_snr(a_t), half_log_snr(a_s), 2001, dtype=torch.float64).tolist()
    fine = X
    for start, stop in zip(grid, grid[1:], strict=False):
        middle = (start + stop) / 2
        eps, a = eps_at(fine, start)
        half, _ = ddim_step(fine, eps, a, eps_at(fine, middle)[1])
        fine, _ = euler_step(fine, eps_at(half, middle)[0], a, eps_at(fine, stop)[1])
    eps, _ = eps_at(X, half_log_snr(a_t))
    first, _ = dpm_solver_pp_2m_step(X, eps, a_t, a_s)
    second, _ = dpm_solver_pp_2m_step(X, eps, a_t, a_s, x0_at(half_log_snr(a_before)), a_before)
    assert (second - fine).abs().max() < 0.2 * (first - fine).abs().max()


def test_the_parabola_is_integrated_exactly_at_curvature_one():
    """x_s is the integral of exp(-(lam_s - lam)) x0(lam) plus what is left of x_t; x0 a parabola in lam."""
    a_2, a_1, a_t, a_s = 0.12, 0.2, 0.35, 0.6
    lam_2, lam_1, lam_t, lam_s = (half_log_snr(a) for a in (a_2, a_1, a_t, a_s))

    def x0_at(lam):
        return X + 0.8 * lam * EPS - 0.5 * lam**2 * Z

    eps = (X - math.sqrt(a_t) * x0_at(lam_t)) / math.sqrt(1 - a_t)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    h = lam_s - lam_t
    lams = lam_t + h * (nodes + 1) / 2
    integral = sum(
        w * h / 2 * math.exp(lam - lam_s) * x0_at(lam) for w, lam in zip(weights, lams, strict=True)
    )
    exact = math.sqrt((1 - a_s) / (1 - a_t)) * X + math.sqrt(a_s) * integral
    history = [x0_at(lam_1), x0_at(lam_2)], [a_1, a_2]
    close(dpm_solver_pp_3m_step(X, eps, a_t, a_s, *history, curvature=1.0)[0], exact, 1e-9)
    in_use = (dpm_solver_pp_3m_step(X, eps, a_t, a_s, *history)[0] - exact).abs().max()
    two_m = (dpm_solver_pp_2m_step(X, eps, a_t, a_s, x0_at(lam_1), a_1)[0] - exact).abs().max()
    assert 1e-4 < in_use < two_m  # half the curvature: not exact, and nearer than a line


def test_3m_starts_as_ddim_and_2m():
    close(dpm_solver_pp_3m_step(X, EPS, 0.2, 0.4)[0], ddim_step(X, EPS, 0.2, 0.4)[0])
    close(
        dpm_solver_pp_3m_step(X, EPS, 0.2, 0.4, [Z], [0.1])[0],
        dpm_solver_pp_2m_step(X, EPS, 0.2, 0.4, Z, 0.1)[0],
    )
    close(
        dpm_solver_pp_3m_step(X, EPS, 0.2, 0.4, [Z, X], [0.1, 0.05], 0)[1],
        dpm_solver_pp_2m_step(X, EPS, 0.2, 0.4)[1],
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype):
    x, eps, z = X.to(dtype), EPS.to(dtype), Z.to(dtype)
    steps = [
        ddim_step(x, eps, 0.2, 0.4, 0.5, z),
        ddim_step_v(x, eps, 0.0, 0.4, 0.5, z),
        ddpm_step(x, eps, 0.2, 0.4, z),
        euler_step(x, eps, 0.2, 0.4, "u^2"),
        heun_step(x, eps, 0.2, 0.4, eps),
        dpm_solver_pp_2m_step(x, eps, 0.2, 0.4, x, 0.1),
        dpm_solver_pp_3m_step(x, eps, 0.2, 0.4, [x, x], [0.1, 0.05]),
        ddim_inversion_step(x, eps, 0.4, 0.2),
    ]
    for x_s, x0 in steps:
        assert x_s.dtype == x0.dtype == dtype


def test_levels_may_be_tensors_and_arguments_names():
    a = STILL_LIFE.alphas_cumprod
    by_name = ddim_step(x_t=X, eps=EPS, alpha_bar_t=a[500], alpha_bar_s=a[450], eta=0.0, noise=None)
    close(by_name[0], ddim_step(X, EPS, a[500].item(), a[450].item())[0])


def test_last_step_lands_on_x0():
    for x_s, x0 in (
        ddim_step(X, EPS, 0.9, 1.0, eta=1.0),
        ddpm_step(X, EPS, 0.9, 1.0, variance="large"),
        ddpm_step(X, EPS, 0.9, 1.0, Z),  # noise offered, none added
        euler_step(X, EPS, 0.9, 1.0),
        dpm_solver_pp_2m_step(X, EPS, 0.9, 1.0, Z, 0.8),
        dpm_solver_pp_3m_step(X, EPS, 0.9, 1.0, [Z, X], [0.8, 0.7]),
    ):
        close(x_s, x0)


# ------------------------------------------------------------------------------------------------------------
# Mistakes seen in public teaching code. Each is written out and must be caught by the marginals that the
# right formula keeps, or by the scheduler's own last level.


def wrong_direction(x_t, eps, a_t, a_s, eta, z):
    """sigma in place of sqrt(1 - alpha_bar_s - sigma^2)."""
    sigma = ddim_sigma(a_t, a_s, eta)
    x0 = (x_t - math.sqrt(1 - a_t) * eps) / math.sqrt(a_t)
    return math.sqrt(a_s) * x0 + sigma * eps + sigma * z


def wrong_root(x_t, eps, a_t, a_s, eta, z):
    """1 - alpha_bar in place of its root."""
    sigma = ddim_sigma(a_t, a_s, eta)
    x0 = (x_t - (1 - a_t) * eps) / math.sqrt(a_t)
    return math.sqrt(a_s) * x0 + math.sqrt(1 - a_s - sigma**2) * eps + sigma * z


def wrong_root_around_both(x_t, eps, a_t, a_s, eta, z):
    """sqrt(1) - alpha_bar: the root closed too early."""
    sigma = ddim_sigma(a_t, a_s, eta)
    x0 = (x_t - (math.sqrt(1) - a_t) * eps) / math.sqrt(a_t)
    return math.sqrt(a_s) * x0 + (math.sqrt(1) - a_s - sigma) * eps + sigma * z


def marginal_error(step, a_t=0.3, a_s=0.5, eta=0.5) -> float:
    """How far x_s is from N(sqrt(a_s) x0, 1 - a_s), when x_t is a draw of q(x_t | x0) and eps is exact."""
    n = 40_000
    eps, z = (gaussian((1, n), 1, stream=i)[0].double() for i in range(2))
    x0 = torch.full((n,), 0.8, dtype=torch.float64)
    x_s = step(math.sqrt(a_t) * x0 + math.sqrt(1 - a_t) * eps, eps, a_t, a_s, eta, z)
    mean, variance = x_s.mean().item(), x_s.var().item()
    return abs(mean - math.sqrt(a_s) * 0.8) + abs(variance - (1 - a_s))


def test_catches_wrong_formulas_by_the_marginal():
    right = marginal_error(lambda *a: ddim_step(*a)[0])
    assert right < 0.02  # sampling error of 40,000 draws
    for wrong in (wrong_direction, wrong_root, wrong_root_around_both):
        assert marginal_error(wrong) > 5 * 0.02, wrong.__doc__


def test_wrong_direction_hides_where_sigma_happens_to_fit():
    """Why a test at one eta is not enough: at this step, near eta = 1, the mistake almost fits."""
    a_t, a_s = 0.3, 0.5
    sigma = ddim_sigma(a_t, a_s, 0.93)
    assert abs(sigma - math.sqrt(1 - a_s - sigma**2)) < 0.02
    assert marginal_error(wrong_direction, eta=0.93) < marginal_error(wrong_direction, eta=0.2) / 5


def test_catches_a_last_level_that_is_not_the_schedulers():
    """Stable Diffusion 1's DDIM ends at alphas_cumprod[0], DDPM and the ODE solvers at 1; a swap shows."""
    x = gaussian((2, 2), 1).double()
    plane = GaussianMixture([1.0], [[0.5, -1.0]], [0.3]).denoiser(STILL_LIFE)
    *_, ddim = trajectory(plane, x, STILL_LIFE, 10)
    assert ddim.alpha_bar_s == STILL_LIFE.alphas_cumprod[0].item() == STILL_LIFE.final_alpha_cumprod
    right = ddim_step(ddim.x_t, ddim.eps, ddim.alpha_bar_t, STILL_LIFE.final_alpha_cumprod)[0]
    wrong = ddim_step(ddim.x_t, ddim.eps, ddim.alpha_bar_t, 1.0)[0]
    assert torch.equal(ddim.x_s, right) and (ddim.x_s - wrong).abs().max() > 1e-3
    *_, ddpm = trajectory(plane, x, STILL_LIFE, 10, "ddpm", noise=step_noise(x.shape, 1))
    assert ddpm.alpha_bar_s == 1 and torch.equal(ddpm.x_s, ddpm.x0)
    one = NoiseSchedule.scaled_linear(steps_offset=1)
    assert one.transitions(10)[-1].alpha_bar_s == 1.0


# ------------------------------------------------------------------------------------------------------------
# Walks


class Counter:
    """A denoiser that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, x, t):
        self.asked.append(t)
        return 0.5 * x


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("n", [1, 2, 9])
def test_trajectory_is_a_chain(sampler, n):
    x = gaussian(SHAPE, 1)
    denoiser = Counter()
    steps = list(trajectory(denoiser, x, STILL_LIFE, n, sampler, noise=step_noise(SHAPE, 1)))
    assert [s.index for s in steps] == list(range(n))
    assert steps[0].x_t is x and all(b.x_t is a.x_s for a, b in zip(steps, steps[1:], strict=False))
    assert [s.t for s in steps] == STILL_LIFE.timesteps(n).tolist()
    assert steps[-1].nfe == len(denoiser.asked) == SAMPLERS[sampler].nfe(n)
    assert all(s.x_s.dtype == torch.float32 and s.x_s.shape == x.shape for s in steps)
    assert all(s.eps.equal(0.5 * s.x_t) for s in steps)


def test_stopping_stops_the_work():
    denoiser = Counter()
    steps = trajectory(denoiser, X, STILL_LIFE, 50)
    assert denoiser.asked == []
    next(steps)
    next(steps)
    steps.close()
    assert len(denoiser.asked) == 2


def test_batch_size_does_not_change_an_image():
    schedule, denoiser = STILL_LIFE, lambda x, t: 0.5 * x.tanh()

    def run(batch, first=0):
        shape = (batch, 4, 3, 3)
        noise = step_noise(shape, 7, first)
        *_, last = trajectory(denoiser, gaussian(shape, 7, first=first), schedule, 5, "ddpm", noise=noise)
        return last.x_s

    large = run(6)
    torch.testing.assert_close(run(2), large[:2], rtol=0, atol=0)
    torch.testing.assert_close(run(1, first=4), large[4:5], rtol=0, atol=0)


def test_only_the_stochastic_samplers_depend_on_the_noise():
    for sampler, eta in [(s, 0.0) for s in SAMPLERS] + [("ddim", 0.4)]:
        ends = []
        for seed in (1, 2):
            *_, last = trajectory(
                lambda x, t: 0.5 * x.tanh(), X, STILL_LIFE, 5, sampler, eta, step_noise(SHAPE, seed)
            )
            ends.append(last.x_s)
        assert torch.equal(*ends) == (not SAMPLERS[sampler].stochastic and eta == 0)


def test_inversion_comes_back():
    """Inverting and sampling again, closer the more steps are taken (DDIM section 5.4)."""
    schedule = NoiseSchedule.scaled_linear(set_alpha_to_one=False)
    mixture = GaussianMixture([0.5, 0.5], [[-1.0, 0.3], [1.0, -0.5]], [0.2, 0.3])
    denoiser = mixture.denoiser(schedule)
    x_0 = mixture.sample(50, seed=1)
    errors = []
    for n in (10, 40, 160):
        *_, up = ddim_inversion(denoiser, x_0, schedule, n)
        assert up.nfe == n and up.alpha_bar_s == schedule.alpha_bar(up.t)
        *_, down = trajectory(denoiser, up.x_s, schedule, n)
        errors.append((down.x_s - x_0).norm(dim=1).mean().item())
    assert errors[0] > 2.5 * errors[1] > 6 * errors[2]


def test_walk_takes_any_path():
    mixture = GaussianMixture([1.0], [[0.5]], [0.2])
    x = gaussian((4, 1), 1).double()
    *_, last = walk(mixture.eps, x, path([0.1, 0.33, 0.7, 1.0]), "heun")
    assert last.nfe == 5 and last.alpha_bar_s == 1.0


# ------------------------------------------------------------------------------------------------------------
# Bad input

NAN = float("nan")


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: ddim_step(X, EPS, 1.2, 0.5), r"alpha_bar_t is 1.2; allowed: in \(0, 1\]"),
        (lambda: ddim_step(X, EPS, 0.5, -0.1), r"alpha_bar_s is -0.1; allowed: in \(0, 1\]"),
        (lambda: ddim_step(X, EPS, NAN, 0.5), "alpha_bar_t"),
        (lambda: ddim_step(X, EPS, 0.2, 0.5, eta=1.5), r"eta is 1.5; allowed: in \[0, 1\]"),
        (lambda: ddim_step(X, EPS, 0.2, 0.5, eta=-0.1, noise=Z), "eta"),
        (lambda: ddim_step(X, EPS, 0.2, 0.5, eta=NAN, noise=Z), "eta"),
        (lambda: ddim_step(X, EPS, 0.2, 0.5, eta=0.5), "noise is None; allowed"),
        (
            lambda: ddim_step(X, EPS, 0.5, 0.2, eta=0.5, noise=Z),
            "alpha_bar_s is .*; allowed: at least alpha_bar_t",
        ),
        (
            lambda: ddim_step(X, EPS[:1], 0.2, 0.5),
            r"eps\.shape is \(1, .*; allowed: that of x_t, \(2, 4, 3, 3\)",
        ),
        (lambda: ddim_step(X, EPS, 0.2, 0.5, 0.5, Z[:, :3]), "noise\\.shape is .*; allowed:"),
        (lambda: ddpm_step(X, EPS, 0.2, 0.5), "noise is None; allowed"),
        (
            lambda: ddpm_step(X, EPS, 0.2, 0.5, Z, variance="medium"),
            "variance is .*; allowed: 'small' or 'large'",
        ),
        (lambda: ddpm_step(X, EPS, 0.5, 0.2, Z), "alpha_bar_s is .*; allowed: at least"),
        (lambda: ddpm_step(X, EPS, 1.0, 1.0, Z), "alpha_bar_t is .*; allowed: below 1"),
        (lambda: euler_step(X, EPS, 1.0, 0.5, "u^2"), "alpha_bar_t is .*; allowed: below 1"),
        (lambda: dpm_solver_pp_2m_step(X, EPS, 1.0, 0.5), "alpha_bar_t is .*; allowed: below 1"),
        (lambda: ddim_step_v(X, EPS, -0.1, 0.5), "alpha_bar_t"),
        (lambda: ddim_step_v(X, EPS[:1], 0.1, 0.5), "v\\.shape is .*; allowed:"),
        (lambda: euler_step(X, EPS, 0.2, 0.5, variable="t"), "variable is .*; allowed:"),
        (lambda: heun_step(X, EPS, 0.2, 0.5, EPS[:1]), "eps_s\\.shape is .*; allowed:"),
        (lambda: dpm_solver_pp_2m_step(X, EPS, 0.2, 0.5, X), "x0_before.*alpha_bar_before.*; allowed"),
        (lambda: dpm_solver_pp_2m_step(X, EPS, 0.2, 0.5, X, 1.5), "alpha_bar_before"),
        (
            lambda: dpm_solver_pp_3m_step(X, EPS, 0.2, 0.5, [X], []),
            "is of .* steps; allowed: up to two",
        ),
        (
            lambda: dpm_solver_pp_3m_step(X, EPS, 0.2, 0.5, [X] * 3, [0.1] * 3),
            "x0_before.*alpha_bar_before.*; allowed",
        ),
        (
            lambda: dpm_solver_pp_3m_step(X, EPS, 0.2, 0.5, [X, X[:1]], [0.1, 0.05]),
            "x0_before.1.\\.shape is .*; allowed:",
        ),
        (lambda: dpm_solver_pp_3m_step(X, EPS, 0.2, 0.5, [X, X], [0.1, 1.5]), "alpha_bar_before"),
        (
            lambda: trajectory(Counter(), X, STILL_LIFE, 0),
            "num_inference_steps is .*; allowed: an integer in",
        ),
        (lambda: trajectory(Counter(), X, STILL_LIFE, 1001), "num_inference_steps"),
        (
            lambda: trajectory(Counter(), X, STILL_LIFE, 5, "plms"),
            "sampler is 'plms'; allowed: 'ddpm'",
        ),
        (lambda: trajectory(Counter(), X, STILL_LIFE, 5, eta=2), "eta is .*; allowed: in"),
        (lambda: trajectory(Counter(), X, STILL_LIFE, 5, eta="0.5"), "eta is .*; allowed: in"),
        (
            lambda: trajectory(Counter(), X, STILL_LIFE, 5, "heun", eta=0.5),
            "eta is 0.5; allowed with sampler 'heun': 0",
        ),
        (lambda: trajectory(Counter(), X, STILL_LIFE, 5, eta=0.5), "noise is None; allowed"),
        (lambda: trajectory(Counter(), X, STILL_LIFE, 5, "ddpm"), "noise is None; allowed"),
        (lambda: trajectory(Counter(), X, STILL_LIFE, 5, spacing="cubic"), "spacing"),
        (lambda: next(trajectory(lambda x, t: x[:, :3], X, STILL_LIFE, 5)), "eps\\.shape is .*; allowed:"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


def test_zero_terminal_snr_is_refused_for_eps():
    schedule = STILL_LIFE.with_zero_terminal_snr()
    with pytest.raises(ZeroTerminalSNRError, match="ddim_step_v"):
        trajectory(Counter(), X, schedule, 10, spacing="trailing")
    list(trajectory(Counter(), X, schedule, 10, spacing="leading"))  # never visits the last level
    for step in (ddim_step, ddpm_step, euler_step, dpm_solver_pp_2m_step, dpm_solver_pp_3m_step):
        with pytest.raises(ZeroTerminalSNRError):
            step(X, EPS, 0.0, 0.5)


def test_the_package_stays_light():
    """Importing it, and the samplers, needs neither diffusers nor matplotlib."""
    import subprocess
    import sys

    code = (
        "import sys, diffusion_tutorial as d; assert 'torch' not in sys.modules; "
        "d.trajectory, d.classifier_free, d.gaussian, d.NoiseSchedule, d.GaussianMixture; "
        "bad = {'diffusers', 'transformers', 'matplotlib', 'ipywidgets'} & set(sys.modules); "
        "assert not bad, bad; "
        "assert 'load' in dir(d); "
        "import diffusion_tutorial.metrics; assert 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


class Noted:
    """A denoiser that wants the moment, and notes what it was told."""

    def __init__(self):
        self.moments = []

    def at(self, x_t, moment):
        self.moments.append(moment)
        return 0.1 * x_t


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_denoiser_is_told_the_moment(sampler, spacing):
    """Step, number of steps, timestep and level of every question, and where a first one leads; Heun's second included."""
    noted, method = Noted(), SAMPLERS[sampler]
    steps = list(trajectory(noted, X, STILL_LIFE, 6, sampler, noise=step_noise(X.shape, 1), spacing=spacing))
    transitions = STILL_LIFE.transitions(6, spacing, previous=method.previous)
    first = [Moment(k, 6, t.t, t.alpha_bar_t, t.alpha_bar_s) for k, t in enumerate(transitions)]
    asked = [[m] for m in first]
    if method.evaluations == 2:
        for k, t in enumerate(transitions[:-1]):
            asked[k].append(Moment(k + 1, 6, t.s, t.alpha_bar_s))
    assert noted.moments == [m for step in asked for m in step]
    assert steps[-1].nfe == len(noted.moments) == method.nfe(6)
    assert [m.fraction for m in first] == [k / 6 for k in range(6)]


def test_a_plain_function_is_told_the_timestep():
    told = []
    list(trajectory(lambda x, t: told.append(t) or 0.1 * x, X, STILL_LIFE, 5))
    assert told == STILL_LIFE.timesteps(5).tolist()


def test_inversion_counts_from_the_noisy_end():
    noted = Noted()
    list(ddim_inversion(noted, X, STILL_LIFE, 4))
    transitions = STILL_LIFE.transitions(4)
    assert noted.moments == [Moment(k, 4, transitions[k].t, transitions[k].alpha_bar_t) for k in (3, 2, 1, 0)]
