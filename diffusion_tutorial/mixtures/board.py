"""A world in which "not red" has an exact answer: eight blobs in the plane, four colours by two shapes.

    sphere   red  orange  green  blue        y = +0.75
    cube     red  orange  green  blue        y = -0.75

A text names blobs ("sphere", "red", "red sphere"; "" names all), and the prediction for a text is that of the
mixture of these blobs, exactly. So one can ask what a negative prompt does when nothing is wrong but the rule,
and compare with the truth, the mixture of the blobs that the prompt names and the negative does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import allowed, check_integer
from ..guidance import COND, NEG, UNCOND, Predictions, Rule
from ..noise import gaussian
from ..samplers import Denoiser, Moment, Step, walk
from ..schedules import NoiseSchedule, path
from .gaussian import GaussianMixture

COLOURS = ("red", "orange", "green", "blue")
SHAPES = ("sphere", "cube")
NAMES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
OUTSIDE = "outside"  # what `read` calls a point further than REACH standard deviations from every blob
REACH = 4.0

Eps = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class GuidedPlane:
    """A denoiser in the plane under a guidance rule: each branch is the exact prediction of a mixture."""

    rule: Rule
    by_branch: Mapping[str, GaussianMixture]

    def at(self, x: Tensor, moment: Moment) -> Tensor:
        """eps of x (B, 2) at moment.alpha_bar."""
        branches = self.rule.needs(moment)
        eps = {name: self.by_branch[name].eps(x, moment.alpha_bar) for name in branches}
        return self.rule(Predictions(eps, x), moment)


@dataclass(frozen=True)
class Board:
    """The eight blobs, at unit distance from colour to colour and with this standard deviation."""

    std: float = 0.15

    def __post_init__(self):
        if not 0 < self.std < 0.5:
            raise ValueError(allowed("std", self.std, "above 0 and below 0.5, so that blobs stay apart"))

    @property
    def centres(self) -> Tensor:
        """(8, 2) in the order of NAMES."""
        return torch.tensor(
            [[c - 1.5, 0.75 - 1.5 * s] for s in range(2) for c in range(4)], dtype=torch.float64
        )

    def named(self, text: str) -> list[int]:
        """The blobs that a text names, by place in NAMES. Raises ValueError for a word that is none of ours."""
        words = text.split()
        for word in words:
            if word not in COLOURS + SHAPES:
                raise ValueError(allowed("text", text, f"words of {', '.join(COLOURS + SHAPES)}, or nothing"))
        return [k for k, name in enumerate(NAMES) if set(words) <= set(name.split())]

    def mixture(self, blobs: list[int]) -> GaussianMixture:
        """The mixture of these blobs, equal weights. Raises ValueError for none."""
        if not blobs:
            raise ValueError(
                allowed("blobs", blobs, "at least one: a text that names nothing has no density")
            )
        return GaussianMixture([1.0] * len(blobs), self.centres[blobs], [self.std**2] * len(blobs))

    def prompt(self, text: str) -> GaussianMixture:
        """p(x | text)."""
        return self.mixture(self.named(text))

    def without(self, positive: str, negative: str) -> GaussianMixture:
        """The truth: p(x | positive and not negative). Raises ValueError where the negative covers it all."""
        unwanted = set(self.named(negative))
        return self.mixture([k for k in self.named(positive) if k not in unwanted])

    @cached_property
    def whole(self) -> GaussianMixture:
        """p(x)."""
        return self.prompt("")

    def has(self, text: str, x: Tensor, alpha_bar: float) -> Tensor:
        """(B,) p(text | x_t), the share of the text's blobs in what x_t could have come from."""
        return self.whole.responsibilities(x, alpha_bar)[:, self.named(text)].sum(1)

    def denoiser(self, rule: Rule, positive: str, negative: str) -> GuidedPlane:
        """The denoiser of a rule, for `walk` over levels."""
        return GuidedPlane(rule, {UNCOND: self.whole, COND: self.prompt(positive), NEG: self.prompt(negative)})

    def exact(self, positive: str, negative: str) -> Eps:
        """eps(x_t, alpha_bar) of p(x | positive and not negative)."""
        return self.without(positive, negative).eps

    def run(self, denoiser: Denoiser, n: int, seed: int, steps: int = 50) -> Iterator[Step]:
        """DDIM from noise (n, 2), a step each. denoiser: asked about alpha_bar, as eps of a mixture is."""
        check_integer("n", n, 1)
        return walk(denoiser, gaussian((n, 2), seed).double(), path([*levels(steps), 1.0]))

    def ends(self, denoiser: Denoiser, n: int, seed: int, steps: int = 50) -> Tensor:
        """(n, 2) where `run` ends."""
        *_, last = self.run(denoiser, n, seed, steps)
        return last.x_s

    def sample(self, rule: Rule, positive: str, negative: str, n: int, seed: int, steps: int = 50) -> Tensor:
        """(n, 2) where points end under a rule."""
        return self.ends(self.denoiser(rule, positive, negative), n, seed, steps)

    def read(self, x: Tensor) -> dict[str, float]:
        """Name or `OUTSIDE` -> the share of the points (n, 2) nearest to that blob, or near none."""
        distance = torch.cdist(x.double(), self.centres)
        nearest, near = distance.argmin(1), distance.amin(1) <= REACH * self.std
        shares = {name: ((nearest == k) & near).double().mean().item() for k, name in enumerate(NAMES)}
        return shares | {OUTSIDE: 1 - near.double().mean().item()}


def levels(steps: int = 50) -> list[float]:
    """The alpha_bar of each step of a run: DDPM's linear schedule, from its noisiest level on."""
    return [t.alpha_bar_t for t in NoiseSchedule.linear().transitions(steps, "trailing", previous="grid")]


def of_colour(shares: dict[str, float], colour: str) -> float:
    """The share of a colour, of either shape."""
    return sum(share for name, share in shares.items() if name.split()[0] == colour)
