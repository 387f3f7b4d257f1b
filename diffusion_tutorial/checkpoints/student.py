"""Models distilled to a few evaluations, whose guidance scale and negative prompt are inputs of the network.

There is no rule of guidance around such a network and no choice of sampler: it was trained for a walk of one, two or
four Euler steps on a flow's straight line, and takes the scale and the negative prompt beside the text, as the
guidance-distilled FLUX.1 [dev] takes its scale (Meng et al. 2023).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import UnsupportedModelError, allowed, check_number
from ..text_to_image import Samples, TextToImage
from .adapters import Condition, StableDiffusionAdapter

STEPS = (1, 2, 4)
MOST = 6.0  # the largest scale that was trained
WAVES = 16  # numbers that tell the scale
WIDTH = 128  # of the text's states
TOLD = WAVES + WIDTH


def told(scale: Tensor, states: Tensor) -> Tensor:
    """(B, TOLD): what the network is told of guidance, cosines of log(scale) beside a sum of the negative prompt.

    scale (B,) in [1, MOST]; states (B, tokens, WIDTH), the text encoder's of the negative prompt, summed over the tokens
    and divided by the root of their number. (The state of the end token alone does not know a shape that was named.) The
    cosines are those of a Fourier series on the range, cos(pi k u) with u = log(scale) / log(MOST), so that near scales
    look alike.
    """
    u = scale.double().log() / math.log(MOST)
    waves = torch.cos(math.pi * u[:, None] * torch.arange(WAVES, dtype=torch.float64, device=u.device))
    return torch.cat([waves.to(states), states.sum(1) / states.shape[1] ** 0.5], 1)


class StudentAdapter(StableDiffusionAdapter):
    """As `StableDiffusionAdapter`, for a U-Net with the further input `told`; `guided` sets it for a run."""

    scale, negatives = 1.0, (None,)

    def guided(self, scale: float, negatives: Sequence[str | None]) -> StudentAdapter:
        """The same networks, told this scale and these negative prompts, one for all or one a prompt."""
        other = copy.copy(self)
        other.scale, other.negatives = scale, tuple(negatives)
        return other

    def _check(self) -> None:
        self._check_channels(self.unet.config.out_channels)
        width = self.unet.config.get("time_cond_proj_dim")
        if width != TOLD:
            raise UnsupportedModelError(allowed("unet time_cond_proj_dim", width, f"{TOLD} (a student's)"))

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str | None]) -> Condition:
        """Text embeddings of n prompts, and beside them what the network is told of guidance."""
        states, against = super().encode_text(prompts), super().encode_text(self.negatives)
        if len(against) == 1:
            against = against.expand(len(states), -1, -1)
        return Condition(states, told(torch.full((len(states),), self.scale, device=self.device), against))

    def _predict(self, rows: Tensor, t: Tensor, condition: Condition) -> Tensor:
        states, extra = condition.parts
        return self.unet(rows, t, states, timestep_cond=extra, return_dict=False)[0]


class Student(TextToImage):
    """A `TextToImage` of one, two or four evaluations; `options` has what its `sample` takes."""

    options = frozenset(("negative_prompt", "guidance_scale", "latents"))
    defaults = MappingProxyType({"num_inference_steps": 4, "guidance_scale": 2.0, "sampler": "ddim"})

    def sample(
        self,
        prompt,
        negative_prompt=None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: str | None = None,
        eta: float = 0.0,
        seed: int = 0,
        num_images: int = 1,
        guidance=None,
        callback=None,
        *,
        spacing: str | None = None,
        noise=None,
        negatives=None,
        **options,
    ) -> Samples:
        """Pictures for a prompt, as `TextToImage.sample`, by one, two or four evaluations of the network.

        guidance_scale, in [1, MOST], and negative_prompt are inputs of the network; nfe counts one a step whatever they
        are; `noise` is not asked, since Euler's steps add none. Raises ValueError for other steps, another sampler or
        spacing, eta, or a rule of guidance.
        """
        steps, scale, sampler = self._settings(num_inference_steps, guidance_scale, sampler)
        why = f"with {self.name}, which was distilled for them"
        if isinstance(steps, bool) or steps not in STEPS:
            raise ValueError(allowed("num_inference_steps", steps, f"1, 2 or 4 {why}"))
        scale = check_number("guidance_scale", scale, 1.0, MOST)
        for name, value, only in (
            ("sampler", sampler, "ddim"),
            ("spacing", spacing or self.schedule.spacing, self.schedule.spacing),
            ("eta", eta, 0),
            ("guidance", guidance, None),
            ("negatives", negatives, None),
        ):
            if value != only:
                raise ValueError(
                    allowed(
                        name,
                        value,
                        f"{only!r} with {self.name}, whose steps are Euler's and whose network is told of guidance",
                    )
                )
        given = self._negatives(negative_prompt, len(self._prompts(prompt)))
        told_model = TextToImage(
            self.adapter.guided(scale, given or (None,)), self.schedule, self.name, self.check_prompt
        )
        told_model.asking = self.asking
        return told_model.sample(
            prompt, None, int(steps), 1.0, "ddim", 0.0, seed, num_images, None, callback, **options
        )
