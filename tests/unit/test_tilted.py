"""tilted.py: the exact gradients, the quadrature, the draws, and which sampler ends where. fields.py beside it."""

import math

import pytest
import torch

from diffusion_tutorial.mixtures import (
    GaussianMixture,
    GuidedMixture,
    TiltedMixture,
    law,
    law_density,
    law_distance,
    noise_to_data,
    predictor_corrector,
    solve,
)
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.plots import encode, field_panels, plane

LINE = GaussianMixture([0.5, 0.25, 0.25], [[-1.0], [0.2], [1.6]], [0.25, 0.16, 0.09], labels=[0, 1, 1])
PLANE = GaussianMixture(
    [0.25, 0.25, 0.25, 0.25],
    [[0.0, 1.0], [1.9, 1.3], [-1.2, -0.4], [0.9, -0.9]],
    [
        [[0.25, 0.0], [0.0, 0.16]],
        [[0.10, 0.03], [0.03, 0.14]],
        [[0.20, 0.05], [0.05, 0.30]],
        [[0.30, -0.05], [-0.05, 0.20]],
    ],
    labels=[0, 0, 1, 2],
)
X = {1: torch.linspace(-2.5, 3.5, 25, dtype=torch.float64)[:, None], 2: 1.5 * gaussian((25, 2), 1).double()}
WORLDS = [(LINE, 0), (LINE, 1), (PLANE, 0), (PLANE, 2)]
GRID = torch.linspace(-6, 7, 13_001, dtype=torch.float64)


def truth_weights(scale, label=1):
    """(13001,) probabilities of p(x) p(y | x)^scale on GRID, written out with plain normals."""
    normal = lambda m, v: torch.exp(-0.5 * (GRID - m) ** 2 / v) / math.sqrt(2 * math.pi * v)  # noqa: E731
    classes = (0.5 * normal(-1.0, 0.25), 0.25 * normal(0.2, 0.16) + 0.25 * normal(1.6, 0.09))
    p = (classes[0] + classes[1]) * (classes[label] / (classes[0] + classes[1])) ** scale
    return p / p.sum()


# ------------------------------------------------------------------------------------------------------------
# What guidance follows


@pytest.mark.parametrize("mixture, label", WORLDS)
@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 2.5, 8.0])
@pytest.mark.parametrize("alpha_bar", [1e-4, 0.2, 0.7, 0.99])
def test_classifier_free_and_exact_classifier_guidance_coincide(mixture, label, scale, alpha_bar):
    """By formula, by autograd through the classifier, and as the score of the density: the same to 1e-8."""
    guided, x = GuidedMixture(mixture, label, scale), X[mixture.dim]
    by_formula = guided.eps(x, alpha_bar)
    assert (by_formula - guided.eps_by_classifier(x, alpha_bar)).abs().max() < 1e-8
    leaf = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(guided.log_prob(leaf, alpha_bar).sum(), leaf)
    assert (by_formula + math.sqrt(1 - alpha_bar) * score).abs().max() < 1e-8


def test_the_gradient_is_that_of_finite_differences():
    guided, h = GuidedMixture(PLANE, 0, 3.0), 1e-5
    for axis in range(2):
        step = torch.zeros(1, 2, dtype=torch.float64)
        step[0, axis] = h
        slope = guided.log_classifier(X[2] + step, 0.4) - guided.log_classifier(X[2] - step, 0.4)
        assert (slope / (2 * h) - guided.classifier_gradient(X[2], 0.4)[:, axis]).abs().max() < 1e-6


def test_scales_zero_and_one():
    for mixture, label in WORLDS:
        x = X[mixture.dim]
        assert torch.equal(GuidedMixture(mixture, label, 0.0).eps(x, 0.3), mixture.eps(x, 0.3))
        assert torch.equal(
            GuidedMixture(mixture, label, 1.0).eps(x, 0.3), mixture.conditional(label).eps(x, 0.3)
        )


# ------------------------------------------------------------------------------------------------------------
# The tilted density


