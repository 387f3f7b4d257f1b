"""The sampler's widget: from a prompt to a picture, and the way there."""

from __future__ import annotations

import io
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from PIL import Image

from ..plots import labelled_grid, to_pil
from ..samplers import SAMPLERS
from ..schedules import SPACINGS
from ..text_to_image import Samples, TextToImage
from ..words import say
from .base import STYLE, WIDE, LiveWidget, Shown, picture_page

_COLUMNS, _SIDE = 6, 64  # of the filmstrip; its pictures are this wide at most
_LARGE = (
    64 * 64
)  # latents with more places take seconds to decode without a graphics card: no strip unless asked


@dataclass(frozen=True)
class Settings:
    """What one run is made with. eta is 0 and spacing the schedule's own unless told otherwise."""

    prompt: str
    negative_prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int
    sampler: str
    eta: float = 0.0
    spacing: str | None = None
    filmstrip: bool = False

    def label(self) -> str:
        """The settings in one line."""
        negative = say(", not “{prompt}”", prompt=self.negative_prompt) if self.negative_prompt else ""
        eta = say(", eta {eta}", eta=f"{self.eta:g}") if self.eta else ""
        return say(
            "“{prompt}”{negative}: {steps} steps of {sampler}{eta}{spacing}, guidance {scale}, seed {seed}",
            prompt=self.prompt,
            negative=negative,
            steps=self.num_inference_steps,
            sampler=self.sampler,
            eta=eta,
            spacing=f"{say(', ')}{self.spacing}" if self.spacing else "",
            scale=f"{self.guidance_scale:g}",
            seed=self.seed,
        )


@dataclass(frozen=True)
class Picture(Shown):
    """`Shown`, with what the model returned and the picture itself."""

    samples: Samples | None = None
    png: bytes = b""


class SamplerWidget(LiveWidget):
    """See `sampler_widget`. The controls are attributes: prompt, negative_prompt, sampler, steps, eta, spacing,
    guidance, seed, filmstrip.
    """

    def __init__(
        self,
        model: TextToImage,
        prompt: str,
        negative_prompt: str = "",
        steps: int = 20,
        guidance: float = 4.0,
        seed: int = 0,
        sampler: str = "ddim",
        eta: float = 0.0,
        spacing: str | None = None,
        filmstrip: bool | None = None,
        scale: int = 4,
        delay: float = 0.15,
    ):
        self.model, self.scale = model, scale
        if filmstrip is None:
            filmstrip = model.latent_shape[1] * model.latent_shape[2] < _LARGE
        text = {"style": STYLE, "layout": WIDE, "continuous_update": False}
        common = {"style": STYLE, "layout": WIDE}
        controls = {
            "prompt": ipw.Text(value=prompt, description=say("Prompt"), **text),
            "negative_prompt": ipw.Text(
                value=negative_prompt, description=say("Negative"), placeholder=say("what to steer away from"), **text
            ),
            **sampler_controls(sampler, steps, eta, spacing or own_spacing(model), seed, most_steps(model)),
            "guidance": ipw.FloatSlider(
                value=guidance, min=0.0, max=15.0, step=0.5, description=say("Guidance scale"), readout_format=".1f",
                **common,
            ),
            "filmstrip": ipw.Checkbox(value=filmstrip, description=say("the way there, step by step"), **common),
        }  # fmt: skip
        order = (
            "prompt",
            "negative_prompt",
            "sampler",
            "steps",
            "eta",
            "spacing",
            "guidance",
            "seed",
            "filmstrip",
        )
        super().__init__({name: controls[name] for name in order}, delay)

    def _settings(self, values: dict) -> Settings:
        spacing = values["spacing"]
        driven = "sampler" in self.model.options
        return Settings(
            values["prompt"],
            values["negative_prompt"],
            values["steps"],
            values["guidance"],
            values["seed"],
            values["sampler"] if driven else say("its own loop"),
            values["eta"] if driven and values["sampler"] == "ddim" else 0.0,
            None if not driven or spacing == own_spacing(self.model) else spacing,
            values["filmstrip"],
        )

    def _adjust(self) -> None:
        takes = self.model.options
        self.eta.disabled = "eta" not in takes or self.sampler.value != "ddim"
        self.sampler.disabled, self.spacing.disabled = "sampler" not in takes, "spacing" not in takes
        self.guidance.disabled = "guidance_scale" not in takes
        self.negative_prompt.disabled = "negative_prompt" not in takes

    def _make(self, settings: Settings, callback) -> Picture | None:
        note, negative = "", settings.negative_prompt or None
        if negative and settings.guidance_scale == 1:
            negative, note = None, say("At guidance scale 1 a negative prompt has no effect.")
        takes = self.model.options
        samples = self.model.sample(
            settings.prompt,
            negative,
            settings.num_inference_steps,
            settings.guidance_scale if "guidance_scale" in takes else None,
            settings.sampler if "sampler" in takes else None,
            settings.eta,
            seed=settings.seed,
            callback=callback,
            keep_trajectory=settings.filmstrip,
            spacing=settings.spacing,
        )
        if samples.stopped:
            return None
        picture = to_pil(samples, self.scale)[0]
        label = settings.label()
        parts = [(picture, say("Picture sampled for {label}", label=label))]
        if settings.filmstrip:
            parts.append(
                (
                    strip(samples),
                    say(
                        "Filmstrip of that run, from its first step to its last: above, the state x_t; below, the "
                        "picture that the network expects there."
                    ),
                )
            )
        said = say(
            "{label}. {nfe} evaluations of the network, {seconds} s.",
            label=label,
            nfe=samples.nfe,
            seconds=f"{samples.seconds:.2f}",
        )
        page = picture_page(said, *parts)
        return Picture(settings, page, label, note, samples, _png(picture))


