"""The student against its bars, and beside its teachers: what one, two and four evaluations of the network are worth.

    python -m diffusion_tutorial.experiments.fast student [--folder runs/still-life/model-fast] [--only right]
    python -m diffusion_tutorial.experiments.fast second --folder runs/consistency/model-fast
    python -m diffusion_tutorial.experiments.fast teachers

make or complete results/still_life_fast.json, still_life_second.json and still_life_teachers.json, from which the model
card and the page on flows are written; about 20 minutes each on one core. `second` is a student by the other method, of
which a part is measured, and its line of stages.jsonl is kept. Every measurement is stored when it is done.

An evaluation is one picture through the U-Net once. Under guidance a teacher's step costs two of them, one without a
prompt; the student's costs one, since scale and negative prompt are inputs. Fréchet distances are those of
`experiments.flow`: what counts is the excess over the autoencoder's reconstructions on the same references.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load
from ..checkpoints.student import STEPS
from ..noise import gaussian
from ..results import RESULTS, Record
from ..samplers import trajectory
from ..still_life.captions import parse
from ..still_life.evaluate import diversity, full_caption, law, reconstruct
from ..still_life.judge import Judge
from ..still_life.models import KNOWN, MODELS
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes
from ..text_to_image import sample_many
from .flow import PROMPTS, SEED, excess, share_of, weights_of
from .guidance_matched import short_prompts

NAME, TEACHER, CLASSIC = "still-life-fast", "still-life-flow", "still-life"
SCALES = (1.0, 1.5, 2.0, 4.0, 6.0)
RIGHT_N, HELD_OUT_N, UNSAID_N, FRECHET_N, NEGATIVE_N, SCALE_N = 1000, 500, 2000, 2000, 500, 500
RIGHT_SCALE, FRECHET_SCALE = 2.0, 1.5
CURVE = {CLASSIC: (4, 8, 20), TEACHER: (1, 2, 4, 8)}  # steps of the teachers in the figure
SECOND = (  # what is measured of the student by the other method
    *(f"all right, {k}" for k in STEPS),
    *(f"curve, {NAME}, {k}" for k in STEPS),
    *(f"unsaid, a sphere, {k}" for k in (1, 4)),
    *(f"negative, {k}" for k in (1, 4)),
    *(f"scale {s}, {k}" for k in (1, 4) for s in (1, 6)),
)
NEGATIVE, AGAINST, NEGATIVE_SCALE = "a sphere", "red", 3.0
TEACHER_STEPS = 8  # of the flow where the student is compared with it
TEACHER_SCALE_STEPS = 4  # the same along the scale, beside the student's four


def draw(model, captions: Sequence[str], steps: int, scale: float, negative: str | None = None) -> Tensor:
    """(N, 3, 64, 64) pictures, one a caption; picture i has the same noise for every model."""
    options = {} if negative is None else {"negative_prompt": negative}
    return sample_many(
        model, captions, SEED, 125, num_inference_steps=steps, guidance_scale=scale, **options
    ).images


def right(model, judge: Judge, n: int, steps: int, held_out: bool = False) -> dict:
    """Captions that name all six attributes: how often all of them are there."""
    scenes = sample_scenes(n, SEED + 2 + held_out, held_out=held_out)
    captions = [full_caption(scenes, i, SEED) for i in range(n)]
    read = judge.read(draw(model, captions, steps, RIGHT_SCALE))
    found = metrics.all_right(read, [parse(text) for text in captions])
    return {"n": n, "steps": steps, "guidance_scale": RIGHT_SCALE, "all_right": found}


class Quality:
    """Fréchet distance and all six right of any model at any number of steps, on the same captions and references."""

    def __init__(self, model, judge: Judge, n: int):
        self.judge, self.n = judge, n
        self.reference = judge.features(render(sample_scenes(n, SEED)))
        scenes = sample_scenes(n, SEED + 1)
        self.captions = [full_caption(scenes, i, SEED) for i in range(n)]
        self.said = [parse(text) for text in self.captions]
        self.rebuilt = judge.features(reconstruct(model, render(scenes)))

    def __call__(self, model, steps: int, scale: float = FRECHET_SCALE) -> dict:
        pictures = draw(model, self.captions, steps, scale)
        features = self.judge.features(pictures)
        branches = 1 if model.name == NAME or scale == 1 else 2
        return {
            "n": self.n,
            "steps": steps,
            "evaluations": steps * branches,
            "guidance_scale": scale,
            "excess": excess(self.reference, features, self.rebuilt),
            "all_right": metrics.all_right(self.judge.read(pictures), self.said),
        }


def acts(model, judge: Judge, n: int, steps: int, scale: float) -> dict:
    """What a scale does: mean fit of prompts of one and two words, and the entropy of what "a sphere" leaves open."""
    prompts = short_prompts()[:n]
    read = judge.read(draw(model, prompts, steps, scale))
    open_ = judge.read(draw(model, ["a sphere"] * n, steps, scale))
    return {
        "n": len(prompts),
        "steps": steps,
        "guidance_scale": scale,
        "adherence": metrics.adherence(read, [parse(text) for text in prompts]),
        "entropy": {
            name: metrics.entropy(open_[name], len(ATTRIBUTES[name]))
            for name in ATTRIBUTES
            if name != "shape"
        },
    }


def negative(model, judge: Judge, n: int, steps: int) -> dict:
    """ "a sphere" without and with the negative "red", from the same noise: what goes, and what else is lost.

    "red": the share of red spheres, before and after. "sphere": how often it is a sphere, before and after; "sphere_lost":
    the mean of the paired differences (lost minus won).
    """
    read = {
        text: judge.read(draw(model, [NEGATIVE] * n, steps, NEGATIVE_SCALE, text)) for text in (None, AGAINST)
    }
    red, sphere = ATTRIBUTES["colour"].index(AGAINST), ATTRIBUTES["shape"].index("sphere")
    of_red, of_sphere = (
        [(read[text][name] == value) for text in (None, AGAINST)]
        for name, value in (("colour", red), ("shape", sphere))
    )
    return {
        "n": n,
        "steps": steps,
        "guidance_scale": NEGATIVE_SCALE,
        "red": [metrics.rate(hits.long(), 1) for hits in of_red],
        "sphere": [metrics.rate(hits.long(), 1) for hits in of_sphere],
        "sphere_lost": metrics.mean(of_sphere[0].double() - of_sphere[1].double()),
    }


class Relay:
    """The repair: the flow takes the first of four steps, the student the rest. Denoiser of `samplers.trajectory`."""

    def __init__(self, flow, fast, texts: Sequence[str], scale: float = 1.0):
        self.flow, self.fast = flow, fast.adapter.guided(scale, (None,))
        self.conditions = flow.encode_text(texts), self.fast.encode_text(texts)

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        first = t >= 1000 * self.flow.schedule.SIGMA_MAX
        network, condition = (self.flow, self.conditions[0]) if first else (self.fast, self.conditions[1])
        return network.eps(x_t, t, condition)


@torch.no_grad()
def repaired(flow, fast, judge: Judge, text: str, n: int, chunk: int = 125) -> dict:
    """The unsaid at scale 1 where the flow takes the first step of four; one evaluation each, four in all."""
    parts = []
    for start in range(0, n, chunk):
        size = min(chunk, n - start)
        x = gaussian((size, *fast.latent_shape), SEED, first=start)
        *_, last = trajectory(Relay(flow, fast, [text] * size), x, fast.schedule, 4)
        parts.append(judge.read(fast.decode(last.x_s)))
    read = {name: torch.cat([part[name] for part in parts]) for name in ATTRIBUTES}
    said = parse(text)
    unsaid = [name for name in ATTRIBUTES if name not in said]
    return {
        "n": n,
        "steps": 4,
        "evaluations": 4,
        "prompt": text,
        "total_variation": {name: metrics.total_variation(read[name], law(name, said)) for name in unsaid},
    }


def student_plan(judge: Judge, fast, flow, quality, n) -> dict[str, Callable[[], dict]]:
    """Key -> measurement, all of which depend on the student's weights."""
    plan: dict[str, Callable[[], dict]] = {}
    for steps in STEPS:
        plan[f"all right, {steps}"] = lambda k=steps: right(fast, judge, n(RIGHT_N), k)
    plan["all right, held out"] = lambda: right(fast, judge, n(HELD_OUT_N), 4, True)
    for steps in STEPS:
        plan[f"negative, {steps}"] = lambda k=steps: negative(fast, judge, n(NEGATIVE_N), k)
    for steps in STEPS:
        plan[f"curve, {NAME}, {steps}"] = lambda k=steps: quality()(fast, k)
    for text in PROMPTS:
        for steps in STEPS:
            plan[f"unsaid, {text}, {steps}"] = lambda t=text, k=steps: diversity(
                fast, judge, t, n(UNSAID_N), k, 1.0
            )
        plan[f"repaired, {text}"] = lambda t=text: repaired(flow, fast, judge, t, n(UNSAID_N))
    for steps in (1, 4):
        for scale in SCALES:
            plan[f"scale {scale:g}, {steps}"] = lambda k=steps, s=scale: acts(fast, judge, n(SCALE_N), k, s)
    return plan


