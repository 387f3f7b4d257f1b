"""The noisy classifier: reads the attributes off a noised latent, and gives the gradient that guides a sampler.

p(y | x_t) at every noise level, one head an attribute (Dhariwal and Nichol 2021). A second classifier,
"clean", is the same network trained on latents without noise: the one that must *not* be used to guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from math import log
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import allowed, check_choice
from ..metrics import Read
from .scenes import ATTRIBUTES

NAMES = ("noisy", "clean")
_FREQUENCIES = 64


class _Block(nn.Module):
    """Two convolutions with a short cut, scaled and shifted by what the timestep says."""

    def __init__(self, channels: int, told: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, channels), nn.GroupNorm(4, channels, affine=False)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.level = nn.Linear(told, 2 * channels)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h = self.conv1(nn.functional.silu(self.norm1(x)))
        scale, shift = self.level(told)[:, :, None, None].chunk(2, dim=1)
        return x + self.conv2(nn.functional.silu(self.norm2(h) * (1 + scale) + shift))


class NoisyClassifier(nn.Module):
    """A small convolutional network over latents (B, 4, 16, 16) and timesteps, one head an attribute."""

    def __init__(self, widths: Sequence[int] = (32, 56, 88), told: int = 64):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(_FREQUENCIES, told), nn.SiLU(), nn.Linear(told, told), nn.SiLU())
        last, self.steps, self.blocks = 4, nn.ModuleList(), nn.ModuleList()
        for width in widths:
            self.steps.append(nn.Conv2d(last, width, 3, stride=1 if last == 4 else 2, padding=1))
            self.blocks.append(_Block(width, told))
            last = width
        self.neck = nn.Linear(2 * last, 64)
        self.heads = nn.ModuleDict({name: nn.Linear(64, len(v)) for name, v in ATTRIBUTES.items()})

    @classmethod
    def load(cls, name: str = "noisy", path: str | Path | None = None) -> NoisyClassifier:
        """A shipped classifier, "noisy" or "clean", or one from a safetensors file."""
        check_choice("name", name, NAMES)
        file = "classifier.safetensors" if name == "noisy" else "classifier-clean.safetensors"
        source = path or files("diffusion_tutorial.still_life") / "model" / file
        classifier = cls()
        classifier.load_state_dict({k: v.float() for k, v in load_file(str(source)).items()})
        return classifier.eval().requires_grad_(False)

    def forward(self, x_t: Tensor, t: int | Tensor) -> dict[str, Tensor]:
        """(B, 4, 16, 16) and timesteps, an integer or (B,) -> logits (B, number of values) an attribute."""
        if x_t.ndim != 4 or x_t.shape[1] != 4:
            raise ValueError(allowed("x_t", f"the shape {tuple(x_t.shape)}", "(B, 4, h, w)"))
        t = torch.as_tensor(t, device=x_t.device).expand(len(x_t))
        told = self.time(_waves(t).to(x_t.dtype))
        h = x_t
        for step, block in zip(self.steps, self.blocks):
            h = block(step(h), told)
        h = nn.functional.silu(self.neck(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)))
        return {name: head(h) for name, head in self.heads.items()}

    def log_prob(self, x_t: Tensor, t: int | Tensor, said: Mapping[str, str] | Sequence) -> Tensor:
        """log p(said | x_t), (B,): the sum over the attributes that are said, as they are independent in the data.

        said: attribute -> value, such as `captions.parse` gives; one for all rows, or a list of one a row.
        """
        logits = self(x_t, t)
        rows = [said] * len(x_t) if isinstance(said, Mapping) else list(said)
        if len(rows) != len(x_t):
            raise ValueError(allowed("said", f"{len(rows)} rows", f"{len(x_t)}, one a row of x_t"))
        total = x_t.new_zeros(len(x_t))
        for name, values in ATTRIBUTES.items():
            index = torch.tensor([_index(name, row[name], values) if name in row else -1 for row in rows])
            index = index.to(x_t.device)
            log_p = logits[name].log_softmax(1).gather(1, index.clamp(min=0)[:, None])[:, 0]
            total = total + torch.where(index >= 0, log_p, torch.zeros_like(log_p))
        return total

    def grad_log_prob(self, x_t: Tensor, t: int | Tensor, said: Mapping[str, str] | Sequence) -> Tensor:
        """The gradient of `log_prob` with respect to x_t, (B, 4, 16, 16); it needs no gradient of its own."""
        with torch.enable_grad():
            leaf = x_t.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_prob(leaf, t, said).sum(), leaf)
        return gradient

    @torch.no_grad()
    def read(self, x_t: Tensor, t: int | Tensor, batch: int = 256) -> Read:
        """The most likely value (B,) int64 an attribute."""
        t = torch.as_tensor(t).expand(len(x_t))
        parts = [self(x, s) for x, s in zip(x_t.split(batch), t.split(batch))]
        return Read(
            {name: torch.cat([part[name].argmax(1) for part in parts]) for name in ATTRIBUTES}, ATTRIBUTES
        )


def _waves(t: Tensor) -> Tensor:
    """Sines and cosines of the timesteps (B,), as for the U-Net: (B, 64)."""
    half = _FREQUENCIES // 2
    speeds = torch.exp(-log(10_000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * speeds
    return torch.cat([angles.sin(), angles.cos()], 1)


def _index(name: str, value: str, values: Sequence[str]) -> int:
    check_choice(name, value, values)
    return values.index(value)
