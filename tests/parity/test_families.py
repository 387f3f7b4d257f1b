"""Every family of real models, on a small random pipeline of its class: built, saved, loaded by `load`, sampled,
and compared with diffusers called directly. Where our samplers run they agree to 1e-4; where the pipeline's own
loop runs, the pictures are those of the pipeline called directly, bit for bit.
"""

import json
import math
import warnings

import diffusers
import pytest
import torch

from diffusion_tutorial import noise
from diffusion_tutorial.checkpoints import (
    FAMILIES,
    LOOP,
    OURS,
    RANDOM_PIPELINES,
    PipelineModel,
    generators,
    load,
    random_pipeline,
    signature,
    starts,
    table,
    way,
    wrap,
)
from diffusion_tutorial.errors import NotFiniteError, PromptError, UnsupportedModelError
from diffusion_tutorial.guidance import (
    ClassifierFree,
    ClassifierGuidance,
    Conditional,
    Interval,
    NegativePrompt,
    PerPicture,
    PerpNeg,
    Projected,
    Rescaled,
    SeveralNegatives,
    ThreeBranch,
    Unconditional,
    projected,
)
from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.samplers import SAMPLERS
from diffusion_tutorial.schedules import ZeroTerminalSNRError
from diffusion_tutorial.text_to_image import OPTIONS, TextToImage

TOLERANCE = 1e-4
DRIVEN = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "PixArtAlphaPipeline",
    "PixArtSigmaPipeline",
)
EDM = {
    name: getattr(diffusers, name)(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    for name in ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")
}
# What each loop is tried on: name -> (kind, changed components, further arguments of every call)
LOOPS = {
    "sd3": ("StableDiffusion3Pipeline", {}, {}),
    "sd3 without T5": ("StableDiffusion3Pipeline", {"text_encoder_3": None, "tokenizer_3": None}, {}),
    "flux": ("FluxPipeline", {}, {"height": 32, "width": 48}),
    "sana": ("SanaPipeline", {}, {}),
    "z-image": ("ZImagePipeline", {}, {"height": 32, "width": 48}),
    "qwen-image": ("QwenImagePipeline", {}, {"height": 32, "width": 48}),
    "klein": ("Flux2KleinPipeline", {}, {"height": 32, "width": 48}),
    "if": ("IFPipeline", {}, {}),
    "karlo": ("UnCLIPPipeline", {"super": None}, {}),
    **{name: ("StableDiffusionXLPipeline", {"scheduler": s}, {}) for name, s in EDM.items()},
}
PROMPT = "a Red thing"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """name -> folder of a small random pipeline, built when first asked for."""
    made = {}

    def get(kind, changes=None, **settings):
        changes = {k: v for k, v in (changes or {}).items() if k != "super"}
        key = (kind, tuple(changes), tuple(settings.items()))
        key += tuple(type(v).__name__ + str(getattr(v, "config", "")) for v in changes.values())
        if key not in made:
            made[key] = tmp_path_factory.mktemp("pipelines") / kind
            random_pipeline(seed=2, kind=kind, folder=made[key], **changes, **settings)
        return made[key]

    return get


def theirs_from(folder):
    index = json.loads((folder / "model_index.json").read_text())
    extra = {name: None for name, entry in index.items() if entry == [None, None]}
    kind = getattr(diffusers, index["_class_name"])
    if "text_proj" in index:  # diffusers 0.42 does not find the class again that its own index names
        parts = random_pipeline(kind=kind.__name__).components.items()
        pipeline = kind(**{name: type(part).from_pretrained(folder / name) for name, part in parts})
    else:
        pipeline = kind.from_pretrained(folder, **extra)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def gaussian(n, shape, stream=0):
    return noise.gaussian((n, *shape), 5, stream=stream)


def close(ours, theirs):
    theirs = theirs.float().cpu()
    assert ours.shape == theirs.shape and theirs.std() > 1e-2  # a picture, not a flat field
    assert (ours - theirs).abs().max() <= TOLERANCE


def test_the_rows_are_those_of_the_random_pipelines():
    assert set(FAMILIES) == set(RANDOM_PIPELINES)
    for kind, family in FAMILIES.items():
        pipeline = random_pipeline(kind=kind)
        for name, classes in family.components.items():
            allowed = {
                getattr(m, c)
                for c in classes
                for m in (diffusers, __import__("transformers"))
                if hasattr(m, c)
            }
            assert type(getattr(pipeline, name)) in allowed or name == "text_proj", name


# --- our samplers


def ddim(folder, **changes):
    """diffusers' pipeline with its DDIM scheduler on the checkpoint's chain."""
    pipeline = theirs_from(folder)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, **changes
    )
    return pipeline


def call_driven(pipeline, x, **settings):
    if "PixArt" in type(pipeline).__name__:
        settings |= {"use_resolution_binning": False, "clean_caption": False}
        settings = {k: v for k, v in settings.items() if not (k == "negative_prompt" and v is None)}
    return pipeline(PROMPT, latents=x.clone(), output_type="pt", **settings).images


@pytest.mark.parametrize("negative", [None, "", "Blue cube"])
@pytest.mark.parametrize("kind", DRIVEN)
def test_ddim_with_guidance(saved, kind, negative):
    folder = saved(kind)
    model = load(folder, device="cpu")
    x, settings = gaussian(2, model.latent_shape), {"num_inference_steps": 5, "guidance_scale": 6.0}
    ours = model.sample(PROMPT, negative, num_images=2, latents=x, **settings)
    settings |= {"negative_prompt": negative, "num_images_per_prompt": 2}
    close(ours.images, call_driven(ddim(folder), x, **settings))


@pytest.mark.parametrize("kind", DRIVEN)
def test_without_guidance_and_from_the_pipeline(saved, kind):
    folder = saved(kind)
    pipeline = ddim(folder)
    model = wrap(pipeline)
    x = gaussian(1, model.latent_shape)
    ours = model.sample(PROMPT, num_inference_steps=4, guidance_scale=1.0, latents=x)
    close(ours.images, call_driven(pipeline, x, num_inference_steps=4, guidance_scale=1.0))
    assert model.unet is pipeline.unet if hasattr(model, "unet") else model.adapter.vae is pipeline.vae


@pytest.mark.parametrize("kind", DRIVEN)
def test_ddim_with_eta_and_ddpm_on_the_same_noise(saved, kind, monkeypatch):
    import diffusers.schedulers.scheduling_ddim as ddim_module
    import diffusers.schedulers.scheduling_ddpm as ddpm_module

    folder = saved(kind)
    model = load(folder, device="cpu")
    drawn = [gaussian(1, model.latent_shape, stream=9 + k) for k in range(10)]
    x, settings = gaussian(1, model.latent_shape), {"num_inference_steps": 5, "guidance_scale": 3.0}
    for module in (ddim_module, ddpm_module):
        source = iter(drawn)
        monkeypatch.setattr(module, "randn_tensor", lambda *a, source=source, **k: next(source).clone())
    theirs = call_driven(ddim(folder), x, eta=0.6, **settings)
    ours = model.sample(PROMPT, eta=0.6, latents=x, noise=lambda k: drawn[k], **settings)
    close(ours.images, theirs)
    pipeline = theirs_from(folder)
    pipeline.scheduler = diffusers.DDPMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    ours = model.sample(PROMPT, sampler="ddpm", latents=x, noise=lambda k: drawn[k], **settings)
    close(ours.images, call_driven(pipeline, x, **settings))


