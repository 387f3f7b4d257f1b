"""The chapter "Negative prompts": a check for each labelled equation, and none without.

Each check writes the equation out anew, away from the package's own formula, and compares the two, or the equation with
finite differences of a density, or with where samples land.
"""

import ast
import inspect
import textwrap
from math import sqrt
from pathlib import Path

import labels
import pytest
import torch
from diffusers import QwenImagePipeline

from diffusion_tutorial import guidance as g
from diffusion_tutorial.checkpoints.nag import normalized
from diffusion_tutorial.mixtures import Board, GaussianMixture
from diffusion_tutorial.noise import gaussian, uniform

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "negative-prompts.md"
E0, EP, EN, EM = (gaussian((3, 4, 5, 3), seed).double() for seed in (11, 12, 13, 14))
SCALES = (-3.0, 0.0, 0.5, 1.0, 1.5, 4.0, 7.5, 20.0)
BOARD, LEVEL = Board(), 0.35
X = gaussian((40, 2), 15).double()


def close(left, right, tolerance=1e-10):
    torch.testing.assert_close(
        torch.as_tensor(left, dtype=torch.float64), torch.as_tensor(right, dtype=torch.float64),
        rtol=tolerance, atol=tolerance,
    )  # fmt: skip


def gradient(log_density, x, h=1e-5):
    """(B, 2) by central differences."""
    columns = []
    for k in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[k] = h
        columns.append((log_density(x + step) - log_density(x - step)) / (2 * h))
    return torch.stack(columns, 1)


def guess():
    for lp in SCALES:
        for ln in (0.0, 1.0, 3.5):
            close(g.three_branch(E0, EP, EN, lp, ln), E0 + lp * (EP - E0) - ln * (EN - E0))


def used():
    for s in SCALES:
        close(g.negative_prompt(EN, EP, s), EN + s * (EP - EN))


def weights():
    for lp in SCALES:
        for ln in (0.0, 1.0, 3.5):
            close(g.three_branch(E0, EP, EN, lp, ln), (1 - lp + ln) * E0 + lp * EP - ln * EN)
            same = g.three_branch(
                EP, EP, EP, lp, ln
            )  # weights that add up to one keep what all three agree on
            close(same, EP)


def same():
    for s in SCALES:
        for e_0 in (E0, EM):  # whatever the empty prompt says
            close(g.three_branch(e_0, EP, EN, s, s - 1), s * EP - (s - 1) * EN)
        close(g.negative_prompt(EN, EP, s), s * EP - (s - 1) * EN)


def differ():
    for s in SCALES:
        close(g.three_branch(E0, EP, EN, s, s) - g.negative_prompt(EN, EP, s), E0 - EN, 1e-9)


def tilt():
    """The rules' eps is -sqrt(1 - a) times the gradient of the tilted log density, by finite differences."""
    p, n, whole = BOARD.prompt("sphere"), BOARD.prompt("red"), BOARD.whole
    e_0, e_p, e_n = (m.eps(X, LEVEL) for m in (whole, p, n))
    for s, ln in ((2.0, 2.0), (4.0, 1.0), (1.5, 3.0)):
        log_used = lambda x: s * p.log_prob(x, LEVEL) - (s - 1) * n.log_prob(x, LEVEL)  # noqa: E731,B023
        log_guess = lambda x: (  # noqa: E731
            whole.log_prob(x, LEVEL)
            + s * (p.log_prob(x, LEVEL) - whole.log_prob(x, LEVEL))  # noqa: B023
            + ln * (whole.log_prob(x, LEVEL) - n.log_prob(x, LEVEL))  # noqa: B023
        )
        close(g.negative_prompt(e_n, e_p, s), -sqrt(1 - LEVEL) * gradient(log_used, X), 1e-6)
        close(g.three_branch(e_0, e_p, e_n, s, ln), -sqrt(1 - LEVEL) * gradient(log_guess, X), 1e-6)


def bound():
    """Below the ceiling anywhere, at every level; and no ceiling for a negative."""
    far = 12 * (uniform((4000, 2), 16) - 0.5)
    for text in ("sphere", "red", "red sphere"):
        ceiling = 8 / len(BOARD.named(text))
        for a in (0.01, LEVEL, 0.99):
            ratio = (BOARD.prompt(text).log_prob(far, a) - BOARD.whole.log_prob(far, a)).exp()
            assert ratio.max() <= ceiling * (1 + 1e-9)
        assert ratio.max() > 0.9 * ceiling  # and it is reached, where the level is clean
    unbounded = BOARD.prompt("sphere").log_prob(far, LEVEL) - BOARD.prompt("red").log_prob(far, LEVEL)
    assert unbounded.max() > 10


