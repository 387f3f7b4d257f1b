"""Gaussian mixtures under the forward process: a world in which everything is known in closed form.

If x_0 is drawn from sum_k w_k N(m_k, C_k), then x_t = sqrt(a) x_0 + sqrt(1 - a) eps with a = alpha_bar is
drawn from

    sum_k w_k N(sqrt(a) m_k, a C_k + (1 - a) I),

so density, score, the ideal denoiser and the ideal classifier need no network. Points are (B, D), also in one
dimension; alpha_bar is a number, 1 for the data. Results have the dtype of x; every formula can be
differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi, sin, sqrt

import torch
from torch import Tensor

from ..errors import allowed
from ..noise import gaussian, uniform
from ..schedules import NoiseSchedule


class GaussianMixture:
    """weights (K,), means (K, D), covs (K, D, D), or (K,) variances for round components.

    labels (K,), integers from 0, say which class each component belongs to; by default each is a class.
    Weights are normalised; a covariance may be singular, even zero (a point), as long as only alpha_bar < 1
    is asked about. Raises ValueError for empty, negative or non-finite input and for shapes that do not fit.
    """

    def __init__(
        self,
        weights: Tensor | Sequence[float],
        means: Tensor | Sequence,
        covs: Tensor | Sequence,
        labels: Sequence[int] | None = None,
    ):
        w, m, c = (torch.as_tensor(x, dtype=torch.float64).detach().clone() for x in (weights, means, covs))
        if w.ndim != 1 or len(w) == 0 or not (w.isfinite().all() and (w > 0).all()):
            raise ValueError(f"weights is {weights!r}; allowed: a non-empty vector of positive numbers")
        if m.ndim != 2 or len(m) != len(w) or m.shape[1] == 0 or not m.isfinite().all():
            raise ValueError(f"means is of shape {tuple(m.shape)}; allowed: finite numbers, ({len(w)}, D)")
        if c.shape == w.shape:
            c = c[:, None, None] * torch.eye(m.shape[1], dtype=torch.float64)
        if c.shape != (*m.shape, m.shape[1]) or not c.isfinite().all() or not torch.allclose(c, c.mT):
            raise ValueError(
                f"covs is of shape {tuple(c.shape)}; "
                f"allowed: finite and symmetric ones, ({len(w)},) or ({len(w)}, {m.shape[1]}, {m.shape[1]})"
            )
        # In the eigenbasis of C_k, adding noise only changes the eigenvalues: one decomposition serves all
        # levels.
        spread, basis = torch.linalg.eigh(c)
        if (spread < -1e-12 * (1 + spread.abs().max())).any():
            raise ValueError(
                f"covs is of an eigenvalue of {spread.min().item():.3g}; allowed: positive semidefinite"
            )
        labels = torch.arange(len(w)) if labels is None else torch.as_tensor(labels)
        if labels.shape != w.shape or labels.min() < 0 or len(labels.unique()) != labels.max() + 1:
            raise ValueError(
                f"labels is {labels.tolist()!r}; allowed: {len(w)} integers that use 0 ... C - 1"
            )
        self.weights, self.means, self.covs, self.labels = w / w.sum(), m, c, labels.long()
        self._spread, self._basis = spread.clamp(min=0), basis

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @property
    def num_classes(self) -> int:
        return int(self.labels.max()) + 1

    # Densities and what follows from them

    def log_prob(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B,) log density of x (B, D) at this level."""
        return torch.logsumexp(self._joint(x, alpha_bar), dim=1)

    def responsibilities(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B, K) p(component | x_t)."""
        return torch.softmax(self._joint(x, alpha_bar), dim=1)

    def class_log_posterior(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B, C) log p(y | x_t): the ideal noisy classifier."""
        joint = self._joint(x, alpha_bar)
        per_class = [torch.logsumexp(joint[:, self.labels == y], dim=1) for y in range(self.num_classes)]
        return torch.stack(per_class, dim=1) - torch.logsumexp(joint, dim=1, keepdim=True)

    def class_posterior(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B, C) p(y | x_t)."""
        return self.class_log_posterior(x, alpha_bar).exp()

    def score(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B, D) gradient of `log_prob`."""
        a = _check_level(alpha_bar)
        u = self._whitened(x, a)  # (B, K, D), in each component's eigenbasis
        pull = -torch.einsum("kde,bke->bkd", self._basis.to(x), u / self._variance(a).to(x))
        return torch.einsum("bk,bkd->bd", self.responsibilities(x, a), pull)

    def eps(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) E[eps | x_t], what a perfect denoiser predicts: -sqrt(1 - alpha_bar) score."""
        return -sqrt(1 - _check_level(alpha_bar)) * self.score(x, alpha_bar)

    def posterior_mean(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) E[x_0 | x_t], the average over components of each one's own posterior mean.

        Written without dividing by sqrt(alpha_bar), so it also holds at alpha_bar = 0, where it is the data's
        mean.
        """
        a = _check_level(alpha_bar)
        means = self._posterior_means(x, a)
        return torch.einsum("bk,bkd->bd", self.responsibilities(x, a), means)

    def v(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0, both in expectation. Defined from 0 to 1."""
        a = _check_level(alpha_bar)
        return sqrt(a) * self.eps(x, a) - sqrt(1 - a) * self.posterior_mean(x, a)

    def denoiser(self, schedule: NoiseSchedule) -> Callable[[Tensor, int], Tensor]:
        """eps(x_t, t) for `samplers.trajectory`; `eps` itself serves `walk` along a `schedules.path`."""
        return lambda x, t: self.eps(x, schedule.alpha_bar(t))

    # Draws

    def sample(self, n: int, seed: int, alpha_bar: float = 1.0) -> Tensor:
        """(n, D) independent draws at this level, float64."""
        a = _check_level(alpha_bar)
        k = _choose(self.weights.expand(n, -1), seed)
        z = gaussian((n, self.dim), seed, stream=1).double() * self._variance(a)[k].sqrt()
        return sqrt(a) * self.means[k] + torch.einsum("bde,be->bd", self._basis[k], z)

    def posterior_sample(self, x: Tensor, alpha_bar: float, seed: int) -> Tensor:
        """(B, D) a draw of x_0 given each x_t: the reverse step that a single Gaussian only approximates."""
        a = _check_level(alpha_bar)
        k = _choose(self.responsibilities(x, a).double(), seed)
        means = self._posterior_means(x, a)[torch.arange(len(x)), k]
        spread = self._spread[k] * (1 - a) / self._variance(a)[k]  # C - a C (a C + (1 - a) I)^-1 C
        z = gaussian((len(x), self.dim), seed, stream=1).double() * spread.sqrt()
        return means + torch.einsum("bde,be->bd", self._basis[k], z).to(x)

    # Parts and views

    def conditional(self, label: int) -> GaussianMixture:
        """The mixture of one class alone, p(x_0 | y)."""
        keep = self.labels == label
        if not keep.any():
            raise ValueError(f"label is {label!r}; allowed: in [0, {self.num_classes})")
        return GaussianMixture(self.weights[keep], self.means[keep], self.covs[keep])

    def project(self, direction: Tensor) -> GaussianMixture:
        """The one-dimensional mixture of direction . x_0, for a direction (D,)."""
        d = torch.as_tensor(direction, dtype=torch.float64)
        return GaussianMixture(
            self.weights, (self.means @ d)[:, None], torch.einsum("d,kde,e->k", d, self.covs, d), self.labels
        )

    def at(self, alpha_bar: float) -> GaussianMixture:
        """The mixture that x_t is drawn from, as a mixture of its own."""
        a = _check_level(alpha_bar)
        covs = a * self.covs + (1 - a) * torch.eye(self.dim, dtype=torch.float64)
        return GaussianMixture(self.weights, sqrt(a) * self.means, covs, self.labels)

    @property
    def mean(self) -> Tensor:
        """(D,)"""
        return self.weights @ self.means

    @property
    def cov(self) -> Tensor:
        """(D, D)"""
        centred = self.means - self.mean
        return torch.einsum("k,kde->de", self.weights, self.covs + centred[:, :, None] * centred[:, None, :])

    def cdf(self, x: Tensor) -> Tensor:
        """Distribution function of a one-dimensional mixture, for x of any shape."""
        self._check_line()
        std = self._spread[:, 0].sqrt()
        z = (torch.as_tensor(x, dtype=torch.float64)[..., None] - self.means[:, 0]) / std
        return torch.special.ndtr(z) @ self.weights

    def quantile(self, u: Tensor) -> Tensor:
        """Inverse of `cdf`, for u in (0, 1), by bisection."""
        self._check_line()
        u = torch.as_tensor(u, dtype=torch.float64)
        if not ((u > 0) & (u < 1)).all():
            raise ValueError(allowed("u", f"{float(u.min()):g} to {float(u.max()):g}", "numbers in (0, 1)"))
        reach = 40 * self._spread.max().sqrt() + 1e-12
        low = torch.full_like(u, (self.means.min() - reach).item())
        high = torch.full_like(u, (self.means.max() + reach).item())
        for _ in range(64):  # enough to halve any such interval down to float64's rounding
            middle = (low + high) / 2
            below = self.cdf(middle) < u
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    # Inside

    def _variance(self, a: float) -> Tensor:
        """(K, D) eigenvalues of a C + (1 - a) I."""
        return a * self._spread + (1 - a)

    def _whitened(self, x: Tensor, a: float) -> Tensor:
        """(B, K, D) x - sqrt(a) m_k in the eigenbasis of C_k."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"x.shape is {tuple(x.shape)}; allowed: (B, {self.dim})")
        difference = x[:, None, :] - sqrt(a) * self.means.to(x)
        return torch.einsum("bkd,kde->bke", difference, self._basis.to(x))

    def _joint(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, K) log w_k + log N(x; sqrt(a) m_k, a C_k + (1 - a) I)."""
        a = _check_level(alpha_bar)
        variance = self._variance(a)
        if (variance <= 0).any():
            raise ValueError(
                "covs is singular; allowed: positive definite ones for a density at alpha_bar = 1"
            )
        u = self._whitened(x, a)
        log_normaliser = self.weights.log() - 0.5 * (2 * torch.pi * variance).log().sum(1)
        return log_normaliser.to(x) - 0.5 * (u**2 / variance.to(x)).sum(2)

    def _posterior_means(self, x: Tensor, a: float) -> Tensor:
        """(B, K, D) E[x_0 | x_t, component]: m + sqrt(a) C (a C + (1 - a) I)^-1 (x - sqrt(a) m)."""
        gain = (sqrt(a) * self._spread / self._variance(a)).to(x)
        moved = torch.einsum("kde,bke->bkd", self._basis.to(x), gain * self._whitened(x, a))
        return self.means.to(x) + moved

    def _check_line(self) -> None:
        if self.dim != 1:
            raise ValueError(
                f"a distribution function needs a one-dimensional mixture, this has {self.dim}: `project` it"
            )


# ------------------------------------------------------------------------------------------------------------
# Distances to the truth


def ring(points: int = 6, radius: float = 1.5, std: float = 0.14) -> GaussianMixture:
    """Round blobs on a circle: the plane's data of the chapter."""
    angles = [2 * pi * k / points for k in range(points)]
    return GaussianMixture(
        [1.0] * points, [[radius * cos(a), radius * sin(a)] for a in angles], [std**2] * points
    )


def wasserstein_1d(x: Tensor, truth: Tensor | GaussianMixture, p: int = 1) -> float:
    """Wasserstein distance of order p (1 or 2) on the line: (integral |F^-1(u) - G^-1(u)|^p du)^(1/p).

    x: (N,) or (N, 1) samples. truth: as many samples, or a one-dimensional mixture, whose quantile function
    is taken at the midpoints (i + 1/2) / N.
    """
    x = _line("x", x)
    if isinstance(truth, GaussianMixture):
        other = truth.quantile((torch.arange(len(x), dtype=torch.float64) + 0.5) / len(x))
    else:
        other = _line("truth", truth)
        if len(other) != len(x):
            raise ValueError(f"truth is {len(other)} samples; allowed: as many as x, {len(x)}")
    if p not in (1, 2):
        raise ValueError(f"p is {p!r}; allowed: 1 or 2")
    return ((x - other).abs() ** p).mean().item() ** (1 / p)


def sliced_wasserstein(
    x: Tensor, truth: Tensor | GaussianMixture, p: int = 2, projections: int = 64, seed: int = 0
) -> float:
    """Wasserstein distance of order p averaged over random directions, for x (N, D) (Bonneel et al. 2015).

    A mixture's projection is a mixture on the line, so its side of the comparison has no sampling error.
    """
    if x.ndim != 2 or len(x) == 0 or projections < 1:
        raise ValueError(
            f"(x.shape, projections) is ({tuple(x.shape)}, {projections}); allowed: (N, D) and 1 or more"
        )
    directions = gaussian((projections, x.shape[1]), seed).double()
    total = 0.0
    for d in directions / directions.norm(dim=1, keepdim=True):
        other = truth.project(d) if isinstance(truth, GaussianMixture) else truth.double() @ d
        total += wasserstein_1d(x.double() @ d, other, p) ** p
    return (total / projections) ** (1 / p)


def moment_distances(x: Tensor, truth: GaussianMixture) -> tuple[float, float]:
    """(mean, covariance): norms of the differences between the moments of x (N, D) and the mixture's.

    Euclidean for the mean, Frobenius for the covariance.
    """
    if x.ndim != 2 or x.shape[1] != truth.dim or len(x) < 2:
        raise ValueError(f"x.shape is {tuple(x.shape)}; allowed: (N >= 2, {truth.dim})")
    x = x.double()
    cov = torch.cov(x.T).reshape(truth.dim, truth.dim)
    return (x.mean(0) - truth.mean).norm().item(), (cov - truth.cov).norm().item()


def _line(name: str, x: Tensor) -> Tensor:
    """Sorted samples in float64."""
    x = torch.as_tensor(x, dtype=torch.float64)
    if x.ndim == 2 and x.shape[1] == 1:
        x = x[:, 0]
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(
            f"{name} is of shape {tuple(x.shape)}; allowed: samples on the line, (N,) or (N, 1) with N >= 1"
        )
    return x.sort().values


def _choose(probabilities: Tensor, seed: int) -> Tensor:
    """(B,) one index for each row of (B, K) probabilities."""
    u = uniform((len(probabilities), 1), seed).to(probabilities)
    k = torch.searchsorted(probabilities.cumsum(1).contiguous(), u)[:, 0]
    return k.clamp(max=probabilities.shape[1] - 1)  # rounding may leave the last sum just below u


def _check_level(alpha_bar: float) -> float:
    alpha_bar = float(alpha_bar)
    if not 0 <= alpha_bar <= 1:
        raise ValueError(f"alpha_bar is {alpha_bar!r}; allowed: in [0, 1]")
    return alpha_bar
