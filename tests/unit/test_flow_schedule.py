"""FlowSchedule: the straight line in our coordinates, which levels are visited, and the start at pure noise."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial.mixtures import GaussianMixture
from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.samplers import SAMPLERS, ddim_step, heun_step, trajectory, walk
from diffusion_tutorial.schedules import SPACINGS, FlowSchedule, NoiseSchedule, Transition

FLOW = PREDICTIONS["flow"]
MIXTURE = GaussianMixture([1, 2, 1], [[3.0, 0.0], [-2.0, 2.0], [0.0, -3.0]], [0.1, 0.3, 0.05])
shifts = st.floats(0.2, 12)


def velocity(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[eps - x0 | x] of the mixture on the straight line, x (B, 2), with no coordinates of ours: from the joint
    Gaussian law of x and x0 in each component."""
    w, means = MIXTURE.weights, MIXTURE.means
    variance = MIXTURE.covs[:, 0, 0]  # round components
    spread = (1 - sigma) ** 2 * variance + sigma**2
    apart = x[:, None] - (1 - sigma) * means
    r = torch.softmax(w.log() - spread.log() - apart.square().sum(2) / (2 * spread), 1)
    slope = (sigma - (1 - sigma) * variance) / spread  # of eps - x0 against x
    return (r[..., None] * (slope[:, None] * apart - means)).sum(1)


def noise(n: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def last(walk) -> torch.Tensor:
    """Where a walk ends."""
    return list(walk)[-1].x_s


def denoiser(schedule: FlowSchedule):
    """The flow as our samplers ask it: eps in x_t at timestep t."""

    def eps(x_t, t):
        a = schedule.alpha_bar(t)
        x = FLOW.network_input(x_t.double(), a)
        return FLOW.to_eps(velocity(x, schedule.sigma(t)), x_t.double(), a).to(x_t)

    return eps


def test_the_velocity_is_that_of_the_mixture():
    """Two independent ways to it: the joint law on the line, and the mixture's own eps and posterior mean."""
    schedule = FlowSchedule()
    for t in (1, 250, 500, 900, 999):
        a, x_t = schedule.alpha_bar(t), noise(50, t)
        out = velocity(FLOW.network_input(x_t, a), schedule.sigma(t))
        torch.testing.assert_close(
            out, MIXTURE.eps(x_t, a) - MIXTURE.posterior_mean(x_t, a), rtol=0, atol=1e-9
        )


@settings(deadline=None)
@given(st.floats(0, 999.99), st.integers(0, 2**31))
def test_levels_stand_in_the_same_proportion(t, seed):
    schedule = FlowSchedule()
    sigma, a = schedule.sigma(t), schedule.alpha_bar(t)
    c = math.hypot(1 - sigma, sigma)
    assert c * math.sqrt(a) == pytest.approx(1 - sigma, abs=1e-12)
    assert c * math.sqrt(1 - a) == pytest.approx(sigma, abs=1e-7)  # 1 - a loses digits near a = 1
    assert float(schedule.alpha_bars(torch.tensor(t, dtype=torch.float64))) == a
    x0, eps = noise(3, seed), noise(3, seed + 1)
    x_t = schedule.add_noise(x0, eps, t)
    torch.testing.assert_close(FLOW.network_input(x_t, a), (1 - sigma) * x0 + sigma * eps, rtol=0, atol=1e-6)


def test_the_table():
    schedule = FlowSchedule()
    a = schedule.alphas_cumprod
    assert a.shape == (1000,) and a.dtype == torch.float64 and a[0] == 1 and (a[1:] < a[:-1]).all()
    assert all(schedule.alpha_bar(t) == a[t].item() for t in (0, 1, 500, 999))
    assert a[500].item() == 0.5
    torch.testing.assert_close(torch.cumprod(1 - schedule.betas, 0), a, rtol=1e-9, atol=0)
    torch.testing.assert_close(
        schedule.snr[500:],
        ((1000 - torch.arange(500, 1000.0)) / torch.arange(500, 1000.0)).double() ** 2,
        rtol=1e-5,
        atol=0,
    )
    t = torch.tensor([[3, 999], [0, 17]])
    assert torch.equal(schedule.alpha_bars(t), a[t])
    classic = NoiseSchedule.linear()
    assert torch.equal(classic.alpha_bars(t), classic.alphas_cumprod[t])


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 1000), st.sampled_from(SPACINGS), shifts, st.integers(1, 3))
def test_levels_descend_and_end_at_the_picture(n, spacing, shift, offset):
    schedule = FlowSchedule(shift)
    steps = schedule.timesteps(n, spacing, offset)
    assert steps.shape == (n,) and (steps[1:] < steps[:-1]).all() and 0 < steps[-1] and steps[0] < 1000
    sigmas = schedule.sigmas(n, spacing, offset)
    assert torch.equal(sigmas[1:] * 1000, steps[1:])
    if spacing != "leading":
        assert sigmas[0] == 1
    for previous in ("grid", "stride"):
        transitions = schedule.transitions(n, spacing, offset, previous)
        assert [tr.t for tr in transitions] == steps.tolist()
        assert all(
            a.s == b.t and a.alpha_bar_s == b.alpha_bar_t for a, b in zip(transitions, transitions[1:])
        )
        assert all(0 < tr.alpha_bar_t < tr.alpha_bar_s <= 1 for tr in transitions)
        assert transitions[-1][1::2] == (None, 1.0)


