"""The pictures and numbers of the pages' stages: `python scripts/stages.py [--check] [stage ...]`.

A stage shows beforehand what its control would draw. This samples these pictures from the shipped weights, with seeds that
are named, puts those of one set into one WebP file (a sheet of cells), and writes them to book/images/stages, with
stages.json beside them: where each picture lies in its sheet, and the stored measurements that the curve and the
sentences show. No word for a reader is in it; those are in book/stages.yml. book/_ext/stage.py makes the page of both.

--check samples anew and compares with the files, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import log10
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion_tutorial import gaussian, load, step_noise
from diffusion_tutorial.experiments import negative_prompts as measured_negatives
from diffusion_tutorial.experiments import start as measured_starts
from diffusion_tutorial.guidance import ClassifierFree, NegativePrompt, PerpNeg, ThreeBranch
from diffusion_tutorial.mixtures import NAMES, Board, even_log_snr, exact_flow, order, solve, tiny
from diffusion_tutorial.results import read
from diffusion_tutorial.still_life.captions import parse
from diffusion_tutorial.still_life.scenes import ATTRIBUTES

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "book" / "images" / "stages"
PAD = 2  # pixels around each picture, its own edge again: a browser that scales a sheet mixes neighbours
NEAR = 0.05  # root mean square between a cell and its picture that WebP may cost, of 1


@dataclass(frozen=True)
class Set:
    """The pictures of one sheet: what was drawn, by view and stop, and with which settings of the playground."""

    name: str  # in the address, and of the file
    # (model, places of stops) -> views of these stops, of (3, 64, 64) in [0, 1]
    draw: Callable[[object, Sequence[int]], list[list[Tensor]]] | None = None
    live: dict = field(default_factory=dict)
    rows: list[dict] = field(
        default_factory=list
    )  # a stop each: the numbers of its sentence, as they are written
    curve: list[list[float | None]] = field(default_factory=list)  # series of values, one a stop
    extra: dict = field(default_factory=dict)  # what the figure in the plane needs to know of it


@dataclass(frozen=True)
class Stage:
    """What a stage shows. stops: values of its control, as written; first: the one it begins with."""

    key: str  # name of the control in the address
    stops: list[str]
    first: int
    sets: list[Set]
    preset: str | None  # the playground that goes on live, if one does
    live: list[dict]  # a stop each: settings of the playground
    views: int = 0  # pictures beside each other
    side: int = 96  # pixels of a cell
    quality: int = 60  # WebP's
    columns: int = 7
    set_key: str = "set"
    ticks: list[tuple[float, str]] = field(default_factory=list)
    top: float = 1.0  # of the curve's axis
    # stops that a reader may guess; None for a guess that is no stop and has a label
    guesses: list[int | None] = field(default_factory=list)
    facts: dict = field(default_factory=dict)  # numbers of the answer and of the caption, as they are written
    sentence: dict | None = None  # attribute -> the words it may have and the one that it has
    above: bool = False  # on the first screen of its page, so that its pictures are not lazy
    # a figure that the page draws: kind (playground/src/plane-KIND.mjs), size, half (half its width, in units of the
    # plane), side of the stage, and what its module needs
    plane: dict | None = None
    code: str = ""  # a cell with the settings {of live} in their places


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


SAMPLED = "num_inference_steps={steps}, guidance_scale={scale}, seed={seed}"


def cell_of(*arguments: str) -> str:
    """A notebook's cell that draws with these arguments of `sample`, a line each."""
    lines = "".join(f"    {text},\n" for text in arguments)
    return (
        f'from diffusion_tutorial import load, plots\n\nrun = load("still-life").sample(\n{lines})\n'
        "plots.show_grid(run.images)"
    )


# --- the first page: from noise to a picture ------------------------------------------------------------------------

SENTENCE, SEED, STEPS, SCALE = (
    "a large shiny red sphere on a green floor in front of a white wall",
    7,
    20,
    4.0,
)


