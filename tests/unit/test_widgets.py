"""The widgets, driven without a browser: picture and label belong together, however fast one drags."""

import io
import re
import time

import ipywidgets as ipw
import numpy as np
import pytest
import torch
from dragging import STEP, drag, given_up, slow_sample
from PIL import Image

from diffusion_tutorial import GaussianMixture, NoiseSchedule, gaussian, step_noise, trajectory
from diffusion_tutorial.checkpoints import random_pipeline, wrap
from diffusion_tutorial.errors import PromptError
from diffusion_tutorial.mixtures import tiny
from diffusion_tutorial.plots import path_picture
from diffusion_tutorial.widgets import (
    STATIC,
    LiveWidget,
    Shown,
    mixture_widget,
    picture_page,
    sampler_widget,
)
from diffusion_tutorial.widgets import mixture as module


@pytest.fixture(scope="module")
def model():
    return wrap(random_pipeline(), "tiny")


@pytest.fixture
def widget(model):
    made = sampler_widget(model, "red", steps=2, scale=1, delay=0.02)
    yield made
    assert made.wait(30)


def expected(model, settings):
    one = model.sample(
        settings.prompt, settings.negative_prompt or None, settings.num_inference_steps,
        settings.guidance_scale, settings.sampler, settings.eta, seed=settings.seed, spacing=settings.spacing,
    )  # fmt: skip
    return np.asarray(one.pil()[0])


def agrees(widget, model):
    """The picture's bytes, the label in the page and the settings are of one run."""
    shown = widget.shown
    assert (np.asarray(Image.open(io.BytesIO(shown.png))) == expected(model, shown.settings)).all()
    page = widget.picture.value
    assert shown.settings.label() in page and f"{shown.samples.nfe} evaluations" in page


def test_the_first_picture_is_there_at_once(widget, model):
    assert widget.shown.settings == widget.settings
    agrees(widget, model)
    assert 'alt="Picture sampled for' in widget.picture.value


@pytest.mark.parametrize(
    "name, value",
    [
        ("prompt", "blue"),
        ("negative_prompt", "red"),
        ("steps", 3),
        ("guidance", 2.0),
        ("seed", 9),
        ("sampler", "heun"),
        ("eta", 0.5),
        ("spacing", "trailing"),
        ("filmstrip", False),
    ],
)
def test_each_control_makes_a_new_picture(widget, model, name, value):
    getattr(widget, name).value = value
    assert widget.wait(30) and widget.error == ""
    assert widget.shown.settings == widget.settings
    agrees(widget, model)


def test_fast_dragging_shows_no_stale_work(widget, model, monkeypatch):
    """Each step is slowed; every state seen meanwhile pairs a picture with its own label."""
    reached = slow_sample(monkeypatch, model)
    seen = drag(widget, widget.steps, (10, 12, 14, 16, 8), pause=0.06)
    monkeypatch.undo()
    agrees(widget, model)
    assert widget.shown.settings.num_inference_steps == 8 and given_up(reached, last=8)
    labels = [int(re.search(r"(\d+) steps of", page)[1]) for page in seen]
    nfes = [int(re.search(r"(\d+) evaluations", page)[1]) for page in seen]
    assert set(labels) == {2, 8}  # the first and the last: nothing in between was shown
    assert [2 * n for n in labels] == nfes


def test_errors_are_shown_and_leave_with_the_next_picture(widget, model, monkeypatch):
    widget.prompt.value = ""
    assert widget.wait(30)
    assert "prompt is empty" in widget.error and "prompt is empty" in widget.status.value
    assert widget.shown is None and widget.picture.value == ""  # no old picture beside it

    def refuse(text, name):
        if "<" in text:
            raise PromptError(f"{name} is {text!r}; allowed: words")

    monkeypatch.setattr(model, "check_prompt", refuse)
    widget.prompt.value = "<b>"
    assert widget.wait(30)
    assert "&lt;b&gt;" in widget.status.value and "<b>" not in widget.status.value
    widget.prompt.value = "blue"
    assert widget.wait(30) and widget.error == "" and widget.status.value == ""
    agrees(widget, model)


def test_other_exceptions_are_shown_too(widget, model, monkeypatch):
    monkeypatch.setattr(model, "sample", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("out of memory")))
    widget.seed.value = 4
    assert widget.wait(30)
    assert "RuntimeError: out of memory" in widget.status.value


def test_a_negative_prompt_without_effect_is_said(widget, model, recwarn):
    widget.guidance.value = 1.0
    widget.negative_prompt.value = "blue"
    assert widget.wait(30)
    assert "no effect" in widget.status.value and not recwarn.list
    agrees(widget, model)


