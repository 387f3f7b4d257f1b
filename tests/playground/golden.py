"""What the playground's modules must give: values from the Python package, written anew for each test run."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import torch

from diffusion_tutorial import (
    SAMPLERS,
    GaussianMixture,
    NoiseSchedule,
    gaussian,
    guidance,
    load,
    step_noise,
    trajectory,
)
from diffusion_tutorial.guidance import COND, NEG, UNCOND
from diffusion_tutorial.mixtures import Board, tiny
from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.samplers import Moment
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.captions import UnknownWordError, caption, check_words, parse
from diffusion_tutorial.still_life.scenes import ATTRIBUTES

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "playground"))
import export

PROMPT = "a large shiny red sphere on a green floor"
# Final latents of the whole model: sampler, steps, eta, spacing, guidance, prompt, negative, seed, pictures.
RUNS = [
    ("ddim", 20, 0.0, "leading", {"rule": "classifier_free", "scale": 4}, PROMPT, "", 7, 1),
    ("ddim", 6, 0.5, "trailing", {"rule": "classifier_free", "scale": 1}, "a cube", "", 1, 2),
    ("ddpm", 8, 0.0, "leading", {"rule": "negative_prompt", "scale": 3}, "a sphere", "red", 2, 2),
    ("ddpm-large", 5, 0.0, "linspace", {"rule": "classifier_free", "scale": 0}, "a cone", "", 3, 1),
    (
        "dpm++2m",
        7,
        0.0,
        "leading",
        {"rule": "three_branch", "lambdaPos": 4, "lambdaNeg": 2},
        "a torus",
        "blue",
        4,
        3,
    ),
    ("heun", 4, 0.0, "trailing", {"rule": "classifier_free", "scale": 2.5}, "a green cylinder", "", 5, 1),
    (
        "ddim",
        10,
        0.0,
        "leading",
        {"rule": "negative_prompt", "scale": 4, "start": 0.2, "stop": 0.7},
        "a sphere",
        "large",
        6,
        2,
    ),
    (
        "ddim",
        6,
        0.0,
        "leading",
        {
            "rule": "three_branch",
            "lambdaPos": 4,
            "lambdaNeg": 4,
            "start": 0,
            "stop": 0.5,
            "outside": {"rule": "classifier_free", "scale": 4},
        },
        "a sphere",
        "red",
        7,
        2,
    ),
    ("ddim", 8, 0.0, "leading", {"rule": "perp_neg", "scale": 4}, "a sphere", "a red sphere", 8, 3),
    # Heun's second evaluation stands at the next step's moment: here at the interval's edges.
    (
        "heun",
        5,
        0.0,
        "leading",
        {"rule": "classifier_free", "scale": 3, "start": 0.2, "stop": 0.6},
        "a cube",
        "",
        9,
        1,
    ),
]
TEXTS = [
    "a sphere", PROMPT, "an object before a wall", "A  Red   CUBE", "", "A red sphere, on a green floor.", "“Cube”（red）"
]  # fmt: skip
UNKNOWN = ["a shpere", "a red dog", "purpel torus, on teh floor."]
PAIRS = (0, 1)  # classes of the plane's blobs, asked for in guided walks


def rule(data: dict):
    """The Python rule of a request's plain data."""
    kinds = {
        "classifier_free": lambda: guidance.ClassifierFree(data["scale"]),
        "negative_prompt": lambda: guidance.NegativePrompt(data["scale"]),
        "three_branch": lambda: guidance.ThreeBranch(data["lambdaPos"], data["lambdaNeg"]),
        "perp_neg": lambda: guidance.PerpNeg(data["scale"]),
    }
    found = kinds[data["rule"]]()
    if "start" not in data:
        return found
    outside = [rule(data["outside"])] if "outside" in data else []
    return guidance.Interval(found, data["start"], data["stop"], *outside)


def samplers() -> dict:
    """The table of methods: each needs its twin in the page's program."""
    return {
        name: {"title": s.title, "stochastic": s.stochastic, "previous": s.previous}
        for name, s in SAMPLERS.items()
    }


