"""The student: one network that draws in one, two or four evaluations what the flow draws in dozens.

Two teachers' tricks go into it. *Guidance distillation* (Meng et al. 2023): the guidance scale and the negative prompt,
for which the flow is asked twice a step, become inputs. *Reflow* (Liu et al. 2022): the flow walks from noise to
picture once, and the student learns to go there in a straight line.

1. `make_pairs`: noise, prompt, negative prompt and scale at random; the guided flow's walk gives the picture. (2 KB each)
2. `reflow_loss`: the student is shown where its *own* steps lead from that noise, and should point at that picture.

`consistency_loss` is the other method that was tried (Song et al. 2023): no pairs, one guided step of the teacher from
a noised picture, and the student should say the same before and after it.

All here is in the flow's own terms: x = (1 - sigma) x0 + sigma eps, the network says F = dx/dsigma = eps - x0.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion_tutorial.checkpoints.student import MOST, TOLD, told
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.captions import WORDS
from diffusion_tutorial.still_life.scenes import sample_scenes

from .denoiser import captions_for, token_ids

SHARD = 512
SHIFT = 2.0  # of the student's levels, and of the teacher's steps
SCHEDULER = {"num_train_timesteps": 1000, "shift": SHIFT}  # of the FlowMatchEulerDiscreteScheduler that ships


def levels(steps: int) -> list[float]:
    """The sigmas of a walk of so many steps, from just below 1 to the 0 at its end."""
    return [float(t) / 1000 for t in FlowSchedule(SHIFT).timesteps(steps)] + [0.0]


def build_student(flow: UNet2DConditionModel) -> UNet2DConditionModel:
    """The flow's U-Net with one more input, what `told` makes of scale and negative prompt. It starts as the flow.

    The input is added to the timestep's embedding by a matrix that is zero at first (diffusers' `time_cond_proj_dim`).
    """
    student = UNet2DConditionModel.from_config({**flow.config, "time_cond_proj_dim": TOLD})
    student.load_state_dict(flow.state_dict(), strict=False)
    nn.init.zeros_(student.time_embedding.cond_proj.weight)
    return student


class Networks(nn.Module):
    """Text encoder and U-Net behind one call, (x, sigma, token ids, ...) -> F, all (B, ...); student or teacher."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, x: Tensor, sigma: Tensor, ids: Tensor, scale: Tensor, negative: Tensor) -> Tensor:
        # On a processor the plain formula's backward pass is three times as fast as the fused kernel's at this size.
        with sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext():
            words = self.text_encoder(ids, return_dict=False)[0]
            pooled = self.text_encoder(negative).pooler_output
            out = self.unet(x, 1000 * sigma, words, timestep_cond=told(scale, pooled), return_dict=False)
            return out[0].float()

    def guided(self, x: Tensor, sigma: Tensor, ids: Tensor, scale: Tensor, negative: Tensor) -> Tensor:
        """The teacher's F_neg + s (F_cond - F_neg); where s is 1 the second question is not asked."""
        words = self.text_encoder(torch.cat([ids, negative]), return_dict=False)[0]
        asks = torch.cat([torch.ones_like(scale, dtype=torch.bool), scale != 1])
        twice = [torch.cat([part, part])[asks] for part in (x, 1000 * sigma)]
        out = x.new_zeros(2 * len(x), *x.shape[1:])
        out[asks] = self.unet(*twice, words[asks], return_dict=False)[0].float()
        cond, neg = out.chunk(2)
        return torch.where(_over(scale != 1), neg + _over(scale) * (cond - neg), cond)


