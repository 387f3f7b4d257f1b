"""`load`: what it accepts, and that everything else is refused by name before anything is run."""

import hashlib
import json
import shutil
import warnings

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub import errors as hub

from diffusion_tutorial.checkpoints import (
    RANDOM_PIPELINES,
    build,
    estimate,
    load,
    loading,
    memory,
    random_pipeline,
    sources,
    verify,
)
from diffusion_tutorial.errors import CheckpointError, NotFiniteError, UnsupportedModelError
from diffusion_tutorial.schedules import ZeroTerminalSNRError


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
    monkeypatch.setattr(loading, "still_life_folder", lambda: folder)
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
    monkeypatch.setattr(loading, "still_life_folder", lambda: tmp_path / "model")
    refused("still-life", "no weights of it")


@pytest.mark.skipif(
    not (loading.still_life_folder() / "SHA256SUMS").is_file(), reason="Still Life's weights are not here"
)
def test_the_shipped_weights_are_whole():
    verify(loading.still_life_folder())


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

    put(_class_name="LTXPipeline")
    refused(
        folder, "_class_name in model_index.json is 'LTXPipeline'; allowed: Stable", UnsupportedModelError
    )
    put(_class_name="FluxPipeline")  # a folder of another class than its index says
    refused(folder, "tokenizer_2 in model_index.json is None; allowed")
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


def test_other_predictions_are_named(folder):
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "prediction_type": "sample"}))
    refused(folder, "prediction_type is 'sample'; allowed: 'epsilon', 'v_prediction'", UnsupportedModelError)
    file.write_text(json.dumps({**config, "prediction_type": "v_prediction"}))
    assert load(folder, device="cpu").adapter.predicts.name == "v_prediction"
    file.write_text(json.dumps({**config, "thresholding": True}))
    refused(folder, "use_flow_sigmas or thresholding set; allowed: neither", UnsupportedModelError)


