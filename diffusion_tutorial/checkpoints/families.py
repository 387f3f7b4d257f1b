"""The real models: one row a diffusers pipeline class, with its components and how it is sampled.

Which way a model goes is decided by the class of its scheduler. A chain of noise variances (DDPM, DDIM and the
solvers on the same table) is driven by our samplers and guidance, whether the network predicts the noise or v.
Flow matching, EDM and cascades run the pipeline's own loop, behind the same `sample`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch

from ..errors import UnsupportedModelError, allowed
from ..schedules import NoiseSchedule
from .adapters import PixArtAdapter, StableDiffusionAdapter, StableDiffusionXLAdapter

# Schedulers over the same chain of noise variances: any of our samplers may take their place. What is not
# here (flow matching, EDM, cascades) is refused by its class, whatever its prediction_type says.
SUPPORTED_SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "KDPM2DiscreteScheduler",
    "UniPCMultistepScheduler",
)

OURS, LOOP = "our samplers", "the pipeline's loop"

_EDM = ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")
_FLOW = ("FlowMatchEulerDiscreteScheduler",)
_CLIP_WORDS = ("CLIPTokenizer", "CLIPTokenizerFast")
_QWEN_WORDS = ("Qwen2Tokenizer", "Qwen2TokenizerFast")
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
    layout       of the state: "latents", "packed" (FLUX: 2 x 2 latents a row), "rows" (FLUX.2: 2 x 2 latents are
                 one of four times the channels, and one of those is a row) or "pixels"
    names        our arguments that the pipeline calls otherwise
    fixed        arguments of every call
    made_with    arguments of the pipeline's constructor that are no components of ours
    may_lack     components that a checkpoint may leave out
    half         the half precision that it is meant for on a graphics card
    continues    the pipeline class whose pictures it enlarges; None: it begins from a text
    flow_only    scheduler classes of `loop` that count with use_flow_sigmas alone
    noise_dtype  of the initial noise; None: the model's own
    settings     of the pipeline's index that its constructor takes
    arrays       whether the pipeline gives pictures as numpy arrays alone
    texts        makes the network's inputs for texts: texts(pipeline, list of texts or None, arguments of the call),
                 name -> a row a text; with it, `guidance=` works in the pipeline's loop
    long_texts   tokenizers that read max_sequence_length tokens -> how many less of a prompt, which stand before it, or
                 a function of the tokenizer that says it for every text; others read 77
    few_steps    arguments that stand in for the pipeline's defaults: few_steps(pipeline), empty for most
    upcasts      whether an autoencoder in float16 decodes in float32 where its config says force_upcast
    overflows    components that are in float32 where the rest is in float16, since they overflow there
    plain        the pipeline's guidance_scale at which it asks about the prompt alone; it gets ours less 1 plus this
    side         of the picture in pixels, where neither pipeline nor network says it
    minus        whether the network answers with minus what the scheduler is given
    no_text      the negative prompt of a guided run without one, where the pipeline guides with a given text alone
    libraries    component -> a library that its index may name besides diffusers and transformers
    homes        class -> the module that it is imported from, where its library does not show it
    """

    title: str
    components: Mapping[str, tuple[str, ...]]
    denoisers: tuple[str, ...]
    ours: tuple[str, ...] = ()
    loop: tuple[str, ...] = ()
    adapter: Callable | None = None
    steps_offset: int | None = None
    scheduler: str = "scheduler"
    layout: str = "latents"
    names: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    fixed: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    made_with: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    settings: tuple[str, ...] = ()
    may_lack: tuple[str, ...] = ()
    half: str = "float16"
    continues: str | None = None
    flow_only: tuple[str, ...] = ()
    noise_dtype: str | None = None
    arrays: bool = False
    texts: Callable | None = None
    long_texts: Mapping[str, int | Callable] = field(default_factory=lambda: _NOTHING)
    few_steps: Callable | None = None
    upcasts: bool = False
    overflows: tuple[str, ...] = ()
    plain: float = 1.0
    side: int | None = None
    minus: bool = False
    no_text: str | None = None
    libraries: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    homes: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def _sd(parts: Mapping, index: Mapping, **options):
    names = ("unet", "vae", "text_encoder", "tokenizer")
    return StableDiffusionAdapter(*(parts[n] for n in names), **options)


