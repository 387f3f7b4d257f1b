"""The student of one, two and four evaluations: what it is told, how it is made, what it refuses; networks untrained."""

import math
from importlib.resources import files

import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from diffusion_tutorial.checkpoints import load
from diffusion_tutorial.checkpoints.student import MOST, TOLD, WAVES, WIDTH, Student, StudentAdapter, told
from diffusion_tutorial.errors import PromptError, UnsupportedModelError
from diffusion_tutorial.guidance import ClassifierFree
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.captions import WORDS, parse
from diffusion_tutorial.still_life.scenes import ATTRIBUTES, sample_scenes
from diffusion_tutorial.training import denoiser, distil

QUESTIONS = {"drop": 0.1, "sparse": 0.3, "negatives": 0.5, "plain": 0.25}


@pytest.fixture(scope="module")
def classic():
    return load("still-life", device="cpu")


@pytest.fixture(scope="module")
def student(classic):
    """The classic's U-Net as if it were a flow's, with a further input that does something."""
    unet = distil.build_student(classic.adapter.unet)
    with torch.no_grad():
        weight = unet.time_embedding.cond_proj.weight
        weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    schedule = FlowSchedule(distil.SHIFT)
    adapter = StudentAdapter(
        unet,
        classic.adapter.vae,
        classic.adapter.text_encoder,
        classic.adapter.tokenizer,
        predicts="flow",
        schedule=schedule,
    )
    return Student(adapter, schedule, "still-life-fast", classic.check_prompt)


@pytest.fixture(scope="module")
def networks(student):
    return distil.Networks(student.adapter.unet, student.adapter.text_encoder)


@pytest.fixture(scope="module")
def tokens(classic):
    return denoiser.tokenizer_of(classic.adapter.tokenizer)


def test_told_is_a_fourier_series_of_the_logarithm():
    scale = torch.tensor([1.0, math.sqrt(MOST), MOST])
    states = torch.ones(3, 4, WIDTH)
    found = told(scale, states)
    torch.testing.assert_close(found[:, WAVES:], torch.full((3, WIDTH), 2.0))
    k = torch.arange(WAVES)
    assert found.shape == (3, TOLD)
    torch.testing.assert_close(found[0, :WAVES], torch.ones(WAVES))
    torch.testing.assert_close(found[1, :WAVES], torch.cos(math.pi * k / 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[2, :WAVES], (-1.0) ** k, atol=1e-5, rtol=0)


def test_a_new_student_is_the_flow_whatever_it_is_told(classic):
    flow = classic.adapter.unet
    fresh = distil.build_student(flow)
    x, words = torch.randn(2, 4, 16, 16), classic.encode_text(["red", "a cube"])
    with torch.no_grad():
        theirs = flow(x, 400, words, return_dict=False)[0]
        ours = fresh(x, 400, words, timestep_cond=torch.randn(2, TOLD), return_dict=False)[0]
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_it_walks_as_it_was_trained_to(student, networks, tokens, steps):
    """`sample` against the steps of training, written out: from the same noise to 1e-3 (eps loses that near pure noise)."""
    texts, against, scale = ["a red cube", "a sphere"], ["blue", "blue"], 3.0
    x = gaussian((2, *student.latent_shape), 5)
    ours = student.sample(texts, "blue", steps, scale, seed=5)
    condition = tokens(texts), torch.full((2,), scale), tokens(against)
    sigmas = distil.levels(steps)
    x = sigmas[0] * x
    with torch.no_grad():
        for sigma, to in zip(sigmas, sigmas[1:]):
            x = x + (to - sigma) * networks(x, torch.full((2,), sigma), *condition)
    torch.testing.assert_close(ours.latents, x, atol=1e-3, rtol=0)
    assert ours.nfe == steps and len(ours.trajectory) == steps


def test_scale_and_negative_prompt_are_inputs(student):
    def latents(**options):
        return student.sample("a sphere", num_inference_steps=1, seed=2, **options).latents

    plain = latents(guidance_scale=1.0)
    assert not torch.equal(plain, latents(guidance_scale=2.0))
    assert not torch.equal(plain, latents(guidance_scale=1.0, negative_prompt="red"))
    assert torch.equal(plain, latents(guidance_scale=1.0, negative_prompt=""))
    two = student.sample(
        ["a sphere"] * 2, ["", "red"], 1, 1.0, latents=gaussian((1, 4, 16, 16), 2).repeat(2, 1, 1, 1)
    )
    torch.testing.assert_close(two.latents[:1], plain, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        two.latents[1:], latents(guidance_scale=1.0, negative_prompt="red"), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_inference_steps": 20}, "num_inference_steps is 20; allowed: 1, 2 or 4"),
        ({"num_inference_steps": True}, "num_inference_steps is True"),
        ({"guidance_scale": 0.5}, "guidance_scale is 0.5; allowed: .*1"),
        ({"guidance_scale": 7.5}, "guidance_scale is 7.5"),
        ({"sampler": "heun"}, "sampler is 'heun'; allowed: 'ddim'"),
        ({"eta": 1.0}, "eta is 1.0; allowed: 0"),
        ({"spacing": "leading"}, "spacing is 'leading'; allowed: 'trailing'"),
        ({"guidance": ClassifierFree(2.0)}, "guidance is .*; allowed: None"),
        ({"negatives": ["red"]}, "negatives is .*; allowed: None"),
        ({"num_images": 0}, "num_images is 0"),
    ],
)
def test_it_says_what_it_cannot_do(student, options, says):
    with pytest.raises(ValueError, match=says):
        student.sample("a sphere", **options)


