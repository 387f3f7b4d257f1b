"""The same samplers on a mixture in the plane: where points go, and how far from the data they end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..mixtures import GaussianMixture, sliced_wasserstein, tiny
from ..noise import gaussian, step_noise
from ..plots import path_picture
from ..samplers import SAMPLERS, trajectory
from ..schedules import NoiseSchedule
from ..words import say
from .base import LiveWidget, Shown, picture_page
from .sampler import sampler_controls


@dataclass(frozen=True)
class MixtureSettings:
    """What one run is made with."""

    sampler: str
    num_inference_steps: int
    eta: float
    spacing: str
    seed: int

    def label(self) -> str:
        """The settings in one line."""
        return say(
            "{steps} steps of {title}{eta}, {spacing}, seed {seed}",
            steps=self.num_inference_steps,
            title=SAMPLERS[self.sampler].title,
            eta=say(" with eta {eta}", eta=f"{self.eta:g}") if self.eta else "",
            spacing=self.spacing,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Paths(Shown):
    """`Shown`, with where the points were: (N, 2) at the start and after each step."""

    positions: tuple[Tensor, ...] = ()
    distance: float = 0.0
    nfe: int = 0


class MixtureWidget(LiveWidget):
    """See `mixture_widget`. The controls are attributes: sampler, steps, eta, spacing, seed."""

    def __init__(
        self,
        mixture: GaussianMixture | None = None,
        schedule: NoiseSchedule | None = None,
        sampler: str = "ddim",
        steps: int = 20,
        eta: float = 0.0,
        spacing: str = "trailing",
        seed: int = 0,
        points: int = 300,
        delay: float = 0.05,
    ):
        self.mixture = tiny.ring() if mixture is None else mixture
        self.schedule = NoiseSchedule.linear() if schedule is None else schedule
        if self.mixture.dim != 2:
            raise ValueError(f"mixture has {self.mixture.dim} dimensions; allowed: 2")
        self.points = points
        most = min(100, self.schedule.num_train_timesteps)
        super().__init__(sampler_controls(sampler, steps, eta, spacing, seed, most), delay)

    def _settings(self, values: dict) -> MixtureSettings:
        eta = values["eta"] if values["sampler"] == "ddim" else 0.0
        return MixtureSettings(values["sampler"], values["steps"], eta, values["spacing"], values["seed"])

    def _adjust(self) -> None:
        self.eta.disabled = self.sampler.value != "ddim"

    def _make(self, settings: MixtureSettings, callback) -> Paths | None:
        x = gaussian((self.points, 2), settings.seed).double()
        positions, nfe = [x], 0
        for step in trajectory(
            self.mixture.denoiser(self.schedule),
            x,
            self.schedule,
            settings.num_inference_steps,
            settings.sampler,
            settings.eta,
            step_noise(x.shape, settings.seed),
            settings.spacing,
        ):
            positions.append(step.x_s)
            nfe = step.nfe
            if callback(step.index, settings.num_inference_steps, step) is False:
                return None
        distance = sliced_wasserstein(positions[-1], self.mixture, projections=16)
        floor = sliced_wasserstein(
            self.mixture.sample(self.points, settings.seed), self.mixture, projections=16
        )
        label = settings.label()
        alt = say(
            "Paths of {points} points from noise to a density of blobs, {label}. Six of them are in colour, with a "
            "ring where they start and a dot where they end.",
            points=self.points,
            label=label,
        )
        picture = path_picture(positions, self.mixture.log_prob)
        page = picture_page(
            say(
                "{label}. {nfe} evaluations of the denoiser. Distance of the {points} ends from the data: {distance}; "
                "of as many points drawn from the data itself: {floor}.",
                label=label,
                nfe=nfe,
                points=self.points,
                distance=f"{distance:.2f}",
                floor=f"{floor:.2f}",
            ),
            (picture, alt),
        )
        return Paths(settings, page, label, "", tuple(positions), distance, nfe)


def mixture_widget(mixture: GaussianMixture | None = None, **settings) -> MixtureWidget:
    """Controls for sampler, steps, eta, spacing and seed, and the paths that points in the plane take from noise
    to a mixture under its perfect denoiser.

    mixture: in the plane, by default the six blobs of `tiny.ring`. settings: schedule (by default DDPM's 1000
    linear steps), the controls' first values (sampler, steps, eta, spacing, seed), points (how many) and delay
    (seconds of quiet before a run starts). The distance in the label is sliced Wasserstein of order 2.
    """
    return MixtureWidget(mixture, **settings)