def _sdxl(parts: Mapping, index: Mapping, **options):
    names = ("unet", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    zeros = index.get("force_zeros_for_empty_prompt", True)
    return StableDiffusionXLAdapter(*(parts[n] for n in names), zeros, **options)


def _pixart_alpha(parts: Mapping, index: Mapping, **options):
    names = ("transformer", "vae", "text_encoder", "tokenizer")
    sized = parts["transformer"].config.sample_size == 128  # the pipeline's own rule
    return PixArtAdapter(*(parts[n] for n in names), max_length=120, sized=sized, **options)


def _pixart_sigma(parts: Mapping, index: Mapping, **options):
    names = ("transformer", "vae", "text_encoder", "tokenizer")
    return PixArtAdapter(*(parts[n] for n in names), max_length=300, **options)


def _sd3_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    states, _, pooled, _ = pipeline.encode_prompt(
        [text or "" for text in texts],
        None,
        None,
        do_classifier_free_guidance=False,
        max_sequence_length=call.get("max_sequence_length", 256),
    )
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def _flux_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    states, pooled, _ = pipeline.encode_prompt(
        [text or "" for text in texts], max_sequence_length=call.get("max_sequence_length", 512)
    )
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def _sana_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    """As the pipeline encodes a negative prompt: without the instruction that goes before the prompt."""
    states, mask = pipeline._get_gemma_prompt_embeds(
        [text or "" for text in texts],
        device=pipeline._execution_device,
        dtype=pipeline.text_encoder.dtype,
        max_sequence_length=call.get("max_sequence_length", 300),
        complex_human_instruction=None,
    )
    return {"encoder_hidden_states": states, "encoder_attention_mask": mask}


def _z_image_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    """A tensor a text, of its own length; the pipeline writes into the list that it is given."""
    found, _ = pipeline.encode_prompt(
        [text or "" for text in texts],
        do_classifier_free_guidance=False,
        max_sequence_length=call.get("max_sequence_length", 512),
    )
    return {"cap_feats": found}


def _flux_2_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    states, places = pipeline.encode_prompt(
        [text or "" for text in texts], max_sequence_length=call.get("max_sequence_length", 512)
    )
    return {"encoder_hidden_states": states, "txt_ids": places}


def _turn(tokenizer) -> int:
    """Tokens of a turn of a conversation that stand before the text."""
    turn = tokenizer.apply_chat_template(
        [{"role": "user", "content": "\0"}], tokenize=False, add_generation_prompt=True
    )
    return len(tokenizer(turn.split("\0")[0]).input_ids)


def _qwen_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    states, mask = pipeline.encode_prompt(
        [text or " " for text in texts], max_sequence_length=call.get("max_sequence_length", 512)
    )
    return {"encoder_hidden_states": states, "encoder_hidden_states_mask": mask}


def _sdxl_texts(pipeline, texts: Sequence[str | None], call: Mapping) -> dict:
    states, _, pooled, _ = pipeline.encode_prompt(
        [text or "" for text in texts], do_classifier_free_guidance=False
    )
    if pipeline.config.force_zeros_for_empty_prompt:
        empty = torch.tensor([text is None for text in texts], device=states.device)
        states = states.masked_fill(empty[:, None, None], 0)
        pooled = pooled.masked_fill(empty[:, None], 0)
    return {"encoder_hidden_states": states, "added_cond_kwargs": {"text_embeds": pooled}}


def _schnell(pipeline) -> dict:
    """FLUX.1 schnell, known by a network without an input for a scale and levels that do not shift with the size."""
    if pipeline.transformer.config.guidance_embeds or pipeline.scheduler.config.get("use_dynamic_shifting"):
        return {}
    return {"num_inference_steps": 4, "max_sequence_length": 256}


def _klein(pipeline) -> dict:
    """FLUX.2 klein, where its index says that it was distilled: four steps, by its makers' card."""
    return {"num_inference_steps": 4} if pipeline.config.is_distilled else {}


def few_steps(scheduler_class: str, config: Mapping) -> dict[str, object]:
    """Defaults of a checkpoint that was distilled to few steps, by its scheduler: Turbo, Lightning; else empty.

    Both ship Euler's method, ancestral for SDXL Turbo, over the noise with "trailing" spacing, which begins at pure
    noise; undistilled models begin with "leading" or predict v there. Their scale is 1, the prompt alone, which
    diffusers writes as 0. "ddpm" is the ancestral method in other variables.
    """
    samplers = {"EulerAncestralDiscreteScheduler": "ddpm", "EulerDiscreteScheduler": "euler"}
    told = (config.get("timestep_spacing"), config.get("prediction_type", "epsilon"))
    if (
        scheduler_class not in samplers
        or told != ("trailing", "epsilon")
        or config.get("rescale_betas_zero_snr")
    ):
        return {}
    return {"num_inference_steps": 4, "guidance_scale": 1.0, "sampler": samplers[scheduler_class]}


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
        texts=_sdxl_texts,
        upcasts=True,
        made_with={"add_watermarker": False},
        settings=("force_zeros_for_empty_prompt",),
    ),
    "PixArtAlphaPipeline": Family(
        "PixArt-α",
        _PIXART,
        denoisers=("transformer",),
        ours=SUPPORTED_SCHEDULERS,
        adapter=_pixart_alpha,
        upcasts=True,
    ),
    "PixArtSigmaPipeline": Family(
        "PixArt-Σ",
        _PIXART,
        denoisers=("transformer",),
        ours=SUPPORTED_SCHEDULERS,
        adapter=_pixart_sigma,
        upcasts=True,
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
        texts=_sd3_texts,
        long_texts={"tokenizer_3": 0},
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
        texts=_flux_texts,
        long_texts={"tokenizer_2": 0},
        few_steps=_schnell,
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
        flow_only=("DPMSolverMultistepScheduler",),
        noise_dtype="float32",
        # Sizes are taken as they are: diffusers' bins know the published sizes alone.
        fixed={"use_resolution_binning": False},
        half="bfloat16",
        texts=_sana_texts,
        # The instruction's beginning and the prompt's share two places with it.
        long_texts={"tokenizer": 1},
        # Gemma 2 and this autoencoder were made in bfloat16; on a card without it they leave float16's range.
        overflows=("text_encoder", "vae"),
    ),
    "Flux2KleinPipeline": Family(
        "FLUX.2 [klein]",
        {
            "tokenizer": _QWEN_WORDS,
            "text_encoder": ("Qwen3ForCausalLM",),
            "transformer": ("Flux2Transformer2DModel",),
            "vae": ("AutoencoderKLFlux2",),
            "scheduler": _FLOW,
        },
        denoisers=("transformer",),
        loop=_FLOW,
        layout="rows",
        half="bfloat16",
        texts=_flux_2_texts,
        long_texts={"tokenizer": _turn},
        few_steps=_klein,
        settings=("is_distilled",),
    ),
    "ZImagePipeline": Family(
        "Z-Image",
        {
            "tokenizer": _QWEN_WORDS,
            "text_encoder": ("Qwen3Model", "Qwen3ForCausalLM"),
            "transformer": ("ZImageTransformer2DModel",),
            "vae": ("AutoencoderKL",),
            "scheduler": _FLOW,
        },
        denoisers=("transformer",),
        loop=_FLOW,
        noise_dtype="float32",
        half="bfloat16",
        texts=_z_image_texts,
        long_texts={"tokenizer": _turn},
        # Its formula is eps_c + g (eps_c - eps_n), which guides from g = 0 on: g = s - 1.
        plain=0.0,
        side=1024,
        minus=True,
    ),
    "QwenImagePipeline": Family(
        "Qwen-Image",
        {
            "tokenizer": _QWEN_WORDS,
            "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
            "transformer": ("QwenImageTransformer2DModel",),
            "vae": ("AutoencoderKLQwenImage",),
            "scheduler": _FLOW,
        },
        denoisers=("transformer",),
        loop=_FLOW,
        layout="packed",
        # Its own guidance: two branches, then each position as long as the prompt's own answer there.
        names={"guidance_scale": "true_cfg_scale"},
        half="bfloat16",
        texts=_qwen_texts,
        long_texts={"tokenizer": 0},
        no_text=" ",
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
        continues="IFPipeline",
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
        arrays=True,
        # Karlo's index calls the pipeline's own folder the library of its text projection.
        libraries={"text_proj": "unclip"},
        homes={"UnCLIPTextProjModel": "diffusers.pipelines.deprecated.unclip.text_proj"},
    ),
}

