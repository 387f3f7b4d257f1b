"""The sampler widget, driven without a browser: picture and label belong together, however fast one drags."""

import io
import re
import threading
import time

import numpy as np
import pytest
from PIL import Image

from diffusion_tutorial.checkpoints import random_pipeline
from diffusion_tutorial.denoisers import TextToImage
from diffusion_tutorial.widgets import STATIC, sampler_widget


@pytest.fixture(scope="module")
def model():
    return TextToImage.from_pipeline(random_pipeline(), "tiny")


@pytest.fixture
def widget(model):
    made = sampler_widget(model, "red", steps=2, scale=1, delay=0.02)
    yield made
    assert made.wait(30)


def expected(model, settings):
    one = model.sample(
        settings.prompt, settings.negative_prompt or None, settings.num_inference_steps,
        settings.guidance_scale, settings.sampler, seed=settings.seed,
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
    ],
)
def test_each_control_makes_a_new_picture(widget, model, name, value):
    getattr(widget, name).value = value
    assert widget.wait(30) and widget.error == ""
    assert widget.shown.settings == widget.settings
    agrees(widget, model)


def test_fast_dragging_shows_no_stale_work(widget, model, monkeypatch):
    """Each step is slowed; every state seen meanwhile pairs a picture with its own label."""
    real, started, stopped = model.sample, [], []

    def slow(prompt, *args, callback=None, **kwargs):
        def wait(*step):
            time.sleep(0.05)
            return callback(*step)

        started.append(args[1])
        done = real(prompt, *args, callback=wait, **kwargs)
        if done.stopped:
            stopped.append(args[1])
        return done

    monkeypatch.setattr(model, "sample", slow)
    seen, ended = set(), threading.Event()

    def watch():
        while not ended.is_set():
            seen.add(widget.picture.value)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for steps in (10, 12, 14, 16, 8):
        widget.steps.value = steps
        time.sleep(0.06)  # long enough for a run to start, too short for it to end
    assert widget.wait(30)
    ended.set()
    watcher.join()
    seen.add(widget.picture.value)
    assert widget.shown.settings.num_inference_steps == 8
    monkeypatch.undo()
    agrees(widget, model)
    assert stopped and set(stopped) <= {10, 12, 14, 16}  # begun, given up
    labels = [int(re.search(r"(\d+) steps of", page)[1]) for page in seen]
    nfes = [int(re.search(r"(\d+) evaluations", page)[1]) for page in seen]
    assert set(labels) == {2, 8}  # the first and the last: nothing in between was shown
    assert [2 * n for n in labels] == nfes


def test_errors_are_shown_and_leave_with_the_next_picture(widget, model):
    widget.prompt.value = ""
    assert widget.wait(30)
    assert "prompt is empty" in widget.error and "prompt is empty" in widget.status.value
    assert widget.shown is None and widget.picture.value == ""  # no old picture beside it
    widget.prompt.value = "<b>" * 30
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