def test_zero_terminal_snr_is_named_when_sampled(folder):
    file = folder / "scheduler" / "scheduler_config.json"
    config = {**json.loads(file.read_text()), "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    file.write_text(json.dumps(config))
    with pytest.raises(ZeroTerminalSNRError):
        load(folder, device="cpu").sample("red", num_inference_steps=2)
    file.write_text(json.dumps({**config, "prediction_type": "v_prediction"}))
    assert load(folder, device="cpu").sample("red", num_inference_steps=2).trajectory[0].alpha_bar_t == 0


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


def test_shards_and_the_other_precision(original, folder):
    """Weights in parts, and files that come as fp16 only, load as the whole ones do."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(original / "unet")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="400KB")
    assert len(list((folder / "unet").glob("*-of-*.safetensors"))) > 1
    text = CLIPTextModel.from_pretrained(original / "text_encoder")
    (folder / "text_encoder" / "model.safetensors").unlink()
    text.half().save_pretrained(folder / "text_encoder", variant="fp16")
    assert (folder / "text_encoder" / "model.fp16.safetensors").is_file()
    model, whole = load(folder, device="cpu"), load(original, device="cpu")
    assert all(
        torch.equal(a, b) for a, b in zip(model.adapter.unet.parameters(), whole.adapter.unet.parameters())
    )
    assert model.adapter.text_encoder.dtype == torch.float32
    close = (
        model.sample("red", num_inference_steps=2).images - whole.sample("red", num_inference_steps=2).images
    )
    assert close.abs().max() < 1e-2


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
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "LTXPipeline"}))
    refused("owner/tiny", "'LTXPipeline'", UnsupportedModelError)


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


def test_a_withdrawn_repository_is_named_with_a_copy(monkeypatch):
    import huggingface_hub

    def fail(*args, **kwargs):
        raise hub.RepositoryNotFoundError("404", response=_Answer())

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    for name, copy in sources.WITHDRAWN.items():
        refused(name, f"name_or_path is '{name}', a repository that its owner has withdrawn.*'{copy}'")


# --- the Hub, pretended: a folder takes its place


class PretendedHub:
    """owner/model as the Hub would have it; `fetched` tells which files a download took."""

    def __init__(self, remote, cache, monkeypatch):
        import huggingface_hub

        self.remote, self.cache, self.fetched = remote, cache, []
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.one)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.some)
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda: self)

    def files(self):
        return [f.relative_to(self.remote).as_posix() for f in sorted(self.remote.rglob("*")) if f.is_file()]

    def one(self, repo, name, local_files_only=False):
        self._fetch(name)
        return str(self.cache / name)

    def some(self, repo, allow_patterns=None, local_files_only=False):
        from huggingface_hub.utils import filter_repo_objects

        for name in filter_repo_objects(self.files(), allow_patterns=allow_patterns):
            self._fetch(name)
        return str(self.cache)

    def _fetch(self, name):
        if name not in self.fetched:
            self.fetched.append(name)
            (self.cache / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.remote / name, self.cache / name)

    def model_info(self, repo, files_metadata=False):
        entry = type("Entry", (), {})
        siblings = []
        for name in self.files():
            siblings.append(entry())
            siblings[-1].rfilename, siblings[-1].size = name, (self.remote / name).stat().st_size
        info = entry()
        info.siblings = siblings
        return info

    def parse_safetensors_file_metadata(self, repo, name):
        from huggingface_hub.utils import SafetensorsFileMetadata, TensorInfo

        tensors = {
            k: TensorInfo(dtype=v["dtype"], shape=v["shape"], data_offsets=tuple(v["data_offsets"]))
            for k, v in memory.read_header(self.remote / name).items()
        }
        return SafetensorsFileMetadata(metadata={}, tensors=tensors)


@pytest.fixture
def pretended(folder, tmp_path, monkeypatch):
    return PretendedHub(folder, tmp_path / "snapshot", monkeypatch)


def test_only_the_needed_files_are_fetched(pretended, original):
    remote = pretended.remote
    for name in (
        "v1-5.ckpt", "v1-5.safetensors", "safety_checker/model.safetensors", "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/code.py", "README.md", "unet/deeper/config.json",
    ):  # fmt: skip
        (remote / name).parent.mkdir(exist_ok=True)
        (remote / name).write_bytes(b"")
    model = load("owner/model", device="cpu")
    assert model.name == "owner/model"
    assert set(pretended.fetched) == {
        "model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json",
    }  # fmt: skip
    same = load(original, device="cpu").sample("red", num_inference_steps=2).images
    assert torch.equal(model.sample("red", num_inference_steps=2).images, same)


def test_the_smaller_precision_is_fetched_where_there_is_no_other(pretended):
    from safetensors.torch import load_file, save_file

    place = pretended.remote / "unet"
    weights = load_file(place / "diffusion_pytorch_model.safetensors")
    (place / "diffusion_pytorch_model.safetensors").unlink()
    save_file({k: v.half() for k, v in weights.items()}, place / "diffusion_pytorch_model.fp16.safetensors")
    assert load("owner/model", device="cpu").adapter.unet.dtype == torch.float32
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in pretended.fetched


def test_what_is_wrong_is_found_before_the_weights_are_fetched(pretended, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10_000)
    refused("owner/model", "'owner/model' needs .* in float32, and cpu has .* free; what would fit")
    monkeypatch.undo()


def test_pickles_on_the_hub_are_not_fetched(pretended):
    weights = pretended.remote / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    refused("owner/model", r"unet holds pickled weights only \(diffusion_pytorch_model.bin\) in owner/model")
    assert not [f for f in pretended.fetched if f.endswith((".bin", ".safetensors"))]
    weights.with_suffix(".bin").unlink()
    refused("owner/model", "unet/diffusion_pytorch_model.safetensors is missing in owner/model")


def test_a_lost_connection_leaves_the_cache(pretended, monkeypatch):
    from httpx import ConnectError

    def fail(*args, **kwargs):
        raise ConnectError("no route")

    pretended.some("owner/model", ["*"])  # everything is in the cache
    monkeypatch.setattr(pretended, "model_info", fail)
    assert load("owner/model", device="cpu").sample("red", num_inference_steps=1).images.isfinite().all()
    (pretended.cache / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    refused("owner/model", "unet/diffusion_pytorch_model.safetensors is missing")


def test_a_connection_lost_on_the_way(pretended, monkeypatch):
    from httpx import ReadTimeout

    def fail(*args, **kwargs):
        raise ReadTimeout("slow")

    monkeypatch.setattr(pretended, "parse_safetensors_file_metadata", fail)
    refused("owner/model", r"the Hub did not answer \(ReadTimeout\)")


def test_weights_behind_a_gate(pretended, monkeypatch):
    def fail(*args, **kwargs):
        raise hub.GatedRepoError("gated", response=_Answer())

    monkeypatch.setattr(pretended, "parse_safetensors_file_metadata", fail)
    refused(
        "owner/model", "a gated repository; allowed after accepting its terms at https://huggingface.co/owner"
    )


@pytest.mark.hub
def test_stable_diffusion_on_the_hub():
    """Needs the Hub; headers and configs alone are fetched, a few hundred kilobytes."""
    found = estimate("stable-diffusion-v1-5/stable-diffusion-v1-5", "float16")
    assert found.components["unet"] == pytest.approx(2 * 859.5e6, rel=1e-3)
    with pytest.raises(CheckpointError, match="withdrawn"):
        estimate("runwayml/stable-diffusion-v1-5")


# --- hostile folders: each is refused by name before anything is built

SCHEDULER, UNET, VAE = "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"
TEXT, WORDS, INDEX = "text_encoder/config.json", "tokenizer/tokenizer_config.json", "model_index.json"
DEEP = "[" * 100_000 + "]" * 100_000
NESTED = '{"a":' * 40 + "1" + "}" * 40
# (file, keys to change, or its whole text, what the error says)
HOSTILE = [
    (SCHEDULER, {"num_train_timesteps": 0}, "num_train_timesteps is 0; allowed: an integer from 1 to 100000"),
    (SCHEDULER, {"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000; allowed: an integer from 1 to"),
    (SCHEDULER, {"num_train_timesteps": -5}, "num_train_timesteps is -5"),
    (SCHEDULER, {"num_train_timesteps": 2.5}, "num_train_timesteps is 2.5"),
    (SCHEDULER, {"num_train_timesteps": "1000"}, "num_train_timesteps is '1000'"),
    (SCHEDULER, {"num_train_timesteps": True}, "num_train_timesteps is True"),
    (SCHEDULER, {"num_train_timesteps": [1000]}, r"num_train_timesteps is \[1000\]"),
    (SCHEDULER, {"beta_end": 2.0}, "beta_end is 2.0; allowed: a number between 0 and 1"),
    (SCHEDULER, {"beta_end": 1e300}, r"beta_end is 1e\+300"),
    (SCHEDULER, {"beta_start": -0.1}, "beta_start is -0.1"),
    (SCHEDULER, {"beta_start": 0}, "beta_start is 0; allowed"),
    (SCHEDULER, {"beta_start": "0.1"}, "beta_start is '0.1'"),
    (SCHEDULER, {"beta_schedule": "zigzag"}, "beta_schedule is 'zigzag'; allowed: 'linear', 'scaled_linear'"),
    (SCHEDULER, {"beta_schedule": ["linear"]}, r"beta_schedule is \['linear'\]"),
    (SCHEDULER, {"beta_schedule": "sigmoid"}, "makes no DDIMScheduler: sigmoid is not implemented for"),
    (SCHEDULER, {"trained_betas": []}, r"trained_betas is \[\]; allowed: None, or 1 to 100000 numbers"),
    (SCHEDULER, {"trained_betas": [0.1, 1.5]}, r"trained_betas is \[0.1, 1.5\]"),
    (SCHEDULER, {"trained_betas": [0.1, -0.5]}, r"trained_betas is \[0.1, -0.5\]"),
    (SCHEDULER, {"trained_betas": ["x"]}, r"trained_betas is \['x'\]"),
    (SCHEDULER, {"trained_betas": "0.1"}, "trained_betas is '0.1'"),
    (SCHEDULER, {"timestep_spacing": "random"}, "timestep_spacing is 'random'; allowed: 'leading'"),
    (SCHEDULER, {"timestep_spacing": 3}, "timestep_spacing is 3"),
    (SCHEDULER, {"steps_offset": -1}, "steps_offset is -1; allowed: an integer from 0 to 999"),
    (SCHEDULER, {"steps_offset": 1000}, "steps_offset is 1000"),
    (SCHEDULER, {"steps_offset": "a"}, "steps_offset is 'a'"),
    (SCHEDULER, {"prediction_type": ["epsilon"]}, r"prediction_type is \['epsilon'\]"),
    (SCHEDULER, {"prediction_type": "sample"}, "prediction_type is 'sample'"),
    (SCHEDULER, "", "scheduler/scheduler_config.json in .* cannot be used: Expecting value.*allowed: a JSON object"),
    (SCHEDULER, "{", "scheduler/scheduler_config.json in .* cannot be used"),
    (SCHEDULER, "[1]", "cannot be used: a list"),
    (SCHEDULER, '{"beta_end": NaN}', "cannot be used: beta_end is no finite number"),
    (SCHEDULER, '{"beta_end": -Infinity}', "cannot be used: beta_end is no finite number"),
    (SCHEDULER, '{"beta_end": 1e999}', "cannot be used: beta_end is no finite number"),
    (SCHEDULER, DEEP, "cannot be used"),
    (UNET, {"layers_per_block": -1}, "unet/config.json: layers_per_block is -1; allowed: whole numbers from 1 to 1000"),
    (UNET, {"layers_per_block": 0}, "layers_per_block is 0"),
    (UNET, {"layers_per_block": 10**9}, "layers_per_block is 1000000000"),
    (UNET, {"layers_per_block": "two"}, "layers_per_block is 'two'"),
    (UNET, {"layers_per_block": True}, "layers_per_block is True"),
    (UNET, {"block_out_channels": [32, -32]}, r"block_out_channels is \[32, -32\]"),
    (UNET, {"block_out_channels": [32, 10**12]}, "block_out_channels is"),
    (UNET, {"sample_size": 0}, "sample_size is 0"),
    (UNET, {"sample_size": -8}, "sample_size is -8"),
    (UNET, {"sample_size": [8, 0]}, r"sample_size is \[8, 0\]"),
    (UNET, {"in_channels": 1.5}, "in_channels is 1.5"),
    (UNET, {"cross_attention_dim": {}}, "cross_attention_dim is {}"),
    (UNET, {"norm_num_groups": 0}, "norm_num_groups is 0"),
    (UNET, {"attention_head_dim": [4, -4]}, "attention_head_dim is"),
    (UNET, "null", "unet/config.json in .* cannot be used: a NoneType"),
    (UNET, '"text"', "cannot be used: a str"),
    (UNET, NESTED, "cannot be used: more than 30 levels deep"),
    (VAE, {"scaling_factor": 0}, "vae/config.json: scaling_factor is 0; allowed: a number between 0 and"),
    (VAE, {"scaling_factor": -0.18}, "scaling_factor is -0.18"),
    (VAE, {"scaling_factor": "x"}, "scaling_factor is 'x'"),
    (VAE, {"scaling_factor": True}, "scaling_factor is True"),
    (VAE, {"shift_factor": "x"}, "shift_factor is 'x'"),
    (VAE, {"latents_mean": [0.0] * 3, "latents_std": [1.0] * 4}, "latents_mean is .* one a latent channel"),
    (VAE, {"latents_mean": [0.0] * 4, "latents_std": [0.0] * 4}, "latents_std is .*numbers above 0"),
    (VAE, {"latents_std": "wide"}, "latents_std is 'wide'"),
    (VAE, {"latent_channels": 0}, "latent_channels is 0"),
    (TEXT, {"num_hidden_layers": 10**9}, "text_encoder/config.json: num_hidden_layers is 1000000000"),
    (TEXT, {"hidden_size": -1}, "hidden_size is -1"),
    (TEXT, {"vocab_size": 0}, "vocab_size is 0"),
    (TEXT, {"max_position_embeddings": "long"}, "max_position_embeddings is 'long'"),
    (TEXT, b"\xff\xfe{}", "text_encoder/config.json in .* cannot be used"),
    (WORDS, "[]", "tokenizer/tokenizer_config.json in .* cannot be used: a list"),
    (WORDS, "{'a': 1}", "tokenizer/tokenizer_config.json in .* cannot be used"),
    (INDEX, DEEP, "is not a pipeline's index: model_index.json cannot be used"),
    (INDEX, NESTED, "is not a pipeline's index: model_index.json cannot be used: more than 30 levels deep"),
    (INDEX, {"_class_name": ["StableDiffusionPipeline"]}, r"_class_name in model_index.json is \['Stable"),
    (INDEX, {"unet": ["diffusers", ["UNet2DConditionModel"]]}, "unet in model_index.json is"),
    (INDEX, {"unet": ["os", "system"]}, "unet in model_index.json is 'os.system'"),
    (INDEX, {"unet": ["diffusers", "UNet2DConditionModel", "more"]}, "unet in model_index.json"),
    (INDEX, {"vae": "../../vae"}, "vae in model_index.json is '../../vae'"),
]  # fmt: skip


def tamper(folder, name, change):
    file = folder / name
    if isinstance(change, dict):
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    else:
        file.write_bytes(change.encode() if isinstance(change, str) else change)


@pytest.mark.parametrize(
    "name, change, message", HOSTILE, ids=[f"{k}-{row[0].split('/')[0]}" for k, row in enumerate(HOSTILE)]
)
def test_hostile_settings_are_refused_before_anything_is_built(folder, monkeypatch, name, change, message):
    monkeypatch.setattr(build, "components", lambda *args: pytest.fail("built"))
    tamper(folder, name, change)
    refused(folder, message)


def test_a_configuration_of_many_megabytes(folder):
    tamper(folder, UNET, json.dumps({"a": "x" * 2**25}))
    refused(folder, f"unet/config.json in .* cannot be used: {2**25 + 9} bytes; allowed: .* and 32 MB long")


@pytest.mark.parametrize(
    "shard",
    [
        "../../../etc/passwd.safetensors",
        "/etc/passwd.safetensors",
        "..",
        "a/b.safetensors",
        "x.bin",
        ".safetensors",
        7,
    ],
)
def test_an_index_of_shards_names_files_beside_it(folder, shard):
    place = folder / "unet"
    (place / "diffusion_pytorch_model.safetensors").unlink()
    file = place / "diffusion_pytorch_model.safetensors.index.json"
    file.write_text(json.dumps({"metadata": {}, "weight_map": {"conv_in.weight": shard}}))
    refused(folder, "unet/diffusion_pytorch_model.safetensors.index.json: weight_map is .*beside the index")


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', DEEP])
def test_an_index_of_shards_without_files(folder, content):
    place = folder / "unet"
    (place / "diffusion_pytorch_model.safetensors").unlink()
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(content)
    refused(folder, "unet/diffusion_pytorch_model.safetensors.index.json")


@pytest.mark.parametrize(
    "name",
    [
        "unet",
        "vae/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer/more.json",
        "model_index.json",
    ],
)
def test_links_out_of_a_folder(folder, original, tmp_path, name):
    """Into the folder is allowed; the Hub's cache links to its own blobs."""
    file, inside = folder / name, folder / "moved"
    if file.exists():
        file.rename(inside)
    else:
        inside.write_text("{}")
    file.symlink_to(inside, target_is_directory=inside.is_dir())
    load(folder, device="cpu")
    out = tmp_path / "elsewhere"
    inside.rename(out)
    file.unlink()
    file.symlink_to(out, target_is_directory=out.is_dir())
    refused(
        folder, f"^{name} is a link to '.*elsewhere', out of its folder; allowed: files in the folder itself"
    )


def test_links_of_the_hubs_cache(original, tmp_path, monkeypatch):
    """Every file of a snapshot links to a blob, and none to elsewhere; so also where the snapshot itself is loaded."""
    place = tmp_path / "hub" / "models--owner--tiny"
    snapshot = place / "snapshots" / "abc"
    (place / "blobs").mkdir(parents=True)
    for k, file in enumerate(sorted(f for f in original.rglob("*") if f.is_file())):
        blob, link = place / "blobs" / str(k), snapshot / file.relative_to(original)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(blob)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("owner/tiny", snapshot):
        assert load(name, device="cpu").latent_shape == (4, 8, 8)
    blob = (snapshot / "vae" / "config.json").resolve()
    outside = shutil.copy(blob, tmp_path / "config.json")
    (snapshot / "vae" / "config.json").unlink()
    (snapshot / "vae" / "config.json").symlink_to(outside)
    refused("owner/tiny", "vae/config.json is a link to")


@pytest.mark.parametrize("words", ["{}", "[]", '{"model": {}}', "not json"])
def test_tokenizers_without_words(folder, words):
    (folder / "tokenizer" / "tokenizer.json").write_text(words)
    refused(folder, "^tokenizer in .*(cannot be loaded|knows no word|gives numbers up to).*allowed")


def test_words_beyond_the_encoders_table(folder):
    """The one would be an error on the CPU, and on a card one that ends the process."""
    file = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["redder"] = 5000
    file.write_text(json.dumps(content))
    refused(folder, "tokenizer in .* gives numbers up to .*; allowed: words, with numbers below .*vocab_size")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"]
)
def test_weights_that_are_no_numbers(folder, name, value):
    from safetensors.torch import load_file, save_file

    file = folder / f"{name}.safetensors"
    weights = load_file(file)
    which = sorted(n for n, w in weights.items() if w.is_floating_point() and w.numel() > 4)[0]
    weights[which].view(-1)[:2] = value
    save_file(weights, file, metadata={"format": "pt"})
    component = name.split("/")[0]
    refused(
        folder,
        f"^{component}, .*{which.split('.')[-1]}, in .* has 2 NaN or infinite weights of",
        NotFiniteError,
    )


