"""`load`: what it accepts, and that everything else is refused by name before anything is run."""

import hashlib
import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub import errors as hub

import diffusion_tutorial.checkpoints as checkpoints
from diffusion_tutorial.checkpoints import load, random_pipeline, verify
from diffusion_tutorial.errors import CheckpointError, UnsupportedModelError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    random_pipeline(folder=folder)
    return folder


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "tiny")


def refused(where, message, kind=CheckpointError):
    with pytest.raises(kind, match=message) as caught:
        load(where, device="cpu")
    assert isinstance(caught.value, ValueError)


def write_sums(folder):
    lines = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name not in ("SHA256SUMS", "README.md"):
            lines.append(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))


# --- what loads


def test_a_folder(original):
    model = load(original, device="cpu")
    assert model.name == "tiny" and model.device.type == "cpu" and model.dtype == torch.float32
    assert model.latent_shape == (4, 8, 8) and model.schedule.steps_offset == 1
    assert model.sample("red", num_inference_steps=1).images.shape == (1, 3, 32, 32)
    assert load(str(original), device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert load(original, device="cpu", dtype=torch.float32).dtype == torch.float32


def test_the_environment_names_the_default(original, monkeypatch):
    monkeypatch.setenv("DIFFUSION_TUTORIAL_MODEL", str(original))
    assert load(None, device="cpu").name == "tiny"


def test_diffusers_stays_quiet_and_as_it_was(original, capfd):
    import diffusers.utils.logging as logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(original, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_random_pipeline_is_reproducible_and_leaves_the_seed_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = random_pipeline(seed=5)
    assert torch.equal(torch.rand(1), expected)
    weights = [next(p.unet.parameters()) for p in (first, random_pipeline(seed=5), random_pipeline(seed=6))]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


# --- Still Life and its sums


@pytest.fixture
def shipped(folder, monkeypatch):
    (folder / "README.md").write_text("A model card.\n")
    write_sums(folder)
    monkeypatch.setattr(checkpoints, "still_life_folder", lambda: folder)
    return folder


def test_still_life_is_verified_and_checks_words(shipped):
    model = load("still-life", device="cpu")
    assert model.name == "still-life"
    with pytest.raises(ValueError, match="prompt is .*unknown word 'dragon'"):
        model.sample("a dragon")
    with pytest.raises(ValueError, match="negative_prompt is .*unknown word 'wyvern'"):
        model.sample("a red cube", "a wyvern")
    (shipped / "README.md").write_text("Another card.\n")
    load("still-life", device="cpu")


@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
)
def test_tampered_files_are_refused_by_name(shipped, name):
    content = bytearray((shipped / name).read_bytes())
    content[-3] ^= 1
    (shipped / name).write_bytes(content)
    refused("still-life", f"tiny/{name} is not what SHA256SUMS says")


def test_missing_added_and_unlisted_files_are_refused(shipped):
    (shipped / "unet" / "extra.json").write_text("{}")
    refused("still-life", "tiny/unet/extra.json is not in SHA256SUMS")
    (shipped / "unet" / "extra.json").unlink()
    (shipped / "vae" / "config.json").unlink()
    refused("still-life", "tiny/vae/config.json is missing")
    (shipped / "SHA256SUMS").unlink()
    refused("still-life", "no SHA256SUMS")


def test_an_installation_without_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "still_life_folder", lambda: tmp_path / "model")
    refused("still-life", "no weights of it")


@pytest.mark.skipif(
    not (checkpoints.still_life_folder() / "SHA256SUMS").is_file(), reason="Still Life's weights are not here"
)
def test_the_shipped_weights_are_whole():
    verify(checkpoints.still_life_folder())


# --- folders that are no pipeline


def test_unknown_names(tmp_path):
    refused("no-such-model", "name_or_path is 'no-such-model'; allowed: 'still-life', a folder")
    refused(tmp_path / "none" / "here", "name_or_path is .*there is no such folder")
    refused("", "name_or_path is ''")
    refused(7, "name_or_path is 7")
    refused(tmp_path, "a folder without model_index.json")
    (tmp_path / "model.safetensors").write_bytes(b"")
    refused(tmp_path / "model.safetensors", "this is a file")


def test_wrong_index(folder):
    index = folder / "model_index.json"
    good = json.loads(index.read_text())

    def put(**changes):
        index.write_text(json.dumps({**good, **changes}))

    put(_class_name="FluxPipeline")
    refused(
        folder, "_class_name in model_index.json is 'FluxPipeline'; allowed: Stable", UnsupportedModelError
    )
    put(scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])
    refused(folder, "scheduler in model_index.json is 'diffusers.FlowMatch", UnsupportedModelError)
    put(unet=["my_code", "UNet2DConditionModel"])
    refused(folder, "unet in model_index.json is 'my_code.UNet2DConditionModel'", UnsupportedModelError)
    put(vae=[None, None])
    refused(folder, "vae in model_index.json")
    index.write_text("{")
    refused(folder, "is not a pipeline's index")
    index.write_text("[]")
    refused(folder, "is not a pipeline's index")


def test_v_prediction_is_named(folder):
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "v_prediction"}))
    refused(folder, "prediction_type is 'v_prediction'", UnsupportedModelError)