@pytest.mark.parametrize("scale", [1.0, 1.5, 4.0])
@pytest.mark.parametrize("alpha_bar", [0.01, 0.3, 0.8, 0.97])
def test_noised_tilted_density_is_the_convolution(scale, alpha_bar):
    """log_prob and eps against a sum over 13,001 points of the tilted density, noise added to each."""
    tilted, weights, x = TiltedMixture(LINE, 1, scale), truth_weights(scale), X[1][:, 0]
    logs = weights.clamp(min=1e-300).log() - 0.5 * (x[:, None] - math.sqrt(alpha_bar) * GRID) ** 2 / (
        1 - alpha_bar
    )
    log_density, ours = torch.logsumexp(logs, 1), tilted.log_prob(X[1], alpha_bar)
    mean = torch.softmax(logs, 1) @ GRID
    # Far out the tilted density is nothing, and quadrature about the untilted components sees none of it.
    near = log_density > log_density.max() - 12
    assert near.sum() >= 5
    assert ((log_density - ours) - (log_density - ours)[near][0]).abs()[near].max() < 1e-6
    eps = (x - math.sqrt(alpha_bar) * mean) / math.sqrt(1 - alpha_bar)
    assert (eps - tilted.eps(X[1], alpha_bar)[:, 0]).abs()[near].max() < 1e-5


@pytest.mark.parametrize("mixture, label", WORLDS)
def test_its_eps_is_guidance_by_the_gradient_of_the_expectation(mixture, label):
    tilted = TiltedMixture(mixture, label, 3.0, nodes=61 if mixture.dim == 2 else None)
    x, a = mixture.conditional(label).sample(20, 3, alpha_bar=0.5), 0.5
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(tilted.log_expectation(leaf, a).sum(), leaf)
    guided = mixture.eps(x, a) - math.sqrt(1 - a) * gradient
    assert (guided - tilted.eps(x, a)).abs().max() < 1e-6


def test_both_families_share_their_ends_and_differ_between():
    guided, tilted = GuidedMixture(LINE, 1, 4.0), TiltedMixture(LINE, 1, 4.0)
    x = X[1][10:]
    shift = guided.log_prob(x) - tilted.log_prob(x)
    assert (shift - shift[0]).abs().max() < 1e-9
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    assert (guided.eps(noise, 1e-8) - tilted.eps(noise, 1e-8)).abs().max() < 1e-2
    assert (guided.eps(x, 0.3) - tilted.eps(x, 0.3)).abs().max() > 0.3
    one = GuidedMixture(LINE, 1, 1.0).eps(x, 0.3) - TiltedMixture(LINE, 1, 1.0).eps(x, 0.3)
    assert one.abs().max() < 1e-9


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_distribution_function_and_quantiles(scale):
    tilted, weights = TiltedMixture(LINE, 1, scale), truth_weights(scale)
    x = torch.tensor([-0.5, 0.3, 1.0, 1.8], dtype=torch.float64)
    expected = torch.stack([weights[v >= GRID].sum() for v in x])
    assert (tilted.cdf(x) - expected).abs().max() < 2e-3
    assert (tilted.quantile(tilted.cdf(x)) - x).abs().max() < 1e-6
    density = weights / (GRID[1] - GRID[0])
    assert (tilted.density(GRID[:, None]) - density).abs().max() < 1e-6


def test_draws_have_the_tilted_density():
    tilted = TiltedMixture(LINE, 1, 3.0)
    x = tilted.sample(20_000, seed=1)
    assert x.shape == (20_000, 1) and torch.equal(x, tilted.sample(20_000, seed=1))
    weights = truth_weights(3.0)
    mean = weights @ GRID
    assert x.mean().item() == pytest.approx(mean.item(), abs=0.02)
    assert x.std().item() == pytest.approx((weights @ (GRID - mean) ** 2).sqrt().item(), abs=0.02)
    plane = TiltedMixture(PLANE, 0, 3.0).sample(500, seed=2)
    assert plane.shape == (500, 2) and PLANE.class_posterior(plane)[:, 0].mean() > 0.95


# ------------------------------------------------------------------------------------------------------------
# Which sampler ends where


def distance(world, sampler, tilted, n=80, points=601):
    return law_distance(*law(world, noise_to_data(n), sampler, points=points, reach=5.0), tilted)


def test_guided_samplers_miss_and_the_control_arrives():
    guided, tilted = GuidedMixture(LINE, 1, 4.0), TiltedMixture(LINE, 1, 4.0)
    ddim, ddpm = distance(guided, "ddim", tilted), distance(guided, "ddpm", tilted)
    control = distance(tilted, "ddim", tilted, points=301)
    assert control < 0.02 and ddpm > 0.3 and ddim > 0.6
    assert (
        distance(tilted, "ddim", tilted, 160) < 0.7 * control
    )  # and what is left is the length of the steps


def test_at_scale_one_all_arrive():
    guided, tilted = GuidedMixture(LINE, 1, 1.0), TiltedMixture(LINE, 1, 1.0)
    assert all(distance(guided, sampler, tilted) < 0.03 for sampler in ("ddim", "ddpm"))


