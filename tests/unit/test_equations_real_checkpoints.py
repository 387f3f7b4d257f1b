"""Every displayed equation of the chapter "Real checkpoints" and its check; and the claims about other libraries."""

import re
from math import sqrt
from pathlib import Path

import labels
import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler

from diffusion_tutorial.checkpoints import StableDiffusionAdapter, memory, random_pipeline
from diffusion_tutorial.checkpoints.pipelines import _levels
from diffusion_tutorial.guidance import ClassifierFree, NegativePrompt, Rescaled, ThreeBranch
from diffusion_tutorial.landscape.published import PUBLISHED, decoder, float32_parts, place, published, room
from diffusion_tutorial.noise import gaussian
from diffusion_tutorial.samplers import Moment
from diffusion_tutorial.schedules import NoiseSchedule

CHAPTER = Path(__file__).resolve().parents[2] / "book" / "real-checkpoints.md"
X_0, EPS, OTHER = (gaussian((3, 4, 8, 8), seed=3, stream=k).double() for k in range(3))


def close(ours, theirs, tolerance=1e-10):
    torch.testing.assert_close(
        torch.as_tensor(ours, dtype=torch.float64),
        torch.as_tensor(theirs, dtype=torch.float64),
        atol=tolerance,
        rtol=0,
    )


def v():
    """The adapter's conversion, on a network whose answer is known."""
    schedule = NoiseSchedule.scaled_linear()
    pipeline = random_pipeline()
    parts = pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer
    adapter = StableDiffusionAdapter(*parts, predicts="v_prediction", schedule=schedule)
    for t in (0, 400, 999):
        a = schedule.alpha_bar(t)
        x_t = sqrt(a) * X_0 + sqrt(1 - a) * EPS
        answer = sqrt(a) * EPS - sqrt(1 - a) * X_0
        adapter._predict = lambda rows, t, condition, answer=answer: answer
        close(adapter.eps(x_t, t, "red"), EPS)


def affine():
    """For the rules themselves, not for their formulas."""
    a = 0.4
    x_t = sqrt(a) * X_0 + sqrt(1 - a) * EPS

    def to_eps(v):
        return sqrt(a) * v + sqrt(1 - a) * x_t

    branches = {"uncond": X_0, "cond": EPS, "neg": OTHER}
    for rule in (ClassifierFree(7.5), NegativePrompt(3.0), ThreeBranch(5.0, 2.0), ThreeBranch(1.0, 0.3)):
        guided = rule(branches, Moment(0, 1, 500, a))
        converted = rule({name: to_eps(value) for name, value in branches.items()}, Moment(0, 1, 500, a))
        close(converted, to_eps(guided))
    # Rescaling is no weighted sum: what it does to v is not what it does to the noise.
    rescaled, converted = (
        Rescaled(7.5, 0.7)(by_branch, Moment(0, 1, 500, a))
        for by_branch in (branches, {name: to_eps(value) for name, value in branches.items()})
    )
    assert (converted - to_eps(rescaled)).abs().mean() > 0.1
    doubled = {name: to_eps(2 * value) for name, value in branches.items()}  # weights that add up to two
    assert (doubled["cond"] - 2 * to_eps(EPS)).abs().max() > 0.1


def share():
    """The signal-to-noise ratio is that of the scaled state, whatever the scale."""
    for a, b in ((0.4, 0.6), (1.0, 2.0), (sqrt(0.3), sqrt(0.7))):
        alpha_bar = a**2 / (a**2 + b**2)
        close(alpha_bar / (1 - alpha_bar), (a / b) ** 2)
        x_t = a * X_0 + b * EPS
        close(x_t / sqrt(a**2 + b**2), sqrt(alpha_bar) * X_0 + sqrt(1 - alpha_bar) * EPS)


