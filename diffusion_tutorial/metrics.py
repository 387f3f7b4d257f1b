"""What is measured on pictures, each figure with an interval: adherence, diversity, distance, fidelity.

The judge's readings come as a dictionary from attribute to (B,) value indices; `Read`, which `Judge.read` returns, also
knows the words that the indices stand for.
What a caption said comes as a list of B dictionaries from attribute to value, as `captions.parse` returns
them, or as one such dictionary when all B pictures had the same caption; values are words or indices.

Intervals are 95% unless told otherwise. Resampling draws from `noise`, so every figure repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, log2, pi, sqrt

import numpy as np
import torch
from scipy.special import ndtri, stdtrit
from torch import Tensor

from .noise import uniform

Readings = Mapping[str, Tensor | Sequence[int]]
Said = Mapping[str, str | int] | Sequence[Mapping[str, str | int]]


class Read(dict):
    """Attribute -> (B,) value indices, int64; words: attribute -> its values in the order of the indices."""

    def __init__(self, readings: Readings, words: Mapping[str, Sequence[str]]):
        super().__init__(readings)
        self.words = words


@dataclass(frozen=True)
class Estimate:
    """A figure, the ends of its interval, and the number of independent observations it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}], n = {self.n}"


@dataclass(frozen=True)
class FrechetDistance(Estimate):
    """n counts the pictures on each side, dimension the features: the value means little without them."""

    dimension: int

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.dimension} features"


# ------------------------------------------------------------------------------------------------------------
# Shares


def wilson(successes: float, n: int, confidence: float = 0.95) -> Estimate:
    """A share with Wilson's score interval, which holds near 0 and 1 where the normal one fails (Wilson
    1927).

    successes in [0, n] may be fractional: a mean of shares in [0, 1] varies less than a coin of the same
    mean, so for such means the interval is on the safe side.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes is {successes!r} of {n!r}; allowed: in [0, n] with n >= 1")
    z = _normal_quantile(confidence)
    p = successes / n
    centre, half = (p + z * z / (2 * n)), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return Estimate(p, 0.0 if p == 0 else max(low, 0.0), 1.0 if p == 1 else min(high, 1.0), n)


def adherence(
    readings: Readings,
    said: Said,
    values: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """The share of said attributes that the judge reads as said, a mean over pictures; n counts pictures.

    `values` lists the words of each attribute in the order of the judge's indices; by default those of a `Read`.
    Pictures of which nothing was said do not count. Raises ValueError where nothing was said of any, for
    unknown attributes or words, and for lengths that differ.
    """
    right = _right(readings, said, values)
    shares = [sum(picture.values()) / len(picture) for picture in right if picture]
    _check_not_empty("said", shares)
    return wilson(min(sum(shares), len(shares)), len(shares), confidence)


def all_right(
    readings: Readings,
    said: Said,
    values: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    """The share of pictures in which every said attribute is right. Arguments as in `adherence`."""
    right = [all(picture.values()) for picture in _right(readings, said, values) if picture]
    _check_not_empty("said", right)
    return wilson(sum(right), len(right), confidence)


def adherence_by_attribute(
    readings: Readings,
    said: Said,
    values: Mapping[str, Sequence[str]] | None = None,
    confidence: float = 0.95,
) -> dict[str, Estimate]:
    """`adherence` for each attribute that was said, over the pictures of which it was said."""
    right = _right(readings, said, values)
    names = dict.fromkeys(name for picture in right for name in picture)
    _check_not_empty("said", names)
    columns = {name: [picture[name] for picture in right if name in picture] for name in names}
    return {name: wilson(sum(column), len(column), confidence) for name, column in columns.items()}


def rate(readings: Tensor | Sequence[int], value: int, confidence: float = 0.95) -> Estimate:
    """The share of readings (n,) that equal `value`: how often an attribute takes it."""
    r = _readings("readings", readings)
    return wilson(int((r == value).sum()), len(r), confidence)


def _right(readings: Readings, said: Said, values) -> list[dict[str, bool]]:
    """For each picture, attribute -> is it as said."""
    read = {name: _readings(f"readings[{name!r}]", column) for name, column in readings.items()}
    values = getattr(readings, "words", None) if values is None else values
    sizes = {len(column) for column in read.values()}
    if len(sizes) != 1:
        raise ValueError(f"readings is columns of lengths {sorted(sizes)}; allowed: columns of one length")
    (n,) = sizes
    said = [said] * n if isinstance(said, Mapping) else list(said)
    if len(said) != n:
        raise ValueError(f"said is {len(said)} dictionaries; allowed: one, or one for each of {n} pictures")
    unknown = sorted({name for picture in said for name in picture} - set(read))
    if unknown:
        raise ValueError(f"said names {unknown[0]!r}, which the readings lack; allowed: {', '.join(read)}")
    return [
        {name: bool(read[name][i] == _index(name, value, values)) for name, value in picture.items()}
        for i, picture in enumerate(said)
    ]


def _index(name: str, value: str | int, values: Mapping[str, Sequence[str]] | None) -> int:
    if not isinstance(value, str):
        return int(value)
    words = (values or {}).get(name, ())
    if value not in words:
        raise ValueError(f"said gives {name} the value {value!r}; allowed: {', '.join(words) or 'none'}")
    return list(words).index(value)


# ------------------------------------------------------------------------------------------------------------
# Diversity


def entropy(
    readings: Tensor | Sequence[int],
    num_values: int,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Entropy in bits of one attribute's values, from n readings in [0, num_values).

    The plug-in estimate is low by about (m - 1) / (2 n ln 2), m values seen; Miller and Madow's correction
    adds that back (Miller 1955). The interval is a basic bootstrap: the resampled errors of the corrected
    estimate about the sample's own entropy, taken off the estimate. All are kept within [0, log2 num_values].
    """
    counts = _counts(readings, num_values)
    n = int(counts.sum())
    value = float(_miller_madow(counts[None])[0])
    plug_in = float(_plug_in_entropy(counts[None])[0])
    errors = _miller_madow(_resampled_counts(counts, resamples, seed)) - plug_in
    low, high = np.quantile(errors, _tails(confidence))
    top = log2(num_values) if num_values > 1 else 0.0
    clip = lambda h: float(min(max(h, 0.0), top))  # noqa: E731
    return Estimate(clip(value), clip(value - high), clip(value - low), n)


