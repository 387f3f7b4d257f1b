"""The adapter and `TextToImage.sample` on a tiny random pipeline: what comes back, and what is refused."""

import math

import pytest
import torch

from diffusion_tutorial import noise
from diffusion_tutorial.checkpoints import StableDiffusionAdapter, random_pipeline, schedule_of, wrap
from diffusion_tutorial.errors import NotFiniteError, PromptError, UnsupportedModelError
from diffusion_tutorial.guidance import ClassifierFree, Conditional, Interval, NegativePrompt, ThreeBranch
from diffusion_tutorial.samplers import SAMPLERS
from diffusion_tutorial.text_to_image import TextToImage, sample_many


@pytest.fixture(scope="module")
def pipeline():
    return random_pipeline(seed=1)


@pytest.fixture(scope="module")
def model(pipeline):
    return wrap(pipeline, "tiny")


@pytest.fixture(scope="module")
def base(model):
    return model.sample("red", num_inference_steps=4, num_images=2, seed=3)


def test_what_comes_back(model, base):
    assert base.images.shape == (2, 3, 32, 32) and base.images.dtype == torch.float32
    assert 0 <= base.images.min() and base.images.max() <= 1
    assert base.latents.shape == (2, 4, 8, 8)
    assert base.timesteps.tolist() == [751, 501, 251, 1] == [step.t for step in base.trajectory]
    assert [p.size for p in base.pil()] == [(32, 32)] * 2
    assert base.nfe == 8 and base.seconds > 0 and not base.stopped
    assert base.prompts == ["red", "red"] and base.seed == 3 and len(base) == 2
    assert torch.equal(base.trajectory[-1].x_s, base.latents)
    assert torch.equal(base.decode(base.latents), base.images)
    assert torch.equal(base.trajectory[0].x_t, noise.gaussian((2, 4, 8, 8), 3))


def test_results_may_enter_autograd(base):
    step = base.trajectory[0]
    for tensor in (base.images, base.latents, step.x_t, step.eps, step.x0):
        weight = torch.ones(1, requires_grad=True)
        (weight * tensor).sum().backward()
        assert weight.grad.isfinite()


def test_repeats_and_does_not_depend_on_the_batch(model, base):
    again = model.sample("red", num_inference_steps=4, num_images=2, seed=3)
    assert torch.equal(again.images, base.images)
    alone = model.sample("red", num_inference_steps=4, num_images=1, seed=3)
    torch.testing.assert_close(alone.images, base.images[:1], atol=1e-5, rtol=0)
    other = model.sample("red", num_inference_steps=4, num_images=1, seed=4)
    assert (other.images - alone.images).abs().max() > 1e-3


def test_cut_into_parts_gives_the_same(pipeline, base):
    adapter = StableDiffusionAdapter(
        pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer, max_rows=3, decode_rows=1
    )
    schedule = schedule_of("DDIMScheduler", pipeline.scheduler.config)
    parts = TextToImage(adapter, schedule).sample("red", num_inference_steps=4, num_images=2, seed=3)
    torch.testing.assert_close(parts.images, base.images, atol=1e-5, rtol=0)


def test_a_list_of_prompts(model):
    both = model.sample(["red", "blue"], num_inference_steps=2, num_images=2)
    assert both.prompts == ["red", "red", "blue", "blue"] and len(both) == 4
    blue = model.sample("blue", num_inference_steps=2, latents=both.trajectory[0].x_t[3:])
    torch.testing.assert_close(blue.images, both.images[3:], atol=1e-5, rtol=0)
    pair = model.sample(["red", "blue"], ["blue", "red"], num_inference_steps=2)
    first = model.sample("red", "blue", num_inference_steps=2)
    torch.testing.assert_close(first.images, pair.images[:1], atol=1e-5, rtol=0)


