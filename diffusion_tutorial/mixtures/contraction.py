"""What becomes of a wrong start: the flow carries its divergence along, noise shrinks it. On the line, by quadrature.

p is the law that a sampler starts from, q the law that it should start from; both are moved by the same exact process
of q, the probability-flow ODE or the exact reverse step q(x_s | x_t). Divergences are KL(p || q) in nats.

Two chains with one and the same step K(x_s | x_t) have joint laws whose divergence is that of their starts, since K
cancels in the ratio. Read from the other end, the chain rule gives

    KL(p_t || q_t) = KL(p_s || q_s) + E over x_s of p  KL(p(x_t | x_s) || q(x_t | x_s)),

so no step can raise the divergence. An invertible step without noise leaves no doubt about x_t given x_s: the last
term is 0, and nothing is gained. A step with noise forgets, and gains exactly what it forgets.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .convergence import exact_flow, reverse_density
from .gaussian import GaussianMixture


class Moved(NamedTuple):
    """A law on the line as weights on points, and its divergence from where it should be."""

    points: Tensor  # (G,)
    weights: Tensor  # (G,), sum 1
    divergence: float  # nats


def start(
    mixture: GaussianMixture, alpha_bar: float, grid: Tensor, law: GaussianMixture | None = None
) -> Moved:
    """The law `law`, by default a standard normal ("pure noise"), on an even grid (G,), beside the mixture's own.

    Raises ValueError where the grid cuts off more than 1e-6 of either.
    """
    law = GaussianMixture([1.0], [[0.0]], [1.0]) if law is None else law
    spacing = (grid[1] - grid[0]).item()
    logs = {
        name: m.log_prob(grid[:, None], a)
        for name, m, a in (("law", law, 1.0), ("mixture", mixture, alpha_bar))
    }
    for name, value in logs.items():
        mass = value.exp().sum().item() * spacing
        if abs(mass - 1) > 1e-6:
            raise ValueError(f"grid holds {mass:.6g} of the {name}; allowed: all of it but 1e-6")
    weights = torch.softmax(logs["law"], 0)
    return Moved(grid, weights, (weights @ (logs["law"] - logs["mixture"])).item())


def by_flow(mixture: GaussianMixture, p: Moved, alpha_bar_t: float, alpha_bar_s: float) -> Moved:
    """p moved by the exact probability-flow ODE from one level to the other.

    Points move, weights stay. The density at a moved point is the old one over the slope of the map, which is taken
    by finite differences of the flow itself, so that nothing is assumed of what is to be shown.
    """
    step = 1e-4
    moved, left, right = (
        exact_flow(mixture, p.points[:, None] + d, alpha_bar_t, alpha_bar_s)[:, 0] for d in (0.0, -step, step)
    )
    stretch = (right - left) / (2 * step)
    spacing = p.points[1:] - p.points[:-1]
    density = p.weights / torch.cat([spacing, spacing[-1:]]) / stretch
    kept = p.weights > 1e-14
    gain = density.clamp(min=1e-300).log() - mixture.log_prob(moved[:, None], alpha_bar_s)
    return Moved(moved, p.weights, (p.weights * gain)[kept].sum().item())


def by_exact_steps(
    mixture: GaussianMixture, p: Moved, alpha_bar_t: float, alpha_bar_s: float, grid: Tensor
) -> Moved:
    """p moved by the exact reverse step q(x_s | x_t), onto an even grid (G,).

    One long step or many short ones, the law is the same: exact steps compose. It is the limit of DDPM, and of DDIM
    at eta = 1, for many steps.
    """
    kernel = reverse_density(mixture, p.points, alpha_bar_t, alpha_bar_s, grid)
    kernel = kernel / kernel.sum(1, keepdim=True)
    weights = p.weights @ kernel
    density = weights / (grid[1] - grid[0])
    gain = density.clamp(min=1e-300).log() - mixture.log_prob(grid[:, None], alpha_bar_s)
    return Moved(grid, weights, (weights * gain).sum().item())


def forgotten(
    mixture: GaussianMixture, p: Moved, alpha_bar_t: float, alpha_bar_s: float, grid: Tensor
) -> float:
    """The last term of the chain rule above, by quadrature over both points: what the exact step forgets, in nats."""
    kernel = reverse_density(mixture, p.points, alpha_bar_t, alpha_bar_s, grid)
    kernel = kernel / kernel.sum(1, keepdim=True)
    true = torch.softmax(mixture.log_prob(p.points[:, None], alpha_bar_t), 0)

    def conditional(w: Tensor) -> Tensor:
        joint = w[:, None] * kernel
        return joint / joint.sum(0).clamp(min=1e-300)

    ours, theirs = conditional(p.weights), conditional(true)
    ratio = (ours.clamp(min=1e-300) / theirs.clamp(min=1e-300)).log()
    return ((p.weights @ kernel) @ (ours * ratio).sum(0)).item()


def share_above(p: Moved, threshold: float) -> float:
    """The mass of p above a point."""
    return p.weights[p.points > threshold].sum().item()
