"""Negative prompts on Still Life: what they remove, what they move, when they act, and what refinements change.

    python -m diffusion_tutorial.experiments.negative_prompts

makes or completes results/negative_prompts.json, about an hour and a half on one core. Every setting is written
when it is done, so the command may be stopped and called again.

Picture i starts from the same noise in every setting, so a setting and its baseline (the same scale, no negative)
are compared picture by picture. What is kept is what the judge read in each picture, attribute by attribute, as a
string of digits: rates, entropies and paired differences follow from that and are not kept beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load
from ..guidance import (
    ClassifierFree,
    Conditional,
    Interval,
    NegativePrompt,
    PerpNeg,
    Ramp,
    Rule,
    SeveralNegatives,
    ThreeBranch,
    WeightedNegative,
)
from ..noise import gaussian
from ..results import RESULTS, Record, read
from ..still_life.judge import Judge
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes
from ..text_to_image import Many, sample_many

NOISE = 95
STEPS = 20
N = 500  # pictures a setting
POSITIVE, SCALE = "a sphere", 4.0
SCALES = (2.0, 4.0, 7.5)
COLOURS = ATTRIBUTES["colour"]
CUTS = (0.1, 0.2, 0.3, 0.5)  # of the run, where a negative is switched


@dataclass(frozen=True)
class Setting:
    """One set of pictures: what is asked for, how, and how many."""

    name: str
    prompt: str
    negatives: tuple[str, ...]
    rule: Rule
    n: int = N


def none(scale: float, prompt: str = POSITIVE) -> Setting:
    """The baseline: plain guidance at this scale."""
    rule = Conditional() if scale == 1 else ClassifierFree(scale)
    return Setting(f"{prompt}, scale {scale:g}, none", prompt, (), rule)


def used(scale: float, negative: str, prompt: str = POSITIVE) -> Setting:
    """The formula in use."""
    rule = NegativePrompt(scale)
    return Setting(f"{prompt}, scale {scale:g}, used, {negative}", prompt, (negative,), rule)


def guessed(scale: float, negative: str, prompt: str = POSITIVE) -> Setting:
    """The formula one would guess, with both weights equal to the scale."""
    rule = ThreeBranch(scale, scale)
    return Setting(f"{prompt}, scale {scale:g}, guessed, {negative}", prompt, (negative,), rule)


def window(start: float, stop: float, negative: str, prompt: str = POSITIVE, scale: float = SCALE) -> Setting:
    """The formula in use while start <= fraction of the run < stop, plain guidance else."""
    rule = Interval(NegativePrompt(scale), start, stop, outside=ClassifierFree(scale))
    name = f"{prompt}, scale {scale:g}, window {start:g} to {stop:g}, {negative}"
    return Setting(name, prompt, (negative,), rule)


def refined(kind: str, rule: Rule, *negatives: str) -> Setting:
    """A refinement at the standard prompt and scale."""
    name = f"{POSITIVE}, scale {SCALE:g}, {kind}, {' + '.join(negatives)}"
    return Setting(name, POSITIVE, negatives, rule)


RED_SPHERE = "a red sphere"
PERPENDICULAR = [refined("perpendicular", PerpNeg(SCALE), text) for text in ("red", RED_SPHERE)]
SCHEDULES = [
    refined(f"weight {a} to {b}", WeightedNegative(SCALE, Ramp(a, b)), "red") for a, b in ((1, 0), (0, 1))
]
TOGETHER = ("red", "cyan")
COMPOSED = refined("composed", SeveralNegatives(SCALE, ((SCALE - 1) / 2,) * 2), *TOGETHER)
ONE_TEXT = refined("used", NegativePrompt(SCALE), " and ".join(TOGETHER))


def windows(prompt: str, negative: str, cuts: tuple[float, ...] = CUTS) -> list[Setting]:
    """On up to a cut, and on from a cut, for each cut."""
    first = [window(0, cut, negative, prompt) for cut in cuts]
    return first + [window(cut, 1, negative, prompt) for cut in cuts]


def settings() -> list[Setting]:
    """The plan, what matters most first. Its holes are choices of time."""
    plan = [none(s) for s in SCALES] + [used(s, "red") for s in SCALES] + [guessed(s, "red") for s in SCALES]
    plan += [used(SCALE, "a red object"), used(SCALE, RED_SPHERE), guessed(SCALE, RED_SPHERE)]
    plan += windows(POSITIVE, "red")
    plan += [*PERPENDICULAR, *SCHEDULES]
    plan += [used(SCALE, colour) for colour in COLOURS if colour != "red"]
    plan += [COMPOSED, ONE_TEXT]
    for attribute in ("green floor", "large"):
        plan += [used(SCALE, attribute), guessed(SCALE, attribute)]
    return plan


def draw(model, setting: Setting, chunk: int = 125) -> Many:
    """N pictures of a setting."""
    several = len(setting.negatives) > 1
    return sample_many(
        model,
        [setting.prompt] * setting.n,
        NOISE,
        chunk,
        num_inference_steps=STEPS,
        guidance=setting.rule,
        negative_prompt=None if several or not setting.negatives else setting.negatives[0],
        negatives=list(setting.negatives) if several else None,
    )


def measure(model, judge: Judge, setting: Setting) -> dict:
    """What the judge reads in each picture, and how saturated and contrasted they are."""
    drawn = draw(model, setting)
    pictures, nfe, seconds = drawn.images, drawn.nfe, drawn.seconds
    return {
        "prompt": setting.prompt,
        "negatives": list(setting.negatives),
        "n": setting.n,
        "nfe": nfe,
        "seconds_a_picture": seconds / setting.n,
        "saturation": metrics.mean(metrics.saturation(pictures)),
        "contrast": metrics.mean(metrics.contrast(pictures)),
        "read": {name: "".join(map(str, r.tolist())) for name, r in judge.read(pictures).items()},
    }


# ------------------------------------------------------------------------------------------------------------
# Which colour takes the mass: three predictions from geometry


def geometry(model, n: int = 48, steps: tuple[int, ...] = (0, 1, 2)) -> dict:
    """Matrices (negative, colour) that each claim to say which colour a negative colour sends pictures to.

    "eps"    cosine between the push that the rule adds, eps("a sphere") - eps(negative), and the way to the
             colour, eps("a COLOUR sphere") - eps("a sphere"), at the states of the first steps of a guided run
    "text"   minus the cosine of the two colours' text embeddings, each taken from that of the empty prompt
    "paint"  distance of spheres of the two colours, pixel by pixel, all else alike
    "latent" minus the cosine of the two colours' latents of those spheres, each taken from the mean of all
    """
    start = gaussian((n, *model.latent_shape), NOISE)
    run = model.sample(POSITIVE, num_inference_steps=STEPS, guidance_scale=SCALE, num_images=n, latents=start)
    towards = [f"a {colour} sphere" if colour != "orange" else "an orange sphere" for colour in COLOURS]
    cosines = []
    with torch.no_grad():
        for k in steps:
            x_t, t = run.trajectory[k].x_t, run.trajectory[k].t
            here = model.eps(x_t, t, POSITIVE)
            ways = torch.stack([(model.eps(x_t, t, text) - here).flatten(1) for text in towards])
            pushes = torch.stack([(here - model.eps(x_t, t, colour)).flatten(1) for colour in COLOURS])
            ways, pushes = (v / v.norm(dim=2, keepdim=True) for v in (ways, pushes))
            cosines.append(torch.einsum("abd,cbd->acb", pushes, ways).mean(2))
        empty = model.encode_text([None])
        words = (model.encode_text(list(COLOURS)) - empty).flatten(1)
    words = words / words.norm(dim=1, keepdim=True)
    spheres = [
        render(sample_scenes(16, NOISE, fixed={"shape": "sphere", "colour": c}, held_out=None))
        for c in COLOURS
    ]
    paints = torch.stack(spheres).flatten(1)
    latents = torch.stack([model.encode(pictures).flatten() for pictures in spheres])
    latents = latents - latents.mean(0)
    latents = latents / latents.norm(dim=1, keepdim=True)
    return {
        "colours": list(COLOURS),
        "timesteps": [run.trajectory[k].t for k in steps],
        "eps": torch.stack(cosines),
        "text": -words @ words.T,
        "paint": torch.cdist(paints, paints) / sqrt(paints.shape[1]),
        "latent": -latents @ latents.T,
    }


# ------------------------------------------------------------------------------------------------------------
# What a chapter makes of the readings


class Results:
    """The stored measurement: readings by setting, and the figures that follow from them."""

    def __init__(self, found: dict):
        self.found, self.measured = found, found["measured"]

    @classmethod
    def stored(cls) -> Results:
        return cls(read("negative_prompts"))

    def __contains__(self, setting: Setting) -> bool:
        return setting.name in self.measured

    def __getitem__(self, setting: Setting) -> dict:
        return self.measured[setting.name]

    def readings(self, setting: Setting, attribute: str) -> Tensor:
        """(n,) value indices."""
        return torch.tensor([int(digit) for digit in self[setting]["read"][attribute]])

    def rate(self, setting: Setting, value: str, attribute: str = "colour") -> metrics.Estimate:
        """How often the judge reads this value."""
        return metrics.rate(self.readings(setting, attribute), ATTRIBUTES[attribute].index(value))

    def shares(self, setting: Setting, attribute: str = "colour") -> list[float]:
        """How often the judge reads each value."""
        read_, count = self.readings(setting, attribute), len(ATTRIBUTES[attribute])
        return (torch.bincount(read_, minlength=count).double() / len(read_)).tolist()

    def entropy(self, setting: Setting, attribute: str = "colour") -> metrics.Estimate:
        """In bits."""
        return metrics.entropy(self.readings(setting, attribute), len(ATTRIBUTES[attribute]))

    def removed(
        self, setting: Setting, baseline: Setting, value: str, attribute: str = "colour"
    ) -> metrics.Estimate:
        """The difference of the rates, baseline minus setting, picture by picture from the same noise."""
        index = ATTRIBUTES[attribute].index(value)
        a, b = (self.readings(s, attribute) == index for s in (baseline, setting))
        n = min(len(a), len(b))
        return metrics.mean(a[:n].double() - b[:n].double())

    def kept(self, setting: Setting, baseline: Setting, attributes: Sequence[str]) -> metrics.Estimate:
        """The share of these attributes that are read alike in both pictures of the same noise."""
        pairs = [(self.readings(setting, name), self.readings(baseline, name)) for name in attributes]
        n = min(len(r) for pair in pairs for r in pair)
        return metrics.mean(torch.stack([(a[:n] == b[:n]).double() for a, b in pairs]).mean(0))

    def spill(self, setting: Setting, baseline: Setting, attribute: str) -> float:
        """Total variation between an attribute's shares under the setting and under its baseline."""
        pairs = zip(self.shares(setting, attribute), self.shares(baseline, attribute))
        return 0.5 * sum(abs(a - b) for a, b in pairs)


def main() -> None:
    record = Record(
        RESULTS / "negative_prompts.json",
        "Still Life: what the judge reads with and without negative prompts, by formula, scale, window and rule",
        "python -m diffusion_tutorial.experiments.negative_prompts",
        noise=NOISE,
        steps=STEPS,
        sampler="ddim",
    )
    model, judge = load(), Judge.load()
    record.measure("geometry", lambda: geometry(model))
    for setting in settings():
        record.measure(setting.name, lambda s=setting: measure(model, judge, s))


if __name__ == "__main__":
    main()