def test_weights_that_float16_does_not_hold(folder):
    """They are finite in the file and infinite once loaded."""
    from safetensors.torch import load_file, save_file

    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.bias"][0] = 1e5
    save_file(weights, file, metadata={"format": "pt"})
    load(folder, device="cpu")
    source = sources.Folder(folder)
    with pytest.raises(
        NotFiniteError, match="conv_in.bias, in .* has 1 NaN or infinite weights of 32 as float16"
    ):
        build.components(source, torch.device("cpu"), torch.float16, memory.WHOLE)


def test_a_copy_with_sums_beside_it_is_held_against_them(folder):
    """Still Life copied elsewhere, say: a flipped bit, a file that is missing or put there; other files are free."""
    write_sums(folder)
    load(folder, device="cpu")
    (folder / "notes.txt").write_text("mine")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "config.json").write_text("{}")
    load(folder, device="cpu")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    refused(folder, "tiny/vae/diffusion_pytorch_model.safetensors is not what SHA256SUMS says")
    content[-3] ^= 1
    file.write_bytes(content)
    (folder / "unet" / "extra.json").write_text("{}")
    refused(folder, "tiny/unet/extra.json is not in SHA256SUMS")


@pytest.mark.parametrize(
    "line", ["x  unet/config.json", f"{'0' * 64}  ../outside", f"{'0' * 64}  /etc/passwd", "0" * 64]
)
def test_sums_that_are_none(folder, line):
    write_sums(folder)
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(line + "\n")
    refused(
        folder, "tiny/SHA256SUMS, line .*allowed: 64 hexadecimal digits and the name of a file in the folder"
    )


