"""A pipeline's network that answers for every branch of a guidance rule, and in parts where a batch is large.

A pipeline that runs its own loop asks its network once a step and combines the answers itself. Here its own guidance is
switched off; the network's `forward` is replaced for one run, asks the real one about each branch that the rule needs,
and hands back what the rule makes of the answers. All else, the scheduler's steps included, stays the pipeline's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from functools import partial
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ..guidance import COND, Predictions, Rule, any_kind, guided_x0
from ..samplers import Moment
from ..text_to_image import checked

_SHARED = ("img_ids", "txt_ids")  # inputs of a network that have no row for each picture
_AREA = 64 * 32**2  # positions of one call: 64 rows of 32 x 32 latents, as for our samplers


class Level(NamedTuple):
    """Where a step stands: what the network sees is `seen` (x_t of this package times a factor), x0 = p seen + q out."""

    alpha_bar: float
    factor: float  # x_t = factor * seen
    p: float
    q: float


def level_at(scheduler, step: int) -> Level:
    """The level of a step of a flow, or of an EDM scheduler, from the levels that the scheduler has set itself."""
    sigma = float(scheduler.sigmas[step])
    if hasattr(scheduler, "precondition_outputs"):  # EDM: x = x0 + sigma eps, and the network sees it scaled
        c_in = float(scheduler.precondition_inputs(1.0, sigma))
        p, q = (float(scheduler.precondition_outputs(*pair, sigma)) for pair in ((1.0, 0.0), (0.0, 1.0)))
        return Level(1 / (1 + sigma**2), 1 / (c_in * sqrt(1 + sigma**2)), p / c_in, q)
    size = (1 - sigma) ** 2 + sigma**2
    return Level((1 - sigma) ** 2 / size, 1 / sqrt(size), 1.0, -sigma)


@contextmanager
def answering(module: torch.nn.Module, answer: Callable):
    """`answer(original, *args, **kwargs)` in the place of a module's forward, for a while."""
    had, original = "forward" in module.__dict__, module.forward
    module.forward = lambda *args, **kwargs: answer(original, *args, **kwargs)
    try:
        yield
    finally:
        if had:
            module.forward = original
        else:
            del module.forward


def in_parts(original: Callable, *args, **kwargs):
    """What `original` answers, asked about at most as many rows at once as `_AREA` allows."""
    state = args[0] if args else kwargs.get("hidden_states", kwargs.get("sample"))
    rows = len(state)
    if state.ndim == 4:
        area = state.shape[2] * state.shape[3]
    else:  # packed latents hold 2 x 2 positions in each; a vector is one
        area = 4 * state.shape[1] if state.ndim == 3 else 1
    most = min(max(_AREA // area, 1), 64)
    if rows <= most:
        return original(*args, **kwargs)
    found = []
    for start in range(0, rows, most):
        take = partial(_rows, slice(start, start + most))
        some = [_of_rows(value, "", rows, take) for value in args]
        named = {name: _of_rows(value, name, rows, take) for name, value in kwargs.items()}
        found.append(original(*some, **named))
    if isinstance(found[0], tuple):
        return tuple(torch.cat(column) for column in zip(*found, strict=True))
    return type(found[0])(**{name: torch.cat([one[name] for one in found]) for name in found[0]})


def _rows(part: slice, value: Tensor) -> Tensor:
    return value[part]


def _of_rows(value, name: str, rows: int, change: Callable):
    """`change` of every tensor with a row for each picture, in a value that a network is given."""
    if isinstance(value, Mapping):
        return {key: _of_rows(inner, key, rows, change) for key, inner in value.items()}
    batched = isinstance(value, Tensor) and value.ndim and len(value) == rows and name not in _SHARED
    return change(value) if batched else value


class Guided:
    """The network's answers under a rule, for one run: a function for `answering`.

    Args:
        rule: the guidance rule.
        conditions: branch -> inputs of the network that stand for its text, a row a picture; the prompt's own come
            with the call.
        scheduler: whose levels the steps are at.
        step: () -> the number of steps that are done.
        unpacked, packed: between the network's layout of a state and (B, C, h, w).
    """

    def __init__(
        self,
        rule: Rule,
        conditions: Mapping[str, Mapping],
        scheduler,
        step: Callable[[], int],
        unpacked: Callable[[Tensor], Tensor],
        packed: Callable[[Tensor], Tensor],
    ):
        self.rule, self.conditions, self.scheduler, self.step = rule, conditions, scheduler, step
        self.unpacked, self.packed = unpacked, packed
        self.rows = 0
        self.memory: dict = {}  # of the run, for rules with momentum

    def __call__(self, original: Callable, *args, **kwargs) -> tuple[Tensor]:
        done, plan = self.step(), self.scheduler.timesteps
        level = level_at(self.scheduler, done)
        moment = Moment(done, len(plan), float(plan[done]), level.alpha_bar)
        branches = tuple(self.rule.needs(moment)) or (COND,)  # the pipeline asks, whatever the rule needs
        seen = args[0] if args else kwargs["hidden_states"]
        rows, times = len(seen), len(branches)
        self.rows += rows * times
        texts = [kwargs if branch == COND else self.conditions[branch] for branch in branches]
        names = next((set(t) for t in self.conditions.values()), set())
        joined = {
            name: _joined([text[name] for text in texts], kwargs[name]) for name in names
        }  # the same inputs for every branch, in the order of the branches

        def repeated(value: Tensor) -> Tensor:
            return torch.cat([value] * times)

        some = [_of_rows(value, "", rows, repeated) for value in args]
        rest = {n: _of_rows(v, n, rows, repeated) for n, v in kwargs.items() if n not in names}
        out = original(*some, **rest, **joined)[0]
        predictions = dict(zip(branches, out.chunk(times), strict=True))
        return (self._combined(predictions, seen, level, moment).to(out.dtype),)

    def _combined(self, out: Mapping[str, Tensor], seen: Tensor, level: Level, moment: Moment) -> Tensor:
        out = {branch: value.float() for branch, value in out.items()}
        if any_kind(self.rule):
            x_t = level.factor * seen.float()
            return checked(self.rule, out, self.rule(Predictions(out, x_t, self.memory), moment), x_t, moment)
        state = self.unpacked(seen).double()
        x0 = {b: level.p * state + level.q * self.unpacked(value).double() for b, value in out.items()}
        guided = guided_x0(self.rule, x0, level.factor * state, moment, self.memory)
        answer = self.packed((guided - level.p * state) / level.q)
        return checked(self.rule, out, answer, seen, moment)


def _joined(values: list, own):
    """The branches' inputs of one name, one under the other; what is no text in a mapping stays the call's own."""
    if isinstance(own, Mapping):
        return {
            key: torch.cat([value.get(key, inner) for value in values])
            if isinstance(inner, Tensor)
            else inner
            for key, inner in own.items()
        }
    return torch.cat([value.to(own) for value in values])
