"""Normalized attention guidance: a negative prompt inside the attention layers, for networks that take no scale.

One evaluation a step: the states of the negative prompt meet each cross-attention layer beside the prompt's, and the
layer's answer is pushed away from what the negative alone would have given. Chen et al. 2025; opened: the abstract, the
project page, and a copy of the authors' attention processor (nag/attention_nag.py).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UnsupportedModelError, allowed, check_number
from ..text_to_image import TextToImage
from .adapters import StableDiffusionAdapter


def normalized(
    positive: Tensor, negative: Tensor, scale: float, tau: float = 2.5, alpha: float = 0.25
) -> Tensor:
    """alpha z min(|z|, tau |p|) / |z| + (1 - alpha) p,   z = s p - (s - 1) n = p + (s - 1) (p - n)

    p, n: what a layer answers to the prompt and to the negative, (B, positions, C); |.| is the sum of absolute values of a
    position. The push is the usual one, in attention space; tau bounds how long its result may be, and alpha mixes it in.
    """
    pushed = scale * positive - (scale - 1) * negative
    long, before = (z.abs().sum(-1, keepdim=True) for z in (pushed, positive))
    kept = torch.minimum(long, tau * before) / long.clamp(min=1e-12)
    return alpha * kept * pushed + (1 - alpha) * positive


class Nag:
    """A cross-attention layer's processor: `normalized`, away from the states of one text, (1, tokens, width)."""

    def __init__(self, against: Tensor, scale: float, tau: float, alpha: float):
        self.against, self.scale, self.tau, self.alpha = against, scale, tau, alpha

    def __call__(self, attn, hidden_states: Tensor, encoder_hidden_states: Tensor, *args, **kwargs) -> Tensor:
        query = attn.to_q(hidden_states)
        against = self.against.to(encoder_hidden_states).expand(len(query), -1, -1)
        found = [_attend(attn, query, states) for states in (encoder_hidden_states, against)]
        return attn.to_out[1](attn.to_out[0](normalized(*found, self.scale, self.tau, self.alpha)))


def _attend(attn, query: Tensor, states: Tensor) -> Tensor:
    """(B, positions, C): attention from `query` to the states of a text (B, tokens, width), before the layer's output."""
    heads = [
        x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for x in (query, attn.to_k(states), attn.to_v(states))
    ]
    return functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


def nag(
    model: TextToImage, negative_prompt: str, scale: float = 5.0, tau: float = 2.5, alpha: float = 0.25
) -> TextToImage:
    """The same model with the negative prompt in all its cross-attention layers; weights are shared, nothing is changed.

    scale: 1 pushes nothing; tau: 1 or more; alpha in [0, 1], 0 changes nothing. Raises UnsupportedModelError for a model
    without a U-Net whose cross-attention is diffusers' plain one, ValueError for a scale, tau or alpha out of range.
    """
    scale = check_number("scale", scale)
    tau, alpha = check_number("tau", tau, 1.0), check_number("alpha", alpha, 0.0, 1.0)
    adapter = getattr(model, "adapter", None)
    if not isinstance(adapter, StableDiffusionAdapter) or not hasattr(adapter.unet, "attn_processors"):
        raise UnsupportedModelError(allowed("model", model, "one whose U-Net our samplers ask"))
    against = StableDiffusionAdapter.encode_text(
        adapter, [model._checked("negative_prompt", negative_prompt)]
    )
    shared = [*adapter.unet.parameters(), *adapter.unet.buffers()]
    unet = copy.deepcopy(adapter.unet, {id(tensor): tensor for tensor in shared})
    processors = {
        name: Nag(against, scale, tau, alpha) if name.split(".")[-2] == "attn2" else processor
        for name, processor in unet.attn_processors.items()
    }
    unet.set_attn_processor(processors)
    other = copy.copy(adapter)
    other.unet = unet
    return type(model)(other, model.schedule, model.name, model.check_prompt)