# --- what is said of a model when it is loaded


def test_a_safety_checker_that_is_not_used_is_said_once(folder, original):
    tamper(folder, INDEX, {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]})
    build._SAID.clear()
    with pytest.warns(
        UserWarning, match=r"'tiny' comes with a safety checker \(StableDiffusionSafetyChecker\)"
    ):
        load(folder, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder, device="cpu")
        load(original, device="cpu")

    class Checker:
        pass

    pipeline = random_pipeline()
    pipeline.safety_checker = Checker()
    with pytest.warns(UserWarning, match=r"'mine' comes with a safety checker \(Checker\).*not screened"):
        build.wrap(pipeline, "mine")


TURBO = {"timestep_spacing": "trailing"}


@pytest.mark.parametrize(
    "scheduler, changes, own",
    [
        ("EulerAncestralDiscreteScheduler", TURBO, "ddpm"),  # SDXL Turbo
        ("EulerDiscreteScheduler", TURBO, "euler"),  # SD Turbo, Lightning
        ("EulerDiscreteScheduler", {"timestep_spacing": "leading"}, None),
        ("EulerDiscreteScheduler", {**TURBO, "prediction_type": "v_prediction"}, None),
        ("DDIMScheduler", TURBO, None),
    ],
)
def test_models_distilled_to_few_steps_say_their_defaults(folder, scheduler, changes, own):
    tamper(folder, SCHEDULER, changes)
    tamper(folder, INDEX, {"scheduler": ["diffusers", scheduler]})
    if own is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = load(folder, device="cpu")
        run = model.sample("red", keep_trajectory=False)
        assert len(run.timesteps) == 20 and run.nfe == 40
        return
    with pytest.warns(
        UserWarning,
        match="'tiny' has the scheduler of a model distilled to few steps.*num_inference_steps 4, guidance_scale 1.0",
    ):
        model = load(folder, device="cpu")
    run = model.sample("red", seed=3)
    assert run.timesteps.tolist() == [999, 749, 499, 249] and run.nfe == 4
    same = model.sample("red", num_inference_steps=4, guidance_scale=1.0, sampler=own, seed=3)
    assert torch.equal(run.latents, same.latents)
    assert (
        model.sample("red", num_inference_steps=2, guidance_scale=3.0).nfe == 4
    )  # whoever asks for more gets it


