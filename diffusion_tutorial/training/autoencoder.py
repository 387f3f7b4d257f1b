"""The autoencoder: 64x64x3 pictures to 16x16x4 latents and back (Rombach et al. 2022, section 3.1).

Its network is diffusers' AutoencoderTiny: plain convolutions, quick on a processor and in a browser. In place of a
learned posterior variance the latents get noise of one fixed size, which keeps the code smooth and the decoder robust
to a sampler's small errors.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from .data import as_input


def build(encoder_width: int = 32, decoder_width: int = 48) -> AutoencoderTiny:
    return AutoencoderTiny(
        latent_channels=4,
        encoder_block_out_channels=(encoder_width,) * 3,
        num_encoder_blocks=(1, 1, 2),
        decoder_block_out_channels=(decoder_width,) * 3,
        num_decoder_blocks=(3, 2, 1),
    ).to(memory_format=torch.channels_last)


class Reconstruct(nn.Module):
    """(pictures in [-1, 1], noise for the latents) -> (reconstruction, latents without the noise)."""

    def __init__(self, vae: AutoencoderTiny):
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        z = self.vae.encode(x, return_dict=False)[0].float()
        return self.vae.decode(z + noise, return_dict=False)[0], z


def reconstruction_error(out: Tensor, x: Tensor, mse_weight: float) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error): mean |error| + mse_weight * mean error^2.

    Absolute error cleans the plain walls and floors; squared error puts the effort where the large errors are, at
    the edges and highlights of the small object, and is what PSNR counts.
    """
    error = (out.float() - x).abs()
    mse = error.square().mean()
    return error.mean() + mse_weight * mse, mse.detach()


def psnr(mse: Tensor) -> float:
    """dB for pictures in [-1, 1], a range of 2."""
    return float(10 * torch.log10(4 / mse))


def joint_loss(pictures: Tensor, noise_std: float, prior_weight: float, mse_weight: float):
    """Encoder and decoder together. A weak standard-normal prior keeps the latents near unit scale."""

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        x = as_input(pictures[index], torch.rand(len(index), generator=rng) < 0.5)
        x = x.contiguous(memory_format=torch.channels_last)
        noise = noise_std * torch.randn(len(index), 4, 16, 16, generator=rng)
        out, z = module(x, noise)
        loss, mse = reconstruction_error(out, x, mse_weight)
        prior = 0.5 * z.square().mean()
        return loss + prior_weight * prior, {"psnr": psnr(mse), "latent_std": float(z.detach().std())}

    return loss_fn


class Decode(nn.Module):
    """latents -> pictures, with the encoder frozen."""

    def __init__(self, vae: AutoencoderTiny):
        super().__init__()
        self.vae = vae
        vae.encoder.requires_grad_(False)

    def forward(self, z: Tensor) -> Tensor:
        return self.vae.decode(z, return_dict=False)[0]


def decoder_loss(pictures: Tensor, latents: Tensor, noise_std: float, mse_weight: float):
    """The encoder is settled; the decoder alone, on latents shaken a little, as a sampler's are.

    latents (2, N, 4, 16, 16), unscaled: of each picture and of its mirror image.
    """

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        mirror = torch.rand(len(index), generator=rng) < 0.5
        x = as_input(pictures[index], mirror)
        z = latents[mirror.long(), index].float()
        z = z + noise_std * torch.randn(z.shape, generator=rng)
        loss, mse = reconstruction_error(
            module(z.contiguous(memory_format=torch.channels_last)), x, mse_weight
        )
        return loss, {"psnr": psnr(mse)}

    return loss_fn


@torch.no_grad()
def encode_all(vae: AutoencoderTiny, pictures: Tensor, batch: int = 128) -> Tensor:
    """(N, 3, 64, 64) uint8 -> (2, N, 4, 16, 16) float16 latents, plain and mirrored, unscaled."""
    out = torch.empty(2, len(pictures), 4, 16, 16, dtype=torch.float16)
    for part in torch.arange(len(pictures)).split(batch):
        for mirror in (0, 1):
            x = as_input(pictures[part], torch.full((len(part),), bool(mirror)))
            out[mirror, part] = vae.encode(x, return_dict=False)[0].half()
    return out
