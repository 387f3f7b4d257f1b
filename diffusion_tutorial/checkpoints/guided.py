"""A pipeline's network that answers for every branch of a guidance rule, and in parts where a batch is large.

A pipeline that runs its own loop asks its network once a step and combines the answers itself. Here its own guidance is
switched off; the network's `forward` is replaced for one run, asks the real one about each branch that the rule needs,
and hands back what the rule makes of the answers. All else, the scheduler's steps included, stays the pipeline's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ..guidance import COND, Predictions, Rule, any_kind, guided_x0
from ..samplers import Moment
from ..text_to_image import checked

_SHARED = ("img_ids", "txt_ids")  # inputs of a network that, as tables, have no row for each picture
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


def state_of(args: Sequence, kwargs: Mapping):
    """What a network is asked about, among the inputs of its call: its first one, by one of three names."""
    return args[0] if args else next(kwargs[n] for n in ("hidden_states", "sample", "x") if n in kwargs)


def in_parts(original: Callable, *args, **kwargs):
    """What `original` answers, asked about at most as many rows at once as `_AREA` allows."""
    state = state_of(args, kwargs)
    rows = len(state)
    if isinstance(state, list):  # a tensor (C, 1, h, w) a picture
        area = state[0].shape[-2] * state[0].shape[-1]
    elif state.ndim == 4:
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
        return tuple(_whole(column) for column in zip(*found, strict=True))
    return type(found[0])(**{name: torch.cat([one[name] for one in found]) for name in found[0]})


def _rows(part: slice, value):
    return value[part]


def _whole(parts):
    """Rows under rows, of tensors or of lists with a tensor a row."""
    return sum(parts, []) if isinstance(parts[0], list) else torch.cat(list(parts))


def _of_rows(value, name: str, rows: int, change: Callable):
    """`change` of every tensor, or list, with a row for each picture, in a value that a network is given."""
    if isinstance(value, Mapping):
        return {key: _of_rows(inner, key, rows, change) for key, inner in value.items()}
    if isinstance(value, list) and len(value) == rows:
        return change(value)
    if not isinstance(value, Tensor) or value.ndim == 0 or (name in _SHARED and value.ndim == 2):
        return value
    return change(value) if len(value) == rows else value


class Guided:
    """The network's answers under a rule, for one run: a function for `answering`.

    Args:
        rule: the guidance rule.
        conditions: branch -> inputs of the network that stand for its text, a row a picture; the prompt's own come
            with the call.
        scheduler: whose levels the steps are at.
        step: () -> the number of steps that are done.
        unpacked, packed: between the network's layout of a state and (B, C, h, w).
        names: of the network's inputs, in their order; the first is the state.
        minus: whether the network answers with minus what the scheduler is given.
    """

    def __init__(
        self,
        rule: Rule,
        conditions: Mapping[str, Mapping],
        scheduler,
        step: Callable[[], int],
        unpacked: Callable[[Tensor], Tensor],
        packed: Callable[[Tensor], Tensor],
        names: Sequence[str],
        minus: bool = False,
    ):
        self.rule, self.conditions, self.scheduler, self.step = rule, conditions, scheduler, step
        self.unpacked, self.packed = unpacked, packed
        self.names, self.minus = names, minus
        self.rows = 0
        self.memory: dict = {}  # of the run, for rules with momentum

    def __call__(self, original: Callable, *args, **kwargs) -> tuple[Tensor | list[Tensor]]:
        done, plan = self.step(), self.scheduler.timesteps
        level = level_at(self.scheduler, done)
        level = level._replace(q=-level.q) if self.minus else level
        moment = Moment(done, len(plan), float(plan[done]), level.alpha_bar)
        branches = tuple(self.rule.needs(moment)) or (COND,)  # the pipeline asks, whatever the rule needs
        given = dict(zip(self.names, args)) | kwargs
        seen = given[self.names[0]]
        rows, times = len(seen), len(branches)
        self.rows += rows * times
        texts = [given if branch == COND else self.conditions[branch] for branch in branches]
        inputs = next((set(t) for t in self.conditions.values()), set())
        if all(_alike([text[name] for text in texts]) for name in inputs):
            # the same inputs for every branch, in the order of the branches
            joined = {name: _joined([text[name] for text in texts], given[name]) for name in inputs}

            def repeated(value):
                return _whole([value] * times)

            rest = {n: _of_rows(v, n, rows, repeated) for n, v in given.items() if n not in inputs}
            out = original(**rest, **joined)[0]
        else:  # texts of different lengths, without a mask that would hide what fills them up
            out = _whole([original(**{**given, **{n: text[n] for n in inputs}})[0] for text in texts])
        if isinstance(seen, list):  # a tensor (C, 1, h, w) a picture
            state, out = (torch.stack(part).squeeze(2) for part in (seen, out))
        else:
            state = seen
        predictions = dict(zip(branches, out.chunk(times), strict=True))
        answer = self._combined(predictions, state, level, moment).to(out.dtype)
        return (list(answer.unsqueeze(2)) if isinstance(seen, list) else answer,)

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


def _alike(values: list) -> bool:
    """Whether the branches' inputs of one name can stand under each other."""
    shapes = [v.shape if isinstance(v, Tensor) else None for v in values]
    return all(shape == shapes[0] for shape in shapes)


def _joined(values: list, own):
    """The branches' inputs of one name, one under the other; what is no text in a mapping stays the call's own."""
    if isinstance(own, Mapping):
        return {
            key: torch.cat([value.get(key, inner) for value in values])
            if isinstance(inner, Tensor)
            else inner
            for key, inner in own.items()
        }
    if isinstance(own, list):
        return sum(values, [])
    return None if own is None else torch.cat([value.to(own) for value in values])