def noise_to_picture(model, places: Sequence[int]) -> list[list[Tensor]]:
    """What a run holds before each step and after the last, and what it expects; in the end that is the picture."""
    run = model.sample(SENTENCE, num_inference_steps=STEPS, guidance_scale=SCALE, seed=SEED).trajectory
    last = run[-1].x_s
    holds = torch.cat([*(step.x_t for step in run), last])
    expects = torch.cat([*(step.x0 for step in run), last])
    return [list(model.decode(states[list(places)])) for states in (holds, expects)]


def first() -> Stage:
    told = read("stages")["measured"]["first"]
    holds = [state["shape"]["value"] for state in told["holds"]]
    expects = [*(step["shape"]["value"] for step in told["expects"]), 1.0]
    rows = [
        {"stop": str(k), "holds": percent(a), "expects": percent(b)}
        for k, (a, b) in enumerate(zip(holds, expects))
    ]
    half = next(k for k, share in enumerate(holds) if share >= 0.5)
    nearly = next(k for k, share in enumerate(holds) if share >= 0.95)
    facts = {
        "n": str(told["holds"][0]["shape"]["n"]),
        "half": str(half),
        "nearly": str(nearly),
        "start": percent(expects[0]),
        "early": str(next(k for k, share in enumerate(expects) if share >= 0.95)),
        "sentence": SENTENCE,
        "seed": str(SEED),
    }
    said = parse(SENTENCE)
    sentence = {
        name: {"words": list(values), "chosen": said.get(name)} for name, values in ATTRIBUTES.items()
    }
    chosen = Set(f"seed-{SEED}", noise_to_picture, {}, rows, [holds, expects])
    return Stage(
        "step",
        [str(k) for k in range(STEPS + 1)],
        0,
        [chosen],
        "intro",
        [{"prompt": SENTENCE, "seed": SEED, "steps": STEPS, "scale": SCALE}] * (STEPS + 1),
        views=2,
        quality=55,
        code=cell_of('"{prompt}"', SAMPLED),
        ticks=[(0, "0"), (0.5, "50%"), (1, "100%")],
        guesses=[2, 6, 10, 14],
        facts=facts,
        sentence=sentence,
        above=True,
    )


# --- few steps: two samplers from the same noise --------------------------------------------------------------------

OPEN = "a sphere"  # leaves five attributes to the sampler, and is not guided
COUNTS = (1, 2, 3, 5, 10, 25, 50, 100, 250, 1000)
STARTS = (0, 1, 2)
BESIDE = ("ddim", "ddpm")


@cache
def of_all_starts(model, sampler: str, steps: int) -> Tensor:
    """(starts, 3, 64, 64): each picture has the noises of image 0 of its own seed, as in the playground."""
    shape = (1, *model.latent_shape)
    return model.sample(
        [OPEN] * len(STARTS),
        num_inference_steps=steps,
        guidance_scale=1.0,
        sampler=sampler,
        latents=torch.cat([gaussian(shape, seed) for seed in STARTS]),
        noise=noise_of_each(shape, STARTS),
        keep_trajectory=False,
    ).images


def side_by_side(start: int) -> Callable:
    """The drawing of a start: DDIM, then DDPM, by number of steps."""

    def draw(model, places: Sequence[int]) -> list[list[Tensor]]:
        return [[of_all_starts(model, name, COUNTS[k])[start] for k in places] for name in BESIDE]

    return draw


