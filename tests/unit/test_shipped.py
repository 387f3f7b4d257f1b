"""The weights that ship: what the recorded evaluation says of them, re-measured on a small sample."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from diffusion_tutorial import gaussian
from diffusion_tutorial import results as record
from diffusion_tutorial.metrics import rate, wilson
from diffusion_tutorial.still_life import evaluate
from diffusion_tutorial.still_life.classifier import NoisyClassifier
from diffusion_tutorial.still_life.judge import Judge
from diffusion_tutorial.still_life.scenes import ATTRIBUTES, render, sample_scenes
from diffusion_tutorial.training import card

FOLDER = Path(str(files("diffusion_tutorial.still_life") / "model"))
RECORDED = json.loads(
    (files("diffusion_tutorial") / "results" / "still_life.json").read_text(encoding="utf-8")
)
READERS = ("judge.safetensors", "classifier.safetensors", "classifier-clean.safetensors")


@pytest.fixture(scope="module")
def judge():
    return Judge.load()


@pytest.fixture(scope="module")
def model():
    from diffusion_tutorial.checkpoints import load

    return load("still-life")


def agrees(measured, recorded: dict) -> bool:
    """Does a small fresh sample contradict the record? 99.99% intervals, so that chance alone hardly ever does."""
    again = wilson(measured.value * measured.n, measured.n, confidence=0.9999)
    return again.low <= recorded["high"] and recorded["low"] <= again.high


def test_the_judge_reads_fresh_scenes(judge):
    found = evaluate.judge_accuracy(judge, 500, seed=123_456)
    for name in ATTRIBUTES:
        assert agrees(found["accuracy"][name], RECORDED["judge"]["accuracy"][name]), name
    assert all(found["accuracy"][name].high >= evaluate.BARS["judge"] for name in ATTRIBUTES)


def test_the_autoencoder_keeps_what_the_record_says(model, judge):
    found = evaluate.autoencoder_quality(model, judge, 100, seed=123_457)
    assert found["psnr"].value == pytest.approx(RECORDED["autoencoder"]["psnr"]["value"], abs=1.0)
    for name in ATTRIBUTES:
        assert agrees(found["accuracy"][name], RECORDED["autoencoder"]["accuracy"][name]), name


def test_samples_follow_their_captions_as_recorded(model, judge):
    found = evaluate.caption_adherence(model, judge, 48, held_out=False, steps=15, seed=123_458)
    assert agrees(found["adherence"], RECORDED["captions"]["adherence"])
    assert agrees(found["all_right"], RECORDED["captions"]["all_right"])


def test_a_caption_decides_the_picture(model, judge):
    """The same noise with two captions gives two pictures, each as said."""
    x = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(0)).repeat(2, 1, 1, 1)
    captions = ["a large red cube on a gray floor", "a large blue sphere on a yellow floor"]
    read = judge.read(model.sample(captions, num_inference_steps=15, latents=x).images)
    for name, values in {
        "shape": ("cube", "sphere"),
        "colour": ("red", "blue"),
        "floor": ("gray", "yellow"),
    }.items():
        assert tuple(ATTRIBUTES[name][i] for i in read[name].tolist()) == values


def test_sizes_are_what_a_page_can_carry():
    size = sum(p.stat().st_size for p in FOLDER.rglob("*") if p.name not in (*READERS, "README.md"))
    assert size <= 13e6
    assert sum((FOLDER / name).stat().st_size for name in READERS) <= 2.5e6
    assert card.parameters(FOLDER / "unet" / "diffusion_pytorch_model.safetensors") <= 4.5e6
    assert not [p for p in FOLDER.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


def test_the_card_and_the_record_agree():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for what, got, sign, bar, met in evaluate.bars(RECORDED):
        assert f"| {what} | {got:.4g} | {sign} {bar:g} | {'met' if met else '**not met**'} |" in text
    assert "accelerate launch -m diffusion_tutorial.training" in text and "| denoiser |" in text


def test_nothing_in_the_folder_names_a_machine():
    for file in FOLDER.rglob("*"):
        if file.suffix in (".json", ".md", ".txt"):
            text = file.read_text(encoding="utf-8")
            assert "/root" not in text and "/tmp" not in text and "/home" not in text, file.name


def test_the_law_of_what_is_unsaid():
    assert evaluate.law("colour", {"shape": "sphere"}) == pytest.approx([1 / 7] * 7 + [0])
    assert evaluate.law("shape", {"colour": "red"}) == pytest.approx([0.2] * 5)
    assert evaluate.law("shape", {"colour": "pink"}) == pytest.approx([0] + [0.25] * 4)
    assert evaluate.law("wall", {"shape": "cone"}) == pytest.approx([0.25] * 4)
    both = evaluate.law("colour", {})
    assert both[0] == pytest.approx(5 / 35) and both[-1] == pytest.approx(4 / 35)


@pytest.mark.parametrize("t", [0, 300, 600])
def test_the_classifier_reads_noised_latents_as_recorded(model, t):
    """Fresh scenes, 400 of them: within chance of what results/guidance.json says for the same timestep."""
    scenes = sample_scenes(400, 123_461)
    x_t = model.encode(render(scenes))
    x_t = model.schedule.add_noise(x_t, gaussian(tuple(x_t.shape), 77), t)
    read = NoisyClassifier.load("noisy").read(x_t, t)
    recorded = {point["t"]: point for point in record.read("guidance")["measured"]["accuracy"]["noisy"]}[t]
    for k, name in enumerate(ATTRIBUTES):
        found = rate((read[name] == scenes.labels[:, k]).long(), 1)
        assert agrees(found, recorded["by_attribute"][name]), name


def test_the_clean_classifier_is_lost_in_noise(model):
    scenes = sample_scenes(200, 123_462)
    x_0 = model.encode(render(scenes))
    x_t = model.schedule.add_noise(x_0, gaussian(tuple(x_0.shape), 78), 500)
    shape, clean = scenes.labels[:, 0], NoisyClassifier.load("clean")
    right = [
        (c.read(x, t)["shape"] == shape).double().mean()
        for c, x, t in ((clean, x_0, 0), (clean, x_t, 0), (NoisyClassifier.load("noisy"), x_t, 500))
    ]
    assert right[0] > 0.97 and right[1] < right[2] - 0.1, right
