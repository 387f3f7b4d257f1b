"""Errors that say what is wrong: the argument, its value, and what is allowed. All are ValueErrors."""

from __future__ import annotations

import math
import numbers


class PromptError(ValueError):
    """A prompt that the model cannot read: empty, too long, or not text."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded: unknown, incomplete, altered, gated, or not to be had offline."""


class NotFiniteError(ValueError):
    """NaN or infinite numbers where there must be none: in weights, in a prediction, in a picture."""


class UnsupportedModelError(CheckpointError):
    """A checkpoint that this package cannot sample: its pipeline, component or scheduler class."""


def allowed(name: str, value: object, what: str) -> str:
    """The message of every bad argument: "steps is 0; allowed: 1 to 1000". Values of more than 300 signs are cut."""
    try:
        shown = repr(value)
    except ValueError:  # Python prints no integer of more than 4300 digits
        shown = f"{type(value).__name__} of more digits than Python prints"
    shown = shown if len(shown) <= 300 else shown[:297] + "..."
    return f"{name} is {shown}; allowed: {what}"


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
    if not number or not is_finite(value) or not low <= value <= high:
        raise ValueError(allowed(name, value, what))
    return float(value)


def is_finite(value) -> bool:
    """Whether a number is finite as a float: an integer of 400 digits is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_choice(name: str, value: object, choices) -> str:
    """`value` itself. Raises ValueError unless it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(allowed(name, value, ", ".join(repr(c) for c in choices)))
    return value