def few_steps() -> Stage:
    kept = {name: read("few_steps")["measured"][f"keeps, {name}"] for name in BESIDE}
    shares, same = {}, {}
    for name, found in kept.items():
        far = found["strangers"]["distance"]["value"]
        measured = {int(n): v for n, v in found["by_steps"].items()}
        shares[name] = [measured[n]["distance"]["value"] / far if n in measured else None for n in COUNTS]
        same[name] = {n: v["same"]["value"] for n, v in measured.items()}
    rows = [
        {"stop": str(n), "ddim": percent(shares["ddim"][k]), "ddpm": percent(shares["ddpm"][k])}
        if shares["ddim"][k] is not None
        else {"stop": str(n), "plain": True}
        for k, n in enumerate(COUNTS)
    ]
    facts = {
        "n": str(kept["ddim"]["by_steps"]["5"]["distance"]["n"]),
        "many": str(kept["ddim"]["many"]),
        **{f"{name}{n}": percent(share) for name, values in same.items() for n, share in values.items()},
        "strangers": percent(kept["ddim"]["strangers"]["same"]["value"]),
    }
    live = {"prompt": OPEN, "scale": 1, "sampler": BESIDE[0], "other": BESIDE[1]}
    return Stage(
        "steps",
        [str(n) for n in COUNTS],
        1,
        [
            Set(str(seed), side_by_side(k), {"seed": seed}, rows, [shares[name] for name in BESIDE])
            for k, seed in enumerate(STARTS)
        ],
        "few-steps",
        [live | {"steps": n} for n in COUNTS],
        views=2,
        columns=5,
        set_key="seed",
        code=cell_of('"{prompt}"', SAMPLED, 'sampler="{sampler}"'),
        ticks=[(0, "0"), (0.5, "50%"), (1, "100%")],
        guesses=[COUNTS.index(n) for n in (5, 10, 25, 100)],
        facts=facts,
    )


# --- guidance: one scale, one picture -------------------------------------------------------------------------------

WISH = "a red sphere"
WISHED_SCALES = (0, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 32)
WISHED_STARTS = (5, 0, 1)  # the preset's own seed first


def guided(seed: int) -> Callable:
    """The drawing of a start: one view, by guidance scale."""

    def draw(model, places: Sequence[int]) -> list[list[Tensor]]:
        runs = [
            model.sample(
                WISH,
                num_inference_steps=STEPS,
                guidance=ClassifierFree(float(WISHED_SCALES[k])),
                seed=seed,
                keep_trajectory=False,
            )
            for k in places
        ]
        return [[run.images[0] for run in runs]]

    return draw


def guidance() -> Stage:
    """The curves are those of captions "a COLOUR SHAPE": all right, and how varied what they leave open is."""
    measured, further = read("guidance")["measured"], read("stages")["measured"]
    found = {s: measured.get(f"cfg {s:g}") or further[f"guidance, cfg {s:g}"] for s in WISHED_SCALES}
    right = [r["all_right"]["value"] for r in found.values()]
    varied = [(r["entropy"]["size"]["value"] + r["entropy"]["material"]["value"]) / 2 for r in found.values()]
    rows = [
        {"stop": f"{s:g}", "right": percent(a), "varied": f"{b:.2f}"}
        for s, a, b in zip(WISHED_SCALES, right, varied)
    ]
    facts = {"n": str(found[1]["all_right"]["n"])}
    for s, a, b in zip(WISHED_SCALES, right, varied):
        name = f"{s:g}".replace(".", "_")
        far = f"{found[s]['frechet']['value']:.0f}"
        facts |= {f"right{name}": percent(a), f"varied{name}": f"{b:.2f}", f"far{name}": far}
    first = WISHED_SCALES.index(1)
    return Stage(
        "scale",
        [f"{s:g}" for s in WISHED_SCALES],
        first,
        [Set(str(seed), guided(seed), {"seed": seed}, rows, [right, varied]) for seed in WISHED_STARTS],
        "guidance",
        [{"prompt": WISH, "steps": STEPS, "largest": s} for s in WISHED_SCALES],
        views=1,
        side=160,
        columns=4,
        set_key="seed",
        code=cell_of('"{prompt}"', SAMPLED.replace("scale={scale}", "scale={largest}")),
        ticks=[(0, "0"), (0.5, "0.5"), (1, "1")],
        guesses=[WISHED_SCALES.index(s) for s in (1, 2, 8, 32)],
        facts=facts,
        plane={
            "kind": "guidance",
            "side": "right",
            "size": [8, 5],
            "half": 3.4,
            "pad": True,
            "begins": {"x": -0.2, "y": 0.7},
            "reach": {"x": 3, "y": 2},
            "grain": 0.05,
        },
    )


