"""The noise schedule: how much of the picture is left at each of the training timesteps.

The forward process keeps x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, with alpha_bar_t the
product of 1 - beta over the timesteps 0 ... t (Ho et al. 2020, eq. 4). The table is computed in float64;
diffusers computes it in float32, so the two agree to about 1e-6.

Algorithm 1 and table 2 of Lin et al. are as diffusers' schedulers, which were read, cite them; the other numbers of
equations and sections below were not opened.

`NoiseSchedule` is such a table, `FlowSchedule` the levels of a straight-line flow, in the same coordinates and with
the same methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .errors import allowed

SPACINGS = ("leading", "linspace", "trailing")


class ZeroTerminalSNRError(ValueError):
    """alpha_bar = 0 is pure noise: an epsilon prediction cannot give x_0 there, `ddim_step_v` can."""


class Transition(NamedTuple):
    """One step of a sampler: from timestep t, which the denoiser is asked about, down to level alpha_bar_s.

    s is the timestep that alpha_bar_s belongs to, None when it is the end of the chain and belongs to none.
    """

    t: int | float
    s: int | float | None
    alpha_bar_t: float
    alpha_bar_s: float


class NoiseSchedule:
    """A table of noise levels. Immutable: the tensors that it hands out are copies.

    Args:
        betas: (n,) noise variances of the training timesteps, each in (0, 1); the last may be 1 (zero terminal SNR).
        set_alpha_to_one: what DDIM takes as alpha_bar behind the last step, as diffusers' option of that name:
            1 when True, alphas_cumprod[0] when False (Stable Diffusion 1).
        spacing, steps_offset: what `timesteps` uses unless told otherwise.

    Raises ValueError for an empty table or betas outside the range.
    """

    time = "u"  # in which a solver of second order averages slopes, see `samplers.heun_step`

    def __init__(
        self,
        betas: Tensor | Sequence[float],
        set_alpha_to_one: bool = True,
        spacing: str = "leading",
        steps_offset: int = 0,
    ):
        betas = torch.as_tensor(betas).detach().to("cpu", torch.float64).clone()
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas.shape is {tuple(betas.shape)}; allowed: a non-empty vector")
        if not ((betas > 0) & (betas <= 1)).all() or (betas[:-1] == 1).any():
            raise ValueError(
                f"betas is {betas.min():g} to {betas.max():g}; allowed: in (0, 1), the last one in (0, 1]"
            )
        _check_spacing(spacing)
        _check_count("steps_offset", steps_offset, 0, len(betas) - 1)
        self._betas = betas
        self._alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
        self._levels = tuple(self._alphas_cumprod.tolist())
        self._final = 1.0 if set_alpha_to_one else self._levels[0]
        self._spacing, self._steps_offset = spacing, int(steps_offset)
        self._frozen = True

    # The families of betas in use. Names and formulas as in diffusers.

    @classmethod
    def linear(cls, n: int = 1000, start: float = 1e-4, end: float = 0.02, **options) -> NoiseSchedule:
        """Betas evenly spaced from start to end (Ho et al. 2020, section 4)."""
        _check_count("n", n, 1)
        return cls(torch.linspace(start, end, n, dtype=torch.float64), **options)

    @classmethod
    def scaled_linear(
        cls, n: int = 1000, start: float = 0.00085, end: float = 0.012, **options
    ) -> NoiseSchedule:
        """Square roots of betas evenly spaced (Rombach et al. 2022): Stable Diffusion and Still Life."""
        _check_count("n", n, 1)
        if start < 0 or end < 0:
            raise ValueError(f"(start, end) is ({start!r}, {end!r}); allowed: numbers of 0 or more")
        return cls(torch.linspace(start**0.5, end**0.5, n, dtype=torch.float64) ** 2, **options)

    @classmethod
    def cosine(cls, n: int = 1000, max_beta: float = 0.999, **options) -> NoiseSchedule:
        """alpha_bar a squared cosine (Nichol and Dhariwal 2021, eq. 17): diffusers' squaredcos_cap_v2."""
        _check_count("n", n, 1)
        u = torch.arange(n + 1, dtype=torch.float64) / n
        alpha_bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta), **options)

    @classmethod
    def from_config(cls, config: Mapping) -> NoiseSchedule:
        """The schedule that a diffusers scheduler with this config uses (a dict, or the scheduler's
        `.config`).

        Raises ValueError where the config describes no such table: flow matching, EDM, an unknown
        beta_schedule.
        """
        name = config.get("_class_name", "")
        betas, kind = config.get("trained_betas"), config.get("beta_schedule")
        if betas is None and kind is None and name:
            raise ValueError(
                f"config is that of a {name} without a beta_schedule; allowed: a chain of noise variances"
            )
        n = config.get("num_train_timesteps", 1000)
        start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
        options = {
            "set_alpha_to_one": config.get("set_alpha_to_one", True),
            "spacing": config.get("timestep_spacing", "leading"),
            "steps_offset": config.get("steps_offset", 0),
        }
        if betas is not None:
            schedule = cls(betas, **options)
        elif kind in ("linear", None):
            schedule = cls.linear(n, start, end, **options)
        elif kind == "scaled_linear":
            schedule = cls.scaled_linear(n, start, end, **options)
        elif kind == "squaredcos_cap_v2":
            schedule = cls.cosine(n, **options)
        else:
            raise ValueError(
                f"beta_schedule is {kind!r}; allowed: 'linear', 'scaled_linear' or 'squaredcos_cap_v2'"
            )
        return schedule.with_zero_terminal_snr() if config.get("rescale_betas_zero_snr", False) else schedule

    def with_zero_terminal_snr(self) -> NoiseSchedule:
        """The same schedule, moved so that the last alpha_bar is 0 (Lin et al. 2023, algorithm 1)."""
        root = self._alphas_cumprod.sqrt()
        first, last = root[0].clone(), root[-1].clone()
        alpha_bar = ((root - last) * first / (first - last)) ** 2
        alphas = torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])
        return NoiseSchedule(1 - alphas, self._final == 1.0, self._spacing, self._steps_offset)

    # What is in the table.

    @property
    def betas(self) -> Tensor:
        """(n,) float64."""
        return self._betas.clone()

    @property
    def alphas(self) -> Tensor:
        """(n,) float64, 1 - betas."""
        return 1.0 - self._betas

    @property
    def alphas_cumprod(self) -> Tensor:
        """(n,) float64, alpha_bar."""
        return self._alphas_cumprod.clone()

    @property
    def snr(self) -> Tensor:
        """(n,) float64, signal-to-noise ratio alpha_bar / (1 - alpha_bar)."""
        return self._alphas_cumprod / (1.0 - self._alphas_cumprod)

    @property
    def final_alpha_cumprod(self) -> float:
        """alpha_bar behind DDIM's last step."""
        return self._final

    @property
    def num_train_timesteps(self) -> int:
        return len(self._levels)

    @property
    def spacing(self) -> str:
        return self._spacing

    @property
    def steps_offset(self) -> int:
        return self._steps_offset

    def alpha_bar(self, t: int) -> float:
        """alpha_bar at timestep t in [0, num_train_timesteps)."""
        if not 0 <= t < len(self._levels):
            raise ValueError(f"t is {t!r}; allowed: in [0, {len(self._levels)})")
        return self._levels[int(t)]

    def alpha_bars(self, t: Tensor) -> Tensor:
        """alpha_bar at timesteps t, integers of any shape on the CPU: float64, same shape."""
        if t.is_floating_point() or not ((t >= 0) & (t < len(self._levels))).all():
            raise ValueError(f"t is {t.tolist()!r}; allowed: integers in [0, {len(self._levels)})")
        return self._alphas_cumprod[t]

    def add_noise(self, x_0: Tensor, eps: Tensor, t: int | Tensor) -> Tensor:
        """A draw of q(x_t | x_0) in one step, without walking the chain (Ho et al. 2020, eq. 4).

        x_0 and eps are (B, ...); t is a timestep or (B,) timesteps.
        """
        t = torch.as_tensor(t, device="cpu")
        if x_0.shape != eps.shape:
            raise ValueError(f"eps.shape is {tuple(eps.shape)}; allowed: that of x_0, {tuple(x_0.shape)}")
        if ((t < 0) | (t >= len(self._levels))).any():
            raise ValueError(f"t is {t.tolist()!r}; allowed: in [0, {len(self._levels)})")
        alpha_bar = self._alphas_cumprod[t].reshape(-1, *[1] * (x_0.ndim - 1))
        signal, noise = alpha_bar.sqrt().to(x_0), (1 - alpha_bar).sqrt().to(x_0)
        return signal * x_0 + noise * eps

    # Which of the levels a sampler visits.

    def timesteps(
        self, num_inference_steps: int, spacing: str | None = None, steps_offset: int | None = None
    ) -> Tensor:
        """(num_inference_steps,) int64, descending: diffusers' choice (Lin et al. 2023, table 2).

        "leading" is 0, k, 2k, ... with k = num_train_timesteps // num_inference_steps and misses the noisiest
        levels (all above n, for n more than half the table), "trailing" begins at the noisiest one,
        "linspace" has both ends. steps_offset shifts "leading" only. Two corners differ from diffusers,
        which fails in both: an offset that would leave the table is cut back (1000 steps with offset 1), and
        rounding never adds a step to "trailing" (61 steps).

        Raises ValueError for steps outside [1, num_train_timesteps], an unknown spacing, a negative offset.
        """
        spacing = self._spacing if spacing is None else spacing
        offset = self._steps_offset if steps_offset is None else steps_offset
        n, total = num_inference_steps, len(self._levels)
        _check_count("num_inference_steps", n, 1, total)
        _check_count("steps_offset", offset, 0, total - 1)
        _check_spacing(spacing)
        if spacing == "leading":
            ascending = np.arange(n) * (total // n)
            ascending = ascending + min(offset, total - 1 - ascending[-1])
            steps = ascending[::-1]
        elif spacing == "linspace":
            steps = np.linspace(0, total - 1, n).round()[::-1]
        else:
            steps = np.arange(total, 0, -total / n)[:n].round() - 1
        return torch.from_numpy(steps.astype(np.int64))

    def transitions(
        self,
        num_inference_steps: int,
        spacing: str | None = None,
        steps_offset: int | None = None,
        previous: str = "stride",
    ) -> tuple[Transition, ...]:
        """The steps of a sampler, from the noisiest down.

        previous = "stride" is diffusers' DDIM: s = t - num_train_timesteps // num_inference_steps, and
        `final_alpha_cumprod` below zero. previous = "grid" is diffusers' DDPM and its ODE solvers: s is the
        next timestep of the list, and alpha_bar_s = 1 at the end. With "leading" they differ in the last
        level only; with "linspace", and with "trailing" where the number of steps does not divide the table,
        "stride" lands beside the next timestep.
        """
        if previous not in ("stride", "grid"):
            raise ValueError(f"previous is {previous!r}; allowed: 'stride' or 'grid'")
        steps = self.timesteps(num_inference_steps, spacing, steps_offset).tolist()
        if previous == "grid":
            ends, final = [*steps[1:], None], 1.0
        else:
            stride = len(self._levels) // num_inference_steps
            ends, final = [t - stride if t >= stride else None for t in steps], self._final
        return tuple(
            Transition(t, s, self._levels[t], final if s is None else self._levels[s])
            for t, s in zip(steps, ends, strict=True)
        )

    def __setattr__(self, name: str, value) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"NoiseSchedule is immutable, {name} cannot be set")
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NoiseSchedule):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return self._levels, self._final, self._spacing, self._steps_offset

    def __repr__(self) -> str:
        return (
            f"NoiseSchedule({len(self._levels)} timesteps, "
            f"alpha_bar {self._levels[0]:.5f} ... {self._levels[-1]:.3g}, "
            f"final {self._final:.5f}, {self._spacing!r}, offset {self._steps_offset})"
        )