def predicts_v(kind):
    scheduler = random_pipeline(kind=kind).scheduler
    return {"scheduler": type(scheduler).from_config(scheduler.config, prediction_type="v_prediction")}


@pytest.mark.parametrize("kind", DRIVEN)
def test_v_prediction(saved, kind):
    folder = saved(kind, predicts_v(kind))
    model = load(folder, device="cpu")
    x, settings = gaussian(1, model.latent_shape), {"num_inference_steps": 5, "guidance_scale": 4.0}
    ours = model.sample(PROMPT, "blue", latents=x, **settings)
    close(ours.images, call_driven(ddim(folder), x, negative_prompt="blue", **settings))
    plain = load(saved(kind), device="cpu").sample(PROMPT, "blue", latents=x, **settings)
    assert (plain.images - ours.images).abs().max() > 100 * TOLERANCE  # the same weights read otherwise


def test_guiding_v_is_guiding_eps(saved):
    """eps = sqrt(a) v + sqrt(1 - a) x_t is affine, and a rule's weights add up to one: x_t passes through."""
    folder = saved(DRIVEN[0], predicts_v(DRIVEN[0]))
    model = load(folder, device="cpu")
    x, t, s = gaussian(2, model.latent_shape), torch.tensor([700, 200]), 5.0
    eps = [model.eps(x, t, text) for text in ("", PROMPT)]
    model.adapter.predicts = PREDICTIONS["epsilon"]
    v = [model.eps(x, t, text) for text in ("", PROMPT)]
    a = model.schedule.alphas_cumprod[t].reshape(-1, 1, 1, 1).float()
    guided = v[0] + s * (v[1] - v[0])
    expected = a.sqrt() * guided + (1 - a).sqrt() * x
    torch.testing.assert_close(eps[0] + s * (eps[1] - eps[0]), expected, atol=1e-5, rtol=1e-5)