def test_guidance_is_shorthand_for_rules(model):
    def run(**settings):
        return model.sample("red", num_inference_steps=3, **settings)

    assert torch.equal(run(guidance_scale=3.0).latents, run(guidance=ClassifierFree(3.0)).latents)
    one, plain = run(guidance_scale=1.0), run(guidance=Conditional())
    assert torch.equal(one.latents, plain.latents) and one.nfe == plain.nfe == 3
    empty, none = run(negative_prompt="", guidance_scale=3.0), run(guidance_scale=3.0)
    assert torch.equal(empty.latents, none.latents)
    rule = run(negative_prompt="blue", guidance=NegativePrompt(3.0))
    assert torch.equal(run(negative_prompt="blue", guidance_scale=3.0).latents, rule.latents)
    three = run(negative_prompt="blue", guidance=ThreeBranch(3.0, 2.0))
    assert three.nfe == 9
    torch.testing.assert_close(three.latents, rule.latents, atol=1e-4, rtol=0)
    part = run(guidance=Interval(ClassifierFree(3.0), 0.0, 0.5))
    assert part.nfe == 2 + 2 + 1  # guided while step / 3 < 1/2: two of the three steps


def test_without_a_prompt(model):
    free = model.sample(None, num_inference_steps=3)
    assert free.nfe == 3 and free.prompts == [None]
    zero = model.sample("red", num_inference_steps=3, guidance_scale=0.0)
    assert torch.equal(free.latents, zero.latents)
    assert (model.sample(None, "red", num_inference_steps=3).latents - free.latents).abs().max() > 1e-5


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_runs(model, sampler):
    done = model.sample("red", num_inference_steps=4, sampler=sampler)
    assert torch.isfinite(done.latents).all()
    assert done.nfe == 2 * SAMPLERS[sampler].nfe(4)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpm++2m"])
def test_spacing_says_which_levels(model, sampler, spacing):
    done = model.sample("red", num_inference_steps=4, sampler=sampler, spacing=spacing)
    assert done.timesteps.tolist() == model.schedule.timesteps(4, spacing).tolist()
    own = model.sample("red", num_inference_steps=4, sampler=sampler)
    assert torch.equal(own.latents, done.latents) == (spacing == model.schedule.spacing)


def test_noise_belongs_to_the_seed(model):
    first = model.sample("red", num_inference_steps=4, eta=1.0, seed=5)
    assert torch.equal(first.latents, model.sample("red", num_inference_steps=4, eta=1.0, seed=5).latents)
    given = model.sample(
        "red", num_inference_steps=4, eta=1.0, seed=5, noise=noise.step_noise((1, 4, 8, 8), 5)
    )
    assert torch.equal(first.latents, given.latents)
    other = model.sample(
        "red", num_inference_steps=4, eta=1.0, seed=5, noise=noise.step_noise((1, 4, 8, 8), 6)
    )
    assert not torch.equal(first.latents, other.latents)


def test_callback_sees_steps_and_stops(model, base):
    seen = []

    def stop_after_two(index, count, step):
        seen.append((index, count, step.t))
        return index < 1

    part = model.sample("red", num_inference_steps=4, num_images=2, seed=3, callback=stop_after_two)
    assert seen == [(0, 4, 751), (1, 4, 501)]
    assert part.stopped and len(part.trajectory) == len(part.timesteps) == 2 and part.nfe == 4
    assert torch.equal(part.images, base.decode(base.trajectory[1].x0))

    def fail(index, count, step):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.sample("red", num_inference_steps=4, callback=fail)
    assert not model.sample("red", num_inference_steps=2, callback=lambda i, n, s: None).stopped


def test_trajectory_may_be_left_out(model, base):
    lean = model.sample("red", num_inference_steps=4, num_images=2, seed=3, keep_trajectory=False)
    assert lean.trajectory == [] and torch.equal(lean.images, base.images)


def test_the_interface_takes_texts_and_embeddings(model):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    by_text = model.eps(x, 500, ["red", "blue"])
    assert by_text.shape == x.shape
    assert torch.equal(by_text, model.eps(x, 500, model.encode_text(["red", "blue"])))
    torch.testing.assert_close(by_text, model.eps(x, torch.tensor([500, 500]), ["red", "blue"]))
    assert torch.equal(model.eps(x, 500, None), model.eps(x, 500, ""))
    with pytest.raises(ValueError, match=r"condition is .*3 rows.*allowed: 2"):
        model.eps(x, 500, ["red"] * 3)