# --- negative prompts: a vector on the board, three rules ---------------------------------------------------------------

THING = "a sphere"
# What is not wanted: as the model is told, and as the board of eight blobs is.
UNWANTED = {"red": "red", "a-red-sphere": "red sphere", "a-cube": "cube"}
PUSHES = (1, 1.1, 1.25, 1.5, 2, 3, 4, 7.5)
FOUR, BOARD_SEED, BOARD_POINTS = 4, 3, 2000
RULES = (
    NegativePrompt,
    lambda scale: ThreeBranch(scale, scale),
    PerpNeg,
)  # as playground/src/board.mjs has them


def mosaic(images: Tensor) -> Tensor:
    """(4, 3, h, w) -> (3, 2h, 2w), row by row."""
    top, bottom = (torch.cat(list(images[k : k + 2]), dim=2) for k in (0, 2))
    return torch.cat([top, bottom], dim=1)


def against(negative: str) -> Callable:
    """The drawing of a negative: a view a rule, four starts a picture, by guidance scale."""

    def draw(model, places: Sequence[int]) -> list[list[Tensor]]:
        def run(rule) -> Tensor:
            return model.sample(
                THING,
                negative_prompt=negative,
                num_inference_steps=STEPS,
                guidance=rule,
                seed=SEED,
                num_images=FOUR,
                keep_trajectory=False,
            ).images

        return [[mosaic(run(make(float(PUSHES[k])))) for k in places] for make in RULES]

    return draw


def landed(board: Board, negative: str) -> list[list[float]]:
    """By rule and scale, the share of points that end on a blob that is a sphere and is not what the negative names."""
    unwanted = board.named(negative)
    asked = [NAMES[k] for k in board.named("sphere") if k not in unwanted]

    def share(rule) -> float:
        read = board.read(board.sample(rule, "sphere", negative, BOARD_POINTS, BOARD_SEED, STEPS))
        return sum(read[name] for name in asked)

    return [[share(make(float(scale))) for scale in PUSHES] for make in RULES]


def negative_prompts() -> Stage:
    """The curves are the board's, the numbers of the answer those of 500 pictures a setting."""
    board, found = Board(), measured_negatives.Results.stored()
    sets = []
    for name, text in UNWANTED.items():
        shares = landed(board, text)
        rows = [
            {"stop": f"{s:g}", "used": percent(a), "guess": percent(b), "perp": percent(c)}
            for s, a, b, c in zip(PUSHES, *shares)
        ]
        negative = name.replace("-", " ")
        sets.append(Set(name, against(negative), {"negative": negative}, rows, shares, {"board": text}))
    none, used, guessed = (
        measured_negatives.none(4.0),
        measured_negatives.used(4.0, "red"),
        measured_negatives.guessed(4.0, "red"),
    )
    red_sphere = measured_negatives.RED_SPHERE
    ball = {
        "used": measured_negatives.used(4.0, red_sphere),
        "guessed": measured_negatives.guessed(4.0, red_sphere),
        "perp": measured_negatives.PERPENDICULAR[1],
    }
    facts = {
        "n": str(measured_negatives.N),
        "points": f"{BOARD_POINTS:,}",
        "red": percent(found.rate(none, "red").value),
        "red_used": percent(found.rate(used, "red").value),
        "red_guessed": percent(found.rate(guessed, "red").value),
        "cyan": percent(found.rate(none, "cyan").value),
        "cyan_used": percent(found.rate(used, "cyan").value),
        **{f"ball_{k}": percent(found.rate(s, "sphere", "shape").value) for k, s in ball.items()},
    }
    live = {"prompt": THING, "seed": SEED, "steps": STEPS, "formula": "both"}
    return Stage(
        "scale",
        [f"{s:g}" for s in PUSHES],
        0,
        sets,
        "negative-prompts",
        [live | {"scale": s, "weight": s} for s in PUSHES],
        views=3,
        side=128,
        columns=6,
        quality=50,
        set_key="negative",
        ticks=[(0, "0"), (0.5, "50%"), (1, "100%")],
        guesses=[None] * 3,
        facts=facts,
        plane={
            "kind": "negative",
            "side": "left",
            "size": [64, 26],
            "half": 6.4,
            "positive": "sphere",
            "pad": True,
            "reach": {"x": 4, "y": 2},
            "grain": 0.05,
        },
        code=cell_of('"{prompt}"', 'negative_prompt="{negative}"', SAMPLED, "num_images=4"),
    )