def total_variation(
    readings: Tensor | Sequence[int],
    law: Sequence[float] | Tensor,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Half the sum of |share of a value - its probability in the law|, from n readings in [0, len(law)).

    Chance alone makes it positive: `total_variation_floor` says by how much. The interval is the percentile
    bootstrap.
    """
    p = np.asarray(torch.as_tensor(law, dtype=torch.float64))
    if p.ndim != 1 or len(p) == 0 or (p < 0).any() or abs(p.sum() - 1) > 1e-6:
        raise ValueError(f"law is {law!r}; allowed: probabilities that sum to 1")
    counts = _counts(readings, len(p))
    n = int(counts.sum())
    distances = 0.5 * np.abs(_resampled_counts(counts, resamples, seed) / n - p).sum(1)
    low, high = np.quantile(distances, _tails(confidence))
    value = 0.5 * float(np.abs(counts / n - p).sum())
    return Estimate(value, float(min(low, value)), float(max(high, value)), n)


def total_variation_floor(law: Sequence[float] | Tensor, n: int) -> float:
    """What `total_variation` shows on average when the n readings do follow the law: the sum of sqrt(p q / (2
    pi n)).

    Each share is nearly normal with variance p q / n, q = 1 - p, and E|z| = sqrt(2 / pi).
    """
    if n < 1:
        raise ValueError(f"n is {n!r}; allowed: at least 1")
    return sum(sqrt(p * (1 - p) / (2 * pi * n)) for p in torch.as_tensor(law, dtype=torch.float64).tolist())


def _plug_in_entropy(counts: np.ndarray) -> np.ndarray:
    p = counts / counts.sum(1, keepdims=True)
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(1)


def _miller_madow(counts: np.ndarray) -> np.ndarray:
    return _plug_in_entropy(counts) + ((counts > 0).sum(1) - 1) / (2 * counts.sum(1) * log(2))


def _counts(readings, num_values: int) -> np.ndarray:
    r = _readings("readings", readings)
    if num_values < 1 or r.min() < 0 or r.max() >= num_values:
        raise ValueError(f"readings is {r.min()} to {r.max()}; allowed: values in [0, {num_values})")
    return np.bincount(r, minlength=num_values)


def _resampled_counts(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples, K): how often each value occurs in n draws from the sample."""
    n = int(counts.sum())
    u = uniform((resamples, n), seed).numpy()
    drawn = np.searchsorted(np.cumsum(counts) / n, u, side="right").clip(max=len(counts) - 1)
    rows = np.arange(resamples)[:, None] * len(counts)
    return np.bincount((drawn + rows).ravel(), minlength=resamples * len(counts)).reshape(resamples, -1)


# ------------------------------------------------------------------------------------------------------------
# Distance between sets of pictures, and between pictures


def frechet_distance(
    features_a: Tensor, features_b: Tensor, confidence: float = 0.95, resamples: int = 50, seed: int = 0
) -> FrechetDistance:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) with the covariances A and B (Heusel et al.
    2017, eq. 6).

    features_a, features_b: (N, D), of equal N, since the estimate is biased upwards by an amount that depends
    on N; compare distances at equal N and D only, and beside the distance between two sets of real pictures.
    The interval is the estimate +- z times the bootstrap's standard deviation, not below 0: it tells chance,
    not the bias. With fewer than two resamples there is none, low and high are the value.
    """
    a, b = _features("features_a", features_a), _features("features_b", features_b)
    if a.shape != b.shape:
        raise ValueError(
            f"(features_a.shape, features_b.shape) is ({tuple(a.shape)}, {tuple(b.shape)}); "
            "allowed: equal ones, (N, D)"
        )
    n, dimension = a.shape
    value = _frechet(a, b)
    spread = 0.0
    if resamples >= 2:
        index = (uniform((resamples, 2, n), seed) * n).long().clamp(max=n - 1)
        draws = [_frechet(a[i], b[j]) for i, j in index]
        spread = _normal_quantile(confidence) * float(np.std(draws, ddof=1))
    return FrechetDistance(value, max(value - spread, 0.0), value + spread, n, dimension)


def _frechet(a: Tensor, b: Tensor) -> float:
    cov_a, cov_b = (torch.cov(x.T).reshape(x.shape[1], x.shape[1]) for x in (a, b))
    # A^1/2 B A^1/2 is symmetric, so eigenvalues are real; rounding may make those near zero negative.
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(distance.item(), 0.0)


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """(B,) peak signal-to-noise ratio in dB of pictures (B, ...) in [0, 1], float64; infinite if equal."""
    if images.shape != references.shape or images.ndim < 2 or images.numel() == 0:
        raise ValueError(
            f"(images.shape, references.shape) is ({tuple(images.shape)}, {tuple(references.shape)}); "
            "allowed: equal ones, (B, ...)"
        )
    error = (images.double() - references.double()).square().flatten(1).mean(1)
    return -10 * torch.log10(error)


def mean(values: Tensor | Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean of n >= 2 independent numbers with Student's t interval."""
    x = torch.as_tensor(values, dtype=torch.float64)
    if x.ndim != 1 or len(x) < 2:
        raise ValueError(f"values.shape is {tuple(x.shape)}; allowed: a vector of at least two numbers")
    half = float(stdtrit(len(x) - 1, 0.5 + _check_confidence(confidence) / 2)) * x.std().item() / sqrt(len(x))
    return Estimate(x.mean().item(), x.mean().item() - half, x.mean().item() + half, len(x))


