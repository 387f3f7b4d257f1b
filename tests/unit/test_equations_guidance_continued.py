"""Every displayed equation of the page "Guidance, continued" and its check, written out away from the package's own."""

from math import sqrt
from pathlib import Path

import labels
import pytest
import torch

from diffusion_tutorial import guidance as g
from diffusion_tutorial.experiments.guidance_continued import parabola
from diffusion_tutorial.mixtures import underfit
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import Moment, ddim_step

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "guidance-continued.md"
OWN, OTHER, EXACT, X, FREE, TEXT, BROKEN = (gaussian((40, 3, 5), 1, stream=k).double() for k in range(7))
A = 0.37
MOMENT = Moment(2, 10, 500, A)
SCALES = (0.5, 1.0, 1.7, 4.0)


class Denoiser:
    def eps(self, x_t, t, condition):
        return x_t

    encode_text = eps


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def picture(eps):
    return (X - sqrt(1 - A) * eps) / sqrt(A)


def by(rule, **predictions):
    return rule(g.Predictions(predictions, X), MOMENT)


def guided():
    for s in SCALES:
        rule = g.AutoGuidance(s, Denoiser())
        close(by(rule, weak=OTHER, cond=OWN), OTHER + s * (OWN - OTHER))


def error():
    e, o = OWN - EXACT, OTHER - EXACT
    for s in SCALES:
        close(g.classifier_free(OTHER, OWN, s) - EXACT, e + (s - 1) * (e - o))


def best():
    """Against a search over scales, trio by trio."""
    found = underfit.best_scale(OWN, OTHER, EXACT)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    for k in range(5):
        e, o = OWN[k] - EXACT[k], OTHER[k] - EXACT[k]
        errors = torch.stack([(e + (s - 1) * (e - o)).square().sum() for s in grid])
        assert abs(grid[errors.argmin()] - found[k]) < 1.1e-3


def measured():
    """With noise around the exact answer, the measured bottom is the exact one's, within its own interval."""
    n = 4000
    exact, own, other = (gaussian((n, 6), 2, stream=k).double() for k in range(3))
    own, other = exact + 0.3 * own, exact + 0.3 * own + 0.5 * other
    eps = exact + gaussian((n, 6), 2, stream=3).double()  # mean zero given the rest
    found = parabola(own, other, eps)["best scale"]
    e, o = own - exact, other - exact
    true = 1 + float((e * (o - e)).sum() / (o - e).square().sum())
    assert found.low < true < found.high and found.high - found.low < 0.1
    step = own - other
    by_hand = 1 - float(((own - eps) * step).sum() / step.square().sum())
    assert found.value == pytest.approx(by_hand)


def plus():
    """x0 by the weight, the unconditional noise; what `Plus` makes DDIM do."""
    a_s, weight = 0.6, 0.7
    d = TEXT - FREE
    theirs = sqrt(a_s) * picture(FREE + weight * d) + sqrt(1 - a_s) * FREE
    eps = g.Plus(weight)(g.Predictions({"uncond": FREE, "cond": TEXT}, X), MOMENT._replace(alpha_bar_s=a_s))
    close(ddim_step(X, eps, A, a_s)[0], theirs)


def scale():
    for a_t, a_s in ((0.1, 0.2), (0.37, 0.6), (0.9, 0.99)):
        sigma = [sqrt((1 - a) / a) for a in (a_t, a_s)]
        assert g.plus_scale(0.6, a_t, a_s) == pytest.approx(0.6 / (1 - sigma[1] / sigma[0]))


def zero():
    f0, f1 = FREE - picture(FREE), TEXT - picture(TEXT)
    k = (f0 * f1).sum((1, 2)) / (f0 * f0).sum((1, 2))
    k = k[:, None, None]
    for s in SCALES:
        eps = by(g.ZeroStar(s), uncond=FREE, cond=TEXT)
        close(eps - picture(eps), k * f0 + s * (f1 - k * f0))
    for other in (k + 0.01, k - 0.01):
        assert ((f1 - k * f0).square().sum((1, 2)) < (f1 - other * f0).square().sum((1, 2))).all()


def threshold():
    x0 = picture(FREE) + 5 * (picture(TEXT) - picture(FREE))
    q = x0.abs().flatten(1).quantile(0.9, dim=1)
    b = picture(TEXT).abs().flatten(1).quantile(0.9, dim=1)
    q = torch.maximum(q, b)[:, None, None]
    wanted = x0.clamp(-q, q) * b[:, None, None] / q
    close(picture(by(g.Thresholded(5.0, 0.9), uncond=FREE, cond=TEXT)), wanted)


def projected():
    """Two steps: the second one's difference has a share of the first one's."""
    rule, memory = g.Projected(3.0, parallel=1.0, momentum=-0.4, bound=2.0), {}
    d = 0
    for free, text in ((FREE, TEXT), (TEXT, BROKEN)):
        d = picture(text) - picture(free) - 0.4 * d
        length = d.flatten(1).norm(dim=1)[:, None, None]
        eps = rule(g.Predictions({"uncond": free, "cond": text}, X, memory), MOMENT)
        close(picture(eps), picture(text) + 2 * d * (2.0 / length).clamp(max=1))


def broken():
    for s, k in ((1.0, 2.0), (4.0, 0.5)):
        eps = by(g.Perturbed(s, k, Denoiser()), uncond=FREE, cond=TEXT, perturbed=BROKEN)
        close(eps, FREE + s * (TEXT - FREE) + k * (TEXT - BROKEN))


CHECKS = {
    "eq-more-guided": guided,
    "eq-more-error": error,
    "eq-more-best": best,
    "eq-more-measured": measured,
    "eq-more-plus": plus,
    "eq-more-scale": scale,
    "eq-more-zero": zero,
    "eq-more-threshold": threshold,
    "eq-more-projected": projected,
    "eq-more-broken": broken,
}


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label):
    CHECKS[label]()


def test_every_equation_of_the_page_is_checked():
    labels.hold(CHAPTER, CHECKS)