def plane() -> list[dict]:
    """Guided walks on the six blobs, a pair of them asked for, in float64, with the first settings of the preset."""
    ring, schedule, found = tiny.ring(), NoiseSchedule.linear(), []
    data = GaussianMixture(ring.weights, ring.means, ring.covs, labels=[0, 0, 1, 1, 2, 2])
    for sampler, scale, pair in itertools.product(SAMPLERS, (0.0, 1.0, 2.5, 8.0), PAIRS):
        asked = data.conditional(pair)

        def denoiser(x, t, asked=asked, scale=scale):
            level = schedule.alpha_bar(t)
            return guidance.classifier_free(data.eps(x, level), asked.eps(x, level), scale)

        noise = step_noise((5, 2), 3)
        x = gaussian((5, 2), 3).double()
        run = trajectory(
            denoiser, x, schedule, 12, sampler, 0.0, lambda k, noise=noise: noise(k).double(), "trailing"
        )
        *_, last = run
        evaluations = last.nfe * len(guidance.ClassifierFree(scale).branches)
        case = {"sampler": sampler, "scale": scale, "pair": pair, "nfe": evaluations}
        found.append(case | {"x": last.x_s.flatten().tolist()})
    return found


def boards() -> list[dict]:
    """Where five points of the board of eight blobs end, under the rules of the stage, in float64."""
    board, found = Board(), []
    rules = {
        "negative_prompt": guidance.NegativePrompt,
        "three_branch": lambda scale: guidance.ThreeBranch(scale, scale),
        "perp_neg": guidance.PerpNeg,
    }
    for (name, make), scale, text in itertools.product(
        rules.items(), (1.0, 1.5, 4.0), ("red", "red sphere", "cube")
    ):
        if (name, scale) == ("perp_neg", 4.0):
            continue  # it divides by the prompt's push, of which rounding alone is left near the end: no two programs agree
        points = board.sample(make(scale), "sphere", text, 5, 3, 20)
        found.append({"rule": name, "scale": scale, "negative": text, "x": points.flatten().tolist()})
    return found


def walks() -> list[dict]:
    """Samplers on the six blobs, in float64."""
    ring, schedule, found = tiny.ring(), NoiseSchedule.linear(), []
    for sampler, steps, spacing in itertools.product(
        SAMPLERS, (1, 5, 12), ("leading", "linspace", "trailing")
    ):
        for eta in (0.0, 0.6, 1.0) if sampler == "ddim" else (0.0,):
            x = gaussian((4, 2), 11).double()
            run = trajectory(
                ring.denoiser(schedule),
                x,
                schedule,
                steps,
                sampler,
                eta,
                lambda k: step_noise((4, 2), 11)(k).double(),
                spacing,
            )
            *_, last = run
            found.append(
                {
                    "sampler": sampler,
                    "steps": steps,
                    "spacing": spacing,
                    "eta": eta,
                    "x": last.x_s.flatten().tolist(),
                    "nfe": last.nfe,
                }
            )
    return found


def flow_walks() -> list[dict]:
    """Samplers on the six blobs at a flow's levels, in float64."""
    ring, schedule = tiny.ring(), FlowSchedule(2.0)
    x, noise, found = gaussian((4, 2), 11).double(), step_noise((4, 2), 11), []
    for sampler in SAMPLERS:
        if sampler == "euler-u2":  # its first step is out of all bounds there
            continue
        run = trajectory(
            ring.denoiser(schedule), x, schedule, 5, sampler, 0.0, lambda k: noise(k).double(), "trailing"
        )
        *_, last = run
        found.append({"sampler": sampler, "x": last.x_s.flatten().tolist(), "nfe": last.nfe})
    return found


def schedules() -> list[dict]:
    """Levels as the page gets them, and the steps that samplers make of them."""
    classic = NoiseSchedule.scaled_linear(set_alpha_to_one=False, steps_offset=1)
    made = [classic, *(FlowSchedule(shift, spacing="leading") for shift in (1.0, 0.5, 3.0))]
    return [{"levels": export.levels(schedule), "cases": _cases(schedule)} for schedule in made]