def test_it_knows_its_words(student):
    with pytest.raises(PromptError, match="dragon"):
        student.sample("a dragon")
    with pytest.raises(PromptError, match="dragon"):
        student.sample("a sphere", "a dragon")


def test_a_flow_is_no_student(classic):
    with pytest.raises(UnsupportedModelError, match="time_cond_proj_dim is None"):
        StudentAdapter(
            *classic.adapter.modules, classic.adapter.tokenizer, predicts="flow", schedule=FlowSchedule()
        )


# ------------------------------------------------------------------------------------------------------------
# How it is made


def test_the_teacher_is_the_two_branch_formula(classic, tokens):
    teacher = distil.Networks(classic.adapter.unet, classic.adapter.text_encoder)
    texts, against = ["a red cube", "a sphere", "blue"], ["", "red", "red"]
    x, scale, sigma = torch.randn(3, 4, 16, 16), torch.tensor([1.0, 1.0, 3.0]), torch.full((3,), 0.4)
    with torch.no_grad():
        found = teacher.guided(x, sigma, tokens(texts), scale, tokens(against))
        cond, neg = (
            classic.adapter.unet(x, 400, classic.encode_text(some), return_dict=False)[0]
            for some in (texts, against)
        )
    wanted = torch.cat([cond[:2], neg[2:] + 3 * (cond[2:] - neg[2:])])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_the_teacher_walks_by_a_method_of_second_order():
    """dx/dsigma = x has x(1) e^-1 for its end: twice the steps, a quarter of the error."""

    class Exponential(distil.Networks):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def guided(self, x, sigma, *condition):
            return x

    def error(steps):
        x = distil.walk(Exponential(), torch.ones(1, 1, 1, 1, dtype=torch.float64), None, None, None, steps)
        first = distil.levels(steps)[0]
        return abs(float(x) - first * math.exp(-first))

    assert 3.2 < error(20) / error(40) < 4.8


def test_questions_are_a_function_of_the_seed_and_of_all_kinds():
    one, again = (distil.questions(400, 3, QUESTIONS) for _ in range(2))
    assert one[:2] == again[:2] and torch.equal(one[2], again[2])
    prompts, negatives, scale = one
    assert 20 < prompts.count("") < 80 and 150 < negatives.count("") < 250
    assert 60 < int((scale == 1).sum()) < 140 and 1 <= scale.min() and 4 < scale.max() <= MOST
    assert prompts != distil.questions(400, 4, QUESTIONS)[0]


