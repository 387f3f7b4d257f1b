"""The noisy classifier: its log-probability, its gradient, what it refuses, and its files."""

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from diffusion_tutorial import results as record
from diffusion_tutorial.checkpoints import loading
from diffusion_tutorial.errors import CheckpointError
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.still_life.captions import parse
from diffusion_tutorial.still_life.classifier import NAMES, NoisyClassifier
from diffusion_tutorial.still_life.scenes import ATTRIBUTES
from diffusion_tutorial.training import card

FOLDER = Path(str(files("diffusion_tutorial.still_life") / "model"))
FILES = {"noisy": "classifier.safetensors", "clean": "classifier-clean.safetensors"}
SAID = parse("a large red sphere")
X = gaussian((5, 4, 16, 16), 31)


@pytest.fixture(scope="module")
def classifier():
    return NoisyClassifier.load()


def test_it_gives_a_law_for_each_attribute(classifier):
    logits = classifier(X, 300)
    assert {name: tuple(part.shape) for name, part in logits.items()} == {
        name: (5, len(values)) for name, values in ATTRIBUTES.items()
    }
    assert not any(p.requires_grad for p in classifier.parameters()) and not classifier.training


def test_the_log_probability_is_the_sum_over_what_is_said(classifier):
    logits = classifier(X, 300)
    by_hand = sum(
        logits[name].log_softmax(1)[:, ATTRIBUTES[name].index(value)] for name, value in SAID.items()
    )
    torch.testing.assert_close(classifier.log_prob(X, 300, SAID), by_hand)
    assert torch.equal(classifier.log_prob(X, 300, {}), torch.zeros(5))


def test_the_values_of_an_attribute_share_the_whole_probability(classifier):
    total = sum(classifier.log_prob(X, 700, {"wall": value}).exp() for value in ATTRIBUTES["wall"])
    torch.testing.assert_close(total, torch.ones(5))


def test_rows_may_be_told_different_things_and_stand_alone(classifier):
    said = [parse(text) for text in ("a cube", "a red sphere", "green floor", "a small object", "an object")]
    steps = torch.tensor([0, 200, 500, 800, 999])
    together = classifier.log_prob(X, steps, said)
    alone = [classifier.log_prob(X[k : k + 1], int(steps[k]), said[k])[0] for k in range(5)]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)
    gradient = classifier.grad_log_prob(X, steps, said)
    alone = [classifier.grad_log_prob(X[k : k + 1], int(steps[k]), said[k]) for k in range(5)]
    torch.testing.assert_close(gradient, torch.cat(alone), atol=1e-5, rtol=1e-4)
    assert gradient[4].abs().max() == 0  # nothing was said of the last


def test_the_gradient_is_that_of_finite_differences():
    """In float64, along three random ways at each of three timesteps."""
    classifier = NoisyClassifier.load().double()
    x, h = X.double(), 1e-5
    for t in (0, 400, 900):
        gradient = classifier.grad_log_prob(x, t, SAID)
        for seed in (1, 2, 3):
            way = gaussian(tuple(x.shape), seed, stream=4).double()
            ahead, behind = (classifier.log_prob(x + sign * h * way, t, SAID) for sign in (1, -1))
            slope = (gradient * way).sum((1, 2, 3))
            torch.testing.assert_close((ahead - behind) / (2 * h), slope, rtol=1e-5, atol=1e-6)


def test_the_gradient_needs_no_gradient_mode_and_leaves_its_input(classifier):
    x = X.clone()
    with torch.no_grad():
        gradient = classifier.grad_log_prob(x, 300, SAID)
    assert torch.equal(x, X) and not x.requires_grad and not gradient.requires_grad
    assert gradient.abs().amax((1, 2, 3)).min() > 0


def test_a_step_along_the_gradient_makes_the_text_more_likely(classifier):
    before = classifier.log_prob(X, 600, SAID)
    gradient = classifier.grad_log_prob(X, 600, SAID)
    after = classifier.log_prob(X + 1e-2 * gradient / gradient.norm(), 600, SAID)
    assert (after > before).all()


def test_the_noisy_classifier_listens_to_the_timestep(classifier):
    assert (classifier(X, 0)["shape"] - classifier(X, 900)["shape"]).abs().max() > 0.1


def test_reading_is_the_likeliest_value_whatever_the_batch(classifier):
    read = classifier.read(X, 300)
    assert all(torch.equal(read[name], part.argmax(1)) for name, part in classifier(X, 300).items())
    steps = torch.full((5,), 300)
    in_parts = classifier.read(X, steps, batch=2)
    assert all(torch.equal(in_parts[name], read[name]) for name in read)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda c: c(X[0], 0), "x_t is 'the shape .4, 16, 16.'; allowed: .B, 4, h, w."),
        (lambda c: c(X[:, :3], 0), "x_t is 'the shape .5, 3, 16, 16.'; allowed: .B, 4, h, w."),
        (lambda c: c.log_prob(X, 0, [SAID] * 4), "said is '4 rows'; allowed: 5"),
        (lambda c: c.log_prob(X, 0, {"colour": "mauve"}), "colour is 'mauve'"),
        (lambda c: c.log_prob(X, 0, {"colour": "mauve"}), "allowed: .*red"),
        (lambda c: NoisyClassifier.load("loud"), "name is 'loud'; allowed: .*noisy.*clean"),
    ],
)
def test_bad_input_is_named(classifier, call, message):
    with pytest.raises(ValueError, match=message):
        call(classifier)


def test_both_ship_and_differ():
    noisy, clean = (NoisyClassifier.load(name) for name in NAMES)
    assert set(FILES) == set(NAMES)
    assert not torch.equal(noisy.neck.weight, clean.neck.weight)
    a = NoisyClassifier.load("noisy", FOLDER / FILES["clean"])
    assert torch.equal(a.neck.weight, clean.neck.weight)  # a path decides over the name


@pytest.mark.parametrize("file", FILES.values())
def test_altered_classifiers_are_refused(tmp_path, monkeypatch, file):
    copy = tmp_path / "model"
    shutil.copytree(FOLDER, copy)
    monkeypatch.setattr(loading, "still_life_folder", lambda: copy)
    loading.verify(copy)
    content = bytearray((copy / file).read_bytes())
    content[-3] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{file} is not what SHA256SUMS says"):
        loading.verify(copy)
    (copy / file).unlink()
    with pytest.raises(CheckpointError, match=f"{file} is missing"):
        loading.verify(copy)


def test_the_card_says_how_well_they_read():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = card.classifier_rows(record.read("guidance")["measured"]["accuracy"])
    assert [row[0] for row in rows][:2] == ["0", "100"] and len(rows) == 11
    assert all("| " + " | ".join(row) + " |" in text for row in rows)
