"""Few steps on Still Life: quality against steps for six samplers, and what the start of the schedule leaks.

    python -m diffusion_tutorial.experiments.few_steps

makes or completes results/few_steps.json, about three hours on one core. Every setting is written when it
is done, so the command may be stopped and called again.

In all of it picture i starts from the same noise and has the same caption, whatever the sampler, so differences
between settings are not differences of luck. Fréchet distances are taken in the judge's 64 features, between
equal numbers of pictures; at 500 of them two sets of real pictures are far apart already, which "floor" says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load
from ..mixtures.convergence import karras_timesteps
from ..noise import gaussian, step_noise
from ..results import RESULTS, Record
from ..samplers import walk
from ..still_life.captions import parse
from ..still_life.evaluate import full_caption, law, reconstruct
from ..still_life.judge import Judge
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes
from ..text_to_image import sample_many

SEED = 940_000  # scenes and captions; training's seeds lie below 900,000, the evaluation's from there
NOISE = 94
N, N_LONG, N_LEAK, N_KEEP = 500, 128, 2000, 64
LEAK_STEPS, LEAK_PROMPT = 20, "a sphere"


@dataclass(frozen=True)
class Setting:
    """One point of the sweep."""

    sampler: str
    eta: float
    steps: int
    scale: float
    spacing: str = "leading"
    n: int = N
    start: str = "noise"  # or "marginal": what the network was trained on at the first level

    @property
    def key(self) -> str:
        start = "" if self.start == "noise" else f", from the {self.start}"
        return f"{self.sampler} {self.eta:g}, {self.steps} steps, scale {self.scale:g}, {self.spacing}, n {self.n}{start}"


ROWS = (("ddim", 0.0), ("ddim", 1.0), ("ddpm-large", 0.0), ("dpm++2m", 0.0), ("ddim", 0.5), ("ddim", 0.2))


def settings() -> list[Setting]:
    """The sweep, what matters most first: a run that is stopped early has measured that."""
    plan = [Setting(*row, n, 1.0) for n in (10, 3) for row in ROWS]
    plan += [Setting(*row, 10, 1.0, start="marginal") for row in ROWS[:4]]
    plan += [Setting(*row, 10, 3.0) for row in ROWS[:4]]
    plan += [Setting(*row, n, 1.0) for n in (5, 20) for row in ROWS]
    plan += [Setting(*row, 10, 1.0, "trailing") for row in ROWS[:3]]
    plan += [Setting(*row, n, 3.0) for n in (5, 20) for row in ROWS[:4]]
    plan += [Setting(*row, n, 1.0) for n in (50, 100) for row in ROWS[:3]]
    plan += [Setting("ddpm", 0.0, 1000, 1.0, n=N_LONG), Setting("ddim", 0.0, 1000, 1.0, n=N_LONG)]
    plan += [Setting(*row, 3, 3.0) for row in ROWS] + [
        Setting(*row, n, 3.0) for row in ROWS[4:] for n in (5, 10, 20)
    ]
    plan += [Setting(*row, n, 1.0) for n in (50, 100) for row in ROWS[3:]]
    plan += [Setting(*row, 50, 3.0) for row in ROWS[:4]]
    return plan


def draw(
    model, captions: Sequence[str], setting: Setting, starts: Tensor | None = None, chunk: int = 128
) -> Tensor:
    """(N, 3, 64, 64) pictures, one a caption. Picture i has the same noises whatever the chunk and the sampler.

    starts: (N, C, h, w) instead of pure noise.
    """
    if setting.spacing == "karras":
        return _draw_on_karras_levels(model, captions, setting, starts, chunk)
    return sample_many(
        model,
        captions,
        NOISE,
        chunk,
        latents=starts,
        num_inference_steps=setting.steps,
        guidance_scale=setting.scale,
        sampler=setting.sampler,
        eta=setting.eta,
        spacing=setting.spacing,
    ).images


def _draw_on_karras_levels(model, captions, setting: Setting, starts: Tensor | None, chunk: int) -> Tensor:
    """`draw` for levels that no schedule's spacing has; without guidance."""
    if setting.scale != 1:
        raise ValueError(f"scale is {setting.scale!r}; allowed with the spacing 'karras': 1")
    transitions = karras_timesteps(model.schedule, setting.steps)
    parts = []
    for first in range(0, len(captions), chunk):
        text = model.encode_text(list(captions[first : first + chunk]))
        shape = (len(text), *model.latent_shape)
        x = gaussian(shape, NOISE, first=first) if starts is None else starts[first : first + chunk]
        noise = step_noise(shape, NOISE, first=first)
        with torch.no_grad():
            *_, last = walk(
                lambda x_t, t, text=text: model.eps(x_t, t, text),
                x,
                transitions,
                setting.sampler,
                setting.eta,
                noise,
            )
        parts.append(model.decode(last.x_s))
    return torch.cat(parts)


