"""The attention widget, driven without a browser: its maps are those of the controls, and say so."""

import pytest
import torch
from dragging import drag, given_up, slow_sample

from diffusion_tutorial.checkpoints import random_pipeline, wrap
from diffusion_tutorial.checkpoints.attention import recording, words
from diffusion_tutorial.errors import UnsupportedModelError
from diffusion_tutorial.guidance import COND, NEG
from diffusion_tutorial.widgets import attention_widget


@pytest.fixture(scope="module")
def model():
    return wrap(random_pipeline(), "tiny")


@pytest.fixture
def widget(model):
    made = attention_widget(model, "red cats", steps=3, step=2, scale=1, delay=0.02)
    yield made
    assert made.wait(60)


def agrees(widget, model):
    """Each map is the one that a run of these settings has, and the page names settings and words."""
    shown, s = widget.shown, widget.shown.settings
    assert shown.settings == widget.settings and s.label() in widget.picture.value
    negative = s.negative_prompt if s.negative_prompt and s.guidance_scale != 1 else None
    with recording(model) as seen:
        model.sample(s.prompt, negative, s.num_inference_steps, s.guidance_scale, seed=s.seed)
    wanted = {w: seen.map(p, COND, [s.step - 1])[0] for w, p in words(model, s.prompt).items()}
    if negative:
        found = words(model, negative).items()
        wanted |= {f"not {w}": seen.map(p, NEG, [s.step - 1])[0] for w, p in found}
    assert list(shown.maps) == list(wanted)
    for word, one in shown.maps.items():
        assert torch.equal(one, wanted[word]), word
        assert word in widget.picture.value


def test_maps_are_there_at_once(widget, model):
    assert list(widget.shown.maps) == ["red", "cats"] and widget.error == ""
    agrees(widget, model)


@pytest.mark.parametrize(
    "name, value",
    [("prompt", "a blue thing"), ("negative_prompt", "dogs"), ("step", 3), ("guidance", 1.0), ("seed", 4)],
)
def test_each_control_makes_new_maps(widget, model, name, value):
    before = widget.shown
    getattr(widget, name).value = value
    assert widget.wait(60) and widget.error == "" and widget.shown is not before
    agrees(widget, model)


def test_another_step_is_no_new_run(widget, model, monkeypatch):
    monkeypatch.setattr(model, "sample", lambda *_, **__: pytest.fail("drawn again"))
    widget.step.value = 1
    assert widget.wait(60) and widget.error == ""
    monkeypatch.undo()
    agrees(widget, model)


def test_a_negative_has_no_maps_at_scale_1(widget, model):
    widget.negative_prompt.value = "dogs"
    widget.guidance.value = 1.0
    assert widget.wait(60) and list(widget.shown.maps) == ["red", "cats"]
    agrees(widget, model)


def test_dragging_gives_up_old_runs(model, monkeypatch):
    made = attention_widget(model, "red", steps=6, step=1, scale=1, delay=0.02)
    reached = slow_sample(monkeypatch, model)
    drag(made, made.seed, (1, 2, 3), pause=0.15)
    monkeypatch.undo()
    assert made.shown.settings.seed == 3 and made.error == ""
    assert len([1 for _, index in reached if index == 5]) == 1 and given_up(reached, last=6) == set()


def test_errors_are_shown(widget, monkeypatch, model):
    monkeypatch.setattr(
        model, "check_prompt", lambda text, name: (_ for _ in ()).throw(ValueError("no such word"))
    )
    widget.prompt.value = "blue"
    assert widget.wait(60) and widget.error == "no such word" and widget.picture.value == ""


def test_a_model_with_a_loop_of_its_own_is_refused():
    with pytest.raises(UnsupportedModelError, match="model is .*allowed: one that our samplers drive"):
        attention_widget(wrap(random_pipeline(kind="FluxPipeline")), "red")
