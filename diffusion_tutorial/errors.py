"""Errors that say what is wrong: the argument, its value, and what is allowed. All are ValueErrors."""

from __future__ import annotations

import math
import numbers


class PromptError(ValueError):
    """A prompt that the model cannot read: empty, too long, or not text."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded: unknown, incomplete, altered, gated, or not to be had offline."""


class UnsupportedModelError(CheckpointError):
    """A checkpoint that this package cannot sample: its pipeline, component or scheduler class."""


def allowed(name: str, value: object, what: str) -> str:
    """The message of every bad argument: "steps is 0; allowed: 1 to 1000"."""
    return f"{name} is {value!r}; allowed: {what}"


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int. Raises ValueError unless it is an integer (no bool) from low to high."""
    what = f"an integer from {low} to {high}" if high is not None else f"an integer of {low} or more"
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        raise ValueError(allowed(name, value, what))
    return int(value)


def check_number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float. Raises ValueError unless it is a finite number from low to high."""
    what = "a finite number" if math.isinf(low) and math.isinf(high) else f"a number from {low:g} to {high:g}"
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(allowed(name, value, what))
    return float(value)


def check_choice(name: str, value: object, choices) -> str:
    """`value` itself. Raises ValueError unless it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(allowed(name, value, ", ".join(repr(c) for c in choices)))
    return value
