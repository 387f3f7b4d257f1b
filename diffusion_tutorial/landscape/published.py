"""Published checkpoints as the landscape counted them, for those who ask whether one fits their card."""

from __future__ import annotations

from ..checkpoints.memory import Tensors
from ..errors import check_choice
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
