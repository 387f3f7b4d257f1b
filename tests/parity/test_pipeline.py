"""The whole loop against diffusers' own pipeline, from the same latents: equal to 1e-4 (issue: parity)."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionPipeline

from diffusion_tutorial.checkpoints import load, random_pipeline, still_life_folder, wrap

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def pipeline():
    return random_pipeline(seed=2)


def latents(n, shape=(4, 8, 8), seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def with_scheduler(pipeline, scheduler):
    other = StableDiffusionPipeline(
        **{**pipeline.components, "scheduler": scheduler}, requires_safety_checker=False
    )
    other.set_progress_bar_config(disable=True)
    return other


def run(pipeline, x, prompt="a red thing", output="pt", **settings):
    return pipeline(prompt, latents=x.clone(), output_type=output, **settings).images


def close(ours, theirs):
    assert theirs.std() > 1e-2  # a picture, not a flat field
    assert (ours - theirs).abs().max() <= TOLERANCE


@pytest.mark.parametrize("negative", [None, "", "blue cube"])
@pytest.mark.parametrize("scale", [1.5, 7.5])
def test_ddim_with_guidance(pipeline, negative, scale):
    x = latents(2)
    settings = {"num_inference_steps": 6, "guidance_scale": scale, "negative_prompt": negative}
    ours = wrap(pipeline).sample("a red thing", num_images=2, latents=x, **settings)
    close(ours.images, run(pipeline, x, num_images_per_prompt=2, **settings))
    end = run(pipeline, x, output="latent", num_images_per_prompt=2, **settings)
    assert (ours.latents - end).abs().max() <= TOLERANCE * end.abs().max()


def test_ddim_without_guidance_and_several_prompts(pipeline):
    x = latents(4)
    prompts = ["red", "green"]
    ours = wrap(pipeline).sample(
        prompts, ["a", "b"], num_inference_steps=5, guidance_scale=3.0, num_images=2, latents=x
    )
    theirs = run(
        pipeline,
        x,
        prompts,
        num_inference_steps=5,
        guidance_scale=3.0,
        num_images_per_prompt=2,
        negative_prompt=["a", "b"],
    )
    close(ours.images, theirs)
    plain = wrap(pipeline).sample("red", num_inference_steps=5, guidance_scale=1.0, latents=x[:1])
    close(plain.images, run(pipeline, x[:1], "red", num_inference_steps=5, guidance_scale=1.0))


def test_diffusers_ignores_scales_up_to_one(pipeline):
    """Ours takes every scale as it stands; diffusers guides above 1 only, so 0.5 is 1 to it."""
    x = latents(1)
    half = run(pipeline, x, num_inference_steps=3, guidance_scale=0.5)
    assert torch.equal(half, run(pipeline, x, num_inference_steps=3, guidance_scale=1.0))
    ours = wrap(pipeline).sample("a red thing", num_inference_steps=3, guidance_scale=0.5, latents=x)
    assert (ours.images - half).abs().max() > 10 * TOLERANCE


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("final", [True, False])
def test_ddim_spacings_and_ends(pipeline, spacing, final):
    scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing=spacing, set_alpha_to_one=final
    )
    other, x = with_scheduler(pipeline, scheduler), latents(1)
    ours = wrap(other).sample("a red thing", num_inference_steps=7, latents=x)
    close(ours.images, run(other, x, num_inference_steps=7, guidance_scale=4.0))


def record_noise(monkeypatch, module):
    """Let diffusers' scheduler take its noise from a list, and give the same list to ours."""
    drawn = [latents(2, seed=10 + k) for k in range(20)]
    source = iter(drawn)
    monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: next(source).clone())
    return drawn


def test_ddim_with_eta(pipeline, monkeypatch):
    import diffusers.schedulers.scheduling_ddim as module

    x, drawn = latents(2), record_noise(monkeypatch, module)
    theirs = run(pipeline, x, num_inference_steps=6, guidance_scale=4.0, num_images_per_prompt=2, eta=0.7)
    ours = wrap(pipeline).sample(
        "a red thing", num_inference_steps=6, eta=0.7, num_images=2, latents=x, noise=lambda k: drawn[k]
    )
    close(ours.images, theirs)


@pytest.mark.parametrize("variance, sampler", [("fixed_small", "ddpm"), ("fixed_large", "ddpm-large")])
def test_ddpm_with_the_same_noise(pipeline, monkeypatch, variance, sampler):
    import diffusers.schedulers.scheduling_ddpm as module

    scheduler = DDPMScheduler.from_config(
        pipeline.scheduler.config, variance_type=variance, clip_sample=False
    )
    other, x = with_scheduler(pipeline, scheduler), latents(2)
    drawn = record_noise(monkeypatch, module)
    drawn[5].zero_()  # at t = 1 diffusers' "fixed_large" noises the finished picture; ours ends without noise
    theirs = run(
        other, x, num_inference_steps=6, guidance_scale=4.0, num_images_per_prompt=2, negative_prompt="blue"
    )
    ours = wrap(other).sample(
        "a red thing",
        "blue",
        num_inference_steps=6,
        sampler=sampler,
        num_images=2,
        latents=x,
        noise=lambda k: drawn[k],
    )
    close(ours.images, theirs)


def test_half_precision_weights_from_a_folder(tmp_path):
    """fp16 files, loaded by us and by diffusers as it is: both compute in float32 and agree."""
    random_pipeline(seed=4).to(torch.float16).save_pretrained(tmp_path / "half")
    model = load(tmp_path / "half", device="cpu")
    theirs = StableDiffusionPipeline.from_pretrained(
        tmp_path / "half", safety_checker=None, torch_dtype=torch.float32
    )
    theirs.set_progress_bar_config(disable=True)
    assert model.dtype == torch.float32
    x = latents(1)
    close(
        model.sample("a red thing", num_inference_steps=4, latents=x).images,
        run(theirs, x, num_inference_steps=4, guidance_scale=4.0),
    )


@pytest.mark.skipif(
    not (still_life_folder() / "SHA256SUMS").is_file(), reason="Still Life's weights are not here"
)
@pytest.mark.parametrize("negative", [None, "red"])
def test_still_life(negative):
    model = load("still-life", device="cpu")
    theirs = StableDiffusionPipeline.from_pretrained(still_life_folder(), safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    x, prompt = latents(2, model.latent_shape), "a large shiny blue cube on a green floor"
    ours = model.sample(prompt, negative, num_inference_steps=10, num_images=2, latents=x)
    close(
        ours.images,
        run(
            theirs,
            x,
            prompt,
            num_inference_steps=10,
            guidance_scale=4.0,
            num_images_per_prompt=2,
            negative_prompt=negative,
        ),
    )