def zero_snr(kind):
    """diffusers' DDIM of a chain that ends in pure noise, for a network that predicts v, begun there."""
    config = random_pipeline(kind=kind).scheduler.config
    return diffusers.DDIMScheduler(
        **{k: config[k] for k in ("beta_start", "beta_end", "beta_schedule")},
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


@pytest.mark.parametrize("eta", [0.0, 0.6])
@pytest.mark.parametrize("kind", DRIVEN)
def test_v_from_pure_noise(saved, kind, eta, monkeypatch):
    """Zero terminal SNR with trailing: the first step is at alpha_bar = 0, where v tells x0 and eps does not."""
    import diffusers.schedulers.scheduling_ddim as ddim_module

    folder = saved(kind, {"scheduler": zero_snr(kind)})
    model, pipeline = load(folder, device="cpu"), theirs_from(folder)
    assert float(model.schedule.alphas_cumprod[-1]) == 0 and float(pipeline.scheduler.alphas_cumprod[-1]) == 0
    drawn = [gaussian(2, model.latent_shape, stream=9 + k) for k in range(5)]
    source = iter(drawn)
    monkeypatch.setattr(ddim_module, "randn_tensor", lambda *a, **k: next(source).clone())
    x, settings = (
        gaussian(2, model.latent_shape),
        {"num_inference_steps": 5, "guidance_scale": 4.0, "eta": eta},
    )
    ours = model.sample(PROMPT, "blue", num_images=2, latents=x, noise=lambda k: drawn[k], **settings)
    first = ours.trajectory[0]
    assert first.alpha_bar_t == 0 and torch.equal(first.eps, first.x_t) and ours.nfe == 10
    theirs = call_driven(pipeline, x, negative_prompt="blue", num_images_per_prompt=2, **settings)
    close(ours.images, theirs)


def test_every_sampler_and_rule_from_pure_noise(saved):
    kind = DRIVEN[0]
    model = load(saved(kind, {"scheduler": zero_snr(kind)}), device="cpu")
    x, settings = gaussian(1, model.latent_shape), {"num_inference_steps": 4, "seed": 3}
    run = {
        name: model.sample(PROMPT, sampler=name, latents=x, **settings)
        for name in SAMPLERS
        if name != "euler-u2"
    }
    for one in run.values():
        assert one.images.isfinite().all() and one.trajectory[0].alpha_bar_t == 0
    with pytest.raises(ZeroTerminalSNRError):
        model.sample(PROMPT, sampler="euler-u2", **settings)
    # Euler's method is DDIM; the first step of those that look back is DDIM's.
    start = {"num_inference_steps": 2, "latents": x}
    by_step = [
        model.sample(PROMPT, sampler=n, spacing="trailing", **start).trajectory[0]
        for n in ("euler", "dpm++2m")
    ]
    assert torch.equal(by_step[0].x_s, by_step[1].x_s)
    s, more = 4.0, {"latents": x, **settings}
    plain = model.sample(PROMPT, guidance=ClassifierFree(s), **more).latents
    for rule in (Projected(s, 1.0), Rescaled(s, 0.0)):  # other forms of plain guidance
        found = model.sample(PROMPT, guidance=rule, **more).latents
        assert (found - plain).abs().max() <= 1e-4 * plain.abs().max()
    parts = [model.sample(PROMPT, guidance=ClassifierFree(k), **more).trajectory[0].x0 for k in (0.0, 1.0)]
    found = model.sample(PROMPT, guidance=Projected(s, 0.2), **more).trajectory[0].x0
    expected = projected(parts[0], parts[1], s, 0.2)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    slope = ClassifierGuidance(1.0, lambda x_t, t: torch.ones_like(x_t))
    with pytest.raises(ZeroTerminalSNRError, match="allowed: Interval"):
        model.sample(PROMPT, guidance=slope, **more)
    late = Interval(slope, 0.25, 1.0, Unconditional())
    assert model.sample(PROMPT, guidance=late, **more).images.isfinite().all()


def overflowing(kind, **changes):
    """A pipeline in float16 whose autoencoder computes numbers that float16 does not hold, as SDXL's does."""
    pipeline = random_pipeline(seed=2, kind=kind, **changes)
    with torch.no_grad():
        conv = pipeline.vae.decoder.conv_in
        conv.weight.mul_(1e5 / 4)
        conv.bias.mul_(1e5)
    return pipeline.to(torch.float16)


@pytest.mark.parametrize("scheduler", [None, "EDMEulerScheduler"])
def test_an_autoencoder_that_overflows_decodes_in_float32(scheduler):
    """SDXL and Playground, wrapped in float16: their pictures are diffusers' own, and the weights stay as they were."""
    changes = {} if scheduler is None else {"scheduler": EDM[scheduler]}
    pipeline = overflowing("StableDiffusionXLPipeline", **changes)
    assert pipeline.vae.config.force_upcast
    model, x = wrap(pipeline), gaussian(2, (4, 8, 8))
    before = [p.clone() for p in pipeline.vae.parameters()]
    pictures = model.decode(x)
    exact = random_pipeline(seed=2, kind="StableDiffusionXLPipeline").vae
    exact.load_state_dict({k: v.float() for k, v in pipeline.vae.state_dict().items()})
    from diffusion_tutorial.checkpoints.adapters import decode_latents

    assert torch.equal(pictures, decode_latents(exact, x)) and pictures.std() > 1e-2
    assert pipeline.vae.dtype == torch.float16
    assert all(torch.equal(a, b) for a, b in zip(before, pipeline.vae.parameters()))
    with pytest.raises(NotFiniteError, match="the autoencoder, in float16, makes NaN or infinite numbers"):
        decode_latents(pipeline.vae, x)
    assert model.sample(PROMPT, num_inference_steps=2, guidance_scale=2.0).images.isfinite().all()


def test_pixart_at_1024_knows_its_size(saved):
    """alpha's transformer of 128 x 128 latents has the picture's size as a condition."""
    folder = saved("PixArtAlphaPipeline", sample_size=128)
    model = load(folder, device="cpu")
    assert model.adapter.sized and model.adapter.unet.config.use_additional_conditions is None
    x, settings = gaussian(1, model.latent_shape), {"num_inference_steps": 2, "guidance_scale": 3.0}
    ours = model.sample(PROMPT, latents=x, **settings)
    close(ours.images, call_driven(ddim(folder), x, **settings))
    assert not load(saved("PixArtSigmaPipeline", sample_size=128), device="cpu").adapter.sized


def test_sdxl_tells_no_text_from_an_empty_one(saved):
    model = load(saved("StableDiffusionXLPipeline"), device="cpu")
    none, empty = (model.encode_text([p]).parts for p in (None, ""))
    assert all(not part.any() for part in none) and all(part.any() for part in empty)
    x = gaussian(1, model.latent_shape)
    both = [model.sample(PROMPT, n, num_inference_steps=3, latents=x).images for n in (None, "")]
    assert (both[0] - both[1]).abs().max() > 1e-3
    assert model.adapter.sizes == (32, 32, 0, 0, 32, 32)


def test_sdxl_that_keeps_its_empty_text(saved):
    folder = saved("StableDiffusionXLPipeline", force_zeros_for_empty_prompt=False)
    model = load(folder, device="cpu")
    x, settings = gaussian(1, model.latent_shape), {"num_inference_steps": 3, "guidance_scale": 4.0}
    close(model.sample(PROMPT, latents=x, **settings).images, call_driven(ddim(folder), x, **settings))


@pytest.mark.parametrize("kind", DRIVEN)
def test_every_sampler_several_prompts_and_cut_batches(saved, kind):
    model = load(saved(kind), device="cpu")
    assert model.options == frozenset(OPTIONS)
    for sampler in SAMPLERS:
        # "trailing" ends at alpha_bar[-1] > 0 for each of these chains
        run = model.sample(PROMPT, num_inference_steps=3, sampler=sampler, spacing="trailing")
        assert run.images.isfinite().all() and run.nfe == 2 * SAMPLERS[sampler].nfe(3)
    prompts, negatives = ["red", "blue"], ["a", "b"]
    whole = model.sample(prompts, negatives, num_inference_steps=3, num_images=2)
    model.adapter.max_rows, model.adapter.decode_rows = 3, 1
    cut = model.sample(prompts, negatives, num_inference_steps=3, num_images=2)
    torch.testing.assert_close(cut.images, whole.images, atol=1e-5, rtol=0)


LONG = " ".join(f"{k} word" for k in range(60))


@pytest.mark.parametrize(
    "kind, encoders",
    [
        ("StableDiffusionPipeline", ["77 tokens, marks included, that CLIPTextModel reads"]),
        (
            "StableDiffusionXLPipeline",
            ["that CLIPTextModel reads", "77 tokens, marks included, that CLIPTextModelWithProjection reads"],
        ),
        ("PixArtAlphaPipeline", ["120 tokens, marks included, that T5EncoderModel reads"]),
    ],
)
def test_long_prompts_are_cut_where_diffusers_cuts_them(saved, kind, encoders):
    """With a warning for each encoder that names what it does not see; at the limit itself there is none."""
    folder = saved(kind)
    model, x = load(folder, device="cpu"), gaussian(1, (4, 8, 8))
    settings = {"num_inference_steps": 2, "guidance_scale": 3.0}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours = model.sample(LONG, latents=x, **settings)
    said = [str(w.message) for w in caught if "does not see" in str(w.message)]
    assert len(said) == len(encoders) and all(w.filename == __file__ for w in caught)
    for message, encoder in zip(said, encoders):
        assert message.startswith("prompt is '0 word 1 word") and encoder in message
        unseen = message.split("it does not see: ")[1].replace(" ", "").strip("'")
        assert len(unseen) > 20 and LONG.replace(" ", "").endswith(unseen)
    more = {} if "PixArt" not in kind else {"use_resolution_binning": False, "clean_caption": False}
    theirs = ddim(folder)(LONG, latents=x.clone(), output_type="pt", **settings, **more).images
    close(ours.images, theirs)
    marks = model.adapter.marks
    fits = "x" * (model.adapter.max_tokens - marks - (kind == "PixArtAlphaPipeline"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.sample(fits, num_inference_steps=1)


def test_each_encoder_of_a_loop_has_its_own_limit(saved, caplog):
    def said(model, prompt, **call):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.sample(prompt, num_inference_steps=1, **call)
        return [
            str(w.message).split("marks included, that ")[1].split(" reads")[0]
            for w in caught
            if "does not see" in str(w.message)
        ]

    sd3 = loop(saved, "sd3")[0]
    text = "x" * 100
    both = ["CLIPTextModelWithProjection"]  # the two encoders are of one class
    assert said(sd3, text) == both
    assert said(sd3, text, max_sequence_length=77) == [*both, "T5EncoderModel"]
    assert said(sd3, "x" * 70, max_sequence_length=77) == []
    assert said(loop(saved, "sd3 without T5")[0], "x" * 100) == both
    flux, _, size = loop(saved, "flux")
    assert said(flux, text, **size) == ["CLIPTextModel"]
    assert said(flux, "x" * 600, **size) == ["CLIPTextModel", "T5EncoderModel"]
    assert said(loop(saved, "if")[0], text) == ["T5EncoderModel"]
    assert said(loop(saved, "sana")[0], "x" * 200) == []
    assert said(loop(saved, "sana")[0], "x" * 400) == ["Gemma2Model"]
    assert "truncated" not in caplog.text  # diffusers says it too: once is enough
    with pytest.raises(ValueError, match="max_sequence_length is 0; allowed: an integer of 1 or more"):
        flux.sample(PROMPT, max_sequence_length=0, **size)


@pytest.mark.parametrize("kind", [k for k in starts() if k != "UnCLIPPipeline"])
def test_half_precision(saved, kind):
    """bfloat16, which a CPU has too: near the float32 picture. Karlo enlarges by an interpolation that torch
    has in bfloat16 on no CPU."""
    sized = ("FluxPipeline", "ZImagePipeline", "QwenImagePipeline", "Flux2KleinPipeline")
    call = {"height": 32, "width": 32} if kind in sized else {}
    call |= {"num_inference_steps": 2, "guidance_scale": 2.0}
    half = load(saved(kind), device="cpu", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    exact = load(saved(kind), device="cpu").sample(PROMPT, **call).images
    images = half.sample(PROMPT, **call).images
    assert images.dtype == torch.float32 and (images - exact).abs().mean() < 0.1


# --- the pipeline's own loop


def loop(saved, name):
    kind, changes, call = LOOPS[name]
    folder = saved(kind, changes)
    return load(folder, device="cpu"), folder, call


def call_loop(pipeline, model, n, prompts=(PROMPT,), count=1, negatives=None, steps=3, **settings):
    """diffusers called as its documentation says, from the same noise."""
    kind, names = type(pipeline).__name__, FAMILIES[type(pipeline).__name__].names
    settings |= {names.get("num_inference_steps", "num_inference_steps"): steps}
    if "guidance_scale" in settings:
        scale = settings.pop("guidance_scale") - 1 + FAMILIES[kind].plain
        settings[names.get("guidance_scale", "guidance_scale")] = scale
    if kind != "IFPipeline":
        shape = model._shape(settings.get("height"), settings.get("width"))
        x = noise.gaussian((n, *shape), 4)
        if FAMILIES[kind].layout == "packed":
            x = pipeline._pack_latents(x, n, *shape)
        settings[names.get("latents", "latents")] = x
    if kind == "SanaPipeline":
        settings |= {"use_resolution_binning": False, "height": 32, "width": 32}
    if kind == "IFPipeline":
        settings["clean_caption"] = False
    if kind == "QwenImagePipeline" and negatives is None:  # it guides with a given text alone
        negatives = [" "] * len(prompts)
    if negatives is not None:
        settings["negative_prompt"] = negatives
    out = pipeline(
        prompt=list(prompts),
        num_images_per_prompt=count,
        generator=generators(4, n),
        output_type="np" if kind == "UnCLIPPipeline" else "pt",
        **settings,
    ).images
    if kind == "UnCLIPPipeline":
        return torch.from_numpy(out).permute(0, 3, 1, 2)
    return (out / 2 + 0.5).clamp(0, 1) if kind == "IFPipeline" else out


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_diffusers_own(saved, name):
    model, folder, call = loop(saved, name)
    assert isinstance(model, PipelineModel) and isinstance(model, TextToImage) and model.schedule is None
    call = {**call, "guidance_scale": 2.5}
    ours = model.sample([PROMPT, "blue"], num_inference_steps=3, seed=4, num_images=2, **call)
    theirs = call_loop(model.pipeline, model, 4, (PROMPT, "blue"), 2, **call)
    assert torch.equal(ours.images, theirs) and theirs.std() > 1e-2
    # Loaded by diffusers the weights lie elsewhere in memory, which may move the last bits.
    loaded = call_loop(theirs_from(folder), model, 4, (PROMPT, "blue"), 2, **call)
    torch.testing.assert_close(ours.images, loaded, atol=1e-5, rtol=0)
    assert ours.prompts == [PROMPT] * 2 + ["blue"] * 2 and len(ours.timesteps) == 3


@pytest.mark.parametrize("name", ["sd3", "sana", "z-image", "qwen-image", "if", "EDMEulerScheduler", "flux"])
def test_loops_with_a_negative_prompt(saved, name):
    model, folder, call = loop(saved, name)
    if name == "flux":
        call = {**call, "true_cfg_scale": 2.0}
    ours = model.sample(PROMPT, "blue", num_inference_steps=3, seed=4, **call)
    theirs = call_loop(model.pipeline, model, 1, negatives=["blue"], **call)
    assert torch.equal(ours.images, theirs)
    without = model.sample(PROMPT, num_inference_steps=3, seed=4, **call)
    assert (without.images - ours.images).abs().max() > 1e-3
    assert ours.nfe == 6


@pytest.mark.parametrize("name", LOOPS)
def test_loops_fall_back_on_the_pipelines_defaults(saved, name):
    """Without steps and scale the pipeline's own are taken."""
    model, folder, call = loop(saved, name)
    found = signature(model.kind)
    seen = []
    model.sample(PROMPT, callback=lambda i, n, step: seen.append(n) or (False if i == 1 else None), **call)
    assert seen == [found.num_inference_steps] * 2
    assert found.guidance_scale > 1 and found.negative_prompt == ("negative_prompt" in model.options)


@pytest.mark.parametrize("name", LOOPS)
def test_trajectories(saved, name):
    """Each step continues the one before; x0, eps and alpha_bar are those of the state."""
    model, _, call = loop(saved, name)
    heard = []
    run = model.sample(
        PROMPT, num_inference_steps=4, num_images=2, callback=lambda *a: heard.append(a), **call
    )
    steps = run.trajectory
    assert [(i, n) for i, n, _ in heard] == [(i, 4) for i in range(4)] and [s for *_, s in heard] == steps
    assert run.timesteps.tolist() == pytest.approx([s.t for s in steps])
    assert [s.alpha_bar_s for s in steps[:-1]] == pytest.approx([s.alpha_bar_t for s in steps[1:]])
    assert steps[-1].alpha_bar_s == pytest.approx(1.0, abs=1e-4) and steps[-1].s is None
    shape = (2, *model._shape(call.get("height"), call.get("width")))
    for now, after in zip(steps, [*steps[1:], None]):
        assert now.x_t.shape == now.x0.shape == now.eps.shape == now.x_s.shape == shape
        if after is not None:
            assert (
                torch.equal(now.x_s, after.x_t) and now.s == after.t and now.alpha_bar_t < after.alpha_bar_t
            )
        if now.alpha_bar_t > 0:  # at no signal at all, x_t is noise and nothing else
            a, b = math.sqrt(now.alpha_bar_t), math.sqrt(1 - now.alpha_bar_t)
            size = now.x_t.norm() / (a * now.x0 + b * now.eps).norm()  # x_t may be scaled: EDM, flow
            torch.testing.assert_close(now.x_t, size * (a * now.x0 + b * now.eps), atol=2e-4, rtol=1e-3)
    if model.kind not in ("UnCLIPPipeline",):  # Karlo goes on to enlarge
        torch.testing.assert_close(run.decode(steps[-1].x_s), run.images, atol=1e-5, rtol=0)
        assert torch.equal(run.latents, steps[-1].x_s)
    if name in ("sd3", "flux", "z-image", "qwen-image", "klein"):
        for s in steps:  # Euler's step along the straight line
            share = [math.sqrt(v) / (math.sqrt(v) + math.sqrt(1 - v)) for v in (s.alpha_bar_t, s.alpha_bar_s)]
            torch.testing.assert_close(s.x_s, share[1] * s.x0 + (1 - share[1]) * s.eps, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", LOOPS)
def test_loops_stop_where_the_callback_says(saved, name):
    model, _, call = loop(saved, name)
    step_before = model.scheduler.step
    run = model.sample(
        PROMPT, num_inference_steps=4, callback=lambda i, n, s: i < 1, keep_trajectory=False, **call
    )
    assert run.stopped and len(run.timesteps) == 2 and run.trajectory == []
    assert run.images.shape[0] == 1 and run.images.isfinite().all()
    with pytest.raises(ZeroDivisionError):
        model.sample(PROMPT, num_inference_steps=4, callback=lambda *a: 1 / 0, **call)
    last = model.sample(PROMPT, num_inference_steps=2, callback=lambda i, n, s: i < n - 1, **call)
    assert not last.stopped  # ended by itself
    assert model.scheduler.step == step_before and not model.denoiser._forward_pre_hooks


@pytest.mark.parametrize("name", LOOPS)
def test_loops_repeat_and_do_not_depend_on_the_batch(saved, name):
    model, _, call = loop(saved, name)
    two = model.sample(PROMPT, num_inference_steps=2, num_images=2, seed=7, **call).images
    again = model.sample(PROMPT, num_inference_steps=2, num_images=2, seed=7, **call).images
    one = model.sample(PROMPT, num_inference_steps=2, seed=7, **call).images
    assert torch.equal(two, again)
    torch.testing.assert_close(one, two[:1], atol=1e-4, rtol=0)
    assert (two[0] - two[1]).abs().max() > 1e-3


def test_given_latents_are_the_start(saved):
    model, _, _ = loop(saved, "sd3")
    x = gaussian(1, model.latent_shape)
    run = model.sample(PROMPT, num_inference_steps=2, latents=x)
    assert torch.equal(run.trajectory[0].x_t, x)
    with pytest.raises(ValueError, match=r"latents is \(2, 4, 8, 8\); allowed: a tensor \(1, 4, 8, 8\)"):
        model.sample(PROMPT, latents=gaussian(2, model.latent_shape))


def test_a_cascade_of_two_stages(saved):
    """The second stage enlarges the first one's pictures, with the first one's text."""
    folders = saved("IFPipeline"), saved("IFSuperResolutionPipeline", sample_size=16)
    model = load(folders, device="cpu")
    run = model.sample([PROMPT, "blue"], ["red", "b"], num_inference_steps=2, num_images=2, seed=4)
    assert run.images.shape == (4, 3, 16, 16) and run.trajectory[0].x_t.shape == (4, 3, 8, 8)
    assert run.nfe == 2 * 2 + 2 * 50
    first, second = theirs_from(folders[0]), theirs_from(folders[1])
    drawing = generators(4, 4)
    text = first.encode_prompt([PROMPT, "blue"], True, negative_prompt=["red", "b"])
    small = first(
        [PROMPT, "blue"],
        negative_prompt=["red", "b"],
        num_inference_steps=2,
        num_images_per_prompt=2,
        generator=drawing,
        clean_caption=False,
        output_type="pt",
    ).images
    large = second(
        image=small,
        prompt_embeds=text[0].repeat_interleave(2, 0),
        negative_prompt_embeds=text[1].repeat_interleave(2, 0),
        generator=drawing,
        output_type="pt",
    ).images
    torch.testing.assert_close(run.images, (large / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=0)
    with pytest.raises(UnsupportedModelError, match=r"name_or_path\[1\] is .*of IFSuperResolutionPipeline"):
        load([folders[0], folders[0]], device="cpu")
    with pytest.raises(UnsupportedModelError, match=r"name_or_path\[0\] is .*of IFPipeline"):
        load([saved("FluxPipeline"), folders[1]], device="cpu")
    with pytest.raises(ValueError, match="at least two stages"):
        load([folders[0]], device="cpu")


# --- guidance rules in the pipeline's own loop

RULED = {
    "sd3": 4.0,
    "sana": 4.0,
    "flux": 3.0,
    "z-image": 4.0,
    "klein": 4.0,
    "EDMEulerScheduler": 4.0,
    "EDMDPMSolverMultistepScheduler": 4.0,
}


@pytest.mark.parametrize("negative", [None, "blue cube"])
@pytest.mark.parametrize("name", RULED)
def test_plain_guidance_by_rule_is_the_pipelines_own(saved, name, negative):
    model, _, call = loop(saved, name)
    scale = RULED[name]
    if negative and "negative_prompt" not in model.options:
        pytest.skip("its pipeline takes no negative prompt; a rule does")
    theirs = {"true_cfg_scale": scale, "guidance_scale": 2.5} if name == "flux" else {"guidance_scale": scale}
    plain = {"negative_prompt": negative or ""} if name == "flux" else {"negative_prompt": negative}
    settings = {"num_inference_steps": 3, "seed": 4, "num_images": 2, **call}
    own = model.sample([PROMPT, "blue"], **plain, **theirs, **settings)
    rule = NegativePrompt(scale) if negative else ClassifierFree(scale)
    kept = {"guidance_scale": 2.5} if name == "flux" else {}
    ours = model.sample([PROMPT, "blue"], negative, guidance=rule, **kept, **settings)
    weak = model.sample([PROMPT, "blue"], negative, guidance=type(rule)(1.5), **kept, **settings)
    if (
        name == "sana"
    ):  # diffusers gives picture 2 of 4 the mask of another prompt; the branches' masks are right
        own, ours, weak = (r.latents[[0, 3]] for r in (own, ours, weak))
    else:
        own, ours, weak = (r.latents for r in (own, ours, weak))
    assert (own - ours).abs().max() <= 1e-5 * own.abs().max()
    assert (weak - ours).abs().max() > 1e-3


def test_qwen_images_own_guidance_is_as_long_as_the_prompts_answer(saved):
    """Its "negative prompt": two branches in the velocity, then at each position the length of the prompt's answer."""
    model, _, call = loop(saved, "qwen-image")
    settings, s = {"num_inference_steps": 3, "seed": 4, **call}, 4.0

    def velocity(run):
        first = run.trajectory[0]
        v = (first.eps - first.x0).double()
        return model.pipeline._pack_latents(v, *v.shape)

    negative, prompt = (
        velocity(model.sample(PROMPT, guidance=ClassifierFree(k), **settings)) for k in (0.0, 1.0)
    )
    plain = negative + s * (prompt - negative)
    expected = plain * prompt.norm(dim=-1, keepdim=True) / plain.norm(dim=-1, keepdim=True)
    for text in (None, " "):  # without one it would not guide at all: the scale is what was asked for
        own = model.sample(PROMPT, text, guidance_scale=s, **settings)
        assert own.nfe == 6 and (velocity(own) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (plain - expected).abs().max() > 1e-3 * expected.abs().max()
    by_rule = model.sample(PROMPT, guidance=ClassifierFree(s), **settings)
    assert (velocity(by_rule) - plain).abs().max() <= 1e-5 * plain.abs().max()
    assert model.sample(PROMPT, guidance_scale=1.0, **settings).nfe == 3


@pytest.mark.parametrize("text", ["blue", "a longer text than the prompt is", PROMPT[::-1]])
def test_branches_of_other_lengths_are_asked_apart(saved, text):
    """Z-Image and Qwen-Image read texts at their own lengths; answers do not depend on who is asked beside whom."""
    for name in ("z-image", "qwen-image"):
        model, _, call = loop(saved, name)
        settings = {"num_inference_steps": 2, "seed": 4, **call}
        alone = model.sample(text, guidance=Conditional(), **settings).trajectory[0].x0
        rule = NegativePrompt(0.0)  # the negative's answer, whatever the prompt's is
        beside = model.sample(PROMPT, text, guidance=rule, **settings).trajectory[0].x0
        assert (alone - beside).abs().max() <= 1e-5 * alone.abs().max()


def test_z_images_scale_is_ours(saved):
    """Its formula is eps_c + g (eps_c - eps_n) with g = s - 1: its default of 5 is our 6, and 0 is the prompt alone."""
    model, _, call = loop(saved, "z-image")
    settings = {"num_inference_steps": 2, "seed": 4, **call}
    assert signature("ZImagePipeline").guidance_scale == 6.0
    default, same = (model.sample(PROMPT, **more, **settings) for more in ({}, {"guidance_scale": 6.0}))
    assert torch.equal(default.images, same.images) and default.nfe == 4
    assert model.sample(PROMPT, guidance_scale=1.0, **settings).nfe == 2
    assert default.prompts == [PROMPT]  # diffusers writes into the list that it is given


@pytest.mark.parametrize("kind", ["PixArtAlphaPipeline", "PixArtSigmaPipeline"])
def test_pixart_by_rule_is_the_pipelines_own(saved, kind):
    """PixArt goes through our samplers: its latents are diffusers' own, and a rule is what makes them."""
    model, x = load(saved(kind), device="cpu"), gaussian(2, (4, 8, 8))
    ours = model.sample(PROMPT, num_images=2, latents=x, num_inference_steps=5, guidance=ClassifierFree(6.0))
    settings = {
        "num_inference_steps": 5,
        "guidance_scale": 6.0,
        "num_images_per_prompt": 2,
        "output_type": "latent",
    }
    more = {"use_resolution_binning": False, "clean_caption": False}
    theirs = ddim(saved(kind))(PROMPT, latents=x.clone(), **settings, **more).images
    assert (ours.latents - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("name", ["sd3", "sana", "flux", "z-image", "qwen-image", "klein", "EDMEulerScheduler"])
def test_the_other_rules_in_a_loop(saved, name):
    model, _, call = loop(saved, name)
    settings = {"num_inference_steps": 4, "seed": 4, **call}

    def run(rule, negative=None, **more):
        return model.sample(PROMPT, negative, guidance=rule, **settings, **more)

    s = 4.0
    plain, alone = run(ClassifierFree(s)), run(Conditional())
    size = plain.latents.abs().max()

    def same(one, other):
        return (one.latents - other.latents).abs().max() <= 2e-5 * size

    assert plain.nfe == 8 and alone.nfe == 4 and not same(plain, alone)
    # Three branches at (s, s - 1) are the negative prompt; a weight of 0 is plain guidance.
    negative = run(NegativePrompt(s), "blue")
    three = run(ThreeBranch(s, s - 1), "blue")
    assert three.nfe == 12 and same(three, negative) and not same(three, plain)
    assert same(run(SeveralNegatives(s, (s - 1, 0.0)), negatives=["blue", "x"]), negative)
    assert same(run(PerpNeg(s, 0.0), "blue"), plain)
    perpendicular = run(PerpNeg(s, 1.0), "blue")
    assert not same(perpendicular, plain) and not same(perpendicular, negative)
    # The prompt as its own negative takes nothing away; Sana reads a prompt behind an instruction, a negative without.
    assert same(run(PerpNeg(s, 1.0), PROMPT), plain) == (name != "sana")
    # Intervals: all of the run, none of it, and half, which costs half the second evaluations.
    assert same(run(Interval(ClassifierFree(s), 0.0, 1.0)), plain)
    assert same(run(Interval(ClassifierFree(s), 0.0, 0.0)), alone)
    half = run(Interval(ClassifierFree(s), 0.25, 0.75))
    assert half.nfe == 6 and not same(half, plain) and not same(half, alone)
    # A rule a picture.
    two = model.sample(
        PROMPT, guidance=PerPicture([ClassifierFree(s), ClassifierFree(1.5)]), num_images=2, **settings
    )
    one = model.sample(PROMPT, guidance=ClassifierFree(1.5), num_images=2, **settings)
    assert (two.latents[0] - plain.latents[0]).abs().max() <= 1e-4 * size
    assert (two.latents[1] - one.latents[1]).abs().max() <= 1e-4 * size


@pytest.mark.parametrize("name", ["sd3", "sana", "flux", "z-image", "qwen-image", "klein", "EDMEulerScheduler"])
def test_rules_that_are_not_affine_act_on_what_they_name(saved, name):
    """Projection acts on x0, whatever the network predicts: made again here from the pipeline's own first step."""
    model, _, call = loop(saved, name)
    settings = {"num_inference_steps": 3, "seed": 4, **call}
    s = 40.0 if name == "klein" else 4.0  # a random network of its kind hardly heeds the text

    def run(rule):
        return model.sample(PROMPT, guidance=rule, **settings)

    plain = run(ClassifierFree(s))
    size = plain.latents.abs().max()
    assert (run(Projected(s, 1.0)).latents - plain.latents).abs().max() <= 1e-4 * size
    assert (run(Rescaled(s, 0.0)).latents - plain.latents).abs().max() <= 1e-4 * size
    parts = [run(ClassifierFree(scale)).trajectory[0].x0.double() for scale in (0.0, 1.0)]
    expected = projected(parts[0], parts[1], s, 0.2)
    found = run(Projected(s, 0.2)).trajectory[0].x0.double()
    error = 2e-5 * expected.abs().max()
    assert (found - expected).abs().max() <= error
    assert (found - (parts[0] + s * (parts[1] - parts[0]))).abs().max() > 10 * error


def test_a_rule_and_true_guidance_are_one_too_many(saved):
    flux, _, call = loop(saved, "flux")
    with pytest.raises(ValueError, match="true_cfg_scale is 2.0; allowed: with guidance: 1"):
        flux.sample(PROMPT, guidance=ClassifierFree(3.0), true_cfg_scale=2.0, **call)
    with pytest.raises(ValueError, match="negative_prompt is None; allowed with guidance"):
        flux.sample(PROMPT, guidance=NegativePrompt(3.0), **call)
    assert "forward" not in flux.denoiser.__dict__


@pytest.mark.parametrize("name", [*RULED, "if", "karlo"])
def test_large_batches_go_through_the_network_in_parts(saved, name, monkeypatch):
    from diffusion_tutorial.checkpoints import guided

    model, _, call = loop(saved, name)
    settings = {"num_inference_steps": 2, "seed": 4, "num_images": 3, "guidance_scale": 3.0, **call}
    whole = model.sample(PROMPT, **settings)
    sizes = []
    monkeypatch.setattr(guided, "_AREA", 2 * (model._shape(call.get("height"), call.get("width"))[1] ** 2))
    original = model.denoiser.forward

    def seen(*args, **kwargs):
        sizes.append(len(args[0] if args else kwargs.get("hidden_states", kwargs.get("sample"))))
        return original(*args, **kwargs)

    monkeypatch.setattr(model.denoiser, "forward", seen)
    cut = model.sample(PROMPT, **settings)
    most = 2 if name != "karlo" else 64  # its first network works on vectors
    assert max(sizes) <= most and cut.nfe == whole.nfe
    torch.testing.assert_close(cut.images, whole.images, atol=1e-4, rtol=0)


# --- what is refused


@pytest.mark.parametrize("name", LOOPS)
def test_arguments_of_our_samplers_are_refused(saved, name):
    model, _, call = loop(saved, name)
    loop_of = f"with {model.kind}: None, it runs its own loop \\({type(model.scheduler).__name__}\\)"
    arguments = {"sampler": "ddim", "noise": lambda k: None, "spacing": "leading"}
    if name in ("if", "karlo"):
        arguments["guidance"] = ClassifierFree(3.0)
    for argument, value in arguments.items():
        with pytest.raises(ValueError, match=f"{argument} is .*; allowed: {loop_of}"):
            model.sample(PROMPT, **{argument: value}, **call)
    with pytest.raises(ValueError, match="eta is 0.5; allowed: 0 with"):
        model.sample(PROMPT, eta=0.5, **call)
    with pytest.raises(ValueError, match=f"warmth is 3; allowed: not with {model.kind}; it takes"):
        model.sample(PROMPT, warmth=3, **call)
    with pytest.raises(ValueError, match="num_inference_steps is 0"):
        model.sample(PROMPT, num_inference_steps=0, **call)
    with pytest.raises(PromptError, match="prompt is None; allowed: with"):
        model.sample(None, **call)
    with pytest.raises(PromptError, match="prompt is empty"):
        model.sample(" ", **call)
    with pytest.raises(UnsupportedModelError, match="runs its own loop"):
        model.eps(None, 0, None)
    with pytest.raises(UnsupportedModelError, match="runs its own loop"):
        model.encode_text(["red"])
    every = {"negative_prompt", "latents", "guidance"}
    without = every - {"negative_prompt"}
    more = {"karlo": {"latents"}, "if": {"negative_prompt"}, "klein": without}.get(name, every)
    assert model.options == more | {"guidance_scale"}


def test_who_takes_a_negative_prompt(saved):
    karlo, _, _ = loop(saved, "karlo")
    with pytest.raises(ValueError, match="negative_prompt is 'red'; allowed: None: UnCLIPPipeline takes no"):
        karlo.sample(PROMPT, "red")
    flux, _, call = loop(saved, "flux")
    with pytest.raises(
        ValueError, match="true_cfg_scale is 1.0; allowed with FluxPipeline: true_cfg_scale above 1"
    ):
        flux.sample(PROMPT, "red", **call)
    sd3, _, _ = loop(saved, "sd3")
    with pytest.warns(UserWarning, match="negative_prompt has no effect at guidance_scale 1: Stable"):
        sd3.sample(PROMPT, "red", num_inference_steps=1, guidance_scale=1.0)


def test_a_model_distilled_without_a_scale_takes_none(saved):
    pipeline = random_pipeline(kind="FluxPipeline")
    from diffusers import FluxTransformer2DModel

    schnell = FluxTransformer2DModel.from_config(pipeline.transformer.config, guidance_embeds=False)
    model = wrap(diffusers.FluxPipeline(**{**pipeline.components, "transformer": schnell}), "s")
    with pytest.raises(ValueError, match="guidance_scale is 3.0; allowed: with 's': None, it was distilled"):
        model.sample(PROMPT, guidance_scale=3.0, height=32, width=32)
    assert model.sample(PROMPT, num_inference_steps=1, height=32, width=32).nfe == 1


def test_schnell_takes_its_own_steps_and_length(saved):
    """Known by its network and its levels; a network without an input for a scale alone is not schnell."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    pipeline = random_pipeline(kind="FluxPipeline")
    network = FluxTransformer2DModel.from_config(pipeline.transformer.config, guidance_embeds=False)
    parts = {**pipeline.components, "transformer": network}
    still = wrap(diffusers.FluxPipeline(**parts))
    assert still.defaults == {}
    parts["scheduler"] = FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False)
    theirs = diffusers.FluxPipeline(**parts)
    model = wrap(theirs)
    lengths = []
    states = network.context_embedder.register_forward_pre_hook(lambda m, a: lengths.append(a[0].shape[1]))
    assert len(model.sample(PROMPT, height=32, width=32).timesteps) == 4 and set(lengths) == {256}
    lengths.clear()
    model.sample(PROMPT, num_inference_steps=1, height=32, width=32, max_sequence_length=64)
    assert set(lengths) == {64}
    states.remove()


def test_initial_noise_of_a_model_that_draws_its_own(saved):
    model, _, _ = loop(saved, "if")
    with pytest.raises(
        ValueError, match="latents is 'Tensor'; allowed: None: IFPipeline draws its own noise"
    ):
        model.sample(PROMPT, latents=gaussian(1, model.latent_shape))


# --- the way is chosen by the scheduler's class


def test_dispatch_is_by_scheduler_class():
    chain, flow = {"prediction_type": "epsilon", "beta_schedule": "linear"}, "FlowMatchEulerDiscreteScheduler"
    assert way("StableDiffusionXLPipeline", "EulerDiscreteScheduler", chain) == OURS
    assert (
        way("StableDiffusionXLPipeline", "DDIMScheduler", {**chain, "prediction_type": "v_prediction"})
        == OURS
    )
    # The same prediction_type, another class, another way: Playground v2.5 says "epsilon" too.
    assert way("StableDiffusionXLPipeline", "EDMDPMSolverMultistepScheduler", chain) == LOOP
    assert way("FluxPipeline", flow, {}) == LOOP
    # The same class, another family: PixArt's is a chain, Sana's is a flow.
    assert way("PixArtSigmaPipeline", "DPMSolverMultistepScheduler", chain) == OURS
    assert way("SanaPipeline", "DPMSolverMultistepScheduler", {**chain, "use_flow_sigmas": True}) == LOOP
    for kind, scheduler, config, message in [
        (
            "StableDiffusionPipeline",
            flow,
            {},
            "scheduler is 'FlowMatch.*allowed: with StableDiffusionPipeline",
        ),
        ("FluxPipeline", "DDIMScheduler", chain, "scheduler is 'DDIMScheduler'; allowed: with FluxPipeline"),
        (
            "SanaPipeline",
            "DPMSolverMultistepScheduler",
            chain,
            "use_flow_sigmas is None.*with SanaPipeline: True",
        ),
        (
            "StableDiffusionPipeline",
            "DDIMScheduler",
            {**chain, "prediction_type": "sample"},
            "prediction_type",
        ),
        (
            "PixArtAlphaPipeline",
            "UniPCMultistepScheduler",
            {**chain, "use_flow_sigmas": True},
            "use_flow_sigmas",
        ),
    ]:
        with pytest.raises(UnsupportedModelError, match=message):
            way(kind, scheduler, config)


def test_a_second_stage_alone_and_unknown_classes(saved):
    with pytest.raises(
        UnsupportedModelError, match="pipeline is 'IFSuperResolutionPipeline'; allowed: Stable"
    ):
        load(saved("IFSuperResolutionPipeline", sample_size=16), device="cpu")
    with pytest.raises(UnsupportedModelError, match="pipeline is 'int'; allowed"):
        wrap(3)


def test_the_table_is_read_from_the_signatures():
    rows = {row["pipeline"]: row for row in table()}
    assert tuple(rows) == starts()
    assert not rows["UnCLIPPipeline"]["negative prompt"] and rows["FluxPipeline"]["negative prompt"]
    assert rows["StableDiffusionXLPipeline"]["sampled by"] == f"{OURS} or {LOOP}"
    assert rows["PixArtAlphaPipeline"]["sampled by"] == OURS and rows["SanaPipeline"]["sampled by"] == LOOP
    for kind, row in rows.items():
        found = __import__("inspect").signature(getattr(diffusers, kind).__call__).parameters
        name = FAMILIES[kind].names.get("num_inference_steps", "num_inference_steps")
        assert row["steps"] == found[name].default


def test_progress_shows_a_bar(saved, capfd):
    for kind in ("StableDiffusionPipeline", "StableDiffusion3Pipeline"):
        model = load(saved(kind), device="cpu")
        model.sample(PROMPT, num_inference_steps=2)
        assert capfd.readouterr().err == ""  # a tiny model: no bar
        model.sample(PROMPT, num_inference_steps=2, progress=True)
        assert "2/2" in capfd.readouterr().err


# --- widgets and the command line


def test_the_sampler_widget_on_other_models(saved):
    from diffusion_tutorial.widgets import sampler_widget

    xl = sampler_widget(
        load(saved("StableDiffusionXLPipeline"), device="cpu"), PROMPT, negative_prompt="blue", steps=2
    )
    assert xl.error == "" and xl.shown.samples.nfe == 4 and not xl.sampler.disabled
    sd3 = sampler_widget(loop(saved, "sd3")[0], PROMPT, negative_prompt="blue", steps=2)
    assert sd3.error == "" and sd3.shown.samples.nfe == 4 and "2 steps of its own loop" in sd3.shown.label
    assert sd3.sampler.disabled and sd3.eta.disabled and sd3.spacing.disabled and not sd3.guidance.disabled
    karlo = sampler_widget(loop(saved, "karlo")[0], PROMPT, steps=2)
    assert karlo.error == "" and karlo.negative_prompt.disabled and not karlo.guidance.disabled
    flux = sampler_widget(
        wrap(random_pipeline(kind="FluxPipeline")),
        PROMPT,
        negative_prompt="blue",
        steps=1,
    )
    assert "allowed with FluxPipeline: true_cfg_scale above 1" in flux.error


@pytest.mark.parametrize("kind", ["IFPipeline", "UnCLIPPipeline", "StableDiffusionXLPipeline"])
def test_the_command_line_on_other_models(saved, kind, tmp_path, capsys):
    from diffusion_tutorial.cli import main

    to = ["--model", str(saved(kind)), "--device", "cpu", "--steps", "2", "-o"]
    assert main(["sample", PROMPT, *to, str(tmp_path / "a.png")]) == 0 and (tmp_path / "a.png").is_file()
    assert main(["sample", PROMPT, *to, str(tmp_path / "a.webp"), "--trajectory"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name, options, message",
    [
        (
            "sd3",
            ["--sampler", "ddim"],
            "--sampler: sampler is 'ddim'; allowed: with StableDiffusion3Pipeline: None",
        ),
        ("sd3", ["--offload"], "offload is True; allowed on cpu: None or False"),
        (
            "sd3",
            ["--option", "warmth=3"],
            "warmth is 3; allowed: not with StableDiffusion3Pipeline; it takes",
        ),
        ("sd3", ["--option", "warmth"], "--option is 'warmth'; allowed: NAME=VALUE"),
        ("karlo", ["--negative-prompt", "x"], "UnCLIPPipeline takes no negative prompt"),
        ("flux", ["--negative-prompt", "x"], "true_cfg_scale above 1"),
    ],
)
def test_the_command_line_says_what_a_model_does_not_take(saved, name, options, message, tmp_path, capsys):
    from diffusion_tutorial.cli import main

    folder = loop(saved, name)[1]
    to = ["--model", str(folder), "--device", "cpu", "-o", str(tmp_path / "a.png"), *options]
    assert main(["sample", PROMPT, *to]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "a.png").exists()


def test_options_of_a_loop_on_the_command_line(saved, tmp_path, capsys):
    from PIL import Image

    from diffusion_tutorial.cli import main

    sizes = ["--option", "height=32", "--option", "width=48", "--option", "true_cfg_scale=2.0"]
    to = ["--device", "cpu", "--steps", "1", "-o", str(tmp_path / "a.png"), "--negative-prompt", "x", *sizes]
    assert main(["sample", PROMPT, "--model", str(saved("FluxPipeline")), *to]) == 0
    assert Image.open(tmp_path / "a.png").size == (48, 32)
    assert main(["sample", PROMPT, "--model", str(saved("StableDiffusionPipeline")), *to]) == 2
    assert "none with 'StableDiffusionPipeline', which our samplers drive" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", starts())
def test_on_cuda_whole_and_offloaded(saved, kind):
    """The same noise on the card: near the CPU's picture in float32, finite in half, the same when offloaded."""
    sized = ("FluxPipeline", "ZImagePipeline", "QwenImagePipeline", "Flux2KleinPipeline")
    call = {"height": 32, "width": 32} if kind in sized else {}
    call |= {"num_inference_steps": 2, "seed": 3}
    on_cpu = load(saved(kind), device="cpu").sample(PROMPT, **call).images
    exact = load(saved(kind), device="cuda", dtype="float32").sample(PROMPT, **call).images
    assert (exact - on_cpu).abs().max() < 2e-2  # TF32 convolutions
    moved = load(saved(kind), device="cuda", dtype="float32", offload=True)
    assert moved.offloaded is not None and moved.device.type == "cuda"
    assert (moved.sample(PROMPT, **call).images - exact).abs().max() < 1e-3
    half = load(saved(kind), device="cuda")
    assert half.dtype in (torch.float16, torch.bfloat16)
    assert half.sample(PROMPT, **call).images.isfinite().all()
