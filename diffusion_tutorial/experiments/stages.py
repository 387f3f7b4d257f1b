"""The curves of the pages' stages, where no other stored measurement has them.

    python -m diffusion_tutorial.experiments.stages

makes or completes results/stages.json:

first        from which step of a run on its shape can be told: readings of the judge, which knows clean pictures
             alone, of what a run holds and of what it expects, against its reading of the picture in the end
guidance     scales that results/guidance.json lacks, measured as those in it are
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import metrics
from ..checkpoints import load
from ..guidance import ClassifierFree
from ..noise import gaussian, step_noise
from ..results import RESULTS, Record
from ..still_life.evaluate import full_caption
from ..still_life.judge import Judge
from ..still_life.scenes import ATTRIBUTES, sample_scenes
from . import guidance

SEED, NOISE = 970_000, 97
N_RUNS, STEPS, SCALE = 100, 20, 4.0
FURTHER = (0, 16, 32)  # guidance scales


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


def main() -> None:
    record = Record(
        RESULTS / "stages.json",
        "Still Life: what the curves of the pages' stages show",
        "python -m diffusion_tutorial.experiments.stages",
        seed=SEED,
        noise=NOISE,
        steps=STEPS,
        n_runs=N_RUNS,
    )
    model, judge = load(), Judge.load()
    record.measure("first", lambda: when_told(model, judge))
    keys = {scale: f"guidance, cfg {scale:g}" for scale in FURTHER}
    if any(key not in record for key in keys.values()):
        bench = guidance.Bench(guidance.captions())
        for scale, key in keys.items():
            record.measure(key, lambda s=scale: bench.free(ClassifierFree(float(s))))


if __name__ == "__main__":
    main()
