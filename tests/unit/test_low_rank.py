"""Cutting a fine-tuned network to a low-rank change of its base."""

import pytest
import torch

from diffusion_tutorial.checkpoints import load
from diffusion_tutorial.experiments.low_rank import cut, with_rank


def test_a_change_of_low_rank_is_kept_and_a_full_one_is_cut_to_its_largest_part():
    rng = torch.Generator().manual_seed(0)
    base = {"w": torch.randn(64, 16, 3, 3, generator=rng), "b": torch.zeros(64), "small": torch.zeros(4, 4)}
    thin = torch.randn(64, 2, generator=rng) @ torch.randn(2, 144, generator=rng)
    full = torch.randn(64, 144, generator=rng)
    tuned = {**base, "b": torch.ones(64), "small": torch.ones(4, 4), "new": torch.ones(8, 8)}
    state, size = cut(base, {**tuned, "w": base["w"] + thin.view(64, 16, 3, 3)}, 2)
    assert (state["w"] - base["w"] - thin.view(64, 16, 3, 3)).abs().max() < 0.02  # factors in fp16
    assert all(torch.equal(state[name], tuned[name]) for name in ("b", "small", "new"))
    assert size == 2 * (2 * (64 + 144) + 64 + 16 + 64)
    state, _ = cut(base, {**tuned, "w": base["w"] + full.view(64, 16, 3, 3)}, 2)
    left = (state["w"] - base["w"]).flatten(1) - full
    assert float(left.norm() ** 2) == pytest.approx(
        float(torch.linalg.svdvals(full)[2:].norm() ** 2), rel=1e-3
    )
    with pytest.raises(ValueError, match="rank is 0; allowed: 1 or more"):
        cut(base, tuned, 0)


def test_a_student_cut_is_another_network_of_fewer_bytes_that_leaves_the_whole_one_alone():
    classic, fast = load("still-life", device="cpu"), load("still-life-fast", device="cpu")
    before = {name: value.clone() for name, value in fast.adapter.unet.state_dict().items()}
    other, size = with_rank(fast, classic, 16)
    whole = with_rank(fast, classic, None)[1]
    assert size < 0.25 * whole and all(
        torch.equal(before[name], value) for name, value in fast.adapter.unet.state_dict().items()
    )
    one, two = (model.sample("a sphere", num_inference_steps=1).images for model in (fast, other))
    assert 0 < (one - two).abs().mean() < 0.1