def test_texts_are_encoded_once(pipeline, monkeypatch):
    model = wrap(pipeline)
    calls = []
    forward = pipeline.text_encoder.forward
    monkeypatch.setattr(
        pipeline.text_encoder, "forward", lambda *a, **k: calls.append(len(a[0])) or forward(*a, **k)
    )
    model.encode_text(["a", "b", "a"])
    model.encode_text(["b", "c"])
    assert calls == [2, 1]


BAD = [
    ({"prompt": ""}, r"prompt is empty; allowed: a text"),
    ({"prompt": "  "}, r"prompt is empty"),
    ({"prompt": []}, r"prompt is \[\]; allowed"),
    ({"prompt": ["red", ""]}, r"prompt is empty"),
    ({"prompt": 7}, r"prompt is 7; allowed: a text"),
    ({"prompt": ["red", None]}, r"prompt is None; allowed: text"),
    ({"prompt": b"red"}, r"prompt is b'red'; allowed: a text, a list of texts"),
    ({"negative_prompt": b"r"}, r"negative_prompt is b'r'; allowed: a text"),
    ({"guidance_scale": 10**400}, r"guidance_scale is 1000+\.\.\.; allowed: a finite number"),
    ({"guidance_scale": 10**5000}, r"guidance_scale is int of more digits than Python prints; allowed"),
    (
        {"guidance_scale": 1e38},
        r"guidance is ClassifierFree\(scale=1e\+38\), and x_t has grown to .* at step 2 of 2",
    ),
    ({"guidance_scale": 1e300}, r"guidance is ClassifierFree\(scale=1e\+300\), which makes NaN or infinite"),
    ({"latents": torch.full((1, 4, 8, 8), math.nan)}, r"x_t has NaN or infinite numbers at step 1 of 2"),
    (
        {"noise": lambda k: torch.full((1, 4, 8, 8), math.inf), "sampler": "ddpm"},
        r"x_t has NaN .* at step 2 of 2",
    ),
    ({"negative_prompt": 3}, r"negative_prompt is 3; allowed"),
    ({"negative_prompt": ["a", "b"]}, r"negative_prompt is \['a', 'b'\]; allowed: .* list of 1"),
    ({"num_inference_steps": 0}, r"num_inference_steps is 0; allowed: an integer from 1 to 1000"),
    ({"num_inference_steps": 1001}, r"num_inference_steps is 1001; allowed: .*1 to 1000"),
    ({"num_inference_steps": 2.5}, r"num_inference_steps is 2.5"),
    ({"num_inference_steps": True}, r"num_inference_steps is True"),
    ({"guidance_scale": math.nan}, r"guidance_scale is nan; allowed: a finite number"),
    ({"guidance_scale": math.inf}, r"guidance_scale is inf"),
    ({"guidance_scale": "4"}, r"guidance_scale is '4'"),
    ({"eta": -0.1}, r"eta is -0.1; allowed: a number from 0 to 1"),
    ({"eta": 1.5}, r"eta is 1.5; allowed"),
    ({"eta": math.nan}, r"eta is nan"),
    ({"eta": 0.5, "sampler": "ddpm"}, r"eta is 0.5; allowed with sampler 'ddpm': 0"),
    ({"sampler": "plms"}, r"sampler is 'plms'; allowed: 'ddpm', .*'ddim'"),
    ({"spacing": "even"}, r"spacing is 'even'; allowed: 'leading', 'linspace', 'trailing'"),
    ({"seed": -1}, r"seed is -1; allowed: an integer from 0 to 4294967295"),
    ({"seed": 2**32}, r"seed is 4294967296; allowed"),
    ({"num_images": 0}, r"num_images is 0; allowed: an integer of 1 or more"),
    ({"guidance": 4.0}, r"guidance is 4.0; allowed: a rule"),
    ({"guidance": NegativePrompt(3.0)}, r"negative_prompt is None; allowed with guidance"),
    ({"latents": torch.zeros(1, 4, 4, 4)}, r"latents is \(1, 4, 4, 4\); allowed: a tensor \(1, 4, 8, 8\)"),
]


@pytest.mark.parametrize("settings, message", BAD)
def test_bad_input_is_named(model, settings, message):
    with pytest.raises(ValueError, match=message):
        model.sample(**{"prompt": "red", "num_inference_steps": 2, **settings})


