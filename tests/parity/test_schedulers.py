"""Our schedules and steps against the diffusers schedulers of the same name.

Three ways to compare. "float64": the diffusers tables are replaced by float64 ones (`exact`), the tensors are
float64; the two agree to 1e-10. "float32": the same tables, float32 tensors; 1e-5. "shipped": diffusers as it
is, with tables in float32; 1e-5, plus what diffusers loses where it forms 1 - alpha from two numbers close to
1: half a unit of float32's last place over 1 - alpha. The error is the largest difference over the largest
reference value.

Euler, Heun and DPM-Solver++ keep y = x / sqrt(alpha_bar) or round to float32 inside and choose other
timesteps than DDIM. Here they get our timesteps, and their y is scaled back; then only the formula is
compared. What cannot be compared is their start: diffusers scales the initial noise to sigma_max (or
sqrt(sigma_max^2 + 1) for "leading"), our walks start from x_T = noise.
"""

import math

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)

from diffusion_tutorial.noise import gaussian, step_noise
from diffusion_tutorial.samplers import ddim_inversion, ddim_step, ddim_step_v, ddpm_step, trajectory, walk
from diffusion_tutorial.schedules import SPACINGS, NoiseSchedule, Transition

BETAS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
}
SHAPE = (2, 4, 6, 5)
STEPS = (1, 2, 7, 20, 50, 333, 1000)
DTYPE = {"float64": torch.float64, "float32": torch.float32, "shipped": torch.float32}
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "shipped": 1e-5}


def error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()).item()


def exact(scheduler):
    """The same scheduler with tables in float64, from its own formula."""
    schedule = NoiseSchedule.from_config(scheduler.config)
    scheduler.betas, scheduler.alphas = schedule.betas, schedule.alphas
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    for name in ("final_alpha_cumprod", "initial_alpha_cumprod"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, torch.tensor(schedule.final_alpha_cumprod, dtype=torch.float64))
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def denoiser(x: torch.Tensor, t) -> torch.Tensor:
    """Any smooth function of x and t will do."""
    return torch.tanh(0.9 * x + 0.3 * x.roll(1, -1)) * (0.5 + float(t) / 2000)


def make(cls, betas: str, way: str, **options):
    scheduler = cls(**BETAS[betas], **options)
    return scheduler if way == "shipped" else exact(scheduler)


def tolerance(way: str, a_t: float, a_s: float) -> float:
    if way != "shipped":
        return TOLERANCE[way]
    return 1e-5 + 1.2e-7 / max(1 - a_t / a_s, 1e-4)


# ------------------------------------------------------------------------------------------------------------
# Tables


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("betas", BETAS)
def test_tables(betas, one, rescale):
    scheduler = DDIMScheduler(**BETAS[betas], set_alpha_to_one=one, rescale_betas_zero_snr=rescale)
    schedule = NoiseSchedule.from_config(scheduler.config)
    assert schedule == NoiseSchedule.from_config(dict(scheduler.config))
    # diffusers adds up 1000 roundings to float32; near alpha_bar = 0 only the absolute error means anything
    torch.testing.assert_close(schedule.betas, scheduler.betas.double(), rtol=2e-5, atol=2e-6)
    torch.testing.assert_close(
        schedule.alphas_cumprod, scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-6
    )
    assert schedule.final_alpha_cumprod == pytest.approx(scheduler.final_alpha_cumprod.item(), rel=1e-6)


def test_trained_betas():
    betas = [0.01, 0.02, 0.5]
    scheduler = DDIMScheduler(trained_betas=betas, num_train_timesteps=3)
    schedule = NoiseSchedule.from_config(scheduler.config)
    torch.testing.assert_close(schedule.alphas_cumprod, scheduler.alphas_cumprod.double())


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_timesteps(spacing, offset):
    """All step counts from 1 to 1000, but for two corners in which diffusers leaves its own table."""
    scheduler = DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    schedule = NoiseSchedule.from_config(scheduler.config)
    skipped = 0
    for n in range(1, 1001):
        scheduler.set_timesteps(n)
        theirs = scheduler.timesteps
        if len(theirs) != n or theirs.min() < 0 or theirs.max() > 999:
            skipped += 1
            continue
        assert torch.equal(schedule.timesteps(n), theirs), n
    assert skipped == {"leading": offset, "linspace": 0, "trailing": 62}[spacing]


