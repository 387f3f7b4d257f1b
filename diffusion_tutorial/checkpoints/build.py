"""From files to a model: components on a device, in a dtype, under our samplers or the pipeline's own loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import CheckpointError, UnsupportedModelError, allowed
from ..schedules import NoiseSchedule
from ..text_to_image import TextToImage
from . import memory
from .families import FAMILIES, WORDS, Family, chain, starts
from .pipelines import PipelineModel
from .silence import quiet
from .sources import Folder, class_of, is_scheduler, is_tokenizer, weight_files

_LARGE = 100_000_000  # parameters of a denoiser from which on steps take long enough for a progress bar


def wrap(pipeline, name: str = "pipeline", *, check_prompt=None, device=None) -> TextToImage:
    """A `TextToImage` around a diffusers pipeline, whose components are shared, not copied.

    device: where to compute; None: where the pipeline does, also when hooks move its components there.

    Raises UnsupportedModelError for a class that is not in `families.FAMILIES` and for what `families.way` refuses.
    """
    kind = type(pipeline).__name__
    if kind not in starts():
        raise UnsupportedModelError(allowed("pipeline", kind, ", ".join(starts())))
    family, components = FAMILIES[kind], pipeline.components
    scheduler = components[family.scheduler]
    schedule = chain(kind, type(scheduler).__name__, scheduler.config)
    options = {"check_prompt": check_prompt, "device": device or pipeline._execution_device}
    if schedule is None:
        model = PipelineModel(pipeline, family, name, **options)
    else:
        model = _assemble(family, components, pipeline.config, schedule, name, **options)
    model.offloaded = pipeline if getattr(pipeline, "_all_hooks", None) else None
    return model


def _assemble(
    family: Family,
    components: Mapping,
    index: Mapping,
    schedule: NoiseSchedule,
    name: str,
    *,
    check_prompt=None,
    device=None,
) -> TextToImage:
    """A `TextToImage` of our samplers over the components of a pipeline of this family.

    index: the pipeline's own settings, as in model_index.json.
    """
    height, width = _pair(components[family.denoisers[0]].config.sample_size)
    # Rows of one call by their size: what 64 rows of 32 x 32 take, and an eighth of it for the decoder.
    rows = 64 * 32**2 // (height * width)
    adapter = family.adapter(
        components,
        index,
        predicts=components[family.scheduler].config.get("prediction_type", "epsilon"),
        schedule=schedule,
        device=device,
        upcasts=family.upcasts,
        max_rows=min(max(rows, 2), 64),
        decode_rows=min(max(rows // 8, 1), 8),
    )
    return TextToImage(adapter, schedule, name, check_prompt)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def place(
    source: Folder,
    device: torch.device,
    dtype: torch.dtype,
    offload: bool | None,
    more: Sequence[Folder] = (),
) -> str:
    """How the model goes onto the device; raises CheckpointError if it does not fit."""
    if offload is not None and not isinstance(offload, bool):
        raise CheckpointError(allowed("offload", offload, "True, False or None"))
    tensors, working = {}, {}
    for position, part in enumerate((source, *more)):
        tensors |= {f"{n} {position + 1}" if position else n: t for n, t in part.tensors().items()}
    for kind in DTYPES.values():
        working[kind] = max(part.working(kind) for part in (source, *more))
    free = {"cpu": memory.free_bytes(torch.device("cpu")), device.type: memory.free_bytes(device)}
    return memory.place(repr(source.name), tensors, working, device, dtype, offload, free, source.kept(dtype))


def build(
    source: Folder, name: str, device: torch.device, dtype: torch.dtype, placed: str, check_prompt=None
) -> TextToImage:
    """The model that a source holds, its files found whole."""
    family = source.complete().family
    parts = components(source, device, dtype, placed)
    scheduler = parts[family.scheduler]
    schedule = chain(source.kind, type(scheduler).__name__, scheduler.config)
    # Our samplers need no pipeline, whose import takes seconds, unless its hooks move the modules.
    if schedule is not None and placed == memory.WHOLE:
        model = _assemble(family, parts, source.index, schedule, name, check_prompt=check_prompt)
    else:
        pipeline = pipeline_of(source, parts, device, placed)
        model = wrap(pipeline, name, check_prompt=check_prompt, device=device)
    size = sum(p.numel() for n in family.denoisers for p in parts[n].parameters())
    model.progress = size >= _LARGE
    return model


def components(source: Folder, device: torch.device, dtype: torch.dtype, placed: str) -> dict:
    """Every component of the family, loaded; None for those that the checkpoint lacks or nobody wants."""
    where = device if placed == memory.WHOLE else torch.device("cpu")
    parts = dict.fromkeys(source.family.components)
    for component in source.components():
        library, kind = source.index[component]
        if is_scheduler(component):
            parts[component] = _scheduler(source.path, component, kind)
        elif is_tokenizer(component):
            parts[component] = _tokenizer(source.path, component, kind)
        else:
            wanted = torch.float32 if component in source.kept(dtype) else dtype
            parts[component] = _weights(class_of(library, kind), source, component, wanted).to(where)
    return parts


def pipeline_of(source: Folder, parts: Mapping, device: torch.device, placed: str):
    """The diffusers pipeline over loaded components, moving them by itself where memory is short."""
    import diffusers

    settings = {n: source.index[n] for n in ("force_zeros_for_empty_prompt",) if n in source.index}
    with quiet():
        pipeline = getattr(diffusers, source.kind)(**parts, **source.family.made_with, **settings)
    if placed == memory.OFFLOAD:
        try:
            pipeline.enable_model_cpu_offload(device=device)
        except ImportError:
            raise CheckpointError(
                "offload needs the package accelerate, which is not installed; allowed: "
                "`pip install accelerate`, or a checkpoint that fits the card as a whole"
            ) from None
    return pipeline


def _scheduler(folder: Path, component: str, kind: str):
    config = json.loads((folder / component / "scheduler_config.json").read_text())
    return class_of("diffusers", kind).from_config({k: v for k, v in config.items() if not k.startswith("_")})


def _tokenizer(folder: Path, component: str, kind: str):
    try:
        return class_of("transformers", kind).from_pretrained(folder / component, local_files_only=True)
    except (ImportError, ValueError, OSError) as error:
        need = ""
        if not (folder / component / "tokenizer.json").is_file() and WORDS[kind][0].endswith(".model"):
            need = " (its words are a SentencePiece model: `pip install sentencepiece protobuf`)"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(
            f"{component} in {folder} cannot be loaded: {reason}{need}; allowed: a tokenizer that "
            f"transformers' {kind} reads"
        ) from error


def _weights(kind, source: Folder, component: str, dtype: torch.dtype):
    """One module with all of its weights. Raises CheckpointError where some are missing or do not fit."""
    folder = source.path
    _, variant = weight_files(folder, component, source.index[component])
    with quiet():
        try:
            module, report = kind.from_pretrained(
                folder / component,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=dtype,
                variant=variant,
            )
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise CheckpointError(
                f"{component} in {folder} cannot be loaded: {reason}; allowed: weights that fit its "
                "config.json"
            ) from error
    faults = sorted(map(str, report["missing_keys"])) + sorted(map(str, report.get("mismatched_keys", ())))
    if faults:
        raise CheckpointError(
            f"{component} in {folder} lacks or misfits {len(faults)} weights, such as {faults[0]}; "
            "allowed: weights that fit its config.json"
        )
    return module.eval()


# --- device and dtype ---


def pick_device(device: str | torch.device | None) -> torch.device:
    here = ["cpu"] + [
        f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    if torch.backends.mps.is_available():
        here.append("mps")
    if device is None:
        return torch.device("cuda" if "cuda:0" in here else "mps" if "mps" in here else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(allowed("device", device, f"one that is here: {', '.join(here)}")) from None
    name = "cuda:0" if str(wanted) == "cuda" else str(wanted)
    if name not in here and not (wanted.type in ("cpu", "mps") and wanted.type in here):
        none = " (no CUDA device was found)" if wanted.type == "cuda" and "cuda:0" not in here else ""
        raise ValueError(allowed("device", str(device), f"one that is here: {', '.join(here)}{none}"))
    return wanted


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def half(family: Family, device: torch.device) -> torch.dtype:
    """The precision for a family on a device unless told otherwise."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return DTYPES[family.half]


def pick_dtype(dtype: str | torch.dtype | None, device: torch.device, default: torch.dtype) -> torch.dtype:
    if dtype is None:
        return default
    names = [n for n in DTYPES if not (n == "float16" and device.type == "cpu")]
    name = str(dtype).removeprefix("torch.")
    if name not in names:
        raise ValueError(allowed("dtype", str(dtype), f"on {device.type}: {', '.join(names)}"))
    return DTYPES[name]