def test_long_texts_are_cut_with_a_warning_or_refused(pipeline):
    """Cut as diffusers does; a model with a language of its own has no such texts, and refuses them."""
    model = wrap(pipeline)
    with pytest.warns(
        UserWarning, match=r"prompt is 'x x x .*, more than the 77 tokens.* not see: 'x'"
    ) as caught:
        cut = model.sample("x " * 76, num_inference_steps=1)
    assert caught[0].filename == __file__
    assert torch.equal(cut.latents, model.sample("x " * 75, num_inference_steps=1).latents)
    with pytest.warns(UserWarning, match="negative_prompt is 'x+.*not see: 'xx'"):
        model.sample("red", "x" * 77, num_inference_steps=1)
    strict = wrap(pipeline, check_prompt=lambda text, name: None)
    for name, call in {
        "prompt": {"prompt": "x" * 76},
        "negative_prompt": {"prompt": "a", "negative_prompt": "x" * 76},
    }.items():
        with pytest.raises(
            PromptError, match=rf"{name} is 'x+\.\.\.', 76 tokens; allowed: at most 75 tokens"
        ):
            strict.sample(**call)


def test_a_networks_own_nan_is_named(pipeline):
    model = wrap(random_pipeline(seed=4))
    with torch.no_grad():
        model.adapter.unet.conv_out.bias[1] = math.nan
    with pytest.raises(NotFiniteError, match="the network's prediction 'uncond' has NaN .* at step 1 of 2"):
        model.sample("red", num_inference_steps=2)
    model = wrap(random_pipeline(seed=4))
    with torch.no_grad():
        model.adapter.vae.decoder.conv_out.bias[1] = math.inf
    with pytest.raises(
        NotFiniteError, match="the autoencoder, in float32, makes NaN or infinite numbers of finite"
    ):
        model.sample("red", num_inference_steps=2)


def test_offloaded_modules_go_back_whatever_happens(pipeline):
    class Hooks:
        freed = 0

        def maybe_free_model_hooks(self):
            self.freed += 1

    model = wrap(pipeline)
    model.offloaded = hooks = Hooks()
    model.sample("red", num_inference_steps=1)
    with pytest.raises(ZeroDivisionError):
        model.sample("red", num_inference_steps=1, callback=lambda *a: 1 / 0)
    with pytest.raises(NotFiniteError):
        model.sample("red", num_inference_steps=1, guidance_scale=1e38)
    assert hooks.freed == 3


def test_words_are_checked_for_both_prompts(pipeline):
    asked = []

    def check(text, name):
        asked.append((name, text))
        if "dragon" in text:
            raise PromptError(f"{name} is {text!r}: unknown word 'dragon'")

    model = wrap(pipeline, check_prompt=check)
    model.sample("red", "blue", num_inference_steps=1)
    model.sample("red", "", num_inference_steps=1)
    assert asked == [("prompt", "red"), ("negative_prompt", "blue"), ("prompt", "red")]
    with pytest.raises(PromptError, match="prompt is 'a dragon'"):
        model.sample("a dragon")
    with pytest.raises(PromptError, match="negative_prompt is 'dragon"):
        model.sample("red", "dragon" * 20)  # an unknown word is named before its length is


def test_a_negative_prompt_without_effect_warns(model):
    with pytest.warns(UserWarning, match="negative_prompt has no effect at guidance_scale 1") as caught:
        done = model.sample("red", "blue", num_inference_steps=2, guidance_scale=1.0)
    assert caught[0].filename == __file__  # it points at the caller
    plain = model.sample("red", num_inference_steps=2, guidance_scale=1.0)
    assert torch.equal(done.latents, plain.latents)
    with pytest.warns(UserWarning, match="does not use it"):
        model.sample("red", "blue", num_inference_steps=1, guidance=ClassifierFree(2.0))


