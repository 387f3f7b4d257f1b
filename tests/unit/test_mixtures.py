"""mixtures.py: every closed form against autograd, quadrature or simulation; orders of convergence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from diffusion_tutorial.mixtures import (
    GaussianMixture,
    moment_distances,
    sliced_wasserstein,
    wasserstein_1d,
)
from diffusion_tutorial.noise import gaussian, step_noise, uniform
from diffusion_tutorial.samplers import trajectory, walk
from diffusion_tutorial.schedules import NoiseSchedule, path


def random_mixture(seed: int, components: int, dim: int) -> GaussianMixture:
    root = gaussian((components, dim, dim), seed).double()
    covs = 0.1 * root @ root.mT + 0.05 * torch.eye(dim, dtype=torch.float64)
    weights = uniform((components, 1), seed, stream=1)[:, 0] + 0.2
    means = 2 * gaussian((components, dim), seed, stream=2).double()
    return GaussianMixture(weights, means, covs, labels=[k % 2 for k in range(components)])


LINE = GaussianMixture([0.3, 0.5, 0.2], [[-2.0], [0.5], [3.0]], [0.2, 0.1, 0.5])
levels = st.floats(0.001, 0.999)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), levels)
def test_score_is_the_gradient_of_log_prob(seed, components, dim, a):
    m = random_mixture(seed, components, dim)
    x = (2 * gaussian((6, dim), seed, stream=3).double()).requires_grad_()
    (grad,) = torch.autograd.grad(m.log_prob(x, a).sum(), x)
    torch.testing.assert_close(m.score(x, a), grad, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(m.eps(x, a), -math.sqrt(1 - a) * grad, rtol=1e-8, atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), levels)
def test_tweedie(seed, components, dim, a):
    """sqrt(a) E[x_0 | x_t] = x_t + (1 - a) score, with the left side computed component by component."""
    m = random_mixture(seed, components, dim)
    x = 2 * gaussian((6, dim), seed, stream=3).double()
    left = math.sqrt(a) * m.posterior_mean(x, a)
    torch.testing.assert_close(left, x + (1 - a) * m.score(x, a), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(
        m.v(x, a), math.sqrt(a) * m.eps(x, a) - math.sqrt(1 - a) * m.posterior_mean(x, a)
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 4), levels)
def test_bayes(seed, components, dim, a):
    """The classifier's gradient is the conditional score minus the unconditional one."""
    m = random_mixture(seed, components, dim)
    x = (2 * gaussian((6, dim), seed, stream=3).double()).requires_grad_()
    p = m.class_posterior(x, a)
    torch.testing.assert_close(p.sum(1), torch.ones(6, dtype=torch.float64))
    for y in range(m.num_classes):
        (grad,) = torch.autograd.grad(m.class_log_posterior(x, a)[:, y].sum(), x)
        difference = m.conditional(y).score(x, a) - m.score(x, a)
        torch.testing.assert_close(grad, difference, rtol=1e-8, atol=1e-8)
    direct = m.weights[m.labels == 0].sum() * m.conditional(0).log_prob(x, a).exp() / m.log_prob(x, a).exp()
    torch.testing.assert_close(p[:, 0], direct, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("a", [1.0, 0.6, 0.05, 0.0])
def test_density_integrates_to_one_and_gives_the_moments(a):
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    density = LINE.log_prob(grid[:, None], a).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-10)
    mean = torch.trapezoid(density * grid, grid)
    assert mean.item() == pytest.approx(math.sqrt(a) * LINE.mean.item(), abs=1e-10)
    variance = torch.trapezoid(density * (grid - mean) ** 2, grid).item()
    assert variance == pytest.approx(a * LINE.cov.item() + 1 - a, abs=1e-9)
    assert LINE.at(a).cov.item() == pytest.approx(variance, abs=1e-9)
    torch.testing.assert_close(LINE.at(a).log_prob(grid[:, None]), LINE.log_prob(grid[:, None], a))


def test_posterior_mean_by_quadrature():
    a, x_t = 0.4, 0.7
    likelihood = stats.norm(loc=x_t, scale=math.sqrt(1 - a))

    def joint(x0: float) -> float:
        return LINE.log_prob(torch.tensor([[x0]], dtype=torch.float64)).exp().item() * likelihood.pdf(
            math.sqrt(a) * x0
        )

    mass = integrate.quad(joint, -8, 8, limit=200)[0]
    mean = integrate.quad(lambda x0: x0 * joint(x0), -8, 8, limit=200)[0] / mass
    ours = LINE.posterior_mean(torch.tensor([[x_t]], dtype=torch.float64), a).item()
    assert ours == pytest.approx(mean, abs=1e-8)