def test_text_is_escaped(model):
    widget = sampler_widget(model, '<i>"red"</i>', steps=1, scale=1)
    assert "<i>" not in widget.picture.value and "&lt;i&gt;" in widget.picture.value


def test_without_a_kernel_it_is_a_picture(widget, monkeypatch):
    live = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in live and "<img" in live["text/html"]
    monkeypatch.setenv(STATIC, "1")
    still = widget._repr_mimebundle_()
    assert set(still) == {"text/html", "text/plain"} and still["text/html"] == widget.picture.value


def test_eta_belongs_to_ddim(widget):
    widget.eta.value = 0.8
    assert not widget.eta.disabled and widget.settings.eta == 0.8 and "eta 0.8" in widget.settings.label()
    widget.sampler.value = "ddpm"
    assert widget.eta.disabled and widget.settings.eta == 0 and "eta" not in widget.settings.label()
    assert widget.wait(30) and widget.error == ""
    widget.sampler.value = "ddim"
    assert not widget.eta.disabled and widget.settings.eta == 0.8


def test_spacing_reaches_the_sampler(widget, model):
    assert widget.spacing.value == model.schedule.spacing and widget.settings.spacing is None
    widget.spacing.value = "trailing"
    assert widget.wait(30) and "trailing" in widget.settings.label()
    assert widget.shown.samples.timesteps.tolist() == model.schedule.timesteps(2, "trailing").tolist()


def test_the_filmstrip_is_of_this_run(widget, model):
    widget.steps.value = 9
    assert widget.wait(30)
    page = widget.picture.value
    assert page.count("<img") == 2 and page.count("<figure") == 1 and "Filmstrip of that run" in page
    run = model.sample("red", None, 9, 4.0, seed=0)
    assert [s.t for s in widget.shown.samples.trajectory] == [s.t for s in run.trajectory]
    widget.filmstrip.value = False
    assert widget.wait(30)
    assert widget.picture.value.count("<img") == 1 and not widget.shown.samples.trajectory


def test_large_latents_have_no_filmstrip_unless_asked(model, monkeypatch):
    made = sampler_widget(model, "red", steps=1, scale=1)
    assert made.filmstrip.value
    monkeypatch.setattr("diffusion_tutorial.widgets.sampler._LARGE", 64)
    assert not sampler_widget(model, "red", steps=1, scale=1).filmstrip.value
    assert sampler_widget(model, "red", steps=1, scale=1, filmstrip=True).filmstrip.value


# ------------------------------------------------------------------------------------------------------------
# Points in the plane


@pytest.fixture
def plane():
    made = mixture_widget(steps=4, points=20, delay=0.02)
    yield made
    assert made.wait(30)


def points_agree(widget):
    """The points, the numbers in the page and the settings are of one run."""
    shown, s = widget.shown, widget.shown.settings
    x = gaussian((20, 2), s.seed).double()
    steps = trajectory(
        tiny.ring().denoiser(NoiseSchedule.linear()), x, NoiseSchedule.linear(), s.num_inference_steps,
        s.sampler, s.eta, step_noise(x.shape, s.seed), s.spacing,
    )  # fmt: skip
    *_, last = steps
    assert (shown.positions[-1] == last.x_s).all() and len(shown.positions) == s.num_inference_steps + 1
    assert shown.nfe == last.nfe
    page = widget.picture.value
    assert page == shown.page and s.label() in page and f"{last.nfe} evaluations" in page
    assert f"from the data: {shown.distance:.2f};" in page


def test_points_are_there_at_once(plane):
    assert plane.shown.settings == plane.settings
    points_agree(plane)


@pytest.mark.parametrize(
    "name, value",
    [
        ("sampler", "heun"),
        ("sampler", "ddpm"),
        ("steps", 7),
        ("eta", 1.0),
        ("spacing", "leading"),
        ("seed", 5),
    ],
)
def test_each_control_of_the_plane_makes_new_paths(plane, name, value):
    before = plane.shown
    getattr(plane, name).value = value
    assert plane.wait(30) and plane.error == ""
    assert plane.shown.settings == plane.settings and plane.shown is not before
    points_agree(plane)


def test_fast_dragging_of_the_plane_shows_no_stale_work(plane, monkeypatch):
    real, reached = module.trajectory, []

    def slow(denoiser, x, schedule, steps, *rest):
        for step in real(denoiser, x, schedule, steps, *rest):
            time.sleep(STEP)
            reached.append((steps, step.index))
            yield step

    monkeypatch.setattr(module, "trajectory", slow)
    seen = drag(plane, plane.steps, (20, 22, 24, 26, 6), pause=0.08)
    monkeypatch.undo()
    points_agree(plane)
    assert given_up(reached, last=6)
    assert {int(re.search(r"(\d+) steps of", page)[1]) for page in seen} == {4, 6}


