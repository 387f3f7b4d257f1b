"""What a network predicts, in one place: the noise, v, or the velocity of a straight-line flow.

Everywhere in this package x_t = sqrt(a) x0 + sqrt(1 - a) eps, with a short for alpha_bar. A network may answer
with eps or with another mixture of x0 and eps. A row of `PREDICTIONS` pairs what such a network is trained to
give with the way from its answer back to eps and to x0, so that training, sampling and export cannot disagree.

| name | the network sees | it predicts | eps | x0 |
|---|---|---|---|---|
| epsilon | x_t | eps | out | (x_t - sqrt(1 - a) out) / sqrt(a) |
| v_prediction | x_t | sqrt(a) eps - sqrt(1 - a) x0 | sqrt(a) out + sqrt(1 - a) x_t | sqrt(a) x_t - sqrt(1 - a) out |
| flow | c x_t | eps - x0 | c (x_t + sqrt(a) out) | c (x_t - sqrt(1 - a) out) |

with c = 1 / (sqrt(a) + sqrt(1 - a)). A flow is trained on (1 - sigma) x0 + sigma eps, a straight line from the
picture to the noise, whose derivative in sigma is eps - x0. That point is c x_t at the level where
sqrt(1 - a) / sqrt(a) = sigma / (1 - sigma), so it is our x_t in another scale: c sqrt(a) = 1 - sigma and
c sqrt(1 - a) = sigma.

At a = 0 (pure noise) the rows for v and flow still tell x0; epsilon's divides by zero.

Sources: epsilon is Ho et al. 2020, eq. 14. v is Salimans and Ho 2022, appendix D; the flow is Lipman et al. 2022,
Liu et al. 2022 (rectified flow) and Esser et al. 2024 (Stable Diffusion 3). What was opened: the step of
diffusers' DDIMScheduler for epsilon and v and of its FlowMatchEulerDiscreteScheduler for the flow, with which
the tests compare; of the papers on v and flows only the abstracts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import check_choice

Level = (
    Tensor | float
)  # alpha_bar in [0, 1]: a number, or float64 that broadcasts against the tensors beside it


class Prediction(NamedTuple):
    """One kind of answer. Tensors are (B, ...), alpha_bar is a `Level`; results have the dtype of the tensors."""

    name: str  # as in diffusers' `prediction_type`, where it has one
    title: str
    target: Callable[
        [Tensor, Tensor, Level], Tensor
    ]  # (x0, eps, alpha_bar) -> what the network should answer
    to_eps: Callable[[Tensor, Tensor, Level], Tensor]  # (out, x_t, alpha_bar) -> the noise in x_t
    to_x0: Callable[[Tensor, Tensor, Level], Tensor]  # (out, x_t, alpha_bar) -> the picture in x_t
    network_input: Callable[[Tensor, Level], Tensor]  # (x_t, alpha_bar) -> what the network is shown


def _roots(alpha_bar: Level, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar), taken in float64 and then put into the dtype of `like`."""
    a = torch.as_tensor(alpha_bar, dtype=torch.float64)
    return a.sqrt().to(like), (1 - a).sqrt().to(like)


def _scale(alpha_bar: Level, like: Tensor) -> Tensor:
    """c = 1 / (sqrt(alpha_bar) + sqrt(1 - alpha_bar)), between 1 / sqrt(2) and 1; in float64, then as `like`."""
    a = torch.as_tensor(alpha_bar, dtype=torch.float64)
    return (1 / (a.sqrt() + (1 - a).sqrt())).to(like)


def _as_it_is(x_t: Tensor, alpha_bar: Level) -> Tensor:
    return x_t


def _epsilon_target(x0: Tensor, eps: Tensor, alpha_bar: Level) -> Tensor:
    return eps


def _epsilon_to_eps(out: Tensor, x_t: Tensor, alpha_bar: Level) -> Tensor:
    return out


def _epsilon_to_x0(out: Tensor, x_t: Tensor, alpha_bar: Level) -> Tensor:
    signal, noise = _roots(alpha_bar, x_t)
    return (x_t - noise * out) / signal


def _v_target(x0: Tensor, eps: Tensor, alpha_bar: Level) -> Tensor:
    signal, noise = _roots(alpha_bar, x0)
    return signal * eps - noise * x0


def _v_to_eps(out: Tensor, x_t: Tensor, alpha_bar: Level) -> Tensor:
    signal, noise = _roots(alpha_bar, out)
    return signal * out + noise * x_t


def _v_to_x0(out: Tensor, x_t: Tensor, alpha_bar: Level) -> Tensor:
    signal, noise = _roots(alpha_bar, out)
    return signal * x_t - noise * out


def _flow_target(x0: Tensor, eps: Tensor, alpha_bar: Level) -> Tensor:
    return eps - x0


def _flow_to_eps(out: Tensor, x_t: Tensor, alpha_bar: Level) -> Tensor:
    signal, _ = _roots(alpha_bar, out)
    return _scale(alpha_bar, out) * (x_t + signal * out)


def _flow_to_x0(out: Tensor, x_t: Tensor, alpha_bar: Level) -> Tensor:
    _, noise = _roots(alpha_bar, out)
    return _scale(alpha_bar, out) * (x_t - noise * out)


def _flow_input(x_t: Tensor, alpha_bar: Level) -> Tensor:
    return _scale(alpha_bar, x_t) * x_t


PREDICTIONS: dict[str, Prediction] = {
    row.name: row
    for row in (
        Prediction("epsilon", "the noise", _epsilon_target, _epsilon_to_eps, _epsilon_to_x0, _as_it_is),
        Prediction("v_prediction", "v", _v_target, _v_to_eps, _v_to_x0, _as_it_is),
        Prediction("flow", "the velocity", _flow_target, _flow_to_eps, _flow_to_x0, _flow_input),
    )
}


def prediction(name: str) -> Prediction:
    """The row of that name. Raises ValueError with the names that there are."""
    return PREDICTIONS[check_choice("prediction", name, PREDICTIONS)]
