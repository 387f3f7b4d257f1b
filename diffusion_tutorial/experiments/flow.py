"""The flow against its bars: what captions leave open, what they name, and how near the pictures come to real ones.

    python -m diffusion_tutorial.experiments.flow [--folder runs/still-life/model-flow]

makes or completes results/still_life_flow.json, from which the model card is written; about 20 minutes on one core. With
--tried it is results/still_life_flow_tried.json: pictures of "a sphere" by other samplers, steps, starts and levels beside
those of the same noises by the card's walk, to see how much of what strays can be the sampler's.

Every measurement is stored when it is done. Steps are DDIM's, which on a flow are Euler's.

Fréchet distances are in the judge's 64 features, over N pictures of captions that name all six attributes, to N real
ones. What counts is the excess over the autoencoder's reconstructions of real pictures, since no sampler can do better
than those; its interval is a bootstrap's, with the same draws of references on both sides.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import load
from ..metrics import Estimate, frechet_distance, rate
from ..noise import gaussian, uniform
from ..results import RESULTS, Record
from ..samplers import SAMPLERS, walk
from ..schedules import FlowSchedule
from ..still_life.evaluate import caption_adherence, diversity, draw, full_caption, reconstruct
from ..still_life.judge import Judge
from ..still_life.models import KNOWN, MODELS
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes

NAME = "still-life-flow"
SEED = 980_000  # scenes; training's seeds lie below 900,000
UNSAID_SEED = 900_010  # of `evaluate.diversity`, so that walks are compared from the same noises
PROMPTS = ("a sphere", "a red object")
STEPS, FEW_STEPS = 20, (20, 8, 4)
UNSAID_N, RIGHT_N, HELD_OUT_N, FRECHET_N = 2000, 1000, 500, 2000
RIGHT_SCALE, FRECHET_SCALES = 2.0, (1.0, 1.5)


def excess(reference: Tensor, found: Tensor, rebuilt: Tensor, resamples: int = 50, seed: int = 0) -> Estimate:
    """The Fréchet distance of `found` to `reference` less that of `rebuilt`; all are (N, D) features.

    The 95% interval is the value +- 1.96 bootstrap standard deviations; each draw takes the same references on both
    sides. Raises ValueError for features of different shapes.
    """

    def difference(a: Tensor, b: Tensor, c: Tensor) -> float:
        far, near = (frechet_distance(a, x, resamples=0).value for x in (b, c))
        return far - near

    n = len(reference)
    value = difference(reference, found, rebuilt)
    rows = (uniform((resamples, 3, n), seed) * n).long().clamp(max=n - 1)
    draws = [difference(reference[i], found[j], rebuilt[k]) for i, j, k in rows]
    spread = 1.96 * float(torch.tensor(draws, dtype=torch.float64).std())
    return Estimate(value, value - spread, value + spread, n)


def frechet(model, judge: Judge, n: int, scales=FRECHET_SCALES, steps: int = STEPS, seed: int = SEED) -> dict:
    """Distances to n real pictures: of other real ones, of reconstructions, of samples by scale, and their excess."""
    reference = judge.features(render(sample_scenes(n, seed)))
    scenes = sample_scenes(n, seed + 1)
    pictures = render(scenes)
    rebuilt = judge.features(reconstruct(model, pictures))
    captions = [full_caption(scenes, i, seed) for i in range(n)]
    by_scale = {}
    for scale in scales:
        found = judge.features(draw(model, captions, steps, scale, seed=seed))
        by_scale[f"{scale:g}"] = {
            "distance": frechet_distance(reference, found),
            "excess": excess(reference, found, rebuilt),
        }
    return {
        "n": n,
        "steps": steps,
        "features": reference.shape[1],
        "real": frechet_distance(reference, judge.features(pictures)),
        "reconstructions": frechet_distance(reference, rebuilt),
        "by_scale": by_scale,
    }


@torch.no_grad()
def read_by(
    model,
    judge: Judge,
    n: int,
    sampler: str = "ddim",
    steps: int = STEPS,
    shift: float = 1.0,
    start: float = FlowSchedule.SIGMA_MAX,
    chunk: int = 125,
) -> dict[str, Tensor]:
    """What the judge reads off n pictures of "a sphere" at scale 1: attribute -> (n,), by any walk from one sigma `start`.

    Noises are those of the card's table, and the defaults its walk.
    """
    schedule, parts = FlowSchedule(shift), []
    first, *rest = schedule.transitions(steps, None, None, SAMPLERS[sampler].previous)
    first = first._replace(t=1000 * start, alpha_bar_t=schedule.alpha_bar(1000 * start))
    for done in range(0, n, chunk):
        size = min(chunk, n - done)
        words = model.encode_text([PROMPTS[0]] * size)
        x = gaussian((size, *model.latent_shape), UNSAID_SEED, first=done)
        denoiser = lambda x, t, words=words: model.eps(x, t, words)  # noqa: E731
        *_, last = walk(denoiser, x, [first, *rest], sampler, time=schedule.time)
        parts.append(judge.read(model.decode(last.x_s)))
    return {name: torch.cat([part[name] for part in parts]) for name in ATTRIBUTES}


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Estimate]:
    """Attribute -> share of pictures that are read otherwise. No total variation can differ by more between the two."""
    return {name: rate((one[name] != other[name]).long(), 1) for name in one}


TRIED_N = 250
TRIED = {  # walks beside the card's: second order, other starts and levels, more steps
    "start .9999": {"start": 0.9999},
    "shift 2": {"shift": 2.0},
    "shift 3": {"shift": 3.0},
    "dpm++2m": {"sampler": "dpm++2m"},
    "50 steps": {"steps": 50},
    "heun": {"sampler": "heun"},
    "100 steps": {"steps": 100},
}


def share_of(share: float):
    """full count -> how many of them."""
    return lambda count: max(20, int(count * share))


def weights_of(name: str) -> str:
    """The sum of a model's U-Net, from its own list."""
    sums = (MODELS[name].path / "SHA256SUMS").read_text(encoding="utf-8").split()
    return sums[sums.index("unet/diffusion_pytorch_model.safetensors") - 1]


