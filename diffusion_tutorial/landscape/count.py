"""Parameters and arithmetic of published models, counted without their weights.

A component's published configuration (`configs/*.json`, each with its source) is instantiated on torch's meta
device, which knows shapes and holds no numbers. Parameters are counted there, and one call of the denoiser is traced
by `torch.utils.flop_counter`, which counts the matrix products, convolutions and attention: one multiplication with
its addition is 2 FLOPs. Norms, activations and other pointwise work are not counted.
"""

from __future__ import annotations

import importlib
import json
import warnings
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import resources

import torch
from torch import nn

from ..errors import allowed, check_choice, check_integer

CONFIGS = resources.files(__package__) / "configs"
EQUAL = 1024  # pixels of a side at which all single-stage systems are compared
KINDS = ("official-code", "conversion-script", "class-defaults", "published-copy")


@cache
def components() -> tuple[str, ...]:
    """Names of the components whose configuration we have."""
    return tuple(sorted(p.name[:-5] for p in CONFIGS.iterdir() if p.name.endswith(".json")))


@cache
def component(name: str) -> dict:
    """What configs/NAME.json holds: class, config and source. Raises ValueError for an unknown name."""
    check_choice("component", name, components())
    return json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))


def build(name: str) -> nn.Module:
    """The component on the meta device, in evaluation mode: shapes, and no memory for weights."""
    found = component(name)
    library, class_name = found["class"].split(".")
    cls = getattr(importlib.import_module(library), class_name)
    with torch.device("meta"), _quiet():
        if library == "transformers":
            model = cls(cls.config_class(**found["config"]))
        else:
            model = cls(**found["config"])
    return model.eval()


def parameters(model: nn.Module) -> int:
    """Parameters of a module; shared ones count once, buffers not at all."""
    return sum(p.numel() for p in model.parameters())


def buffers(model: nn.Module) -> int:
    """Numbers that are stored with the weights and not trained, such as a table of positions."""
    trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return sum(t.numel() for name, t in model.state_dict().items() if name not in trained)


@cache
def sizes_of(name: str) -> tuple[int, int]:
    """Parameters and stored buffers of a component by name."""
    model = build(name)
    return parameters(model), buffers(model)


def parameters_of(name: str) -> int:
    """Parameters of a component by name."""
    return sizes_of(name)[0]


@cache
def flops_of(name: str, size: int, text_tokens: int) -> int:
    """FLOPs of one call of a denoiser for one picture of size x size pixels, without guidance.

    text_tokens: length of the text sequence that it attends to. Raises ValueError where the component is no
    denoiser or the size is not a positive multiple of 16.
    """
    from torch.utils.flop_counter import FlopCounterMode

    class_name = component(name)["class"].split(".")[1]
    if class_name not in _INPUTS:
        raise ValueError(allowed("component", name, ", ".join(n for n in components() if denoises(n))))
    check_integer("text_tokens", text_tokens, 1)
    if check_integer("size", size, 16) % 16:
        raise ValueError(allowed("size", size, "a multiple of 16"))
    model = build(name)
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        inputs = _INPUTS[class_name](model.config, size, text_tokens)
    with torch.no_grad(), _quiet(), _without_numbers(model), counter:
        model(**inputs, return_dict=False)
    return counter.get_total_flops()


def denoises(name: str) -> bool:
    """Whether a component is a denoiser whose calls we know how to count."""
    return component(name)["class"].split(".")[1] in _INPUTS


def count(recipe: dict) -> dict:
    """Everything that the landscape computes of one system.

    recipe: `denoiser` (name), `size` (pixels of a side), `text_tokens`, `steps`, `passes` (calls a step), and
    optionally `then` (of a cascade: the stages after the first, each with these five), `others` (names of further
    components), `copies` (how often the pipeline holds the denoiser), `missing` (components whose configuration was
    not obtained, each with the reason).
    Returns parameters of each component and the buffers stored with them, FLOPs of a call and of a picture, the
    picture's pixels, FLOPs at EQUAL pixels of a side (None for a cascade, whose sizes are fixed), and bytes of all
    weights in bf16; a call and the number of calls are those of the first stage, the picture's FLOPs those of all.
    """
    stages = [recipe, *recipe.get("then", [])]
    denoisers, others = [stage["denoiser"] for stage in stages], recipe.get("others", [])
    found = {name: sizes_of(name) for name in (*denoisers, *others)}
    sizes = {name: trained for name, (trained, _) in found.items()}
    total = sum(map(sum, found.values())) + sum(found[denoisers[0]]) * (recipe.get("copies", 1) - 1)
    calls = [flops_of(stage["denoiser"], stage["size"], stage["text_tokens"]) for stage in stages]
    equal = None
    if len(stages) == 1:
        call = flops_of(recipe["denoiser"], EQUAL, recipe["text_tokens"])
        equal = call * recipe["steps"] * recipe["passes"]
    return {
        "parameters": sizes,
        "buffers": {name: stored for name, (_, stored) in found.items() if stored},
        "flops_call": calls[0],
        "calls": recipe["steps"] * recipe["passes"],
        "stages": [
            {"denoiser": stage["denoiser"], "flops_call": call, "calls": stage["steps"] * stage["passes"]}
            for stage, call in zip(stages, calls, strict=True)
        ],
        "flops_image": sum(
            call * stage["steps"] * stage["passes"] for stage, call in zip(stages, calls, strict=True)
        ),
        "pixels": stages[-1]["size"] ** 2,
        "flops_equal": equal,
        "bytes_bf16": 2 * total,
        "missing": [entry["component"] for entry in recipe.get("missing", [])],
    }


