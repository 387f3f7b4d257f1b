"""Later rules on Still Life: the error that guidance mends, rules at equal adherence, negatives without guidance.

    python -m diffusion_tutorial.experiments.guidance_continued [errors negatives matched]

makes or completes results/guidance_continued.json, all of it or the parts that are named; every setting is written when it
is done. Pictures have STEPS steps of DDIM, and picture i of one setting has the noise of picture i of any other, so
differences are taken pairwise.

Three parts:

    errors     the mean squared error of guided predictions on noised latents of fresh scenes, by level. The noise that was
               added is known, so the parabola in the scale is measured, and where its bottom lies: with s = 1 there,
               guidance mends nothing of what the network does not know
    negatives  "a sphere" with the negative "red", on the student: its own input, normalized attention guidance, and plain
               guidance with two evaluations a step: what goes, and what else changes
    matched    for each rule the scale at which the mean fit on `short_prompts` is TARGET, which lies above the fit of the
               conditional model alone and below saturation, and what the pictures there are like; also .90 of DESIGN 8.12,
               which lies below the conditional model: no rule that begins there can be brought down to it
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load, perturbed
from ..checkpoints.nag import nag
from ..guidance import (
    AutoGuidance,
    ClassifierFree,
    Interval,
    NegativePrompt,
    Perturbed,
    Plus,
    Projected,
    Rule,
    Thresholded,
    ZeroStar,
)
from ..noise import gaussian
from ..results import RESULTS, Record
from ..still_life.captions import parse
from ..still_life.evaluate import full_caption, reconstruct
from ..still_life.judge import Judge
from ..still_life.models import MODELS
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes
from ..text_to_image import Many, TextToImage, sample_many
from .flow import excess, weights_of
from .guidance_matched import FEATURES, bisect, digits, distance_of, short_prompts

WEAK = "still-life-weak"
SEED, NOISE = 985_000, 98
STEPS, CHUNK = 10, 108
TARGET, WITHIN = 0.98, 0.005
TIMESTEPS = (981, 901, 781, 621, 461, 301, 61)
ERRORS_N = 200
LAYERS = ("down_blocks", "mid_block", "up_blocks")  # all self-attention
NEGATIVE_N, PROMPT, AGAINST = 500, "a sphere", "red"
NAG_SETTINGS = ((5.0, 0.25), (11.0, 0.5), (5.0, 1.0))  # (scale, alpha); the first is what nag() takes


# ------------------------------------------------------------------------------------------------------------
# What guidance mends


def parabola(own: Tensor, other: Tensor, eps: Tensor) -> dict[str, metrics.Estimate]:
    """Of |other + s (own - other) - eps|^2 over s, all (N, ...): the bottom's place, and what it saves against s = 1.

    "best scale" with the 95% interval of a ratio (delta method over pictures); "saved" is the share of own's error that is
    gone at the bottom. eps is the noise itself, which no prediction reaches: its share is the same for every s.
    """
    error, step = (own - eps).double().flatten(1), (own - other).double().flatten(1)
    cross, square = (error * step).sum(1), step.square().sum(1)
    shift = -cross.sum() / square.sum()
    spread = (cross + shift * square).std() * len(cross) ** 0.5 / square.sum()
    best = float(1 + shift)
    saved = float(cross.sum() ** 2 / square.sum() / error.square().sum())
    half = 1.96 * float(spread)
    return {
        "best scale": metrics.Estimate(best, best - half, best + half, len(cross)),
        "saved": saved,
        "error": metrics.mean(error.square().mean(1)),
    }


@torch.no_grad()
def errors(model: TextToImage, other: Callable, t: int, n: int = ERRORS_N) -> dict:
    """At one timestep, over latents of n fresh scenes with captions of all six attributes."""
    scenes = sample_scenes(n, SEED + 1)
    x0 = model.encode(render(scenes))
    texts = [full_caption(scenes, i, SEED) for i in range(n)]
    eps = gaussian(tuple(x0.shape), NOISE, stream=t)
    x = model.schedule.add_noise(x0, eps, t)
    return parabola(model.eps(x, t, texts), other(x, t, texts), eps)


# ------------------------------------------------------------------------------------------------------------
# Negatives on the student


def ways(fast: TextToImage) -> dict[str, tuple[TextToImage, dict, dict]]:
    """Name -> (model, arguments without the negative, arguments with it)."""
    plain = TextToImage(fast.adapter.guided(1.0, (None,)), fast.schedule, fast.name, fast.check_prompt)
    told = {"guidance_scale": 3.0}
    found = {"input, scale 3": (fast, fast, told, {**told, "negative_prompt": AGAINST})}
    for scale, alpha in NAG_SETTINGS:
        away = nag(fast, AGAINST, scale, alpha=alpha)
        found[f"attention, scale {scale:g}, alpha {alpha:g}"] = (fast, away, told, told)
    for scale in (2.0, 3.0):
        without = {"guidance": ClassifierFree(scale), "guidance_scale": 1.0}
        against = {"guidance": NegativePrompt(scale), "guidance_scale": 1.0, "negative_prompt": AGAINST}
        found[f"two branches, scale {scale:g}"] = (plain, plain, without, against)
    return found


@cache
def _drawn(model: TextToImage, steps: int, n: int, arguments: tuple) -> Many:
    return sample_many(model, [PROMPT] * n, NOISE, 125, num_inference_steps=steps, **dict(arguments))


def negative(judge: Judge, way: tuple, steps: int, n: int) -> dict:
    """What the negative removes, and what else it changes in pictures that had nothing to remove, pair by pair."""
    models, arguments = way[:2], way[2:]
    runs = [_drawn(m, steps, n, tuple(sorted(a.items()))) for m, a in zip(models, arguments, strict=True)]
    before, after = (judge.read(run.images) for run in runs)
    red = ATTRIBUTES["colour"].index(AGAINST)
    sphere = ATTRIBUTES["shape"].index("sphere")
    had, has = before["colour"] == red, after["colour"] == red
    others = [name for name in ATTRIBUTES if name not in ("shape", "colour")]
    changed = torch.stack([(before[name] != after[name])[~had].double() for name in others]).mean(0)
    moved = (runs[0].images - runs[1].images)[~had].double().square().flatten(1).mean(1).sqrt()
    return {
        "n": n,
        "steps": steps,
        "evaluations": runs[1].nfe,
        "red": [metrics.rate(hits.long(), 1) for hits in (had, has)],
        "sphere": [metrics.rate((r["shape"] == sphere).long(), 1) for r in (before, after)],
        "sphere_lost": metrics.mean(
            (before["shape"] == sphere).double() - (after["shape"] == sphere).double()
        ),
        "others_changed": metrics.mean(changed),
        "moved": metrics.mean(255 * moved),
    }


# ------------------------------------------------------------------------------------------------------------
# Equal adherence


def families(
    model: TextToImage, weak: TextToImage
) -> dict[str, tuple[Callable[[float], Rule], float, float]]:
    """Name -> (scale -> rule, least and largest scale that are tried), what matters most first."""
    broken = cache(lambda: perturbed(model, LAYERS))
    return {
        "classifier-free": (ClassifierFree, 1.0, 2.0),
        "autoguidance": (lambda s: AutoGuidance(s, weak), 1.0, 3.0),
        "perturbed attention": (lambda s: Perturbed(1.0, s - 1, broken()), 1.0, 8.0),
        "CFG-Zero*": (ZeroStar, 1.0, 2.0),
        "CFG++": (Plus, 0.0, 1.0),
        "interval": (lambda s: Interval(ClassifierFree(s), 0.1, 0.6), 1.0, 4.0),
        "projected": (lambda s: Projected(s, momentum=-0.5, bound=15.0), 1.0, 3.0),
        "thresholded": (Thresholded, 1.0, 2.0),
    }


class Short:
    """Short prompts, their real pictures, and what any rule makes of them."""

    def __init__(self, model: TextToImage, judge: Judge, rounds: int):
        texts = short_prompts()
        self.model, self.judge = model, judge
        self.prompts = (texts * rounds)[: rounds * len(texts)]
        self.said = [parse(text) for text in self.prompts]
        scenes = [sample_scenes(len(self.prompts), SEED + k) for k in (2, 3)]
        pictures = [render(s) for s in scenes]
        self.real = judge.features(pictures[0])
        self.rebuilt = judge.features(reconstruct(model, pictures[1]))

    def look(self, key: str, rule: Rule) -> dict:
        drawn = sample_many(self.model, self.prompts, NOISE, CHUNK, num_inference_steps=STEPS, guidance=rule)
        read, features = self.judge.read(drawn.images), self.judge.features(drawn.images)
        FEATURES.mkdir(parents=True, exist_ok=True)
        torch.save(features, FEATURES / f"continued, {key}.pt")
        return {
            "n": len(self.prompts),
            "adherence": metrics.adherence(read, self.said),
            "excess": excess(self.real, features, self.rebuilt),
            "bits": bits(read, self.said),
            "saturation": metrics.mean(metrics.saturation(drawn.images)),
            "contrast": metrics.mean(metrics.contrast(drawn.images)),
            "evaluations": drawn.nfe,
            "read": digits(read),
        }

    def apart(self, one: str, other: str) -> metrics.Estimate:
        """The Fréchet distance of one setting less that of another, drawn pairwise."""
        a, b = (torch.load(FEATURES / f"continued, {key}.pt") for key in (one, other))
        return distance_of(self.real, a, b, resamples=50)


def bits(read: dict[str, Tensor], said: Sequence[dict]) -> list[float]:
    """For each short prompt the bits of all that it leaves open, summed; in the order of the prompts."""
    kinds: dict[tuple, list[int]] = {}
    for i, words in enumerate(said):
        kinds.setdefault(tuple(words.items()), []).append(i)
    found = []
    for words, rows in kinds.items():
        open_ = [name for name in ATTRIBUTES if name not in dict(words)]
        found.append(sum(metrics.entropy(read[name][rows], len(ATTRIBUTES[name])).value for name in open_))
    return found


def matched(short: Short, weak: TextToImage, record: Record, names: Sequence[str]) -> None:
    """The scale of each family where the fit is TARGET, and its distance from classifier-free guidance's there."""
    rules = families(short.model, weak)

    def seen(name: str, scale: float) -> str:
        """The key of a setting, measured; the conditional model is one for all that begin with it."""
        rule = rules[name][0](scale)
        alone = scale == 1 and name != "CFG++"
        key = "conditional" if alone else f"{name} {scale:g}"
        record.measure(key, lambda: short.look(key, ClassifierFree(1) if alone else rule))
        return key

    for name in names:
        _, low, high = rules[name]
        found = bisect(lambda s, k=name: record[seen(k, s)]["adherence"]["value"], low, high, TARGET, WITHIN)
        record.measure(f"matched, {name}", lambda f=found: {"scale": f, "target": TARGET, "within": WITHIN})
        if found is not None and name != "classifier-free":
            one, other = (
                seen(name, found),
                seen("classifier-free", record["matched, classifier-free"]["scale"]),
            )
            record.measure(f"difference, {name}", lambda a=one, b=other: short.apart(a, b))


