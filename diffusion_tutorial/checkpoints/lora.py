"""LoRA: low-rank changes of a model's weights, W + scale * B A, read from a safetensors file and added in.

Diffusers knows the formats that such files come in, and does the addition (with the package peft). Once it is done
nothing is left of it but other weights, so samplers, rules and widgets need not know (Hu et al., 2022, not opened).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import CheckpointError, NotFiniteError, UnsupportedModelError, allowed, check_number
from .silence import quiet

FORMS = "a .safetensors file, a pair (file, scale), or a list of these"
_FIRST = (
    ".lora_A.",
    ".lora.down.",
    ".lora_down.",
    "_lora.down.",
    ".lora_linear_layer.down.",
)  # of A, by format


def files(lora) -> tuple[tuple[Path, float], ...]:
    """((file, scale), ...) of what `load` takes as `lora`; the scale is 1 where none is given.

    Raises CheckpointError for anything else and for files that are not there, ValueError for a scale that is no number.
    """
    if lora is None:
        return ()
    if isinstance(lora, (str, os.PathLike)) or _is_pair(lora):
        lora = [lora]
    if not isinstance(lora, Sequence):
        raise CheckpointError(allowed("lora", lora, FORMS))
    found = []
    for one in lora:
        name, scale = one if _is_pair(one) else (one, 1.0)
        if not isinstance(name, (str, os.PathLike)):
            raise CheckpointError(allowed("lora", name, FORMS))
        path = Path(name)
        if path.suffix != ".safetensors" or not path.is_file():
            raise CheckpointError(allowed("lora", str(path), f"{FORMS}; pickled weights are never read"))
        found.append((path, check_number("lora's scale", scale)))
    return tuple(found)


def _is_pair(value) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and not isinstance(value[1], (str, os.PathLike, tuple, list))
    )


def fuse(pipeline, path: Path, scale: float) -> None:
    """Add a file's changes, times `scale`, to the weights of a diffusers pipeline's components, in place.

    Raises UnsupportedModelError where the pipeline's class takes no LoRA or peft is absent, NotFiniteError for NaN or
    infinite numbers, and CheckpointError for a file that cannot be read or has a change that no weight here fits;
    then the weights are as before.
    """
    kind = type(pipeline).__name__
    if not hasattr(pipeline, "load_lora_weights"):
        raise UnsupportedModelError(
            allowed("lora", str(path), f"with {kind}: None, diffusers adds none to it")
        )
    try:
        import peft  # noqa: F401
    except ImportError:
        raise UnsupportedModelError(
            "lora needs the package peft; allowed: `pip install peft`, or lora=None"
        ) from None
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"lora is {str(path)!r}, which cannot be read: {error}; allowed: {FORMS}"
        ) from None
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise NotFiniteError(
                f"lora is {str(path)!r}, where {name} has NaN or infinite numbers; allowed: finite ones"
            )
    wanted = sum(any(mark in name for mark in _FIRST) for name in state)
    fits = "; allowed: a LoRA that was made for this model's class and sizes"
    try:
        with quiet():
            pipeline.load_lora_weights(state, adapter_name="lora")
    except Exception as error:
        raise CheckpointError(f"lora is {str(path)!r}, which does not fit {kind}: {error}{fits}") from None
    try:
        found = sum(
            _changes(part) for part in pipeline.components.values() if isinstance(part, torch.nn.Module)
        )
        if not wanted or found < wanted:
            raise CheckpointError(
                f"lora is {str(path)!r}: {found} of its {wanted} changes have a place in {kind}{fits}"
            )
        with quiet():
            pipeline.fuse_lora(lora_scale=scale, safe_fusing=True)
    finally:
        with quiet():
            pipeline.unload_lora_weights()


def _changes(module: torch.nn.Module) -> int:
    return sum("lora" in getattr(part, "lora_A", {}) for part in module.modules())