# --- solvers: the path in the plane, and how its end's error falls ----------------------------------------------------

LEVELS = (0.01, 0.9)  # alpha_bar, from and to, as in the chapter
SOLVERS = ("ddim", "heun", "dpm++2m")
SOLVED = (1, 2, 4, 8, 16, 32, 64)
FITTED = (16, 32, 64)  # steps to which the slopes are fitted, as in the chapter
N_STARTS, DRAWN = 64, 9
DECADES = (-4, 0)  # of the error's axis


def on_log_axis(value: float, decades: tuple[int, int]) -> float:
    """Where a value lies between the first decade (0) and the last (1)."""
    low, high = decades
    return (log10(value) - low) / (high - low)


def solvers() -> Stage:
    """Errors against the exact flow on the six blobs, the chapter's protocol: mean over 64 starts."""
    blobs = tiny.ring()
    starts = blobs.sample(N_STARTS, seed=1, alpha_bar=LEVELS[0])
    exact = exact_flow(blobs, starts, *LEVELS)
    errors = {
        name: torch.stack(
            [(solve(blobs, starts, even_log_snr(*LEVELS, n), name) - exact).norm(dim=1) for n in SOLVED]
        )
        for name in SOLVERS
    }
    fitted = [SOLVED.index(n) for n in FITTED]
    slopes = {name: order(FITTED, off[fitted]).value for name, off in errors.items()}
    mean = {name: off.mean(1).tolist() for name, off in errors.items()}
    curve = [[on_log_axis(v, DECADES) for v in mean[name]] for name in SOLVERS]
    rows = [
        {"stop": str(n), **{short(name): f"{mean[name][k]:.2g}" for name in SOLVERS}}
        for k, n in enumerate(SOLVED)
    ]
    facts = {
        "n": str(N_STARTS),
        **{f"order_{short(name)}": f"{p:.1f}" for name, p in slopes.items()},
        **{f"{short(name)}{n}": f"{mean[name][SOLVED.index(n)]:.2g}" for name in SOLVERS for n in (4, 8, 16)},
    }
    return Stage(
        "steps",
        [str(n) for n in SOLVED],
        SOLVED.index(4),
        [Set(short(name), None, {"sampler": name}, rows, curve, {"sampler": name}) for name in SOLVERS],
        None,
        [{} for _ in SOLVED],
        set_key="sampler",
        ticks=[(on_log_axis(10.0**k, DECADES), t) for k, t in ((-4, "10⁻⁴"), (-2, "10⁻²"), (0, "1"))],
        guesses=[None] * 4,
        facts=facts,
        plane={
            "kind": "solvers",
            "side": "left",
            "size": [1, 1],
            "half": 1.85,
            "from": LEVELS[0],
            "to": LEVELS[1],
            "starts": [round(v, 5) for v in starts[:DRAWN].flatten().tolist()],
        },
    )


def short(sampler: str) -> str:
    """A sampler's name as a word: "dpm++2m" is 2m."""
    return sampler.replace("dpm++", "")


# --- schedules: where sampling starts, and the white walls -------------------------------------------------------------

OBJECT, NINE, WALL_SEED = "a red object", 9, 0
# name in the address -> (start, eta, spacing) of a stored walk
BEGINNINGS = {
    "leading": ("noise", 0.0, "leading"),
    "trailing": ("noise", 0.0, "trailing"),
    "leading-eta": ("noise", 1.0, "leading"),
    "trailing-eta": ("noise", 1.0, "trailing"),
    "trace": ("gaussian", 0.0, "leading"),
    "own": ("marginal", 0.0, "leading"),
}


