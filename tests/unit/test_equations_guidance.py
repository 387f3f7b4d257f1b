"""The chapter "Guidance": a check for each labelled equation, and none without.

Each check writes the equation out anew, away from the package's own formula, and compares the two, or the equation with
quadrature, finite differences or simulation.
"""

from math import pi, sqrt
from pathlib import Path

import labels
import pytest
import torch

from diffusion_tutorial import guidance as g
from diffusion_tutorial.guidance import Predictions
from diffusion_tutorial.mixtures import (
    GaussianMixture,
    GuidedMixture,
    TiltedMixture,
    law,
    law_distance,
    noise_to_data,
    reverse_density,
    reverse_gaussian,
)
from diffusion_tutorial.mixtures import predictor_corrector as walk_with_corrector
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import Moment, ddim_step, ddpm_step

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "guidance.md"
LINE = GaussianMixture([0.5, 0.25, 0.25], [[-1.0], [0.2], [1.6]], [0.25, 0.16, 0.09], labels=[0, 1, 1])
GRID = torch.linspace(-6, 7, 13_001, dtype=torch.float64)
STEP = (GRID[1] - GRID[0]).item()
X = torch.linspace(-2.0, 3.0, 11, dtype=torch.float64)
LEVELS = [0.05, 0.4, 0.9]
E0, EC, GRAD = (gaussian((3, 4, 5, 5), 1, stream=k).double() for k in range(3))
H = 1e-5


def close(a, b, tolerance=1e-9):
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    assert (a - b).abs().max() < tolerance


def densities(x, a):
    """p(x_t), p(x_t | class 1) and p(class 1 | x_t) of LINE, written out with plain normals."""
    parts = []
    for weight, mean, variance in ((0.5, -1.0, 0.25), (0.25, 0.2, 0.16), (0.25, 1.6, 0.09)):
        v = a * variance + 1 - a
        parts.append(weight * torch.exp(-0.5 * (x - sqrt(a) * mean) ** 2 / v) / sqrt(2 * pi * v))
    joint = parts[1] + parts[2]
    return sum(parts), joint / 0.5, joint / sum(parts)


def slope(log_of, x):
    return (log_of(x + H) - log_of(x - H)) / (2 * H)


def bayes():
    for a in LEVELS:
        scores = [slope(lambda x, k=k, a=a: densities(x, a)[k].log(), X) for k in range(3)]
        close(scores[1], scores[0] + scores[2], 1e-6)


def score():
    for a in LEVELS:
        expected = -sqrt(1 - a) * slope(lambda x, a=a: densities(x, a)[0].log(), X)
        close(LINE.eps(X[:, None], a)[:, 0], expected, 1e-6)


def with_classifier():
    for a in LEVELS:
        close(g.classifier(E0, GRAD, a, 2.5), E0 - 2.5 * sqrt(1 - a) * GRAD)
        push = slope(lambda x, a=a: densities(x, a)[2].log(), X)
        ours = GuidedMixture(LINE, 1, 2.5).eps_by_classifier(X[:, None], a)[:, 0]
        close(ours, LINE.eps(X[:, None], a)[:, 0] - 2.5 * sqrt(1 - a) * push, 1e-6)
        state = Predictions({"uncond": E0}, EC)
        rule = g.ClassifierGuidance(2.5, lambda x, t: x * t)
        close(rule(state, Moment(0, 1, 7, a)), E0 - 2.5 * sqrt(1 - a) * 7 * EC)


def mean_shift():
    """The exact step times the classifier against the shifted Gaussian: the mean's error falls with the step's square."""
    x_t, errors = torch.tensor([-0.3], dtype=torch.float64), []
    for a_s in (0.302, 0.304):
        exact = reverse_density(LINE, x_t, 0.3, a_s, GRID)[0] * densities(GRID, a_s)[2]
        exact = (exact @ GRID / exact.sum()).item()
        mu, variance = reverse_gaussian(LINE, x_t, 0.3, a_s, "matched")
        shift = variance * slope(lambda x, a_s=a_s: densities(x, a_s)[2].log(), mu)
        errors.append(abs(exact - (mu + shift).item()))
        assert errors[-1] < 0.01 * abs(shift.item())
    assert 3 < errors[1] / errors[0] < 5


