"""Denoisers over the components of other pipelines than Stable Diffusion 1 and 2: SDXL and PixArt.

What they add to a U-Net with a text condition: a second text encoder and a pooled text, sizes as a condition,
attention masks, and output channels for a variance that our samplers do not use.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .denoisers import StableDiffusionAdapter
from .errors import UnsupportedModelError, allowed


class StableDiffusionXLAdapter(StableDiffusionAdapter):
    """A denoiser over the components of a `StableDiffusionXLPipeline` (Podell et al. 2023).

    Text states are the last but one of both encoders, side by side; the second encoder's pooled text and six
    sizes (original, crop, target: here the model's own size, uncropped) are added to the timestep's embedding.
    The unconditional prediction gets zeros for both texts if `force_zeros_for_empty_prompt`, which is not what
    the encoders make of "": a negative prompt of "" is another prediction than none.
    """

    def __init__(
        self,
        unet,
        vae,
        text_encoder,
        tokenizer,
        text_encoder_2,
        tokenizer_2,
        force_zeros_for_empty_prompt: bool = True,
        **options,
    ):
        self.text_encoder_2, self.tokenizer_2 = text_encoder_2, tokenizer_2
        self.force_zeros_for_empty_prompt = force_zeros_for_empty_prompt
        super().__init__(unet, vae, text_encoder, tokenizer, **options)
        scale = 2 ** (len(vae.config.block_out_channels) - 1)
        height, width = (scale * side for side in self.latent_shape[1:])
        self.sizes = (height, width, 0, 0, height, width)

    @property
    def modules(self) -> tuple:
        return *super().modules, self.text_encoder_2

    def _check(self) -> None:
        self._check_channels(self.unet.config.out_channels)
        wanted = {"addition_embed_type": "text_time", "class_embed_type": None, "time_cond_proj_dim": None}
        for name, value in wanted.items():
            if self.unet.config.get(name) != value:
                raise UnsupportedModelError(
                    allowed(f"unet {name}", self.unet.config.get(name), f"{value!r} (SDXL layout)")
                )

    def _encode(self, prompts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        states = []
        for tokenizer, encoder in (
            (self.tokenizer, self.text_encoder),
            (self.tokenizer_2, self.text_encoder_2),
        ):
            tokens = tokenizer(
                [p or "" for p in prompts],
                padding="max_length",
                max_length=self.max_tokens,
                truncation=True,
                return_tensors="pt",
            )
            out = encoder(tokens.input_ids.to(self.device), output_hidden_states=True)
            states.append(out.hidden_states[-2])
        states, pooled = torch.cat(states, dim=-1).to(self.dtype), out[0].to(self.dtype)
        if self.force_zeros_for_empty_prompt:
            empty = torch.tensor([p is None for p in prompts], device=self.device)
            states, pooled = (
                states.masked_fill(empty[:, None, None], 0),
                pooled.masked_fill(empty[:, None], 0),
            )
        return states, pooled

    def _predict(self, rows: Tensor, t: Tensor, condition) -> Tensor:
        states, pooled = condition.parts
        sizes = torch.tensor([self.sizes], dtype=self.dtype, device=self.device).expand(len(rows), -1)
        added = {"text_embeds": pooled, "time_ids": sizes}
        return self.unet(rows, t, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False)[0]


class PixArtAdapter(StableDiffusionAdapter):
    """A denoiser over the components of a `PixArtAlphaPipeline` or `PixArtSigmaPipeline` (Chen et al. 2023).

    A T5 encoder whose mask goes along; the text is stripped and in lower case, as diffusers makes it without
    `clean_caption`. The network predicts a variance in further channels, which are dropped.

    Args:
        max_length: tokens of a prompt, 120 for alpha and 300 for Sigma.
        sized: whether the picture's size and aspect ratio are a condition (alpha at 1024 pixels).
    """

    marks = 1  # T5 ends a text and does not start it

    def __init__(
        self,
        transformer,
        vae,
        text_encoder,
        tokenizer,
        max_length: int = 300,
        sized: bool = False,
        **options,
    ):
        self.max_length, self.sized = max_length, sized
        super().__init__(transformer, vae, text_encoder, tokenizer, **options)
        self.scale = 2 ** (len(vae.config.block_out_channels) - 1)

    def _check(self) -> None:
        channels = self.unet.config.out_channels
        self._check_channels(channels // 2 if channels == 2 * self.unet.config.in_channels else channels)

    @property
    def max_tokens(self) -> int:
        return self.max_length

    def _encode(self, prompts: Sequence[str | None]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(
            [(p or "").lower().strip() for p in prompts],
            padding="max_length",
            max_length=self.max_length,
            truncation=True,
            return_tensors="pt",
        )
        mask = tokens.attention_mask.to(self.device)
        return self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask)[0].to(
            self.dtype
        ), mask

    def _predict(self, rows: Tensor, t: Tensor, condition) -> Tensor:
        states, mask = condition.parts
        added = {"resolution": None, "aspect_ratio": None}
        if self.sized:
            height, width = (self.scale * side for side in self.latent_shape[1:])
            size, ratio = torch.tensor([[height, width]]), torch.tensor([[height / width]])
            added = {"resolution": size.to(rows), "aspect_ratio": ratio.to(rows)}
            added = {name: value.expand(len(rows), -1) for name, value in added.items()}
        out = self.unet(
            rows,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            timestep=t.expand(len(rows)),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return out[:, : rows.shape[1]]
