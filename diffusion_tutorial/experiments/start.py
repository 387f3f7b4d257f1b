"""Where sampling starts, and what that does to what a prompt leaves open: Still Life beside an exact denoiser.

    python -m diffusion_tutorial.experiments.start            makes or completes results/start.json, half an hour on
                                                              one core; --only WORD measures the keys that contain it

Stable Diffusion 1's noise levels end above zero, and "leading" spacing starts lower still, so the network expects a
trace of a picture where the sampler hands it pure noise. This measures the shares of unsaid attributes for two
prompts, two spacings, eta 0 and 1 and several starts; what a denoiser without any error does from the same starts;
and pairs of settings on the same captions and noises, with intervals of the *difference*.

Picture i has the same noise in every row, so rows may be compared picture by picture. `readings` keeps what the judge
read, one digit a picture, so that a paired difference can be taken later.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load
from ..metrics import Estimate
from ..noise import gaussian, step_noise, uniform
from ..results import RESULTS, Record, read
from ..samplers import trajectory
from ..still_life.captions import parse
from ..still_life.evaluate import full_caption, law
from ..still_life.judge import Judge
from ..still_life.scenes import ATTRIBUTES, render, sample_scenes
from .few_steps import NOISE, SEED, Setting, draw, features, quality

N, N_SIDE, N_PAIR, N_FIT, STEPS = 2000, 500, 500, 2500, 20
PROMPTS = ("a sphere", "a red object")
FIT = SEED + 7  # the scenes that means and covariances come from

# What each row says: (prompt, start, eta, spacing, n). "noise" is pure noise; "gaussian" has the mean and the
# covariance of all latents at the first level; "marginal" a latent of a fitting scene each, as in training. For
# "a sphere" at eta 0 the two rows from noise are in results/few_steps.json, as "leak, noise" and "leak, noise,
# trailing", of the same noises.
WALKS = (
    ("a red object", "noise", 0.0, "leading"),
    ("a red object", "noise", 1.0, "trailing"),
    ("a red object", "noise", 0.0, "trailing"),
    ("a red object", "noise", 1.0, "leading"),
    ("a sphere", "noise", 1.0, "trailing"),
    ("a sphere", "noise", 1.0, "leading"),
    ("a red object", "gaussian", 0.0, "leading"),
    ("a sphere", "gaussian", 0.0, "leading"),
    ("a red object", "marginal", 0.0, "leading"),
)
ROWS = tuple(
    (*walk, N_SIDE) for walk in WALKS
)  # first all of them with 500 pictures, then the main ones with 2000
MAIN = tuple((*walk, N) for walk in WALKS[:5])


def key(prompt: str, start: str, eta: float, spacing: str, n: int) -> str:
    return f"unsaid, {prompt}, {start}, eta {eta:g}, {spacing}, n {n}"


# ------------------------------------------------------------------------------------------------------------
# Starts


class Gaussian:
    """The mean and the covariance of latents, and draws of a normal law with them at any noise level.

    latents: (N, C, h, w), N well above C h w for a covariance of full rank.
    """

    def __init__(self, latents: Tensor):
        self.shape = latents.shape[1:]
        flat = latents.flatten(1).double()
        self.mean = flat.mean(0)
        spread, self.basis = torch.linalg.eigh(torch.cov(flat.T))
        self.spread = spread.clamp(min=0)

    def start(self, z: Tensor, alpha_bar: float) -> Tensor:
        """(B, C, h, w) float32 from standard normal z of that shape: sqrt(a) mean + (a C + 1 - a)^1/2 z.

        The root is the symmetric one, so at alpha_bar = 0 the start is z itself.
        """
        scale = (alpha_bar * self.spread + 1 - alpha_bar).sqrt()
        x = sqrt(alpha_bar) * self.mean + (z.flatten(1).double() @ self.basis * scale) @ self.basis.T
        return x.reshape(-1, *self.shape).float()


def starts(
    kind: str, z: Tensor, alpha_bar: float, gaussian_start: Gaussian | None, latents: Tensor | None
) -> Tensor:
    """(B, C, h, w) where a run begins; z is its pure noise, latents (B, C, h, w) those of "marginal"."""
    if kind == "noise":
        return z
    if kind == "gaussian":
        return gaussian_start.start(z, alpha_bar)
    if kind == "marginal" and latents is not None:
        return sqrt(alpha_bar) * latents + sqrt(1 - alpha_bar) * z
    raise ValueError(f"kind is {kind!r}; allowed: 'noise', 'gaussian', 'marginal' with latents")


def all_latents(model, n: int, fixed: dict | None = None, seed: int = FIT) -> tuple[Tensor, Tensor]:
    """((n, C, h, w) latents, (n, 6) labels) of fresh scenes under the training law."""
    scenes = sample_scenes(n, seed, fixed=fixed)
    return model.encode(render(scenes)), scenes.labels


# ------------------------------------------------------------------------------------------------------------
# What a prompt leaves open


def shares(readings: dict[str, Tensor], said: dict[str, str]) -> dict:
    """Total variation from the training law, what chance shows, shares and readings, for each unsaid attribute."""
    laws = {name: law(name, said) for name in ATTRIBUTES if name not in said}
    n = len(next(iter(readings.values())))
    return {
        "n": n,
        "total_variation": {name: metrics.total_variation(readings[name], p) for name, p in laws.items()},
        "floor": {name: metrics.total_variation_floor(p, n) for name, p in laws.items()},
        "shares": {name: torch.bincount(readings[name], minlength=len(p)) / n for name, p in laws.items()},
        "readings": {name: "".join(map(str, readings[name].tolist())) for name in laws},
    }


def unsaid(model, judge: Judge, gaussian_start: Gaussian | None, row: tuple) -> dict:
    """One row of `ROWS`, measured: 20 steps of DDIM, guidance scale 1."""
    prompt, kind, eta, spacing, n = row
    setting = Setting("ddim", eta, STEPS, 1.0, spacing, n)
    alpha_bar = model.schedule.transitions(STEPS, spacing)[0].alpha_bar_t
    latents = all_latents(model, n, parse(prompt), SEED + 2)[0] if kind == "marginal" else None
    x = starts(kind, gaussian((n, *model.latent_shape), NOISE), alpha_bar, gaussian_start, latents)
    read = judge.read(draw(model, [prompt] * n, setting, x))
    return {"alpha_bar": alpha_bar, **shares(read, parse(prompt))}


def stored(prompt: str, start: str = "noise", eta: float = 0.0, spacing: str = "leading") -> dict:
    """The stored row of a walk, with its "n", from whichever of the two results files has it.

    Raises KeyError that names the walk where it was not measured.
    """
    begun, name = read("start")["measured"], "leak, noise" + (", trailing" if spacing == "trailing" else "")
    for n in (N, N_SIDE):
        if key(prompt, start, eta, spacing, n) in begun:
            return begun[key(prompt, start, eta, spacing, n)]
    if (prompt, start, eta) == ("a sphere", "noise", 0.0):
        return {"n": N, **read("few_steps")["measured"][name]}
    raise KeyError(f"{prompt!r}, {start}, eta {eta:g}, {spacing} is not in results/start.json")


def digits(text: str) -> Tensor:
    """(N,) the readings that `shares` stored."""
    return torch.tensor([int(c) for c in text])


def paired_total_variation(
    a: Tensor, b: Tensor, p: Sequence[float], resamples: int = 1000, confidence: float = 0.95
) -> Estimate:
    """Total variation of a minus that of b, for readings (N,) of the same N noises: the bootstrap draws pictures."""
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; allowed: one (N,) for both"
        )
    n, k = len(a), len(p)
    both = np.bincount(
        (a * k + b).numpy(), minlength=k * k
    )  # pictures that read alike in both rows are one kind
    u = uniform((resamples, n), 0).numpy()
    drawn = np.searchsorted(np.cumsum(both) / n, u, side="right").clip(max=k * k - 1)
    counts = np.stack([np.bincount(row, minlength=k * k) for row in drawn]).reshape(resamples, k, k)
    distance = lambda c: 0.5 * np.abs(c / n - np.asarray(p)).sum(-1)  # noqa: E731
    differences = distance(counts.sum(2)) - distance(counts.sum(1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    table = both.reshape(k, k)
    value = float(distance(table.sum(1)) - distance(table.sum(0)))
    return Estimate(value, float(min(low, value)), float(max(high, value)), n)


# ------------------------------------------------------------------------------------------------------------
# An exact denoiser


class Surrogate:
    """A mixture of Gaussians with one covariance, in many dimensions: its denoiser has no error at all.

    means (K, D), cov (D, D), weights (K,). `GaussianMixture` has the same formulas for covariances that differ; with a
    shared one everything happens in one eigenbasis, so 1024 dimensions are cheap.
    """

    def __init__(self, means: Tensor, cov: Tensor, weights: Tensor | None = None):
        self.spread, self.basis = torch.linalg.eigh(cov.double())
        self.spread = self.spread.clamp(min=0)
        self.means = means.double() @ self.basis
        weights = torch.full((len(means),), 1 / len(means)) if weights is None else weights
        self.log_weights = (weights.double() / weights.sum()).log()

    @classmethod
    def fit(cls, latents: Tensor, labels: Tensor, kinds: int) -> Surrogate:
        """Class means and the covariance within classes, of latents (N, ...) with labels (N,) in [0, kinds)."""
        flat = latents.flatten(1).double()
        means = torch.stack([flat[labels == k].mean(0) for k in range(kinds)])
        centred = flat - means[labels]
        return cls(means, centred.T @ centred / (len(flat) - kinds))

    def _parts(self, x: Tensor, a: float) -> tuple[Tensor, Tensor, Tensor]:
        """x in the eigenbasis (B, D), the variances there (D,), and log w_k + log N(x; k) up to a constant (B, K)."""
        z, variance = x.flatten(1).double() @ self.basis, a * self.spread + 1 - a
        scaled = self.means / variance
        logs = sqrt(a) * z @ scaled.T - 0.5 * a * (self.means * scaled).sum(1)
        return z, variance, logs + self.log_weights

    def eps(self, x: Tensor, a: float) -> Tensor:
        """E[eps | x_t], in the shape and the dtype of x."""
        z, variance, logs = self._parts(x, a)
        pull = (z - sqrt(a) * torch.softmax(logs, 1) @ self.means) / variance
        return (sqrt(1 - a) * pull @ self.basis.T).reshape(x.shape).to(x.dtype)

    def kind(self, x: Tensor, a: float) -> Tensor:
        """(B,) the component that x_t most likely came from."""
        return self._parts(x, a)[2].argmax(1)

    def log_ratio(self, x: Tensor, a: float) -> Tensor:
        """(B,) log N(x; 0, 1) - log density of x_t: its mean over pure noise is the divergence of that start."""
        z, variance, logs = self._parts(x, a)
        ours = torch.logsumexp(logs, 1) - 0.5 * (z.square() / variance).sum(1) - 0.5 * variance.log().sum()
        return -0.5 * z.square().sum(1) - ours

    def draw(self, z: Tensor, a: float, seed: int) -> Tensor:
        """(B, ...) a draw of x_t for each standard normal z: the start that is right."""
        k = (uniform((len(z), 1), seed)[:, 0] * len(self.means)).long()
        flat = sqrt(a) * self.means[k] + z.flatten(1).double() @ self.basis * (a * self.spread + 1 - a).sqrt()
        return (flat @ self.basis.T).reshape(z.shape)


WALLS, FLOORS = len(ATTRIBUTES["wall"]), len(ATTRIBUTES["floor"])


def surrogate_of(model, n: int = N_FIT) -> tuple[Surrogate, float]:
    """The surrogate of spheres, 24 kinds (wall, floor), and the share of fresh latents whose kind it reads right."""
    column = {name: k for k, name in enumerate(ATTRIBUTES)}
    sphere = {"shape": "sphere"}

    def kinds(labels: Tensor) -> Tensor:
        return labels[:, column["wall"]] * FLOORS + labels[:, column["floor"]]

    latents, labels = all_latents(model, n, sphere)
    found = Surrogate.fit(latents, kinds(labels), WALLS * FLOORS)
    fresh, labels = all_latents(model, 300, sphere, FIT + 1)
    return found, (found.kind(fresh, 0.999) == kinds(labels)).double().mean().item()


def exact(model, surrogate: Surrogate, kind: str, eta: float, spacing: str, steps: int, n: int = N) -> dict:
    """Shares of walls and floors when the surrogate's own denoiser is sampled, from pure noise or a right start."""
    first = model.schedule.transitions(steps, spacing)[0].alpha_bar_t
    read = []
    for begin in range(0, n, 500):
        z = gaussian((min(500, n - begin), *model.latent_shape), NOISE, first=begin)
        x = z.double() if kind == "noise" else surrogate.draw(z, first, seed=NOISE + 1 + begin)
        noise = step_noise(z.shape, NOISE, first=begin)
        *_, last = trajectory(
            lambda x_t, t: surrogate.eps(x_t, model.schedule.alpha_bar(t)), x, model.schedule, steps, "ddim", eta,
            noise, spacing,
        )  # fmt: skip
        read.append(surrogate.kind(last.x_s, last.alpha_bar_s))
    kinds = torch.cat(read)
    readings = {"wall": kinds // FLOORS, "floor": kinds % FLOORS}
    said = {name: "" for name in ATTRIBUTES if name not in readings}
    found = shares(readings, said)
    return {"alpha_bar": first, "steps": steps, **{k: v for k, v in found.items() if k != "readings"}}


def divergence(model, surrogate: Surrogate, spacing: str, n: int = 4000) -> dict:
    """KL of pure noise from the surrogate's law at the first level of a 20-step run, in nats, by n draws."""
    first = model.schedule.transitions(STEPS, spacing)[0].alpha_bar_t
    ratio = surrogate.log_ratio(gaussian((n, *model.latent_shape), NOISE + 9), first)
    return {"alpha_bar": first, "nats": metrics.mean(ratio)}


EXACT = (
    *(("noise", eta, spacing, 20, N) for eta in (0.0, 1.0) for spacing in ("leading", "trailing")),
    ("marginal", 0.0, "leading", 20, N),
    ("marginal", 1.0, "trailing", 20, N),
    ("noise", 0.0, "leading", 200, N_SIDE),
)

# ------------------------------------------------------------------------------------------------------------
# Pairs of settings, on the same captions and noises


GROUPS = {
    "five steps": (Setting("ddim", 0.0, 5, 1.0, n=N_PAIR), Setting("dpm++2m", 0.0, 5, 1.0, n=N_PAIR)),
    "ten steps": (
        Setting("ddim", 0.0, 10, 1.0, n=N_PAIR),
        Setting("ddim", 0.0, 10, 1.0, "trailing", N_PAIR),
        Setting("ddim", 1.0, 10, 1.0, "trailing", N_PAIR),
    ),
}


def group(model, judge: Judge, settings: Sequence[Setting]) -> dict:
    """Each setting's Fréchet distance and share of all six right, and the differences from the first, paired."""
    n = settings[0].n
    scenes = sample_scenes(n, SEED + 1)
    captions = [full_caption(scenes, i, SEED) for i in range(n)]
    said = [parse(text) for text in captions]
    reference = features(judge, render(sample_scenes(n, SEED)))
    seen, right = [], []
    for setting in settings:
        pictures = draw(model, captions, setting)
        read = judge.read(pictures)
        seen.append(features(judge, pictures))
        wanted = {name: torch.tensor([ATTRIBUTES[name].index(s[name]) for s in said]) for name in ATTRIBUTES}
        right.append(torch.stack([read[name] == wanted[name] for name in ATTRIBUTES]).all(0).double())
    found = {}
    for k, setting in enumerate(settings):
        found[setting.key] = {
            "frechet": metrics.frechet_distance(reference, seen[k]),
            "all_right": metrics.wilson(right[k].sum().item(), n),
        }
        if k:
            found[setting.key] |= {
                "frechet_minus_first": paired_frechet(reference, seen[k], seen[0]),
                "all_right_minus_first": metrics.mean(right[k] - right[0]),
            }
    return {"n": n, "first": settings[0].key, "settings": found}


def paired_frechet(reference: Tensor, a: Tensor, b: Tensor, resamples: int = 60) -> Estimate:
    """Fréchet distance of a minus that of b, features (N, D) of the same N captions and noises.

    The bootstrap draws pictures of both by the same indices, and the reference's by others; the interval is the value
    +- 1.96 of its standard deviations.
    """
    distance = lambda x, y: metrics.frechet_distance(x, y, resamples=0).value  # noqa: E731
    n = len(a)
    index = (uniform((resamples, 2, n), 1) * n).long().clamp(max=n - 1)
    spread = [distance(reference[i], a[j]) - distance(reference[i], b[j]) for i, j in index]
    value, wide = distance(reference, a) - distance(reference, b), 1.96 * float(np.std(spread, ddof=1))
    return Estimate(value, value - wide, value + wide, n)


# "trailing" beside "leading", and Karras's levels beside both: the sweep of `few_steps`, for 500 pictures.
SPACED = (
    Setting("dpm++2m", 0.0, 10, 1.0, "trailing"),
    *(Setting(sampler, 0.0, 5, 3.0, "trailing") for sampler in ("ddim", "dpm++2m")),
    *(Setting(sampler, 0.0, 10, 1.0, "karras") for sampler in ("ddim", "dpm++2m")),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="measure only the keys that contain this")
    only = parser.parse_args(arguments).only
    record = Record(
        RESULTS / "start.json",
        "Still Life: what a prompt leaves open by start, spacing and eta; an exact denoiser; pairs; spacings",
        "python -m diffusion_tutorial.experiments.start",
        seed=SEED,
        noise=NOISE,
        steps=STEPS,
        fit=N_FIT,
    )
    model, judge = load(), Judge.load()
    surrogate = cache(lambda: surrogate_of(model))
    normal = cache(lambda: Gaussian(all_latents(model, N_FIT)[0]))
    reference = cache(lambda: features(judge, render(sample_scenes(SPACED[0].n, SEED))))

    plan: list[tuple[str, Callable[[], object]]] = [("exact, accuracy", lambda: surrogate()[1])]
    for spacing in ("leading", "trailing"):
        plan.append((f"divergence, {spacing}", lambda s=spacing: divergence(model, surrogate()[0], s)))
    for kind, eta, spacing, steps, n in EXACT:
        name = f"exact, {kind}, eta {eta:g}, {spacing}, {steps} steps"
        plan.append((name, lambda a=(kind, eta, spacing, steps, n): exact(model, surrogate()[0], *a)))
    of_the_surrogate = {
        name for name, _ in plan
    }  # fitting it is most of their cost, so they are measured together
    rows = {
        key(*row): lambda r=row: unsaid(model, judge, normal() if r[1] == "gaussian" else None, r)
        for row in (*ROWS, *MAIN)
    }
    plan += list(rows.items())[: len(ROWS)]
    plan += [
        (f"pairs, {name}", lambda s=settings: group(model, judge, s)) for name, settings in GROUPS.items()
    ]
    plan += [(f"spaced, {s.key}", lambda s=s: quality(model, judge, reference(), s)) for s in SPACED]
    plan += list(rows.items())[len(ROWS) :]
    long = f"n {N}"
    with torch.no_grad():
        for name, function in plan:
            together = only in ("exact", "divergence") and name in of_the_surrogate
            asked = only in name and (
                not name.endswith(long) or only in ("", long)
            )  # the long rows when asked for
            if together or asked:
                record.measure(name, function)


if __name__ == "__main__":
    main()
