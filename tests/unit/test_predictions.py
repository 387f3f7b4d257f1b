"""predictions.py: each row's target leads back to eps and x0, and the rows agree with one another and with diffusers."""

import ast
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from diffusion_tutorial import predictions
from diffusion_tutorial.predictions import PREDICTIONS, prediction
from diffusion_tutorial.schedules import NoiseSchedule

levels = st.floats(1e-4, 1 - 1e-4)
rows = st.sampled_from(sorted(PREDICTIONS))


def draw(seed: int, alpha_bar, dtype=torch.float64):
    """x0, eps and the x_t between them, (3, 2, 4)."""
    rng = torch.Generator().manual_seed(seed)
    x0 = 3 * torch.randn(3, 2, 4, generator=rng, dtype=dtype)
    eps = torch.randn(3, 2, 4, generator=rng, dtype=dtype)
    a = torch.as_tensor(alpha_bar, dtype=torch.float64)
    return x0, eps, (a.sqrt() * x0 + (1 - a).sqrt() * eps).to(dtype)


@settings(deadline=None)
@given(rows, levels, st.integers(0, 2**31))
def test_the_target_leads_back_to_eps_and_x0(name, alpha_bar, seed):
    row = PREDICTIONS[name]
    x0, eps, x_t = draw(seed, alpha_bar)
    out = row.target(x0, eps, alpha_bar)
    torch.testing.assert_close(row.to_eps(out, x_t, alpha_bar), eps, rtol=0, atol=1e-12)
    torch.testing.assert_close(row.to_x0(out, x_t, alpha_bar), x0, rtol=0, atol=1e-11 / alpha_bar**0.5)


@settings(deadline=None)
@given(rows, levels, st.integers(0, 2**31))
def test_any_answer_gives_an_eps_and_an_x0_that_make_up_x_t(name, alpha_bar, seed):
    """Also for an answer that no x0 and eps stand behind; and the target of the pair is that answer."""
    row = PREDICTIONS[name]
    out, _, x_t = draw(seed, alpha_bar)
    eps, x0 = row.to_eps(out, x_t, alpha_bar), row.to_x0(out, x_t, alpha_bar)
    back = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * eps
    torch.testing.assert_close(back, x_t, rtol=0, atol=1e-11)
    torch.testing.assert_close(row.target(x0, eps, alpha_bar), out, rtol=0, atol=1e-11 / alpha_bar**0.5)


@settings(deadline=None)
@given(rows, rows, levels, st.integers(0, 2**31))
def test_two_networks_that_know_the_same_answer_the_same(one, other, alpha_bar, seed):
    """From one kind of answer to x0 and eps, to the other kind, to eps: as without the detour."""
    out, _, x_t = draw(seed, alpha_bar)
    first, second = PREDICTIONS[one], PREDICTIONS[other]
    eps, x0 = first.to_eps(out, x_t, alpha_bar), first.to_x0(out, x_t, alpha_bar)
    detour = second.to_eps(second.target(x0, eps, alpha_bar), x_t, alpha_bar)
    torch.testing.assert_close(detour, eps, rtol=0, atol=1e-11 / alpha_bar**0.5)


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**31))
def test_the_flow_is_shown_the_straight_line(sigma, seed):
    """Its input is (1 - sigma) x0 + sigma eps, and its target that line's slope."""
    row, alpha_bar = PREDICTIONS["flow"], (1 - sigma) ** 2 / ((1 - sigma) ** 2 + sigma**2)
    x0, eps, x_t = draw(seed, alpha_bar)

    def line(s):
        return (1 - s) * x0 + s * eps

    torch.testing.assert_close(row.network_input(x_t, alpha_bar), line(sigma), rtol=0, atol=1e-7)
    slope = (line(sigma + 0.5) - line(sigma - 0.5)) / 1.0
    torch.testing.assert_close(row.target(x0, eps, alpha_bar), slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["v_prediction", "flow"])