def test_schedulers_are_told_apart_by_class(pipeline):
    config = dict(pipeline.scheduler.config)
    with pytest.raises(
        UnsupportedModelError, match="scheduler is 'EDMEulerScheduler'; allowed: DDIMScheduler"
    ):
        schedule_of("EDMEulerScheduler", {"prediction_type": "epsilon"})
    with pytest.raises(UnsupportedModelError, match="scheduler is 'FlowMatchEulerDiscreteScheduler'"):
        schedule_of("FlowMatchEulerDiscreteScheduler", {})
    with pytest.raises(
        UnsupportedModelError, match="prediction_type is 'sample'; allowed: 'epsilon', 'v_pred"
    ):
        schedule_of("DDIMScheduler", {**config, "prediction_type": "sample"})
    with pytest.raises(UnsupportedModelError, match="use_flow_sigmas"):
        schedule_of("UniPCMultistepScheduler", {**config, "use_flow_sigmas": True})
    assert schedule_of("DDIMScheduler", config).final_alpha_cumprod == pytest.approx(1 - 0.00085)


def test_a_unet_that_wants_more_is_refused(pipeline):
    from diffusers import UNet2DConditionModel

    def adapter(**changes):
        unet = UNet2DConditionModel.from_config(pipeline.unet.config, **changes)
        return StableDiffusionAdapter(unet, pipeline.vae, pipeline.text_encoder, pipeline.tokenizer)

    with pytest.raises(UnsupportedModelError, match="unet channels.*9, 4"):
        adapter(in_channels=9)
    with pytest.raises(UnsupportedModelError, match="time_cond_proj_dim is 16; allowed: None"):
        adapter(time_cond_proj_dim=16)


class Listening:
    """A rule that notes the moments that it is asked at."""

    branches = ("cond",)

    def __init__(self):
        self.asked, self.called = [], []

    def needs(self, moment):
        self.asked.append(moment)
        return self.branches

    def __call__(self, predictions, moment):
        self.called.append(moment)
        return predictions["cond"]


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_a_rule_is_told_the_moment(model, spacing):
    rule = Listening()
    model.sample("red", num_inference_steps=5, guidance=rule, spacing=spacing)
    timesteps = model.schedule.timesteps(5, spacing).tolist()
    assert rule.asked == rule.called
    assert [m.t for m in rule.called] == timesteps and [m.step for m in rule.called] == list(range(5))
    assert {m.steps for m in rule.called} == {5}
    assert [m.alpha_bar for m in rule.called] == [model.schedule.alpha_bar(t) for t in timesteps]


def test_many_pictures_are_the_same_whatever_the_chunk(model):
    texts, settings = ["red", "green", "red blue"], {"num_inference_steps": 3, "sampler": "ddpm"}
    whole, cut = sample_many(model, texts, 5, **settings), sample_many(model, texts, 5, chunk=2, **settings)
    assert whole.images.shape == (3, 3, *whole.images.shape[2:]) and whole.nfe == cut.nfe == 6
    torch.testing.assert_close(whole.latents, cut.latents, atol=1e-4, rtol=0)
    alone = model.sample("green", seed=5, latents=noise.gaussian((3, *model.latent_shape), 5)[1:2],
                         noise=lambda k: noise.step_noise((3, *model.latent_shape), 5)(k)[1:2], **settings)  # fmt: skip
    torch.testing.assert_close(whole.latents[1:2], alone.latents, atol=1e-4, rtol=0)
    scales = sample_many(
        model, texts, 5, 1, rule_of=lambda rows: ClassifierFree(float(rows.start)), num_inference_steps=2
    )
    for k, scale in enumerate((0.0, 1.0, 2.0)):
        same = model.sample(
            texts[k], guidance=ClassifierFree(scale), num_inference_steps=2,
            latents=noise.gaussian((1, *model.latent_shape), 5, first=k),
        )  # fmt: skip
        torch.testing.assert_close(scales.latents[k : k + 1], same.latents, atol=1e-4, rtol=0)
    assert len(sample_many(model, [None, None], 1, num_inference_steps=1).images) == 2
    with pytest.raises(ValueError, match="prompts is .*; allowed: at least one"):
        sample_many(model, [])


def test_pictures_go_to_latents_and_back(model):
    pictures = model.sample("red", num_inference_steps=1).images
    latents = model.encode(pictures)
    assert latents.shape == (1, *model.latent_shape) and latents.dtype == torch.float32
    vae = model.adapter.vae
    theirs = vae.encode(2 * pictures - 1).latent_dist.mean * vae.config.scaling_factor
    torch.testing.assert_close(latents, theirs)
