"""Makes pairs.safetensors: 32 noises and where the shipped flow's guided walk of 16 steps takes them.

python assignments/files/flows/make.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from diffusion_tutorial import gaussian, load
from diffusion_tutorial.training import distil
from diffusion_tutorial.training.denoiser import tokenizer_of

PROMPTS = [
    "a red sphere",
    "a blue cube",
    "a green cone",
    "a yellow cylinder",
    "a small red cube",
    "a large blue sphere",
]


def main() -> None:
    model = load("still-life-flow", device="cpu")
    teacher = distil.Networks(model.adapter.unet, model.adapter.text_encoder)
    prompts = [PROMPTS[k % len(PROMPTS)] for k in range(32)]
    tokens = tokenizer_of(model.adapter.tokenizer)
    ids, empty = tokens(prompts), tokens([""] * 32)
    with torch.no_grad():
        x0 = distil.walk(teacher, gaussian((32, 4, 16, 16), 4711), ids, torch.full((32,), 2.0), empty, 16)
    save_file({"x0": x0.half(), "ids": ids.to(torch.int16)}, Path(__file__).with_name("pairs.safetensors"))


if __name__ == "__main__":
    main()
