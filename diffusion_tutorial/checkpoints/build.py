"""From files to a model: components on a device, in a dtype, under our samplers or the pipeline's own loop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import CheckpointError, NotFiniteError, UnsupportedModelError, allowed
from ..schedules import NoiseSchedule
from ..text_to_image import TextToImage
from . import lora, memory
from .checks import check_scheduler, read_json
from .families import FAMILIES, WORDS, Family, chain, few_steps, starts
from .pipelines import PipelineModel
from .silence import quiet
from .sources import Folder, class_of, is_scheduler, is_tokenizer

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
    check_scheduler(scheduler.config, "scheduler")
    schedule = chain(kind, type(scheduler).__name__, scheduler.config)
    checker = components.get("safety_checker")
    if schedule is not None and checker is not None:
        _unscreened(name, type(checker).__name__)
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
    scheduler = components[family.scheduler]
    height, width = _pair(components[family.denoisers[0]].config.sample_size)
    # Rows of one call by their size: what 64 rows of 32 x 32 take, and an eighth of it for the decoder.
    rows = 64 * 32**2 // (height * width)
    adapter = family.adapter(
        components,
        index,
        predicts=scheduler.config.get("prediction_type", "epsilon"),
        schedule=schedule,
        device=device,
        upcasts=family.upcasts,
        max_rows=min(max(rows, 2), 64),
        decode_rows=min(max(rows // 8, 1), 8),
    )
    model = TextToImage(adapter, schedule, name, check_prompt)
    own = few_steps(type(scheduler).__name__, scheduler.config)
    if own:
        model.defaults = {**model.defaults, **own}
        settings = ", ".join(f"{key} {value!r}" for key, value in own.items())
        warnings.warn(
            f"{name!r} has the scheduler of a model distilled to few steps, such as Turbo or Lightning "
            f"({type(scheduler).__name__}, trailing): unless told otherwise, sample takes {settings}. Scale 1 is the "
            "prompt alone, which diffusers writes as 0",
            stacklevel=3,
        )
    return model


_SAID: set[tuple[str, str]] = set()


def _unscreened(name: str, checker: str) -> None:
    """Say once that a checkpoint's safety checker is not used."""
    if (name, checker) not in _SAID:
        _SAID.add((name, checker))
        warnings.warn(
            f"{name!r} comes with a safety checker ({checker}), which this package does not use: its pictures are not "
            "screened",
            stacklevel=4,
        )


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
    source: Folder,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    placed: str,
    check_prompt=None,
    loras: Sequence[tuple[Path, float]] = (),
) -> TextToImage:
    """The model that a source holds, its files found whole, with the changes of some LoRA files added."""
    family = source.complete().family
    # What no sampler can drive is refused before the weights are read.
    scheduler = _scheduler(source.path, family.scheduler, source.index[family.scheduler][1])
    schedule = chain(source.kind, type(scheduler).__name__, scheduler.config)
    checker = source.index.get("safety_checker")
    if isinstance(checker, list) and len(checker) == 2 and checker[1]:
        _unscreened(name, str(checker[1]))
    parts = components(source, device, dtype, placed)
    for path, scale in loras:
        lora.fuse(pipeline_of(source, parts, device, memory.WHOLE), path, scale)
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
            _check_finite(parts[component], component, source.path, wanted)
    for component in (n for n, part in parts.items() if is_tokenizer(n) and part is not None):
        _check_words(parts[component], parts.get(_encoder_of(component)), component, source.path)
    return parts


def _encoder_of(tokenizer: str) -> str:
    return tokenizer.replace("tokenizer", "text_encoder")


def _check_finite(module: torch.nn.Module, component: str, folder: Path, dtype: torch.dtype) -> None:
    for name, weight in module.named_parameters():
        if not bool(weight.isfinite().all()):
            count = int((~weight.isfinite()).sum())
            raise NotFiniteError(
                f"{component}, {name}, in {folder} has {count} NaN or infinite weights of {weight.numel()} as "
                f"{str(dtype).removeprefix('torch.')}; allowed: finite weights, in a dtype that holds them"
            )


def _check_words(tokenizer, encoder, component: str, folder: Path) -> None:
    """The tokenizer reads words, and the encoder has a row for every number that it gives."""
    rows = getattr(getattr(encoder, "config", None), "vocab_size", None)
    ids = list(tokenizer("a red cube", verbose=False).input_ids)
    special = len(tokenizer("", verbose=False).input_ids)
    highest = max([*ids, len(tokenizer) - 1])
    if len(ids) <= special or (rows is not None and highest >= rows):
        have = "knows no word of 'a red cube'" if len(ids) <= special else f"gives numbers up to {highest}"
        raise CheckpointError(
            f"{component} in {folder} {have}; allowed: words, with numbers below the encoder's vocab_size, {rows}"
        )


def pipeline_of(source: Folder, parts: Mapping, device: torch.device, placed: str):
    """The diffusers pipeline over loaded components, moving them by itself where memory is short."""
    import diffusers

    settings = {n: source.index[n] for n in source.family.settings if n in source.index}
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
    label = f"{component}/scheduler_config.json"
    config = read_json(folder / label, label)
    try:
        with quiet():
            return class_of("diffusers", kind).from_config(
                {k: v for k, v in config.items() if not k.startswith("_")}
            )
    except Exception as error:
        raise CheckpointError(
            f"{label} in {folder} makes no {kind}: {_reason(error)}; allowed: settings that it takes"
        ) from error


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)


def _tokenizer(folder: Path, component: str, kind: str):
    try:
        return class_of("transformers", kind).from_pretrained(folder / component, local_files_only=True)
    except Exception as error:  # tokenizers raises its own, and Exception itself
        need = ""
        if not (folder / component / "tokenizer.json").is_file() and WORDS[kind][0].endswith(".model"):
            need = " (its words are a SentencePiece model: `pip install sentencepiece protobuf`)"
        raise CheckpointError(
            f"{component} in {folder} cannot be loaded: {_reason(error)}{need}; allowed: a tokenizer that "
            f"transformers' {kind} reads"
        ) from error


def _weights(kind, source: Folder, component: str, dtype: torch.dtype):
    """One module with all of its weights. Raises CheckpointError where some are missing or do not fit."""
    folder = source.path
    _, variant = source.files(component)
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
        except Exception as error:  # a constructor may assert, or fail on a setting of another type
            raise CheckpointError(
                f"{component} in {folder} cannot be loaded: {_reason(error)}; allowed: weights that fit its "
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
