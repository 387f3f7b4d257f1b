"""What guidance aims at and what it follows, on mixtures: p(x) p(y | x)^s in closed form, at every noise level.

Two families of densities begin as noise and end, at alpha_bar = 1, as the same tilted density p(x_0) p(y | x_0)^s:

    TiltedMixture    p(x_t) E[p(y | x_0)^s | x_t]    the tilted density with noise added: what a sampler would
                                                     have to follow to end there
    GuidedMixture    p(x_t) p(y | x_t)^s             tilted at each level anew: what classifier guidance with the
                                                     exact noisy classifier follows, and classifier-free guidance

Between the ends they differ unless s is 0 or 1, because the power of a mean is not the mean of a power. Both have
`log_prob` and `eps` of (B, D) points at a level, as `GaussianMixture` has, so samplers, `convergence.law` and
`convergence.solve` take either in its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor

from ..errors import allowed, check_integer, check_number
from ..guidance import classifier, classifier_free
from ..noise import step_noise, uniform
from ..samplers import ddim_step
from ..schedules import Transition, path
from .convergence import even_log_snr
from .gaussian import GaussianMixture

REACH = 6.0  # of the quadrature, in standard deviations


class _Tilt:
    """A mixture, one of its classes and a scale. Raises ValueError for a label that the mixture lacks."""

    def __init__(self, mixture: GaussianMixture, label: int, scale: float):
        self.mixture, self.scale = mixture, check_number("scale", scale)
        self.conditional = mixture.conditional(label)
        self.label = label

    @property
    def dim(self) -> int:
        return self.mixture.dim


class GuidedMixture(_Tilt):
    """p(x_t) p(y | x_t)^scale, made anew at each level: guidance with nothing but exact ingredients.

    mixture: with at least two classes. label: the class y. scale: 0 is p(x_t), 1 is p(x_t | y).
    """

    def log_prob(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B,) log p(x_t) + scale log p(y | x_t), not normalised."""
        return self.mixture.log_prob(x, alpha_bar) + self.scale * self.log_classifier(x, alpha_bar)

    def log_classifier(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B,) log p(y | x_t), what the ideal noisy classifier says."""
        return self.mixture.class_log_posterior(x, alpha_bar)[:, self.label]

    def eps(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) classifier-free guidance with the exact conditional and unconditional predictions."""
        return classifier_free(self.mixture.eps(x, alpha_bar), self.conditional.eps(x, alpha_bar), self.scale)

    def eps_by_classifier(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) classifier guidance of the unconditional prediction, its gradient taken by autograd."""
        return classifier(
            self.mixture.eps(x, alpha_bar), self.classifier_gradient(x, alpha_bar), alpha_bar, self.scale
        )

    def classifier_gradient(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) gradient of `log_classifier` with respect to x, by autograd."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.log_classifier(leaf, alpha_bar).sum(), leaf)
        return gradient


class TiltedMixture(_Tilt):
    """p(x_0) p(y | x_0)^scale with noise added, by quadrature: the density that a guidance scale seems to promise.

    It equals p(y) p(x_0 | y) p(y | x_0)^(scale - 1), so only the class's own components are needed. Given x_t, each
    is a Gaussian in x_0; the expectation of p(y | x_0)^(scale - 1) over it is taken on an even grid of `nodes`
    points a dimension, six standard deviations to both sides, which for smooth integrands converges faster than any
    power of the spacing.

    mixture: in one or two dimensions, no component a point. scale: 1 or more. nodes: by default 121 on the line and
    25 a side in the plane.
    """

    def __init__(self, mixture: GaussianMixture, label: int, scale: float, nodes: int | None = None):
        super().__init__(mixture, label, scale)
        check_number("scale", scale, low=1.0)
        if mixture.dim > 2:
            raise ValueError(f"mixture has {mixture.dim} dimensions; allowed: 1 or 2")
        nodes = (121 if mixture.dim == 1 else 25) if nodes is None else check_integer("nodes", nodes, 2)
        line = torch.linspace(-REACH, REACH, nodes, dtype=torch.float64)
        self._nodes = torch.cartesian_prod(*[line] * mixture.dim).reshape(-1, mixture.dim)  # (M, D)
        self._log_weights = torch.log_softmax(-0.5 * self._nodes.square().sum(1), 0)  # (M,)
        self._table: tuple[Tensor, Tensor] | None = None

    # At any level

    def log_prob(self, x: Tensor, alpha_bar: float = 1.0) -> Tensor:
        """(B,) log p(x_t) + log E[p(y | x_0)^scale | x_t], not normalised."""
        prior = self.mixture.weights[self.mixture.labels == self.label].sum().log().to(x)
        return prior + self.conditional.log_prob(x, alpha_bar) + self._log_rest(x, alpha_bar)

    def log_expectation(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B,) log E[p(y | x_0)^scale | x_t]: its gradient is the guidance that ends at the tilted density."""
        return self.log_prob(x, alpha_bar) - self.mixture.log_prob(x, alpha_bar)

    def posterior_mean(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) E[x_0 | x_t] where x_0 has the tilted density, for alpha_bar < 1."""
        logs, x_0 = self._log_terms(x, alpha_bar)
        weights = torch.softmax(logs.flatten(1), dim=1).reshape(logs.shape)
        return torch.einsum("bkm,bkmd->bd", weights, x_0)

    def eps(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B, D) the perfect denoiser of the tilted density: (x_t - sqrt(a) E[x_0 | x_t]) / sqrt(1 - a).

        The same as p(x)'s own eps guided by the gradient of `log_expectation`.
        """
        a = float(alpha_bar)
        return (x - sqrt(a) * self.posterior_mean(x, a)) / sqrt(1 - a)

    def _log_rest(self, x: Tensor, alpha_bar: float) -> Tensor:
        """(B,) log E[p(y | x_0)^(scale - 1) | x_t, y]."""
        if float(alpha_bar) == 1:
            return (self.scale - 1) * self.mixture.class_log_posterior(x)[:, self.label]
        return torch.logsumexp(self._log_terms(x, alpha_bar)[0].flatten(1), dim=1)

    def _log_terms(self, x: Tensor, alpha_bar: float) -> tuple[Tensor, Tensor]:
        """(B, K, M) log of responsibility x quadrature weight x p(y | x_0)^(scale - 1), and the (B, K, M, D) x_0."""
        m, a = self.conditional, float(alpha_bar)
        if not 0 <= a < 1:
            raise ValueError(allowed("alpha_bar", alpha_bar, "a level in [0, 1)"))
        spread = (m._spread * (1 - a) / m._variance(a)).sqrt()  # (K, D) of x_0 given x_t, in the eigenbasis
        steps = torch.einsum("kde,ke,me->kmd", m._basis, spread, self._nodes).to(x)
        x_0 = m._posterior_means(x, a)[:, :, None, :] + steps
        said = self.mixture.class_log_posterior(x_0.reshape(-1, m.dim))[:, self.label].reshape(x_0.shape[:3])
        chosen = m.responsibilities(x, a).log()[:, :, None]
        return chosen + self._log_weights.to(x) + (self.scale - 1) * said, x_0

    # Of the tilted density itself

    def sample(self, n: int, seed: int) -> Tensor:
        """(n, D) independent draws, float64, by rejection: p(x | y), kept with probability p(y | x)^(scale - 1).

        Exact.
        """
        kept, count, round_ = [], 0, 0
        while count < n:
            part = (seed + 65_537 * round_) % 2**32  # far from the seeds that a caller would take next
            x = self.conditional.sample(4 * n, part)
            keep = (
                uniform((4 * n,), part, stream=2).log()
                < (self.scale - 1) * (self.mixture.class_log_posterior(x)[:, self.label])
            )
            kept.append(x[keep])
            count, round_ = count + int(keep.sum()), round_ + 1
        return torch.cat(kept)[:n]

    def density(self, x: Tensor) -> Tensor:
        """(B,) the normalised density of points (B, 1) on the line."""
        self._cumulative()
        return (self.log_prob(x) - self._log_total).exp()

    def cdf(self, x: Tensor) -> Tensor:
        """Distribution function on the line, for x of any shape, to about six digits."""
        grid, cumulative = self._cumulative()
        return _interpolate(torch.as_tensor(x, dtype=torch.float64), grid, cumulative)

    def quantile(self, u: Tensor) -> Tensor:
        """Inverse of `cdf`, for u in (0, 1)."""
        u = torch.as_tensor(u, dtype=torch.float64)
        if not ((u > 0) & (u < 1)).all():
            raise ValueError(
                allowed("u", u.tolist() if u.numel() < 5 else "out of range", "values in (0, 1)")
            )
        grid, cumulative = self._cumulative()
        return _interpolate(u, cumulative, grid)

    def _cumulative(self) -> tuple[Tensor, Tensor]:
        """A grid on the line and the distribution function on it."""
        if self.dim != 1:
            raise ValueError(f"mixture has {self.dim} dimensions; allowed: 1, for a distribution function")
        if self._table is None:
            reach = 10 * self.mixture.at(1.0)._spread.max().sqrt()
            grid = torch.linspace(
                (self.mixture.means.min() - reach).item(), (self.mixture.means.max() + reach).item(), 20_001,
                dtype=torch.float64,
            )  # fmt: skip
            logs = self.log_prob(grid[:, None])
            step = grid[1] - grid[0]
            self._log_total = torch.logsumexp(logs, 0) + step.log()
            density = (logs - self._log_total).exp()
            # Trapezium rule: half of each end's bin.
            total = density.cumsum(0) * step - 0.5 * step * density
            self._table = grid, total / total[-1]
        return self._table