PARTS = ("errors", "negatives", "matched")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--others", nargs="+", default=("empty", "weak", "broken"), help="of the part errors")
    parser.add_argument("--evaluations", nargs="+", type=int, default=(1, 4), help="of the part negatives")
    parser.add_argument("--rules", nargs="+", help="of the part matched; default: all")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS / "guidance_continued.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, judge = load("still-life"), Judge.load()
    record = Record(
        args.out,
        "Still Life: what guidance mends, later rules at equal adherence, negatives on the student",
        "python -m diffusion_tutorial.experiments.guidance_continued",
        steps=STEPS,
        sampler="ddim",
    )
    if "negatives" in args.parts:
        fast = load("still-life-fast")
        for steps in args.evaluations:
            for name, way in ways(fast).items():
                record.measure(
                    f"negative, {name}, {steps}", lambda w=way, k=steps: negative(judge, w, k, NEGATIVE_N)
                )
    weak = load(WEAK) if WEAK in MODELS else None
    if "errors" in args.parts:
        others = {"empty": lambda x, t, texts: model.eps(x, t, None)}
        others |= {} if weak is None else {"weak": weak.eps}
        others |= {"broken": perturbed(model, LAYERS).eps}
        for name, other in others.items():
            if name not in args.others:
                continue
            for t in TIMESTEPS:
                record.measure(f"errors, {name}, {t}", lambda o=other, t=t: errors(model, o, t))
    if "matched" in args.parts and weak is not None:
        record.measure("weights", lambda: weights_of(WEAK))
        short = Short(model, judge, 1)
        matched(short, weak, record, args.rules or tuple(families(model, weak)))


if __name__ == "__main__":
    main()