def grid_of(images: Tensor) -> Tensor:
    """(9, 3, h, w) -> (3, 3h, 3w), row by row."""
    return torch.cat([torch.cat(list(images[k : k + 3]), dim=2) for k in (0, 3, 6)], dim=1)


@cache
def fitted_start(model) -> measured_starts.Gaussian:
    latents, _ = measured_starts.all_latents(model, measured_starts.N_FIT)
    return measured_starts.Gaussian(latents)


def begun(model, places: Sequence[int]) -> list[list[Tensor]]:
    """One view: nine starts of "a red object", unguided, by where sampling starts."""
    shape = (NINE, *model.latent_shape)

    def picture(kind: str, eta: float, spacing: str) -> Tensor:
        level = model.schedule.transitions(STEPS, spacing)[0].alpha_bar_t
        gaussian_start = fitted_start(model) if kind == "gaussian" else None
        latents = None
        if kind == "marginal":
            latents = measured_starts.all_latents(model, NINE, parse(OBJECT), measured_starts.SEED + 2)[0]
        x = measured_starts.starts(kind, gaussian(shape, WALL_SEED), level, gaussian_start, latents)
        drawn = model.sample(
            [OBJECT] * NINE,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            sampler="ddim",
            eta=eta,
            spacing=spacing,
            latents=x,
            noise=step_noise(shape, WALL_SEED),
            keep_trajectory=False,
        )
        return grid_of(drawn.images)

    ways = list(BEGINNINGS.values())
    return [[picture(*ways[k]) for k in places]]