# ------------------------------------------------------------------------------------------------------------
# DDIM and DDPM, step by step: each step of ours starts from the diffusers x, so that errors do not add up


@pytest.mark.parametrize("way", TOLERANCE)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("betas", BETAS)
def test_ddim_steps(betas, spacing, eta, way):
    for one, offset in ((False, 1), (True, 0)):
        options = {"timestep_spacing": spacing, "set_alpha_to_one": one, "steps_offset": offset}
        scheduler = make(DDIMScheduler, betas, way, clip_sample=False, **options)
        schedule = NoiseSchedule.from_config(scheduler.config)
        for n in STEPS[:-1]:
            scheduler.set_timesteps(n)
            transitions = schedule.transitions(n)
            picks = {0, 1, n // 2, n - 2, n - 1} & set(range(n))
            for k in picks:
                t = int(scheduler.timesteps[k])
                x, eps, z = (gaussian(SHAPE, 3, stream=3 * k + i).to(DTYPE[way]) for i in range(3))
                theirs = scheduler.step(eps, t, x, eta=eta, variance_noise=z)
                a_t, a_s = transitions[k].alpha_bar_t, transitions[k].alpha_bar_s
                x_s, x0 = ddim_step(x, eps, a_t, a_s, eta, z)
                assert x_s.dtype == x0.dtype == DTYPE[way] and x_s.isfinite().all()
                if way == "shipped" and eta == 1 and a_t < 1e-8 and theirs.prev_sample.isnan().all():
                    continue  # rounding puts a negative number under diffusers' root; ours stops at zero
                assert error(x_s, theirs.prev_sample) < tolerance(way, a_t, a_s), (n, k)
                # x0 divides by sqrt(alpha_bar), of which the cosine's float32 table keeps four digits at the
                # end
                x0_limit = 1e-4 if way == "shipped" and "cos" in betas else TOLERANCE[way]
                assert error(x0, theirs.pred_original_sample) < x0_limit, (n, k)


@pytest.mark.parametrize("way", TOLERANCE)
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("betas", BETAS)
def test_ddpm_steps(betas, spacing, variance, way):
    for offset in (0, 1):
        options = {"timestep_spacing": spacing, "steps_offset": offset, "variance_type": f"fixed_{variance}"}
        scheduler = make(DDPMScheduler, betas, way, clip_sample=False, **options)
        schedule = NoiseSchedule.from_config(scheduler.config)
        for n in STEPS[1:-1]:
            scheduler.set_timesteps(n)
            transitions = schedule.transitions(n, previous="grid")
            for k in {0, 1, n // 2, n - 2, n - 1} & set(range(n)):
                t = int(scheduler.timesteps[k])
                x, eps = (gaussian(SHAPE, 3, stream=3 * k + i).to(DTYPE[way]) for i in range(2))
                z = torch.randn(SHAPE, generator=torch.Generator().manual_seed(k), dtype=DTYPE[way])
                theirs = scheduler.step(eps, t, x, generator=torch.Generator().manual_seed(k)).prev_sample
                a_t, a_s = transitions[k].alpha_bar_t, transitions[k].alpha_bar_s
                x_s, _ = ddpm_step(x, eps, a_t, a_s, z, variance)
                limit = tolerance(way, a_t, a_s)
                if k == n - 1 and t > 0:
                    # diffusers' last step adds noise unless t = 0: of variance 1e-20 (small) or beta (large).
                    # Ours adds none, whatever t is.
                    if variance == "large":
                        theirs = theirs - math.sqrt(1 - a_t) * z
                    limit = max(limit, 1e-9)
                assert error(x_s, theirs) < limit, (n, k)


@pytest.mark.parametrize("way", TOLERANCE)
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_v_form(eta, way):
    """With zero terminal SNR, where only the v form works; "trailing" starts at alpha_bar = 0 exactly."""
    options = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    scheduler = make(DDIMScheduler, "scaled_linear", way, clip_sample=False, **options)
    schedule = NoiseSchedule.from_config(scheduler.config)
    scheduler.set_timesteps(10)
    assert schedule.transitions(10)[0].alpha_bar_t == 0
    for k, transition in enumerate(schedule.transitions(10)):
        x, v, z = (gaussian(SHAPE, 3, stream=3 * k + i).to(DTYPE[way]) for i in range(3))
        theirs = scheduler.step(v, transition.t, x, eta=eta, variance_noise=z)
        x_s, x0 = ddim_step_v(x, v, transition.alpha_bar_t, transition.alpha_bar_s, eta, z)
        assert error(x_s, theirs.prev_sample) < TOLERANCE[way]
        assert error(x0, theirs.pred_original_sample) < TOLERANCE[way]


# ------------------------------------------------------------------------------------------------------------
# Whole loops


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 3, 25, 1000])
@pytest.mark.parametrize("betas", BETAS)
def test_ddim_loop(betas, n, eta):
    offset = 0 if n == 1000 else 1  # at 1000 steps diffusers' offset leaves the table
    options = {"set_alpha_to_one": False, "steps_offset": offset, "clip_sample": False}
    scheduler = make(DDIMScheduler, betas, "float64", **options)
    schedule = NoiseSchedule.from_config(scheduler.config)
    x = start = gaussian(SHAPE, 7).double()
    noise = step_noise(SHAPE, 7)
    scheduler.set_timesteps(n)
    for k, t in enumerate(scheduler.timesteps):
        x = scheduler.step(denoiser(x, t), int(t), x, eta=eta, variance_noise=noise(k).double()).prev_sample
    *_, last = trajectory(denoiser, start, schedule, n, "ddim", eta, noise)
    assert last.nfe == n and error(last.x_s, x) < 1e-10


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("one", [False, True])
def test_ddim_inversion(spacing, one):
    options = {"timestep_spacing": spacing, "set_alpha_to_one": one, "clip_sample": False}
    scheduler = make(DDIMInverseScheduler, "scaled_linear", "float64", **options)
    schedule = NoiseSchedule.from_config(scheduler.config)
    x = start = gaussian(SHAPE, 7).double()
    scheduler.set_timesteps(20)
    for t in scheduler.timesteps:
        x = scheduler.step(denoiser(x, t), int(t), x).prev_sample
    *_, last = ddim_inversion(denoiser, start, schedule, 20)
    assert error(last.x_s, x) < 1e-10


