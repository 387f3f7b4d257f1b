"""The student: one network that draws in one, two or four evaluations what the flow draws in dozens.

Two methods go into it. *Guidance distillation* (Meng et al. 2023): the guidance scale and the negative prompt,
for which the flow is asked twice a step, become inputs. *Reflow* (Liu et al. 2023): the flow walks from noise to
picture once, and the student learns to go there in a straight line.

1. `make_pairs`: noise, prompt, negative prompt and scale at random; the guided flow's walk gives the picture. (2 KB each)
2. `make_counterparts`: the same noises and prompts once more, with a negative prompt that names something which that
   picture shows. At random a negative prompt seldom meets what it names, and a first student did not learn to heed it.
3. `reflow_loss`: the student is shown where its *own* steps lead from that noise, and should point at that picture.

`consistency_loss` is the second method in place of all three (Song et al. 2023, with the guided teacher as in Luo et al.
2023): no pairs, but one guided step of the teacher from a noised picture; the student should promise the same picture
before and after it. The config's `fast: method` chooses.

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
from transformers import CLIPTextModel

from diffusion_tutorial.checkpoints.student import MOST, TOLD, told
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.captions import caption, parse
from diffusion_tutorial.still_life.scenes import ATTRIBUTES, sample_scenes

from .denoiser import captions_for

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
            against = self.text_encoder(negative, return_dict=False)[0]
            out = self.unet(x, 1000 * sigma, words, timestep_cond=told(scale, against), return_dict=False)
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
    words = captions_for(others.labels, rng, 0.0, 1.0)  # one or two words of another scene
    negatives = [text if rng.random() < c["negatives"] else "" for text in words]
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


def against(said: dict[str, str], shown: dict[str, str], rng: random.Random) -> str:
    """A negative prompt: the word for one attribute that the picture shows and the prompt leaves open; "" for none.

    Each open value is as likely as any other, so colours come up more often than sizes.
    """
    open_ = [name for name in ATTRIBUTES if name not in said]
    if not open_:
        return ""
    name = rng.choices(open_, [len(ATTRIBUTES[name]) for name in open_])[0]
    word = f"{shown[name]} {name}" if name in ("floor", "wall") else shown[name]
    return rng.choice((word, caption({name: shown[name]}, rng)))


def draw(
    teacher: Networks, noise: Tensor, ids: Tensor, scale: Tensor, negative: Tensor, steps: int
) -> Tensor:
    """`walk` in batches of 64."""
    parts = [part.split(64) for part in (noise, ids, scale, negative)]
    return torch.cat([walk(teacher, *rows, steps) for rows in zip(*parts)])


def keep(place: Path, x0: Tensor, ids: Tensor, scale: Tensor, negative: Tensor) -> None:
    """One shard, whole or not at all."""
    fresh = place.with_suffix(".part")
    save_file({"x0": x0.half(), "ids": ids, "scale": scale, "negative": negative}, fresh)
    fresh.replace(place)


def shard_of(k: int, c: dict) -> tuple[Tensor, tuple[list[str], list[str], Tensor]]:
    """Noise (SHARD, 4, 16, 16) and questions of shard k, the same wherever they are asked for."""
    return gaussian((SHARD, 4, 16, 16), c["seed"] + k), questions(SHARD, c["seed"] + k, c)


def make_pairs(
    folder: Path, teacher: Networks, tokens, c: dict, process: int = 0, processes: int = 1
) -> None:
    """Shards of 512 that are not there yet: x0 in fp16, scale, token ids of prompt and negative prompt. The noise is
    `gaussian(seed)` again.

    tokens: texts to ids. c: the section `fast` of the config.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(process, c["shards"], processes):
        place = folder / f"pairs-{k:04d}.safetensors"
        if place.exists():
            continue
        noise, (prompts, negatives, scale) = shard_of(k, c)
        rows = tokens(prompts), scale, tokens(negatives)
        keep(place, draw(teacher, noise, *rows, c["teacher_steps"]), *rows)


def make_counterparts(
    folder: Path, teacher: Networks, tokens, reader, c: dict, process: int = 0, processes: int = 1
) -> None:
    """The first shards of pairs again, with negative prompts against what `reader` finds in their pictures.

    reader: latents (N, 4, 16, 16) -> attribute -> indices (N,). Where the scale was 1, at which a negative prompt does
    nothing, another is drawn.
    """
    for k in range(process, c["counterparts"], processes):
        place = folder / f"against-{k:04d}.safetensors"
        if place.exists():
            continue
        noise, (prompts, _, scale) = shard_of(k, c)
        found = reader(load_file(folder / f"pairs-{k:04d}.safetensors")["x0"].float())
        rng = random.Random(c["seed"] - 1 - k)
        shown = [{name: ATTRIBUTES[name][int(found[name][i])] for name in ATTRIBUTES} for i in range(SHARD)]
        negatives = [against(parse(text), seen, rng) for text, seen in zip(prompts, shown)]
        scale = torch.tensor([float(s) if s > 1 else MOST ** rng.random() for s in scale])
        rows = tokens(prompts), scale, tokens(negatives)
        keep(place, draw(teacher, noise, *rows, c["teacher_steps"]), *rows)


def read_pairs(folder: Path, c: dict) -> dict[str, Tensor]:
    """All shards as one: eps and x0 (N, 4, 16, 16), ids and negative (N, tokens), scale (N,)."""
    kinds = [("pairs", k) for k in range(c["shards"])] + [("against", k) for k in range(c["counterparts"])]
    shards = [load_file(folder / f"{kind}-{k:04d}.safetensors") for kind, k in kinds]
    pairs = {name: torch.cat([shard[name] for shard in shards]) for name in shards[0]}
    pairs["eps"] = torch.cat([gaussian((SHARD, 4, 16, 16), c["seed"] + k) for _, k in kinds])
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
        if n < 4:
            raise ValueError(
                f"batch is {n}; allowed: 4 or more, since a quarter takes part in a walk of four"
            )
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


def consistency_loss(latents: Tensor, labels: Tensor, teacher: Networks, tokens, c: dict):
    """The picture that the student promises before one guided step of the teacher, against the one after it (no gradient).

    latents (2, N, 4, 16, 16), plain and mirrored, scaled. Levels are those of a walk of c["points"] steps; 15% of the
    batch stand at the first, where a walk starts from noise alone.
    """
    sigmas = torch.tensor(levels(c["points"]))

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
        k = torch.randint(len(sigmas) - 1, (n,), generator=rng)
        k[: int(0.15 * n)] = 0
        sigma, to = sigmas[k], sigmas[k + 1]
        x = _over(sigma) * torch.randn(x0.shape, generator=rng) + _over((1 - sigma) * (k > 0)) * x0
        with torch.no_grad():
            y = x + _over(to - sigma) * teacher.guided(x, sigma, *condition)
            target = y - _over(to) * module(y, to, *condition)
        loss = huber(x - _over(sigma) * module(x, sigma, *condition) - target)
        return loss.mean(), {"first": float(loss[: int(0.15 * n)].detach().mean())}

    return loss_fn
