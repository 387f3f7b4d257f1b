"""The curves of the pages' stages, where no other stored measurement has them.

    python -m diffusion_tutorial.experiments.stages [first] [few-steps] [guidance]

makes or completes results/stages.json, under an hour on one core; every setting is written when it is done.

"first": from which step of a run on can its shape be told? Readings of the judge, which knows clean pictures alone,
of what a run holds and of what it expects, against its reading of the picture in the end.

"few-steps": how near pictures of few steps are to those of 1000 from the same noises, for DDIM and for DDPM.

"guidance": three scales beside those of `experiments.guidance`, measured as there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load
from ..guidance import ClassifierFree
from ..noise import gaussian, step_noise
from ..results import RESULTS, Record
from ..still_life.captions import parse
from ..still_life.evaluate import full_caption
from ..still_life.judge import Judge
from ..still_life.scenes import ATTRIBUTES, sample_scenes
from . import guidance
from .few_steps import Setting, draw

SEED, NOISE = 970_000, 97
N_RUNS, STEPS, SCALE = 100, 20, 4.0
N_FEW, PROMPT = 32, "a sphere"
STOPS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200)
MANY = 1000
SCALES = (0, 16, 32)


def same_as(read: dict, end: dict, names: Sequence[str]) -> dict:
    """Attribute -> the share of pictures that are read as in the end."""
    return {name: metrics.rate((read[name] == end[name]).long(), 1) for name in names}


def when_told(model, judge: Judge, n: int = N_RUNS, chunk: int = 50) -> dict:
    """Of each state of n runs, from noise to picture: which attributes are read as in the end.

    "holds" has STEPS + 1 entries, the state before each step and the last one; "expects" has STEPS, the clean
    picture that each step expects. Captions name all six attributes; other ones each run.
    """
    scenes = sample_scenes(n, SEED)
    captions = [full_caption(scenes, i, SEED) for i in range(n)]
    reads: dict[str, list] = {"holds": [[] for _ in range(STEPS + 1)], "expects": [[] for _ in range(STEPS)]}
    for first in range(0, n, chunk):
        part = captions[first : first + chunk]
        shape = (len(part), *model.latent_shape)
        run = model.sample(
            part,
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            latents=gaussian(shape, NOISE, first=first),
            noise=step_noise(shape, NOISE, first=first),
        ).trajectory
        for k, state in enumerate([*(step.x_t for step in run), run[-1].x_s]):
            reads["holds"][k].append(judge.read(model.decode(state)))
        for k, step in enumerate(run):
            reads["expects"][k].append(judge.read(model.decode(step.x0)))
    whole = {
        what: [{name: torch.cat([r[name] for r in parts]) for name in ATTRIBUTES} for parts in steps]
        for what, steps in reads.items()
    }
    end = whole["holds"][-1]
    return {what: [same_as(read, end, ATTRIBUTES) for read in steps] for what, steps in whole.items()}


def distance(a: Tensor, b: Tensor) -> Tensor:
    """(N,) root mean square over the pixels of (N, 3, H, W)."""
    return (a - b).square().flatten(1).mean(1).sqrt()


def nearness(
    model, judge: Judge, sampler: str, stops: Sequence[int] = STOPS, many: int = MANY, n: int = N_FEW
) -> dict:
    """How near pictures of few steps are to those of `many` from the same noises: by steps, and of strangers.

    "distance" is the root mean square over pixels, a mean over n pictures; "same" the share of what the prompt
    leaves open that the judge reads alike. "strangers" compares pictures of `many` steps from different starts.
    """
    captions = [PROMPT] * n
    end = draw(model, captions, Setting(sampler, 0.0, many, 1.0))
    unsaid = [name for name in ATTRIBUTES if name not in parse(PROMPT)]

    def compare(a: Tensor, b: Tensor) -> dict:
        one, other = judge.read(a), judge.read(b)
        alike = torch.stack([(one[name] == other[name]).double() for name in unsaid]).mean(0)
        return {"distance": metrics.mean(distance(a, b)), "same": metrics.mean(alike)}

    by_steps = {k: compare(draw(model, captions, Setting(sampler, 0.0, k, 1.0)), end) for k in stops}
    return {"many": many, "by_steps": by_steps, "strangers": compare(end, end.roll(1, 0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ("first", "few-steps", "guidance")
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"of {', '.join(parts)}; all if none is named"
    )
    wanted = parser.parse_args().parts or parts
    if unknown := set(wanted) - set(parts):
        parser.error(f"no part named {', '.join(sorted(unknown))}; there are: {', '.join(parts)}")
    record = Record(
        RESULTS / "stages.json",
        "Still Life: what the curves of the pages' stages show",
        "python -m diffusion_tutorial.experiments.stages",
        seed=SEED,
        noise=NOISE,
        steps=STEPS,
        n_runs=N_RUNS,
        n_few=N_FEW,
        many=MANY,
    )
    model, judge = load(), Judge.load()
    if "first" in wanted:
        record.measure("first", lambda: when_told(model, judge))
    if "few-steps" in wanted:
        for sampler in ("ddim", "ddpm"):
            record.measure(f"few-steps, {sampler}", lambda s=sampler: nearness(model, judge, s))
    if "guidance" in wanted:
        bench = guidance.Bench(guidance.captions())
        for scale in SCALES:
            record.measure(f"cfg {scale}", lambda s=scale: bench.free(ClassifierFree(float(s))))


if __name__ == "__main__":
    main()