def test_pure_noise_and_points():
    m = random_mixture(3, 4, 2)
    x = gaussian((5, 2), 1).double()
    torch.testing.assert_close(m.eps(x, 0.0), x)
    torch.testing.assert_close(m.v(x, 0.0), -m.mean.expand(5, 2))
    points = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], [0.0, 0.0])
    assert points.eps(x, 0.5).isfinite().all()
    assert (points.posterior_mean(x, 0.99) - points.means[(x[:, 0] > 0).long()]).abs().max() < 1e-3
    with pytest.raises(ValueError, match="covs is .*; allowed: positive definite"):
        points.log_prob(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_x(dtype):
    m = random_mixture(3, 4, 2)
    x = gaussian((5, 2), 1).to(dtype)
    for value in (m.log_prob(x, 0.5), m.eps(x, 0.5), m.posterior_mean(x, 0.5), m.posterior_sample(x, 0.5, 1)):
        assert value.dtype == dtype
    torch.testing.assert_close(m.eps(x, 0.5), m.eps(x.double(), 0.5).to(dtype), rtol=1e-4, atol=1e-5)


def test_samples_follow_the_density():
    for a in (1.0, 0.3):
        x = LINE.sample(20_000, seed=4, alpha_bar=a)
        assert (
            stats.kstest(x[:, 0].numpy(), lambda q, a=a: LINE.at(a).cdf(torch.tensor(q)).numpy()).pvalue
            > 1e-3
        )
    m = random_mixture(5, 3, 3)
    mean, cov = moment_distances(m.sample(40_000, seed=1), m)
    assert mean < 0.05 and cov < 0.15
    assert torch.equal(m.sample(10, seed=1), m.sample(40, seed=1)[:10])


def test_posterior_samples_undo_the_noise():
    """x_0 drawn given a forward x_t follows the data's law, and its mean given x_t is the posterior mean."""
    x_t = LINE.sample(20_000, seed=2, alpha_bar=0.4)
    x_0 = LINE.posterior_sample(x_t, 0.4, seed=3)
    assert stats.kstest(x_0[:, 0].numpy(), lambda q: LINE.cdf(torch.tensor(q)).numpy()).pvalue > 1e-3
    same = torch.full((20_000, 1), 0.7, dtype=torch.float64)
    x_0 = LINE.posterior_sample(same, 0.4, seed=3)
    limit = 4 * x_0.std().item() / math.sqrt(len(x_0))
    assert abs((x_0.mean() - LINE.posterior_mean(same[:1], 0.4)).item()) < limit


def test_cdf_and_quantile():
    grid = torch.linspace(-5, 6, 50, dtype=torch.float64)
    for x in (-2.0, 0.4, 3.0):
        area = integrate.quad(
            lambda q: LINE.log_prob(torch.tensor([[q]], dtype=torch.float64)).exp().item(), -9, x, limit=200
        )
        assert LINE.cdf(x).item() == pytest.approx(area[0], abs=1e-7)
    torch.testing.assert_close(LINE.quantile(LINE.cdf(grid)), grid, rtol=0, atol=1e-6)


def test_projection():
    m = random_mixture(5, 3, 3)
    d = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    x = m.sample(20_000, seed=1) @ d
    assert stats.kstest(x.numpy(), lambda q: m.project(d).cdf(torch.tensor(q)).numpy()).pvalue > 1e-3


def test_wasserstein():
    x = gaussian((1, 2000), 1)[0].double()
    assert wasserstein_1d(x, x.flip(0)) == 0
    for p in (1, 2):
        assert wasserstein_1d(x, x + 3, p) == pytest.approx(3)
    assert wasserstein_1d(x, 2 * x, 1) == pytest.approx(stats.wasserstein_distance(x, 2 * x))
    shifted = GaussianMixture([1.0], [[2.0]], [1.0])
    exact = GaussianMixture([1.0], [[0.0]], [1.0]).quantile((torch.arange(500) + 0.5) / 500)
    assert wasserstein_1d(exact, shifted, 2) == pytest.approx(2, abs=1e-6)


def test_sliced_wasserstein_and_moments_see_a_shift():
    m = random_mixture(5, 3, 2)
    x = m.sample(4000, seed=1)
    shift = torch.tensor([1.0, -0.5], dtype=torch.float64)
    near, far = sliced_wasserstein(x, m), sliced_wasserstein(x + shift, m)
    expected = shift.norm().item() / math.sqrt(2)  # the mean of (direction . shift)^2 is shift^2 / D
    assert near < 0.3 * far and far == pytest.approx(expected, rel=0.15)
    assert sliced_wasserstein(x, x + shift) == pytest.approx(expected, rel=0.15)
    assert moment_distances(x + shift, m)[0] == pytest.approx(shift.norm().item(), rel=0.1)


# Samplers in this world


PLANE = GaussianMixture(
    [0.4, 0.35, 0.25],
    [[-1.5, -0.5], [1.2, 0.8], [0.3, -1.8]],
    [[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.05], [-0.05, 0.4]], [[0.25, 0.0], [0.0, 0.25]]],
)


