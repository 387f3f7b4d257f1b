"""Training of the classifiers on latents: one at all noise levels, one without noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_tutorial.still_life.scenes import ATTRIBUTES


def classifier_loss(latents: Tensor, labels: Tensor, alphas_cumprod: Tensor, clean: bool = False):
    """Cross entropy over all heads, of noised latents (Dhariwal and Nichol 2021, section 4); `clean`: of t = 0 alone.

    latents (2, N, 4, 16, 16), scaled to unit variance: plain and mirrored. labels (N, 6).
    """
    abar = alphas_cumprod.double()

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        n = len(index)
        mirror = (torch.rand(n, generator=rng) < 0.5).long()
        x0 = latents[mirror, index].float()
        eps = torch.randn(x0.shape, generator=rng)
        # One t from each n-th of the range, as for the denoiser.
        t = ((torch.arange(n) + torch.rand(n, generator=rng)) / n * len(abar)).long().clamp(max=len(abar) - 1)
        t = torch.zeros_like(t) if clean else t
        a = abar[t].float()[:, None, None, None]
        logits = module(a.sqrt() * x0 + (1 - a).sqrt() * eps, t)
        losses = [
            F.cross_entropy(logits[name].float(), labels[index, k]) for k, name in enumerate(ATTRIBUTES)
        ]
        right = [
            (logits[name].argmax(1) == labels[index, k]).float().mean() for k, name in enumerate(ATTRIBUTES)
        ]
        return sum(losses), {"right": float(sum(right) / len(right))}

    return loss_fn
