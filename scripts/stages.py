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
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion_tutorial import gaussian, load, step_noise
from diffusion_tutorial.guidance import ClassifierFree
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
    draw: Callable[[object, Sequence[int]], list[list[Tensor]]]
    live: dict = field(default_factory=dict)
    rows: list[dict] = field(
        default_factory=list
    )  # a stop each: the numbers of its sentence, as they are written
    curve: list[list[float | None]] = field(default_factory=list)  # series of values, one a stop


@dataclass(frozen=True)
class Stage:
    """What a stage shows. stops: values of its control, as written; first: the one it begins with."""

    key: str  # name of the control in the address
    stops: list[str]
    first: int
    sets: list[Set]
    preset: str
    live: list[dict]  # a stop each: settings of the playground
    side: int = 96  # pixels of a cell
    quality: int = 60  # WebP's
    columns: int = 7
    set_key: str = "set"
    ticks: list[tuple[float, str]] = field(default_factory=list)
    top: float = 1.0  # of the curve's axis
    guesses: list[int] = field(default_factory=list)  # stops that a reader may guess
    facts: dict = field(default_factory=dict)  # numbers of the answer and of the caption, as they are written
    sentence: dict | None = None  # attribute -> the words it may have and the one that it has
    above: bool = False  # on the first screen of its page, so that its pictures are not lazy


def percent(share: float) -> str:
    return f"{100 * share:.0f}%"


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
        quality=55,
        ticks=[(0, "0"), (0.5, "50%"), (1, "100%")],
        guesses=[2, 6, 10, 14],
        facts=facts,
        sentence=sentence,
        above=True,
    )


# --- few steps: two samplers from the same noise --------------------------------------------------------------------

OPEN = "a sphere"  # leaves five attributes to the sampler, and is not guided
COUNTS = (1, 2, 3, 5, 10, 25, 50, 100)
STARTS = (0, 1, 2)
BESIDE = ("ddim", "ddpm")


@cache
def of_all_starts(model, sampler: str, steps: int) -> Tensor:
    """(starts, 3, 64, 64): each picture has the noises of image 0 of its own seed, as in the playground."""
    shape = (1, *model.latent_shape)
    noises = [step_noise(shape, seed) for seed in STARTS]
    return model.sample(
        [OPEN] * len(STARTS),
        num_inference_steps=steps,
        guidance_scale=1.0,
        sampler=sampler,
        latents=torch.cat([gaussian(shape, seed) for seed in STARTS]),
        noise=lambda step: torch.cat([noise(step) for noise in noises]),
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
        columns=6,
        set_key="seed",
        ticks=[(0, "0"), (0.5, "50%"), (1, "100%")],
        guesses=[3, 4, 5, 7],
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
    measured = read("guidance")["measured"]
    found = {s: measured.get(f"cfg {s:g}") for s in WISHED_SCALES}
    right = [r and r["all_right"]["value"] for r in found.values()]
    varied = [
        r and (r["entropy"]["size"]["value"] + r["entropy"]["material"]["value"]) / 2 for r in found.values()
    ]
    rows = [
        {"stop": f"{s:g}", "plain": True}
        if a is None
        else {"stop": f"{s:g}", "right": percent(a), "varied": f"{b:.2f}"}
        for s, a, b in zip(WISHED_SCALES, right, varied)
    ]
    facts = {
        "n": str(found[1]["all_right"]["n"]),
        **{f"far{s}": f"{found[s]['frechet']['value']:.0f}" for s in (2, 12)},
        **{
            f"right{s:g}".replace(".", "_"): percent(a) for s, a in zip(WISHED_SCALES, right) if a is not None
        },
        **{
            f"varied{s:g}".replace(".", "_"): f"{b:.2f}"
            for s, b in zip(WISHED_SCALES, varied)
            if b is not None
        },
    }
    first = WISHED_SCALES.index(1)
    return Stage(
        "scale",
        [f"{s:g}" for s in WISHED_SCALES],
        first,
        [Set(str(seed), guided(seed), {"seed": seed}, rows, [right, varied]) for seed in WISHED_STARTS],
        "guidance",
        [{"prompt": WISH, "steps": STEPS, "largest": s} for s in WISHED_SCALES],
        side=160,
        columns=4,
        set_key="seed",
        ticks=[(0, "0"), (0.5, "0.5"), (1, "1")],
        guesses=[WISHED_SCALES.index(s) for s in (1, 2, 8, 32)],
        facts=facts,
    )


STAGES: dict[str, Callable[[], Stage]] = {"first": first, "few-steps": few_steps, "guidance": guidance}

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


def entry(name: str, stage: Stage, views: int) -> dict:
    """A stage's part of stages.json."""
    size = stage.side + 2 * PAD
    cells = views * len(stage.stops)
    return {
        "key": stage.key,
        "setKey": stage.set_key,
        "stops": stage.stops,
        "first": stage.first,
        "views": views,
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
                "file": file_of(name, s).name,
                "live": s.live,
                "rows": s.rows,
                "curve": [[v if v is None else round(v, 5) for v in values] for values in s.curve],
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
    options = parser.parse_args()
    if unknown := set(options.names) - set(STAGES):
        parser.error(f"no stage named {', '.join(sorted(unknown))}; there are: {', '.join(STAGES)}")
    OUT.mkdir(parents=True, exist_ok=True)
    model, found, wrong = load("still-life"), stored(), []
    for name in options.names or STAGES:
        stage = STAGES[name]()
        for chosen in stage.sets:
            places = range(len(stage.stops))
            pictures, path = chosen.draw(model, places), file_of(name, chosen)
            if not options.check:
                sheet(pictures, stage).save(path, "WEBP", quality=stage.quality, method=6)
            far = distance(path, pictures, stage, places)
            print(
                f"{path.name}: {path.stat().st_size:,} bytes, at most {far:.3f} from its pictures", flush=True
            )
            wrong += [path.name] if far > NEAR else []
        new = entry(name, stage, len(pictures))
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
