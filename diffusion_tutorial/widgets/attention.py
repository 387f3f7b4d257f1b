"""Which word each place of a picture looks up: the attention widget."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import ipywidgets as ipw
import torch
from PIL import Image
from torch import Tensor

from ..checkpoints.attention import recording, words
from ..errors import UnsupportedModelError, allowed
from ..guidance import COND, NEG
from ..plots import PAPER, labelled_grid, lit, to_pil
from ..text_to_image import TextToImage
from .base import STYLE, WIDE, LiveWidget, Shown, picture_page

_COLUMNS, _KEPT = 6, 4  # pictures a row; runs that are remembered


@dataclass(frozen=True)
class Settings:
    """What one run is made with; `step` is the one whose maps are shown, from 1."""

    prompt: str
    negative_prompt: str
    guidance_scale: float
    seed: int
    num_inference_steps: int
    step: int

    @property
    def run(self) -> tuple:
        """All but the step: runs that agree in it are one."""
        return self.prompt, self.negative_prompt, self.guidance_scale, self.seed, self.num_inference_steps

    def label(self) -> str:
        """The settings in one line."""
        negative = f", not “{self.negative_prompt}”" if self.negative_prompt else ""
        return (
            f"“{self.prompt}”{negative}: step {self.step} of {self.num_inference_steps}, "
            f"guidance {self.guidance_scale:g}, seed {self.seed}"
        )


@dataclass(frozen=True)
class Maps(Shown):
    """`Shown`, with the maps of the words at the step, word -> (h, w); a negative's words have "not " before them."""

    maps: dict[str, Tensor] | None = None


class AttentionWidget(LiveWidget):
    """See `attention_widget`. The controls are attributes: prompt, negative_prompt, step, guidance, seed."""

    def __init__(
        self,
        model: TextToImage,
        prompt: str,
        negative_prompt: str = "",
        step: int = 9,
        steps: int = 20,
        guidance: float = 4.0,
        seed: int = 0,
        scale: int = 2,
        delay: float = 0.15,
    ):
        if not hasattr(getattr(model, "adapter", None), "unet"):
            raise UnsupportedModelError(allowed("model", model, "one that our samplers drive"))
        self.model, self.steps, self.scale = model, steps, scale
        self._runs: OrderedDict[tuple, tuple] = OrderedDict()
        text = {"style": STYLE, "layout": WIDE, "continuous_update": False}
        common = {"style": STYLE, "layout": WIDE}
        super().__init__(
            {
                "prompt": ipw.Text(value=prompt, description="Prompt", **text),
                "negative_prompt": ipw.Text(
                    value=negative_prompt, description="Negative", placeholder="what to steer away from", **text
                ),
                "step": ipw.IntSlider(value=min(step, steps), min=1, max=steps, description="Step", **common),
                "guidance": ipw.FloatSlider(
                    value=guidance, min=0.0, max=15.0, step=0.5, description="Guidance scale",
                    readout_format=".1f", **common,
                ),
                "seed": ipw.BoundedIntText(
                    value=seed, min=0, max=2**31 - 1, description="Seed", style=STYLE, layout={"width": "16em"}
                ),
            },
            delay,
        )  # fmt: skip

    def _settings(self, values: dict) -> Settings:
        return Settings(
            values["prompt"],
            values["negative_prompt"],
            values["guidance"],
            values["seed"],
            self.steps,
            values["step"],
        )

    def _make(self, settings: Settings, callback) -> Maps | None:
        if settings.run not in self._runs:
            found = self._recorded(settings, callback)
            if found is None:
                return None
            self._runs[settings.run] = found
            while len(self._runs) > _KEPT:
                self._runs.popitem(last=False)
        seen, run = self._runs[settings.run]
        at = settings.step - 1
        expected = self.model.decode(run[at].x0)[0]
        maps = {}
        for branch, text, mark in (
            (COND, settings.prompt, ""),
            (NEG, settings.negative_prompt, "not "),
        ):
            if text and branch in seen.asked[at].branches:
                for word, places in words(self.model, text).items():
                    maps[mark + word] = seen.map(places, branch, [at])[0]
        sheet = self._sheet(expected, maps)
        label = settings.label()
        alt = (
            f"The picture that the network expects, {label}; then the same picture once for each of these words, bright "
            f"where the word is looked up: {', '.join(maps)}."
        )
        page = picture_page(f"{label}. Bright: where the word is looked up.", (sheet, alt))
        return Maps(settings, page, label, "", maps)

    def _recorded(self, settings: Settings, callback) -> tuple | None:
        """(what was seen, the run's steps), or None where it was given up."""
        negative = settings.negative_prompt or None
        with recording(self.model) as seen:
            samples = self.model.sample(
                settings.prompt,
                None if settings.guidance_scale == 1 else negative,
                settings.num_inference_steps,
                settings.guidance_scale,
                seed=settings.seed,
                callback=callback,
            )
        return None if samples.stopped else (seen, samples.trajectory)

    def _sheet(self, picture: Tensor, maps: dict[str, Tensor]) -> Image.Image:
        """The picture, and once more for each word, with the words above."""
        shown = torch.cat([picture[None], lit(picture, torch.stack(list(maps.values())))])
        pictures = to_pil(shown, self.scale if picture.shape[-1] <= 128 else 1)
        names, blank = ["expected", *maps], -len(shown) % _COLUMNS
        pictures += [Image.new("RGB", pictures[0].size, PAPER)] * blank
        names += [""] * blank
        rows = [slice(k, k + _COLUMNS) for k in range(0, len(names), _COLUMNS)]
        return stacked([labelled_grid(pictures[row], [""], names[row]) for row in rows])


def stacked(pictures: list[Image.Image]) -> Image.Image:
    """Pictures one below the other."""
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), PAPER)
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def attention_widget(model: TextToImage, prompt: str, **settings) -> AttentionWidget:
    """Controls for prompt, negative prompt, step, guidance and seed; and, at that step of the run, the picture that the
    network expects, once plain and once for each word, bright where the word is looked up.

    A run is drawn once, and the step's slider goes through it. model: any that our samplers drive, with cross-attention.
    settings: the other controls' first values (negative_prompt, step, guidance, seed), steps (of a run), scale (how many
    times small pictures are enlarged) and delay (seconds of quiet before a run starts).

    Raises UnsupportedModelError for a model that runs its own loop.
    """
    return AttentionWidget(model, prompt, **settings)