def features(judge: Judge, pictures: Tensor) -> Tensor:
    return torch.cat([judge.features(part) for part in pictures.split(250)])


def quality(model, judge: Judge, reference: Tensor, setting: Setting) -> dict:
    """Fréchet distance to real pictures and adherence, full captions."""
    scenes = sample_scenes(setting.n, SEED + 1)
    captions = [full_caption(scenes, i, SEED) for i in range(setting.n)]
    starts = None
    if setting.start == "marginal":  # of the scenes that the captions describe
        level = model.schedule.transitions(setting.steps, setting.spacing)[0].alpha_bar_t
        starts = start("marginal", model.encode(render(scenes)), level)
    pictures = draw(model, captions, setting, starts)
    read, said = judge.read(pictures), [parse(text) for text in captions]
    return {
        **{"sampler": setting.sampler, "eta": setting.eta, "steps": setting.steps, "scale": setting.scale},
        **{"spacing": setting.spacing, "n": setting.n, "start": setting.start},
        "frechet": metrics.frechet_distance(reference[: setting.n], features(judge, pictures)),
        "adherence": metrics.adherence(read, said),
        "all_right": metrics.all_right(read, said),
        "by_attribute": metrics.adherence_by_attribute(read, said),
    }


def floor(model, judge: Judge, reference: Tensor, n: int) -> dict:
    """The Fréchet distance of n other real pictures, and of the autoencoder's reconstructions of them."""
    real = render(sample_scenes(n, SEED + 1))
    rebuilt = reconstruct(model, real)
    return {
        "features": reference.shape[1],
        "real": metrics.frechet_distance(reference[:n], features(judge, real)),
        "reconstructions": metrics.frechet_distance(reference[:n], features(judge, rebuilt)),
    }


def keeps(model, judge: Judge, sampler: str, eta: float, counts: Sequence[int], many: int) -> dict:
    """How near pictures of few steps are to those of `many` steps from the same noises, n = N_KEEP.

    "distance" is the root mean square over pixels, a mean over pictures; "same" the share of the five unsaid
    attributes that the judge reads alike; "strangers" both for pictures of different starts, `many` steps.
    """
    captions = [LEAK_PROMPT] * N_KEEP
    end = draw(model, captions, Setting(sampler, eta, many, 1.0))
    unsaid = [name for name in ATTRIBUTES if name not in parse(LEAK_PROMPT)]

    def compare(a: Tensor, b: Tensor) -> dict:
        one, other = judge.read(a), judge.read(b)
        same = torch.stack([(one[name] == other[name]).double() for name in unsaid]).mean(0)
        distance = (a - b).square().flatten(1).mean(1).sqrt()
        return {"distance": metrics.mean(distance), "same": metrics.mean(same)}

    found = {n: compare(draw(model, captions, Setting(sampler, eta, n, 1.0)), end) for n in counts}
    return {"many": many, "by_steps": found, "strangers": compare(end, end.roll(1, 0))}


# ------------------------------------------------------------------------------------------------------------
# The leak


def latents_of(model, prompt: str, n: int) -> Tensor:
    """(n, C, h, w) latents of n fresh scenes that have what the prompt says."""
    return model.encode(render(sample_scenes(n, SEED + 2, fixed=parse(prompt))))