def sampler_controls(
    sampler: str, steps: int, eta: float, spacing: str, seed: int, most: int
) -> dict[str, ipw.Widget]:
    """The controls that a sampler has whatever it samples: sampler, steps, eta, spacing, seed.

    most: the largest number of steps.
    """
    common = {"style": STYLE, "layout": WIDE}
    return {
        "sampler": ipw.Dropdown(
            value=sampler,
            options=[(s.title, name) for name, s in SAMPLERS.items()],
            description=say("Sampler"),
            **common,
        ),
        "steps": ipw.IntSlider(value=steps, min=1, max=most, description=say("Steps"), **common),
        "eta": ipw.FloatSlider(
            value=eta,
            min=0.0,
            max=1.0,
            step=0.1,
            description=say("eta (DDIM)"),
            readout_format=".1f",
            **common,
        ),
        "spacing": ipw.Dropdown(value=spacing, options=list(SPACINGS), description=say("Spacing"), **common),
        "seed": ipw.BoundedIntText(
            value=seed, min=0, max=2**31 - 1, description=say("Seed"), style=STYLE, layout={"width": "16em"}
        ),
    }


def most_steps(model: TextToImage) -> int:
    """As many steps as a slider can set one by one: 100, or the schedule's length if that is shorter."""
    return min(100, model.schedule.num_train_timesteps) if model.schedule else 100


def own_spacing(model: TextToImage) -> str:
    """The spacing of the model's schedule; the first of the list for a model that runs its own loop."""
    return model.schedule.spacing if model.schedule else SPACINGS[0]


def strip(samples: Samples) -> Image.Image:
    """The first picture's way: two rows, decoded x_t and predicted x0, at up to six steps of the run."""
    run = samples.trajectory
    count = min(_COLUMNS, len(run))
    picks = [round(k * (len(run) - 1) / max(count - 1, 1)) for k in range(count)]
    latents = torch.cat([getattr(run[k], name)[:1] for name in ("x_t", "x0") for k in picks])
    pictures = to_pil(samples.decode(latents))
    for picture in pictures:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    return labelled_grid(pictures, ["x_t", "x0"], [f"t = {run[k].t:.4g}" for k in picks])


def sampler_widget(model: TextToImage, prompt: str, **settings) -> SamplerWidget:
    """Controls for prompt, negative prompt, sampler, steps, eta, spacing, guidance and seed, the picture that
    they make, and the way there as a filmstrip.

    model: any `TextToImage`. settings: the other controls' first values (negative_prompt, steps, guidance,
    seed, sampler, eta, spacing, filmstrip), scale (how many times the picture is enlarged) and delay (seconds
    of quiet before a run starts). eta is noise for DDIM alone, and its slider is off for other samplers. The
    filmstrip decodes twelve more latents; unless told otherwise it is on for small models only. The first
    picture is made at once; later ones in a thread of their own. Errors appear as text in the widget.
    """
    return SamplerWidget(model, prompt, **settings)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