def shifts():
    still = torch.zeros_like(E0)
    for a_t, a_s in ((0.3, 0.31), (0.3, 0.9), (0.99, 0.999)):
        beta, alpha = 1 - a_t / a_s, a_t / a_s
        guided, plain = (
            ddpm_step(EC, eps, a_t, a_s, still)[0] for eps in (g.classifier(E0, GRAD, a_t, 3.0), E0)
        )
        close(guided - plain, beta / sqrt(alpha) * 3.0 * GRAD, 1e-8)
        small, large = (
            ddpm_step(still, still, a_t, a_s, torch.ones_like(E0), kind)[0].square()
            for kind in ("small", "large")
        )
        close(small, beta * (1 - a_s) / (1 - a_t))
        close(large, beta)


def implicit():
    for a in LEVELS:
        push = slope(lambda x, a=a: (densities(x, a)[1] / densities(x, a)[0]).log(), X)
        x = X[:, None]
        ours = -(LINE.conditional(1).eps(x, a) - LINE.eps(x, a)) / sqrt(1 - a)
        close(ours[:, 0], push, 1e-6)


def free():
    for s in (0.0, 0.5, 1.0, 4.0, 7.5):
        close(g.classifier_free(E0, EC, s), E0 + s * (EC - E0), 1e-12)
        close(g.classifier_free(E0, EC, s), g.classifier(E0, -(EC - E0) / sqrt(1 - 0.3), 0.3, s), 1e-12)
    assert g.classifier_free(E0, EC, 1.0) is EC and torch.equal(g.classifier_free(E0, EC, 0.0), E0)


def scales():
    for s in (1.0, 1.5, 7.5):
        imagen, w = s, s - 1
        ours = g.classifier_free(E0, EC, s)
        close(imagen * EC + (1 - imagen) * E0, ours, 1e-12)
        close((1 + w) * EC - w * E0, ours, 1e-12)
        close(EC + w * (EC - E0), ours, 1e-12)
        close(g.classifier(EC, -(EC - E0) / sqrt(1 - 0.3), 0.3, w), ours, 1e-12)


def tilted_weights(s):
    p, _, said = densities(GRID, 1.0)
    return p * said**s


def tilted():
    for s in (1.0, 2.0, 5.0):
        weights = tilted_weights(s)
        density = weights / (weights.sum() * STEP)
        close(TiltedMixture(LINE, 1, s).density(GRID[:, None]), density, 1e-6)


def noised():
    """Noise added to the tilted density by a sum over GRID, and p(x_t) times a mean of p(y | x_0)^s over 400,000 draws."""
    a, s = 0.4, 3.0
    kernel = torch.exp(-0.5 * (X[:, None] - sqrt(a) * GRID) ** 2 / (1 - a)) / sqrt(2 * pi * (1 - a))
    left = kernel @ tilted_weights(s) * STEP
    close(left.log(), TiltedMixture(LINE, 1, s).log_prob(X[:, None], a), 1e-6)
    x_t = torch.full((400_000, 1), 0.5, dtype=torch.float64)
    x_0 = LINE.posterior_sample(x_t, a, 5)[:, 0]
    mean = (densities(x_0, 1.0)[2] ** s).mean()
    point = torch.tensor([0.5], dtype=torch.float64)
    expected = TiltedMixture(LINE, 1, s).log_prob(point[:, None], a).exp() / densities(point, a)[0]
    assert abs(mean / expected - 1) < 0.01


def jensen():
    for a in LEVELS:
        for s in (1.0, 2.0, 6.0):
            used = s * densities(X, a)[2].log()
            needed = TiltedMixture(LINE, 1, s).log_expectation(X[:, None], a)
            assert (used <= needed + 1e-8).all()
            if s == 1:
                close(used, needed, 1e-8)
            elif a < 0.9:
                assert (needed - used).max() > 0.3
    # The noisy classifier is the mean of the clean one.
    a, x_t = 0.4, torch.full((400_000, 1), 0.3, dtype=torch.float64)
    mean = densities(LINE.posterior_sample(x_t, a, 6)[:, 0], 1.0)[2].mean()
    assert abs(mean - densities(torch.tensor([0.3]), a)[2].item()) < 5e-3