def test_spacings_by_hand():
    assert FlowSchedule().sigmas(4).tolist() == [1, 0.75, 0.5, 0.25]
    assert FlowSchedule().timesteps(4).tolist() == [999, 750, 500, 250]
    assert FlowSchedule(3.0).sigmas(2).tolist() == [1, 0.75]  # 3 * .5 / (1 + 2 * .5)
    assert FlowSchedule().timesteps(4, "leading").tolist() == [751, 501, 251, 1]
    assert FlowSchedule().timesteps(1).tolist() == [999]
    assert FlowSchedule().timesteps(1000)[:2].tolist() == [999.5, 999]
    assert FlowSchedule(spacing="leading").timesteps(1).tolist() == [1]
    assert FlowSchedule().transitions(1)[0] == Transition(999, None, FlowSchedule().alpha_bar(999), 1.0)


# ------------------------------------------------------------------------------------------------------------
# Samplers take it


@pytest.mark.parametrize("sampler", ["ddim", "euler"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_step_is_eulers_step_on_the_flow(shift, sampler):
    """x_s = x + (sigma_s - sigma) v in the flow's coordinates, step for step and at the end, to 1e-6."""
    schedule = FlowSchedule(shift)
    transitions = schedule.transitions(20)
    sigmas = [schedule.sigma(tr.t) for tr in transitions] + [0.0]
    x = FLOW.network_input(noise(200), transitions[0].alpha_bar_t)
    walk = trajectory(denoiser(schedule), noise(200), schedule, 20, sampler)
    for step, sigma, below in zip(walk, sigmas[:-1], sigmas[1:], strict=True):
        torch.testing.assert_close(FLOW.network_input(step.x_t, step.alpha_bar_t), x, rtol=0, atol=1e-6)
        x = x + (below - sigma) * velocity(x, sigma)
    torch.testing.assert_close(step.x_s, x, rtol=0, atol=1e-6)


def test_the_first_step_knows_the_picture():
    """From pure noise the flow says x0 = x - v. What the sampler makes of it, at sigma = .999 and through eps."""
    exact = -velocity(noise(2000), 1.0) + noise(2000)  # at sigma = 1
    mean = (MIXTURE.weights[:, None] * MIXTURE.means).sum(0)
    torch.testing.assert_close(exact, mean.expand_as(exact), rtol=0, atol=1e-12)
    schedule = FlowSchedule()
    for steps in (1, 4, 20):
        first = {}
        for dtype in (torch.float64, torch.float32):
            x = noise(2000, dtype=dtype)
            first[dtype] = next(iter(trajectory(denoiser(schedule), x, schedule, steps, "ddim"))).x0.double()
        level = (first[torch.float64] - exact).abs().max()  # what starting below sigma = 1 changes
        rounding = (first[torch.float32] - first[torch.float64]).abs().max()
        assert level < 0.03 and rounding < 1e-3, (level, rounding)
        # It is the level's own answer, exactly: the mixture's posterior mean there.
        own = MIXTURE.posterior_mean(noise(2000), schedule.transitions(steps)[0].alpha_bar_t)
        torch.testing.assert_close(first[torch.float64], own, rtol=0, atol=1e-9)


def test_nearer_to_one_the_rounding_takes_over():
    """Why .999: at 1 - 1e-7 float32 has lost the picture: eps, rounded, is x_t itself."""
    x = noise(2000)
    schedule = FlowSchedule()
    lost = {}
    for sigma in (0.9, 0.999, 1 - 1e-7):
        t = 1000 * sigma
        a, exact = schedule.alpha_bar(t), MIXTURE.posterior_mean(x, schedule.alpha_bar(t))
        _, x0 = ddim_step(x.float(), denoiser(schedule)(x.float(), t), a, 1.0)
        lost[sigma] = float((x0.double() - exact).abs().max())
    assert lost[0.9] < 1e-5 and lost[0.999] < 1e-3 and lost[1 - 1e-7] > 0.1, lost


def test_many_steps_reach_the_mixture():
    """The law at the end is the data's: the share of each component, and the mean within it."""
    schedule, n = FlowSchedule(), 4000
    end = last(trajectory(denoiser(schedule), noise(n), schedule, 200, "euler"))
    which = MIXTURE.responsibilities(end, 1.0).argmax(1)
    share = torch.bincount(which, minlength=3) / n
    torch.testing.assert_close(share.double(), MIXTURE.weights, rtol=0, atol=4 * 0.5 / n**0.5)
    for k in range(3):
        torch.testing.assert_close(end[which == k].mean(0), MIXTURE.means[k], rtol=0, atol=0.06)


def test_heun_averages_the_flows_own_slopes():
    """Step for step Heun's method on the flow, written down in its coordinates; and better than Euler's at 5 steps."""
    schedule, n = FlowSchedule(), 5
    transitions = schedule.transitions(n)
    sigmas = [schedule.sigma(tr.t) for tr in transitions] + [0.0]
    x = FLOW.network_input(noise(300), transitions[0].alpha_bar_t)
    for sigma, below in zip(sigmas, sigmas[1:]):
        v = velocity(x, sigma)
        end = x + (below - sigma) * v
        x = end if below == 0 else x + (below - sigma) * (v + velocity(end, below)) / 2
    torch.testing.assert_close(walked(schedule, n, "heun"), x, rtol=0, atol=1e-6)
    exact = walked(schedule, 1000, "dpm++2m")
    error = {s: float((walked(schedule, n, s) - exact).norm(dim=1).median()) for s in ("heun", "euler")}
    assert error["heun"] < 0.4 * error["euler"], error
    # in EDM's time, as on a chain of noise variances, the same number of steps goes nowhere near
    in_u = list(walk(denoiser(schedule), noise(300), transitions, "heun", time="u"))[-1].x_s
    assert float((in_u - exact).norm(dim=1).median()) > 10 * error["euler"]


def walked(schedule: FlowSchedule, n: int, sampler: str) -> torch.Tensor:
    return last(trajectory(denoiser(schedule), noise(300), schedule, n, sampler))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_walks_it(sampler):
    """Finite at any number of steps, and at many of them on the mixture's components."""
    schedule = FlowSchedule()
    for steps in (1, 2, 7, 20):
        for step in trajectory(
            denoiser(schedule), noise(20), schedule, steps, sampler, noise=lambda k: noise(20, k + 1)
        ):
            assert step.x_s.isfinite().all() and step.x0.isfinite().all()
    end = last(
        trajectory(denoiser(schedule), noise(500), schedule, 500, sampler, noise=lambda k: noise(500, k + 1))
    )
    near = (end[:, None] - MIXTURE.means).norm(dim=2) / MIXTURE.covs[:, 0, 0].sqrt()
    share = float((near.amin(1) < 4).double().mean())
    if (
        sampler == "euler-u2"
    ):  # in u^2 the first steps from nearly pure noise are far too long; still wrong at 500
        assert share < 0.95
    else:
        assert share > 0.99


# ------------------------------------------------------------------------------------------------------------
# Small print


def test_it_is_a_value():
    schedule = FlowSchedule(3, spacing="linspace")
    for twin in (
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
        FlowSchedule(3.0, 1000, "linspace"),
    ):
        assert twin == schedule and hash(twin) == hash(schedule)
    assert schedule != FlowSchedule(2) and schedule.shift == 3.0
    with pytest.raises(AttributeError):
        schedule.shift = 1.0
    assert FlowSchedule(2.0) == FlowSchedule.from_config({"shift": 2.0, "spare": 1})


def test_it_has_the_face_of_a_noise_schedule():
    """Every public name of a NoiseSchedule that is no way of making one, with arguments of the same names."""
    import inspect

    makers = {"linear", "scaled_linear", "cosine", "with_zero_terminal_snr"}
    names = {name for name in dir(NoiseSchedule) if not name.startswith("_")} - makers
    assert names <= set(dir(FlowSchedule))
    for name in ("add_noise", "timesteps", "transitions", "alpha_bar", "alpha_bars"):
        one, other = (inspect.signature(getattr(c, name)).parameters for c in (NoiseSchedule, FlowSchedule))
        assert list(one) == list(other)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: heun_step(noise(2), noise(2), 0.1, 0.2, noise(2), "t"),
            "variable is 't'; allowed: 'u' or 'sigma'",
        ),
        (
            lambda: NoiseSchedule.linear().alpha_bars(torch.tensor([2.5])),
            r"t is \[2.5\]; allowed: integers in",
        ),
        (lambda: NoiseSchedule.linear().alpha_bars(torch.tensor([-1])), r"t is \[-1\]; allowed: integers in"),
        (lambda: FlowSchedule(0), "shift is 0; allowed: a finite number above 0"),
        (lambda: FlowSchedule(float("nan")), "shift is nan"),
        (lambda: FlowSchedule(True), "shift is True"),
        (lambda: FlowSchedule("3"), "shift is '3'"),
        (lambda: FlowSchedule(1, 1), "num_train_timesteps is 1; allowed: an integer at least 2"),
        (lambda: FlowSchedule(spacing="even"), "spacing is .*; allowed: '"),
        (lambda: FlowSchedule().alpha_bar(1000), "t is 1000; allowed: from 0 to below 1000"),
        (lambda: FlowSchedule().alpha_bar(float("nan")), "t is nan"),
        (lambda: FlowSchedule().alpha_bars(torch.tensor([3.0, -1])), r"t is \[3.0, -1.0\]"),
        (
            lambda: FlowSchedule().timesteps(0),
            r"num_inference_steps is .*; allowed: an integer in \[1, 1000\]",
        ),
        (lambda: FlowSchedule().timesteps(5, "even"), "spacing is .*; allowed: '"),
        (
            lambda: FlowSchedule().timesteps(5, "leading", 0),
            r"steps_offset is .*; allowed: an integer in \[1, 999\]",
        ),
        (
            lambda: FlowSchedule().transitions(5, previous="last"),
            "previous is .*; allowed: 'stride' or 'grid'",
        ),
        (lambda: FlowSchedule().add_noise(noise(2), noise(3), 5), "eps.shape is .*; allowed: that of x_0"),
        (
            lambda: FlowSchedule.from_config({"_class_name": "DDIMScheduler"}),
            "scheduler is 'DDIMScheduler'; allowed: FlowMatchEulerDiscreteScheduler",
        ),
        (
            lambda: FlowSchedule.from_config({"use_dynamic_shifting": True}),
            "scheduler use_dynamic_shifting is True; allowed: none",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
