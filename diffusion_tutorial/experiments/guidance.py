"""Guidance on Still Life: both kinds side by side, the three objections to the first, and what came after.

    python -m diffusion_tutorial.experiments.guidance [--classifiers runs/still-life/classifiers]

makes or completes results/guidance.json, about an hour on one core; every setting is written when it is done. The
weaker classifiers are snapshots of the training stage `classifier`; without their folder those settings are left
out.

Picture i has one caption, "a COLOUR SHAPE" over the pairs of the training law, and one start noise in every
setting, so settings differ in the rule alone. What the captions leave open (size, material, floor, wall) is uniform
in the data, so its entropy says how much variety is left, and the whole set of captions is the law of the data, so a
Fréchet distance to real pictures means something: 64 features of the judge, equal numbers, "floor" between two sets
of real ones.

Pooled over captions, that entropy stays high even where each caption has one picture of its own. The settings "one
prompt ..." leave that way out: N pictures of one caption, beside real pictures of what it says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from .. import metrics
from ..checkpoints import load
from ..guidance import (
    ClassifierFree,
    ClassifierGuidance,
    Interval,
    Projected,
    Ramp,
    Rescaled,
    Rule,
    ScheduledScale,
)
from ..noise import gaussian
from ..results import RESULTS, Record
from ..still_life.captions import caption, parse
from ..still_life.classifier import NoisyClassifier
from ..still_life.judge import Judge
from ..still_life.scenes import ATTRIBUTES, HELD_OUT, render, sample_scenes

SEED = 960_000  # scenes; training's seeds lie below 900,000
NOISE = 96
N, STEPS, CHUNK = 500, 20, 125
UNSAID = ("size", "material", "floor", "wall")
CFG_SCALES = (1, 1.5, 2, 3, 4, 6, 8, 12)
CLASSIFIER_SCALES = (0, 1, 2, 4, 8, 16, 32, 64)
LATER = 8  # the scale at which what came after is measured: high enough to do harm
TIMESTEPS = (0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999)
WEAK = (60, 250, 900)  # training steps of the snapshots
PROMPT = "a red sphere"
PROMPT_SCALES = {"cfg": (1, 3, 8), "classifier": (1, 4, 16)}


def captions() -> list[str]:
    """N captions, "a COLOUR SHAPE", that go through the (colour, shape) pairs of the training law in turn."""
    pairs = [(c, s) for s in ATTRIBUTES["shape"] for c in ATTRIBUTES["colour"] if (s, c) not in HELD_OUT]
    said = ({"colour": colour, "shape": shape} for colour, shape in pairs)
    texts = [caption(values) for values in said]
    return [texts[i % len(texts)] for i in range(N)]


def later_rules() -> dict[str, Rule]:
    """What came after plain guidance, at one high scale (the ramp has it halfway)."""
    return {
        f"interval {LATER}, 0.1 to 0.6": Interval(ClassifierFree(LATER), 0.1, 0.6),
        f"rescaled {LATER}, 0.7": Rescaled(LATER, 0.7),
        f"projected {LATER}": Projected(LATER),
        f"ramp 1 to {2 * LATER - 1}": ScheduledScale(Ramp(1, 2 * LATER - 1)),
    }


class Bench:
    """The model, the judge and the real pictures that every setting is measured with.

    texts: N captions. fixed: the attributes that the real pictures have in common, such as {"shape": "cube"}.
    """

    def __init__(self, texts: Sequence[str], fixed: Mapping[str, str] | None = None):
        self.model, self.judge, self.captions = load(), Judge.load(), list(texts)
        self.said = [parse(text) for text in self.captions]
        self.real, other = (
            self.judge.features(render(sample_scenes(N, SEED + k, fixed=fixed))) for k in (0, 1)
        )
        self.floor = metrics.frechet_distance(self.real, other)

    def draw(self, rule_of_rows) -> tuple[Tensor, Tensor, int]:
        """(pictures, latents, evaluations of the denoiser a picture); rule_of_rows(said) gives a chunk's rule."""
        pictures, latents = [], []
        for start in range(0, N, CHUNK):
            rows = slice(start, start + CHUNK)
            x = gaussian((CHUNK, *self.model.latent_shape), NOISE, first=start)
            drawn = self.model.sample(
                self.captions[rows],
                num_inference_steps=STEPS,
                guidance=rule_of_rows(self.said[rows]),
                latents=x,
                keep_trajectory=False,
            )
            pictures.append(drawn.images)
            latents.append(drawn.latents)
        return torch.cat(pictures), torch.cat(latents), drawn.nfe

    def look(self, pictures: Tensor) -> dict:
        """What the judge says of N pictures, one a caption."""
        read = self.judge.read(pictures)
        return {
            "adherence": metrics.adherence(read, self.said),
            "all_right": metrics.all_right(read, self.said),
            "entropy": {name: metrics.entropy(read[name], len(ATTRIBUTES[name])) for name in UNSAID},
            "frechet": metrics.frechet_distance(self.real, self.judge.features(pictures)),
            "saturation": metrics.mean(metrics.saturation(pictures)),
            "contrast": metrics.mean(metrics.contrast(pictures)),
        }

    def free(self, rule: Rule) -> dict:
        """A rule that needs predictions alone."""
        pictures, _, nfe = self.draw(lambda said: rule)
        return self.look(pictures) | {"nfe": nfe}

    def by_classifier(self, classifier: NoisyClassifier, scale: float, clean: bool = False) -> dict:
        """Classifier guidance of the unconditional model, and the guiding classifier's own verdict at the end."""

        def rule(said):
            def gradient(x, t):
                return classifier.grad_log_prob(x, 0 if clean else t, said)

            return ClassifierGuidance(scale, gradient)

        pictures, latents, nfe = self.draw(rule)
        own = metrics.adherence(classifier.read(latents, 0), self.said)
        with torch.no_grad():
            sure = classifier.log_prob(latents, 0, self.said).exp()
        return self.look(pictures) | {"nfe": nfe, "own": own, "own_confidence": metrics.mean(sure)}

    def accuracy(self, classifiers: dict[str, NoisyClassifier]) -> dict:
        """Accuracy of each classifier on noised latents of fresh scenes, by timestep."""
        scenes = sample_scenes(2000, SEED + 2)
        x0 = self.model.encode(render(scenes))
        eps = gaussian(tuple(x0.shape), NOISE, stream=1)
        found = {}
        for name, classifier in classifiers.items():
            found[name] = []
            for t in TIMESTEPS:
                x_t = self.model.schedule.add_noise(x0, eps, t)
                read = classifier.read(x_t, 0 if name == "clean" else t)
                right = {a: (read[a] == scenes.labels[:, k]).double() for k, a in enumerate(ATTRIBUTES)}
                mean = torch.stack(list(right.values())).mean(0)
                by = {a: metrics.rate(r.long(), 1) for a, r in right.items()}
                found[name].append({"t": t, "mean": metrics.mean(mean), "by_attribute": by})
        return found

    def parts(self, classifier: NoisyClassifier, rows: int) -> dict[str, Callable[[], Tensor]]:
        """What the steps of either kind of guidance are made of, for `rows` pictures."""
        x = gaussian((rows, *self.model.latent_shape), NOISE, stream=2)
        said, text = self.said[:rows], self.model.encode_text(self.captions[:rows])
        empty = self.model.encode_text([None] * rows)
        return {
            "one prediction": lambda: self.model.eps(x, 500, empty),
            "two predictions": lambda: self.model.eps(torch.cat([x, x]), 500, torch.cat([empty, text])),
            "classifier gradient": lambda: classifier.grad_log_prob(x, 500, said),
            "classifier forward": lambda: classifier.log_prob(x, 500, said),
        }

    def count(self, classifier: NoisyClassifier, rows: int = 16) -> dict:
        """Floating-point operations and the most bytes held at once, by part of a step, for 16 pictures.

        The bytes are what the parts allocate beside the weights: for the gradient, what the forward pass keeps
        for the backward pass is among them.
        """
        parts = self.parts(classifier, rows)
        with torch.no_grad():
            operations = {name: _operations(parts[name]) for name in parts if name != "classifier gradient"}
            held = {name: _most_bytes(parts[name]) for name in parts}
        # The counter does not follow autograd.grad, which `grad_log_prob` calls; backward() does the same work.
        x = gaussian((rows, *self.model.latent_shape), NOISE, stream=2).requires_grad_()
        said = self.said[:rows]
        operations["classifier gradient"] = _operations(
            lambda: classifier.log_prob(x, 500, said).sum().backward()
        )
        return {"rows": rows, "operations": operations, "bytes": held}

    def cost(self, classifier: NoisyClassifier, rows: int = 16) -> dict:
        """Seconds of one step for 16 pictures, the least of five, by what a step is made of."""
        parts = self.parts(classifier, rows)

        def least(work):
            times = []
            for _ in range(5):
                start = time.perf_counter()
                work()
                times.append(time.perf_counter() - start)
            return min(times)

        with torch.no_grad():
            seconds = {name: least(work) for name, work in parts.items() if name != "classifier forward"}
        count = [sum(p.numel() for p in m.parameters()) for m in (self.model.adapter.unet, classifier)]
        return {"rows": rows, **seconds, "parameters": dict(zip(("denoiser", "classifier"), count))}

    def ascent(self, classifier: NoisyClassifier, steps: int = 100, n: int = 200, rate: float = 0.1) -> dict:
        """Adam on log p(said | x) from noise, at t = 0, without the denoiser: who is convinced?"""
        x = gaussian((n, *self.model.latent_shape), NOISE, stream=3)
        said = self.said[:n]
        moments, squares = torch.zeros_like(x), torch.zeros_like(x)
        for k in range(1, steps + 1):
            gradient = classifier.grad_log_prob(x, 0, said)
            moments = 0.9 * moments + 0.1 * gradient
            squares = 0.999 * squares + 0.001 * gradient.square()
            x = x + rate * (moments / (1 - 0.9**k)) / ((squares / (1 - 0.999**k)).sqrt() + 1e-8)
        with torch.no_grad():
            sure = classifier.log_prob(x, 0, said).exp()
        return {
            "steps": steps,
            "own": metrics.adherence(classifier.read(x, 0), said),
            "own_confidence": metrics.mean(sure),
            "judge": metrics.adherence(self.judge.read(self.model.decode(x)), said),
        }