# The words of a tokenizer without tokenizer.json, by class.
WORDS = (
    dict.fromkeys(_CLIP_WORDS + _QWEN_WORDS, ("vocab.json", "merges.txt"))
    | dict.fromkeys(_T5_WORDS, ("spiece.model",))
    | dict.fromkeys(("GemmaTokenizer", "GemmaTokenizerFast"), ("tokenizer.model",))
)


def way(kind: str, scheduler_class: str, config: Mapping) -> str:
    """OURS or LOOP, by the class of the scheduler.

    Raises UnsupportedModelError for a scheduler that this pipeline is not known to work with, and for settings
    of a known one that neither way can follow.
    """
    return LOOP if chain(kind, scheduler_class, config) is None else OURS


def chain(kind: str, scheduler_class: str, config: Mapping) -> NoiseSchedule | None:
    """The noise levels for our samplers, or None where the pipeline's own loop must run. Raises what `way` does."""
    family = FAMILIES[kind]
    if scheduler_class in family.ours:
        return schedule_of(scheduler_class, config, family.steps_offset)
    if scheduler_class not in family.loop:
        raise UnsupportedModelError(
            allowed("scheduler", scheduler_class, f"with {kind}: {', '.join(family.ours + family.loop)}")
        )
    if scheduler_class in family.flow_only and not config.get("use_flow_sigmas"):
        raise UnsupportedModelError(
            allowed("scheduler use_flow_sigmas", config.get("use_flow_sigmas"), f"with {kind}: True")
        )
    return None


