"""`load`: a `TextToImage` from Still Life, a folder, or the Hugging Face Hub. Weights are safetensors, or
nothing is loaded: a pickle can run any code. Code that comes with a checkpoint is never run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import CheckpointError, UnsupportedModelError, allowed
from ..schedules import FlowSchedule, NoiseSchedule
from ..still_life.models import MODELS, Shipped
from ..text_to_image import TextToImage
from . import memory
from .adapters import StableDiffusionAdapter
from .build import build, components, half, pick_device, pick_dtype, pipeline_of, place
from .families import FAMILIES, Family
from .lora import files
from .silence import quiet
from .sources import FORMS, Folder, check_name, source_of, verify
from .student import Student, StudentAdapter

STILL_LIFE = "still-life"
ENVIRONMENT = "DIFFUSION_TUTORIAL_MODEL"


def load(
    name_or_path: str | os.PathLike | Sequence[str | os.PathLike] | None = STILL_LIFE,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    offload: bool | None = None,
    lora=None,
) -> TextToImage:
    """A text-to-image model, ready to sample.

    Args:
        name_or_path: "still-life" or another of `still_life.models.MODELS`, which come with the package; a folder
            in diffusers' layout; or a Hub id such as "stable-diffusion-v1-5/stable-diffusion-v1-5", taken from
            the local cache or downloaded (with HF_HUB_OFFLINE=1, from the cache only). None stands for the
            environment variable DIFFUSION_TUTORIAL_MODEL, and for "still-life" where that is not set. A list
            names the stages of a cascade: DeepFloyd IF's first, and then the one that enlarges its pictures.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA, then MPS, then the CPU.
        dtype: "float32", "bfloat16" or "float16" (or torch's). None means float32 for Still Life and on a CPU,
            and for other models on CUDA and MPS the half precision that the family is meant for, bfloat16 or
            float16 (float16 for all where the card has no bfloat16, but for components that overflow in it, which
            are float32 then). Where a repository has weights in both precisions, those of half the size are
            downloaded for a half precision. Weights stored as float16 are loaded as
            float32 on a CPU, and float16 is refused there.
        offload: whether components wait in main memory and come to the CUDA device one at a time (slower, and
            the device needs room for the largest only). None: if they do not fit all together.
        lora: low-rank changes to add to the weights: a .safetensors file, a pair (file, scale), or a list of these.

    Which pipeline classes are known is in `families.FAMILIES`. The memory that a model needs is told from its
    files' headers before anything large is downloaded or loaded; see `estimate`. Downloads show huggingface_hub's
    progress bars.

    Raises:
        CheckpointError: unknown name, no such folder, a file that is missing, cut short or altered (Still
            Life, and any folder with a SHA256SUMS, is checked against these sums), a link out of the folder, a
            setting out of bounds, pickled weights only, a gated, withdrawn or unknown repository, no connection,
            not enough memory.
        NotFiniteError: NaN or infinite weights.
        UnsupportedModelError: a checkpoint of another kind than this package samples.
        ValueError: a device that is not there, an unknown dtype.
    """
    if name_or_path is None:
        name_or_path = os.environ.get(ENVIRONMENT) or STILL_LIFE
    if isinstance(name_or_path, (list, tuple)):
        if lora is not None:
            raise ValueError(allowed("lora", lora, "with a cascade: None"))
        return _load_cascade(name_or_path, device, dtype, offload)
    check_name(name_or_path)
    name = os.fspath(name_or_path)
    device, loras = pick_device(device), files(lora)
    if name in MODELS:
        return _load_shipped(MODELS[name], device, pick_dtype(dtype, device, torch.float32), loras)
    source = source_of(name_or_path)
    wanted = source.dtype = pick_dtype(dtype, device, half(source.family, device))
    placed = place(source, device, wanted, offload)
    return build(source.complete(), source.name, device, wanted, placed, loras=loras)


def estimate(name_or_path: str | os.PathLike, dtype: str | torch.dtype = "float16") -> memory.MemoryEstimate:
    """The memory that a folder or a Hub id needs, from the headers of its safetensors files alone.

    The weights are not loaded, and nothing large is downloaded. Raises what `load` raises.
    """
    check_name(name_or_path)
    # Whatever ships has the same components as Still Life, of the same sizes.
    source = Folder(still_life_folder()) if name_or_path in MODELS else source_of(name_or_path)
    dtype = pick_dtype(dtype, torch.device("meta"), torch.float16)
    tensors, float32 = source.tensors(), source.kept(dtype)
    parts = {n: t.bytes(torch.float32 if n in float32 else dtype) for n, t in tensors.items()}
    return memory.MemoryEstimate(parts, source.working(dtype))


def _load_shipped(row: Shipped, device: torch.device, dtype: torch.dtype, loras: Sequence = ()) -> TextToImage:
    """A model of the package, its files held against their sums; what it shares comes from the model it names."""
    from ..still_life.captions import check_words

    folder = still_life_folder() if row.name == STILL_LIFE else row.path
    if not folder.is_dir():
        raise CheckpointError(
            f"name_or_path is {row.name!r}, but this installation has no weights of it "
            f"(no folder {folder.name} in the package); allowed: a complete installation, or {FORMS}"
        )
    verify(folder)
    if row.shares is None:
        source = Folder(folder)
        source.verified = True
        return build(source, row.name, device, dtype, memory.WHOLE, check_words, loras)
    if loras:
        raise ValueError(allowed("lora", str(loras[0][0]), f"with {row.name!r}: None"))
    from diffusers import UNet2DConditionModel

    whole = _load_shipped(MODELS[row.shares], device, dtype).adapter
    with quiet():
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", use_safetensors=True, dtype=dtype)
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    kind = FlowSchedule if row.predicts == "flow" else NoiseSchedule
    schedule = kind.from_config(config)
    made_of = (StudentAdapter, Student) if row.student else (StableDiffusionAdapter, TextToImage)
    adapter = made_of[0](
        unet.to(device),
        whole.vae,
        whole.text_encoder,
        whole.tokenizer,
        max_rows=whole.max_rows,
        decode_rows=whole.decode_rows,
        predicts=row.predicts,
        schedule=schedule,
    )
    return made_of[1](adapter, schedule, row.name, check_words)


def _load_cascade(names: Sequence, device, dtype, offload) -> TextToImage:
    """DeepFloyd IF's stages, each from a folder or a Hub id; the first one's text serves them all."""
    if len(names) < 2:
        raise CheckpointError(allowed("name_or_path", list(names), "at least two stages, or a name alone"))
    device = pick_device(device)
    sources = []
    for position, name in enumerate(names):
        check_name(name)
        source = source_of(name)
        first = sources[0].kind if sources else None
        fitting = [kind for kind, family in FAMILIES.items() if _follows(family, first)]
        if source.kind not in fitting:
            raise UnsupportedModelError(
                allowed(
                    f"name_or_path[{position}]",
                    f"{name} ({source.kind})",
                    f"a folder or Hub id of {' or '.join(fitting)}",
                )
            )
        source.skip = source.family.may_lack if first else ()
        sources.append(source)
    wanted = pick_dtype(dtype, device, half(sources[0].family, device))
    for source in sources:
        source.dtype = wanted
    placed = place(sources[0], device, wanted, offload, more=sources[1:])
    first = build(sources[0].complete(), " + ".join(s.name for s in sources), device, wanted, placed)
    first.upscalers = tuple(
        pipeline_of(s, components(s.complete(), device, wanted, placed), device, placed) for s in sources[1:]
    )
    return first


def _follows(family: Family, first: str | None) -> bool:
    """Whether a family may stand at the head of a cascade, or after one that begins with the class `first`."""
    continued = {f.continues for f in FAMILIES.values() if f.continues}
    return family.continues == first if first else any(FAMILIES[kind] is family for kind in continued)


def still_life_folder() -> Path:
    """Where Still Life's model lies in the package, a folder that diffusers loads too."""
    return MODELS[STILL_LIFE].path
