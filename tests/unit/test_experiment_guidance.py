"""The measurements of the chapter "Guidance": captions, what a step costs, and what was stored."""

import pytest
import torch

from diffusion_tutorial import results as record
from diffusion_tutorial.experiments import guidance as experiment
from diffusion_tutorial.guidance import ClassifierFree
from diffusion_tutorial.still_life.captions import parse
from diffusion_tutorial.still_life.classifier import NoisyClassifier
from diffusion_tutorial.still_life.evaluate import law
from diffusion_tutorial.still_life.scenes import ATTRIBUTES, HELD_OUT

TEXTS = ["a red sphere", "a green cube", "a blue cone"] * 4


@pytest.fixture(scope="module")
def bench():
    """A small one: 12 pictures, two steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"N": 12, "CHUNK": 6, "STEPS": 2}.items():
            patch.setattr(experiment, name, value)
        yield experiment.Bench(TEXTS)


@pytest.fixture(scope="module")
def stored():
    return record.read("guidance")["measured"]


def test_the_captions_are_the_law_of_the_data():
    said = [parse(text) for text in experiment.captions()]
    pairs = [(values["shape"], values["colour"]) for values in said]
    counts = [pairs.count(pair) for pair in set(pairs)]
    assert len(said) == experiment.N and all(set(values) == {"shape", "colour"} for values in said)
    assert len(counts) == 35 and max(counts) - min(counts) <= 1 and not set(pairs) & set(HELD_OUT)
    for name in experiment.UNSAID:  # what is left open is uniform, so its greatest entropy is the data's
        assert law(name, said[0]) == [1 / len(ATTRIBUTES[name])] * len(ATTRIBUTES[name])


def test_settings_differ_in_the_rule_alone(bench):
    pictures, latents, nfe = bench.draw(lambda said: ClassifierFree(3.0))
    again, _, _ = bench.draw(lambda said: ClassifierFree(3.0))
    assert pictures.shape == (12, 3, 64, 64) and latents.shape == (12, 4, 16, 16) and nfe == 4
    assert torch.equal(pictures, again)


def test_every_chunk_is_guided_by_its_own_captions(bench):
    """Row k of the whole is what its caption and its noise alone give."""
    classifier, asked = NoisyClassifier.load(), []

    def rule(said):
        asked.append(said)
        return experiment.ClassifierGuidance(2.0, lambda x, t: classifier.grad_log_prob(x, t, said))

    bench.draw(rule)
    assert asked == [bench.said[:6], bench.said[6:]]


def test_the_classifiers_verdict_is_beside_the_judges(bench):
    found = bench.by_classifier(NoisyClassifier.load(), 4.0)
    assert found["nfe"] == 2 and {"own", "own_confidence", "adherence"} <= set(found)
    assert all(0 <= found[key].value <= 1 for key in ("own", "own_confidence", "adherence"))


def test_what_a_step_costs_can_be_counted(bench):
    classifier = NoisyClassifier.load()
    first, second = bench.count(classifier, rows=4), bench.count(classifier, rows=8)
    one, two = (first["operations"][name] for name in ("one prediction", "two predictions"))
    assert two == 2 * one
    forward, both = (first["operations"][f"classifier {name}"] for name in ("forward", "gradient"))
    assert 1.9 < both / forward < 2.1  # the weights need no gradient
    assert second["operations"]["classifier gradient"] == 2 * both
    assert first["bytes"]["classifier gradient"] > 1.5 * first["bytes"]["classifier forward"]
    assert first["bytes"]["two predictions"] > 1.5 * first["bytes"]["one prediction"]


def test_the_stored_settings_are_those_of_the_module(stored):
    wanted = {"floor", "accuracy", "cost", "ascent", "count"}
    wanted |= {f"cfg {s:g}" for s in experiment.CFG_SCALES} | set(experiment.later_rules())
    wanted |= {f"classifier {s:g}" for s in experiment.CLASSIFIER_SCALES}
    wanted |= {f"clean {s}" for s in (2, 8, 32)}
    wanted |= {f"noisy, {steps} steps {s}" for steps in experiment.WEAK for s in (4, 16)}
    wanted |= {"one prompt, floor"}
    wanted |= {f"one prompt, {kind} {s}" for kind, ss in experiment.PROMPT_SCALES.items() for s in ss}
    assert wanted == set(stored)
    runs = [found for found in stored.values() if "adherence" in found]
    assert len(runs) >= 29 and all(run["adherence"]["n"] == run["frechet"]["n"] == 500 for run in runs)


def test_the_stored_costs_are_counted_again(bench, stored):
    """Operations do not depend on the machine."""
    rows = stored["count"]["rows"]
    bench.captions, bench.said = bench.captions * 2, bench.said * 2  # enough for as many rows as were counted
    again = bench.count(NoisyClassifier.load(), rows)
    assert again["operations"] == stored["count"]["operations"]
    seen, now = (c["bytes"]["classifier gradient"] for c in (stored["count"], again))
    assert 0.5 < now / seen < 2