def measure(model, judge: Judge, record: Record, share: float = 1.0) -> None:
    """Every measurement that the record lacks, at `share` of the full sample counts."""
    n = share_of(share)
    for text in PROMPTS:
        record.measure(f"unsaid, {text}", lambda text=text: diversity(model, judge, text, n(UNSAID_N), STEPS))
    for steps in FEW_STEPS:
        record.measure(
            f"all right, {steps} steps",
            lambda steps=steps: caption_adherence(model, judge, n(RIGHT_N), False, steps, RIGHT_SCALE),
        )
    record.measure(
        "all right, held out",
        lambda: caption_adherence(model, judge, n(HELD_OUT_N), True, STEPS, RIGHT_SCALE),
    )
    record.measure("frechet", lambda: frechet(model, judge, n(FRECHET_N)))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the flow (default: the one that ships)")
    parser.add_argument("--share", type=float, default=1.0, help="of the full sample counts, to look quickly")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument(
        "--tried", action="store_true", help="the other walks, into still_life_flow_tried.json"
    )
    args = parser.parse_args(argv)
    MODELS[NAME] = KNOWN[NAME]._replace(folder=str(args.folder.resolve())) if args.folder else KNOWN[NAME]
    file = RESULTS / f"still_life_flow{'_tried' * args.tried}.json"
    record = Record(
        args.out or file,
        "pictures of a sphere that other samplers, steps, starts and levels make another of, from the same noises"
        if args.tried
        else "the flow against its bars: unsaid attributes, captions fulfilled, Fréchet distance",
        "python -m diffusion_tutorial.experiments.flow" + " --tried" * args.tried,
        weights=weights_of(NAME),
        share=args.share,
    )
    torch.set_num_threads(1)  # one process, one thread: timings and last digits are then the machine's own
    model, judge = load(NAME), Judge.load()
    if not args.tried:
        return measure(model, judge, record, args.share)
    n = share_of(args.share)(TRIED_N)
    base = cache(lambda: read_by(model, judge, n))
    for name, options in TRIED.items():
        record.measure(
            name,
            lambda o=options: {"n": n, **o, "changed": changed(base(), read_by(model, judge, n, **o))},
        )


if __name__ == "__main__":
    main()
