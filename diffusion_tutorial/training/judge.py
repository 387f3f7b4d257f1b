"""Training of the judge on clean pictures, every combination of attributes included."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_tutorial.still_life.scenes import ATTRIBUTES

from .data import as_input


def judge_loss(pictures: Tensor, labels: Tensor):
    """Cross entropy over all heads. A little blur and noise keeps it from leaning on what an autoencoder loses first."""

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        x = (as_input(pictures[index], torch.rand(len(index), generator=rng) < 0.5) + 1) / 2
        blur = torch.rand(len(index), 1, 1, 1, generator=rng) * 0.8
        x = (1 - blur) * x + blur * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        strength = 0.03 * torch.rand(len(index), 1, 1, 1, generator=rng)
        x = (x + strength * torch.randn(x.shape, generator=rng)).clamp(0, 1)
        logits = module(x)
        losses = [
            F.cross_entropy(logits[name].float(), labels[index, k]) for k, name in enumerate(ATTRIBUTES)
        ]
        right = [
            (logits[name].argmax(1) == labels[index, k]).float().mean() for k, name in enumerate(ATTRIBUTES)
        ]
        return sum(losses), {"worst": float(min(right))}

    return loss_fn
