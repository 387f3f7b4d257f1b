"""Euler ancestral, DPM-Solver++ as an SDE and UniPC against the diffusers schedulers, whole loops over configurations.

Each scheduler chooses its own levels; ours walk the same ones, so that the formulas alone are compared. diffusers
keeps its levels in float32, so a whole loop agrees to 1e-4 of the largest value, and the walks below are in float64.
"""

import math

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    UniPCMultistepScheduler,
)

from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import (
    ddim_step,
    ddpm_step,
    dpm_solver_pp_2m_step,
    dpm_solver_pp_sde_step,
    euler_ancestral_step,
    unipc_step,
)
from diffusion_tutorial.schedules import SPACINGS, NoiseSchedule

SHAPE = (2, 4, 6, 5)
BETAS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
}


def denoiser(x, level):
    """Any smooth function of x and alpha_bar will do."""
    return torch.tanh(0.9 * x + 0.3 * x.roll(1, -1)) * (1.2 - 0.5 * level)


def levels_of(scheduler):
    """alpha_bar of each level that the scheduler visits, 1 / (1 + sigma^2), the end included."""
    return [1 / (1 + s**2) for s in scheduler.sigmas.double().tolist()]


def error(ours, theirs):
    return ((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()).item()


def run(scheduler, n):
    """Ours and theirs; the same noises."""
    levels = levels_of(scheduler)
    x = gaussian(SHAPE, 7).double()
    ancestral = isinstance(scheduler, EulerAncestralDiscreteScheduler)
    sde = isinstance(scheduler, DPMSolverMultistepScheduler)
    theirs = x / math.sqrt(levels[0]) if ancestral else x
    x0s, alphas = [], []
    for k, (a_t, a_s, t) in enumerate(zip(levels, levels[1:], scheduler.timesteps, strict=False)):
        eps = denoiser(x, a_t)
        z = torch.randn(SHAPE, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
        if ancestral:
            x, x0 = euler_ancestral_step(x, eps, a_t, a_s, z)
            answer = denoiser(scheduler.scale_model_input(theirs, t), a_t)
            theirs = scheduler.step(
                answer, t, theirs, generator=torch.Generator().manual_seed(k)
            ).prev_sample.double()
        elif sde:
            x, x0 = dpm_solver_pp_sde_step(x, eps, a_t, a_s, z, *x0s[:1], *alphas[:1])
            theirs = scheduler.step(denoiser(theirs, a_t), t, theirs, variance_noise=z).prev_sample.double()
        else:
            x, x0 = unipc_step(x, eps, a_t, a_s, x0s, alphas)
            theirs = scheduler.step(denoiser(theirs, a_t), t, theirs).prev_sample.double()
        x0s, alphas = [x0, *x0s[:1]], [a_t, *alphas[:1]]
    return x, theirs


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 20, 50])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("betas", BETAS)
def test_loops(betas, spacing, n):
    common = {**BETAS[betas], "timestep_spacing": spacing}
    for scheduler in (
        EulerAncestralDiscreteScheduler(**common),
        DPMSolverMultistepScheduler(
            **common, algorithm_type="sde-dpmsolver++", final_sigmas_type="zero", solver_order=2
        ),
        UniPCMultistepScheduler(**common, solver_order=2, solver_type="bh2", final_sigmas_type="zero"),
    ):
        scheduler.set_timesteps(n)
        ours, theirs = run(scheduler, n)
        assert error(ours, theirs) < 1e-4, type(scheduler).__name__


@pytest.mark.parametrize("n", [5, 20])
def test_loops_on_karras_levels(n):
    for cls, options in (
        (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
        (UniPCMultistepScheduler, {}),
    ):
        scheduler = cls(**BETAS["scaled_linear"], use_karras_sigmas=True, final_sigmas_type="zero", **options)
        scheduler.set_timesteps(n)
        ours, theirs = run(scheduler, n)
        assert error(ours, theirs) < 1e-4, cls.__name__


def test_the_comparison_would_notice_a_wrong_formula():
    """Without the correction UniPC is 2M, and that is far outside of the tolerance."""
    scheduler = UniPCMultistepScheduler(
        **BETAS["linear"], timestep_spacing="trailing", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(10)
    levels = levels_of(scheduler)
    x, memory = gaussian(SHAPE, 7).double(), ()
    for a_t, a_s in zip(levels, levels[1:]):
        x, x0 = dpm_solver_pp_2m_step(x, denoiser(x, a_t), a_t, a_s, *memory)
        memory = (x0, a_t)
    assert error(x, run(scheduler, 10)[1]) > 1e-3


@pytest.mark.parametrize("a_t, a_s", [(0.0047, 0.03), (0.2, 0.21), (0.3, 0.9), (0.5, 0.999), (0.4, 1.0)])
def test_three_names_for_one_step(a_t, a_s):
    """DDPM with the small variance, DDIM at eta 1, Euler ancestral, the SDE solver's first step: the same map."""
    x, eps, z = (gaussian((5, 2), 3, stream=k).double() for k in range(3))
    ddpm = ddpm_step(x, eps, a_t, a_s, z)[0]
    for other in (
        ddim_step(x, eps, a_t, a_s, 1.0, z)[0],
        euler_ancestral_step(x, eps, a_t, a_s, z)[0],
        dpm_solver_pp_sde_step(x, eps, a_t, a_s, z)[0],
    ):
        assert (other - ddpm).abs().max() < 1e-12
    if a_s < 1:
        assert (ddim_step(x, eps, a_t, a_s, 0.9, z)[0] - ddpm).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------------------
# diffusers' DDIM under "linspace": the step goes to a timestep that the list does not have


@pytest.mark.parametrize("n, wrong", [(10, 9), (20, 19), (50, 19)])
def test_ddim_under_linspace_lands_beside_its_own_list(n, wrong):
    """huggingface/diffusers issues 11347 and 12633. Where the fix arrives, this test fails and the chapter changes.

    A step from a state whose x0 and noise are known shows the level at which it lands: prev = sqrt(a) x0 +
    sqrt(1 - a) eps with one unknown a.
    """
    scheduler = DDIMScheduler(**BETAS["scaled_linear"], timestep_spacing="linspace", clip_sample=False)
    scheduler.set_timesteps(n)
    asked = scheduler.timesteps.tolist()
    table = scheduler.alphas_cumprod.double()
    stride = [tr.s for tr in NoiseSchedule.from_config(scheduler.config).transitions(n)]
    x0, eps = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    missed = 0
    for t, following, ours in zip(asked, asked[1:], stride):
        landed = (
            scheduler.step(eps, t, table[t].sqrt() * x0).prev_sample.item() ** 2
        )  # alpha_bar of the landing
        at = (table - landed).abs().argmin().item()
        assert at == ours == t - 1000 // n
        missed += at != following
    assert missed == wrong
    leading = DDIMScheduler(**BETAS["scaled_linear"], timestep_spacing="leading", clip_sample=False)
    leading.set_timesteps(n)
    steps = leading.timesteps.tolist()
    assert all(b == a - 1000 // n for a, b in zip(steps, steps[1:]))  # there the rule is right
