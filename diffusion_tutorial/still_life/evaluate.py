"""How good Still Life is: every bar, measured. `python -m diffusion_tutorial.experiments.still_life` runs it.

Pictures are sampled by the same loop that the chapters use; the judge, which no sampler ever sees, reads them.
"""

from __future__ import annotations

import datetime
import random
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from diffusion_tutorial.metrics import (
    Estimate,
    adherence,
    adherence_by_attribute,
    all_right,
    entropy,
    frechet_distance,
    mean,
    psnr,
    rate,
    total_variation,
    total_variation_floor,
)
from diffusion_tutorial.text_to_image import sample_many

from .captions import caption, parse
from .judge import Judge
from .scenes import ATTRIBUTES, HELD_OUT, Scenes, render, sample_scenes

# Scenes for evaluation start here; training's seeds (config.yaml) lie below.
_SEED = 900_000
BARS = {
    "psnr": 35.0,
    "reconstruction": 0.97,
    "judge": 0.98,
    "adherence": 0.97,
    "all_right": 0.85,
    "total_variation": 0.05,
    "frechet_ratio": 1.3,
}


def full_caption(scenes: Scenes, i: int, seed: int) -> str:
    """A caption that names all six attributes of scene i, worded as in training."""
    return caption(scenes.values(i), random.Random(seed + i))


def draw(
    model, captions: Sequence[str | None], steps: int, scale: float, seed: int, chunk: int = 125
) -> Tensor:
    """(N, 3, 64, 64) pictures, one a caption, by DDIM. Picture i has the same noise whatever the chunk."""
    return sample_many(model, captions, seed, chunk, num_inference_steps=steps, guidance_scale=scale).images


def reconstruct(model, pictures: Tensor, chunk: int = 100) -> Tensor:
    """(N, 3, 64, 64) in [0, 1] through encoder and decoder."""
    vae = model.adapter.vae
    parts = []
    with torch.inference_mode():
        for part in pictures.split(chunk):
            x = part.to(model.device, model.dtype) * 2 - 1
            parts.append((vae.decode(vae.encode(x).latents).sample.float() / 2 + 0.5).clamp(0, 1).cpu())
    return torch.cat(parts)


def _accuracy(read: dict[str, Tensor], labels: Tensor) -> dict[str, Estimate]:
    return {name: rate((read[name] == labels[:, k]).long(), 1) for k, name in enumerate(ATTRIBUTES)}


def judge_accuracy(judge: Judge, n: int, seed: int = _SEED) -> dict:
    """The judge on fresh clean pictures, held-out combinations included."""
    scenes = sample_scenes(n, seed, held_out=None)
    return {"n": n, "accuracy": _accuracy(judge.read(render(scenes)), scenes.labels)}


def autoencoder_quality(model, judge: Judge, n: int, seed: int = _SEED + 1) -> dict:
    """PSNR on fresh scenes, and how often the judge still reads each attribute off the reconstruction."""
    scenes = sample_scenes(n, seed, held_out=None)
    pictures = render(scenes)
    rebuilt = reconstruct(model, pictures)
    whole = -10 * torch.log10((pictures - rebuilt).double().square().mean())
    return {
        "n": n,
        "psnr": mean(psnr(pictures, rebuilt)),
        "psnr_of_mean_error": float(whole),
        "accuracy": _accuracy(judge.read(rebuilt), scenes.labels),
    }


def caption_adherence(
    model, judge: Judge, n: int, held_out: bool, steps: int = 25, scale: float = 4.0, seed: int = _SEED + 2
) -> dict:
    """Captions that name all six attributes; are they all there?"""
    scenes = sample_scenes(n, seed + held_out, held_out=held_out)
    captions = [full_caption(scenes, i, seed) for i in range(n)]
    read = judge.read(draw(model, captions, steps, scale, seed=seed))
    said = [parse(text) for text in captions]
    return {
        "n": n,
        "steps": steps,
        "guidance_scale": scale,
        "adherence": adherence(read, said),
        "all_right": all_right(read, said),
        "accuracy": adherence_by_attribute(read, said),
    }


def law(name: str, said: dict[str, str]) -> list[float]:
    """The training law of an attribute given what a caption says: uniform over the allowed combinations."""
    shapes = [said["shape"]] if "shape" in said else ATTRIBUTES["shape"]
    colours = [said["colour"]] if "colour" in said else ATTRIBUTES["colour"]
    allowed = [(s, c) for s in shapes for c in colours if (s, c) not in HELD_OUT]
    if name in ("shape", "colour"):
        column = [pair[0 if name == "shape" else 1] for pair in allowed]
        return [column.count(value) / len(allowed) for value in ATTRIBUTES[name]]
    return [1 / len(ATTRIBUTES[name])] * len(ATTRIBUTES[name])


