"""Guidance on Still Life, rule against rule: low scales, equal adherence, what rescaling acts on, who is deceived.

    python -m diffusion_tutorial.experiments.guidance_matched [readers attack scales short]

makes or completes results/guidance_matched.json, all of it or the parts that are named, about three quarters of an
hour on one core; every setting is written when it is done.

Captions, noises and real pictures are those of `experiments.guidance`, so picture i of one setting belongs to picture
i of any other. What the judge read in each picture is kept as a string of digits, an attribute a string, and the judge's
features in runs/guidance_matched (drawn again where they are missing), so that differences are taken picture by
picture: settings that share their noise differ by less than two intervals side by side can tell.

Four parts:

    readers    classifier guidance, read by the guiding classifier, by a classifier that never guided ("clean"; both
               read the final latent) and by the judge, which reads the picture
    attack     how little a latent must move until the noisy classifier reads another value, and what that does to the
               picture
    scales     classifier-free guidance at 1 to 2 in small steps, a ramp of mean scale 2, and rescaling in v at 8
    short      the scale at which the mean fit on `short_prompts` is .90, for a constant scale and for a ramp from 0. A
               ramp from 1, and an interval with the conditional model outside, begin at the conditional model, the
               constant scale 1 of this part: where its fit is above .90 they cannot be brought down to it.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from .. import metrics
from ..guidance import (
    ClassifierFree,
    ClassifierGuidance,
    Ramp,
    Rescaled,
    Rule,
    ScheduledScale,
)
from ..noise import uniform
from ..results import RESULTS, Record, read
from ..still_life.captions import parse
from ..still_life.classifier import NoisyClassifier
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes
from ..text_to_image import sample_many
from .guidance import LATER, NOISE, SEED, STEPS, UNSAID, Bench, N, captions

FEATURES = Path("runs/guidance_matched")
SCALES = (1.1, 1.3, 1, 1.5, 1.2, 2)  # in the order in which they are measured
RAMP = "ramp 1 to 3"
RESCALED = f"rescaled {LATER} in v, 0.7"
READ_SCALES = (16, 64)
TARGET, WITHIN, ROUNDS = 0.90, 0.01, 20  # fit wanted, how near, rounds through the short prompts
SIZES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # of an attack, as a share of the latent's length
NOTICEABLE = 8  # 255ths of a colour: a picture changed by no more anywhere counts as unchanged to the eye
PAIRS = [  # differences that the chapter asks for: (setting, setting it is compared with)
    *((f"cfg {s:g}", "cfg 2") for s in SCALES if s != 2),
    ("cfg 1.1", "cfg 1"),
    ("cfg 1.3", "cfg 1.1"),
    (RAMP, "cfg 2"),
    (RESCALED, f"cfg {LATER}"),
]


def rules() -> dict[str, Rule]:
    """Settings that need predictions alone, what matters most first."""
    plan: dict[str, Rule] = {
        "cfg 2": ClassifierFree(2),
        RAMP: ScheduledScale(Ramp(1, 3)),
        RESCALED: Rescaled(LATER, 0.7, of="v"),
    }
    plan |= {f"cfg {s:g}": ClassifierFree(s) for s in SCALES}
    return plan | {f"cfg {LATER}": ClassifierFree(LATER)}


def short_prompts() -> list[str]:
    """One word or two, each value of each attribute `ROUNDS` times: "red", "sphere", "large", "white wall" ..."""
    texts = [
        f"{value} {name}" if name in ("floor", "wall") else value
        for name, values in ATTRIBUTES.items()
        for value in values
    ]
    return texts * ROUNDS


def digits(readings: dict[str, Tensor]) -> dict[str, str]:
    """What was read, an attribute a string of one digit a picture."""
    return {name: "".join(map(str, found.tolist())) for name, found in readings.items()}


def distance_of(
    real: Tensor, one: Tensor, other: Tensor, resamples: int = 200, seed: int = 0
) -> metrics.Estimate:
    """The Fréchet distance of `one` from `real` minus that of `other`, all (N, D), row i of both of the same noise.

    The interval is the value +- 1.96 standard deviations of a bootstrap that draws the same rows of both.
    """

    def gap(a: Tensor, b: Tensor, r: Tensor) -> float:
        return math.fsum(
            sign * metrics.frechet_distance(x, r, resamples=0).value for sign, x in ((1, a), (-1, b))
        )

    n = len(real)
    index = (uniform((resamples, 2, n), seed) * n).long().clamp(max=n - 1)
    spread = (
        torch.tensor([gap(one[i], other[i], real[j]) for i, j in index], dtype=torch.float64).std().item()
    )
    value = gap(one, other, real)
    return metrics.Estimate(value, value - 1.96 * spread, value + 1.96 * spread, n)


class Matched(Bench):
    """`Bench`, with readings and features kept for each setting."""

    def features(self, key: str, rule: Rule) -> Tensor:
        """(N, D) of a setting, from the folder or drawn again."""
        file = FEATURES / f"{key}.pt"
        if not file.exists():
            self.rule(key, rule)
        return torch.load(file)

    def rule(self, key: str, rule: Rule) -> dict:
        """A rule that needs predictions alone: figures, readings, and the features in their folder."""
        pictures, _, nfe = self.draw(lambda said: rule)
        features = self.judge.features(pictures)
        FEATURES.mkdir(parents=True, exist_ok=True)
        torch.save(features, FEATURES / f"{key}.pt")
        read_ = self.judge.read(pictures)
        return {
            "adherence": metrics.adherence(read_, self.said),
            "frechet": metrics.frechet_distance(self.real, features),
            "entropy": {name: metrics.entropy(read_[name], len(ATTRIBUTES[name])) for name in UNSAID},
            "saturation": metrics.mean(metrics.saturation(pictures)),
            "contrast": metrics.mean(metrics.contrast(pictures)),
            "nfe": nfe,
            "read": digits(read_),
        }

    def read_by_all(self, noisy: NoisyClassifier, clean: NoisyClassifier, scale: float) -> dict:
        """Guided by `noisy`; what it, the classifier that never guided and the judge read in the end."""

        def rule(said):
            return ClassifierGuidance(scale, lambda x, t: noisy.grad_log_prob(x, t, said))

        pictures, latents, nfe = self.draw(rule)
        readers = {"guiding": noisy.read(latents, 0), "control": clean.read(latents, 0)}
        readers |= {"judge": self.judge.read(pictures)}
        said = [name for name in ATTRIBUTES if name in self.said[0]]
        return {
            "nfe": nfe,
            "adherence": {who: metrics.adherence(found, self.said) for who, found in readers.items()},
            "read": {who: digits({name: found[name] for name in said}) for who, found in readers.items()},
        }


# ------------------------------------------------------------------------------------------------------------
# Equal adherence


def bisect(
    fit: Callable[[float], float], low: float, high: float, target: float = TARGET, within: float = WITHIN
) -> float | None:
    """A scale in [low, high] whose fit is within `within` of the target, by regula falsi; None where the two ends do
    not enclose it.

    fit: scale -> mean fit, a function that grows with the scale but for chance. Where the interval has shrunk to a
    hundredth of a scale the nearer end is the answer.
    """
    ends = {low: fit(low), high: fit(high)}
    for scale, value in ends.items():
        if abs(value - target) <= within:
            return scale
    if not ends[low] < target < ends[high]:
        return None
    while high - low > 0.01:
        share = (target - ends[low]) / (ends[high] - ends[low])
        scale = round(low + (high - low) * min(max(share, 0.2), 0.8), 3)
        ends[scale] = fit(scale)
        if abs(ends[scale] - target) <= within:
            return scale
        low, high = (scale, high) if ends[scale] < target else (low, scale)
    return min((low, high), key=lambda s: abs(ends[s] - target))


FAMILIES: dict[str, Callable[[float], Rule]] = {
    "constant": ClassifierFree,
    "ramp from 0": lambda mean: ScheduledScale(Ramp(0, 2 * mean)),
}
# Where each family's scale is looked for. The ramp's is its mean: at a mean of 1 its fit is still below the target.
RANGES = {"constant": (0.6, 1.0), "ramp from 0": (1.0, 1.5)}


def matched(bench: Bench, record: Record) -> None:
    """For each family the scale at which the mean fit is TARGET, and what the pictures there are like."""
    prompts = short_prompts()
    said = [parse(text) for text in prompts]
    real = bench.judge.features(render(sample_scenes(len(prompts), SEED + 4)))

    def look(rule: Rule) -> dict:
        drawn = sample_many(bench.model, prompts, NOISE + 1, 108, num_inference_steps=STEPS, guidance=rule)
        read_ = bench.judge.read(drawn.images)
        return {
            "adherence": metrics.adherence(read_, said),
            "by_attribute": metrics.adherence_by_attribute(read_, said),
            "frechet": metrics.frechet_distance(real, bench.judge.features(drawn.images)),
            "saturation": metrics.mean(metrics.saturation(drawn.images)),
            "contrast": metrics.mean(metrics.contrast(drawn.images)),
            "nfe": drawn.nfe,
            "read": digits(read_),
        }

    def seen(family: str, scale: float) -> dict:
        return record.measure(f"short, {family} {scale:g}", lambda: look(FAMILIES[family](scale)))

    for family in FAMILIES:
        found = bisect(lambda s, f=family: seen(f, s)["adherence"]["value"], *RANGES[family])
        record.measure(f"matched, {family}", lambda f=found: {"scale": f, "target": TARGET, "within": WITHIN})


# ------------------------------------------------------------------------------------------------------------
# Attacks


def attack(bench: Bench, noisy: NoisyClassifier, clean: NoisyClassifier, n: int = N, steps: int = 16) -> dict:
    """Projected gradient ascent on log p(another value | x_0) from the latents of n rendered scenes, by size of ball.

    Picture i has one attribute to turn, all six in turn, to the next but one of its values. The ball is in the latent,
    its radius a share of the latent's length. For each size: who reads the new value, how far the picture moved, in
    255ths of a colour, and the share that the guiding classifier reads wrong in pictures that moved by NOTICEABLE at
    most, everywhere.
    """
    scenes = sample_scenes(n, SEED + 5)
    home = bench.model.encode(render(scenes))
    names = list(ATTRIBUTES)
    which = [names[i % len(names)] for i in range(n)]
    values = [int(scenes.labels[i, names.index(name)]) for i, name in enumerate(which)]
    wanted = [(v + (2 if len(ATTRIBUTES[k]) > 2 else 1)) % len(ATTRIBUTES[k]) for k, v in zip(which, values)]
    said = [{name: ATTRIBUTES[name][v]} for name, v in zip(which, wanted)]
    before = bench.model.decode(home)
    length = home.flatten(1).norm(dim=1)[:, None, None, None]

    def turned(read_: dict[str, Tensor]) -> Tensor:
        return torch.tensor([int(read_[name][i]) == wanted[i] for i, name in enumerate(which)])

    found = {}
    for size in SIZES:
        x = home.clone()
        for _ in range(steps):
            g = torch.cat(
                [
                    noisy.grad_log_prob(part, 0, said[k : k + len(part)])
                    for k, part in zip(range(0, n, 125), x.split(125))
                ]
            )
            x = x + size * length / 4 * g / g.flatten(1).norm(dim=1).clamp(min=1e-20)[:, None, None, None]
            away = x - home
            x = home + away * (size * length / away.flatten(1).norm(dim=1)[:, None, None, None]).clamp(max=1)
        after = bench.model.decode(x)
        moved = 255 * (after - before).abs().flatten(1)
        guiding, control, judge = (
            turned(r) for r in (noisy.read(x, 0), clean.read(x, 0), bench.judge.read(after))
        )
        unseen = moved.amax(1) <= NOTICEABLE
        by = {k: metrics.rate([int(g) for g, name in zip(guiding, which) if name == k], 1) for k in names}
        found[f"{size:g}"] = {
            "guiding": metrics.rate(guiding.long(), 1),
            "control": metrics.rate(control.long(), 1),
            "judge": metrics.rate(judge.long(), 1),
            "by_attribute": by,
            "root_mean_square": metrics.mean(moved.square().mean(1).sqrt()),
            "largest": metrics.mean(moved.amax(1)),
            "unnoticed": int(unseen.sum()),
            "unnoticed_and_turned": int((unseen & guiding).sum()),
        }
    return {"n": n, "steps": steps, "noticeable": NOTICEABLE, "by_size": found}


# ------------------------------------------------------------------------------------------------------------
# What a chapter makes of the readings


class Results:
    """The stored measurement, and paired differences of what was read."""

    def __init__(self, found: dict):
        self.found, self.measured = found, found["measured"]

    @classmethod
    def stored(cls) -> Results:
        return cls(read("guidance_matched"))

    def ahead(self, scale: float, one: str, other: str) -> metrics.Estimate:
        """How much more of what was said reader `one` finds than `other`, picture by picture."""
        said = [parse(text) for text in captions()]
        return metrics.mean(self._right(scale, one, said) - self._right(scale, other, said))

    def _right(self, scale: float, who: str, said: Sequence[dict]) -> Tensor:
        columns = self.measured[f"readers, classifier {scale:g}"]["read"][who]
        rows = [
            [int(columns[name][i]) == ATTRIBUTES[name].index(value) for name, value in words.items()]
            for i, words in enumerate(said)
        ]
        return torch.tensor(rows, dtype=torch.float64).mean(1)


PARTS = ("readers", "attack", "scales", "short")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=PARTS, default=PARTS)
    parts = parser.parse_args().parts
    bench, noisy, clean = Matched(captions()), NoisyClassifier.load("noisy"), NoisyClassifier.load("clean")
    record = Record(
        RESULTS / "guidance_matched.json",
        "Still Life: low scales and a ramp paired, rescaling in v, three readers, equal adherence, attacks by size",
        "python -m diffusion_tutorial.experiments.guidance_matched",
        n=N,
        steps=STEPS,
        sampler="ddim",
        features=bench.real.shape[1],
        short=len(short_prompts()),
    )
    for scale in READ_SCALES if "readers" in parts else ():
        key = f"readers, classifier {scale:g}"
        record.measure(key, lambda s=scale: bench.read_by_all(noisy, clean, s))
    if "attack" in parts:
        record.measure("attack", lambda: attack(bench, noisy, clean))
    plan = rules() if "scales" in parts else {}
    for key, rule in plan.items():
        record.measure(key, lambda k=key, r=rule: bench.rule(k, r))
    for one, other in PAIRS if plan else ():
        record.measure(
            f"difference, {one} - {other}",
            lambda a=one, b=other: distance_of(
                bench.real, bench.features(a, plan[a]), bench.features(b, plan[b])
            ),
        )
    if "short" in parts:
        matched(bench, record)


if __name__ == "__main__":
    main()
