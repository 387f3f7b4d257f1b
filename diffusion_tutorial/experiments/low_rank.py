"""How much of a fine-tuned network is a low-rank change of the one it began as, and what the rest is worth.

    python -m diffusion_tutorial.experiments.low_rank

makes or completes results/still_life_low_rank.json: the flow and the student as the classic plus a difference whose
matrices are cut to rank 16 or 32 by singular values (the best such matrices, Eckart and Young 1936), measured as
`experiments.fast` measures the whole. That is a LoRA found after training. Biases, norms, and matrices which two factors
would not make smaller stay whole.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import load
from ..results import RESULTS, Record
from ..still_life.evaluate import diversity
from ..still_life.judge import Judge
from .fast import CLASSIC, FRECHET_N, NAME, TEACHER, UNSAID_N, Quality
from .flow import share_of, weights_of

RANKS = (16, 32)
STEPS = {NAME: (1, 4), TEACHER: (4,)}  # of the Fréchet distances
UNSAID_STEPS = {NAME: (1, 4), TEACHER: (8,)}
HALF = 2  # bytes a number


def cut(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], rank: int) -> tuple[dict[str, Tensor], int]:
    """`tuned` with its difference from `base` cut to `rank`, and the bytes of that difference in fp16.

    Tensors of (out, ...) are taken as matrices (out, rest); the factors are rounded to fp16, as they would ship. A tensor
    that base lacks ships whole. Raises ValueError for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; allowed: 1 or more")
    state, size = {}, 0
    for name, value in tuned.items():
        rows, columns = len(value), value[0].numel()
        if name not in base or value.ndim < 2 or rank * (rows + columns) >= rows * columns:
            state[name] = value
            size += HALF * value.numel()
            continue
        u, s, v = torch.linalg.svd((value - base[name]).float().flatten(1), full_matrices=False)
        left, right = ((part[:rank]).half().float() for part in ((u * s.sqrt()).T, s.sqrt()[:, None] * v))
        state[name] = base[name] + (left.T @ right).view_as(value).to(value)
        size += HALF * rank * (rows + columns)
    return state, size


def with_rank(model, classic, rank: int | None):
    """(the model with its U-Net's difference from the classic's cut, bytes); rank None: the whole model, its bytes."""
    unet = model.adapter.unet
    if rank is None:
        return model, sum(HALF * value.numel() for value in unet.state_dict().values())
    state, size = cut(classic.adapter.unet.state_dict(), unet.state_dict(), rank)
    other = copy.copy(model)
    other.adapter = copy.copy(model.adapter)
    other.adapter.unet = copy.deepcopy(unet)
    other.adapter.unet.load_state_dict(state)
    return other, size


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the full sample counts, to look quickly")
    parser.add_argument("--only", default="", help="measure only the keys that contain this")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "still_life_low_rank.json")
    args = parser.parse_args(argv)
    record = Record(
        args.out,
        "flow and student as the classic plus a difference of low rank: bytes against quality",
        "python -m diffusion_tutorial.experiments.low_rank",
        weights={name: weights_of(name) for name in (TEACHER, NAME)},
        share=args.share,
    )
    torch.set_num_threads(1)
    n, judge, classic = share_of(args.share), Judge.load(), load(CLASSIC)
    quality = cache(lambda: Quality(classic, judge, n(FRECHET_N)))
    plan = {}
    for name in (NAME, TEACHER):
        model = load(name)
        for rank in RANKS:
            other, size = with_rank(model, classic, rank)
            key = f"{name}, rank {rank}"
            plan[f"bytes, {key}"] = lambda size=size: size
            for steps in STEPS[name]:
                plan[f"curve, {key}, {steps}"] = lambda m=other, k=steps: quality()(m, k)
            for steps in UNSAID_STEPS[name]:
                plan[f"unsaid, {key}, {steps}"] = lambda m=other, k=steps: diversity(
                    m, judge, "a sphere", n(UNSAID_N), k, 1.0
                )
        plan[f"bytes, {name}"] = lambda m=model: with_rank(m, classic, None)[1]
        if name == TEACHER:  # the card has it at 20 steps
            plan[f"unsaid, {name}, 8"] = lambda m=model: diversity(
                m, judge, "a sphere", n(UNSAID_N), UNSAID_STEPS[TEACHER][0], 1.0
            )
    for name, function in plan.items():
        if args.only in name:
            record.measure(name, function)


if __name__ == "__main__":
    main()
