"""What a folder's small files may say: read with care, and held against bounds before anything is built from them.

A configuration decides how large a table becomes, which file is opened and by what a number is divided. Whoever takes a
checkpoint from elsewhere takes these from elsewhere too. Nothing here imports diffusers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import CheckpointError, allowed, check_integer, is_finite
from ..schedules import SPACINGS

_LARGEST = 2**25  # bytes of a configuration or an index; the longest in use has a few megabytes
_DEEPEST = 30  # mappings and lists inside each other
_MOST_TIMESTEPS = 100_000  # a hundred times what models are trained with
_MAY_BE_INFINITE = ("lambda_min_clipped",)  # DPM-Solver's default writes -Infinity
_BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp")
_FILE = re.compile(r"[A-Za-z0-9_][\w.-]*\.safetensors")

# Keys of configurations, and the whole numbers that they may hold, alone or in lists.
_COUNTS = {  # of layers and heads
    "layers_per_block", "num_layers", "num_hidden_layers", "num_single_layers", "num_decoder_layers", "num_heads",
    "num_attention_heads", "num_key_value_heads", "transformer_layers_per_block", "attention_head_dim",
    "num_cross_attention_heads",
}  # fmt: skip
_SIZES = {  # of tensors
    "sample_size", "in_channels", "out_channels", "latent_channels", "block_out_channels", "hidden_size",
    "intermediate_size", "vocab_size", "max_position_embeddings", "cross_attention_dim", "norm_num_groups",
    "patch_size", "d_model", "d_kv", "d_ff", "head_dim", "joint_attention_dim", "pooled_projection_dim",
    "caption_channels", "caption_projection_dim", "cross_attention_head_dim", "encoder_block_out_channels",
    "decoder_block_out_channels", "projection_class_embeddings_input_dim", "addition_time_embed_dim",
}  # fmt: skip


def read_json(file: Path, label: str) -> dict:
    """A JSON object of finite numbers. Raises CheckpointError that names the file and what is wrong with it."""

    try:
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"{file.stat().st_size} bytes")
        found = json.loads(file.read_text(encoding="utf-8"))  # Python reads NaN and Infinity too
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}")
        _walk(found, "", 0)
    except (ValueError, OSError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{label} cannot be used: {what}; allowed: a JSON object of finite numbers, at most {_DEEPEST} deep and "
            f"{_LARGEST >> 20} MB long"
        ) from None
    return found


def _walk(value, where: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels deep")
    inner: Iterable = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    elif isinstance(value, (int, float)) and not is_finite(value) and where not in _MAY_BE_INFINITE:
        raise ValueError(f"{where} is no finite number")
    for name, part in inner:
        _walk(part, f"{where}.{name}" if where else str(name), depth + 1)


def check_scheduler(config: Mapping, label: str) -> None:
    """A scheduler's numbers. Raises CheckpointError that names the file, the key, its value and what is allowed."""
    steps = _whole(config, "num_train_timesteps", 1, _MOST_TIMESTEPS, label, 1000)
    _whole(config, "steps_offset", 0, steps - 1, label)
    for name in ("beta_start", "beta_end"):
        _number(config, name, 0.0, 1.0, label, open_ends=True)
    for name in ("sigma_min", "sigma_max", "sigma_data", "shift", "flow_shift"):
        _number(config, name, 0.0, 1e6, label, open_ends=name != "sigma_min")
    betas = config.get("trained_betas")
    if betas is not None:
        fine = isinstance(betas, list) and 0 < len(betas) <= _MOST_TIMESTEPS
        if not fine or not all(_is_number(b) and 0 < b <= 1 for b in betas):
            _refuse(
                label, "trained_betas", betas, f"None, or 1 to {_MOST_TIMESTEPS} numbers above 0, at most 1"
            )
    for name, known in {"beta_schedule": _BETA_SCHEDULES, "timestep_spacing": SPACINGS}.items():
        value = config.get(name)
        if value is not None and (not isinstance(value, str) or value not in known):
            _refuse(label, name, value, ", ".join(map(repr, known)))
    kind = config.get("prediction_type")
    if kind is not None and not isinstance(kind, str):
        _refuse(label, "prediction_type", kind, "a text")


def check_config(config: Mapping, label: str) -> None:
    """The numbers of a network's configuration by which tables are made and results divided. Raises as above."""
    for name, value in config.items():
        if name in _COUNTS or name in _SIZES:
            most = 1000 if name in _COUNTS else 10**7
            for number in _flat(value):
                whole = isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most
                if number is not None and not whole:
                    _refuse(label, name, value, f"whole numbers from 1 to {most}")
    _number(config, "scaling_factor", 0.0, 1e6, label, open_ends=True)
    _number(config, "shift_factor", -1e6, 1e6, label)
    for name in ("latents_mean", "latents_std"):
        value = config.get(name)
        if value is None:
            continue
        channels = config.get("latent_channels")
        fine = isinstance(value, list) and len(value) == (channels if channels is not None else len(value))
        if not fine or not all(_is_number(v) and (name == "latents_mean" or v > 0) for v in value):
            sign = "numbers" if name == "latents_mean" else "numbers above 0"
            _refuse(label, name, value, f"{sign}, one a latent channel")


def shard_names(index: Mapping, label: str) -> list[str]:
    """The files that an index of shards names, which must lie beside it."""
    held = index.get("weight_map")
    if not isinstance(held, dict) or not held:
        _refuse(label, "weight_map", held, "a mapping from tensors to files")
    for name in held.values():
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            _refuse(label, "weight_map", name, "the name of a safetensors file beside the index")
    return sorted(set(held.values()))


def check_links(place: Path, root: Path, label: str) -> None:
    """No file of a component leads out of its folder. root: its own folder, or the Hub's cache where links are usual."""
    for file in (place, *sorted(place.rglob("*"))):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            name = label if file == place else f"{label}/{file.relative_to(place).as_posix()}"
            raise CheckpointError(
                f"{name} is a link to {str(file.resolve())!r}, out of its folder; allowed: files in the folder itself"
            )


def root_of(folder: Path) -> Path:
    """Where links of a folder may lead: into itself, or, in the Hub's cache, to the blobs beside the snapshots."""
    own = folder.resolve()
    cached = own.parent.name == "snapshots" and (own.parent.parent / "blobs").is_dir()
    return own.parent.parent if cached else own


def _flat(value):
    if isinstance(value, list):
        for inner in value:
            yield from _flat(inner)
    else:
        yield value


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(config: Mapping, name: str, low: int, high: int, label: str, default: int = 0) -> int:
    value = config.get(name)
    if value is None:
        return default
    try:
        return check_integer(name, value, low, high)
    except ValueError:
        _refuse(label, name, value, f"an integer from {low} to {high}")


def _number(config: Mapping, name: str, low: float, high: float, label: str, open_ends: bool = False) -> None:
    value = config.get(name)
    if value is None:
        return
    inside = _is_number(value) and (low < value < high if open_ends else low <= value <= high)
    if not inside:
        _refuse(label, name, value, f"a number {'between' if open_ends else 'from'} {low:g} and {high:g}")


def _refuse(label: str, name: str, value: object, what: str):
    raise CheckpointError(f"{label}: {allowed(name, value, what)}")