def diversity(
    model, judge: Judge, text: str, n: int, steps: int = 25, scale: float = 1.0, seed: int = _SEED + 10
) -> dict:
    """What is left unsaid should follow the training law: total variation from it, and entropy in bits."""
    read = judge.read(draw(model, [text] * n, steps, scale, seed=seed))
    said = parse(text)
    unsaid = [name for name in ATTRIBUTES if name not in said]
    return {
        "n": n,
        "steps": steps,
        "guidance_scale": scale,
        "prompt": text,
        "total_variation": {name: total_variation(read[name], law(name, said)) for name in unsaid},
        "floor": {name: total_variation_floor(law(name, said), n) for name in unsaid},
        "entropy": {name: entropy(read[name], len(ATTRIBUTES[name])) for name in unsaid},
    }


def frechet(
    model, judge: Judge, n: int, scales: Sequence[float], steps: int = 50, seed: int = _SEED + 20
) -> dict:
    """Fréchet distances in the judge's features to n real pictures: of other real ones, of reconstructions, of samples."""
    reference = judge.features(render(sample_scenes(n, seed)))
    scenes = sample_scenes(n, seed + 1)
    pictures = render(scenes)
    captions = [full_caption(scenes, i, seed) for i in range(n)]
    by_scale = {}
    for scale in scales:
        by_scale[f"{scale:g}"] = frechet_distance(
            reference, judge.features(draw(model, captions, steps, scale, seed=seed))
        )
    return {
        "n": n,
        "steps": steps,
        "features": reference.shape[1],
        "real": frechet_distance(reference, judge.features(pictures)),
        "reconstructions": frechet_distance(reference, judge.features(reconstruct(model, pictures))),
        "by_scale": by_scale,
    }


PARTS = ("judge", "autoencoder", "captions", "held_out", "diversity", "frechet")


def evaluate(
    model,
    judge: Judge,
    parts: Sequence[str] = PARTS,
    share: float = 1.0,
    frechet_scales: Sequence[float] = (1, 1.5, 2),
    say=print,
) -> dict:
    """The measurements in `parts`, at `share` of the full sample counts."""

    def n(count: int) -> int:
        return max(20, int(count * share))

    measure = {
        "judge": lambda: judge_accuracy(judge, n(4000)),
        "autoencoder": lambda: autoencoder_quality(model, judge, n(2000)),
        "captions": lambda: caption_adherence(model, judge, n(1000), held_out=False),
        "held_out": lambda: caption_adherence(model, judge, n(500), held_out=True),
        "diversity": lambda: [
            diversity(model, judge, text, n(2000)) for text in ("a sphere", "a red object")
        ],
        "frechet": lambda: frechet(model, judge, n(2000), frechet_scales),
    }
    found = {}
    for name in parts:
        began = time.time()
        found[name] = measure[name]()
        say(f"{name}: {time.time() - began:.0f} s")
    found["date"] = datetime.date.today().isoformat()
    return found


def frechet_ratio(found: dict) -> Estimate:
    """The bar's ratio, the least distance of samples over that of reconstructions, with a 95% interval of the ratio.

    found: what `evaluate` returns, in JSON form. To first order the squares of relative half widths add (the delta
    method), with the two distances taken for independent. They share their reference, so the interval is a little too
    wide; that the least of several was taken is not in it.
    """
    best = min(found["frechet"]["by_scale"].values(), key=lambda e: e["value"])
    over = found["frechet"]["reconstructions"]
    value = best["value"] / over["value"]
    wide = value * sum(((e["high"] - e["value"]) / e["value"]) ** 2 for e in (best, over)) ** 0.5
    return Estimate(value, max(value - wide, 0.0), value + wide, found["frechet"]["n"])


def bars(found: dict) -> list[tuple[str, float, str, float, bool]]:
    """(what, measured, "≥" or "≤", bar, met?) for each bar, from what `evaluate` returns, in JSON form."""
    worst = lambda table: min(v["value"] for v in table.values())  # noqa: E731
    best = min(v["value"] for v in found["frechet"]["by_scale"].values())
    rows = [
        ("Autoencoder: PSNR on fresh scenes, dB", found["autoencoder"]["psnr"]["value"], "≥", BARS["psnr"]),
        (
            "Judge on reconstructions, worst attribute",
            worst(found["autoencoder"]["accuracy"]),
            "≥",
            BARS["reconstruction"],
        ),
        ("Judge on clean pictures, worst attribute", worst(found["judge"]["accuracy"]), "≥", BARS["judge"]),
        ("Full captions: mean adherence", found["captions"]["adherence"]["value"], "≥", BARS["adherence"]),
        ("Full captions: all six right", found["captions"]["all_right"]["value"], "≥", BARS["all_right"]),
        (
            "Scale 1: total variation of the unsaid, worst",
            max(v["value"] for part in found["diversity"] for v in part["total_variation"].values()),
            "≤",
            BARS["total_variation"],
        ),
        (
            f"Fréchet distance at the best of {len(found['frechet']['by_scale'])} scales, over that of reconstructions",
            best / found["frechet"]["reconstructions"]["value"],
            "≤",
            BARS["frechet_ratio"],
        ),
    ]
    return [
        (what, got, sign, bar, got >= bar if sign == "≥" else got <= bar) for what, got, sign, bar in rows
    ]