def starts() -> tuple[str, ...]:
    """The pipeline classes that begin from a text; the others continue one of them."""
    return tuple(kind for kind, family in FAMILIES.items() if family.continues is None)


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
        found[names.get("guidance_scale", "guidance_scale")].default + 1 - FAMILIES[kind].plain,
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


def schedule_of(scheduler_class: str, config: Mapping, steps_offset: int | None = 1) -> NoiseSchedule:
    """The noise levels of a diffusers scheduler, by its class and its config.

    steps_offset: in place of the config's; None leaves that. StableDiffusionPipeline itself puts it to 1 (and
    clip_sample to False), whatever the file says; other pipelines take it as it is.

    Raises UnsupportedModelError for classes and prediction types that our samplers cannot drive.
    """
    if scheduler_class not in SUPPORTED_SCHEDULERS:
        raise UnsupportedModelError(allowed("scheduler", scheduler_class, ", ".join(SUPPORTED_SCHEDULERS)))
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise UnsupportedModelError(
            allowed("scheduler prediction_type", prediction, "'epsilon', 'v_prediction'")
        )
    if any(config.get(key) for key in ("use_flow_sigmas", "thresholding")):
        raise UnsupportedModelError("scheduler has use_flow_sigmas or thresholding set; allowed: neither")
    changes = {} if steps_offset is None else {"steps_offset": steps_offset}
    return NoiseSchedule.from_config({**config, "_class_name": scheduler_class, **changes})