def _over(values: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return values[:, None, None, None]


# What the teacher draws


def questions(n: int, seed: int, c: dict) -> tuple[list[str], list[str], Tensor]:
    """n prompts, negative prompts and scales (n,) as a user might ask: c has drop, sparse, negatives, plain."""
    rng = random.Random(seed)
    scenes, others = sample_scenes(n, seed), sample_scenes(n, seed + 500_000_000)
    prompts = captions_for(scenes.labels, rng, c["drop"], c["sparse"])
    against = captions_for(others.labels, rng, 0.0, 1.0)  # one or two words of another scene
    negatives = [text if rng.random() < c["negatives"] else "" for text in against]
    scales = [1.0 if rng.random() < c["plain"] else MOST ** rng.random() for _ in range(n)]
    return prompts, negatives, torch.tensor(scales)


@torch.no_grad()
def walk(teacher: Networks, x: Tensor, ids: Tensor, scale: Tensor, negative: Tensor, steps: int) -> Tensor:
    """The guided flow from noise x (B, C, h, w) to the picture, by the two-step method of Adams and Bashforth."""
    sigmas, before, last = levels(steps), None, 0.0
    x = sigmas[0] * x
    for sigma, to in zip(sigmas, sigmas[1:]):
        now = teacher.guided(x, x.new_full((len(x),), sigma), ids, scale, negative)
        step = to - sigma
        slope = now if before is None else now + step / (2 * last) * (now - before)
        x, before, last = x + step * slope, now, step
    return x


def make_pairs(
    folder: Path, teacher: Networks, tokens, c: dict, process: int = 0, processes: int = 1
) -> None:
    """Shards of 512 that are not there yet: x0 in fp16, token ids, scale. The noise is `gaussian(seed)` again.

    tokens: texts to ids. c: the section `fast` of the config. Shard k is the same wherever it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(process, c["shards"], processes):
        place = folder / f"pairs-{k:04d}.safetensors"
        if place.exists():
            continue
        prompts, negatives, scale = questions(SHARD, c["seed"] + k, c)
        ids, negative = tokens(prompts), tokens(negatives)
        noise = gaussian((SHARD, 4, 16, 16), c["seed"] + k)
        parts = [part.split(64) for part in (noise, ids, scale, negative)]
        x0 = torch.cat([walk(teacher, *rows, c["teacher_steps"]) for rows in zip(*parts)])
        fresh = place.with_suffix(".part")
        save_file({"x0": x0.half(), "ids": ids, "scale": scale, "negative": negative}, fresh)
        fresh.replace(place)


def read_pairs(folder: Path, c: dict) -> dict[str, Tensor]:
    """All shards as one: eps and x0 (N, 4, 16, 16), ids and negative (N, tokens), scale (N,)."""
    shards = [load_file(folder / f"pairs-{k:04d}.safetensors") for k in range(c["shards"])]
    pairs = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    pairs["eps"] = torch.cat([gaussian((SHARD, 4, 16, 16), c["seed"] + k) for k in range(c["shards"])])
    return pairs


# What the student learns from


def huber(error: Tensor, width: float = 0.03) -> Tensor:
    """(B,) pseudo-Huber length of the error (Song & Dhariwal 2024): like its size, so that outliers do not rule."""
    d = error[0].numel()
    return ((error.square().flatten(1).sum(1) + d * width**2).sqrt() - d**0.5 * width) / d**0.5


def reflow_loss(pairs: dict[str, Tensor]):
    """How far the student's picture is from the teacher's, at each level at which it will be asked.

    Half of the batch starts at the noise itself; the rest at a later step of a walk of two or of four, at the point
    to which the student's own steps have brought it, so that it learns to correct itself.
    """

    def own_way(
        module: nn.Module, x: Tensor, steps: int, taken: int, condition: tuple
    ) -> tuple[Tensor, float]:
        sigmas = levels(steps)
        x = sigmas[0] * x
        with torch.no_grad():
            for sigma, to in zip(sigmas[:taken], sigmas[1:]):
                x = x + (to - sigma) * module(x, x.new_full((len(x),), sigma), *condition)
        return x, sigmas[taken]

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        batch = {name: part[index] for name, part in pairs.items()}
        n, late = len(index), 1 + int(torch.randint(3, (1,), generator=rng))
        plans = [(1, 0, n // 2), (2, 1, n - n // 2 - n // 4), (4, late, n // 4)]
        rows, sigma, first = [], [], 0
        for steps, taken, size in plans:
            part = slice(first, first + size)
            condition = tuple(batch[name][part] for name in ("ids", "scale", "negative"))
            x, level = own_way(module, batch["eps"][part], steps, taken, condition)
            rows.append(x)
            sigma += [level] * size
            first += size
        x, sigma = torch.cat(rows), torch.tensor(sigma)
        out = module(x, sigma, batch["ids"], batch["scale"], batch["negative"])
        loss = huber(x - _over(sigma) * out - batch["x0"].float())
        return loss.mean(), {
            "one": float(loss[: n // 2].detach().mean()),
            "late": float(loss[-(n // 4) :].detach().mean()),
        }

    return loss_fn


def consistency_loss(latents: Tensor, labels: Tensor, teacher: Networks, tokens, c: dict, points: int = 16):
    """The student's picture before one guided step of the teacher against the one after it (the target: no gradient).

    latents (2, N, 4, 16, 16), plain and mirrored, scaled; 15% of the batch stand at pure noise.
    """
    sigmas = torch.tensor(levels(points))

    def loss_fn(module: nn.Module, index: Tensor, rng: torch.Generator):
        n = len(index)
        mirror = (torch.rand(n, generator=rng) < 0.5).long()
        x0 = latents[mirror, index].float()
        draw = random.Random(int(torch.randint(2**31, (1,), generator=rng)))
        texts = captions_for(labels[index], draw, c["drop"], c["sparse"])
        other = captions_for(labels[index.flip(0)], draw, 0.0, 1.0)
        negative = tokens([text if draw.random() < c["negatives"] else "" for text in other])
        scale = torch.tensor([1.0 if draw.random() < c["plain"] else MOST ** draw.random() for _ in texts])
        condition = (tokens(texts), scale, negative)
        k = torch.randint(points, (n,), generator=rng)
        k[: int(0.15 * n)] = 0
        sigma, to = sigmas[k], sigmas[k + 1]
        x = _over(1 - sigma) * x0 + _over(sigma) * torch.randn(x0.shape, generator=rng)
        x[k == 0] -= _over(1 - sigma[k == 0]) * x0[k == 0]  # a walk starts from noise alone
        with torch.no_grad():
            y = x + _over(to - sigma) * teacher.guided(x, sigma, *condition)
            target = y - _over(to) * module(y, to, *condition)
        loss = huber(x - _over(sigma) * module(x, sigma, *condition) - target)
        return loss.mean(), {"first": float(loss[k == 0].detach().mean())}

    return loss_fn


def tokenizer_of(tokenizer: CLIPTokenizer):
    """texts -> (B, MAX_LENGTH) int64, for captions of the language."""
    words = {word: tokenizer(word).input_ids[1] for word in WORDS}
    return lambda texts: token_ids(texts, words, tokenizer.bos_token_id, tokenizer.eos_token_id)
