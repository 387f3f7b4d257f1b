"""The flow: the denoiser's U-Net trained on to predict the velocity of a straight line from picture to noise.

What the network is shown is x = (1 - sigma) x0 + sigma eps with 1000 sigma for its timestep; what it should answer is
dx/dsigma = eps - x0 (`predictions.PREDICTIONS["flow"]`). At sigma = 1 it is shown pure noise, which the chain of the
classic never reaches. U-Net and text encoder are the classic's; the text encoder stays as it is, so that both models
share it.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from diffusion_tutorial.predictions import PREDICTIONS

from .denoiser import captions_for, tokenizer_of

SCHEDULER = {"num_train_timesteps": 1000, "shift": 1.0}  # of the FlowMatchEulerDiscreteScheduler that ships


def noise_levels(n: int, shift: float, rng: torch.Generator) -> Tensor:
    """(n,) float64 sigmas in (0, 1), one out of each n-th of the range, so that every step sees every level.

    u uniform becomes sigma = shift u / (1 + (shift - 1) u), the formula of `FlowSchedule`: a shift above 1 puts more
    of them near pure noise, where floor and wall are decided.
    """
    u = (torch.arange(n, dtype=torch.float64) + torch.rand(n, generator=rng, dtype=torch.float64)) / n
    return shift * u / (1 + (shift - 1) * u)


def flow_loss(
    latents: Tensor,
    labels: Tensor,
    tokenizer: CLIPTokenizer,
    drop: float = 0.1,
    sparse: float = 0.3,
    shift: float = 2.0,
):
    """Mean squared error of the velocity, every level alike.

    latents (2, N, 4, 16, 16), scaled to unit variance: plain and mirrored.
    """
    tokens = tokenizer_of(tokenizer)

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        n = len(index)
        mirror = (torch.rand(n, generator=rng) < 0.5).long()
        x0 = latents[mirror, index].float()
        eps = torch.randn(x0.shape, generator=rng)
        sigma = noise_levels(n, shift, rng).float()
        seed = int(torch.randint(2**31, (1,), generator=rng))
        texts = captions_for(labels[index], random.Random(seed), drop, sparse)
        ids = tokens(texts)
        s = sigma[:, None, None, None]
        alpha_bar = (1 - s.double()) ** 2 / ((1 - s.double()) ** 2 + s.double() ** 2)
        out = module((1 - s) * x0 + s * eps, 1000 * sigma, ids)
        target = PREDICTIONS["flow"].target(x0, eps, alpha_bar)
        loss = (out.float() - target).square().mean()
        return loss, {"mse": float(loss.detach())}

    return loss_fn