def _operations(work: Callable[[], object]) -> int:
    """Floating-point operations of a call, a multiplication and an addition counted apart."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def _most_bytes(work: Callable[[], object]) -> int:
    """The most bytes that a call holds at once, of those that it allocates itself."""
    work()  # whatever is made on the first call only
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classifiers", type=Path, default=Path("runs/still-life/classifiers"))
    options = parser.parse_args()
    bench, noisy, clean = Bench(captions()), NoisyClassifier.load("noisy"), NoisyClassifier.load("clean")
    record = Record(
        RESULTS / "guidance.json",
        "adherence, variety and Fréchet distance on Still Life under both kinds of guidance, by rule and scale",
        "python -m diffusion_tutorial.experiments.guidance",
        n=N,
        steps=STEPS,
        sampler="ddim",
        features=bench.real.shape[1],
        unsaid=UNSAID,
    )
    weak = {}
    for steps in WEAK:
        file = options.classifiers / f"classifier-{steps}.safetensors"
        if file.exists():
            weak[steps] = NoisyClassifier.load("noisy", file)
    everyone = {"noisy": noisy, "clean": clean} | {f"noisy, {k} steps": c for k, c in weak.items()}
    record.measure("floor", lambda: bench.floor)
    record.measure("accuracy", lambda: bench.accuracy(everyone))
    record.measure("cost", lambda: bench.cost(noisy))
    record.measure("ascent", lambda: {"noisy": bench.ascent(noisy), "clean": bench.ascent(clean)})
    for scale in CLASSIFIER_SCALES:
        record.measure(f"classifier {scale:g}", lambda s=scale: bench.by_classifier(noisy, s))
    for scale in CFG_SCALES:
        record.measure(f"cfg {scale:g}", lambda s=scale: bench.free(ClassifierFree(s)))
    for scale in (2, 8, 32):
        record.measure(f"clean {scale:g}", lambda s=scale: bench.by_classifier(clean, s, clean=True))
    for steps, classifier in weak.items():
        for scale in (4, 16):
            key = f"noisy, {steps} steps {scale:g}"
            record.measure(key, lambda c=classifier, s=scale: bench.by_classifier(c, s))
    for name, rule in later_rules().items():
        record.measure(name, lambda r=rule: bench.free(r))
    record.measure("count", lambda: bench.count(noisy))
    one = Bench([PROMPT] * N, parse(PROMPT))
    record.measure("one prompt, floor", lambda: one.floor)
    for scale in PROMPT_SCALES["cfg"]:
        record.measure(f"one prompt, cfg {scale:g}", lambda s=scale: one.free(ClassifierFree(s)))
    for scale in PROMPT_SCALES["classifier"]:
        key = f"one prompt, classifier {scale:g}"
        record.measure(key, lambda s=scale: one.by_classifier(noisy, s))


if __name__ == "__main__":
    main()
