"""What the checks of the equations of "Few steps" share: two mixtures, made-up states, pairs of levels and a comparison."""

import torch

from diffusion_tutorial.mixtures import GaussianMixture, tiny
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.schedules import NoiseSchedule

SCHEDULE = NoiseSchedule.linear()
BUMPS = GaussianMixture([0.6, 0.4], [[-1.0], [1.0]], [0.04, 0.04])
RING = tiny.ring()
X, EPS, Z = (gaussian((5, 2), 1, stream=k).double() for k in range(3))
PAIRS = [(0.001, 0.3), (0.2, 0.21), (0.3, 0.9), (0.5, 0.999)]  # (alpha_bar_t, alpha_bar_s)
GRID = torch.linspace(-6, 6, 6001, dtype=torch.float64)


def close(a, b, tolerance=1e-9):
    assert torch.as_tensor(a).sub(torch.as_tensor(b)).abs().max() < tolerance