# --- weights in two precisions


def test_half_precision_fetches_files_of_half_the_size(pretended, monkeypatch):
    """SDXL's repository has both: 14 GB, of which 7 are used. What stays in float32 is fetched whole."""
    from safetensors.torch import load_file, save_file

    remote = pretended.remote
    for file in list(remote.rglob("*.safetensors")):
        half = {k: v.half() if v.is_floating_point() else v for k, v in load_file(file).items()}
        save_file(half, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    tamper(remote, VAE, {"force_upcast": True})
    source = sources.source_of("owner/model")
    assert source.weight_names("unet") == ["unet/diffusion_pytorch_model.safetensors"]
    source.dtype = torch.float16
    assert source.weight_names("unet") == ["unet/diffusion_pytorch_model.fp16.safetensors"]
    assert source.weight_names("vae") == ["vae/diffusion_pytorch_model.safetensors"]
    source.dtype = torch.float32
    assert source.weight_names("unet") == ["unet/diffusion_pytorch_model.safetensors"]
    model = load("owner/model", device="cpu", dtype="bfloat16")
    assert model.adapter.unet.dtype == torch.bfloat16 and model.sample("red", num_inference_steps=1)
    fetched = {f for f in pretended.fetched if f.endswith(".safetensors")}
    assert fetched == {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }


def test_the_index_of_shards_that_were_not_fetched(original, folder):
    """A download of the smaller files brings the index of the larger ones too, being a small file."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(original / "unet")
    place = folder / "unet"
    (place / "diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(place, max_shard_size="400KB")
    unet.half().save_pretrained(place, max_shard_size="200KB", variant="fp16")
    both = sources.weight_files(folder, "unet", ["diffusers", "UNet2DConditionModel"])
    assert both[1] is None and len(both[0]) > 1
    assert sources.weight_files(folder, "unet", ["diffusers", "UNet2DConditionModel"], half=True)[1] == "fp16"
    for file in both[0]:
        file.unlink()
    files, variant = sources.weight_files(folder, "unet", ["diffusers", "UNet2DConditionModel"])
    assert variant == "fp16" and len(files) > 1
    assert load(folder, device="cpu").sample("red", num_inference_steps=1).images.isfinite().all()


# --- cards without bfloat16


def test_what_overflows_in_float16_stays_in_float32(tmp_path, monkeypatch):
    """Sana's Gemma and its autoencoder on a card without bfloat16: loaded so, counted so, and the picture is near."""
    folder = tmp_path / "sana"
    pipeline = random_pipeline(kind="SanaPipeline", folder=folder)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **k: False)
    source = sources.Folder(folder)
    card = torch.device("cuda")
    assert build.half(source.family, card) == torch.float16
    assert source.kept(torch.float16) == ("text_encoder", "vae") and source.kept(torch.bfloat16) == ()
    found = estimate(folder, "float16").components
    sizes = {n: sum(p.numel() for p in getattr(pipeline, n).parameters()) for n in found}
    assert found == {n: (2 if n == "transformer" else 4) * size for n, size in sizes.items()}
    assert source.working(torch.float16) == source.working(torch.float32)
    parts = build.components(source, torch.device("cpu"), torch.float16, memory.WHOLE)
    dtypes = {n: parts[n].dtype for n in found}
    assert dtypes == {"transformer": torch.float16, "text_encoder": torch.float32, "vae": torch.float32}
    model = build.wrap(build.pipeline_of(source, parts, torch.device("cpu"), memory.WHOLE))
    call = {"num_inference_steps": 2, "guidance_scale": 2.0, "seed": 3}
    exact = load(folder, device="cpu").sample("red", **call).images
    assert (model.sample("red", **call).images - exact).abs().mean() < 0.02


