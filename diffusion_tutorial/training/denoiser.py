"""The denoiser: text encoder and U-Net, trained together to predict the noise (Ho et al. 2020, eq. 14)."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.still_life.captions import WORDS, caption, random_said
from diffusion_tutorial.still_life.scenes import ATTRIBUTES
from diffusion_tutorial.still_life.tokenizer import MAX_LENGTH
from diffusion_tutorial.still_life.tokenizer import build as build_tokenizer

TEXT_WIDTH = 128
SCHEDULER = {  # Stable Diffusion 1's own
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


WEAK_CHANNELS = (32, 32, 64)


def build_unet(channels: tuple[int, int, int] = (48, 64, 128)) -> UNet2DConditionModel:
    """16x16 latents; 4.4 M parameters and 0.64 GFLOP for a batch of two, since a browser has to run it.

    Width grows towards 4x4, where a channel costs a sixteenth; attention stands at 8x8 and below. channels: widths at
    16x16, 8x8 and 4x4; with `WEAK_CHANNELS` it is autoguidance's weak twin, 1.2 M parameters.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=(1, 2, 4),
        norm_num_groups=16,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class TextToNoise(nn.Module):
    """(x_t, t, token ids) -> eps; one module, so that one wrapper serves many processes."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        # On a processor the plain formula's backward pass is three times as fast as the fused kernel's at this size.
        with sdpa_kernel(SDPBackend.MATH) if x_t.device.type == "cpu" else nullcontext():
            words = self.text_encoder(ids, return_dict=False)[0]
            return self.unet(x_t, t, words, return_dict=False)[0]


def token_ids(texts: list[str], words: dict[str, int], bos: int, eos: int) -> Tensor:
    """What the tokenizer gives for known words, without its cost a step. (B, MAX_LENGTH) int64."""
    ids = torch.full((len(texts), MAX_LENGTH), eos)
    ids[:, 0] = bos
    for row, text in zip(ids, texts):
        codes = [words[word] for word in text.split()]
        row[1 : 1 + len(codes)] = torch.tensor(codes, dtype=torch.int64)
    return ids


def tokenizer_of(tokenizer: CLIPTokenizer):
    """texts -> (B, MAX_LENGTH) int64, for captions of the language."""
    words = {word: tokenizer(word).input_ids[1] for word in WORDS}
    return lambda texts: token_ids(texts, words, tokenizer.bos_token_id, tokenizer.eos_token_id)


def captions_for(labels: Tensor, rng: random.Random, drop: float, sparse: float = 0.0) -> list[str]:
    """One fresh caption a scene; with probability `drop` the empty one (Ho & Salimans 2022, alg. 1).

    A share `sparse` of the captions names only one or two attributes, any of them alike. `random_said` alone names
    just the colour in 0.6% of captions, and what such a caption leaves open is learned from those few.
    """
    texts = []
    for row in labels.tolist():
        values = {name: ATTRIBUTES[name][v] for name, v in zip(ATTRIBUTES, row)}
        if sparse and rng.random() < sparse:
            said = {name: values[name] for name in rng.sample(list(values), rng.choice((1, 2)))}
        else:
            said = random_said(values, rng)
        text = caption(said, rng)
        texts.append("" if rng.random() < drop else text)
    return texts


def denoiser_loss(
    latents: Tensor,
    labels: Tensor,
    tokenizer: CLIPTokenizer,
    alphas_cumprod: Tensor,
    drop: float = 0.1,
    gamma: float = 5.0,
):
    """Mean squared error of eps, weighted by min(SNR, gamma) / SNR (Hang et al. 2023, eq. 8).

    latents (2, N, 4, 16, 16), scaled to unit variance: plain and mirrored.
    """
    tokens = tokenizer_of(tokenizer)
    abar = alphas_cumprod.double()
    weight = (abar / (1 - abar)).clamp(max=gamma) / (abar / (1 - abar))

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        n = len(index)
        mirror = (torch.rand(n, generator=rng) < 0.5).long()
        x0 = latents[mirror, index].float()
        eps = torch.randn(x0.shape, generator=rng)
        # One t from each n-th of the range: every step sees every noise level.
        t = ((torch.arange(n) + torch.rand(n, generator=rng)) / n * len(abar)).long().clamp(max=len(abar) - 1)
        a = abar[t].float()[:, None, None, None]
        seed = int(torch.randint(2**31, (1,), generator=rng))
        texts = captions_for(labels[index], random.Random(seed), drop)
        ids = tokens(texts)
        out = module(a.sqrt() * x0 + (1 - a).sqrt() * eps, t, ids)
        target = PREDICTIONS[SCHEDULER["prediction_type"]].target(x0, eps, abar[t][:, None, None, None])
        mse = (out.float() - target).square().mean((1, 2, 3))
        return (weight[t].float() * mse).mean(), {"mse": float(mse.detach().mean())}

    return loss_fn


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    build_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)