# --- inputs of one call, by class ---------------------------------------------------------------------------
# Sizes as the pipelines make them: a latent is 8 times smaller than the picture, a token covers 16 x 16 pixels. A
# U-Net that pools the text by itself (DeepFloyd IF) works on pixels.


def _unet(config, size, text):
    pixels = config.addition_embed_type == "text"
    side = size if pixels else size // 8
    inputs = {
        "sample": torch.empty(1, config.in_channels, side, side),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text, config.encoder_hid_dim or config.cross_attention_dim),
    }
    if config.class_embed_type == "timestep":  # the noise that the smaller picture was given
        inputs["class_labels"] = torch.empty(1)
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, 6)}
    return inputs


def _pixart(config, size, text):
    conditions = {"resolution": torch.empty(1, 2), "aspect_ratio": torch.empty(1, 1)}
    return {
        "hidden_states": torch.empty(1, config.in_channels, size // 8, size // 8),
        "encoder_hidden_states": torch.empty(1, text, config.caption_channels),
        "timestep": torch.empty(1),
        "added_cond_kwargs": conditions if config.use_additional_conditions else dict.fromkeys(conditions),
    }


def _sd3(config, size, text):
    return {
        "hidden_states": torch.empty(1, config.in_channels, size // 8, size // 8),
        "encoder_hidden_states": torch.empty(1, text, config.joint_attention_dim),
        "pooled_projections": torch.empty(1, config.pooled_projection_dim),
        "timestep": torch.empty(1),
    }


def _flux(axes):
    def inputs(config, size, text):
        tokens = (size // 16) ** 2
        found = {
            "hidden_states": torch.empty(1, tokens, config.in_channels),
            "encoder_hidden_states": torch.empty(1, text, config.joint_attention_dim),
            "timestep": torch.empty(1),
            "img_ids": torch.empty(tokens, axes),
            "txt_ids": torch.empty(text, axes),
        }
        if "guidance_embeds" in config:
            found["guidance"] = torch.empty(1) if config.guidance_embeds else None
        if "pooled_projection_dim" in config:
            found["pooled_projections"] = torch.empty(1, config.pooled_projection_dim)
        return found

    return inputs


def _qwen(config, size, text):
    side = size // 16
    return {
        "hidden_states": torch.empty(1, side * side, config.in_channels),
        "encoder_hidden_states": torch.empty(1, text, config.joint_attention_dim),
        "timestep": torch.empty(1),
        "img_shapes": [[(1, side, side)]],
    }


def _qwen21(config, size, text):
    side = size // 16
    return {
        "hidden_states": torch.empty(1, side * side, config.in_channels),
        "encoder_hidden_states": torch.empty(1, text, config.context_in_dim),
        "timestep": torch.empty(1),
        "img_shapes": [[(1, side, side)]],
        # One slot of the language model stands for 2 x 2 tokens; which slots are picture is read as numbers.
        "img_mask": (torch.arange(text + side * side // 4, device="cpu") >= text)[None],
    }


def _z_image(config, size, text):
    return {
        "x": [torch.empty(config.in_channels, 1, size // 8, size // 8)],
        "t": torch.empty(1),
        "cap_feats": [torch.empty(text, config.cap_feat_dim)],
    }


def _sana(config, size, text):
    return {
        "hidden_states": torch.empty(1, config.in_channels, size // 32, size // 32),
        "encoder_hidden_states": torch.empty(1, text, config.caption_channels),
        "timestep": torch.empty(1),
        "guidance": torch.empty(1) if config.guidance_embeds else None,
    }


def _hidream(config, size, text):
    return {
        "hidden_states": torch.empty(1, config.in_channels, size // 8, size // 8),
        "timesteps": torch.empty(1),
        "encoder_hidden_states_t5": torch.empty(1, text, config.caption_channels[0]),
        "encoder_hidden_states_llama3": torch.empty(
            len(config.llama_layers), 1, text, config.caption_channels[1]
        ),
        "pooled_embeds": torch.empty(1, config.text_emb_dim),
    }


def _lumina2(config, size, text):
    return {
        "hidden_states": torch.empty(1, config.in_channels, size // 8, size // 8),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, text, config.cap_feat_dim),
        "encoder_attention_mask": torch.empty(1, text, dtype=torch.bool).as_subclass(_Full),
    }


class _Full(torch.Tensor):
    """A mask on the meta device that is all true: its sum is known although it holds no numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    def sum(self, dim):
        return torch.full((self.shape[0],), self.shape[dim], device="cpu")


def _ideogram4(config, size, text):
    length = (size // 16) ** 2 + text
    return {
        "hidden_states": torch.empty(1, length, config.in_channels),
        "timestep": torch.empty(1),
        "encoder_hidden_states": torch.empty(1, length, config.llm_features_dim),
        "position_ids": torch.empty(1, length, 3, dtype=torch.long),
        "segment_ids": torch.empty(1, length, dtype=torch.long),
        "indicator": torch.empty(1, length, dtype=torch.long),
    }


def _chroma(config, size, text):
    tokens = (size // 16) ** 2
    return {
        "hidden_states": torch.empty(1, tokens, config.in_channels),
        "encoder_hidden_states": torch.empty(1, text, config.joint_attention_dim),
        "timestep": torch.empty(1),
        "img_ids": torch.empty(tokens, 3),
        "txt_ids": torch.empty(text, 3),
    }


def _cogview4(config, size, text):
    return {
        "hidden_states": torch.empty(1, config.in_channels, size // 8, size // 8),
        "encoder_hidden_states": torch.empty(1, text, config.text_embed_dim),
        "timestep": torch.empty(1),
        "original_size": torch.empty(1, 2),
        "target_size": torch.empty(1, 2),
        "crop_coords": torch.empty(1, 2),
    }


def _krea2(config, size, text):
    tokens = (size // 16) ** 2
    return {
        "hidden_states": torch.empty(1, tokens, config.in_channels),
        "encoder_hidden_states": torch.empty(1, text, config.num_text_layers, config.text_hidden_dim),
        "timestep": torch.empty(1),
        "position_ids": torch.empty(text + tokens, 3),
    }


_INPUTS = {
    "UNet2DConditionModel": _unet,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _sd3,
    "FluxTransformer2DModel": _flux(3),
    "Flux2Transformer2DModel": _flux(4),
    "Flux3Transformer2DModel": _flux(4),
    "QwenImageTransformer2DModel": _qwen,
    "QwenImage21Transformer2DModel": _qwen21,
    "ZImageTransformer2DModel": _z_image,
    "SanaTransformer2DModel": _sana,
    "HiDreamImageTransformer2DModel": _hidream,
    "Lumina2Transformer2DModel": _lumina2,
    "Ideogram4Transformer2DModel": _ideogram4,
    "ChromaTransformer2DModel": _chroma,
    "CogView4Transformer2DModel": _cogview4,
    "Krea2Transformer2DModel": _krea2,
}


@contextmanager
def _without_numbers(model: nn.Module):
    """Let models run on the meta device that look at numbers on their way, at the same cost.

    A mixture of experts sends each token to the k experts that its router prefers; here, to the first k. Its
    model's last rearrangement of tokens into a picture is left out. Masks that a model reads as numbers are real
    ones on the processor, and join the rest at each block. `torch.autocast`, which does not know the device, does
    nothing; the models use it to switch it off.
    """
    mixtures = [m for m in model.modules() if hasattr(m, "moe_infer") and hasattr(m, "num_activated_experts")]
    autocast = torch.autocast
    masked = type(model).__name__ == "QwenImage21Transformer2DModel"
    blocks = [*model.transformer_blocks, model.norm_out] if masked else []
    hooks = [block.register_forward_pre_hook(_to_meta, with_kwargs=True) for block in blocks]
    try:
        torch.autocast = lambda *args, **kwargs: nullcontext()
        for module in mixtures:
            module.moe_infer = lambda x, index, weight, m=module: sum(
                expert(x) for expert in list(m.experts)[: m.num_activated_experts]
            )
        if mixtures:
            model.unpatchify = lambda tokens, *_: tokens
        yield
    finally:
        torch.autocast = autocast
        for hook in hooks:
            hook.remove()
        for module in mixtures:
            del module.moe_infer
        if mixtures:
            del model.unpatchify


def _to_meta(module, args, kwargs):
    def move(value):
        return value.to("meta") if isinstance(value, torch.Tensor) else value

    return tuple(map(move, args)), {key: move(value) for key, value in kwargs.items()}


@contextmanager
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
