"""Tiny diffusers pipelines with random weights, one for each class that `load` takes: the right shapes, no
picture worth looking at. They show that code runs where a real model would be too large, and tests compare ours
with diffusers on them. Nothing is downloaded: the tokenizers read any text, about a token a byte.
"""

from __future__ import annotations

import string

import torch

from ..errors import check_choice
from .silence import quiet

# pipeline class -> the function below that builds its components; filled by @_builds
_BUILDERS = {}

_CHAIN = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def random_pipeline(
    seed: int = 0,
    sample_size: int = 8,
    channels: tuple[int, ...] = (32, 32),
    folder=None,
    kind: str = "StableDiffusionPipeline",
    **changes,
):
    """A tiny pipeline of one of diffusers' classes with random weights.

    Args:
        seed: of the weights; torch's own generator is left as it was.
        sample_size: height and width of the latents (of the picture, for models in pixels).
        channels: widths of the U-Net's levels, where there is a U-Net with a text condition.
        folder: where to save it as well, as safetensors in diffusers' layout.
        kind: a key of `RANDOM_PIPELINES`, the pipeline's class.
        changes: components to put in place of the built ones, for example another scheduler.

    Raises ValueError for an unknown kind.
    """
    import diffusers

    check_choice("kind", kind, RANDOM_PIPELINES)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        components = {**_BUILDERS[kind](sample_size, tuple(channels)), **changes}
        pipeline = getattr(diffusers, kind)(**components)
        for component in pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                component.eval()
        pipeline.set_progress_bar_config(disable=True)
        if folder is not None:
            pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline


def _builds(*kinds):
    def register(function):
        _BUILDERS.update(dict.fromkeys(kinds, function))
        return function

    return register


# --- parts --------------------------------------------------------------------------------------------------


def _clip_tokenizer():
    """A token a byte, and the two marks: at most 75 bytes of text."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = letters + [c + "</w>" for c in letters] + ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=77)


def _t5_tokenizer():
    """A token a printable character."""
    from transformers import T5Tokenizer

    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(c, -3.0) for c in string.ascii_letters + string.digits + string.punctuation]
    return T5Tokenizer(vocab=marks + letters, extra_ids=0, model_max_length=512)


def _gemma_tokenizer():
    from transformers import GemmaTokenizer

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"] + [f"<0x{b:02X}>" for b in range(256)]
    return GemmaTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[])


# How Qwen's models are asked: whose turn it is, between two marks.
_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _qwen_tokenizer():
    """A token a byte, and the marks of a turn."""
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    marks = ["<|im_start|>", "<|im_end|>"]
    words = [*bytes_to_unicode().values(), "<|endoftext|>", *marks]
    tokenizer = Qwen2Tokenizer(
        vocab={w: i for i, w in enumerate(words)},
        merges=[],
        pad_token="<|endoftext|>",
        additional_special_tokens=marks,
    )
    tokenizer.chat_template = _TURNS
    return tokenizer


def _clip_text(tokenizer, projected: bool = False, width: int = 32):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    count = len(tokenizer)
    config = CLIPTextConfig(
        vocab_size=count,
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=width,
        bos_token_id=count - 2,
        eos_token_id=count - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _t5_text(tokenizer):
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    )


def _vae(sample_size: int, latent_channels: int = 4, levels: int = 3, **config):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16,) * levels,
        norm_num_groups=8,
        layers_per_block=1,
        latent_channels=latent_channels,
        sample_size=sample_size * 2 ** (levels - 1),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        **config,
    )


def _unet(sample_size: int, channels: tuple[int, ...], **config):
    from diffusers import UNet2DConditionModel

    plain = len(channels) - 1
    return UNet2DConditionModel(
        **{
            "sample_size": sample_size,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 1,
            "block_out_channels": channels,
            "norm_num_groups": 8,
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            "down_block_types": ("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",),
            "up_block_types": ("CrossAttnUpBlock2D",) + ("UpBlock2D",) * plain,
            **config,
        }
    )


def _pixel_unet(sample_size: int, **config):
    """In the layout of the cascades: pixels, learned variance, attention with added keys and values."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        **{
            "sample_size": sample_size,
            "in_channels": 3,
            "out_channels": 6,
            "layers_per_block": 1,
            "block_out_channels": (32, 64),
            "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            "cross_attention_dim": 32,
            "attention_head_dim": 16,
            "resnet_time_scale_shift": "scale_shift",
            **config,
        }
    )