def trace(latents: Tensor, alpha_bar: float) -> dict:
    """What a picture leaves in x_t = sqrt(a) z + sqrt(1 - a) noise, in standard deviations of the noise.

    "mean" is the length of the mean latent there, "channels" that of its channel means alone, "picture" the root
    mean square length of what differs from picture to picture.
    """
    signal = sqrt(alpha_bar / (1 - alpha_bar))
    mean = latents.mean(0)
    channels = mean.mean((1, 2))
    return {
        "alpha_bar": alpha_bar,
        "channel_means": channels,
        "channel_stds": latents.std((0, 2, 3)),
        "mean": signal * mean.norm(),
        "channels": signal * sqrt(mean[0].numel()) * channels.norm(),
        "picture": signal * (latents - mean).square().sum((1, 2, 3)).mean().sqrt(),
    }


STARTS = ("noise", "mean", "channels", "marginal", "noise, trailing")


def start(kind: str, latents: Tensor, alpha_bar: float) -> Tensor:
    """(N, C, h, w) where the sampler starts: the same noise, with more or less of the pictures' trace in it.

    "noise" has none, "channels" the mean of each channel, "mean" the mean latent, "marginal" a latent each, which
    is what the network was trained on at this level.
    """
    z = gaussian(latents.shape, NOISE)
    if kind.startswith("noise"):
        return z
    mean = latents.mean(0, keepdim=True)
    kept = {"channels": mean.mean((2, 3), keepdim=True), "mean": mean, "marginal": latents}[kind]
    return sqrt(alpha_bar) * kept + sqrt(1 - alpha_bar) * z


def leak(model, judge: Judge, kind: str, latents: Tensor) -> dict:
    """How far what the prompt leaves open is from the training law, for one kind of start; DDIM, scale 1."""
    n = len(latents)
    setting = Setting("ddim", 0.0, LEAK_STEPS, 1.0, "trailing" if kind.endswith("trailing") else "leading", n)
    alpha_bar = model.schedule.transitions(setting.steps, setting.spacing)[0].alpha_bar_t
    read = judge.read(draw(model, [LEAK_PROMPT] * n, setting, start(kind, latents, alpha_bar)))
    said = parse(LEAK_PROMPT)
    laws = {name: law(name, said) for name in ATTRIBUTES if name not in said}
    return {
        "alpha_bar": alpha_bar,
        "total_variation": {name: metrics.total_variation(read[name], p) for name, p in laws.items()},
        "floor": {name: metrics.total_variation_floor(p, n) for name, p in laws.items()},
        "shares": {name: torch.bincount(read[name], minlength=len(p)) / n for name, p in laws.items()},
    }


def main() -> None:
    record = Record(
        RESULTS / "few_steps.json",
        "Still Life: quality by sampler and steps, whether the picture stays, and the leak of the schedule's end",
        "python -m diffusion_tutorial.experiments.few_steps",
        seed=SEED,
        noise=NOISE,
        leak_prompt=LEAK_PROMPT,
        leak_steps=LEAK_STEPS,
        leak_n=N_LEAK,
        keep_n=N_KEEP,
    )
    model, judge = load(), Judge.load()
    with torch.no_grad():
        reference = features(judge, render(sample_scenes(N, SEED)))
        for n in (N, N_LONG):
            record.measure(f"floor, n {n}", lambda n=n: floor(model, judge, reference, n))
        for name, eta in (("ddim", 0.0), ("ddpm", 0.0)):
            record.measure(
                f"keeps, {name}", lambda s=name, e=eta: keeps(model, judge, s, e, (5, 10, 25, 50), 100)
            )
        latents = latents_of(model, LEAK_PROMPT, N_LEAK)
        record.measure("trace", lambda: trace(latents, model.schedule.alpha_bar(999)))
        plan = settings()
        for setting in plan[:16]:
            record.measure(setting.key, lambda s=setting: quality(model, judge, reference, s))
        for kind in STARTS:
            record.measure(f"leak, {kind}", lambda k=kind: leak(model, judge, k, latents))
        for setting in plan[16:]:
            record.measure(setting.key, lambda s=setting: quality(model, judge, reference, s))


if __name__ == "__main__":
    main()