def test_x0_is_told_even_from_pure_noise(name):
    row = PREDICTIONS[name]
    x0, eps, x_t = draw(0, 0.0)
    assert torch.equal(x_t, eps)
    out = row.target(x0, eps, 0.0)
    torch.testing.assert_close(row.to_x0(out, x_t, 0.0), x0, rtol=0, atol=1e-14)
    assert torch.equal(row.to_eps(out, x_t, 0.0), eps)


@pytest.mark.parametrize("name", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("t", [1, 500, 999])
def test_diffusers_gives_the_same_eps_x0_and_target(name, t):
    table = NoiseSchedule.scaled_linear()
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=name,
        clip_sample=False,
    )
    scheduler.alphas_cumprod = table.alphas_cumprod
    scheduler.set_timesteps(1000)
    row, alpha_bar = PREDICTIONS[name], table.alpha_bar(t)
    x0, eps, x_t = draw(t, alpha_bar)
    out = row.target(x0, eps, alpha_bar)
    theirs = scheduler.step(out, t, x_t, eta=0.0)
    torch.testing.assert_close(
        row.to_x0(out, x_t, alpha_bar), theirs.pred_original_sample, rtol=0, atol=1e-11
    )
    a_s = table.alpha_bar(t - 1)
    moved = a_s**0.5 * row.to_x0(out, x_t, alpha_bar) + (1 - a_s) ** 0.5 * row.to_eps(out, x_t, alpha_bar)
    torch.testing.assert_close(moved, theirs.prev_sample, rtol=0, atol=1e-11)
    if name == "v_prediction":
        velocity = scheduler.get_velocity(x0, eps, torch.full((3,), t))
        torch.testing.assert_close(out, velocity, rtol=0, atol=1e-13)


def test_v_is_bit_for_bit_the_formula_that_stored_results_were_made_with():
    """float32, one level a row out of a float64 table: the roots are rounded once, then the products summed."""
    table = NoiseSchedule.scaled_linear().alphas_cumprod
    alpha_bar = table[torch.tensor([3, 500, 999])].reshape(-1, 1, 1)
    out, _, x_t = draw(1, 0.5, torch.float32)
    wanted = alpha_bar.sqrt().to(out) * out + (1 - alpha_bar).sqrt().to(out) * x_t
    assert torch.equal(PREDICTIONS["v_prediction"].to_eps(out, x_t, alpha_bar), wanted)


def test_epsilon_hands_the_tensors_on():
    row = PREDICTIONS["epsilon"]
    out, eps, x_t = draw(2, 0.5)
    assert row.to_eps(out, x_t, 0.5) is out and row.target(x_t, eps, 0.5) is eps
    assert row.network_input(x_t, 0.5) is x_t
    assert PREDICTIONS["v_prediction"].network_input(x_t, 0.5) is x_t


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_dtype_of_the_tensors_is_kept(name, dtype):
    row = PREDICTIONS[name]
    x0, eps, x_t = draw(3, 0.3, dtype)
    alpha_bar = torch.tensor([0.1, 0.3, 0.9], dtype=torch.float64).reshape(-1, 1, 1)
    out = row.target(x0, eps, alpha_bar)
    for result in (out, row.to_eps(out, x_t, alpha_bar), row.to_x0(out, x_t, alpha_bar)):
        assert result.dtype == dtype and result.shape == x_t.shape
    assert row.network_input(x_t, alpha_bar).dtype == dtype


def test_an_unknown_kind_is_refused_by_name():
    assert prediction("flow") is PREDICTIONS["flow"]
    with pytest.raises(
        ValueError, match="prediction is 'sample'; allowed: 'epsilon', 'v_prediction', 'flow'"
    ):
        prediction("sample")


def test_it_stands_on_the_ground():
    tree = ast.parse(Path(predictions.__file__).read_text(encoding="utf-8"))
    ours = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    assert ours == ["errors"]
