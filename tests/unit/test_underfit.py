"""Networks fitted too little in the plane: the formula of the best scale, and what the stored measurement says."""

import pytest
import torch

from diffusion_tutorial.mixtures import underfit
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.results import read


def test_the_best_scale_is_the_bottom_of_the_parabola():
    eps, other, exact = (gaussian((3, 50, 2), seed=k).double() for k in (1, 2, 3))
    best = underfit.best_scale(eps, other, exact)

    def error(s):
        return (other + s[:, None, None] * (eps - other) - exact).square().sum((1, 2))

    assert (error(best) < error(best + 0.01)).all() and (error(best) < error(best - 0.01)).all()
    assert torch.allclose(underfit.best_scale(exact, other, exact), torch.ones(3).double())


def test_a_twin_that_is_worse_in_the_same_direction_is_extrapolated_away():
    exact, error = (gaussian((2, 50, 2), seed=k).double() for k in (1, 2))
    best = underfit.best_scale(exact + error, exact + 3 * error, exact)
    assert torch.allclose(best, torch.full((2,), 1.5).double())  # 3 e + 1.5 (e - 3 e) = 0


def test_the_score_of_the_class_itself_and_of_a_point_elsewhere():
    one = underfit.world().conditional(0)
    own = underfit.score(one.sample(4000, 3)[None])
    assert own["outliers"] < 0.002 and own["bits"] > 1.99 and own["distance"] < 0.1
    far = underfit.score(torch.cat([one.means[:1].repeat(50, 1), torch.full((50, 2), -3.0).double()])[None])
    assert far["outliers"].item() == pytest.approx(0.5) and far["bits"].item() == pytest.approx(0)


def test_networks_of_a_few_steps_can_be_guided():
    fitted = underfit.fit(copies=2, steps=20, less=5, width=8)
    plain = underfit.draw(underfit.guided(fitted, "weak", 1), 2, points=20)
    assert plain.shape == (2, 20, 2) and plain.isfinite().all()
    late = underfit.draw(underfit.guided(fitted, "weak", 2.0, late=2.0), 2, points=20)
    assert torch.equal(late, plain)  # never late enough
    assert not torch.equal(underfit.draw(underfit.guided(fitted, "every", 2.0), 2, points=20), plain)
    exact = underfit.draw(underfit.exactly_guided(1.0, 1), 1, points=500)
    assert underfit.score(exact)["outliers"] < 0.02


def test_the_stored_measurement_is_of_this_module():
    found = read("guidance_plane")
    assert found["settings"]["late"] == underfit.LATE and found["settings"]["steps"] == underfit.STEPS
    assert not found["commit"].endswith("-dirty")
    for a in underfit.LEVELS:
        errors = found["measured"][f"errors, {a:g}"]
        assert errors["error of the weak twin"]["value"] > errors["error of the model"]["value"]
