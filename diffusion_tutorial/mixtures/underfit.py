"""Why guidance helps, where the exact answer is known: networks that were fitted too little, and what pushing them does.

Eight round blobs on a circle, four of them the class that is asked for. Three small networks learn the noise: one the
class (the model), a second one of the same shape the class for a fifth of the steps (the weak twin), a third one all eight
blobs (what classifier-free guidance pushes away from). Every prediction of the model has an error, eps - eps*, that can be
computed; so has each guided one, and the scale that makes it smallest is a formula: `best_scale`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .. import metrics
from ..guidance import classifier_free
from ..noise import gaussian
from ..samplers import ByLevel, walk
from ..schedules import NoiseSchedule
from .gaussian import GaussianMixture, ring, sliced_wasserstein
from .tilted import noise_to_data
from .tiny import TinyDenoisers, train

RADIUS, STD = 1.5, 0.15
FAR = 4  # standard deviations from every blob of the class: an outlier (of the class itself 0.03% are)
STEPS, LESS, WIDTH, BATCH = 1000, 200, 64, 128
LATE = 0.7  # from this alpha_bar on a late rule guides
LEVELS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97)


def world() -> GaussianMixture:
    """Eight blobs; class 0 is the upper half of the circle."""
    blobs = ring(8, RADIUS, STD)
    return GaussianMixture(blobs.weights, blobs.means, blobs.covs, labels=[0] * 4 + [1] * 4)


class Fitted(NamedTuple):
    """`copies` networks of each kind, from different weights, data and noise."""

    model: TinyDenoisers
    weak: TinyDenoisers
    every: TinyDenoisers
    copies: int

    def eps(self, which: str, x: Tensor, alpha_bar: float) -> Tensor:
        """The prediction of "model", "weak" or "every" for x (copies, B, 2); "exact" is that of the class."""
        if which == "exact":
            return torch.stack([world().conditional(0).eps(row.double(), alpha_bar) for row in x]).to(x)
        return getattr(self, which)(x, torch.full(x.shape[:2], float(alpha_bar)))


def fit(copies: int = 4, seed: int = 1, steps: int = STEPS, less: int = LESS, width: int = WIDTH) -> Fitted:
    """The three kinds, trained; the weak twin's loss is the model's, and its `less` steps are its own schedule."""
    table = [NoiseSchedule.linear().alphas_cumprod[::5]]
    one, all_ = world().conditional(0), world()
    made = [
        train(data, table, copies, n, BATCH, width=width, seed=seed)
        for data, n in ((one, steps), (one, less), (all_, steps))
    ]
    return Fitted(*made, copies)


def best_scale(eps: Tensor, eps_other: Tensor, eps_exact: Tensor) -> Tensor:
    """(copies,) the s that makes |eps_other + s (eps - eps_other) - eps_exact|^2 smallest; all (copies, B, D).

    s = 1 + <e, o - e> / |o - e|^2 with the errors e and o of the two: above 1 where the other's error goes beyond the
    model's in the same direction, below 1 where the two have little to do with each other.
    """
    error, beyond = (eps - eps_exact).flatten(1), (eps_other - eps).flatten(1)
    return 1 + (error * beyond).sum(1) / beyond.square().sum(1)


def errors(
    fitted: Fitted, alpha_bar: float, points: int = 2000, seed: int = 7
) -> dict[str, metrics.Estimate]:
    """At one level, over the class's own noisy points: mean squared errors, their cosine, and the best scales."""
    one, n = world().conditional(0), fitted.copies
    x0 = torch.stack([one.sample(points, seed + k).float() for k in range(n)])
    x = alpha_bar**0.5 * x0 + (1 - alpha_bar) ** 0.5 * gaussian(tuple(x0.shape), seed, stream=9)
    eps = {which: fitted.eps(which, x, alpha_bar) for which in ("model", "weak", "every", "exact")}
    off = {which: (eps[which] - eps["exact"]).flatten(1) for which in ("model", "weak")}
    found = {
        "error of the model": off["model"].square().mean(1),
        "error of the weak twin": off["weak"].square().mean(1),
        "cosine of the errors": torch.nn.functional.cosine_similarity(off["model"], off["weak"]),
        "best scale, autoguidance": best_scale(eps["model"], eps["weak"], eps["exact"]),
        "best scale, classifier-free": best_scale(eps["model"], eps["every"], eps["exact"]),
    }
    return {name: metrics.mean(values) for name, values in found.items()}


def guided(fitted: Fitted, other: str, scale: float, late: float = 0.0) -> Callable[[Tensor, float], Tensor]:
    """eps(x, alpha_bar) of the model, pushed away from `other` where alpha_bar is at least `late`."""

    def eps(x: Tensor, alpha_bar: float) -> Tensor:
        own = fitted.eps("model", x, alpha_bar)
        if scale == 1 or alpha_bar < late:
            return own
        return classifier_free(fitted.eps(other, x, alpha_bar), own, scale)

    return eps


def exactly_guided(scale: float, copies: int) -> Callable[[Tensor, float], Tensor]:
    """Classifier-free guidance with nothing but exact predictions."""
    mix, one = world(), world().conditional(0)

    def eps(x: Tensor, alpha_bar: float) -> Tensor:
        rows = [r.double() for r in x]
        return torch.stack(
            [classifier_free(mix.eps(r, alpha_bar), one.eps(r, alpha_bar), scale) for r in rows]
        ).to(x)

    return eps


def draw(eps: Callable[[Tensor, float], Tensor], copies: int, points: int = 2000, seed: int = 5) -> Tensor:
    """(copies, points, 2) by DDIM in 40 steps, from the same noise for every rule."""
    start = gaussian((copies, points, 2), seed)
    *_, last = walk(ByLevel(eps), start, noise_to_data(40), "ddim")
    return last.x_s.double()


def score(x: Tensor) -> dict[str, Tensor]:
    """(copies,) each: share of outliers, bits over the blobs of those that are none, distance from the class."""
    one, found = world().conditional(0), {"outliers": [], "bits": [], "distance": []}
    for points in x:
        away, blob = (points[:, None] - one.means[None]).norm(dim=-1).min(1)
        inside = away <= FAR * STD
        share = torch.bincount(blob[inside], minlength=len(one.means)).double() / inside.sum()
        found["outliers"].append(1 - inside.double().mean())
        found["bits"].append(torch.special.entr(share).sum() / torch.log(torch.tensor(2.0)))
        found["distance"].append(torch.tensor(sliced_wasserstein(points, one, projections=16)))
    return {name: torch.stack([v.double() for v in values]) for name, values in found.items()}