def levels_between(start: float, stop: float, n: int) -> list[float]:
    """n steps, even in the log of the signal-to-noise ratio: away from alpha_bar = 1 nothing is stiff."""
    ends = [math.log(a / (1 - a)) for a in (start, stop)]
    return torch.sigmoid(torch.linspace(*ends, n + 1, dtype=torch.float64)).tolist()


def solve(sampler: str, n: int, x: torch.Tensor) -> torch.Tensor:
    *_, last = walk(PLANE.eps, x, path(levels_between(0.02, 0.9, n)), sampler)
    return last.x_s


@pytest.fixture(scope="module")
def reference():
    x = PLANE.sample(64, seed=1, alpha_bar=0.02)
    return x, solve("heun", 2000, x)


@pytest.mark.parametrize(
    "sampler, order", [("ddim", 1), ("euler", 1), ("euler-u2", 1), ("heun", 2), ("dpm++2m", 2)]
)
def test_order_of_convergence(sampler, order, reference):
    """The slope of log error against log steps, over three doublings."""
    x, truth = reference
    steps = [32, 64, 128, 256]
    errors = [(solve(sampler, n, x) - truth).norm(dim=1).mean().item() for n in steps]
    slope = -stats.linregress([math.log(n) for n in steps], [math.log(e) for e in errors]).slope
    assert slope == pytest.approx(order, abs=0.2), errors


def test_euler_is_deterministic_ddim():
    x = gaussian((8, 2), 3).double()
    torch.testing.assert_close(solve("euler", 20, x), solve("ddim", 20, x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "sampler, eta", [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0), ("heun", 0.0), ("dpm++2m", 0.0)]
)
def test_whole_chain_reaches_the_data(sampler, eta):
    schedule = NoiseSchedule.linear()
    x = gaussian((3000, 2), 5).double()
    steps = 200 if sampler == "ddpm" or eta else 40
    noise = step_noise(x.shape, 5)
    run = trajectory(PLANE.denoiser(schedule), x, schedule, steps, sampler, eta, noise, spacing="trailing")
    *_, last = run
    assert sliced_wasserstein(last.x_s, PLANE, projections=16) < 0.12


def test_ddpm_in_few_steps_is_wrong_and_ddim_less_so():
    """The reverse of a long step is no Gaussian."""
    schedule = NoiseSchedule.linear()
    x = gaussian((2000, 2), 5).double()
    distance = {}
    for sampler in ("ddim", "ddpm"):
        noise = step_noise(x.shape, 5)
        *_, last = trajectory(
            PLANE.denoiser(schedule), x, schedule, 10, sampler, noise=noise, spacing="trailing"
        )
        distance[sampler] = sliced_wasserstein(last.x_s, PLANE, projections=16)
    assert distance["ddim"] < 0.8 * distance["ddpm"]


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: GaussianMixture([], [], []), "weights"),
        (lambda: GaussianMixture([1.0, -1.0], [[0.0], [1.0]], [1.0, 1.0]), "weights"),
        (lambda: GaussianMixture([1.0], [0.0], [1.0]), "means"),
        (lambda: GaussianMixture([1.0], [[math.nan]], [1.0]), "means"),
        (lambda: GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0]]]), "covs"),
        (lambda: GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.3], [0.0, 1.0]]]), "covs"),
        (lambda: GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), "covs"),
        (lambda: GaussianMixture([1.0], [[0.0]], [1.0], labels=[1]), "labels"),
        (lambda: LINE.log_prob(torch.zeros(3)), r"x\.shape is .*; allowed: \(B, 1\)"),
        (lambda: LINE.eps(torch.zeros(3, 1), 1.2), "alpha_bar"),
        (lambda: LINE.conditional(3), "label"),
        (lambda: LINE.quantile(1.0), "u is .*; allowed:"),
        (lambda: PLANE.cdf(0.0), "one-dimensional"),
        (lambda: wasserstein_1d(torch.zeros(0), torch.zeros(0)), "x is .*; allowed:"),
        (lambda: wasserstein_1d(torch.zeros(2), torch.zeros(3)), "truth"),
        (lambda: wasserstein_1d(torch.zeros(2), torch.zeros(2), p=3), "p is .*; allowed:"),
        (lambda: sliced_wasserstein(torch.zeros(2), PLANE), "x.shape.* is .*; allowed:"),
        (lambda: moment_distances(torch.zeros(2, 3), PLANE), "x.shape is .*; allowed:"),
    ],
)
def test_bad_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