def _interpolate(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear through (xs, ys), xs not decreasing, constant outside."""
    k = torch.searchsorted(xs, x.contiguous()).clamp(1, len(xs) - 1)
    low, high = xs[k - 1], xs[k]
    share = ((x - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    return ys[k - 1] + share * (ys[k] - ys[k - 1])


# ------------------------------------------------------------------------------------------------------------
# Levels, a sampler's law as a curve, and samplers with a corrector


def noise_to_data(n: int, start: float = 1e-6, clean: float = 0.998) -> tuple[Transition, ...]:
    """n >= 2 steps from alpha_bar = start, noise to all purposes, evenly in log SNR to clean, and from there to 1.

    start is so low that every density of this module is standard normal there to a part in a thousand: what is
    wrong at the end has then come about on the way.
    """
    return even_log_snr(start, clean, check_integer("n", n, 2) - 1) + path([clean, 1.0])


def law_density(x: Tensor, w: Tensor, edges: Tensor) -> Tensor:
    """(E - 1,) mean density between the edges (E,), of weighted points on the line as `convergence.law` gives.

    The distribution function is interpolated between the points, so a bin that holds none has a density too.
    """
    index = x.argsort()
    x, w = x[index], w[index] / w.sum()
    below = w.cumsum(0) - 0.5 * w  # half of a point's own weight lies below it
    return _interpolate(edges, x, below).diff() / edges.diff()


def predictor_corrector(
    guided: GuidedMixture,
    x: Tensor,
    transitions: Sequence[Transition],
    corrections: int = 1,
    corrector_scale: float | None = None,
    step: float | None = None,
    seed: int = 0,
) -> Tensor:
    """(B, D) the end of a walk that alternates DDIM with Langevin steps (Bradley and Nakkiran 2024).

    The predictor is one deterministic DDIM step of the *conditional* density p(x_t | y), without guidance. The
    corrector takes `corrections` steps of Langevin dynamics x + (d / 2) score + sqrt(d) z towards
    p(x_t) p(y | x_t)^corrector_scale at the level reached.

    corrector_scale: by default 2 s - 1 with s the scale of `guided`, for which one correction of step size
    d = beta, as in DDPM, is DDPM with classifier-free guidance s in the limit of small steps. step: d as a share of
    1 - alpha_bar of the level reached, by default beta's share. No correction at alpha_bar = 1.
    """
    corrections = check_integer("corrections", corrections, 0)
    target = GuidedMixture(
        guided.mixture, guided.label, 2 * guided.scale - 1 if corrector_scale is None else corrector_scale
    )
    for index, (_, _, a_t, a_s) in enumerate(transitions):
        x, _ = ddim_step(x, guided.conditional.eps(x, a_t), a_t, a_s)
        if a_s == 1:
            continue
        noise = step_noise((corrections, *x.shape), seed)(index).to(x) if corrections else ()
        d = (1 - a_t / a_s) if step is None else step * (1 - a_s)
        for z in noise:
            x = x - d / 2 * target.eps(x, a_s) / sqrt(1 - a_s) + sqrt(d) * z
    return x
