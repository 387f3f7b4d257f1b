"""A broken copy of a U-Net, for rules that push away from it: perturbed-attention and skip-layer guidance.

The copy shares every weight with the model, and has other attention processors in the layers that are broken, so no model
is changed and no hook is set: both may be asked at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UnsupportedModelError, allowed, check_choice

KINDS = ("identity", "skip")


class Identity:
    """Self-attention whose map is the identity: each position attends to itself (Ahn et al. 2024).

    Opened: diffusers' `PAGIdentitySelfAttnProcessor2_0`, whose perturbed half this is.
    """

    def __call__(self, attn, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        return _around(attn, hidden_states, lambda x: attn.to_out[1](attn.to_out[0](attn.to_v(x))))


class Skip:
    """Self-attention that is left out: what is added to the block's state is zero."""

    def __call__(self, attn, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        return _around(attn, hidden_states, torch.zeros_like)


def _around(attn, states: Tensor, inner) -> Tensor:
    """What diffusers does before and after an attention layer's own work; (B, C, h, w) or (B, positions, C)."""
    shape, x = states.shape, states
    if x.ndim == 4:
        x = x.flatten(2).transpose(1, 2)
    if attn.group_norm is not None:
        x = attn.group_norm(x.transpose(1, 2)).transpose(1, 2)
    x = inner(x)
    if states.ndim == 4:
        x = x.transpose(1, 2).reshape(shape)
    if attn.residual_connection:
        x = x + states
    return x / attn.rescale_output_factor


def self_attention(unet) -> tuple[str, ...]:
    """The names of a U-Net's self-attention layers, as its processors are named."""
    return tuple(name for name in unet.attn_processors if name.split(".")[-2] == "attn1")


def perturbed(model, layers: Sequence[str] = ("mid_block",), kind: str = "identity"):
    """An adapter that answers as the model's does, but for the self-attention in `layers`, which is broken.

    layers: beginnings of names of `self_attention(unet)`, such as "mid_block" or "up_blocks.0". kind: "identity" or
    "skip". Raises ValueError for layers that match nothing, UnsupportedModelError for a model without a U-Net of ours.
    """
    check_choice("kind", kind, KINDS)
    adapter = getattr(model, "adapter", None)
    if not hasattr(getattr(adapter, "unet", None), "attn_processors"):
        raise UnsupportedModelError(allowed("model", model, "one whose U-Net our samplers ask"))
    names = self_attention(adapter.unet)
    chosen = [name for name in names if any(name.startswith(layer) for layer in layers)]
    if not chosen:
        raise ValueError(allowed("layers", tuple(layers), f"beginnings of {', '.join(names)}"))
    shared = [*adapter.unet.parameters(), *adapter.unet.buffers()]
    unet = copy.deepcopy(adapter.unet, {id(tensor): tensor for tensor in shared})
    processors = dict(unet.attn_processors)
    processors |= {name: (Identity if kind == "identity" else Skip)() for name in chosen}
    unet.set_attn_processor(processors)
    other = copy.copy(adapter)
    other.unet = unet
    return other