def teachers_plan(judge: Judge, classic, flow, quality, n) -> dict[str, Callable[[], dict]]:
    """The same of the models that the student is compared with."""
    plan: dict[str, Callable[[], dict]] = {
        "negative, flow": lambda: negative(flow, judge, n(NEGATIVE_N), TEACHER_STEPS)
    }
    for model in (flow, classic):
        for steps in CURVE[model.name]:
            plan[f"curve, {model.name}, {steps}"] = lambda m=model, k=steps: quality()(m, k)
    for scale in SCALES:
        plan[f"scale {scale:g}, flow"] = lambda s=scale: acts(flow, judge, n(SCALE_N), TEACHER_SCALE_STEPS, s)
    return plan


FILES = {  # what is measured -> file in results/, and what the numbers are
    "student": (
        "still_life_fast.json",
        "the student against its bars: captions fulfilled, Fréchet distance, what scale and negative prompt do",
    ),
    "second": (
        "still_life_second.json",
        "a student by the other method, consistency distillation, measured as the one that ships",
    ),
    "teachers": (
        "still_life_teachers.json",
        "the classic and the flow at few evaluations, measured as the student is",
    ),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("which", choices=FILES)
    parser.add_argument("--folder", type=Path, help="of the student (default: the one that ships)")
    parser.add_argument("--only", default="", help="measure only the keys that contain this")
    parser.add_argument("--share", type=float, default=1.0, help="of the full sample counts, to look quickly")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args(argv)
    if args.folder:
        MODELS[NAME] = KNOWN[NAME]._replace(folder=str(args.folder.resolve()))
    file, what = FILES[args.which]
    settings = {"weights": weights_of(TEACHER if args.which == "teachers" else NAME), "share": args.share}
    if args.which == "second":
        lines = (MODELS[NAME].path.parent / "stages.jsonl").read_text(encoding="utf-8").splitlines()
        settings["training"] = [stage for stage in map(json.loads, lines) if stage["stage"] == "fast"][-1]
    command = f"python -m diffusion_tutorial.experiments.fast {args.which}"
    record = Record(args.out or RESULTS / file, what, command, **settings)
    torch.set_num_threads(1)  # one process, one thread: timings and last digits are then the machine's own
    judge, classic, flow, n = Judge.load(), load(CLASSIC), load(TEACHER), share_of(args.share)
    quality = cache(lambda: Quality(classic, judge, n(FRECHET_N)))
    if args.which == "teachers":
        plan = teachers_plan(judge, classic, flow, quality, n)
    else:
        plan = student_plan(judge, load(NAME), flow, quality, n)
    if args.which == "second":
        plan = {key: plan[key] for key in SECOND}
    for name, function in plan.items():
        if args.only in name:
            record.measure(name, function)


if __name__ == "__main__":
    main()
