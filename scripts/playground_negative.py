"""Which prompt lets a reader see a negative prompt at work: `python scripts/playground_negative.py`.

The playground's preset "negative-prompts" takes a colour away from a prompt that names none. That can be seen only
where the colour appears without being asked for. So each prompt is sampled as the preset samples it, over many seeds,
and the independent judge counts how often it reads the colour off the object, and off the floor. Those pictures rank
the prompts; the first of them are then measured again on other noise, without the negative and with it under the
formula in use, and these are the figures to quote.
"""

from __future__ import annotations

import argparse
import sys

import torch
from torch import Tensor

from diffusion_tutorial import gaussian, load
from diffusion_tutorial.guidance import ClassifierFree, NegativePrompt
from diffusion_tutorial.metrics import Estimate, rate
from diffusion_tutorial.still_life.judge import Judge
from diffusion_tutorial.still_life.scenes import ATTRIBUTES

NEGATIVE, SCALE, STEPS = "red", 4.0, 20
PROMPTS = (  # one word and more, none of them a colour of the object
    *(f"a {shape}" for shape in ATTRIBUTES["shape"]),
    "an object",
    *(f"a {word} sphere" for word in ("small", "large", "matte", "shiny")),
    *(f"a {size} {material} sphere" for size in ATTRIBUTES["size"] for material in ATTRIBUTES["material"]),
    *(f"a sphere on a {floor} floor" for floor in ("green", "white", "gray", "yellow", "blue")),
    *(f"a sphere in front of a {wall} wall" for wall in ATTRIBUTES["wall"]),
    "a matte sphere on a white floor in front of a white wall",
    "a matte sphere on a gray floor in front of a blue wall",
    "a matte cube on a white floor in front of a white wall",
    "a matte cube on a gray floor in front of a blue wall",
)
CHUNK = 50  # pictures a run


def pictures(model, prompt: str, negative: str | None, count: int, seed: int) -> Tensor:
    """(count, 3, 64, 64) of one seed, in the preset's steps and scale."""
    rule = ClassifierFree(SCALE) if negative is None else NegativePrompt(SCALE)
    parts = []
    for first in range(0, count, CHUNK):
        rows = min(CHUNK, count - first)
        latents = gaussian((rows, *model.latent_shape), seed, first=first)
        samples = model.sample(
            [prompt] * rows,
            negative,
            num_inference_steps=STEPS,
            guidance=rule,
            latents=latents,
            keep_trajectory=False,
        )
        parts.append(samples.images)
    return torch.cat(parts)


def shares(judge: Judge, images: Tensor) -> tuple[Estimate, Estimate]:
    """How often the judge reads NEGATIVE off the object, and off the floor, with 95% intervals."""
    read = judge.read(images)
    return tuple(rate(read[name], ATTRIBUTES[name].index(NEGATIVE)) for name in ("colour", "floor"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=60, help="a prompt, to rank them")
    parser.add_argument("--check", type=int, default=250, help="of each of the first two, with and without")
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    model, judge = load("still-life"), Judge.load()
    ranked = {}
    print(f"{NEGATIVE} object; {NEGATIVE} floor")
    for prompt in PROMPTS:
        found = shares(judge, pictures(model, prompt, None, options.pictures, options.seed))
        ranked[prompt] = found[0].value
        print(f"{prompt}: {found[0]}; {found[1]}", flush=True)
    print("again on other noise, the first two by the object")
    for prompt in sorted(ranked, key=ranked.get, reverse=True)[:2]:
        for negative in (None, NEGATIVE):
            found = shares(judge, pictures(model, prompt, negative, options.check, options.seed + 1))
            print(f"{prompt}, not {negative}: {found[0]}; {found[1]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
