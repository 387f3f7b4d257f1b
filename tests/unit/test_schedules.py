"""schedules.py: identities of the table, the choice of levels, immutability, bad input."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial.schedules import SPACINGS, NoiseSchedule, Transition, path

SCHEDULES = {
    "linear": NoiseSchedule.linear(),
    "scaled_linear": NoiseSchedule.scaled_linear(set_alpha_to_one=False, steps_offset=1),
    "cosine": NoiseSchedule.cosine(),
}


@pytest.fixture(params=SCHEDULES)
def schedule(request) -> NoiseSchedule:
    return SCHEDULES[request.param]


def test_table_identities(schedule):
    n = schedule.num_train_timesteps
    for tensor in (schedule.betas, schedule.alphas, schedule.alphas_cumprod, schedule.snr):
        assert tensor.shape == (n,) and tensor.dtype == torch.float64
    torch.testing.assert_close(schedule.alphas, 1 - schedule.betas, rtol=0, atol=0)
    logs = torch.cumsum(torch.log1p(-schedule.betas), 0)
    torch.testing.assert_close(schedule.alphas_cumprod, logs.exp(), rtol=1e-12, atol=0)
    a = schedule.alphas_cumprod
    torch.testing.assert_close(schedule.snr, a / (1 - a), rtol=1e-12, atol=0)
    assert (a[1:] < a[:-1]).all() and 0 < a[-1] and a[0] < 1
    assert schedule.alpha_bar(17) == a[17].item()


def test_stable_diffusion_values():
    """Stable Diffusion 1: what remains of the picture at the last timestep is 0.0047 of the variance."""
    s = SCHEDULES["scaled_linear"]
    assert s.alphas_cumprod[-1].item() == pytest.approx(0.0047, abs=5e-5)
    assert s.final_alpha_cumprod == s.alphas_cumprod[0].item()
    assert SCHEDULES["linear"].final_alpha_cumprod == 1.0


def test_marginal_is_the_chain_of_single_steps(schedule):
    """eq. 4 from eq. 2: mean and variance of the chain x_t = sqrt(1 - beta) x_(t-1) + sqrt(beta) eps."""
    mean, variance = 1.0, 0.0
    for beta, alpha_bar in zip(schedule.betas.tolist(), schedule.alphas_cumprod.tolist(), strict=True):
        mean, variance = mean * math.sqrt(1 - beta), variance * (1 - beta) + beta
        assert mean == pytest.approx(math.sqrt(alpha_bar), rel=1e-11)
        assert variance == pytest.approx(1 - alpha_bar, rel=1e-11)


def test_add_noise(schedule):
    x0, eps = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    t = torch.tensor([0, 500, 999])
    x = schedule.add_noise(x0, eps, t)
    assert x.dtype == torch.float32
    for i, a in enumerate(schedule.alphas_cumprod[t].tolist()):
        torch.testing.assert_close(x[i], math.sqrt(a) * x0[i] + math.sqrt(1 - a) * eps[i])
    torch.testing.assert_close(schedule.add_noise(x0, eps, 500)[1], x[1])


def test_zero_terminal_snr(schedule):
    rescaled = schedule.with_zero_terminal_snr()
    a, b = rescaled.alphas_cumprod.sqrt(), schedule.alphas_cumprod.sqrt()
    assert a[-1] == 0 and rescaled.snr[-1] == 0
    torch.testing.assert_close(a[0], b[0])
    torch.testing.assert_close(
        a, (b - b[-1]) * b[0] / (b[0] - b[-1]), rtol=1e-9, atol=1e-12
    )  # shift and scale
    assert (a[1:] < a[:-1]).all()


def test_immutable(schedule):
    before = schedule.alphas_cumprod
    schedule.betas.zero_()
    schedule.alphas_cumprod.zero_()
    torch.testing.assert_close(schedule.alphas_cumprod, before, rtol=0, atol=0)
    with pytest.raises(AttributeError, match="immutable"):
        schedule.betas = before
    with pytest.raises(AttributeError, match="immutable"):
        schedule.extra = 1
    mine = torch.full((4,), 0.1)
    own = NoiseSchedule(mine)
    mine.zero_()
    assert own.betas.min() > 0.09
    for twin in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert twin == schedule and hash(twin) == hash(schedule)
    assert NoiseSchedule.linear() != NoiseSchedule.linear(set_alpha_to_one=False)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 1000), st.sampled_from(SPACINGS), st.integers(0, 2), st.sampled_from(["stride", "grid"])
)
def test_levels_descend_and_stay_in_the_table(n, spacing, offset, previous):
    schedule = SCHEDULES["scaled_linear"]
    steps = schedule.timesteps(n, spacing, offset)
    assert steps.shape == (n,) and steps.dtype == torch.int64
    assert (steps[1:] < steps[:-1]).all() and steps.min() >= 0 and steps.max() <= 999
    transitions = schedule.transitions(n, spacing, offset, previous)
    assert [tr.t for tr in transitions] == steps.tolist()
    for tr in transitions:
        assert tr.alpha_bar_t == schedule.alpha_bar(tr.t) and 0 < tr.alpha_bar_t <= tr.alpha_bar_s <= 1
        if tr.s is not None:
            assert tr.alpha_bar_s == schedule.alpha_bar(tr.s)
    if previous == "grid":
        assert transitions[-1][1::2] == (None, 1.0)
        assert all(a.s == b.t for a, b in zip(transitions, transitions[1:], strict=False))
    elif spacing == "leading":
        assert all(a.s == b.t for a, b in zip(transitions, transitions[1:], strict=False))


def test_spacings_by_hand():
    s = NoiseSchedule.linear()
    assert s.timesteps(4).tolist() == [750, 500, 250, 0]
    assert s.timesteps(4, "leading", 1).tolist() == [751, 501, 251, 1]
    assert s.timesteps(4, "trailing").tolist() == [999, 749, 499, 249]
    assert s.timesteps(4, "linspace").tolist() == [999, 666, 333, 0]


def test_the_schedules_own_spacing_is_the_default():
    s = NoiseSchedule.linear(spacing="trailing")
    assert s.timesteps(2).tolist() == [999, 499] and s.timesteps(2, "leading").tolist() == [500, 0]
    assert SCHEDULES["scaled_linear"].timesteps(2).tolist() == [501, 1]


def test_corners():
    s = SCHEDULES["scaled_linear"]
    assert s.timesteps(1000).tolist() == list(range(999, -1, -1))  # offset 1 would ask for level 1000
    assert len(s.timesteps(61, "trailing")) == 61  # diffusers gives 62, the last one -1
    assert s.transitions(1)[0] == Transition(1, None, s.alpha_bar(1), s.alpha_bar(0))


def test_path():
    up = path([0.1, 0.5, 1.0])
    assert up == (Transition(0.1, 0.5, 0.1, 0.5), Transition(0.5, 1.0, 0.5, 1.0))
    for bad in ([0.5], [0.0, 0.5], [0.5, 1.5], [0.5, float("nan")]):
        with pytest.raises(ValueError, match="alpha_bars"):
            path(bad)


@pytest.mark.parametrize("n", [0, -3, 1001, 2.0, True, None, "5"])
def test_bad_steps(n):
    with pytest.raises(ValueError, match=r"num_inference_steps is .*; allowed: an integer in \[1, 1000\]"):
        NoiseSchedule.linear().timesteps(n)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: NoiseSchedule([]), "betas"),
        (lambda: NoiseSchedule([[0.1]]), "betas"),
        (lambda: NoiseSchedule([0.1, 0.0]), "betas"),
        (lambda: NoiseSchedule([0.1, 1.2]), "betas"),
        (lambda: NoiseSchedule([1.0, 0.1]), "betas"),
        (lambda: NoiseSchedule([0.1, float("nan")]), "betas"),
        (lambda: NoiseSchedule.linear(0), "n is .*; allowed:"),
        (lambda: NoiseSchedule.linear(spacing="middle"), "spacing is 'middle'; allowed: 'leading'"),
        (lambda: NoiseSchedule.linear().timesteps(5, "middle"), "spacing is 'middle'; allowed: 'leading'"),
        (lambda: NoiseSchedule.linear().timesteps(5, steps_offset=-1), "steps_offset"),
        (lambda: NoiseSchedule.linear().transitions(5, previous="next"), "previous"),
        (lambda: NoiseSchedule.linear().alpha_bar(1000), "t is .*; allowed:"),
        (lambda: NoiseSchedule.linear().alpha_bar(-1), "t is .*; allowed:"),
        (lambda: NoiseSchedule.linear().add_noise(torch.zeros(2), torch.zeros(3), 1), "eps"),
        (lambda: NoiseSchedule.linear().add_noise(torch.zeros(2), torch.zeros(2), 1000), "t is .*; allowed:"),
        (lambda: NoiseSchedule.from_config({"beta_schedule": "exp"}), "beta_schedule.*'exp'"),
        (lambda: NoiseSchedule.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"}), "FlowMatch"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
