"""The real models: one row a diffusers pipeline class, with its components and how it is sampled.

Which way a model goes is decided by the class of its scheduler. A chain of noise variances (DDPM, DDIM and the
solvers on the same table) is driven by our samplers and guidance, whether the network predicts the noise or v.
Flow matching, EDM and cascades run the pipeline's own loop, behind the same `sample`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .denoisers import SUPPORTED_SCHEDULERS, StableDiffusionAdapter, TextToImage, schedule_of
from .errors import UnsupportedModelError, allowed, check_choice
from .memory import Tensors

OURS, LOOP = "our samplers", "the pipeline's loop"

_EDM = ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")
_FLOW = ("FlowMatchEulerDiscreteScheduler",)
_CLIP_WORDS = ("CLIPTokenizer", "CLIPTokenizerFast")
_T5_WORDS = ("T5Tokenizer", "T5TokenizerFast")
_NOTHING: Mapping = MappingProxyType({})


@dataclass(frozen=True)
class Family:
    """A pipeline class of diffusers: what it is made of, and how it is sampled.

    title        the models that people know it by
    components   name -> the classes that it may have; the first is the usual one
    denoisers    the components whose calls count as evaluations
    ours, loop   scheduler classes that our samplers drive, and those that need the pipeline's own loop
    adapter      makes the denoiser for our samplers: adapter(components, **options)
    steps_offset what our samplers take for the scheduler's steps_offset; None: what its config says
    scheduler    the component that decides; its steps are the trajectory
    layout       of the state: "latents", "packed" (FLUX) or "pixels"
    names        our arguments that the pipeline calls otherwise
    fixed        arguments of every call
    made_with    arguments of the pipeline's constructor that are no components of ours
    may_lack     components that a checkpoint may leave out
    half         the half precision that it is meant for on a graphics card
    """

    title: str
    components: Mapping[str, tuple[str, ...]]
    denoisers: tuple[str, ...]
    ours: tuple[str, ...] = ()
    loop: tuple[str, ...] = ()
    adapter: object = None
    steps_offset: int | None = None
    scheduler: str = "scheduler"
    layout: str = "latents"
    names: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    fixed: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    made_with: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    may_lack: tuple[str, ...] = ()
    half: str = "float16"


def _sd(parts: Mapping, index: Mapping, **options):
    names = ("unet", "vae", "text_encoder", "tokenizer")
    return StableDiffusionAdapter(*(parts[n] for n in names), **options)


def _sdxl(parts: Mapping, index: Mapping, **options):
    from .adapters import StableDiffusionXLAdapter

    names = ("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    zeros = index.get("force_zeros_for_empty_prompt", True)
    return StableDiffusionXLAdapter(*(parts[n] for n in names), zeros, **options)


def _pixart_alpha(parts: Mapping, index: Mapping, **options):
    from .adapters import PixArtAdapter

    names = ("transformer", "vae", "text_encoder", "tokenizer")
    sized = parts["transformer"].config.sample_size == 128  # the pipeline's own rule
    return PixArtAdapter(*(parts[n] for n in names), max_length=120, sized=sized, **options)


def _pixart_sigma(parts: Mapping, index: Mapping, **options):
    from .adapters import PixArtAdapter

    names = ("transformer", "vae", "text_encoder", "tokenizer")
    return PixArtAdapter(*(parts[n] for n in names), max_length=300, **options)


_PIXART = {
    "tokenizer": _T5_WORDS,
    "text_encoder": ("T5EncoderModel",),
    "transformer": ("PixArtTransformer2DModel", "Transformer2DModel"),
    "vae": ("AutoencoderKL",),
    "scheduler": SUPPORTED_SCHEDULERS,
}
_IF = {
    "tokenizer": _T5_WORDS,
    "text_encoder": ("T5EncoderModel",),
    "unet": ("UNet2DConditionModel",),
    "scheduler": ("DDPMScheduler",),
}
_UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": Family(
        "Stable Diffusion 1 and 2",
        {
            "tokenizer": _CLIP_WORDS,
            "text_encoder": ("CLIPTextModel",),
            "unet": ("UNet2DConditionModel",),
            "vae": ("AutoencoderKL", "AutoencoderTiny"),
            "scheduler": SUPPORTED_SCHEDULERS,
        },
        denoisers=("unet",),
        ours=SUPPORTED_SCHEDULERS,
        adapter=_sd,
        steps_offset=1,
        made_with=_UNCHECKED,
    ),
    "StableDiffusionXLPipeline": Family(
        "Stable Diffusion XL, Playground v2.5",
        {
            "tokenizer": _CLIP_WORDS,
            "tokenizer_2": _CLIP_WORDS,
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "unet": ("UNet2DConditionModel",),
            "vae": ("AutoencoderKL", "AutoencoderTiny"),
            "scheduler": SUPPORTED_SCHEDULERS + _EDM,
        },
        denoisers=("unet",),
        ours=SUPPORTED_SCHEDULERS,
        loop=_EDM,
        adapter=_sdxl,
        made_with={"add_watermarker": False},
    ),
    "PixArtAlphaPipeline": Family(
        "PixArt-α",
        _PIXART,
        denoisers=("transformer",),
        ours=SUPPORTED_SCHEDULERS,
        adapter=_pixart_alpha,
    ),
    "PixArtSigmaPipeline": Family(
        "PixArt-Σ",
        _PIXART,
        denoisers=("transformer",),
        ours=SUPPORTED_SCHEDULERS,
        adapter=_pixart_sigma,
    ),
    "StableDiffusion3Pipeline": Family(
        "Stable Diffusion 3 and 3.5",
        {
            "tokenizer": _CLIP_WORDS,
            "tokenizer_2": _CLIP_WORDS,
            "tokenizer_3": _T5_WORDS,
            "text_encoder": ("CLIPTextModelWithProjection",),
            "text_encoder_2": ("CLIPTextModelWithProjection",),
            "text_encoder_3": ("T5EncoderModel",),
            "transformer": ("SD3Transformer2DModel",),
            "vae": ("AutoencoderKL",),
            "scheduler": _FLOW,
        },
        denoisers=("transformer",),
        loop=_FLOW,
        may_lack=("text_encoder_3", "tokenizer_3"),
        half="bfloat16",
    ),
    "FluxPipeline": Family(
        "FLUX.1",
        {
            "tokenizer": _CLIP_WORDS,
            "tokenizer_2": _T5_WORDS,
            "text_encoder": ("CLIPTextModel",),
            "text_encoder_2": ("T5EncoderModel",),
            "transformer": ("FluxTransformer2DModel",),
            "vae": ("AutoencoderKL",),
            "scheduler": _FLOW,
        },
        denoisers=("transformer",),
        loop=_FLOW,
        layout="packed",
        half="bfloat16",
    ),
    "SanaPipeline": Family(
        "Sana",
        {
            "tokenizer": ("GemmaTokenizer", "GemmaTokenizerFast"),
            "text_encoder": ("Gemma2Model", "Gemma2ForCausalLM"),
            "transformer": ("SanaTransformer2DModel",),
            "vae": ("AutoencoderDC",),
            "scheduler": ("DPMSolverMultistepScheduler", *_FLOW),
        },
        denoisers=("transformer",),
        loop=("DPMSolverMultistepScheduler", *_FLOW),
        # Sizes are taken as they are: diffusers' bins know the published sizes alone.
        fixed={"use_resolution_binning": False},
        half="bfloat16",
    ),
    "IFPipeline": Family(
        "DeepFloyd IF, first stage",
        _IF,
        denoisers=("unet",),
        loop=("DDPMScheduler",),
        layout="pixels",
        # Cleaning needs further packages and, without them, is skipped with a warning.
        fixed={"clean_caption": False},
        made_with={**_UNCHECKED, "watermarker": None},
    ),
    "IFSuperResolutionPipeline": Family(
        "DeepFloyd IF, second stage",
        {**_IF, "image_noising_scheduler": ("DDPMScheduler",)},
        denoisers=("unet",),
        loop=("DDPMScheduler",),
        layout="pixels",
        fixed={"clean_caption": False},
        made_with={**_UNCHECKED, "watermarker": None},
        may_lack=("text_encoder", "tokenizer"),
    ),
    "UnCLIPPipeline": Family(
        "Karlo (unCLIP)",
        {
            "tokenizer": _CLIP_WORDS,
            "text_encoder": ("CLIPTextModelWithProjection",),
            "text_proj": ("UnCLIPTextProjModel",),
            "prior": ("PriorTransformer",),
            "decoder": ("UNet2DConditionModel",),
            "super_res_first": ("UNet2DModel",),
            "super_res_last": ("UNet2DModel",),
            "prior_scheduler": ("UnCLIPScheduler",),
            "decoder_scheduler": ("UnCLIPScheduler",),
            "super_res_scheduler": ("UnCLIPScheduler",),
        },
        denoisers=("prior", "decoder", "super_res_first", "super_res_last"),
        loop=("UnCLIPScheduler",),
        scheduler="decoder_scheduler",
        layout="pixels",
        names={
            "num_inference_steps": "decoder_num_inference_steps",
            "guidance_scale": "decoder_guidance_scale",
            "latents": "decoder_latents",
        },
    ),
}


def way(kind: str, scheduler_class: str, config: Mapping) -> str:
    """OURS or LOOP, by the class of the scheduler.

    Raises UnsupportedModelError for a scheduler that this pipeline is not known to work with, and for settings
    of a known one that neither way can follow.
    """
    family = FAMILIES[kind]
    if scheduler_class in family.ours:
        schedule_of(scheduler_class, config, family.steps_offset)
        return OURS
    if scheduler_class not in family.loop:
        raise UnsupportedModelError(
            allowed("scheduler", scheduler_class, f"with {kind}: {', '.join(family.ours + family.loop)}")
        )
    if scheduler_class == "DPMSolverMultistepScheduler" and not config.get("use_flow_sigmas"):
        raise UnsupportedModelError(
            allowed("scheduler use_flow_sigmas", config.get("use_flow_sigmas"), f"with {kind}: True")
        )
    return LOOP


def wrap(pipeline, name: str = "pipeline", *, check_prompt=None, device=None) -> TextToImage:
    """A `TextToImage` around a diffusers pipeline, whose components are shared, not copied.

    device: where to compute; None: where the pipeline does, also when hooks move its components there.

    Raises UnsupportedModelError for a class that is not in FAMILIES and for what `way` refuses.
    """
    kind = type(pipeline).__name__
    if kind not in FAMILIES or kind == "IFSuperResolutionPipeline":
        raise UnsupportedModelError(allowed("pipeline", kind, ", ".join(starts())))
    scheduler = getattr(pipeline, FAMILIES[kind].scheduler)
    options = {"check_prompt": check_prompt, "device": device or pipeline._execution_device}
    if way(kind, type(scheduler).__name__, scheduler.config) == OURS:
        model = assemble(kind, pipeline.components, pipeline.config, name, **options)
    else:
        from .pipelines import PipelineModel

        model = PipelineModel(pipeline, name, **options)
    model.offloaded = pipeline if getattr(pipeline, "_all_hooks", None) else None
    return model


def assemble(
    kind: str, components: Mapping, index: Mapping, name: str, *, check_prompt=None, device=None
) -> TextToImage:
    """A `TextToImage` of our samplers over the components of a pipeline of class `kind`.

    index: the pipeline's own settings, as in model_index.json.
    """
    family = FAMILIES[kind]
    scheduler = components[family.scheduler]
    schedule = schedule_of(type(scheduler).__name__, scheduler.config, family.steps_offset)
    v_schedule = schedule if scheduler.config.get("prediction_type") == "v_prediction" else None
    height, width = _pair(components[family.denoisers[0]].config.sample_size)
    # Rows of one call by their size: what 64 rows of 32 x 32 take, and an eighth of it for the decoder.
    rows = 64 * 32**2 // (height * width)
    adapter = family.adapter(
        components,
        index,
        v_schedule=v_schedule,
        device=device,
        max_rows=min(max(rows, 2), 64),
        decode_rows=min(max(rows // 8, 1), 8),
    )
    return TextToImage(adapter, schedule, name, check_prompt)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def starts() -> tuple[str, ...]:
    """The pipeline classes that begin from a text; the others continue one of them."""
    return tuple(kind for kind in FAMILIES if kind != "IFSuperResolutionPipeline")


@dataclass(frozen=True)
class Signature:
    """What a pipeline's call takes, read from its signature in the installed diffusers."""

    arguments: frozenset[str]
    num_inference_steps: int
    guidance_scale: float
    negative_prompt: bool
    progress_callback: bool


