"""Guidance: one pure function a rule, and rule objects that say which predictions they need.

All tensors are (B, ...) predictions of the noise at one level, of equal shape; scales are plain numbers. A
scale follows diffusers: 1 is the conditional model. The classifier-free guidance paper's w is scale - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from numbers import Real
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from .errors import allowed, check_choice, check_integer, is_finite
from .samplers import Moment
from .schedules import ZeroTerminalSNRError

# ------------------------------------------------------------------------------------------------------------
# Functions


def classifier_free(eps_uncond: Tensor, eps_cond: Tensor, guidance_scale: float) -> Tensor:
    """eps_uncond + s (eps_cond - eps_uncond)    (Ho and Salimans 2022, with s = w + 1; equation number not opened).

    Opened: diffusers' `ClassifierFreeGuidance`, with which the chapter compares. At s = 1 eps_cond itself, without
    rounding. Raises ValueError for a non-finite scale or unequal shapes.
    """
    _check(eps_uncond, eps_cond=eps_cond)
    s = _finite("guidance_scale", guidance_scale)
    return eps_cond if s == 1 else eps_uncond + s * (eps_cond - eps_uncond)


def classifier(eps: Tensor, grad_log_prob: Tensor, alpha_bar_t: float, scale: float) -> Tensor:
    """eps - sqrt(1 - alpha_bar_t) scale grad log p(y | x_t)    (Dhariwal and Nichol 2021, algorithm 2).

    Opened: the authors' code, `condition_score` in guided_diffusion/gaussian_diffusion.py; not the paper's page.
    grad_log_prob is the gradient of the noisy classifier's log-probability with respect to x_t.
    """
    _check(eps, grad_log_prob=grad_log_prob)
    if not 0 <= float(alpha_bar_t) <= 1:
        raise ValueError(f"alpha_bar_t is {alpha_bar_t!r}; allowed: in [0, 1]")
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


def weighted_negative(
    eps_uncond: Tensor, eps_pos: Tensor, eps_neg: Tensor, guidance_scale: float, weight: float
) -> Tensor:
    """base + s (eps_pos - base) with base = eps_uncond + weight (eps_neg - eps_uncond).

    A dial from plain guidance (weight 0) to `negative_prompt` (weight 1), exact at both ends; the same as
    `three_branch` with lambda_pos = s and lambda_neg = weight (s - 1). Above 1 it pushes harder.
    """
    _check(eps_uncond, eps_pos=eps_pos, eps_neg=eps_neg)
    w = _finite("weight", weight)
    if w in (0, 1):
        return classifier_free(eps_neg if w else eps_uncond, eps_pos, guidance_scale)
    return classifier_free(eps_uncond + w * (eps_neg - eps_uncond), eps_pos, guidance_scale)


def several_negatives(
    eps_uncond: Tensor,
    eps_pos: Tensor,
    eps_negs: Sequence[Tensor],
    lambda_pos: float,
    lambdas_neg: Sequence[float],
) -> Tensor:
    """eps_uncond + lp (eps_pos - eps_uncond) - sum_i ln_i (eps_neg_i - eps_uncond)    (Liu et al. 2022).

    The composition of one concept and any number of negated ones, a weight for each. Raises ValueError unless
    there are as many weights as predictions.
    """
    if len(eps_negs) != len(lambdas_neg):
        raise ValueError(f"lambdas_neg is {lambdas_neg!r}; allowed: {len(eps_negs)} weights, one a negative")
    _check(eps_uncond, eps_pos=eps_pos, **{f"eps_negs[{i}]": e for i, e in enumerate(eps_negs)})
    eps = eps_uncond + _finite("lambda_pos", lambda_pos) * (eps_pos - eps_uncond)
    for i, (eps_neg, weight) in enumerate(zip(eps_negs, lambdas_neg, strict=True)):
        eps = eps - _finite(f"lambdas_neg[{i}]", weight) * (eps_neg - eps_uncond)
    return eps


def perpendicular(vector: Tensor, axis: Tensor) -> Tensor:
    """What of `vector` (B, ...) is at right angles to `axis` (B, ...), row by row; all of it where axis is 0."""
    _check(vector, axis=axis)
    length = axis.square().flatten(1).sum(1)
    along = (vector * axis).flatten(1).sum(1) / length.where(length > 0, length.new_ones(()))
    return vector - along.reshape(-1, *[1] * (vector.ndim - 1)) * axis


def perpendicular_negative(
    eps_uncond: Tensor, eps_pos: Tensor, eps_neg: Tensor, guidance_scale: float, neg_weight: float = 1.0
) -> Tensor:
    """eps_uncond + s (d_pos - w d_perp), d_perp the part of d_neg at right angles to d_pos    (Perp-Neg).

    d_pos = eps_pos - eps_uncond and d_neg = eps_neg - eps_uncond (Armandpour et al. 2023, section 4; the form is
    that of the authors' code; the section's number was not opened). A negative equal to the positive is plain
    guidance. A part that prompt and negative share, b in a + b and b + c at right angles, is pushed with weight
    s (1 - w (1 - k)), k = |b|^2 / (|a|^2 + |b|^2), and a with s (1 + w k): only the push along the whole of
    d_pos is left alone, not each of its parts.
    """
    _check(eps_uncond, eps_pos=eps_pos, eps_neg=eps_neg)
    s, w = _finite("guidance_scale", guidance_scale), _finite("neg_weight", neg_weight)
    positive = eps_pos - eps_uncond
    return eps_uncond + s * (positive - w * perpendicular(eps_neg - eps_uncond, positive))


def rescaled(eps_guided: Tensor, eps_cond: Tensor, phi: float) -> Tensor:
    """Guidance rescale: give the guided prediction back the spread of the conditional one (Lin et al. 2024).

    phi ((std(eps_cond) / std(eps_guided)) eps_guided) + (1 - phi) eps_guided

    Opened: diffusers' `rescale_noise_cfg`, which names the paper's section 3.4; not the paper. The paper's network
    predicts v, so there it is v that is rescaled: the function takes any pair of predictions of one kind. It is not
    affine in them, so what it acts on matters (see `Rescaled`). A picture's standard deviation is taken over all
    but its first axis. phi in [0, 1]: 0 changes nothing.
    """
    _check(eps_guided, eps_cond=eps_cond)
    if not 0 <= _finite("phi", phi) <= 1:
        raise ValueError(f"phi is {phi!r}; allowed: in [0, 1]")
    axes = tuple(range(1, eps_guided.ndim))
    factor = eps_cond.std(axes, keepdim=True) / eps_guided.std(axes, keepdim=True)
    return phi * factor * eps_guided + (1 - phi) * eps_guided


def projected(
    x0_uncond: Tensor,
    x0_cond: Tensor,
    guidance_scale: float,
    parallel: float = 0.0,
    bound: float | None = None,
) -> Tensor:
    """Adaptive projected guidance (Sadat et al. 2025); its momentum, which needs a run, is in `Projected`.

    x0_cond + (s - 1) (d_orthogonal + parallel d_parallel),   d = min(1, bound / |d'|) d',  d' = x0_cond - x0_uncond

    d_parallel is the part of d along x0_cond, picture by picture: it makes what is there stronger, which reads as
    contrast and saturation. parallel = 1 is classifier-free guidance, 0 leaves that part out. bound: the largest
    length of d, a picture's; None bounds nothing. All (B, ...). Opened: diffusers' `normalized_guidance`.
    """
    _check(x0_uncond, x0_cond=x0_cond)
    s, parallel = _finite("guidance_scale", guidance_scale), _finite("parallel", parallel)
    d = x0_cond - x0_uncond
    if bound is not None:
        length = d.square().flatten(1).sum(1).sqrt().reshape(-1, *[1] * (d.ndim - 1))
        d = d * (_positive("bound", bound) / length).clamp(max=1)
    return x0_cond + (s - 1) * (d - (1 - parallel) * (d - perpendicular(d, x0_cond)))


def zero_star(uncond: Tensor, cond: Tensor, guidance_scale: float) -> Tensor:
    """k uncond + s (cond - k uncond),   k = <cond, uncond> / <uncond, uncond>    (CFG-Zero*, Fan et al. 2025).

    k makes k uncond the nearest point to cond on the line through 0 and uncond, picture by picture. The paper's
    predictions are velocities of a flow; the arithmetic takes any pair of one kind, and is not affine, so what it acts
    on matters (see `ZeroStar`). All (B, ...). Opened: the paper's abstract, its authors' README, and diffusers'
    `ClassifierFreeZeroStarGuidance`.
    """
    _check(uncond, cond=cond)
    base = cond - perpendicular(cond, uncond)
    return base + _finite("guidance_scale", guidance_scale) * (cond - base)


def thresholded(x0: Tensor, percentile: float = 0.995, bound: Tensor | float = 1.0) -> Tensor:
    """clip(x0, -q, q) bound / q,   q = max(bound, the percentile of |x0|)    (dynamic thresholding, Saharia et al. 2022).

    q is a picture's own. A picture whose percentile stays below the bound is only clipped there. The paper's pictures are
    pixels in [-1, 1], and its bound 1; latents have no such range, and need a bound of their own, a number or (B,) of
    them. x0 (B, ...). Opened: diffusers' `DDIMScheduler._threshold_sample`, which quotes the paper.
    """
    if not 0 < _finite("percentile", percentile) <= 1:
        raise ValueError(f"percentile is {percentile!r}; allowed: above 0, at most 1")
    rows = (-1, *[1] * (x0.ndim - 1))
    least = torch.as_tensor(bound, dtype=x0.dtype, device=x0.device)
    if not bool((least > 0).all() and least.isfinite().all()):
        raise ValueError(f"bound is {bound!r}; allowed: finite and above 0")
    q = torch.maximum(percentile_of(x0, percentile), least).reshape(rows)
    return x0.clamp(-q, q) * least.reshape(rows if least.ndim else ()) / q


def percentile_of(x0: Tensor, percentile: float) -> Tensor:
    """(B,) the percentile of |x0| (B, ...) in each picture."""
    return x0.abs().flatten(1).quantile(percentile, dim=1)


def plus_scale(weight: float, alpha_bar_t: float, alpha_bar_s: float) -> float:
    """The scale at which plain guidance makes the same DDIM step from level t to s as CFG++ of this weight.

    CFG++ (Chung et al. 2024; opened: the abstract and the authors' `BaseDDIMCFGpp`) guides x0 with its weight, and adds
    back the *unconditional* noise:

    x_s = sqrt(alpha_bar_s) x0(eps_uncond + weight d) + sqrt(1 - alpha_bar_s) eps_uncond,   d = eps_cond - eps_uncond

    In DDIM's step, linear in eps, that is eps = eps_uncond + scale d with scale = weight / (1 - sigma_s / sigma_t), sigma =
    sqrt((1 - alpha_bar) / alpha_bar): the shorter the step, the larger the scale. Raises ValueError unless s is the less
    noisy level.
    """
    a_t, a_s = float(alpha_bar_t), float(alpha_bar_s)
    if not 0 <= a_t < a_s <= 1:
        raise ValueError(
            f"(alpha_bar_t, alpha_bar_s) is ({alpha_bar_t!r}, {alpha_bar_s!r}); "
            "allowed: 0 <= alpha_bar_t < alpha_bar_s <= 1"
        )
    whole = sqrt(a_s * (1 - a_t))
    return _finite("weight", weight) * whole / (whole - sqrt(a_t * (1 - a_s)))


def perturbed_guidance(
    eps_uncond: Tensor, eps_cond: Tensor, eps_perturbed: Tensor, guidance_scale: float, perturbed_scale: float
) -> Tensor:
    """eps_uncond + s (eps_cond - eps_uncond) + k (eps_cond - eps_perturbed): two directions, two scales.

    eps_perturbed is the prompt's prediction of the same network with a part of it broken: attention maps replaced by the
    identity in perturbed-attention guidance (Ahn et al. 2024), layers left out in skip-layer guidance (SD 3.5). Opened:
    the first paper's abstract, diffusers' `PerturbedAttentionGuidance` and `SkipLayerGuidance`, one formula for both.
    """
    _check(eps_uncond, eps_cond=eps_cond, eps_perturbed=eps_perturbed)
    k = _finite("perturbed_scale", perturbed_scale)
    return classifier_free(eps_uncond, eps_cond, guidance_scale) + k * (eps_cond - eps_perturbed)


# ------------------------------------------------------------------------------------------------------------
# Rules

UNCOND, COND, NEG = "uncond", "cond", "neg"  # the empty prompt, the prompt, the negative prompt
WEAK, PERTURBED = "weak", "perturbed"  # the prompt, answered by another denoiser: see `Rule.others`


class Predictions(dict):
    """What a rule maps to one eps: the predictions of a step by branch, each (B, ...), and the state.

    x_t is the state (B, ...) that the denoiser was asked about. Rules that work on x0, or that take a classifier's
    gradient, need it; the others read the predictions alone, and any mapping will do.

    memory: a dict of the run, empty at its start, in which a rule with momentum keeps what it has to. A rule itself never
    changes, so one object serves any number of runs.
    """

    def __init__(
        self,
        by_branch: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
        x_t: Tensor,
        memory: dict | None = None,
    ):
        super().__init__(by_branch)
        self.x_t = x_t
        self.memory = {} if memory is None else memory


class Rule(Protocol):
    """What `TextToImage.sample` asks of a guidance rule.

    branches     every prediction that the rule may need in a run
    needs(...)   those that it needs at one moment of the run, a subset: the others are not computed
    rule(...)    their map to one eps; `sample` calls it with `Predictions`

    A rule may have `others`, branch -> a denoiser that answers the prompt in the place of the model: a model, or an
    adapter, with `eps` and `encode_text`, over latents of the same shape. `sample` then asks it about that branch.
    """

    @property
    def branches(self) -> tuple[str, ...]: ...

    def needs(self, moment: Moment) -> tuple[str, ...]: ...

    def __call__(self, predictions: Mapping[str, Tensor], moment: Moment) -> Tensor: ...


class _EveryStep:
    """A rule that needs the same at every step."""

    branches: tuple[str, ...]

    def needs(self, moment: Moment) -> tuple[str, ...]:
        return self.branches


@dataclass(frozen=True)
class Conditional(_EveryStep):
    """The prompt alone, no guidance."""

    branches: ClassVar[tuple[str, ...]] = (COND,)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        return predictions[COND]


@dataclass(frozen=True)
class Unconditional(_EveryStep):
    """The empty prompt alone."""

    branches: ClassVar[tuple[str, ...]] = (UNCOND,)

    def __call__(self, predictions, moment: Moment) -> Tensor:
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

    def __call__(self, predictions, moment: Moment) -> Tensor:
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

    def __call__(self, predictions, moment: Moment) -> Tensor:
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

    def __call__(self, predictions, moment: Moment) -> Tensor:
        return three_branch(
            predictions[UNCOND], predictions[COND], predictions[NEG], self.lambda_pos, self.lambda_neg
        )


@dataclass(frozen=True)
class WeightedNegative:
    """`weighted_negative`, with one weight or a schedule of it.

    weight: a number, or a function from the fraction of the run, in [0, 1) and 0 at its noisiest step, to one,
    such as `Ramp`. Steps of weight 0 or 1 cost two evaluations, others three.
    """

    scale: float
    weight: float | Callable[[float], float] = 1.0

    def __post_init__(self):
        _finite("scale", self.scale)
        if not callable(self.weight):
            _finite("weight", self.weight)

    @property
    def branches(self) -> tuple[str, ...]:
        return (UNCOND, NEG, COND) if callable(self.weight) else self._needs(self.weight)

    def _needs(self, weight: float) -> tuple[str, ...]:
        return {0: (UNCOND, COND), 1: (NEG, COND)}.get(weight, (UNCOND, NEG, COND))

    def _at(self, moment: Moment) -> float:
        return _finite("weight", self.weight(moment.fraction) if callable(self.weight) else self.weight)

    def needs(self, moment: Moment) -> tuple[str, ...]:
        return self._needs(self._at(moment))

    def __call__(self, predictions, moment: Moment) -> Tensor:
        weight = self._at(moment)
        if weight in (0, 1):  # one of the two was not asked for
            return classifier_free(predictions[NEG if weight else UNCOND], predictions[COND], self.scale)
        return weighted_negative(predictions[UNCOND], predictions[COND], predictions[NEG], self.scale, weight)


@dataclass(frozen=True)
class Ramp:
    """A weight that goes in a straight line from `first` at the start of the run to `last` at its end."""

    first: float
    last: float

    def __post_init__(self):
        _finite("first", self.first)
        _finite("last", self.last)

    def __call__(self, fraction: float) -> float:
        return self.first + (self.last - self.first) * fraction


@dataclass(frozen=True)
class SeveralNegatives(_EveryStep):
    """`several_negatives`, of the branches neg0, neg1 ...: `sample` fills them from its `negatives`."""

    lambda_pos: float
    lambdas_neg: tuple[float, ...]

    def __post_init__(self):
        _finite("lambda_pos", self.lambda_pos)
        if not self.lambdas_neg:
            raise ValueError("lambdas_neg is empty; allowed: a weight for each negative, at least one")
        object.__setattr__(self, "lambdas_neg", tuple(self.lambdas_neg))
        for i, weight in enumerate(self.lambdas_neg):
            _finite(f"lambdas_neg[{i}]", weight)

    @property
    def negatives(self) -> tuple[str, ...]:
        """The branches of its negatives, in order."""
        return tuple(f"{NEG}{i}" for i in range(len(self.lambdas_neg)))

    @property
    def branches(self) -> tuple[str, ...]:
        return (UNCOND, COND, *self.negatives)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        negatives = [predictions[name] for name in self.negatives]
        return several_negatives(
            predictions[UNCOND], predictions[COND], negatives, self.lambda_pos, self.lambdas_neg
        )


@dataclass(frozen=True)
class PerpNeg(_EveryStep):
    """`perpendicular_negative`: three evaluations a step."""

    scale: float
    neg_weight: float = 1.0
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND, NEG)

    def __post_init__(self):
        _finite("scale", self.scale)
        _finite("neg_weight", self.neg_weight)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        return perpendicular_negative(
            predictions[UNCOND], predictions[COND], predictions[NEG], self.scale, self.neg_weight
        )


@dataclass(frozen=True)
class ClassifierGuidance(_EveryStep):
    """`classifier`, from the unconditional prediction or, with conditional=True, from the prompt's.

    gradient: (x_t (B, ...), t) -> the gradient of log p(y | x_t), in the shape of x_t, such as
    `NoisyClassifier.grad_log_prob` with its text. One evaluation of the denoiser and one forward and backward
    pass of the classifier a step.
    """

    scale: float
    gradient: Callable[[Tensor, int], Tensor]
    conditional: bool = False

    def __post_init__(self):
        _finite("scale", self.scale)

    @property
    def branches(self) -> tuple[str, ...]:
        return (COND,) if self.conditional else (UNCOND,)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        eps, x_t = predictions[self.branches[0]], predictions.x_t
        return classifier(eps, self.gradient(x_t, moment.t).to(eps), moment.alpha_bar, self.scale)


@dataclass(frozen=True)
class ScheduledScale:
    """`classifier_free` with a scale that changes over the run (Wang et al. 2024).

    scale: a function from the fraction of the run, in [0, 1) and 0 at its noisiest step, to the scale there, such
    as `Ramp`. A step of scale 1 or 0 costs one evaluation, others two.
    """

    scale: Callable[[float], float]
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND)

    def _at(self, moment: Moment) -> ClassifierFree:
        return ClassifierFree(self.scale(moment.fraction))

    def needs(self, moment: Moment) -> tuple[str, ...]:
        return self._at(moment).branches

    def __call__(self, predictions, moment: Moment) -> Tensor:
        return self._at(moment)(predictions, moment)


@dataclass(frozen=True)
class Rescaled(_EveryStep):
    """`classifier_free`, then `rescaled`, of the noise or of what it implies.

    of: whose spread is given back. "eps" is what diffusers does with a network that predicts the noise; "v" is
    the paper's, whose networks predict v; "x0" is the predicted picture's. The three differ: x_t dominates eps
    at high noise levels, so there a guided eps has hardly more spread than a conditional one, and a guided v or
    x0 has several times as much. With "v" and "x0" no step may be at alpha_bar = 0.
    """

    scale: float
    phi: float = 0.7
    of: str = "eps"
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND)

    def __post_init__(self):
        _finite("scale", self.scale)
        check_choice("of", self.of, ("eps", "v", "x0"))

    def __call__(self, predictions, moment: Moment) -> Tensor:
        cond = predictions[COND]
        guided = classifier_free(predictions[UNCOND], cond, self.scale)
        if self.of == "eps":
            return rescaled(guided, cond, self.phi)
        signal, noise, x_t = sqrt(moment.alpha_bar), sqrt(1 - moment.alpha_bar), predictions.x_t
        if self.of == "v":
            v = rescaled((guided - noise * x_t) / signal, (cond - noise * x_t) / signal, self.phi)
            return signal * v + noise * x_t
        x0 = rescaled((x_t - noise * guided) / signal, (x_t - noise * cond) / signal, self.phi)
        return (x_t - signal * x0) / noise


@dataclass(frozen=True)
class Projected(_EveryStep):
    """`projected`, on the predictions of x0, and back to one of eps.

    momentum: the difference of a step is its own plus momentum times that of the step before; the paper takes it below 0,
    which pushes away from where the run was pushed already. 0 keeps nothing.
    """

    scale: float
    parallel: float = 0.0
    momentum: float = 0.0
    bound: float | None = None
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND)

    def __post_init__(self):
        _finite("scale", self.scale)
        _finite("parallel", self.parallel)
        _finite("momentum", self.momentum)
        if self.bound is not None:
            _positive("bound", self.bound)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        uncond, cond = (_x0(predictions[branch], predictions.x_t, moment) for branch in self.branches)
        if self.momentum:
            push = cond - uncond + self.momentum * predictions.memory.get("push", 0.0)
            predictions.memory["push"] = push
            uncond = cond - push
        guided = projected(uncond, cond, self.scale, self.parallel, self.bound)
        return _eps(guided, predictions.x_t, moment)


@dataclass(frozen=True)
class Thresholded(_EveryStep):
    """`classifier_free`, then `thresholded`, on the prediction of x0.

    bound: what the percentile of |x0| is brought down to. None takes that of the conditional prediction, picture by
    picture, which needs no knowledge of the range of latents; the paper's, for pixels, is 1.
    """

    scale: float
    percentile: float = 0.995
    bound: float | None = None
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND)

    def __post_init__(self):
        _finite("scale", self.scale)
        thresholded(torch.zeros(1, 1), self.percentile, 1.0 if self.bound is None else self.bound)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        uncond, cond = (_x0(predictions[branch], predictions.x_t, moment) for branch in self.branches)
        bound = percentile_of(cond, self.percentile) if self.bound is None else self.bound
        guided = thresholded(classifier_free(uncond, cond, self.scale), self.percentile, bound)
        return _eps(guided, predictions.x_t, moment)


@dataclass(frozen=True)
class ZeroStar(_EveryStep):
    """`zero_star` on velocities, noise minus picture, which for a flow are what its network answers.

    zero_steps: the first so many steps of a run have velocity 0, and the network is not asked: the paper's zero-init,
    one step or 4% of them by its authors.
    """

    scale: float
    zero_steps: int = 0
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND)

    def __post_init__(self):
        _finite("scale", self.scale)
        check_integer("zero_steps", self.zero_steps, 0)

    def needs(self, moment: Moment) -> tuple[str, ...]:
        return () if moment.step < self.zero_steps else self.branches

    def __call__(self, predictions, moment: Moment) -> Tensor:
        x_t, signal, noise = predictions.x_t, sqrt(moment.alpha_bar), sqrt(1 - moment.alpha_bar)
        velocity = torch.zeros_like(x_t)
        if moment.step >= self.zero_steps:
            uncond, cond = (predictions[b] - _x0(predictions[b], x_t, moment) for b in self.branches)
            velocity = zero_star(uncond, cond, self.scale)
        return (x_t + signal * velocity) / (signal + noise)


@dataclass(frozen=True)
class Plus(_EveryStep):
    """CFG++: `classifier_free` at the scale that `plus_scale` tells for this step. For sampler "ddim" at eta 0.

    weight: the paper's lambda, in [0, 1] there. Needs the level that the step goes to, which walks of ours tell; raises
    ValueError where the moment has none.
    """

    weight: float
    branches: ClassVar[tuple[str, ...]] = (UNCOND, COND)

    def __post_init__(self):
        _finite("weight", self.weight)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        if moment.alpha_bar_s is None:
            raise ValueError(
                f"guidance is {self!r}, and nobody says where the step goes; allowed: one evaluation a step, as of "
                "sampler 'ddim', by TextToImage.sample or samplers.walk"
            )
        scale = plus_scale(self.weight, moment.alpha_bar, moment.alpha_bar_s)
        return classifier_free(predictions[UNCOND], predictions[COND], scale)


@dataclass(frozen=True)
class AutoGuidance(_EveryStep):
    """`classifier_free` with a worse model's answer to the same prompt in the empty prompt's place (Karras et al. 2024).

    eps_weak + s (eps_cond - eps_weak). weak: a denoiser, such as `load("still-life-weak")`. One evaluation of each a
    step; at scale 1 the model's alone. Opened: the abstract, and the authors' sampler, `ref_Dx.lerp(Dx, guidance)`.
    """

    scale: float
    weak: object

    def __post_init__(self):
        _finite("scale", self.scale)
        _check_other("weak", self.weak)

    @property
    def branches(self) -> tuple[str, ...]:
        return {1: (COND,), 0: (WEAK,)}.get(self.scale, (WEAK, COND))

    @property
    def others(self) -> dict[str, object]:
        return {WEAK: self.weak} if WEAK in self.branches else {}

    def __call__(self, predictions, moment: Moment) -> Tensor:
        if len(self.branches) == 1:
            return predictions[self.branches[0]]
        return classifier_free(predictions[WEAK], predictions[COND], self.scale)


@dataclass(frozen=True)
class Perturbed(_EveryStep):
    """`perturbed_guidance`: a third evaluation a step, or at scale 1 a second one.

    perturbed: a denoiser, such as `checkpoints.perturbed(model)`. Both papers guide with it in a part of the run only:
    `Interval(Perturbed(...), 0.01, 0.2, outside=ClassifierFree(scale))` is what diffusers takes for SD 3.5.
    """

    scale: float
    perturbed_scale: float
    perturbed: object

    def __post_init__(self):
        _finite("scale", self.scale)
        _finite("perturbed_scale", self.perturbed_scale)
        _check_other("perturbed", self.perturbed)

    @property
    def branches(self) -> tuple[str, ...]:
        return (COND, PERTURBED) if self.scale == 1 else (UNCOND, COND, PERTURBED)

    @property
    def others(self) -> dict[str, object]:
        return {PERTURBED: self.perturbed}

    def __call__(self, predictions, moment: Moment) -> Tensor:
        cond = predictions[COND]
        uncond = predictions.get(UNCOND, cond)  # at scale 1 it drops out, and was not asked for
        return perturbed_guidance(uncond, cond, predictions[PERTURBED], self.scale, self.perturbed_scale)


@dataclass(frozen=True)
class Interval:
    """`rule` while start <= step / num_steps < stop, `outside` before and after (Kynkäänniemi et al. 2024).

    start and stop are fractions of the run in [0, 1], 0 its noisiest step. With the default outside, the
    plain conditional prediction, steps outside cost one evaluation. The paper names the interval by noise levels;
    its authors' code counts steps, with both ends inside, and leaves the conditional prediction outside too.
    """

    rule: Rule
    start: float = 0.0
    stop: float = 1.0
    outside: Rule = field(default_factory=Conditional)

    def __post_init__(self):
        if not 0 <= self.start <= self.stop <= 1:
            raise ValueError(
                f"(start, stop) is ({self.start!r}, {self.stop!r}); allowed: 0 <= start <= stop <= 1"
            )

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.rule.branches + self.outside.branches))

    @property
    def others(self) -> dict[str, object]:
        return others_of(self.rule, self.outside)

    def _at(self, moment: Moment) -> Rule:
        return self.rule if self.start <= moment.fraction < self.stop else self.outside

    def needs(self, moment: Moment) -> tuple[str, ...]:
        return self._at(moment).needs(moment)

    def __call__(self, predictions, moment: Moment) -> Tensor:
        return self._at(moment)(predictions, moment)


class PerPicture:
    """A rule a picture: row i of every prediction goes to rules[i]. Several scales then cost one run."""

    def __init__(self, rules: Sequence[Rule]):
        if not rules:
            raise ValueError(allowed("rules", rules, "at least one rule, one a picture"))
        self.rules = tuple(rules)
        self.branches = tuple(dict.fromkeys(branch for rule in rules for branch in rule.branches))
        self.others = others_of(*rules)

    def needs(self, moment: Moment) -> tuple[str, ...]:
        wanted = [branch for rule in self.rules for branch in rule.needs(moment)]
        return tuple(dict.fromkeys(wanted))

    def __call__(self, predictions, moment: Moment) -> Tensor:
        if len(predictions.x_t) != len(self.rules):
            raise ValueError(
                allowed("rules", f"{len(self.rules)} rules", f"{len(predictions.x_t)}, one a picture")
            )
        parts = []
        for i, rule in enumerate(self.rules):
            row = Predictions(
                {b: p[i : i + 1] for b, p in predictions.items()},
                predictions.x_t[i : i + 1],
                predictions.memory.setdefault(i, {}),
            )
            parts.append(rule(row, moment))
        return torch.cat(parts)


# ------------------------------------------------------------------------------------------------------------
# Predictions of other kinds than the noise

# Rules that give the same whatever kind of prediction they are handed. Two kinds differ by a factor and by a share of
# x_t that all branches have in common: it passes through weights that add up to one, and right angles stay so.
_ANY_KIND = (
    Conditional,
    Unconditional,
    ClassifierFree,
    NegativePrompt,
    ThreeBranch,
    WeightedNegative,
    SeveralNegatives,
    PerpNeg,
    ScheduledScale,
    Plus,
    AutoGuidance,
    Perturbed,
)
_HAIR = 1e-8  # the least alpha_bar at which a rule is told a noise: there float64 still has x0 to 12 digits


def any_kind(rule: Rule) -> bool:
    """Whether the rule acts the same on predictions of x0, v, a velocity or the noise, and need not be told which."""
    if isinstance(rule, Interval):
        return any_kind(rule.rule) and any_kind(rule.outside)
    if isinstance(rule, PerPicture):
        return all(map(any_kind, rule.rules))
    return isinstance(rule, _ANY_KIND)


def _by_gradient(rule: Rule, moment: Moment) -> bool:
    if isinstance(rule, Interval):
        return _by_gradient(rule._at(moment), moment)
    if isinstance(rule, PerPicture):
        return any(_by_gradient(each, moment) for each in rule.rules)
    return isinstance(rule, ClassifierGuidance)


def guided_x0(
    rule: Rule, x0: Mapping[str, Tensor], x_t: Tensor, moment: Moment, memory: dict | None = None
) -> Tensor:
    """The rule's picture, from predictions of x0 by branch; all (B, ...), x_t in this package's coordinates.

    For networks whose answer tells x0 where it does not tell the noise: v and velocities at alpha_bar = 0. Rules
    of `any_kind` act on x0 itself. The others are handed the noise that x0 implies, in float64, at alpha_bar or a
    hair above 0, and so act on the noise, v or x0, as they are written to do. memory: that of the run.

    Raises ZeroTerminalSNRError for a classifier's gradient at alpha_bar = 0, where noise has no class.
    """
    if any_kind(rule):
        return rule(Predictions(x0, x_t, memory), moment)
    if moment.alpha_bar < _HAIR and _by_gradient(rule, moment):
        raise ZeroTerminalSNRError(
            f"guidance is {rule!r} at alpha_bar = 0, pure noise, where a classifier's gradient moves x0 without "
            "bound; allowed: Interval(rule, start) with a start above 0"
        )
    level = max(moment.alpha_bar, _HAIR)
    signal, noise, x = sqrt(level), sqrt(1 - level), x_t.double()
    eps = {branch: (x - signal * value.double()) / noise for branch, value in x0.items()}
    guided = rule(Predictions(eps, x, memory), moment._replace(alpha_bar=level))
    return ((x - noise * guided) / signal).to(x_t)


def others_of(*rules: Rule) -> dict[str, object]:
    """The denoisers beside the model that rules ask, by branch.

    Raises ValueError where two rules mean different ones by a branch.
    """
    found: dict[str, object] = {}
    for rule in rules:
        for branch, denoiser in getattr(rule, "others", {}).items():
            if found.setdefault(branch, denoiser) is not denoiser:
                raise ValueError(
                    f"rules have two denoisers for the branch {branch!r}; allowed: one and the same"
                )
    return found


def _x0(eps: Tensor, x_t: Tensor, moment: Moment) -> Tensor:
    return (x_t - sqrt(1 - moment.alpha_bar) * eps) / sqrt(moment.alpha_bar)


def _eps(x0: Tensor, x_t: Tensor, moment: Moment) -> Tensor:
    return (x_t - sqrt(moment.alpha_bar) * x0) / sqrt(1 - moment.alpha_bar)


def _check_other(name: str, denoiser: object) -> None:
    if not all(callable(getattr(denoiser, method, None)) for method in ("eps", "encode_text")):
        raise ValueError(
            allowed(name, denoiser, "a denoiser: a model, or an adapter, with eps and encode_text")
        )


def _positive(name: str, value: float) -> float:
    if _finite(name, value) <= 0:
        raise ValueError(f"{name} is {value!r}; allowed: a finite number above 0")
    return float(value)


def _finite(name: str, value: float) -> float:
    if not isinstance(value, (Real, Tensor)) or not is_finite(value):
        raise ValueError(f"{name} is {value!r}; allowed: a finite number")
    return float(value)


def _check(reference: Tensor, **others: Tensor) -> None:
    for name, other in others.items():
        if other.shape != reference.shape:
            raise ValueError(f"{name}.shape is {tuple(other.shape)}; allowed: {tuple(reference.shape)}")
