"""A negative prompt's widget: the picture without it and with each formula, from the same noise."""

from __future__ import annotations

from dataclasses import dataclass

import ipywidgets as ipw

from ..errors import allowed, check_choice
from ..guidance import ClassifierFree, Interval, NegativePrompt, PerpNeg, Rule, ThreeBranch
from ..plots import labelled_grid, to_pil
from ..text_to_image import Samples, TextToImage
from ..words import say
from .base import STYLE, WIDE, LiveWidget, Shown, picture_page
from .sampler import most_steps

# name -> (title, the rule at a scale)
FORMULAS: dict[str, tuple[str, object]] = {
    "used": ("in use", NegativePrompt),
    "guessed": ("three predictions", lambda scale: ThreeBranch(scale, scale)),
    "perpendicular": ("Perp-Neg", PerpNeg),
}
BOTH = "both"  # those that the chapter compares
CHOICES = {
    "the one in use and the guess": BOTH,
    **{title: name for name, (title, _) in FORMULAS.items()},
}


def say_title(title: str) -> str:
    """A formula's title in the reader's language."""
    known = {
        "in use": say("in use"),
        "three predictions": say("three predictions"),
        "the one in use and the guess": say("the one in use and the guess"),
    }
    return known.get(title, title)


@dataclass(frozen=True)
class NegativeSettings:
    """What one run is made with. The negative acts at steps start, ..., stop - 1 of `steps`, from 0."""

    prompt: str
    negative_prompt: str
    formula: str
    guidance_scale: float
    start: int
    stop: int
    steps: int
    seed: int

    @property
    def formulas(self) -> tuple[str, ...]:
        return ("used", "guessed") if self.formula == BOTH else (self.formula,)

    def rule(self, formula: str) -> Rule:
        """The formula in its window, plain guidance outside."""
        rule = FORMULAS[formula][1](self.guidance_scale)
        if (self.start, self.stop) == (0, self.steps):
            return rule
        outside = ClassifierFree(self.guidance_scale)
        return Interval(rule, self.start / self.steps, self.stop / self.steps, outside)

    def label(self) -> str:
        """The settings in one line."""
        window = say(" at no step")
        if self.start < self.stop:
            window = say(" at steps {first} to {last}", first=self.start + 1, last=self.stop)
        return say(
            "“{prompt}”, not “{negative}”{window}: guidance {scale}, {steps} steps, seed {seed}",
            prompt=self.prompt,
            negative=self.negative_prompt,
            window="" if (self.start, self.stop) == (0, self.steps) else window,
            scale=f"{self.guidance_scale:g}",
            steps=self.steps,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Compared(Shown):
    """`Shown`, with the run without the negative and those of the formulas, by name."""

    plain: Samples | None = None
    by_formula: dict[str, Samples] | None = None


class NegativeWidget(LiveWidget):
    """See `negative_widget`. The controls are attributes: prompt, negative_prompt, formula, guidance, window, seed."""

    def __init__(
        self,
        model: TextToImage,
        prompt: str,
        negative_prompt: str,
        formula: str = BOTH,
        guidance: float = 4.0,
        window: tuple[int, int] | None = None,
        steps: int = 20,
        seed: int = 0,
        scale: int = 2,
        delay: float = 0.15,
    ):
        check_choice("formula", formula, CHOICES.values())
        if not 1 <= steps <= most_steps(model):
            raise ValueError(allowed("steps", steps, f"1 to {most_steps(model)}"))
        self.model, self.steps, self.scale = model, steps, scale
        text = {"style": STYLE, "layout": WIDE, "continuous_update": False}
        common = {"style": STYLE, "layout": WIDE}
        controls = {
            "prompt": ipw.Text(value=prompt, description=say("Prompt"), **text),
            "negative_prompt": ipw.Text(
                value=negative_prompt, description=say("Negative"), placeholder=say("what to steer away from"), **text
            ),
            "formula": ipw.Dropdown(
                value=formula, options=[(say_title(title), name) for title, name in CHOICES.items()],
                description=say("Formula"), **common
            ),
            "guidance": ipw.FloatSlider(
                value=guidance, min=0.0, max=15.0, step=0.5, description=say("Guidance scale"), readout_format=".1f",
                **common,
            ),
            "window": ipw.IntRangeSlider(
                value=(0, steps) if window is None else window, min=0, max=steps, description=say("Acts from, to"),
                **common,
            ),
            "seed": ipw.BoundedIntText(
                value=seed, min=0, max=2**31 - 1, description=say("Seed"), style=STYLE, layout={"width": "16em"}
            ),
        }  # fmt: skip
        super().__init__(controls, delay)

    def _settings(self, values: dict) -> NegativeSettings:
        return NegativeSettings(
            values["prompt"],
            values["negative_prompt"],
            values["formula"],
            values["guidance"],
            *values["window"],
            self.steps,
            values["seed"],
        )

    def _make(self, settings: NegativeSettings, callback) -> Compared | None:
        def run(rule: Rule, negative: str | None) -> Samples:
            return self.model.sample(
                settings.prompt,
                negative,
                settings.steps,
                seed=settings.seed,
                guidance=rule,
                callback=callback,
                keep_trajectory=False,
            )

        plain = run(ClassifierFree(settings.guidance_scale), None)
        if plain.stopped:
            return None
        found: dict[str, Samples] = {}
        for name in settings.formulas:
            rule = settings.rule(name)
            # At scale 1 the formula in use asks for the prompt alone, and `sample` would warn of the rest.
            found[name] = run(rule, settings.negative_prompt if "neg" in rule.branches else None)
            if found[name].stopped:
                return None
        titles = [say("without"), *(say_title(FORMULAS[name][0]) for name in found)]
        pictures = [to_pil(samples, self.scale)[0] for samples in (plain, *found.values())]
        label = settings.label()
        costs = say(", ").join(
            f"{say_title(FORMULAS[name][0])} {samples.nfe}" for name, samples in found.items()
        )
        alt = say(
            "{count} pictures of the same noise, {titles}: {label}",
            count=len(pictures),
            titles=say(", ").join(titles),
            label=label,
        )
        note = ""
        if settings.guidance_scale == 1 and "used" in found:
            note = say("At guidance scale 1 the formula in use does not contain the negative prompt.")
        page = picture_page(
            say(
                "{label}. Evaluations of the network: without {plain}, {costs}.",
                label=label,
                plain=plain.nfe,
                costs=costs,
            ),
            (labelled_grid(pictures, [""], titles), alt),
        )
        return Compared(settings, page, label, note, plain, found)


def negative_widget(model: TextToImage, prompt: str, negative_prompt: str, **settings) -> NegativeWidget:
    """Controls for prompt, negative prompt, formula, guidance scale, the steps at which the negative acts and
    seed; below them the picture without the negative and with the formulas, side by side, from the same noise.

    model: any `TextToImage`. settings: formula ("both", "used", "guessed" or "perpendicular"), guidance, window
    (first step and the one after the last, from 0), steps, seed, scale (how many times pictures are enlarged) and
    delay (seconds of quiet before a run starts). Outside the window plain guidance runs. Two or three runs are
    made for each change, so it is slow on a large model without a graphics card.
    """
    return NegativeWidget(model, prompt, negative_prompt, **settings)
