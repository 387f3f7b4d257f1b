"""Published checkpoints as the landscape counted them, for those who ask whether one fits their card."""

from __future__ import annotations

import torch

from ..checkpoints import memory
from ..checkpoints.memory import Tensors
from ..errors import CheckpointError, check_choice
from ..results import read
from .count import component

# Checkpoints whose components the landscape has counted: name -> (pipeline class, id there, pixels of a side).
PUBLISHED = {
    "Stable Diffusion 1.5": ("StableDiffusionPipeline", "sd-1", 512),
    "Stable Diffusion 2.1": ("StableDiffusionPipeline", "sd-2", 768),
    "Stable Diffusion XL": ("StableDiffusionXLPipeline", "sdxl", 1024),
    "Playground v2.5": ("StableDiffusionXLPipeline", "playground-2-5", 1024),
    "PixArt-α": ("PixArtAlphaPipeline", "pixart-alpha", 1024),
    "PixArt-Σ": ("PixArtSigmaPipeline", "pixart-sigma", 1024),
    "Stable Diffusion 3 Medium": ("StableDiffusion3Pipeline", "sd-3", 1024),
    "Stable Diffusion 3.5 Large": ("StableDiffusion3Pipeline", "sd-3-5-large", 1024),
    "FLUX.1 [dev]": ("FluxPipeline", "flux-1-dev", 1024),
    "Sana 1.6B": ("SanaPipeline", "sana", 1024),
    "DeepFloyd IF, two stages": ("IFPipeline", "deepfloyd-if", 256),
}


def published(name: str) -> tuple[dict[str, Tensors], list[str]]:
    """A published checkpoint's components as `memory.place` takes them, and those that were not counted.

    The counts are the landscape's, made from published configurations, not from weights. Raises ValueError for a
    name that is not in PUBLISHED.
    """
    check_choice("name", name, PUBLISHED)
    found = read("landscape")["measured"][PUBLISHED[name][1]]
    tensors = {}
    for part, parameters in found["parameters"].items():
        kept = 0
        if component(part)["class"].endswith("T5EncoderModel"):  # transformers keeps `wo` out of float16
            config = component(part)["config"]
            kept = config["num_layers"] * config["d_ff"] * config["d_model"]
        tensors[part] = Tensors(parameters, kept)
    return tensors, found["missing"]


def decoder(name: str) -> str | None:
    """The part that turns latents into pixels, or None where it was not counted or there is none."""
    return next((part for part in published(name)[0] if part.startswith("vae-")), None)


def float32_parts(name: str) -> tuple[str, ...]:
    """Parts that are in float32 where float16 is asked for: the autoencoder of Stable Diffusion XL's class.

    Its decoder overflows in float16. diffusers' pipeline of that class turns it into float32 where its config has
    `force_upcast`, the class's default; `load` keeps it in float32 from the start.
    """
    kind, part = PUBLISHED[check_choice("name", name, PUBLISHED)][0], decoder(name)
    return (part,) if kind == "StableDiffusionXLPipeline" and part else ()


def room(name: str) -> dict[torch.dtype, int]:
    """dtype -> bytes for the decoder's widest maps of one picture at the published size."""
    side = PUBLISHED[check_choice("name", name, PUBLISHED)][2]
    kinds = {kind: kind for kind in (torch.float32, torch.float16, torch.bfloat16)}
    if float32_parts(name):
        kinds[torch.float16] = torch.float32
    return {kind: memory.working_bytes(side, side, 256, held) for kind, held in kinds.items()}


def place(name: str, card: int, host: int, dtype: torch.dtype) -> str:
    """How a published checkpoint goes onto a CUDA card: "whole", "offload", or "no" where it does not.

    card, host: free bytes of the card and of main memory.
    """
    held = float32_parts(name) if dtype == torch.float16 else ()
    try:
        return memory.place(
            repr(name), published(name)[0], room(name), torch.device("cuda"), dtype, None,
            {"cuda": card, "cpu": host}, held, decoder(name),
        )  # fmt: skip
    except CheckpointError:
        return "no"
