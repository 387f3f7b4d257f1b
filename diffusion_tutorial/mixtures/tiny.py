"""Tiny denoisers of points in the plane, small enough to train in a chapter: many at a time, in seconds.

Used to ask what the number of training levels is for: the same network, data and work, with 20, 100 or 1000
levels to practise on. `experiments.levels` makes the long measurement of it, minutes on two cores; `stored` reads
the one that comes with the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from ..noise import gaussian, uniform
from ..results import read
from ..samplers import ByLevel, walk
from ..schedules import NoiseSchedule
from .gaussian import GaussianMixture, ring, sliced_wasserstein

LEVELS = (20, 100, 1000)
STEPS = (5, 10, 20, 50)


class TinyDenoisers(nn.Module):
    """M networks of one shape side by side: eps(x_t, level) for x_t (M, B, 2).

    A network is told the level as u = log(alpha_bar / (1 - alpha_bar)) / 10 with a few waves of it, so it can
    be asked about any level, also one that it never saw.
    """

    def __init__(self, kinds: int, copies: int = 1, width: int = 64, waves: int = 6, seed: int = 0):
        """kinds x copies networks, kind by kind; copy j of every kind starts from the same weights."""
        super().__init__()
        sizes = [2 + 1 + 2 * waves, width, width, 2]
        self.waves = torch.arange(1, waves + 1, dtype=torch.float32)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for k, (a, b) in enumerate(zip(sizes, sizes[1:], strict=False)):
            self.weights.append(gaussian((copies, a, b), seed, stream=k).repeat(kinds, 1, 1) / sqrt(a))
            self.biases.append(torch.zeros(kinds * copies, 1, b))

    def forward(self, x: Tensor, alpha_bar: Tensor) -> Tensor:
        """x (M, B, 2), alpha_bar (M, B) in (0, 1): the noise predicted in x, (M, B, 2)."""
        u = (alpha_bar / (1 - alpha_bar)).log()[..., None] / 10
        h = torch.cat([x, u, (3 * u * self.waves).sin(), (3 * u * self.waves).cos()], dim=-1)
        for k, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(b, h, w)
            if k < len(self.weights) - 1:
                h = nn.functional.silu(h)
        return h


def train(
    mixture: GaussianMixture,
    tables: Sequence[Tensor],
    copies: int = 1,
    steps: int = 2000,
    batch: int = 256,
    rate: float = 5e-3,
    width: int = 64,
    seed: int = 0,
) -> TinyDenoisers:
    """`copies` networks for each of the tables (T,) of alpha_bar: the levels that they practise on, uniformly.

    All see the same data and the same noise (DDPM algorithm 1). Adam, the rate on a cosine to zero.
    """
    tables = [torch.as_tensor(t, dtype=torch.float32) for t in tables]
    networks = TinyDenoisers(len(tables), copies, width, seed=seed)
    optimiser = torch.optim.Adam(networks.parameters(), lr=rate, betas=(0.9, 0.99))
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for k in range(steps):
        x_0 = mixture.sample(copies * batch, seed + 1_000_000 + k).float().reshape(copies, batch, 2)
        eps = gaussian((copies, batch, 2), seed + 2_000_000 + k)
        u = uniform((copies, batch), seed + 3_000_000 + k)
        a = torch.cat([t[(u * len(t)).long()] for t in tables])
        x_0, eps = (z.repeat(len(tables), 1, 1) for z in (x_0, eps))
        x_t = a.sqrt()[..., None] * x_0 + (1 - a).sqrt()[..., None] * eps
        loss = (networks(x_t, a) - eps).square().mean(dim=(1, 2)).sum()  # a sum: the networks do not meet
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    return networks.eval().requires_grad_(False)


def sample(
    networks: TinyDenoisers,
    schedule: NoiseSchedule,
    num_inference_steps: int,
    sampler: str = "ddim",
    points: int = 2000,
    spacing: str = "trailing",
    seed: int = 0,
) -> Tensor:
    """(M, points, 2) what each network makes of the same noise in so many steps of a sampler."""
    count = len(networks.weights[0])
    transitions = schedule.transitions(num_inference_steps, spacing, previous="grid")
    *_, last = walk(
        ByLevel(lambda x, a: networks(x, torch.full(x.shape[:2], a))),
        gaussian((points, 2), seed).repeat(count, 1, 1),
        transitions,
        sampler,
        noise=lambda k: gaussian((points, 2), seed, stream=k + 1).repeat(count, 1, 1),
    )
    return last.x_s


def compare_levels(
    schedule: NoiseSchedule, copies: int = 1, steps: int = 1500, points: int = 2000, seed: int = 0
) -> dict[int, dict[int, list[float]]]:
    """T -> number of sampling steps -> distance from the truth of each copy, for networks trained on T levels.

    The T levels are those that a sampler of T steps visits ("trailing"), so at T steps and at its divisors each
    network meets levels that it knows. The sampler is DDIM, the distance sliced Wasserstein of order 2.
    """
    data = ring()
    tables = [schedule.alphas_cumprod[schedule.timesteps(t, "trailing")] for t in LEVELS]
    networks = train(data, tables, copies, steps, seed=seed)
    result: dict[int, dict[int, list[float]]] = {t: {} for t in LEVELS}
    for n in STEPS:
        ends = sample(networks, schedule, n, points=points, seed=seed).double()
        distances = [sliced_wasserstein(x, data, projections=16) for x in ends]
        for k, t in enumerate(LEVELS):
            result[t][n] = distances[k * copies : (k + 1) * copies]
    return result


def stored() -> dict:
    """The long measurement that comes with the package: `compare_levels`, and in "settings" how it was made."""
    data = read("few-steps-levels")
    data["distance"] = {
        int(t): {int(n): d for n, d in row.items()} for t, row in data["measured"]["distance"].items()
    }
    return data
