"""`load(..., lora=)`: the pictures are those of diffusers with the same file, and what does not fit is refused whole."""

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion_tutorial import noise
from diffusion_tutorial.checkpoints import load, random_pipeline
from diffusion_tutorial.errors import CheckpointError, NotFiniteError, UnsupportedModelError

KINDS = {
    "StableDiffusionPipeline": "unet",
    "StableDiffusionXLPipeline": "unet",
    "StableDiffusion3Pipeline": "transformer",
    "FluxPipeline": "transformer",
}
SETTINGS = {"num_inference_steps": 3, "guidance_scale": 2.0}
PROMPT = "a Red thing"


def made(kind: str, folder, seed: int = 0, **changes):
    """A LoRA file for a small pipeline of a class, as diffusers saves it, with random numbers in it."""
    from peft import LoraConfig, get_peft_model_state_dict

    pipeline, part = random_pipeline(seed=2, kind=kind, **changes), KINDS[kind]
    module = getattr(pipeline, part)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module.add_adapter(
            LoraConfig(r=2, lora_alpha=3, target_modules=["to_q", "to_v"], init_lora_weights=False)
        )
    layers = get_peft_model_state_dict(module)
    pipeline.save_lora_weights(
        folder, **{f"{part}_lora_layers": {n: 4 * v for n, v in layers.items()}}, safe_serialization=True
    )
    return folder / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    found = {}

    def get(kind):
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind)
            random_pipeline(seed=2, kind=kind, folder=folder / "model")
            found[kind] = folder / "model", made(kind, folder / "lora")
        return found[kind]

    return get


@pytest.mark.parametrize("kind", KINDS)
def test_the_pictures_are_those_of_diffusers(saved, kind):
    folder, file = saved(kind)
    size = {"height": 32, "width": 32} if kind == "FluxPipeline" else {}
    plain, changed = load(folder, device="cpu"), load(folder, device="cpu", lora=file)
    ours = changed.sample(PROMPT, seed=4, **SETTINGS, **size)
    assert (plain.sample(PROMPT, seed=4, **SETTINGS, **size).images - ours.images).abs().max() > 1e-2
    theirs = getattr(diffusers, kind).from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    theirs.load_lora_weights(file.parent, weight_name=file.name)
    if changed.schedule is not None:
        theirs.scheduler = diffusers.DDIMScheduler.from_config(theirs.scheduler.config, clip_sample=False)
        x = noise.gaussian((1, *changed.latent_shape), 4)
    else:
        x = noise.gaussian((1, *changed._shape(size.get("height"), size.get("width"))), 4)
        if kind == "FluxPipeline":
            x = theirs._pack_latents(x, *x.shape)
    out = theirs(prompt=PROMPT, latents=x, output_type="pt", **SETTINGS, **size).images
    assert (ours.images - out).abs().max() <= 1e-4


def test_the_scale_and_several_files(saved, tmp_path):
    folder, file = saved("StableDiffusionPipeline")
    other = made("StableDiffusionPipeline", tmp_path / "other", seed=1)
    names = load(folder, device="cpu").adapter.unet.state_dict()
    name = next(n for n in names if n.endswith("attn1.to_q.weight"))

    def weight(lora):
        unet = load(folder, device="cpu", lora=lora).adapter.unet
        assert not any("lora" in key for key in unet.state_dict())
        return unet.state_dict()[name]

    base, one, two = weight(None), weight(file), weight([other])
    both = weight([(file, 0.5), (str(other), -2)])
    torch.testing.assert_close(both - base, 0.5 * (one - base) - 2 * (two - base), atol=1e-6, rtol=0)
    assert torch.equal(weight((file, 0.0)), base) and torch.equal(weight([]), base)
    assert (one - base).abs().max() > 1e-3


def test_what_does_not_fit_is_refused(saved, tmp_path):
    folder, file = saved("StableDiffusionPipeline")

    def refused(error, match, lora, of=folder, **more):
        with pytest.raises(error, match=match):
            load(of, device="cpu", lora=lora, **more)

    refused(
        CheckpointError,
        "lora is .*absent.safetensors'; allowed: a .safetensors file",
        tmp_path / "absent.safetensors",
    )
    pickled = tmp_path / "lora.bin"
    torch.save({"a": torch.zeros(1)}, pickled)
    refused(CheckpointError, "lora is .*lora.bin'; allowed: .*pickled weights are never read", pickled)
    refused(CheckpointError, "lora is 3; allowed: a .safetensors", 3)
    refused(ValueError, "lora's scale is nan; allowed", (file, float("nan")))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-10])
    refused(CheckpointError, "lora is .*cut.safetensors', which cannot be read", cut)
    state = load_file(file)
    first = next(iter(state))
    save_file({**state, first: state[first] * float("inf")}, tmp_path / "inf.safetensors")
    refused(NotFiniteError, f"where {first} has NaN or infinite", tmp_path / "inf.safetensors")
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    refused(CheckpointError, "lora is .*other.safetensors'", tmp_path / "other.safetensors")
    elsewhere = {n.replace("up_blocks", "other_blocks"): v for n, v in state.items()}
    save_file(elsewhere, tmp_path / "elsewhere.safetensors")
    refused(CheckpointError, "lora is .*elsewhere.safetensors'", tmp_path / "elsewhere.safetensors")
    wide = made("StableDiffusionPipeline", tmp_path / "wide", channels=(64, 64))
    refused(CheckpointError, "which does not fit StableDiffusionPipeline", wide)
    refused(CheckpointError, "lora is .*allowed", saved("FluxPipeline")[1])
    karlo = tmp_path / "karlo"
    random_pipeline(kind="UnCLIPPipeline", folder=karlo)
    refused(UnsupportedModelError, "with UnCLIPPipeline: None, diffusers adds none", file, karlo)
    refused(ValueError, "lora is .*; allowed: with 'still-life-fast': None", file, "still-life-fast")
    refused(ValueError, "lora is .*; allowed: with a cascade: None", file, [folder, folder])