@dataclass(frozen=True)
class FlowSchedule:
    """The noise levels of a straight-line flow, with the face of a `NoiseSchedule`, so that samplers take either.

    A flow goes from the picture to the noise along x = (1 - sigma) x_0 + sigma eps, sigma from 0 to 1 (Liu et al.
    2022; Esser et al. 2024). Divided by c = sqrt((1 - sigma)^2 + sigma^2) that is our x_t, at the level

        alpha_bar = (1 - sigma)^2 / ((1 - sigma)^2 + sigma^2),

    so a step of DDIM, or of Euler's method, from one level to the next is Euler's step in sigma on the flow. The
    timestep t is the one that the network is told, num_train_timesteps times sigma, and need not be whole.

    **Pure noise.** At sigma = 1, alpha_bar is 0, and there eps says nothing about x_0. Samplers ask for eps, so
    their first step is taken a hair below: at sigma = 0.999, or half-way to the second level where that is nearer.
    Two errors meet there. Pure noise, from which a walk starts, lacks the thousandth of a picture that x has at that
    level; and in float32 the way from eps back to x_0 loses about 6e-8 / (1 - sigma) of x_t. Nearer to 1 the first
    shrinks and the second grows. The network is asked about the level itself, and v or the velocity at sigma = 1
    remain at hand for a step of one's own (`samplers.ddim_step_v`, `predictions`).

    **Which time.** Heun's method averages two slopes, and on a flow it does so in sigma (`samplers.heun_step`): in
    u = sigma / (1 - sigma), EDM's time, the first step from sigma = 0.999 is nearly all of the way. "euler-u2" works in
    u squared, and with fewer than hundreds of steps it is far off here.

    Args:
        shift: of the levels that a sampler visits, sigma -> shift sigma / (1 + (shift - 1) sigma), as diffusers'
            option of that name; above 1 more of the steps are taken near pure noise.
        num_train_timesteps: what sigma = 1 would have for its timestep, and the length of the table.
        spacing: what `timesteps` uses unless told otherwise.

    Raises ValueError for a shift that is not positive, fewer than two timesteps, an unknown spacing.
    """

    shift: float = 1.0
    num_train_timesteps: int = 1000
    spacing: str = "trailing"

    SIGMA_MAX: ClassVar[float] = 0.999  # where a walk starts in place of 1
    time: ClassVar[str] = "sigma"
    steps_offset: ClassVar[int] = 1  # level 0 is the picture itself: there is nothing to predict
    final_alpha_cumprod: ClassVar[float] = 1.0

    def __post_init__(self):
        object.__setattr__(self, "shift", _check_shift(self.shift))
        _check_count("num_train_timesteps", self.num_train_timesteps, 2)
        _check_spacing(self.spacing)

    @classmethod
    def from_config(cls, config: Mapping) -> FlowSchedule:
        """The schedule that diffusers' FlowMatchEulerDiscreteScheduler with this config uses.

        Raises ValueError for another class of scheduler and for options that bend the levels in other ways.
        """
        name = config.get("_class_name", "FlowMatchEulerDiscreteScheduler")
        if name != "FlowMatchEulerDiscreteScheduler":
            raise ValueError(f"scheduler is {name!r}; allowed: FlowMatchEulerDiscreteScheduler")
        for key in (
            "use_dynamic_shifting",
            "shift_terminal",
            "use_karras_sigmas",
            "use_exponential_sigmas",
            "use_beta_sigmas",
            "invert_sigmas",
            "stochastic_sampling",
        ):
            if config.get(key):
                raise ValueError(f"scheduler {key} is {config[key]!r}; allowed: none")
        return cls(config.get("shift", 1.0), config.get("num_train_timesteps", 1000))

    # Levels

    def sigma(self, t: float) -> float:
        """The share of noise on the straight line at timestep t in [0, num_train_timesteps)."""
        if not 0 <= t < self.num_train_timesteps:
            raise ValueError(f"t is {t!r}; allowed: from 0 to below {self.num_train_timesteps}")
        return float(t) / self.num_train_timesteps

    def alpha_bar(self, t: float) -> float:
        """(1 - sigma)^2 / ((1 - sigma)^2 + sigma^2) at timestep t in [0, num_train_timesteps)."""
        return _share(self.sigma(t))

    def alpha_bars(self, t: Tensor) -> Tensor:
        """alpha_bar at timesteps t of any shape and dtype: float64, same shape."""
        t = torch.as_tensor(t, dtype=torch.float64, device="cpu")
        if not ((t >= 0) & (t < self.num_train_timesteps)).all():
            raise ValueError(f"t is {t.tolist()!r}; allowed: from 0 to below {self.num_train_timesteps}")
        return _share(t / self.num_train_timesteps)

    @property
    def alphas_cumprod(self) -> Tensor:
        """(num_train_timesteps,) float64, alpha_bar at the whole timesteps; 1 at timestep 0."""
        return self.alpha_bars(torch.arange(self.num_train_timesteps))

    @property
    def alphas(self) -> Tensor:
        """(num_train_timesteps,) float64, alpha_bar over the one before; 1 at timestep 0."""
        a = self.alphas_cumprod
        return torch.cat([a[:1], a[1:] / a[:-1]])

    @property
    def betas(self) -> Tensor:
        """(num_train_timesteps,) float64, 1 - alphas: the chain of noise variances with the same levels."""
        return 1.0 - self.alphas

    @property
    def snr(self) -> Tensor:
        """(num_train_timesteps,) float64, ((1 - sigma) / sigma)^2, infinite at timestep 0."""
        a = self.alphas_cumprod
        return a / (1.0 - a)

    def add_noise(self, x_0: Tensor, eps: Tensor, t: float | Tensor) -> Tensor:
        """sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps at timestep t or (B,) timesteps; x_0 and eps are (B, ...)."""
        if x_0.shape != eps.shape:
            raise ValueError(allowed("eps.shape", tuple(eps.shape), f"that of x_0, {tuple(x_0.shape)}"))
        alpha_bar = self.alpha_bars(t).reshape(-1, *[1] * (x_0.ndim - 1))
        return alpha_bar.sqrt().to(x_0) * x_0 + (1 - alpha_bar).sqrt().to(x_0) * eps

    # Which of the levels a sampler visits

    def sigmas(
        self, num_inference_steps: int, spacing: str | None = None, steps_offset: int | None = None
    ) -> Tensor:
        """(num_inference_steps,) float64, descending: the levels before the hair's breadth at sigma = 1.

        "trailing" is 1, 1 - 1/n, ... 1/n, shifted: what diffusers' FLUX pipeline hands to its scheduler. "linspace"
        is what the scheduler does when only the number of steps is given: even from its greatest level to its least,
        then shifted; the least one is shifted already, so it is shifted twice. "leading" is
        steps_offset, steps_offset + k, ... with k = num_train_timesteps // n, as in `NoiseSchedule.timesteps`, then
        shifted; it begins well below pure noise, and a flow gains nothing from that.

        Raises ValueError for steps outside [1, num_train_timesteps], an unknown spacing, an offset below 1.
        """
        spacing = self.spacing if spacing is None else spacing
        offset = self.steps_offset if steps_offset is None else steps_offset
        n, total = num_inference_steps, self.num_train_timesteps
        _check_count("num_inference_steps", n, 1, total)
        _check_count("steps_offset", offset, 1, total - 1)
        _check_spacing(spacing)
        if spacing == "leading":
            ascending = torch.arange(n, dtype=torch.float64) * (total // n)
            sigma = (ascending + min(offset, total - int(ascending[-1]))).flip(0) / total
        elif spacing == "linspace":
            sigma = torch.linspace(1.0, self._shifted(1 / total), n, dtype=torch.float64)
        else:
            sigma = torch.arange(n, 0, -1, dtype=torch.float64) / n
        return self._shifted(sigma)

    def timesteps(
        self, num_inference_steps: int, spacing: str | None = None, steps_offset: int | None = None
    ) -> Tensor:
        """(num_inference_steps,) float64, descending: `sigmas` times num_train_timesteps, the first one below 1."""
        sigma = self.sigmas(num_inference_steps, spacing, steps_offset)
        if sigma[0] > self.SIGMA_MAX:
            second = float(sigma[1]) if len(sigma) > 1 else 0.0
            sigma[0] = max(self.SIGMA_MAX, (float(sigma[0]) + second) / 2)
        return sigma * self.num_train_timesteps

    def transitions(
        self,
        num_inference_steps: int,
        spacing: str | None = None,
        steps_offset: int | None = None,
        previous: str = "grid",
    ) -> tuple[Transition, ...]:
        """The steps of a sampler, from the noisiest down: each ends where the next begins, the last at alpha_bar = 1.

        previous, which tells a `NoiseSchedule` how DDIM strides through its table, makes no difference here.
        """
        if previous not in ("stride", "grid"):
            raise ValueError(allowed("previous", previous, "'stride' or 'grid'"))
        steps = self.timesteps(num_inference_steps, spacing, steps_offset).tolist()
        ends = [*((s, self.alpha_bar(s)) for s in steps[1:]), (None, 1.0)]
        return tuple(Transition(t, s, self.alpha_bar(t), a) for t, (s, a) in zip(steps, ends, strict=True))

    def _shifted(self, sigma):
        return self.shift * sigma / (self.shift * sigma + (1 - sigma))  # so written, 1 stays 1


def path(alpha_bars: Sequence[float]) -> tuple[Transition, ...]:
    """Transitions through given levels, for denoisers that are asked about alpha_bar itself, as mixtures are.

    alpha_bars: at least two levels in (0, 1]. Ascending goes from noise to data, descending inverts.
    """
    levels = [float(a) for a in alpha_bars]
    if len(levels) < 2 or not all(0 < a <= 1 for a in levels):
        raise ValueError(f"alpha_bars is {levels!r}; allowed: at least two levels in (0, 1]")
    return tuple(Transition(t, s, t, s) for t, s in zip(levels, levels[1:], strict=False))


def _check_shift(shift: float) -> float:
    number = isinstance(shift, Real) and not isinstance(shift, bool)
    if not number or not math.isfinite(shift) or shift <= 0:
        raise ValueError(f"shift is {shift!r}; allowed: a finite number above 0")
    return float(shift)


def _share(sigma):
    """(1 - sigma)^2 / ((1 - sigma)^2 + sigma^2), the same digits for a number as for a tensor."""
    signal = 1 - sigma
    return signal * signal / (signal * signal + sigma * sigma)


def _check_spacing(spacing: str) -> None:
    if spacing not in SPACINGS:
        raise ValueError(f"spacing is {spacing!r}; allowed: {', '.join(map(repr, SPACINGS))}")


def _check_count(name: str, value: int, low: int, high: int | None = None) -> None:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        range_ = f"at least {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(allowed(name, value, f"an integer {range_}"))
