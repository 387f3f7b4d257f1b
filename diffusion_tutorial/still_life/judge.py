"""The judge: reads every attribute off a picture. It is trained on clean renderings alone, and never guides a sampler."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..metrics import Read
from .scenes import ATTRIBUTES

FEATURES = 64  # the space in which Fréchet distances are taken


class Judge(nn.Module):
    """A small convolutional network with one head an attribute."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128)):
        super().__init__()
        layers, last = [], 3
        for width in widths:
            layers += [
                nn.Conv2d(last, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            last = width
        self.body = nn.Sequential(*layers)
        self.neck = nn.Linear(2 * last, FEATURES)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(FEATURES, len(values)) for name, values in ATTRIBUTES.items()}
        )

    @classmethod
    def load(cls, path: str | Path | None = None) -> Judge:
        """The shipped judge, or one from a safetensors file."""
        judge = cls()
        source = path or files("diffusion_tutorial.still_life") / "model" / "judge.safetensors"
        judge.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in load_file(str(source)).items()}
        )
        return judge.eval().requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1] -> (B, FEATURES)."""
        if images.ndim != 4 or images.shape[1:] != (3, 64, 64):
            raise ValueError(f"images has the shape {tuple(images.shape)}; allowed: (B, 3, 64, 64)")
        maps = self.body(images * 2 - 1)
        return self.neck(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, 64, 64) in [0, 1] -> logits (B, number of values) an attribute."""
        hidden = torch.relu(self.features(images))
        return {name: head(hidden) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: Tensor, batch: int = 256) -> Read:
        """(B, 3, 64, 64) in [0, 1] -> the most likely value (B,) int64 an attribute."""
        parts = [
            {name: logits.argmax(1) for name, logits in self(part).items()} for part in images.split(batch)
        ]
        return Read({name: torch.cat([part[name] for part in parts]) for name in ATTRIBUTES}, ATTRIBUTES)