def one_gaussian():
    """A step is x -> k x + sigma z; k and sigma written out for scores -x / v of both Gaussians."""
    for s in (1.0, 1.7, 3.0, 6.0):
        variance = {"ddim": 1.0, "ddpm": 1.0}
        for _, _, a_t, a_s in noise_to_data(2000, clean=0.99995):
            wide, narrow = (sqrt(1 - a_t) / (a_t * v + 1 - a_t) for v in (2.0, 1.0))
            eps = wide + s * (narrow - wide)  # for x_t = 1
            x0 = (1 - sqrt(1 - a_t) * eps) / sqrt(a_t)
            variance["ddim"] *= (sqrt(a_s) * x0 + sqrt(1 - a_s) * eps) ** 2
            alpha, beta = a_t / a_s, 1 - a_t / a_s
            k = sqrt(a_s) * beta / (1 - a_t) * x0 + sqrt(alpha) * (1 - a_s) / (1 - a_t)
            variance["ddpm"] = k**2 * variance["ddpm"] + beta * (1 - a_s) / (1 - a_t)
        assert variance["ddim"] == pytest.approx(2 ** (1 - s), abs=0.01)
        assert variance["ddpm"] == pytest.approx((2 - 2 ** (2 - 2 * s)) / (2 * s - 1), abs=0.01)
        # p(x) p(y | x)^s = p(x)^(1 - s) p(x | y)^s has precision (1 - s) / 2 + s.
        assert 1 / ((1 - s) / 2 + s) == pytest.approx(2 / (s + 1))


def predictor_corrector():
    def followed(s, a):
        return lambda x: densities(x, a)[0].log() + s * densities(x, a)[2].log()

    for a in LEVELS:
        plain = slope(lambda x, a=a: densities(x, a)[1].log(), X)
        for s in (1.0, 2.0, 5.0):
            close(slope(followed(s, a), X), (plain + slope(followed(2 * s - 1, a), X)) / 2, 1e-5)
    # DDPM's step is half a step of Langevin beyond conditional DDIM's, up to terms of the second order in beta.
    a_t, s, x = 0.4, 3.0, X[:, None]
    gaps = []
    for beta in (1e-3, 5e-4):
        a_s = a_t / (1 - beta)
        guided, narrow = GuidedMixture(LINE, 1, s), LINE.conditional(1)
        ddpm, _ = ddpm_step(x, guided.eps(x, a_t), a_t, a_s, torch.zeros_like(x))
        ddim, _ = ddim_step(x, narrow.eps(x, a_t), a_t, a_s)
        sharper = -GuidedMixture(LINE, 1, 2 * s - 1).eps(x, a_t) / sqrt(1 - a_t)
        gaps.append((ddpm - ddim - beta / 2 * sharper).abs().max().item())
    assert gaps[0] < 1e-4 and 3.5 < gaps[0] / gaps[1] < 4.5


def rescale():
    """Of any prediction; and the rule, of v, against v written out from eps and the state."""
    guided = g.classifier_free(E0, EC, 8.0)
    spread = lambda e: torch.stack([row.std() for row in e])[:, None, None, None]  # noqa: E731
    for phi in (0.0, 0.7, 1.0):
        expected = phi * spread(EC) / spread(guided) * guided + (1 - phi) * guided
        close(g.rescaled(guided, EC, phi), expected, 1e-9)
    state = Predictions({"uncond": E0, "cond": EC}, GRAD)
    close(g.Rescaled(8.0, 0.7)(state, Moment(0, 1, 1, 0.5)), g.rescaled(guided, EC, 0.7), 1e-9)
    for a in LEVELS:
        v0, vc = ((e - sqrt(1 - a) * GRAD) / sqrt(a) for e in (E0, EC))
        x0 = (GRAD - sqrt(1 - a) * EC) / sqrt(a)
        close(vc, sqrt(a) * EC - sqrt(1 - a) * x0, 1e-9)
        v = v0 + 8.0 * (vc - v0)
        v = 0.7 * spread(vc) / spread(v) * v + 0.3 * v
        ours = g.Rescaled(8.0, 0.7, of="v")(state, Moment(0, 1, 1, a))
        close(ours, sqrt(a) * v + sqrt(1 - a) * GRAD, 1e-9)
        assert (ours - g.Rescaled(8.0, 0.7)(state, Moment(0, 1, 1, a))).abs().max() > 1e-3


