"""Digests of the final latents of a fixed list of runs: two versions of the package agree bit for bit, or the list
says where they do not.

    python scripts/same_numbers.py write FILE.json               # run the list, store a digest and a few numbers a run
    python scripts/same_numbers.py compare OLD.json NEW.json     # exit 1 and a line a run that differs

To hold a change against an older commit, check that commit out into another folder and run this same file there:

    git worktree add ../before COMMIT
    PYTHONPATH=../before OMP_NUM_THREADS=1 python scripts/same_numbers.py write /tmp/before.json
    PYTHONPATH=.         OMP_NUM_THREADS=1 python scripts/same_numbers.py write /tmp/after.json
    python scripts/same_numbers.py compare /tmp/before.json /tmp/after.json

Both on one machine and with one thread: sums in another order round otherwise. The list uses names that every
version since c790ea8 has; modules that moved are looked up under both addresses.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import torch

PROMPT, NEGATIVE = "a large shiny red sphere on a green floor", "shiny"
PIPELINES = {  # class -> arguments of `sample`
    "StableDiffusionPipeline": {"num_inference_steps": 4, "negative_prompt": "dark"},
    "StableDiffusionXLPipeline": {"num_inference_steps": 4, "negative_prompt": "dark"},
    "PixArtAlphaPipeline": {"num_inference_steps": 3},
    "PixArtSigmaPipeline": {"num_inference_steps": 3},
    "StableDiffusion3Pipeline": {"num_inference_steps": 3, "negative_prompt": "dark"},
    "FluxPipeline": {"num_inference_steps": 3},
    "SanaPipeline": {"num_inference_steps": 3},
    "IFPipeline": {"num_inference_steps": 3},
    "UnCLIPPipeline": {"num_inference_steps": 3},
}


def found(*modules: str):
    """The first of these modules of the package that this version has."""
    for name in modules:
        try:
            return import_module(f"diffusion_tutorial.{name}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(f"modules is {modules!r}; allowed: one that this version of the package has")


def rules() -> dict[str, tuple[object, dict]]:
    """Name -> (rule, further arguments of `sample`)."""
    g = import_module("diffusion_tutorial.guidance")
    negative = {"negative_prompt": NEGATIVE}
    return {
        "conditional": (g.Conditional(), {}),
        "unconditional": (g.Unconditional(), {}),
        "classifier-free": (g.ClassifierFree(4.0), {}),
        "negative": (g.NegativePrompt(4.0), negative),
        "three branches": (g.ThreeBranch(4.0, 1.5), negative),
        "weighted": (g.WeightedNegative(4.0, 0.5), negative),
        "ramped weight": (g.WeightedNegative(4.0, g.Ramp(0.0, 1.0)), negative),
        "perpendicular": (g.PerpNeg(4.0, 0.7), negative),
        "interval": (g.Interval(g.ClassifierFree(6.0), 0.2, 0.8), {}),
        "ramp": (g.ScheduledScale(g.Ramp(1.0, 7.0)), {}),
        "rescaled": (g.Rescaled(6.0, 0.7), {}),
        "projected": (g.Projected(6.0, 0.2), {}),
        "two negatives": (g.SeveralNegatives(4.0, (1.0, 0.5)), {"negatives": ["shiny", "large"]}),
    }


def still_life() -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """Every sampler with four rules, then every rule, and what else `sample` takes."""
    from diffusion_tutorial import SAMPLERS, load

    model, every = load(), rules()

    def run(**arguments):
        arguments = {"num_inference_steps": 5, "seed": 7, "num_images": 2, **arguments}
        return lambda: model.sample(arguments.pop("prompt", PROMPT), **arguments).latents

    old = ("ddpm", "ddpm-large", "ddim", "euler", "euler-u2", "heun", "dpm++2m", "dpm++3m")
    assert set(old) <= set(SAMPLERS)
    for sampler in old:
        for name in ("conditional", "classifier-free", "negative", "perpendicular"):
            rule, more = every[name]
            yield f"still life, {sampler}, {name}", run(sampler=sampler, guidance=rule, **more)
    for name, (rule, more) in every.items():
        if name not in ("conditional", "classifier-free", "negative", "perpendicular"):
            yield f"still life, ddim, {name}", run(guidance=rule, **more)
    for spacing in ("leading", "linspace", "trailing"):
        for sampler in ("ddim", "heun", "ddpm"):
            yield f"still life, {sampler}, {spacing}", run(sampler=sampler, spacing=spacing)
    for eta in (0.3, 1.0):
        yield f"still life, eta {eta}", run(eta=eta)
    yield "still life, no prompt", run(prompt=None)
    yield "still life, two prompts", run(prompt=[PROMPT, "a small blue cube"], negative_prompt=["", "red"])
    yield "still life, 13 steps", run(num_inference_steps=13, spacing="trailing", sampler="dpm++2m")

    from diffusion_tutorial.still_life.captions import parse
    from diffusion_tutorial.still_life.classifier import NoisyClassifier

    reader, said = NoisyClassifier.load(), parse(PROMPT)
    guide = import_module("diffusion_tutorial.guidance").ClassifierGuidance
    rule = guide(4.0, lambda x_t, t: reader.grad_log_prob(x_t, t, said))
    yield "still life, classifier", run(guidance=rule)


def pipelines() -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """A random pipeline of each class, through our samplers or its own loop."""
    from diffusion_tutorial import TextToImage, checkpoints
    from diffusion_tutorial.checkpoints import random_pipeline

    wrap = getattr(checkpoints, "wrap", None) or TextToImage.from_pipeline  # its name until c790ea8

    for kind, arguments in PIPELINES.items():

        def run(kind=kind, arguments=arguments):
            model = wrap(random_pipeline(3, kind=kind))
            return model.sample("a red sphere", seed=7, num_images=2, **arguments).latents

        yield f"random {kind}", run

    import diffusers

    def predicts_v():
        chain = {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "steps_offset": 1,
        }
        scheduler = diffusers.DDIMScheduler(prediction_type="v_prediction", clip_sample=False, **chain)
        model = wrap(random_pipeline(3, scheduler=scheduler))
        return model.sample("a red sphere", seed=7, num_images=2, num_inference_steps=4).latents

    yield "random StableDiffusionPipeline, v", predicts_v


def planes() -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """Mixtures: every sampler, the board under two rules, guided and tiny denoisers."""
    from diffusion_tutorial import SAMPLERS, GaussianMixture, NoiseSchedule, gaussian, step_noise, trajectory

    mixture = GaussianMixture([1.0, 2.0], [[-1.0, 0.5], [1.0, 0.0]], [0.04, 0.09])
    schedule = NoiseSchedule.linear()
    levels = dict(enumerate(schedule.alphas_cumprod.tolist()))
    for sampler in ("ddpm", "ddpm-large", "ddim", "euler", "euler-u2", "heun", "dpm++2m", "dpm++3m"):

        def run(sampler=sampler):
            noise = step_noise((64, 2), 7) if SAMPLERS[sampler].stochastic else None
            start = gaussian((64, 2), 7).double()
            *_, last = trajectory(
                lambda x, t: mixture.eps(x, levels[t]), start, schedule, 9, sampler, 0.0, noise, "trailing"
            )
            return last.x_s

        yield f"mixture, {sampler}", run

    board = found("mixtures.board", "negated").Board()
    every = rules()
    for name in ("negative", "three branches", "perpendicular", "ramped weight"):
        rule = every[name][0]
        yield f"board, {name}", lambda rule=rule: board.sample(rule, "sphere", "red", 64, 7, 20)

    tiny = found("mixtures.tiny", "tiny2d")

    def learned():
        network = tiny.train(tiny.ring(), [schedule.alphas_cumprod[::50]], steps=20, batch=32)
        return tiny.sample(network, schedule, 5, points=50)

    yield "tiny denoiser", learned


def write(path: Path) -> None:
    torch.set_num_threads(1)
    result = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (planes, still_life, pipelines):
            for name, run in part():
                x = run().detach().cpu().double()
                raw = hashlib.sha256(x.numpy().tobytes()).hexdigest()
                result[name] = {"digest": raw, "shape": list(x.shape), "numbers": x.flatten().tolist()[:2000]}
    path.write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(f"{len(result)} runs in {path}")


def compare(old: Path, new: Path) -> int:
    before, after = (json.loads(p.read_text(encoding="utf-8")) for p in (old, new))
    faults = sorted(set(before) ^ set(after))
    for name in faults:
        print(f"{name}: only in {'the old' if name in before else 'the new'} list")
    for name in sorted(set(before) & set(after)):
        a, b = before[name], after[name]
        if a["digest"] != b["digest"]:
            pairs = list(zip(a["numbers"], b["numbers"]))
            worst = max(abs(x - y) for x, y in pairs) if a["shape"] == b["shape"] else float("inf")
            print(f"{name}: differs, largest difference {worst:.3g}")
            faults.append(name)
    print(f"{len(before)} runs before, {len(after)} after, {len(faults)} differ")
    return 1 if faults else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("write", help="run the list and store digests")
    one.add_argument("file", type=Path)
    two = commands.add_parser("compare", help="hold two files against each other")
    two.add_argument("old", type=Path)
    two.add_argument("new", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "compare":
        return compare(options.old, options.new)
    write(options.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