def schedules() -> Stage:
    found = [measured_starts.stored(OBJECT, kind, eta, spacing) for kind, eta, spacing in BEGINNINGS.values()]
    white = [walk["shares"]["wall"][ATTRIBUTES["wall"].index("white")] for walk in found]
    green = [walk["shares"]["wall"][ATTRIBUTES["wall"].index("green")] for walk in found]
    rows = [
        {"stop": name, "white": f"{100 * w:.1f}%", "green": percent(g), "n": f"{walk['n']:,}"}
        for name, w, g, walk in zip(BEGINNINGS, white, green, found)
    ]
    facts = {f"white_{n.replace('-', '_')}": f"{100 * w:.1f}%" for n, w in zip(BEGINNINGS, white)}
    return Stage(
        "start",
        list(BEGINNINGS),
        0,
        [Set("nine", begun, {}, rows, [white, green])],
        "still-life",
        [
            {"prompt": OBJECT, "scale": 1, "steps": STEPS, "seed": WALL_SEED, "eta": eta, "spacing": spacing}
            for _, eta, spacing in BEGINNINGS.values()
        ],
        views=1,
        side=192,
        columns=3,
        quality=50,
        ticks=[(0, "0"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%")],
        top=0.75,
        guesses=[None] * 4,
        facts=facts,
        plane={
            "kind": "levels",
            "side": "right",
            "size": [5, 2],
            "half": 1.0,
            "steps": STEPS,
            "spacings": [spacing for _, _, spacing in BEGINNINGS.values()],
        },
        code=cell_of(
            '"{prompt}"',
            SAMPLED,
            'eta={eta}, spacing="{spacing}", num_images=9',
        ),
    )


# --- flows: three models at a number of evaluations --------------------------------------------------------------------

FAMILY = ("still-life", "still-life-flow", "still-life-fast")
FLOW_PROMPT, FLOW_SCALE, FLOW_STARTS = "a large shiny red sphere on a green floor", 1.5, (0, 1, 2)
EVALUATIONS = (1, 2, 4, 8, 16, 20)
TAUGHT = 4  # evaluations at most that the student was taught
FAR = (0, 3)  # decades of the axis


@cache
def by_evaluations(name: str, evaluations: int) -> Tensor:
    """(starts, 3, 64, 64). Guidance asks the teachers twice a step, so one evaluation is a step without it."""
    model = load(name)
    steps = min(evaluations, TAUGHT) if name == FAMILY[-1] else max(evaluations // 2, 1)
    scale = 1.0 if evaluations == 1 and name != FAMILY[-1] else FLOW_SCALE
    shape = (1, *model.latent_shape)
    return model.sample(
        [FLOW_PROMPT] * len(FLOW_STARTS),
        num_inference_steps=steps,
        guidance_scale=scale,
        latents=torch.cat([gaussian(shape, seed) for seed in FLOW_STARTS]),
        noise=noise_of_each(shape, FLOW_STARTS),
        keep_trajectory=False,
    ).images


def noise_of_each(shape: tuple, seeds: Sequence[int]) -> Callable:
    """The noise of a step, each picture with that of image 0 of its own seed."""
    noises = [step_noise(shape, seed) for seed in seeds]
    return lambda step: torch.cat([noise(step) for noise in noises])


def family(start: int) -> Callable:
    def draw(model, places: Sequence[int]) -> list[list[Tensor]]:
        return [[by_evaluations(name, EVALUATIONS[k])[start] for k in places] for name in FAMILY]

    return draw


def in_digits(distance: float) -> str:
    return f"{distance:.1f}" if distance < 20 else f"{distance:.0f}"


def flows() -> Stage:
    """The curve is the Fréchet distance's excess over reconstructions, of 2000 pictures a point."""
    measured = read("still_life_fast")["measured"] | read("still_life_teachers")["measured"]
    found = {
        name: {
            point["evaluations"]: point["excess"]["value"]
            for key, point in measured.items()
            if key.startswith(f"curve, {name}, ")
        }
        for name in FAMILY
    }
    n = {point["n"] for key, point in measured.items() if key.startswith("curve, ")}
    curve = [
        [on_log_axis(found[name][e], FAR) if e in found[name] else None for e in EVALUATIONS]
        for name in FAMILY
    ]
    said = {"classic": found[FAMILY[0]], "flow": found[FAMILY[1]], "student": found[FAMILY[2]]}
    rows = [
        {"stop": str(e), **{name: in_digits(values[e]) if e in values else "–" for name, values in said.items()}}
        for e in EVALUATIONS
    ]
    facts = {
        "n": f"{n.pop():,}",
        "scale": f"{FLOW_SCALE:g}",
        **{f"{name}{e}": in_digits(v) for name, values in said.items() for e, v in values.items()},
    }
    return Stage(
        "evaluations",
        [str(e) for e in EVALUATIONS],
        0,
        [Set(str(seed), family(k), {"seed": seed}, rows, curve) for k, seed in enumerate(FLOW_STARTS)],
        "flows",
        [{"prompt": FLOW_PROMPT, "guide": FLOW_SCALE} for _ in EVALUATIONS],
        views=3,
        columns=6,
        set_key="seed",
        ticks=[(on_log_axis(10.0**k, FAR), str(10**k)) for k in (0, 1, 2, 3)],
        guesses=[EVALUATIONS.index(e) for e in (2, 4, 8, 16)],
        facts=facts,
    )


STAGES: dict[str, Callable[[], Stage]] = {
    "first": first,
    "few-steps": few_steps,
    "guidance": guidance,
    "negative-prompts": negative_prompts,
    "solvers": solvers,
    "schedules": schedules,
    "flows": flows,
}

# --- sheets ---------------------------------------------------------------------------------------------------------


def cell(picture: Tensor, side: int) -> np.ndarray:
    """(3, 64, 64) in [0, 1] -> (side + 2 PAD, side + 2 PAD, 3) bytes."""
    pixels = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    scaled = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))
    return np.pad(scaled, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")


def sheet(pictures: list[list[Tensor]], stage: Stage) -> Image.Image:
    """All views of all stops, view after view, row by row."""
    cells = [cell(picture, stage.side) for view in pictures for picture in view]
    size = stage.side + 2 * PAD
    rows = -(-len(cells) // stage.columns)
    whole = np.zeros((rows * size, stage.columns * size, 3), np.uint8)
    for k, pixels in enumerate(cells):
        y, x = divmod(k, stage.columns)
        whole[y * size : (y + 1) * size, x * size : (x + 1) * size] = pixels
    return Image.fromarray(whole)


def cells_of(path: Path, stage: Stage, views: int) -> list[list[np.ndarray]]:
    """The pictures of a stored sheet without their edges: views of stops of (side, side, 3) in [0, 1]."""
    whole = np.asarray(Image.open(path).convert("RGB"), dtype=float) / 255
    size = stage.side + 2 * PAD
    found = []
    for k in range(views * len(stage.stops)):
        y, x = divmod(k, stage.columns)
        found.append(whole[y * size + PAD : (y + 1) * size - PAD, x * size + PAD : (x + 1) * size - PAD])
    return [found[v * len(stage.stops) : (v + 1) * len(stage.stops)] for v in range(views)]


def file_of(name: str, chosen: Set) -> Path:
    return OUT / f"{name}-{chosen.name}.webp"


def entry(name: str, stage: Stage) -> dict:
    """A stage's part of stages.json."""
    size = stage.side + 2 * PAD
    cells = stage.views * len(stage.stops)
    return {
        "key": stage.key,
        "setKey": stage.set_key,
        "stops": stage.stops,
        "first": stage.first,
        "views": stage.views,
        "sheet": {
            "columns": stage.columns,
            "side": stage.side,
            "pad": PAD,
            "width": stage.columns * size,
            "height": -(-cells // stage.columns) * size,
        },
        "sets": [
            {
                "name": s.name,
                "file": file_of(name, s).name if s.draw else None,
                "live": s.live,
                "rows": s.rows,
                "curve": [[v if v is None else round(v, 5) for v in values] for values in s.curve],
                **s.extra,
            }
            for s in stage.sets
        ],
        "preset": stage.preset,
        "live": stage.live,
        "ticks": stage.ticks,
        "top": stage.top,
        "guesses": stage.guesses,
        "facts": stage.facts,
        "sentence": stage.sentence,
        "above": stage.above,
        "plane": stage.plane,
        "code": stage.code,
    }


def stored() -> dict:
    path = OUT / "stages.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def distance(path: Path, pictures: list[list[Tensor]], stage: Stage, places: Sequence[int]) -> float:
    """The largest root mean square between a stored cell and its picture drawn anew, over some places of stops."""
    shown = cells_of(path, stage, len(pictures))
    worst = 0.0
    for view, drawn in zip(shown, pictures):
        for one, picture in zip((view[k] for k in places), drawn, strict=True):
            new = cell(picture, stage.side)[PAD:-PAD, PAD:-PAD] / 255
            worst = max(worst, float(np.sqrt(((one - new) ** 2).mean())))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="stages to draw anew; all if none is named")
    parser.add_argument("--check", action="store_true", help="compare with the files, and write nothing")
    parser.add_argument(
        "--numbers", action="store_true", help="leave the pictures, and write stages.json anew"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - set(STAGES):
        parser.error(f"no stage named {', '.join(sorted(unknown))}; there are: {', '.join(STAGES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    model, found, wrong = None if options.numbers else load("still-life"), stored(), []
    for name in options.names or STAGES:
        stage = STAGES[name]()
        for chosen in stage.sets:
            if not chosen.draw or options.numbers:
                continue
            places = range(len(stage.stops))
            pictures, path = chosen.draw(model, places), file_of(name, chosen)
            if not options.check:
                sheet(pictures, stage).save(path, "WEBP", quality=stage.quality, method=6)
            far = distance(path, pictures, stage, places)
            print(
                f"{path.name}: {path.stat().st_size:,} bytes, at most {far:.3f} from its pictures", flush=True
            )
            wrong += [path.name] if far > NEAR else []
        new = entry(name, stage)
        wrong += [name] if options.check and found.get(name) != json.loads(json.dumps(new)) else []
        found[name] = new
    if not options.check:
        found = {name: found[name] for name in STAGES if name in found}
        text = json.dumps(found, indent=1, ensure_ascii=False)
        (OUT / "stages.json").write_text(text + "\n", encoding="utf-8")
    if wrong:
        print(f"not current: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