def flow():
    """What a trajectory reports, from diffusers' own scheduler."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(6)
    x = EPS
    for t in scheduler.timesteps:
        out = scheduler.step(EPS - X_0, t, x, return_dict=False)
        a_t, a_s, x0, eps = _levels(scheduler, EPS - X_0, t, x, out)
        close(x0, X_0, 1e-5)
        close(eps, EPS, 1e-5)
        assert a_t < a_s
        x = out[0]
    close(x, X_0, 1e-5)


def edm():
    for scheduler in (EDMEulerScheduler(), EDMDPMSolverMultistepScheduler()):
        d = scheduler.config.sigma_data
        for sigma in (0.01, 0.5, 80.0):
            x_t = d * X_0 + sigma * EPS
            formula = d**2 / (sigma**2 + d**2) * x_t + sigma * d / sqrt(sigma**2 + d**2) * OTHER
            close(scheduler.precondition_outputs(x_t, OTHER, sigma), formula)


def size():
    tensors = {"a": memory.Tensors(10, 4), "b": memory.Tensors(7)}
    for dtype, expected in ((torch.float32, (40, 28)), (torch.bfloat16, (20, 14)), (torch.float16, (28, 14))):
        parts = {name: t.bytes(dtype) for name, t in tensors.items()}
        assert tuple(parts.values()) == expected  # in float16 the four that stay in float32 take four each
        found = memory.MemoryEstimate(parts, 5)
        assert found.whole == sum(expected) + 5
        assert found.offloaded == max(expected) + 5  # whose maps the 5 are is not known: on the safe side
        for maps in (1, 5, 50):  # "b" decodes: beside its maps the other is not on the card
            offloaded = memory.MemoryEstimate(parts, maps, "b").offloaded
            assert offloaded == max(expected[0], expected[1] + maps) < max(expected) + maps


CHECKS = {
    "eq-real-v": v,
    "eq-real-affine": affine,
    "eq-real-share": share,
    "eq-real-flow": flow,
    "eq-real-edm": edm,
    "eq-real-memory": size,
}


def test_every_labelled_equation_has_its_check():
    labels.hold(CHAPTER, CHECKS)


@pytest.mark.parametrize("label", CHECKS)
def test_equation(label):
    CHECKS[label]()


def test_cells_that_need_a_model_carry_the_tag():
    """A cell that uses `model` is tagged `gpu`, and what it prints is not compared."""
    text = CHAPTER.read_text(encoding="utf-8")
    cells = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```$", text, re.M | re.S)
    using = [cell for cell in cells if re.search(r"\bmodel\b", re.sub(r'"[^"]*"|#.*', "", cell))]
    assert len(using) == 5  # which one it is, steps, guidance, negative prompts, the widget
    for cell in using:
        tags = re.search(r"^:tags: \[(.*)\]", cell)
        assert tags and "gpu" in tags[1], cell[:200]
        silent = not re.search(r"\b(print|display|plots\.\w+|\w+_widget)\(", cell)
        assert silent or "nbval-ignore-output" in tags[1], cell[:200]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_components(name):
    tensors, missing = published(name)
    assert tensors and all(t.parameters > 10**7 for t in tensors.values())
    assert missing == []


def test_what_t5_keeps_in_float32_is_counted():
    """By formula in the table, by names in a file's header: the same."""
    from diffusion_tutorial.landscape.count import build

    model = build("text-t5-xxl")
    found = memory.count(
        ((name, p.shape) for name, p in model.named_parameters()), model._keep_in_fp32_modules
    )
    assert found == published("PixArt-Σ")[0]["text-t5-xxl"]


@pytest.mark.parametrize("ask", [published, decoder, float32_parts, room])
def test_an_unknown_checkpoint_is_named(ask):
    with pytest.raises(ValueError, match="name is 'SD 9'; allowed: 'Stable Diffusion 1.5'"):
        ask("SD 9")


def test_a_card_of_8_gb_takes_sdxl_one_component_at_a_time():
    """The formula that added the decoder's maps to the largest component said 10 GB; the table, no float32 decoder."""
    parts, half = published("Stable Diffusion XL")[0], torch.float16
    unet, vae = parts["unet-sdxl"].bytes(half), parts["vae-kl-4"].bytes(torch.float32)
    maps = memory.working_bytes(1024, 1024, 256, torch.float32)
    needed = max(unet, vae + maps)
    assert 5.1e9 < needed < 5.2e9 < 8e9 < unet + maps
    assert place("Stable Diffusion XL", needed, 32 * 10**9, half) == memory.OFFLOAD
    assert place("Stable Diffusion XL", needed - 1, 32 * 10**9, half) == "no"
    whole = sum(t.bytes(half) for t in parts.values()) + parts["vae-kl-4"].bytes(half) + maps
    assert place("Stable Diffusion XL", whole, 32 * 10**9, half) == memory.WHOLE
    assert place("Stable Diffusion XL", whole - 1, 32 * 10**9, half) == memory.OFFLOAD
    assert float32_parts("Stable Diffusion XL") == ("vae-kl-4",) and float32_parts("PixArt-Σ") == ()
    assert decoder("Sana 1.6B") == "vae-dc-ae" and decoder("DeepFloyd IF, two stages") is None


def test_offloading_needs_main_memory_too():
    parts = sum(t.bytes(torch.bfloat16) for t in published("FLUX.1 [dev]")[0].values())
    assert place("FLUX.1 [dev]", 24 * 10**9, parts, torch.bfloat16) == memory.OFFLOAD
    assert place("FLUX.1 [dev]", 24 * 10**9, parts - 1, torch.bfloat16) == "no"