def test_law_density():
    tilted = TiltedMixture(LINE, 1, 2.0)
    edges = torch.linspace(-2, 4, 61, dtype=torch.float64)
    x = tilted.quantile((torch.arange(3000) + 0.5) / 3000)
    density = law_density(x, torch.full((3000,), 2.0, dtype=torch.float64), edges)
    middle = (edges[1:] + edges[:-1]) / 2
    assert (density - tilted.density(middle[:, None])).abs().max() < 0.02
    assert (density * edges.diff()).sum().item() == pytest.approx(1, abs=1e-2)


def test_predictor_corrector_is_ddpm_with_guidance():
    """In the limit; at 300 steps moments agree to a few hundredths, and differ from DDIM's by far more."""
    guided, x = GuidedMixture(LINE, 1, 3.0), gaussian((3000, 1), 1).double()
    ends = {
        "pc": predictor_corrector(guided, x, noise_to_data(300), seed=3),
        "ddpm": solve(guided, x, noise_to_data(300), "ddpm", seed=4),
        "ddim": solve(guided, x, noise_to_data(300)),
    }
    mean, std = ({k: getattr(v, f)().item() for k, v in ends.items()} for f in ("mean", "std"))
    assert abs(mean["pc"] - mean["ddpm"]) < 0.05 and abs(std["pc"] - std["ddpm"]) < 0.04
    assert mean["ddim"] - mean["pc"] > 0.2 and std["pc"] - std["ddim"] > 0.15


def test_without_corrections_it_is_conditional_ddim():
    guided, x = GuidedMixture(LINE, 1, 3.0), gaussian((50, 1), 1).double()
    plain = solve(LINE.conditional(1), x, noise_to_data(20))
    assert torch.equal(predictor_corrector(guided, x, noise_to_data(20), corrections=0), plain)


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: GuidedMixture(LINE, 2, 1.0), "label is .*; allowed: in"),
        (lambda: GuidedMixture(LINE, 1, math.nan), "scale is nan; allowed: a finite number"),
        (lambda: TiltedMixture(LINE, 1, 0.5), "scale is 0.5; allowed: a number from 1 to inf"),
        (lambda: TiltedMixture(LINE, 1, 2.0, nodes=1), "nodes is 1; allowed"),
        (
            lambda: TiltedMixture(GaussianMixture([1.0], [[0.0] * 3], [1.0]), 0, 2.0),
            "mixture has 3 dimensions",
        ),
        (lambda: TiltedMixture(PLANE, 0, 2.0).cdf(torch.zeros(1)), "mixture has 2 dimensions; allowed: 1"),
        (lambda: TiltedMixture(LINE, 1, 2.0).eps(X[1], 1.0), "alpha_bar is 1.0; allowed"),
        (lambda: TiltedMixture(LINE, 1, 2.0).quantile(torch.tensor([0.0])), "u is"),
        (lambda: noise_to_data(1), "n is 1; allowed"),
        (lambda: predictor_corrector(GuidedMixture(LINE, 1, 2.0), X[1], (), -1), "corrections is -1"),
        (lambda: field_panels({}), "fields is"),
        (lambda: field_panels({"a": (lambda x: x, None)}, {"b": []}), "paths is 'b'; allowed: 'a'"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()


# ------------------------------------------------------------------------------------------------------------
# Pictures of fields


def test_plane_goes_row_by_row_from_below():
    points = plane(1.0, 3, centre=(0.0, 5.0))
    assert points[0].tolist() == [-1, 4] and points[2].tolist() == [1, 4] and points[-1].tolist() == [1, 6]


def test_field_panels_draw_arrows_density_and_paths():
    outward = (lambda x: x, lambda x: -x.square().sum(1))
    ways = [torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [-1.0, 0.5]])]
    fig = field_panels({"out": outward, "none": (torch.zeros_like, None), "c": outward}, {"out": ways})
    assert [axes.get_title() for axes in fig.axes] == ["out", "none", "c"]
    first, second = fig.axes[:2]
    quiver = next(c for c in first.collections if hasattr(c, "U"))
    at = torch.tensor(quiver.get_offsets() if hasattr(quiver, "get_offsets") else quiver.XY)
    assert ((torch.tensor(quiver.U) * at[:, 0] + torch.tensor(quiver.V) * at[:, 1]) >= 0).all()  # outward
    assert len(first.lines) == 6 and not second.lines and len(first.images) == 1 and not second.images
    assert first.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert encode(fig)[2] > 300