def test_eta_of_the_plane_belongs_to_ddim(plane):
    plane.sampler.value = "dpm++2m"
    assert plane.eta.disabled and plane.settings.eta == 0


def test_the_plane_takes_other_mixtures_of_two_dimensions_only():
    blob = GaussianMixture([1.0], [[0.5, 0.0]], [0.01])
    made = mixture_widget(blob, steps=40, points=50, spacing="trailing")
    assert made.shown.positions[-1].mean(0).tolist() == pytest.approx([0.5, 0.0], abs=0.05)
    with pytest.raises(ValueError, match="mixture has 1 dimensions; allowed: 2"):
        mixture_widget(GaussianMixture([1.0], [[0.5]], [0.01]))


def test_path_picture_draws_ends_and_density():
    """A dark dot where the path ends, a ring where it starts, and blue where the density is."""
    ways = [torch.tensor([[-1.0, 1.0]]), torch.tensor([[1.0, -1.0]])]
    picture = path_picture(
        ways, lambda p: -8 * (p - torch.tensor([1.0, 1.0])).square().sum(1),
        limit=2.0, size=200, followed=1,
    )  # fmt: skip
    at = lambda x, y: picture.getpixel((round((x / 2 + 1) * 100), round((1 - y / 2) * 100)))  # noqa: E731
    assert min(at(-1, 1)) > 235 and at(1, -1) == (0, 114, 178)  # a ring of the first colour, a dot of it
    assert at(-0.5, 0.5)[0] < 60 and at(-0.5, -0.5) == (255, 255, 255)  # the line between
    red, _, blue = at(1, 1)
    assert blue - red > 80 and at(-1, -1) == (255, 255, 255)
    with pytest.raises(ValueError, match="positions"):
        path_picture([torch.zeros(1, 2)], lambda p: p.sum(1))


# ------------------------------------------------------------------------------------------------------------
# The base, for widgets to come


class Number(LiveWidget):
    """Waits `seconds`, in steps that ask whether to go on, and shows the number."""

    def __init__(self, seconds=0.0, **options):
        self.seconds, self.finished = seconds, []
        super().__init__({"number": ipw.IntSlider(value=0, min=0, max=99)}, **options)

    def _make(self, settings, callback):
        if settings["number"] == 13:
            raise ValueError("number is 13; allowed: others")
        for k in range(10):
            time.sleep(self.seconds / 10)
            if not callback(k, 10, None):
                return None
        self.finished.append(settings["number"])
        return picture_page(f"number {settings['number']}", (Image.new("RGB", (4, 4)), "A black square"))


def test_a_widget_may_be_made_of_controls_and_html():
    made = Number()
    assert made.shown == Shown({"number": 0}, made.picture.value) and "number 0" in made.picture.value
    made.number.value = 5
    assert made.wait(10) and "number 5" in made.picture.value and made.settings == {"number": 5}
    made.number.value = 13
    assert (
        made.wait(10)
        and made.shown is None
        and made.picture.value == ""
        and "number is 13" in made.status.value
    )
    assert made._repr_mimebundle_()["text/plain"] == "[number is 13; allowed: others]"


def test_work_that_finishes_too_late_is_not_shown():
    """A `_make` that ignores the callback still cannot put an old number under a new control."""

    class Deaf(Number):
        def _make(self, settings, callback):
            return super()._make(settings, lambda *step: True)

    made = Deaf(seconds=0.2, delay=0.01)
    made.number.value = 1
    time.sleep(0.1)  # the run of 1 has begun, and will finish
    made.number.value = 2
    seen = set()
    for _ in range(400):
        seen.add(made.picture.value)
        if made.wait(0.002):
            break
    assert made.wait(10) and made.finished == [0, 1, 2]
    assert "number 2" in made.picture.value and not any("number 1" in page for page in seen)


def test_names_that_the_widget_has_are_refused():
    with pytest.raises(ValueError, match="controls names 'children'"):
        LiveWidget({"children": ipw.IntSlider()})


def test_a_page_needs_pictures_with_alternatives():
    for pictures in ((), ((Image.new("RGB", (2, 2)), " "),)):
        with pytest.raises(ValueError, match="pictures"):
            picture_page("label", *pictures)
    page = picture_page("a <b>", (Image.new("RGB", (2, 2)), 'says "c"'))
    assert "a &lt;b&gt;" in page and "says &quot;c&quot;" in page
