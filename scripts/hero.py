"""The README's picture: `python scripts/hero.py` draws book/images/hero.png with the shipped model."""

from __future__ import annotations

from pathlib import Path

import torch

from diffusion_tutorial import load
from diffusion_tutorial.plots import show_grid

PROMPTS = (
    "a large shiny red sphere on a green floor",
    "a small matte blue cube on a yellow floor",
    "a large matte orange torus before a blue wall",
    "a shiny cyan cone on a red floor",
    "a large shiny purple cylinder before a white wall",
    "a large matte yellow cone before a green wall",
)
STEPS = (1, 2, 3, 5, 8, 20)


def main() -> None:
    model = load("still-life")
    pictures = [model.sample(text, num_inference_steps=20, seed=7).images for text in PROMPTS]
    first = PROMPTS[0]
    steps = [model.sample(first, num_inference_steps=n, seed=7).images for n in STEPS]
    fig = show_grid(
        torch.cat([*pictures, *steps]),
        titles=[*PROMPTS, *(f"{n} step{'s' if n > 1 else ''}" for n in STEPS)],
        columns=6,
        scale=2,
    )
    out = Path(__file__).resolve().parent.parent / "book" / "images" / "hero.png"
    fig.savefig(out, dpi=fig.dpi)
    print(out.relative_to(out.parents[2]), out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