# --- pipelines ----------------------------------------------------------------------------------------------


@_builds("StableDiffusionPipeline")
def _stable_diffusion(sample_size, channels):
    from diffusers import DDIMScheduler

    tokenizer = _clip_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": _clip_text(tokenizer),
        "unet": _unet(sample_size, channels),
        "vae": _vae(sample_size),
        "scheduler": DDIMScheduler(**_CHAIN, clip_sample=False, set_alpha_to_one=False),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


@_builds("StableDiffusionXLPipeline")
def _stable_diffusion_xl(sample_size, channels):
    from diffusers import EulerDiscreteScheduler

    tokenizers = _clip_tokenizer(), _clip_tokenizer()
    return {
        "tokenizer": tokenizers[0],
        "tokenizer_2": tokenizers[1],
        "text_encoder": _clip_text(tokenizers[0]),
        "text_encoder_2": _clip_text(tokenizers[1], projected=True),
        "unet": _unet(
            sample_size,
            channels,
            cross_attention_dim=64,  # both encoders' states, side by side
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 32,  # six sizes, and the pooled text
            use_linear_projection=True,
        ),
        "vae": _vae(sample_size, scaling_factor=0.13025),
        "scheduler": EulerDiscreteScheduler(**_CHAIN, timestep_spacing="leading"),
        "add_watermarker": False,
    }


@_builds("StableDiffusion3Pipeline")
def _stable_diffusion_3(sample_size, channels):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

    clip, t5 = (_clip_tokenizer(), _clip_tokenizer()), _t5_tokenizer()
    return {
        "tokenizer": clip[0],
        "tokenizer_2": clip[1],
        "tokenizer_3": t5,
        "text_encoder": _clip_text(clip[0], projected=True),
        "text_encoder_2": _clip_text(clip[1], projected=True),
        "text_encoder_3": _t5_text(t5),
        "transformer": SD3Transformer2DModel(
            sample_size=sample_size,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=32,
            pooled_projection_dim=64,
        ),
        "vae": _vae(sample_size, shift_factor=0.06, scaling_factor=1.5),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


@_builds("PixArtAlphaPipeline", "PixArtSigmaPipeline")
def _pixart(sample_size, channels):
    from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel

    tokenizer = _t5_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": _t5_text(tokenizer),
        "transformer": PixArtTransformer2DModel(
            sample_size=sample_size,
            num_layers=1,
            patch_size=2 if sample_size < 64 else 16,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            in_channels=4,
            out_channels=8,  # the noise, and a variance that nobody uses
            cross_attention_dim=24,
        ),
        "vae": _vae(sample_size, levels=3 if sample_size < 64 else 1),
        # Spelt out as in a saved config: diffusers' from_config drops what was left to a class's default.
        "scheduler": DPMSolverMultistepScheduler(
            beta_start=0.0001, beta_end=0.02, beta_schedule="linear", timestep_spacing="linspace"
        ),
    }


@_builds("FluxPipeline")
def _flux(sample_size, channels):
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    clip, t5 = _clip_tokenizer(), _t5_tokenizer()
    return {
        "tokenizer": clip,
        "tokenizer_2": t5,
        "text_encoder": _clip_text(clip),
        "text_encoder_2": _t5_text(t5),
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,  # 2 x 2 latents of 4 channels
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=True,
        ),
        "vae": _vae(sample_size, shift_factor=0.1, scaling_factor=0.36),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


@_builds("SanaPipeline")
def _sana(sample_size, channels):
    from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    tokenizer, sample_size = _gemma_tokenizer(), max(sample_size, 16)  # the pipeline wants 32 pixels or more
    blocks = {"block_types": ("ResBlock", "EfficientViTBlock"), "block_out_channels": (8, 8)}
    blocks |= {"qkv_multiscales": ((), (5,)), "layers_per_block": (1, 1)}
    return {
        "tokenizer": tokenizer,
        "text_encoder": Gemma2Model(
            Gemma2Config(
                vocab_size=len(tokenizer),
                hidden_size=8,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=4,
                max_position_embeddings=4096,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=2,
            )
        ),
        "transformer": SanaTransformer2DModel(
            sample_size=sample_size,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=8,
        ),
        "vae": AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            attention_head_dim=2,
            upsample_block_type="interpolate",
            downsample_block_type="stride_conv",
            decoder_act_fns="silu",
            decoder_norm_types="rms_norm",
            **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in blocks.items()},
        ),
        "scheduler": DPMSolverMultistepScheduler(
            use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
        ),
    }


