"""FlowSchedule and our samplers on it against diffusers' FlowMatchEulerDiscreteScheduler, levels and steps."""

import inspect

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.samplers import trajectory
from diffusion_tutorial.schedules import FlowSchedule

FLOW = PREDICTIONS["flow"]


def theirs(shift: float, n: int, spacing: str) -> FlowMatchEulerDiscreteScheduler:
    """Their scheduler set to n steps: by the number alone, or by sigmas as the FLUX pipeline gives them."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    if spacing == "linspace":
        scheduler.set_timesteps(n)
    else:
        scheduler.set_timesteps(n, sigmas=np.linspace(1.0, 1 / n, n))
    return scheduler


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 1000), st.floats(0.2, 12), st.sampled_from(["linspace", "trailing"]))
def test_sigmas(n, shift, spacing):
    """Ours are float64, theirs rounded to float32 in each operation."""
    scheduler = theirs(shift, n, spacing)
    schedule = FlowSchedule.from_config(scheduler.config)
    assert schedule.shift == shift
    ours = schedule.sigmas(n, spacing)
    torch.testing.assert_close(ours, scheduler.sigmas[:-1].double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(1000 * ours, scheduler.timesteps.double(), rtol=0, atol=1e-3)
    # What a sampler visits are these levels, the first apart: a thousandth below at most.
    visited = schedule.timesteps(n, spacing) / 1000
    torch.testing.assert_close(visited[1:], ours[1:], rtol=1e-15, atol=0)
    assert 0 < ours[0] - visited[0] < 0.001 + 1e-12


def test_the_flux_pipeline_gives_trailing_sigmas():
    from diffusers import FluxPipeline

    source = inspect.getsource(FluxPipeline.__call__)
    assert "np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)" in source


def network(x: torch.Tensor, t: float) -> torch.Tensor:
    """Any smooth velocity of x and t will do."""
    return torch.tanh(0.9 * x + 0.3 * x.roll(1, -1)) * (0.5 + float(t) / 2000) + 0.2 * x


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("n", [1, 2, 8, 50])
def test_steps(n, shift, spacing, sampler):
    """Each step of ours from their x, in float64: to 1e-6 of it, and theirs rounds its sigmas to float32."""
    scheduler = theirs(shift, n, spacing)
    schedule = FlowSchedule.from_config(scheduler.config)
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    transitions = schedule.transitions(n, spacing)
    # They begin at sigma = 1 and we a hair below; from there on both walk the same line.
    scheduler.sigmas[0] = schedule.sigma(transitions[0].t)
    scheduler.sigmas, scheduler.timesteps = scheduler.sigmas.double(), scheduler.timesteps.double()

    def eps(x_t, t):
        a = schedule.alpha_bar(t)
        return FLOW.to_eps(network(FLOW.network_input(x_t, a), t), x_t, a)

    line = FLOW.network_input(x, transitions[0].alpha_bar_t)
    for step, t in zip(trajectory(eps, x, schedule, n, sampler, spacing=spacing), scheduler.timesteps):
        line = scheduler.step(network(line, step.t), t, line).prev_sample
        scale = float(line.abs().max())
        ours = FLOW.network_input(step.x_s, step.alpha_bar_s)
        torch.testing.assert_close(ours, line, rtol=0, atol=1e-6 * max(scale, 1))
