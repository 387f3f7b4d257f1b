"""`load`: what it accepts, and that everything else is refused by name before anything is run."""

import hashlib
import json
import shutil

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
from diffusion_tutorial.errors import CheckpointError, UnsupportedModelError
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
