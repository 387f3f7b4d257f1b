"""The guidance widgets, driven without a browser: strips and paths are those of the controls, and say so."""

import math
import threading
import time

import pytest
import torch
from dragging import drag, given_up, slow_sample

from diffusion_tutorial import (
    ClassifierFree,
    ClassifierGuidance,
    Conditional,
    GaussianMixture,
    Interval,
    gaussian,
)
from diffusion_tutorial.checkpoints import random_pipeline, wrap
from diffusion_tutorial.mixtures import GuidedMixture, noise_to_data, solve
from diffusion_tutorial.samplers import Moment
from diffusion_tutorial.widgets import guidance as module
from diffusion_tutorial.widgets.guidance import (
    PerPicture,
    guidance_widget,
    guided_plane_widget,
    scales_to,
)

PLANE = GaussianMixture([1, 1, 1], [[0.0, 1.0], [1.9, 1.3], [-1.2, -0.4]], [0.2, 0.1, 0.3], labels=[0, 0, 1])


def pull(x_t, t, prompt):
    """Stands for a classifier's gradient: depends on all that it is given."""
    return -x_t * (1 + t / 1000) * len(prompt) / 10


@pytest.fixture(scope="module")
def model():
    return wrap(random_pipeline(), "tiny")


@pytest.fixture
def widget(model):
    made = guidance_widget(model, "red", pull, steps=2, scale=1, delay=0.02)
    yield made
    assert made.wait(60)


def agrees(widget, model):
    """Each picture is the one that `sample` makes with that rule alone, and the page names the settings."""
    shown, s = widget.shown, widget.shown.settings
    assert shown.settings == widget.settings and s.label() in widget.picture.value
    start = gaussian((1, *model.latent_shape), s.seed)
    for method, samples in shown.samples.items():
        for scale, picture in zip(shown.scales, samples.images, strict=True):
            rule = ClassifierFree(scale)
            if method == "interval":
                rule = Interval(rule, *s.interval)
            if method == "classifier":
                rule = ClassifierGuidance(scale, lambda x, t: pull(x, t, s.prompt))
            one = model.sample(
                s.prompt, num_inference_steps=s.num_inference_steps, guidance=rule, latents=start
            )
            assert (one.images[0] - picture).abs().max() < 1e-4, (method, scale)


def test_strips_of_all_methods_are_there_at_once(widget, model):
    assert list(widget.shown.samples) == ["classifier", "classifier-free", "interval"]
    agrees(widget, model)
    # Scale 0 is the unconditional model for both methods.
    first = [widget.shown.samples[m].images[0] for m in ("classifier", "classifier-free")]
    assert (first[0] - first[1]).abs().max() < 1e-4
    page = widget.picture.value
    assert page.count("<img") == 1 and "A row each for classifier, classifier-free, interval" in page
    assert "0, 1, 2, 4, 8" in page


@pytest.mark.parametrize(
    "name, value",
    [
        ("prompt", "a blue thing"),
        ("method", "classifier-free"),
        ("method", "interval"),
        ("method", "classifier"),
        ("largest", 12.0),
        ("interval", (0.5, 1.0)),
        ("steps", 3),
        ("seed", 4),
    ],
)
def test_each_control_makes_new_strips(widget, model, name, value):
    before = widget.shown
    getattr(widget, name).value = value
    assert widget.wait(60) and widget.error == "" and widget.shown is not before
    agrees(widget, model)
    if name == "method":
        assert list(widget.shown.samples) == [value] and widget.interval.disabled == (value != "interval")