@_builds("ZImagePipeline")
def _z_image(sample_size, channels):
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = _qwen_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": Qwen3Model(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=16,
                max_position_embeddings=1024,
            )
        ),
        "transformer": ZImageTransformer2DModel(
            in_channels=4,
            dim=48,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=32,
            axes_dims=[8, 8, 8],
            axes_lens=[1024, 64, 64],
        ),
        "vae": _vae(sample_size, shift_factor=0.1, scaling_factor=0.36),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


@_builds("QwenImagePipeline")
def _qwen_image(sample_size, channels):
    from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _qwen_tokenizer()
    reader = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
        "pad_token_id": 256,
        "bos_token_id": 256,
        "eos_token_id": 256,
    }
    eyes = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    return {
        "tokenizer": tokenizer,
        "text_encoder": Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=reader, vision_config=eyes)
        ),
        "transformer": QwenImageTransformer2DModel(
            patch_size=2,
            in_channels=16,  # 2 x 2 latents of 4 channels
            out_channels=4,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(4, 4, 8),
        ),
        "vae": AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 2, 2],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[-0.7, 0.1, 0.5, -0.2],
            latents_std=[2.8, 1.4, 2.3, 1.2],
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


@_builds("Flux2KleinPipeline")
def _flux_2_klein(sample_size, channels):
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer, levels = _qwen_tokenizer(), 3
    vae = AutoencoderKLFlux2(
        block_out_channels=(16,) * levels,
        norm_num_groups=8,
        layers_per_block=1,
        latent_channels=4,
        sample_size=sample_size * 2 ** (levels - 1),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16,  # 2 x 2 latents of 4 channels
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    torch.nn.init.normal_(vae.bn.running_mean)  # what the latents' scale and shift are in this family
    torch.nn.init.uniform_(vae.bn.running_var, 0.5, 3.0)
    return {
        "tokenizer": tokenizer,
        "text_encoder": Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=28,  # the pipeline reads its layers 9, 18 and 27
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                max_position_embeddings=1024,
            )
        ),
        "transformer": transformer,
        "vae": vae,
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    }


def _if_stage(sample_size, **unet):
    from diffusers import DDPMScheduler

    tokenizer = _t5_tokenizer()
    chain = {"beta_schedule": "squaredcos_cap_v2", "variance_type": "learned_range"}
    return {
        "tokenizer": tokenizer,
        "text_encoder": _t5_text(tokenizer),
        "unet": _pixel_unet(
            sample_size,
            encoder_hid_dim=32,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            cross_attention_norm="group_norm",
            act_fn="gelu",
            **unet,
        ),
        "scheduler": DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.95, **chain),
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }


@_builds("IFPipeline")
def _if(sample_size, channels):
    return _if_stage(sample_size)


@_builds("IFSuperResolutionPipeline")
def _if_super_resolution(sample_size, channels):
    from diffusers import DDPMScheduler

    return {
        **_if_stage(
            sample_size,
            in_channels=6,
            class_embed_type="timestep",
            mid_block_scale_factor=1.414,
            time_embedding_act_fn="gelu",
        ),
        "image_noising_scheduler": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
    }


@_builds("UnCLIPPipeline")
def _unclip(sample_size, channels):
    from diffusers import PriorTransformer, UnCLIPScheduler, UNet2DModel
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    tokenizer = _clip_tokenizer()

    def finer():
        return UNet2DModel(
            sample_size=2 * sample_size,
            in_channels=6,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=(32, 64),
            down_block_types=("ResnetDownsampleBlock2D",) * 2,
            up_block_types=("ResnetUpsampleBlock2D",) * 2,
        )

    return {
        "tokenizer": tokenizer,
        "text_encoder": _clip_text(tokenizer, projected=True),
        "text_proj": UnCLIPTextProjModel(clip_embeddings_dim=32, time_embed_dim=128, cross_attention_dim=32),
        "prior": PriorTransformer(
            num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1
        ),
        "decoder": _pixel_unet(sample_size, class_embed_type="identity"),
        "super_res_first": finer(),
        "super_res_last": finer(),
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
        ),
        "decoder_scheduler": UnCLIPScheduler(variance_type="learned_range"),
        "super_res_scheduler": UnCLIPScheduler(variance_type="fixed_small_log"),
    }


RANDOM_PIPELINES = tuple(_BUILDERS)