def _cases(schedule: NoiseSchedule | FlowSchedule) -> list[dict]:
    return [
        {
            "steps": n,
            "spacing": spacing,
            "previous": previous,
            "transitions": [list(t) for t in schedule.transitions(n, spacing, None, previous)],
        }
        for n, spacing, previous in itertools.product(
            (1, 2, 3, 7, 20, 61, 999, 1000), ("leading", "linspace", "trailing"), ("stride", "grid")
        )
    ]


def predictions() -> list[dict]:
    """What a perfect network of each kind would answer, what it is shown, and the noise that this stands for."""
    x0, eps, found = gaussian((3, 4), 1).double(), gaussian((3, 4), 2).double(), []
    for (name, kind), level in itertools.product(PREDICTIONS.items(), (0.9991, 0.7, 0.5, 0.02, 0.0047)):
        x_t = level**0.5 * x0 + (1 - level) ** 0.5 * eps
        values = {
            "x": x_t,
            "shown": kind.network_input(x_t, level),
            "answer": kind.target(x0, eps, level),
            "eps": eps,
        }
        found.append({"name": name, "level": level} | {k: v.flatten().tolist() for k, v in values.items()})
    return found


def rules() -> list[dict]:
    predictions = {b: gaussian((2, 5), k).double() for k, b in enumerate((UNCOND, COND, NEG))}
    found = []
    for data in [run[4] for run in RUNS]:
        for step in (0, 2, 9):
            made, moment = rule(data), Moment(step, 10, 500, 0.5)
            needs = made.needs(moment)
            eps = made({b: predictions[b] for b in needs}, moment)
            found.append({"rule": data, "step": step, "needs": sorted(needs), "eps": eps.flatten().tolist()})
    return [{"predictions": {b: p.flatten().tolist() for b, p in predictions.items()}, "cases": found}]


def words() -> dict:
    tokenizer = load().adapter.tokenizer
    ids = {
        text: tokenizer(check_words(text), padding="max_length", max_length=20, truncation=True).input_ids
        for text in TEXTS
    }
    messages = {}
    for text in UNKNOWN:
        try:
            check_words(text)
        except UnknownWordError as error:
            messages[text] = str(error)
    said = [
        {"shape": "cube"},
        {"colour": "orange", "shape": "cone"},
        {"size": "large", "floor": "gray", "wall": "blue"},
    ]
    return {
        "ids": ids,
        "unknown": messages,
        "captions": [{"said": s, "text": caption(s)} for s in said],
        "parsed": [
            {"text": t, "said": parse(t)}
            for t in (PROMPT, "an object on a red floor", "Matte torus; blue wall!")
        ],
        "attributes": {name: list(values) for name, values in ATTRIBUTES.items()},
    }


def pictures() -> list[dict]:
    model = load()
    return [picture(model, *run) for run in RUNS]


def picture(model, sampler, steps, eta, spacing, data, prompt, negative, seed, count) -> dict:
    """A run of a model: the page's request, and what Python makes of the same."""
    drawn = model.sample(
        prompt,
        negative if "neg" in rule(data).branches else None,
        num_inference_steps=steps,
        sampler=sampler,
        eta=eta,
        spacing=spacing,
        seed=seed,
        num_images=count,
        guidance=rule(data),
    )
    request = {
        "prompt": prompt,
        "negativePrompt": negative,
        "numInferenceSteps": steps,
        "sampler": sampler,
        "eta": eta,
        "spacing": spacing,
        "seed": seed,
        "numImages": count,
        "guidance": data,
    }
    return found(model.name, request, drawn)


def found(name: str, request: dict, drawn) -> dict:
    """What Python drew, beside the request for the same on the page; the classic is what a request asks by default."""
    return {
        "request": request | ({} if name == export.CLASSIC else {"model": name}),
        "latents": drawn.latents.flatten().tolist(),
        "first_x0": drawn.trajectory[0].x0.flatten().tolist(),
        "timesteps": drawn.timesteps.tolist(),
        "nfe": drawn.nfe,
        "pictures": (drawn.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).flatten().tolist(),
    }