# ------------------------------------------------------------------------------------------------------------
# Small print


def saturation(pictures: Tensor) -> Tensor:
    """(N,) mean over pixels of HSV's saturation, (max - min) / max of the three colours."""
    high, low = pictures.amax(1), pictures.amin(1)
    return ((high - low) / high.clamp(min=1e-6)).mean((1, 2)).double()


def contrast(pictures: Tensor) -> Tensor:
    """(N,) standard deviation over pixels of the mean of the three colours."""
    return pictures.mean(1).flatten(1).std(1).double()


def _readings(name: str, values: Tensor | Sequence[int]) -> np.ndarray:
    r = torch.as_tensor(values).detach().cpu()
    if r.ndim != 1 or len(r) == 0 or r.is_floating_point():
        raise ValueError(
            f"{name} is {r.dtype} of shape {tuple(r.shape)}; allowed: a non-empty vector of integers"
        )
    return r.numpy()


def _features(name: str, features: Tensor) -> Tensor:
    x = torch.as_tensor(features).detach().to("cpu", torch.float64)
    if x.ndim != 2 or len(x) < 2 or x.shape[1] == 0 or not x.isfinite().all():
        raise ValueError(f"{name} is of shape {tuple(x.shape)}; allowed: finite numbers, (N >= 2, D)")
    return x


def _check_not_empty(name: str, values) -> None:
    if not values:
        raise ValueError(f"{name} is about nothing; allowed: something said of at least one picture")


def _check_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence!r}; allowed: in (0, 1)")
    return confidence


def _tails(confidence: float) -> tuple[float, float]:
    tail = (1 - _check_confidence(confidence)) / 2
    return tail, 1 - tail


def _normal_quantile(confidence: float) -> float:
    return float(ndtri(_tails(confidence)[1]))
