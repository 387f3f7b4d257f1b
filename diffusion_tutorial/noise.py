"""Seeded Gaussian noise, the same bits in Python and in JavaScript.

Two steps, both chosen so that any language with IEEE doubles gets the same float32:

1. Threefry-2x32-20 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a key and a
   counter into two 32-bit words by additions, rotations and xors alone. It has no state, so image i of a
   batch does not depend on how many images come before it.
2. Box-Muller (1958) turns the two words into two independent normal numbers. `log`, `sin` and `cos` of a
   library may differ in the last bit from machine to machine, so they are written out here with + - * / and
   sqrt, which IEEE 754 rounds in one way only.

The mirror is `playground/src/noise.mjs`; a test compares the two bit for bit.

What is counted how:

    key      (seed, stream)     stream 0 is the initial noise, stream k + 1 the noise that step k adds
    counter  (pair, image)      numbers 2 * pair and 2 * pair + 1 of that image, in C order
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

_LIMIT = 2**32
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def gaussian(shape: Sequence[int], seed: int, stream: int = 0, first: int = 0) -> Tensor:
    """Standard normal noise of `shape` (B, ...), float32 on the CPU.

    Image i depends on `seed`, `stream` and `first + i` only, never on B: a large batch may be cut into small
    ones by moving `first`. Raises ValueError unless seed, stream and first + B are integers in [0, 2**32).
    """
    u, v = _words(shape, seed, stream, first)
    x, y = _box_muller(u, v)
    return torch.from_numpy(_interleave(x, y, shape).astype(np.float32))


def uniform(shape: Sequence[int], seed: int, stream: int = 0, first: int = 0) -> Tensor:
    """Uniform numbers in the open interval (0, 1), float64, `shape` (B, ...); addressed as in `gaussian`."""
    u, v = _words(shape, seed, stream, first)
    return torch.from_numpy((_interleave(u, v, shape) + 0.5) / _LIMIT)


def step_noise(shape: Sequence[int], seed: int, first: int = 0) -> Callable[[int], Tensor]:
    """The noise source of a sampler: a function from the step's index k to `gaussian` of stream k + 1."""
    _check_integer("seed", seed)
    return lambda step: gaussian(shape, seed, stream=step + 1, first=first)


def threefry(key: tuple[int, int], counter: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32 with 20 rounds: two uint32 arrays of the counters' common shape."""
    k = [np.uint32(key[0]), np.uint32(key[1])]
    k.append(k[0] ^ k[1] ^ np.uint32(_PARITY))
    with np.errstate(over="ignore"):  # arithmetic modulo 2**32 is the method, not an accident
        a, b = counter[0] + k[0], counter[1] + k[1]
        for block in range(5):
            for r in _ROTATIONS[block % 2]:
                a = a + b
                b = (b << np.uint32(r) | b >> np.uint32(32 - r)) ^ a
            a = a + k[(block + 1) % 3]
            b = b + k[(block + 2) % 3] + np.uint32(block + 1)
    return a, b


def _words(shape: Sequence[int], seed: int, stream: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Two words for each pair of numbers, (B, pairs) each."""
    shape = tuple(shape)
    if not shape or any(not isinstance(n, (int, np.integer)) or n < 0 for n in shape):
        raise ValueError(f"shape is {shape!r}; allowed: at least one size, each an integer >= 0")
    for name, value in (
        ("seed", seed),
        ("stream", stream),
        ("first", first),
        ("first + B", first + shape[0]),
    ):
        _check_integer(name, value)
    numbers = math.prod(shape[1:])
    pair = np.arange((numbers + 1) // 2, dtype=np.uint32)[None, :]
    image = np.arange(first, first + shape[0], dtype=np.uint32)[:, None]
    pair, image = np.broadcast_arrays(pair, image)
    return threefry((seed, stream), (pair, image))


def _interleave(x: np.ndarray, y: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """(B, pairs) twice to `shape`: x0 y0 x1 y1 ..., without the spare number of an odd count."""
    batch, pairs = x.shape
    numbers = np.stack((x, y), axis=-1).reshape(batch, 2 * pairs)[:, : math.prod(tuple(shape)[1:])]
    return np.ascontiguousarray(numbers).reshape(tuple(shape))


def _box_muller(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two words to two normal numbers in float64. The half keeps the logarithm finite: |x| < 6.77."""
    radius = np.sqrt(-2.0 * _log((u + 0.5) / _LIMIT))
    # The top two bits of v choose the signs, the other thirty an angle in the open first quadrant: together a
    # uniform direction, without reducing an angle modulo pi.
    quarter = ((v & np.uint32(0x3FFFFFFF)) + 0.5) / 2**30
    cos, sin = _cos_sin(quarter)
    x = np.where(v & np.uint32(0x80000000), -radius * cos, radius * cos)
    y = np.where(v & np.uint32(0x40000000), -radius * sin, radius * sin)
    return x, y


# The coefficients are written as divisions so that both languages round them alike.
_LN2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476
_HALF_PI = 1.5707963267948966
_ATANH = [1.0 / (2 * k + 1) for k in range(12)]
_SIN = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(10)]
_COS = [(-1.0) ** k / math.factorial(2 * k) for k in range(10)]


def _horner(coefficients: list[float], x: np.ndarray) -> np.ndarray:
    result = np.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result * x + c
    return result


def _log(x: np.ndarray) -> np.ndarray:
    """Natural logarithm of x in (0, 1): x = m 2**e with m in [sqrt 1/2, sqrt 2), then ln m = 2 artanh z."""
    m, e = np.frexp(x)  # exact; m in [1/2, 1)
    low = m < _SQRT_HALF
    m, e = np.where(low, 2.0 * m, m), np.where(low, e - 1, e)
    z = (m - 1.0) / (m + 1.0)  # |z| < 0.172, so twelve terms of the series leave less than 1e-18
    return e * _LN2 + 2.0 * z * _horner(_ATANH, z * z)


def _cos_sin(quarter: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of quarter * pi / 2 for quarter in (0, 1), by Taylor's series about pi / 4."""
    d = (quarter - 0.5) * _HALF_PI
    c, s = _horner(_COS, d * d), d * _horner(_SIN, d * d)
    return (c - s) * _SQRT_HALF, (c + s) * _SQRT_HALF


def _check_integer(name: str, value: int) -> None:
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, np.integer))
        or not 0 <= value < _LIMIT
    ):
        raise ValueError(f"{name} is {value!r}; allowed: an integer in [0, 2**32)")