def project():
    s, eta = 8.0, 0.3
    d = EC - E0
    rows = []
    for row, c in zip(d, EC):
        along = (row * c).sum() / (c * c).sum() * c
        assert abs(((row - along) * c).sum()) < 1e-9
        rows.append(c + (s - 1) * ((row - along) + eta * along))
    close(g.projected(E0, EC, s, eta), torch.stack(rows), 1e-9)
    close(g.projected(E0, EC, s, 1.0), g.classifier_free(E0, EC, s), 1e-9)
    # The rule does it to the pictures that the predictions imply.
    a = 0.36
    state = Predictions({"uncond": E0, "cond": EC}, GRAD)
    pictures = [
        (GRAD - sqrt(1 - a) * e) / sqrt(a) for e in (E0, EC, g.Projected(s, eta)(state, Moment(0, 1, 1, a)))
    ]
    close(pictures[2], g.projected(*pictures[:2], s, eta), 1e-8)


CHECKS = {
    "eq-guide-bayes": bayes,
    "eq-guide-score": score,
    "eq-guide-classifier": with_classifier,
    "eq-guide-mean": mean_shift,
    "eq-guide-shifts": shifts,
    "eq-guide-implicit": implicit,
    "eq-guide-free": free,
    "eq-guide-scales": scales,
    "eq-guide-tilted": tilted,
    "eq-guide-noised": noised,
    "eq-guide-jensen": jensen,
    "eq-guide-one": one_gaussian,
    "eq-guide-pc": predictor_corrector,
    "eq-guide-rescale": rescale,
    "eq-guide-project": project,
}


# ------------------------------------------------------------------------------------------------------------
# Claims that an earlier text had wrong


APART = GaussianMixture([0.5, 0.25, 0.25], [[-1.5], [-0.3], [1.8]], [0.01] * 3, labels=[0, 1, 1])


def test_guidance_empties_half_of_a_class_that_touches_no_other():
    """Well separated classes do not make the tilted density, the class and the guided result the same."""
    guided, tilted, itself = GuidedMixture(APART, 1, 4.0), TiltedMixture(APART, 1, 4.0), APART.conditional(1)
    u = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert (itself.quantile(u) - tilted.quantile(u)).abs().mean() < 1e-6
    for sampler, most in (("ddim", 0.01), ("ddpm", 0.15)):
        for steps in (60, 120):  # no matter of the number of steps
            x, w = law(guided, noise_to_data(steps), sampler, reach=5.0)
            assert w[x < 0.75].sum() / w.sum() < most and law_distance(x, w, tilted) > 0.5
    x, w = law(itself, noise_to_data(60), "ddim", reach=5.0)
    assert abs(w[x < 0.75].sum() / w.sum() - 0.5) < 0.01


def test_langevin_steps_do_not_mix_across_a_gap():
    guided = GuidedMixture(APART, 1, 4.0)
    x = walk_with_corrector(
        guided, gaussian((1000, 1), seed=50).double(), noise_to_data(60), corrections=20, corrector_scale=4.0,
        step=0.3, seed=60,
    )  # fmt: skip
    assert (x < 0.75).double().mean() < 0.42  # the tilted density has a half there


def test_every_labelled_equation_has_its_check():
    labels.hold(CHAPTER, CHECKS)


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label):
    CHECKS[label]()