# --- memory


@pytest.mark.parametrize("kind", RANDOM_PIPELINES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_estimate_is_what_the_weights_take(kind, dtype, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / f"estimate-{kind}"
    if not folder.exists():
        random_pipeline(kind=kind, folder=folder)
    found = estimate(folder, dtype)
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    source = sources.Folder(folder)
    parts = build.components(source, torch.device("cpu"), kinds[dtype], memory.WHOLE)
    assert set(found.components) == {n for n, p in parts.items() if isinstance(p, torch.nn.Module)}
    for name, size in found.components.items():
        held = {t.data_ptr(): t.nbytes for t in parts[name].state_dict().values()}  # tied weights count once
        assert size == sum(held.values()), name
    assert found.whole == sum(found.components.values()) + found.working > found.offloaded


def test_what_stays_in_float32(tmp_path):
    """T5's `wo`, and autoencoders that overflow in float16, counted as they will be loaded."""
    folder = tmp_path / "pixart"
    pipeline = random_pipeline(kind="PixArtSigmaPipeline", folder=folder)
    wo = sum(p.numel() for n, p in pipeline.text_encoder.named_parameters() if ".wo." in n)
    rest = sum(p.numel() for p in pipeline.text_encoder.parameters()) - wo
    vae = sum(p.numel() for p in pipeline.vae.parameters())
    assert pipeline.vae.config.force_upcast and wo > 0
    half = estimate(folder, "float16").components
    assert half["text_encoder"] == 2 * rest + 4 * wo and half["vae"] == 4 * vae
    assert estimate(folder, "bfloat16").components["vae"] == 2 * vae


def traced_peak(vae, latents):
    """Bytes of all tensors that are alive at once in decoding, on the meta device."""
    import weakref

    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten

    class Alive(TorchDispatchMode):
        now = peak = 0
        known: set = set()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in tree_flatten(out)[0]:
                storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
                if storage is not None and storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
            return out

        def gone(self, key, size):
            self.known.discard(key)
            self.now -= size

    with torch.no_grad(), (alive := Alive()):
        vae.decode(torch.zeros(latents, device="meta", dtype=vae.dtype), return_dict=False)
    return alive.peak


@pytest.mark.parametrize("side, dtype", [(512, torch.float16), (1024, torch.float32)])
def test_room_to_work_in_covers_the_decoder(side, dtype):
    """Stable Diffusion's and SDXL's autoencoder (one layout) at their sizes: traced, not guessed."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
    vae = vae.to(dtype)
    peak = traced_peak(vae, (1, 4, side // 8, side // 8))
    assert peak <= memory.working_bytes(side, side, 256, dtype) <= 1.6 * peak


GB = 10**9
TENSORS = {"transformer": memory.Tensors(2 * GB), "text_encoder": memory.Tensors(5 * GB)}
WORKING = {torch.float32: 4 * GB, torch.float16: 2 * GB, torch.bfloat16: 2 * GB}


def test_offloaded_the_decoder_works_alone():
    """Its maps do not stand beside the largest component, which has left the card by then."""
    tensors = TENSORS | {"vae": memory.Tensors(GB // 2)}  # 4, 10 and 1 GB in float16, and 2 GB to work in
    for free, expected in ((17, memory.WHOLE), (16, memory.OFFLOAD), (10, memory.OFFLOAD)):
        where = {"cuda": free * GB, "cpu": 64 * GB}
        got = memory.place("x", tensors, WORKING, torch.device("cuda"), torch.float16, None, where)
        assert got == expected, free
    with pytest.raises(CheckpointError, match=r"one component at a time: 10.0 GB on the card"):
        memory.place(
            "x", tensors, WORKING, torch.device("cuda"), torch.float16, None, {"cuda": 9 * GB, "cpu": 64 * GB}
        )
    assert memory.MemoryEstimate({"unet": 3, "vae": 1}, 5).offloaded == 6  # and where the decoder needs most
    assert memory.MemoryEstimate({"unet": 3}, 5).offloaded == 8  # no decoder known: on the safe side


def placed(device="cuda", dtype=torch.float16, offload=None, **free):
    free = {name: size * GB for name, size in {"cpu": 64, **free}.items()}
    return memory.place("'big'", TENSORS, WORKING, torch.device(device), dtype, offload, free)


def test_where_a_model_goes():
    assert placed(cuda=17) == memory.WHOLE
    assert placed(cuda=17, offload=True) == memory.OFFLOAD
    assert placed(cuda=13) == memory.OFFLOAD  # 16 GB in all, the largest 10 and 2 to work in
    assert placed("cpu", torch.float32, cpu=33) == memory.WHOLE
    assert (
        memory.place("x", TENSORS, WORKING, torch.device("cpu"), torch.float32, None, {"cpu": None})
        == memory.WHOLE
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: placed(cuda=11, cpu=12),
            r"'big' needs 16.0 GB \(text_encoder 10.0 GB, transformer 4.0 GB; 2.0 GB to work in\) in float16, and "
            r"cuda has 11.0 GB free \(one component at a time: 12.0 GB on the card and 14.0 GB of memory\); "
            "what would fit: a checkpoint of at most 11.0 GB",
        ),
        (lambda: placed(cuda=13, offload=False), r"what would fit: offload=True \(12.0 GB on the card"),
        (lambda: placed(cuda=11), r"what would fit: device='cpu', dtype='bfloat16' \(16.0 GB, slow\)"),
        (
            lambda: placed(cuda=17, dtype=torch.float32, cpu=20),
            r"what would fit: dtype='float16' \(16.0 GB\)",
        ),
        (lambda: placed("cpu", torch.float32, cpu=20), r"what would fit: dtype='bfloat16' \(16.0 GB\)"),
        (lambda: placed("mps", torch.float16, mps=10), "mps has 10.0 GB free; what would fit: a checkpoint"),
        (
            lambda: placed("cpu", torch.float32, offload=True),
            "offload is True; allowed on cpu: None or False",
        ),
    ],
)
def test_what_would_fit(call, message):
    with pytest.raises(CheckpointError, match=message):
        call()


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(original, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(build, "components", lambda *args: pytest.fail("loaded"))
    refused(original, "'tiny' needs .*what would fit")
    with pytest.raises(CheckpointError, match="offload is 'yes'; allowed: True, False or None"):
        load(original, device="cpu", offload="yes")


def test_a_card_of_24_gb_has_24_gib():
    assert memory.card_bytes(24) == 25_769_803_776 and memory.gigabytes(memory.card_bytes(24)) == "25.8 GB"


def test_free_memory_is_known_here():
    assert memory.free_bytes(torch.device("cpu")) > 10**8
    assert memory.free_bytes(torch.device("meta")) is None


def test_words_that_need_another_package(tmp_path):
    """T5's words as a SentencePiece model alone, as PixArt's repositories have them."""
    folder = tmp_path / "pixart"
    random_pipeline(kind="PixArtSigmaPipeline", folder=folder)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    refused(folder, "tokenizer/spiece.model is missing")
    (folder / "tokenizer" / "spiece.model").write_bytes(b"no words")
    refused(folder, "tokenizer in .* cannot be loaded.*sentencepiece")