def test_pairs_are_made_once_and_are_the_teachers(classic, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(distil, "SHARD", 4)
    teacher = distil.Networks(classic.adapter.unet, classic.adapter.text_encoder)
    c = {**QUESTIONS, "shards": 2, "counterparts": 0, "seed": 7, "teacher_steps": 2}
    distil.make_pairs(tmp_path, teacher, tokens, c)
    pairs = distil.read_pairs(tmp_path, c)
    assert pairs["eps"].shape == pairs["x0"].shape == (8, 4, 16, 16) and pairs["scale"].shape == (8,)
    with torch.no_grad():
        again = distil.walk(teacher, *(pairs[k][4:] for k in ("eps", "ids", "scale", "negative")), 2)
    torch.testing.assert_close(pairs["x0"][4:].float(), again, atol=0.02, rtol=0)
    before = (tmp_path / "pairs-0000.safetensors").stat().st_mtime_ns
    (tmp_path / "pairs-0001.safetensors").unlink()
    distil.make_pairs(tmp_path, teacher, tokens, c)
    assert (tmp_path / "pairs-0000.safetensors").stat().st_mtime_ns == before
    assert torch.equal(load_file(tmp_path / "pairs-0001.safetensors")["x0"], pairs["x0"][4:])


def test_counterparts_are_against_what_the_pictures_show(classic, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(distil, "SHARD", 12)
    teacher = distil.Networks(classic.adapter.unet, classic.adapter.text_encoder)
    c = {**QUESTIONS, "shards": 1, "counterparts": 1, "seed": 9, "teacher_steps": 1}
    distil.make_pairs(tmp_path, teacher, tokens, c)
    shown = {name: torch.arange(12) % len(values) for name, values in ATTRIBUTES.items()}
    distil.make_counterparts(tmp_path, teacher, tokens, lambda x0: shown, c)
    pairs = distil.read_pairs(tmp_path, c)
    first, again = ({k: v[part] for k, v in pairs.items()} for part in (slice(12), slice(12, None)))
    assert torch.equal(first["eps"], again["eps"]) and torch.equal(first["ids"], again["ids"])
    assert (again["scale"] > 1).all() and torch.equal(
        again["scale"][first["scale"] > 1], first["scale"][first["scale"] > 1]
    )
    prompts, _, _ = distil.questions(12, 9, QUESTIONS)
    words = {i: w for w, i in ((w, int(tokens([w])[0, 1])) for w in WORDS)}
    for i, text in enumerate(prompts):
        negative = " ".join(words[int(t)] for t in again["negative"][i] if int(t) in words)
        named, said = parse(negative) if negative else {}, parse(text)
        assert len(named) == (len(said) < len(ATTRIBUTES)) and not named.keys() & said.keys()
        assert all(ATTRIBUTES[name].index(value) == int(shown[name][i]) for name, value in named.items())


class Knows(torch.nn.Module):
    """A student without error: it points from where it stands at the picture of that pair."""

    def __init__(self, pairs):
        super().__init__()
        self.pairs, self.asked = pairs, []

    def forward(self, x, sigma, ids, scale, negative):
        self.asked.append((len(x), float(sigma.min()), float(sigma.max())))
        row = [int((self.pairs["scale"] == s).nonzero()) for s in scale]  # scales are all different here
        return (x - self.pairs["x0"][row]) / sigma[:, None, None, None]


def test_reflow_asks_a_right_student_nothing_more():
    n = 16
    rng = torch.Generator().manual_seed(0)
    pairs = {
        "eps": torch.randn(n, 4, 16, 16, generator=rng),
        "x0": torch.randn(n, 4, 16, 16, generator=rng),
        "ids": torch.zeros(n, 20, dtype=torch.int64),
        "negative": torch.zeros(n, 20, dtype=torch.int64),
        "scale": torch.linspace(1, 5, n),
    }
    knows = Knows(pairs)
    loss, _ = distil.reflow_loss(pairs)(knows, torch.arange(n), torch.Generator().manual_seed(1))
    assert float(loss) < 1e-5
    size, low, high = knows.asked[-1]
    assert size == n and high == pytest.approx(0.999) and low in [pytest.approx(s) for s in distil.levels(4)]
    wrong = dict(pairs, x0=pairs["x0"] + 0.1)
    assert float(distil.reflow_loss(wrong)(Knows(pairs), torch.arange(n), rng)[0]) > 0.05
    with pytest.raises(ValueError, match="batch is 3; allowed: 4 or more"):
        distil.reflow_loss(pairs)(knows, torch.arange(3), rng)


def test_a_student_saved_and_read_is_the_same(student, tmp_path):
    student.adapter.unet.save_pretrained(tmp_path / "unet", safe_serialization=True)
    again = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    assert again.config.time_cond_proj_dim == TOLD
    ours, theirs = again.state_dict(), student.adapter.unet.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


class Points:
    """Student and teacher in one: both point at a picture of `value`, the student past it by `off` times sigma."""

    def __init__(self, value, off=0.0):
        self.value, self.off, self.asked = value, off, []

    def guided(self, x, sigma, *condition):
        self.asked.append((x, sigma, *condition))
        return (x - self.value) / sigma[:, None, None, None]

    def __call__(self, x, sigma, *condition):
        sigma = sigma[:, None, None, None].clamp(min=1e-6)
        return (x - self.value) / sigma - self.off


def test_consistency_asks_nothing_more_of_a_student_that_agrees_with_itself():
    """And walks start from noise alone: the pictures here are a thousand times as large as the noise."""
    c = {"drop": 0.1, "sparse": 0.3, "negatives": 0.5, "plain": 0.25, "points": 16}
    latents, labels = torch.full((2, 40, 4, 16, 16), 1000.0), sample_scenes(40, 0).labels
    knows = Points(1000.0)
    tokens = lambda texts: torch.tensor([[len(text)] for text in texts])  # noqa: E731
    loss_fn = distil.consistency_loss(latents, labels, knows, tokens, c)
    index, rng = torch.arange(40), torch.Generator().manual_seed(0)
    assert float(loss_fn(knows, index, rng)[0]) < 1e-3
    (x, sigma, _, scale, negative), *_ = knows.asked
    assert set(sigma.tolist()) <= set(torch.tensor(distil.levels(16)[:-1]).tolist())
    assert (sigma[:6] == sigma.max()).all() and x[sigma == sigma.max()].abs().max() < 10
    assert x[sigma < 0.9].abs().amin((1, 2, 3)).min() > 50  # a tenth of the picture and more
    assert scale.min() == 1 and scale.max() <= MOST and 0 < (negative > 0).sum() < 40
    assert float(loss_fn(Points(1000.0, 1.0), index, rng)[0]) > 0.02


def test_an_unknown_method_of_distillation_is_refused(tmp_path):
    from diffusion_tutorial.training import __main__ as command

    config = yaml.safe_load((files("diffusion_tutorial.training") / "config.yaml").read_text())
    config["mixed_precision"], config["fast"]["method"] = "no", "magic"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = ["--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run"), "--init", "shipped"]
    with pytest.raises(ValueError, match="fast.method is 'magic'; allowed: reflow, consistency"):
        command.main([*options, "--stages", "fast"])
    assert not (tmp_path / "run" / "pairs").exists()