def overshoot():
    p = GaussianMixture([1.0], [[0.3, 0.2]], [0.2])
    n = GaussianMixture([1.0], [[-0.4, 0.5]], [0.2])
    for s in (1.5, 3.0):
        m = p.means[0] + (s - 1) * (p.means[0] - n.means[0])
        shifted = GaussianMixture([1.0], m[None], [0.2])
        quotient = s * p.log_prob(X) - (s - 1) * n.log_prob(X) - shifted.log_prob(X)
        close(quotient - quotient[0], torch.zeros(len(X)), 1e-8)
        landed = BOARD.sample(g.NegativePrompt(s), "green sphere", "red sphere", 300, 1).mean(0)
        m_p, m_n = (BOARD.prompt(f"{c} sphere").means[0] for c in ("green", "red"))
        assert (landed - (m_p + (s - 1) * (m_p - m_n))).abs().max() < 0.15


def negation():
    """Against the mixture of what is left, alone and given a prompt."""
    for positive in ("", "sphere"):
        blobs = BOARD.named(positive)
        whole = BOARD.mixture(blobs)
        unwanted = BOARD.mixture([k for k in blobs if k in BOARD.named("red")])
        for a in (0.05, LEVEL):
            share = (
                len(BOARD.named("red")) / 8 * (unwanted.log_prob(X, a) - whole.log_prob(X, a)).exp()[:, None]
            )
            e_0, e_n = whole.eps(X, a), unwanted.eps(X, a)
            expected = BOARD.without(positive, "red").eps(X, a)
            near = share[:, 0] < 0.99
            close((e_0 - share / (1 - share) * (e_n - e_0))[near], expected[near], 1e-6)


def shared():
    e_0 = BOARD.whole.eps(X, LEVEL)
    d = {w: BOARD.prompt(w).eps(X, LEVEL) - e_0 for w in ("sphere", "red", "cube")}
    e_p, e_n = (BOARD.prompt(t).eps(X, LEVEL) for t in ("red sphere", "red cube"))
    for s in (2.0, 4.0):
        close(g.negative_prompt(e_n, e_p, s), e_0 + s * d["sphere"] + d["red"] - (s - 1) * d["cube"], 1e-8)
        for ln in (1.0, s):
            expected = e_0 + s * d["sphere"] + (s - ln) * d["red"] - ln * d["cube"]
            close(g.three_branch(e_0, e_p, e_n, s, ln), expected, 1e-8)


def perpendicular():
    d_p, d_n = EP - E0, EN - E0
    for s in (1.0, 4.0):
        for w in (0.0, 1.0, 2.5):
            rows = []
            for k in range(len(E0)):
                part = d_n[k] - (d_n[k] * d_p[k]).sum() / d_p[k].norm() ** 2 * d_p[k]
                rows.append(E0[k] + s * (d_p[k] - w * part))
            close(g.perpendicular_negative(E0, EP, EN, s, w), torch.stack(rows))


def perpendicular_shared():
    """On three orthogonal pushes, whatever their lengths; and on the board, where pushes of colour and shape are at right
    angles point by point. The old text had weight s for the shared one, which holds at kappa = 1 alone."""
    axes = torch.linalg.qr(gaussian((60, 3), 16).double())[0].T.reshape(3, 1, 4, 5, 3)
    origin = E0[:1]
    for lengths in ((1.0, 1.0, 1.0), (2.0, 1.0, 0.7), (0.5, 1.5, 2.0), (0.0, 1.0, 1.0)):
        d_a, d_b, d_c = (length * axis for length, axis in zip(lengths, axes))
        k = lengths[1] ** 2 / (lengths[0] ** 2 + lengths[1] ** 2)
        for s, w in ((4.0, 1.0), (2.0, 0.5), (7.5, 1.5)):
            ours = g.perpendicular_negative(origin, origin + d_a + d_b, origin + d_b + d_c, s, w)
            expected = origin + s * (1 + w * k) * d_a + s * (1 - w * (1 - k)) * d_b - s * w * d_c
            close(ours, expected, 1e-9)
            full = origin + s * (1 + w * k) * d_a + s * d_b - s * w * d_c
            assert ((ours - full).abs().max() < 1e-9) == (k == 1)
    e_0 = BOARD.whole.eps(X, LEVEL)
    d_a, d_b = (BOARD.prompt(t).eps(X, LEVEL) - e_0 for t in ("sphere", "red"))
    k = d_b.square().sum(1, keepdim=True) / (d_a.square() + d_b.square()).sum(1, keepdim=True)
    e_p, e_n = (BOARD.prompt(t).eps(X, LEVEL) for t in ("red sphere", "red"))
    close(g.perpendicular_negative(e_0, e_p, e_n, 4.0), e_0 + 4 * (1 + k) * d_a + 4 * k * d_b, 1e-7)