def grid(schedule: NoiseSchedule, n: int) -> tuple[Transition, ...]:
    return schedule.transitions(n, "leading", 1, previous="grid")


@pytest.mark.parametrize("n", [1, 2, 10, 50])
@pytest.mark.parametrize("betas", BETAS)
def test_euler_and_heun_loops(betas, n):
    for cls, sampler in ((EulerDiscreteScheduler, "euler"), (HeunDiscreteScheduler, "heun")):
        scheduler = cls(**BETAS[betas])
        schedule = NoiseSchedule.from_config(scheduler.config)
        transitions = grid(schedule, n)
        start = gaussian(SHAPE, 7)
        scheduler.set_timesteps(timesteps=[tr.t for tr in transitions])
        y = start / math.sqrt(transitions[0].alpha_bar_t)
        for t in scheduler.timesteps:
            eps = denoiser(scheduler.scale_model_input(y, t), t)
            y = scheduler.step(eps, t, y).prev_sample
        *_, last = walk(denoiser, start, transitions, sampler)
        assert last.nfe == len(scheduler.timesteps)
        assert error(last.x_s, y) < 5e-5  # a whole loop in float32; at the end alpha_bar = 1 and x = y


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 20, 50])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("betas", ["linear", "scaled_linear"])
def test_dpm_solver_pp_loops(betas, order, n):
    """lower_order_final would make 3M's last step but one a 2M step below 15 steps; ours has no such rule."""
    scheduler = DPMSolverMultistepScheduler(
        **BETAS[betas], final_sigmas_type="zero", solver_order=order, lower_order_final=order == 2
    )
    schedule = NoiseSchedule.from_config(scheduler.config)
    transitions = grid(schedule, n)
    x = start = gaussian(SHAPE, 7)
    scheduler.set_timesteps(timesteps=[tr.t for tr in transitions])
    for t in scheduler.timesteps:
        x = scheduler.step(denoiser(x, t), t, x).prev_sample
    *_, last = walk(denoiser, start, transitions, f"dpm++{order}m")
    assert last.nfe == n and error(last.x_s, x) < 5e-5