def signature(kind: str) -> Signature:
    """The signature of a pipeline class, with our names for what `Family.names` says."""
    import diffusers

    names = FAMILIES[kind].names
    found = inspect.signature(getattr(diffusers, kind).__call__).parameters
    return Signature(
        frozenset(found) - {"self"},
        found[names.get("num_inference_steps", "num_inference_steps")].default,
        found[names.get("guidance_scale", "guidance_scale")].default,
        "negative_prompt" in found,
        "callback_on_step_end" in found,
    )


def table() -> list[dict]:
    """A row a family for people: how it is sampled and what it takes, from the installed diffusers."""
    rows = []
    for kind in starts():
        family, found = FAMILIES[kind], signature(kind)
        rows.append(
            {
                "models": family.title,
                "pipeline": kind,
                "schedulers": family.ours + family.loop,
                "sampled by": " or ".join(
                    [OURS] * bool(family.ours) + [LOOP] * bool(set(family.loop) - set(family.ours))
                ),
                "negative prompt": found.negative_prompt,
                "steps": found.num_inference_steps,
                "guidance scale": found.guidance_scale,
            }
        )
    return rows


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
    from .experiments import record
    from .landscape.count import component

    check_choice("name", name, PUBLISHED)
    found = record.read("landscape")["measured"][PUBLISHED[name][1]]
    tensors = {}
    for part, parameters in found["parameters"].items():
        kept = 0
        if component(part)["class"].endswith("T5EncoderModel"):  # transformers keeps `wo` out of float16
            config = component(part)["config"]
            kept = config["num_layers"] * config["d_ff"] * config["d_model"]
        tensors[part] = Tensors(parameters, kept)
    return tensors, found["missing"]
