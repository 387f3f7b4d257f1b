"""The table of what ships, and `load` of a model that shares its parts with another: a flow over a tiny pipeline."""

import hashlib
import json
import shutil

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffusion_tutorial.checkpoints import load, loading, random_pipeline
from diffusion_tutorial.errors import CheckpointError
from diffusion_tutorial.guidance import AutoGuidance, ClassifierFree
from diffusion_tutorial.predictions import PREDICTIONS
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.models import KNOWN, MODELS, Shipped

NAME = "still-life-flow"


def write_sums(folder):
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name not in ("SHA256SUMS", "README.md"))
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}\n" for f in files
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A tiny classic, and a flow beside it that has a U-Net of its own and no more."""
    classic, flow = tmp_path / "classic", tmp_path / "flow"
    random_pipeline(folder=classic)
    random_pipeline(seed=5, folder=tmp_path / "other")
    shutil.copytree(tmp_path / "other" / "unet", flow / "unet")
    FlowMatchEulerDiscreteScheduler(shift=2.0).save_pretrained(flow / "scheduler")
    for folder in (classic, flow):
        write_sums(folder)
    monkeypatch.setattr(loading, "still_life_folder", lambda: classic)
    monkeypatch.setitem(MODELS, NAME, Shipped(NAME, "A flow", str(flow), "flow", "still-life"))
    return classic, flow


def test_a_flow_takes_what_it_lacks_from_the_classic(folders):
    model, classic = load(NAME, device="cpu"), load("still-life", device="cpu")
    assert model.name == NAME and model.schedule == FlowSchedule(2.0) == model.adapter.schedule
    assert model.adapter.predicts is PREDICTIONS["flow"]
    for part in ("vae", "text_encoder"):
        ours, theirs = (getattr(m.adapter, part).state_dict() for m in (model, classic))
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    ours, theirs = (next(m.adapter.unet.parameters()) for m in (model, classic))
    assert not torch.equal(ours, theirs)
    assert load(NAME, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ValueError, match="prompt is .*unknown word 'dragon'"):
        model.sample("a dragon")


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun", "dpm++2m", "ddpm"])
def test_it_samples_as_any_other(folders, sampler):
    model = load(NAME, device="cpu")
    samples = model.sample("red", "blue", num_inference_steps=3, guidance_scale=2.0, sampler=sampler)
    assert samples.images.shape == (1, 3, 32, 32) and samples.latents.isfinite().all()
    assert samples.timesteps.tolist() == pytest.approx([999, 800, 500])  # 1, 2/3, 1/3, shifted by 2
    assert len(samples.trajectory) == 3


@pytest.mark.parametrize("t", [999, 612.5, 1])
def test_its_eps_comes_from_the_network_on_the_line(folders, t):
    """What the U-Net is shown, which timestep it is told, and how its velocity becomes the noise: by hand."""
    model = load(NAME, device="cpu")
    x_t = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    words, sigma = model.encode_text(["red", "blue"]), t / 1000
    c = (sigma**2 + (1 - sigma) ** 2) ** 0.5
    with torch.no_grad():
        velocity = model.adapter.unet(c * x_t, torch.tensor(float(t)), words, return_dict=False)[0]
        eps = model.eps(x_t, t, words)
        a_row_each = model.eps(x_t, torch.tensor([t, t]), words)
    torch.testing.assert_close(eps, c * x_t + (1 - sigma) * velocity, rtol=0, atol=2e-6)
    torch.testing.assert_close(a_row_each, eps, rtol=0, atol=2e-6)


def test_a_pipeline_of_diffusers_parts_walks_the_same_path(folders):
    """Their scheduler's loop over the folder's own parts, as the card tells it, from the same noise: to 1e-3."""
    model, steps = load(NAME, device="cpu"), 8
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folders[1] / "scheduler")
    scheduler.set_timesteps(sigmas=[1 - k / steps for k in range(steps)])
    x = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(1))
    ours = model.sample("red", num_inference_steps=steps, guidance_scale=1.0, sampler="euler", latents=x)
    with torch.no_grad():
        for t in scheduler.timesteps:
            velocity = model.adapter.unet(x, t, model.encode_text(["red"])).sample
            x = scheduler.step(velocity, t, x).prev_sample
    torch.testing.assert_close(ours.latents, x, rtol=0, atol=5e-3 * float(x.abs().max()))


def test_a_weak_twin_takes_the_classic_levels_and_guides_it(folders, tmp_path, monkeypatch):
    """A U-Net of its own on the classic's own table: autoguidance through `load`."""
    weak = tmp_path / "weak"
    shutil.copytree(tmp_path / "other" / "unet", weak / "unet")
    shutil.copytree(folders[0] / "scheduler", weak / "scheduler")
    write_sums(weak)
    monkeypatch.setitem(
        MODELS, "still-life-weak", Shipped("still-life-weak", "W", str(weak), "epsilon", "still-life")
    )
    model, twin = load("still-life", device="cpu"), load("still-life-weak", device="cpu")
    assert twin.schedule == model.schedule and twin.adapter.predicts is PREDICTIONS["epsilon"]
    settings = {"num_inference_steps": 3, "num_images": 2}
    guided = model.sample("red", guidance=AutoGuidance(2.0, twin), **settings)
    plain = model.sample("red", guidance=ClassifierFree(1.0), **settings)
    assert guided.nfe == 6 and (guided.latents - plain.latents).abs().max() > 1e-4


def refused(message):
    with pytest.raises(CheckpointError, match=message):
        load(NAME, device="cpu")


def test_folders_that_are_not_whole_are_refused(folders):
    """Each file of both folders is held against its sum, so weights of one and config of another do not mix."""
    classic, flow = folders
    unet = flow / "unet" / "diffusion_pytorch_model.safetensors"
    own = unet.read_bytes()
    shutil.copyfile(classic / "unet" / unet.name, unet)
    refused("flow/unet/diffusion_pytorch_model.safetensors is not what SHA256SUMS says")
    unet.write_bytes(own)
    config = json.loads((classic / "vae" / "config.json").read_text())
    (classic / "vae" / "config.json").write_text(json.dumps({**config, "scaling_factor": 1.5}))
    refused("classic/vae/config.json is not what SHA256SUMS says")
    shutil.rmtree(flow)
    refused(f"name_or_path is '{NAME}', but this installation has no weights of it")


def test_the_table_is_consistent():
    for name, row in KNOWN.items():
        assert row.name == name and row.predicts in PREDICTIONS
        assert row.shares is None or (row.shares in KNOWN and KNOWN[row.shares].shares is None)
    assert set(MODELS) <= set(KNOWN) and "still-life" in MODELS
    assert all(MODELS[name].path.is_dir() for name in MODELS)


def test_a_model_whose_weights_are_not_here_is_unknown(monkeypatch):
    monkeypatch.delitem(MODELS, NAME, raising=False)
    refused(f"name_or_path is '{NAME}'; allowed: 'still-life', a folder.*there is no such folder")
