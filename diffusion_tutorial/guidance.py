"""Guidance: one pure function a rule, and rule objects that say which predictions they need.

All tensors are (B, ...) predictions of the noise at one level, of equal shape; scales are plain numbers. A
scale follows diffusers: 1 is the conditional model. The classifier-free guidance paper's w is scale - 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite, sqrt
from numbers import Real
from typing import ClassVar, Protocol

from torch import Tensor

# ------------------------------------------------------------------------------------------------------------
# Functions


def classifier_free(eps_uncond: Tensor, eps_cond: Tensor, guidance_scale: float) -> Tensor:
    """eps_uncond + s (eps_cond - eps_uncond)    (Ho and Salimans 2022, eq. 6, with s = w + 1).

    At s = 1 eps_cond itself, without rounding. Raises ValueError for a non-finite scale or unequal shapes.
    """
    _check(eps_uncond, eps_cond=eps_cond)
    s = _finite("guidance_scale", guidance_scale)
    return eps_cond if s == 1 else eps_uncond + s * (eps_cond - eps_uncond)


def classifier(eps: Tensor, grad_log_prob: Tensor, alpha_bar_t: float, scale: float) -> Tensor:
    """eps - sqrt(1 - alpha_bar_t) scale grad log p(y | x_t)    (Dhariwal and Nichol 2021, algorithm 2).

    grad_log_prob is the gradient of the noisy classifier's log-probability with respect to x_t.
    """
    _check(eps, grad_log_prob=grad_log_prob)
    if not 0 <= float(alpha_bar_t) <= 1:
        raise ValueError(f"alpha_bar_t must lie in [0, 1], got {alpha_bar_t!r}")
    return eps - sqrt(1 - float(alpha_bar_t)) * _finite("scale", scale) * grad_log_prob


def negative_prompt(eps_neg: Tensor, eps_pos: Tensor, guidance_scale: float) -> Tensor:
    """eps_neg + s (eps_pos - eps_neg): the negative prompt takes the empty prompt's place.

    What diffusers and the web interfaces do. The same arithmetic as `classifier_free`, so an empty negative
    gives the same bits; at s = 1 the negative has no effect.
    """
    _check(eps_neg, eps_pos=eps_pos)
    return classifier_free(eps_neg, eps_pos, guidance_scale)


def three_branch(
    eps_uncond: Tensor, eps_pos: Tensor, eps_neg: Tensor, lambda_pos: float, lambda_neg: float
) -> Tensor:
    """eps_uncond + lp (eps_pos - eps_uncond) - ln (eps_neg - eps_uncond): the formula one would guess.

    At lp = s, ln = s - 1 the weight of eps_uncond, 1 - lp + ln, is zero, and this is `negative_prompt` at
    scale s (the composition of Liu et al. 2022 with one concept of negative weight).
    """
    _check(eps_uncond, eps_pos=eps_pos, eps_neg=eps_neg)
    lp, ln = _finite("lambda_pos", lambda_pos), _finite("lambda_neg", lambda_neg)
    return eps_uncond + lp * (eps_pos - eps_uncond) - ln * (eps_neg - eps_uncond)


# ------------------------------------------------------------------------------------------------------------
# Rules

UNCOND, COND, NEG = "uncond", "cond", "neg"  # the empty prompt, the prompt, the negative prompt


class Predictions(dict):
    """What a rule maps to one eps: the predictions of a step by branch, each (B, ...), and where they were made.

    x_t is the state (B, ...) that the denoiser was asked about, t its timestep. Rules that work on x0, or that
    take a classifier's gradient, need both; the others read the predictions alone, and any mapping will do.
    """

    def __init__(self, by_branch: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]], x_t: Tensor, t: int):
        super().__init__(by_branch)
        self.x_t, self.t = x_t, t


class Rule(Protocol):
    """What `TextToImage.sample` asks of a guidance rule.

    branches     every prediction that the rule may need in a run
    needs(...)   those that it needs at one step, a subset: the others are not computed
    rule(...)    their map to one eps; `sample` calls it with `Predictions`
    step counts from 0 to num_steps - 1; alpha_bar is the level of the step's x_t.
    """

    @property
    def branches(self) -> tuple[str, ...]: ...

    def needs(self, step: int, num_steps: int, alpha_bar: float) -> tuple[str, ...]: ...

    def __call__(
        self, predictions: Mapping[str, Tensor], step: int, num_steps: int, alpha_bar: float
    ) -> Tensor: ...


class _EveryStep:
    """A rule that needs the same at every step."""

    branches: tuple[str, ...]

    def needs(self, step: int, num_steps: int, alpha_bar: float) -> tuple[str, ...]:
        return self.branches


@dataclass(frozen=True)
class Conditional(_EveryStep):
    """The prompt alone, no guidance."""

    branches: ClassVar[tuple[str, ...]] = (COND,)

    def __call__(self, predictions, step, num_steps, alpha_bar) -> Tensor:
        return predictions[COND]


@dataclass(frozen=True)
class Unconditional(_EveryStep):
    """The empty prompt alone."""

    branches: ClassVar[tuple[str, ...]] = (UNCOND,)

    def __call__(self, predictions, step, num_steps, alpha_bar) -> Tensor:
        return predictions[UNCOND]


@dataclass(frozen=True)
class ClassifierFree(_EveryStep):
    """`classifier_free`. At scale 1 it needs the prompt's prediction alone, at 0 the empty prompt's."""

    scale: float

    def __post_init__(self):
        _finite("scale", self.scale)

    @property
    def branches(self) -> tuple[str, ...]:
        return {1: (COND,), 0: (UNCOND,)}.get(self.scale, (UNCOND, COND))

    def __call__(self, predictions, step, num_steps, alpha_bar) -> Tensor:
        if len(self.branches) == 1:
            return predictions[self.branches[0]]
        return classifier_free(predictions[UNCOND], predictions[COND], self.scale)


@dataclass(frozen=True)
class NegativePrompt(_EveryStep):
    """`negative_prompt`. At scale 1 it needs the prompt's prediction alone: the negative has no effect."""

    scale: float

    def __post_init__(self):
        _finite("scale", self.scale)

    @property
    def branches(self) -> tuple[str, ...]:
        return {1: (COND,), 0: (NEG,)}.get(self.scale, (NEG, COND))

    def __call__(self, predictions, step, num_steps, alpha_bar) -> Tensor:
        if len(self.branches) == 1:
            return predictions[self.branches[0]]
        return negative_prompt(predictions[NEG], predictions[COND], self.scale)