@pytest.mark.parametrize("name", ["unet", "vae/config.json", "text_encoder/model.safetensors",
                                  "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"])  # fmt: skip
def test_half_complete_folders(folder, name):
    shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()
    last = "vocab.json" if name.endswith("tokenizer.json") else name.split("/")[-1]
    refused(folder, f"({last} is missing|has no folder '{last}').*allowed: a complete pipeline")


def test_pickles_are_refused(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    refused(
        folder,
        r"unet holds pickled weights only \(diffusion_pytorch_model.bin\).*safetensors, since a pickle",
    )


def test_weights_cut_short_or_misfit(folder):
    from safetensors.torch import load_file, save_file

    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(folder, "unet/diffusion_pytorch_model.safetensors cannot be read, it is damaged or cut short")
    file.write_bytes(whole)
    weights = load_file(file)
    del weights["conv_in.weight"]
    save_file(weights, file)
    refused(folder, "unet .*lacks or misfits 1 weights, such as conv_in.weight")
    weights["conv_in.weight"] = torch.zeros(3, 3)
    save_file(weights, file)
    refused(folder, "unet in .* cannot be loaded|lacks or misfits")


def test_missing_shards(folder):
    stem = folder / "unet" / "diffusion_pytorch_model"
    stem.with_suffix(".safetensors").unlink()
    shard = "diffusion_pytorch_model-00001-of-00002.safetensors"
    index = {"metadata": {}, "weight_map": {"conv_in.weight": shard}}
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, f"unet/{shard} is missing")


# --- device and dtype


def test_devices_and_dtypes(original, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device is 'cuda'; allowed: one that is here: cpu.*no CUDA device"):
        load(original, device="cuda")
    with pytest.raises(ValueError, match="device is 'warp'; allowed: one that is here: cpu"):
        load(original, device="warp")
    with pytest.raises(ValueError, match="dtype is 'int8'; allowed: on cpu: float32, bfloat16"):
        load(original, device="cpu", dtype="int8")
    with pytest.raises(ValueError, match="dtype is 'torch.float16'; allowed: on cpu"):
        load(original, device="cpu", dtype=torch.float16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda(original):
    model = load(original)
    assert model.device.type == "cuda" and model.dtype == torch.float16
    on_cpu = load(original, device="cpu").sample("red", num_inference_steps=4).images
    exact = load(original, device="cuda", dtype="float32").sample("red", num_inference_steps=4).images
    assert (exact - on_cpu).abs().max() < 1e-2  # TF32 convolutions
    assert (model.sample("red", num_inference_steps=4).images - on_cpu).abs().max() < 0.05


# --- the Hub, without a connection


@pytest.fixture
def cached(original, tmp_path, monkeypatch):
    """owner/tiny in a local cache, as a download leaves it, and no connection."""
    place = tmp_path / "hub" / "models--owner--tiny"
    shutil.copytree(original, place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place


def test_offline_from_the_cache(cached):
    model = load("owner/tiny", device="cpu")
    assert model.name == "owner/tiny"
    assert model.sample("red", num_inference_steps=1).images.shape == (1, 3, 32, 32)


def test_offline_and_not_in_the_cache(cached):
    refused(
        "owner/other",
        "name_or_path is 'owner/other', which is not in the local cache, and HF_HUB_OFFLINE is set",
    )


def test_offline_and_half_downloaded(cached):
    (cached / "snapshots" / "abc" / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refused("owner/tiny", "unet/diffusion_pytorch_model.safetensors is missing")


def test_cached_but_of_another_class(cached):
    file = cached / "snapshots" / "abc" / "model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "FluxPipeline"}))
    refused("owner/tiny", "'FluxPipeline'", UnsupportedModelError)


class _Answer:
    """The little of a response that the Hub's errors ask for."""

    headers: dict = {}
    status_code = 403
    request = None


@pytest.mark.parametrize(
    "error, message",
    [
        (
            hub.GatedRepoError("gated", response=_Answer()),
            "a gated repository; allowed after accepting its terms",
        ),
        (hub.RepositoryNotFoundError("404", response=_Answer()), "which the Hub does not have"),
        (
            hub.LocalEntryNotFoundError("no connection"),
            "not in the local cache, and the Hub cannot be reached",
        ),
        (hub.EntryNotFoundError("404"), "a repository without model_index.json"),
        (hub.HfHubHTTPError("502", response=_Answer()), "the Hub did not answer"),
        (ConnectionError("reset"), "the Hub did not answer"),
    ],
)
def test_what_the_hub_says(error, message, monkeypatch):
    import huggingface_hub

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    refused("owner/model", f"name_or_path is 'owner/model'.*{message}")


def test_only_the_needed_files_are_fetched():
    from huggingface_hub.utils import filter_repo_objects

    files = [
        "model_index.json", "v1-5.ckpt", "v1-5.safetensors", "safety_checker/model.safetensors",
        "unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "text_encoder/model.safetensors", "unet/code.py",
    ]  # fmt: skip
    kept = set(filter_repo_objects(files, allow_patterns=checkpoints._patterns("StableDiffusionPipeline")))
    assert kept == {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "text_encoder/model.safetensors",
    }  # fmt: skip