@pytest.mark.parametrize("architecture", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_any_model_without_a_classifier_has_the_other_rows(architecture):
    made = guidance_widget(wrap(random_pipeline(kind=architecture)), "red", steps=1, scale=1)
    assert made.error == "" and list(made.shown.samples) == ["classifier-free", "interval"]
    with pytest.raises(Exception, match="(?i)invalid selection"):
        made.method.value = "classifier"


def test_dragging_gives_up_old_strips(widget, model, monkeypatch):
    reached = slow_sample(monkeypatch, model)
    seen = drag(widget, widget.steps, (20, 22, 4), pause=0.15)
    monkeypatch.undo()
    agrees(widget, model)
    assert given_up(reached, last=4)
    assert not any("20 steps" in page or "22 steps" in page for page in seen)


def test_errors_are_shown(widget, monkeypatch, model):
    monkeypatch.setattr(
        model, "check_prompt", lambda text, name: (_ for _ in ()).throw(ValueError("no such word"))
    )
    widget.prompt.value = "blue"
    assert widget.wait(60) and widget.error == "no such word" and widget.picture.value == ""


# ------------------------------------------------------------------------------------------------------------
# A rule a picture


def test_per_picture_is_each_rule_alone(model):
    rules = [
        ClassifierFree(0.0),
        ClassifierFree(1.0),
        ClassifierFree(5.0),
        Interval(ClassifierFree(3.0), 0.5, 1.0),
    ]
    rule = PerPicture(rules)
    assert rule.branches == ("uncond", "cond")
    assert rule.needs(Moment(0, 4, 500, 0.5)) == ("uncond", "cond")
    assert PerPicture([Conditional(), ClassifierFree(1.0)]).needs(Moment(0, 4, 500, 0.5)) == ("cond",)
    latents = gaussian((1, *model.latent_shape), 3).repeat(4, 1, 1, 1)
    together = model.sample("red", num_inference_steps=4, num_images=4, guidance=rule, latents=latents)
    for one, picture in zip(rules, together.images):
        alone = model.sample("red", num_inference_steps=4, guidance=one, latents=latents[:1])
        assert (alone.images[0] - picture).abs().max() < 1e-4
    with pytest.raises(ValueError, match="rules is '4 rules'; allowed: 1, one a picture"):
        model.sample("red", num_inference_steps=1, guidance=rule, latents=latents[:1])
    with pytest.raises(ValueError, match="rules is"):
        PerPicture([])


def test_scales_begin_with_nothing_and_bayes():
    assert scales_to(8.0) == [0.0, 1.0, 2.0, 4.0, 8.0]
    for largest in (2.0, 5.0, 32.0):
        scales = scales_to(largest)
        assert scales[:2] == [0, 1] and scales[-1] == largest and scales == sorted(scales)


# ------------------------------------------------------------------------------------------------------------
# Points in the plane


@pytest.fixture
def plane():
    made = guided_plane_widget(PLANE, steps=10, points=60, delay=0.02)
    yield made
    assert made.wait(60)


def points_agree(plane):
    shown, s = plane.shown, plane.shown.settings
    guided = GuidedMixture(PLANE, s.label_of_class, s.scale)
    x = gaussian((60, 2), s.seed).double()
    ends = solve(guided, x, noise_to_data(s.num_inference_steps), s.sampler, seed=s.seed)
    assert torch.allclose(shown.positions[-1], ends) and len(shown.positions) == s.num_inference_steps + 1
    page = plane.picture.value
    assert (
        s.label() in page and f"from it: {shown.guided:.2f}; without guidance: {shown.unguided:.2f}" in page
    )


@pytest.mark.parametrize(
    "name, value", [("scale", 6.0), ("sampler", "ddpm"), ("target", 1), ("steps", 12), ("seed", 3)]
)
def test_each_control_of_the_plane_makes_new_paths(plane, name, value):
    before = plane.shown
    getattr(plane, name).value = value
    assert plane.wait(60) and plane.error == "" and plane.shown is not before
    assert plane.shown.settings == plane.settings
    points_agree(plane)


def test_guided_paths_end_farther_from_the_tilted_density_than_unguided_ones(plane):
    points_agree(plane)
    plane.steps.value = 60
    assert plane.wait(60)
    assert plane.shown.guided > plane.shown.unguided > 0 and math.isfinite(plane.shown.floor)
    plane.scale.value = 1.0
    assert plane.wait(60)
    assert plane.shown.guided == pytest.approx(plane.shown.unguided)


def test_the_plane_stops_when_told(plane, monkeypatch):
    started, real = threading.Event(), module.walk

    def slow(*args):
        for step in real(*args):
            started.set()
            time.sleep(0.02)
            yield step

    monkeypatch.setattr(module, "walk", slow)
    plane.steps.value = 50
    assert started.wait(10)
    plane.steps.value = 6
    assert plane.wait(60)
    monkeypatch.undo()
    points_agree(plane)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="mixture has 1 dimensions; allowed: 2"):
        guided_plane_widget(GaussianMixture([1.0], [[0.5]], [0.01]))