@dataclass(frozen=True)
class ThreeBranch(_EveryStep):
    """`three_branch`: three evaluations a step."""

    lambda_pos: float
    lambda_neg: float
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND, NEG)

    def __post_init__(self):
        _finite("lambda_pos", self.lambda_pos)
        _finite("lambda_neg", self.lambda_neg)

    def __call__(self, predictions, step, num_steps, alpha_bar) -> Tensor:
        return three_branch(
            predictions[UNCOND], predictions[COND], predictions[NEG], self.lambda_pos, self.lambda_neg
        )


@dataclass(frozen=True)
class Interval:
    """`rule` while start <= step / num_steps < stop, `outside` before and after (Kynkäänniemi et al. 2024).

    start and stop are fractions of the run in [0, 1], 0 its noisiest step. With the default outside, the
    plain conditional prediction, steps outside cost one evaluation.
    """

    rule: Rule
    start: float = 0.0
    stop: float = 1.0
    outside: Rule = field(default_factory=Conditional)

    def __post_init__(self):
        if not 0 <= self.start <= self.stop <= 1:
            raise ValueError(
                f"start and stop must obey 0 <= start <= stop <= 1, got {self.start!r} and {self.stop!r}"
            )

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.rule.branches + self.outside.branches))

    def _at(self, step: int, num_steps: int) -> Rule:
        return self.rule if self.start <= step / num_steps < self.stop else self.outside

    def needs(self, step: int, num_steps: int, alpha_bar: float) -> tuple[str, ...]:
        return self._at(step, num_steps).needs(step, num_steps, alpha_bar)

    def __call__(self, predictions, step, num_steps, alpha_bar) -> Tensor:
        return self._at(step, num_steps)(predictions, step, num_steps, alpha_bar)


def _finite(name: str, value: float) -> float:
    if not isinstance(value, (Real, Tensor)) or not isfinite(value):
        raise ValueError(f"{name} must be finite, a number, got {value!r}")
    return float(value)


def _check(reference: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if other.shape != reference.shape:
            raise ValueError(f"{name} must have shape {tuple(reference.shape)}, got {tuple(other.shape)}")