def normed():
    """The lines of diffusers' Qwen-Image pipeline, run as they stand there."""
    lines = _lines_of(QwenImagePipeline, ("comb_pred", "cond_norm", "noise_norm", "noise_pred"))
    for s in (1.5, 4.0):
        names = {"torch": torch, "noise_pred": EP, "neg_noise_pred": EN, "true_cfg_scale": s}
        exec(lines, names)
        used = EN + s * (EP - EN)
        expected = EP.norm(dim=-1, keepdim=True) / used.norm(dim=-1, keepdim=True) * used
        close(names["noise_pred"], expected)
        assert (expected - used).abs().max() > 0.1  # so it is not the formula in use
        close(expected.norm(dim=-1), EP.norm(dim=-1))


def nagged():
    """Position by position, by the authors' own order of steps: push, lengths, cut, mix."""
    for s, tau, alpha in ((4.0, 2.5, 0.25), (11.0, 1.1, 1.0)):
        p, n = EP.flatten(2), EN.flatten(2)
        z = p * s - n * (s - 1)
        ratio = z.norm(p=1, dim=-1, keepdim=True) / p.norm(p=1, dim=-1, keepdim=True)
        cut = z * ratio.clamp(max=tau) / ratio
        close(normalized(p, n, s, tau, alpha), alpha * cut + (1 - alpha) * p)


def _lines_of(pipeline, targets):
    """The assignments to `targets` where guidance is computed: those of the block that assigns the first of them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(pipeline.__call__)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and any(
            isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == targets[0] for n in body
        ):
            kept = [n for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) in targets]
            assert [ast.unparse(n.targets[0]) for n in kept] == list(targets)
            return "\n".join(map(ast.unparse, kept))
    raise AssertionError(f"{pipeline.__name__} assigns no {targets[0]}")


def weighted():
    for s in SCALES:
        for w in (0.0, 0.3, 1.0, 2.0):
            b = E0 + w * (EN - E0)
            close(g.weighted_negative(E0, EP, EN, s, w), b + s * (EP - b))
            close(b + s * (EP - b), g.three_branch(E0, EP, EN, s, w * (s - 1)), 1e-9)


def several():
    expected = E0 + 4 * (EP - E0) - 1.5 * (EN - E0) - 0.5 * (EM - E0)
    close(g.several_negatives(E0, EP, [EN, EM], 4, [1.5, 0.5]), expected)


CHECKS = {
    "eq-neg-guess": guess,
    "eq-neg-used": used,
    "eq-neg-weights": weights,
    "eq-neg-same": same,
    "eq-neg-differ": differ,
    "eq-neg-tilt": tilt,
    "eq-neg-bound": bound,
    "eq-neg-overshoot": overshoot,
    "eq-neg-not": negation,
    "eq-neg-shared": shared,
    "eq-neg-perp": perpendicular,
    "eq-neg-perp-shared": perpendicular_shared,
    "eq-neg-weighted": weighted,
    "eq-neg-several": several,
    "eq-neg-norm": normed,
    "eq-neg-nag": nagged,
}


def test_every_labelled_equation_has_its_check():
    labels.hold(CHAPTER, CHECKS)


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label):
    CHECKS[label]()


# ------------------------------------------------------------------------------------------------------------
# A claim that an earlier text had wrong


def test_plain_guidance_passes_its_blobs_and_still_climbs_a_density():
    """The ceiling bounds the ratio, not the push: "a negative can overshoot where plain guidance cannot" is false."""
    means = []
    for s in (1.0, 2.0, 7.5, 20.0):
        points = BOARD.sample(g.ClassifierFree(s), "red", "", 400, 1)
        means.append(points[:, 0].mean().item())
    assert abs(means[0] + 1.5) < 0.03 and means[1] < -1.6 and means[2] < -1.85 and means[3] < -2.1
    assert BOARD.read(points)["outside"] > 0.95
    # p(x) (p(x|red) / p(x))^s has a finite integral at every scale; a quotient with a narrow negative grows for ever.
    line = torch.linspace(-60, 60, 241, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    p, red = BOARD.whole.log_prob(plane, LEVEL), BOARD.prompt("red").log_prob(plane, LEVEL)
    for s in (2.0, 20.0):
        climbed = p + s * (red - p)
        assert climbed[plane.abs().amax(1) > 30].max() < climbed.max() - 500
    wide, narrow = GaussianMixture([1.0], [[0.5]], [0.09]), GaussianMixture([1.0], [[-0.5]], [0.06])
    far = torch.tensor([[5.0], [50.0]], dtype=torch.float64)
    grows = 3.5 * wide.log_prob(far) - 2.5 * narrow.log_prob(far)
    assert grows[1] > grows[0] + 100
