"""Guidance side by side: one start and several scales, by every method at hand; and the same on points in the plane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import ipywidgets as ipw
from torch import Tensor

from ..guidance import ClassifierFree, ClassifierGuidance, Interval, PerPicture, Rule
from ..mixtures import GaussianMixture, GuidedMixture, TiltedMixture, noise_to_data, sliced_wasserstein, solve
from ..noise import gaussian, step_noise
from ..plots import labelled_grid, path_picture, to_pil
from ..samplers import walk
from ..text_to_image import Samples, TextToImage
from ..words import say
from .base import STYLE, WIDE, LiveWidget, Shown, picture_page
from .sampler import most_steps

Gradient = Callable[[Tensor, int, str], Tensor]
FREE, INTERVAL, CLASSIFIER = "classifier-free", "interval", "classifier"


def scales_to(largest: float, count: int = 5) -> list[float]:
    """0 (nothing of the prompt), 1 (Bayes' rule) and then even ratios up to `largest`."""
    return [0.0, 1.0, *(round(largest ** (k / (count - 2)), 1) for k in range(1, count - 1))]


@dataclass(frozen=True)
class GuidanceSettings:
    """What one set of strips is made with."""

    prompt: str
    method: str
    largest: float
    num_inference_steps: int
    seed: int
    interval: tuple[float, float]

    def label(self) -> str:
        """The settings in one line."""
        start, stop = self.interval
        inside = ""
        if self.method in ("all", INTERVAL):
            inside = say(", interval {start} to {stop} of the run", start=f"{start:g}", stop=f"{stop:g}")
        return say(
            "“{prompt}”: {steps} steps of DDIM, seed {seed}{inside}",
            prompt=self.prompt,
            steps=self.num_inference_steps,
            seed=self.seed,
            inside=inside,
        )


@dataclass(frozen=True)
class Strips(Shown):
    """`Shown`, with the samples of each method, one picture a scale."""

    scales: tuple[float, ...] = ()
    samples: Mapping[str, Samples] = None


class GuidanceWidget(LiveWidget):
    """See `guidance_widget`. The controls are attributes: prompt, method, largest, interval, steps, seed."""

    def __init__(
        self,
        model: TextToImage,
        prompt: str,
        gradient: Gradient | None = None,
        method: str = "all",
        largest: float = 8.0,
        interval: tuple[float, float] = (0.1, 0.6),
        steps: int = 20,
        seed: int = 0,
        scale: int = 2,
        delay: float = 0.15,
    ):
        self.model, self.gradient, self.scale = model, gradient, scale
        methods = (FREE, INTERVAL) if gradient is None else (CLASSIFIER, FREE, INTERVAL)
        common = {"style": STYLE, "layout": WIDE}
        super().__init__(
            {
                "prompt": ipw.Text(value=prompt, description=say("Prompt"), continuous_update=False, **common),
                "method": ipw.Dropdown(value=method, options=["all", *methods], description=say("Method"), **common),
                "largest": ipw.FloatSlider(
                    value=largest, min=2.0, max=32.0, step=1.0, readout_format=".0f",
                    description=say("Largest scale"), **common
                ),
                "interval": ipw.FloatRangeSlider(
                    value=interval, min=0.0, max=1.0, step=0.05, description=say("Interval"), readout_format=".2f", **common
                ),
                "steps": ipw.IntSlider(value=steps, min=1, max=most_steps(model), description=say("Steps"), **common),
                "seed": ipw.BoundedIntText(
                    value=seed, min=0, max=2**31 - 1, description=say("Seed"), style=STYLE, layout={"width": "16em"}
                ),
            },
            delay,
        )  # fmt: skip

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods at hand, in the order of the rows."""
        return tuple(self.controls["method"].options[1:])

    def _settings(self, values: dict) -> GuidanceSettings:
        return GuidanceSettings(
            values["prompt"], values["method"], values["largest"], values["steps"], values["seed"],
            tuple(values["interval"]),
        )  # fmt: skip

    def _adjust(self) -> None:
        self.controls["interval"].disabled = self.controls["method"].value not in ("all", INTERVAL)

    def _rule(self, method: str, scale: float, settings: GuidanceSettings) -> Rule:
        if method == CLASSIFIER:
            return ClassifierGuidance(scale, partial(_with_prompt, self.gradient, settings.prompt))
        free = ClassifierFree(scale)
        return Interval(free, *settings.interval) if method == INTERVAL else free

    def _make(self, settings: GuidanceSettings, callback) -> Strips | None:
        methods = self.methods if settings.method == "all" else (settings.method,)
        scales = scales_to(settings.largest)
        start = gaussian((1, *self.model.latent_shape), settings.seed).repeat(len(scales), 1, 1, 1)
        drawn: dict[str, Samples] = {}
        for method in methods:
            drawn[method] = self.model.sample(
                settings.prompt,
                num_inference_steps=settings.num_inference_steps,
                num_images=len(scales),
                latents=start,
                guidance=PerPicture([self._rule(method, s, settings) for s in scales]),
                callback=callback,
                keep_trajectory=False,
            )
            if drawn[method].stopped:
                return None
        pictures = [picture for method in methods for picture in to_pil(drawn[method], self.scale)]
        sheet = labelled_grid(pictures, list(methods), [say("scale {s}", s=f"{s:g}") for s in scales])
        label = settings.label()
        numbers = say(", ").join(f"{method} {samples.seconds:.1f} s" for method, samples in drawn.items())
        alt = say(
            "Pictures from one start, {label}. A row each for {methods}; the scale grows from left to right: {scales}.",
            label=label,
            methods=say(", ").join(methods),
            scales=say(", ").join(f"{s:g}" for s in scales),
        )
        said = say(
            "{label}. Time for {count} pictures: {numbers}.", label=label, count=len(scales), numbers=numbers
        )
        page = picture_page(said, (sheet, alt))
        return Strips(settings, page, label, "", tuple(scales), drawn)


def guidance_widget(
    model: TextToImage, prompt: str, gradient: Gradient | None = None, **settings
) -> GuidanceWidget:
    """Strips of one start over scales, a row a method: classifier guidance, classifier-free guidance, and the latter
    inside an interval of the run only. Scale 0 is the unconditional model and 1 Bayes' rule, for all of them (outside
    its interval the third is the conditional model).

    model: any `TextToImage`. gradient: (x_t, t, prompt) -> the gradient of log p(prompt | x_t), in the shape of x_t;
    without it there is no row for classifier guidance. settings: the controls' first values (method: "all" or one
    of them; largest: the last column's scale; interval: fractions of the run; steps, seed), scale (how many times
    pictures are enlarged) and delay (seconds of quiet before a run starts).
    """
    return GuidanceWidget(model, prompt, gradient, **settings)


def _with_prompt(gradient: Gradient, prompt: str, x_t: Tensor, t: int) -> Tensor:
    return gradient(x_t, t, prompt)


# ------------------------------------------------------------------------------------------------------------
# Points in the plane


@dataclass(frozen=True)
class PlaneSettings:
    """What one set of paths is made with."""

    scale: float
    sampler: str
    label_of_class: int
    num_inference_steps: int
    seed: int

    def label(self) -> str:
        """The settings in one line."""
        return say(
            "class {which}, scale {scale}, {steps} steps of {sampler}, seed {seed}",
            which=self.label_of_class,
            scale=f"{self.scale:g}",
            steps=self.num_inference_steps,
            sampler=self.sampler.upper(),
            seed=self.seed,
        )


@dataclass(frozen=True)
class GuidedPaths(Shown):
    """`Shown`, with where the points were, (N, 2) a step, and three sliced Wasserstein distances."""

    positions: tuple[Tensor, ...] = ()
    guided: float = 0.0
    unguided: float = 0.0
    floor: float = 0.0


class GuidedPlaneWidget(LiveWidget):
    """See `guided_plane_widget`. The controls are attributes: scale, sampler, target, steps, seed."""

    def __init__(
        self,
        mixture: GaussianMixture,
        scale: float = 3.0,
        sampler: str = "ddim",
        target: int = 0,
        steps: int = 40,
        seed: int = 0,
        points: int = 300,
        limit: float = 3.0,
        delay: float = 0.05,
    ):
        if mixture.dim != 2:
            raise ValueError(f"mixture has {mixture.dim} dimensions; allowed: 2")
        self.mixture, self.points, self.limit = mixture, points, limit
        common = {"style": STYLE, "layout": WIDE}
        super().__init__(
            {
                "scale": ipw.FloatSlider(
                    value=scale, min=1.0, max=10.0, step=0.25, description=say("Scale"), readout_format=".2f", **common
                ),
                "sampler": ipw.Dropdown(
                    value=sampler, options=[("DDIM", "ddim"), ("DDPM", "ddpm")], description=say("Sampler"), **common
                ),
                "target": ipw.Dropdown(
                    value=target, options=list(range(mixture.num_classes)), description=say("Class"), **common
                ),
                "steps": ipw.IntSlider(value=steps, min=4, max=100, description=say("Steps"), **common),
                "seed": ipw.BoundedIntText(
                    value=seed, min=0, max=2**31 - 1, description=say("Seed"), style=STYLE, layout={"width": "16em"}
                ),
            },
            delay,
        )  # fmt: skip

    def _settings(self, values: dict) -> PlaneSettings:
        return PlaneSettings(
            values["scale"], values["sampler"], values["target"], values["steps"], values["seed"]
        )

    def _make(self, settings: PlaneSettings, callback) -> GuidedPaths | None:
        guided = GuidedMixture(self.mixture, settings.label_of_class, settings.scale)
        tilted = TiltedMixture(self.mixture, settings.label_of_class, settings.scale)
        levels = noise_to_data(settings.num_inference_steps)
        x = gaussian((self.points, 2), settings.seed).double()
        positions = [x]
        noise = step_noise(x.shape, settings.seed)
        for step in walk(guided.eps, x, levels, settings.sampler, 0.0, noise):
            positions.append(step.x_s)
            if callback(step.index, settings.num_inference_steps, step) is False:
                return None
        truth = tilted.sample(self.points, settings.seed)
        far = partial(sliced_wasserstein, projections=16)
        unguided = far(solve(guided.conditional, x, levels, settings.sampler, seed=settings.seed), truth)
        distance, floor = far(positions[-1], truth), far(tilted.sample(self.points, settings.seed + 1), truth)
        label = settings.label()
        alt = say(
            "Paths of {points} points, {label}, over the tilted density. Six of them are in colour, with a ring where "
            "they start and a dot where they end.",
            points=self.points,
            label=label,
        )
        page = picture_page(
            say(
                "{label}. Behind the points: the tilted density. Distance of the ends from it: {distance}; without "
                "guidance: {unguided}; of as many draws from the tilted density itself: {floor}.",
                label=label,
                distance=f"{distance:.2f}",
                unguided=f"{unguided:.2f}",
                floor=f"{floor:.2f}",
            ),
            (path_picture(positions, tilted.log_prob, limit=self.limit), alt),
        )
        return GuidedPaths(settings, page, label, "", tuple(positions), distance, unguided, floor)


def guided_plane_widget(mixture: GaussianMixture, **settings) -> GuidedPlaneWidget:
    """Controls for scale, sampler, class, steps and seed, and the paths that points in the plane take under guidance
    with exact predictions, over the tilted density p(x) p(y | x)^scale.

    With exact predictions classifier and classifier-free guidance are the same, so there is no control for that.
    mixture: in the plane, with at least one class. settings: the controls' first values (scale, sampler, target,
    steps, seed), points (how many), limit (the picture shows [-limit, limit] squared) and delay.
    """
    return GuidedPlaneWidget(mixture, **settings)
