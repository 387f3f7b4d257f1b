"""`load`: a `TextToImage` from Still Life, a folder, or the Hugging Face Hub. Weights are safetensors, or
nothing is loaded: a pickle can run any code. Code that comes with a checkpoint is never run."""

from __future__ import annotations

import hashlib
import json
import os
import re
from importlib import resources
from pathlib import Path

import torch

from .denoisers import SUPPORTED_SCHEDULERS, StableDiffusionAdapter, TextToImage, schedule_of
from .errors import CheckpointError, UnsupportedModelError, allowed

STILL_LIFE = "still-life"
ENVIRONMENT = "DIFFUSION_TUTORIAL_MODEL"
_FORMS = "'still-life', a folder in diffusers' layout, or a Hub id 'owner/name'"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_CONFIG = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}

# What is loaded for each pipeline class: component -> the classes that it may have. Another family is another
# row here and another function in _BUILDERS.
_COMPONENTS = {
    "StableDiffusionPipeline": {
        "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
        "text_encoder": ("CLIPTextModel",),
        "unet": ("UNet2DConditionModel",),
        "vae": ("AutoencoderKL", "AutoencoderTiny"),
        "scheduler": SUPPORTED_SCHEDULERS,
    },
}


def load(
    name_or_path: str | os.PathLike | None = STILL_LIFE,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> TextToImage:
    """A text-to-image model, ready to sample.

    Args:
        name_or_path: "still-life", the model that comes with the package; a folder in diffusers' layout; or a
            Hub id such as "stable-diffusion-v1-5/stable-diffusion-v1-5", taken from the local cache or
            downloaded (with HF_HUB_OFFLINE=1, from the cache only). None stands for the environment variable
            DIFFUSION_TUTORIAL_MODEL, and for "still-life" where that is not set.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA, then MPS, then the CPU.
        dtype: "float32", "bfloat16" or "float16" (or torch's). None means float32, except for a folder or Hub
            model on CUDA, which means float16. Weights stored as float16 are loaded as float32 on a CPU, and
            float16 is refused there.

    Raises:
        CheckpointError: unknown name, no such folder, a file that is missing, cut short or altered (Still
            Life is checked against its SHA-256 sums), pickled weights only, a gated or unknown repository, no
            connection.
        UnsupportedModelError: a checkpoint of another kind than this package samples.
        ValueError: a device that is not there, an unknown dtype.
    """
    if name_or_path is None:
        name_or_path = os.environ.get(ENVIRONMENT) or STILL_LIFE
    if not isinstance(name_or_path, (str, os.PathLike)) or not os.fspath(name_or_path):
        raise CheckpointError(allowed("name_or_path", name_or_path, _FORMS))
    name = os.fspath(name_or_path)
    device = _device(device)
    if name == STILL_LIFE:
        from .still_life.captions import check_words

        folder = still_life_folder()
        if not folder.is_dir():
            raise CheckpointError(
                "name_or_path is 'still-life', but this installation has no weights of it "
                f"(no folder {folder.name} in the package); allowed: a complete installation, or {_FORMS}"
            )
        verify(folder)
        return _build(folder, name, device, _dtype(dtype, device, torch.float32), check_words)
    dtype = _dtype(dtype, device, torch.float16 if device.type == "cuda" else torch.float32)
    path = Path(name).expanduser()
    if path.is_dir():
        return _build(path, path.resolve().name, device, dtype)
    if path.exists():
        raise CheckpointError(allowed("name_or_path", name, f"a folder, and this is a file; or {_FORMS}"))
    if isinstance(name_or_path, str) and _HUB_ID.match(name):
        return _build(_download(name), name, device, dtype)
    raise CheckpointError(allowed("name_or_path", name, f"{_FORMS}; there is no such folder"))


def still_life_folder() -> Path:
    """Where Still Life's model lies in the package, a folder that diffusers loads too."""
    return Path(str(resources.files("diffusion_tutorial") / "still_life" / "model"))


def verify(folder: str | os.PathLike) -> None:
    """Check a folder against its SHA256SUMS: every file listed and unaltered, no file beside those listed.

    README.md may change. Raises CheckpointError that names the first file at fault.
    """
    folder = Path(folder)
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise CheckpointError(
            f"{folder.name} has no SHA256SUMS, so its weights cannot be checked; allowed: a complete folder"
        )
    listed = {}
    for line in sums.read_text().splitlines():
        if line.strip():
            digest, _, name = line.partition(" ")
            listed[name.strip().lstrip("*").removeprefix("./")] = digest
    for name, digest in listed.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(
                f"{folder.name}/{name} is missing; allowed: every file that SHA256SUMS lists"
            )
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise CheckpointError(
                f"{folder.name}/{name} is not what SHA256SUMS says: it was altered or is damaged. "
                "Install the package again"
            )
    free = {"SHA256SUMS", "README.md"}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name not in listed and name not in free and "__pycache__" not in name:
            raise CheckpointError(
                f"{folder.name}/{name} is not in SHA256SUMS; allowed: the files that it lists"
            )


# --- a folder in diffusers' layout --------------------------------------------------------------------------


def _build(
    folder: Path, name: str, device: torch.device, dtype: torch.dtype, check_prompt=None
) -> TextToImage:
    index = _read_index(folder)
    kind = index["_class_name"]
    for component in _COMPONENTS[kind]:
        _check_component(folder, component)
    return _BUILDERS[kind](folder, index, name, device, dtype, check_prompt)


def _read_index(folder: Path) -> dict:
    """model_index.json, its classes checked."""
    file = folder / "model_index.json"
    if not file.is_file():
        raise CheckpointError(
            f"name_or_path is {str(folder)!r}, a folder without model_index.json; "
            "allowed: a pipeline as diffusers' save_pretrained writes it"
        )
    try:
        index = json.loads(file.read_text())
        kind = index["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{file} is not a pipeline's index: {error!r}; allowed: JSON with a _class_name"
        ) from None
    if not isinstance(kind, str) or kind not in _COMPONENTS:
        raise UnsupportedModelError(allowed("_class_name in model_index.json", kind, ", ".join(_COMPONENTS)))
    for component, classes in _COMPONENTS[kind].items():
        entry = index.get(component)
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            raise CheckpointError(
                allowed(f"{component} in model_index.json", entry, f"[library, class], {classes[0]}")
            )
        if entry[0] not in ("diffusers", "transformers") or entry[1] not in classes:
            raise UnsupportedModelError(
                allowed(
                    f"{component} in model_index.json",
                    ".".join(map(str, entry)),
                    f"of diffusers or transformers: {', '.join(classes)}",
                )
            )
    return index


def _check_component(folder: Path, component: str) -> None:
    """Everything that the component needs is there and whole, found out before anything is loaded."""
    place = folder / component
    if not place.is_dir():
        raise CheckpointError(
            f"{folder} has no folder {component!r}; allowed: a complete pipeline (was a download cut short?)"
        )
    config = place / _CONFIG.get(component, "config.json")
    if not config.is_file():
        raise CheckpointError(
            f"{component}/{config.name} is missing in {folder}; allowed: a complete pipeline"
        )
    if component == "tokenizer" and not (place / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            if not (place / name).is_file():
                raise CheckpointError(
                    f"tokenizer/{name} is missing in {folder}; allowed: a complete pipeline"
                )
    if component not in _WEIGHTS:
        return
    stem = _WEIGHTS[component]
    files = [place / f"{stem}.safetensors"]
    shards = place / f"{stem}.safetensors.index.json"
    if not files[0].is_file() and shards.is_file():
        files = [place / f for f in sorted(set(json.loads(shards.read_text())["weight_map"].values()))]
    for file in files:
        if not file.is_file():
            pickles = sorted(f.name for f in place.iterdir() if f.suffix in (".bin", ".pt", ".pth", ".ckpt"))
            if pickles:
                raise CheckpointError(
                    f"{component} holds pickled weights only ({', '.join(pickles)}) in {folder}; "
                    f"allowed: {file.name}, since a pickle can run any code"
                )
            raise CheckpointError(
                f"{component}/{file.name} is missing in {folder}; allowed: a complete pipeline "
                "(was a download cut short?)"
            )
        _check_safetensors(file, f"{component}/{file.name}")


def _check_safetensors(file: Path, label: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):  # reads the header and compares it with the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{label} cannot be read, it is damaged or cut short ({error}); allowed: a whole safetensors file"
        ) from None


def _stable_diffusion(folder: Path, index: dict, name: str, device, dtype, check_prompt) -> TextToImage:
    # From the modules themselves: `import diffusers` with everything in it takes seconds more.
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers.models.clip.modeling_clip import CLIPTextModel
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    if index["vae"][1] == "AutoencoderTiny":
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny as Autoencoder
    else:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as Autoencoder
    schedule = schedule_of(index["scheduler"][1], _scheduler_config(folder, index["scheduler"][1]))
    unet = _weights(UNet2DConditionModel, folder, "unet", dtype).to(device)
    vae = _weights(Autoencoder, folder, "vae", dtype).to(device)
    text_encoder = _weights(CLIPTextModel, folder, "text_encoder", dtype).to(device)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    adapter = StableDiffusionAdapter(unet, vae, text_encoder, tokenizer)
    return TextToImage(adapter, schedule, name, check_prompt)


_BUILDERS = {"StableDiffusionPipeline": _stable_diffusion}


def _scheduler_config(folder: Path, kind: str) -> dict:
    """The scheduler's config with the defaults of its class, which the file may leave out."""
    if kind == "DDIMScheduler":
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler as scheduler
    else:
        import diffusers

        scheduler = getattr(diffusers, kind)
    config = json.loads((folder / "scheduler" / _CONFIG["scheduler"]).read_text())
    return dict(scheduler.from_config({k: v for k, v in config.items() if not k.startswith("_")}).config)


def _weights(kind, folder: Path, component: str, dtype: torch.dtype):
    """One module with all of its weights. Raises CheckpointError where some are missing or do not fit."""
    with _quiet():
        try:
            module, report = kind.from_pretrained(
                folder / component,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=dtype,
            )
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise CheckpointError(
                f"{component} in {folder} cannot be loaded: {reason}; allowed: weights that fit its "
                "config.json"
            ) from error
    faults = sorted(map(str, report["missing_keys"])) + sorted(map(str, report.get("mismatched_keys", ())))
    if faults:
        raise CheckpointError(
            f"{component} in {folder} lacks or misfits {len(faults)} weights, such as {faults[0]}; "
            "allowed: weights that fit its config.json"
        )
    return module.eval()


class _quiet:
    """No progress bars and no loading chatter of diffusers and transformers inside the block."""

    def __enter__(self):
        import diffusers.utils.logging as ours
        import transformers.utils.logging as theirs

        self.saved = [(m, m.get_verbosity(), m.is_progress_bar_enabled()) for m in (ours, theirs)]
        for m, _, _ in self.saved:
            m.set_verbosity_error()
            m.disable_progress_bar()

    def __exit__(self, *exc):
        for m, verbosity, bar in self.saved:
            m.set_verbosity(verbosity)
            if bar:
                m.enable_progress_bar()


# --- the Hub ------------------------------------------------------------------------------------------------


def _download(repo: str) -> Path:
    """The repository's folder in the local cache; what is missing is downloaded where that is allowed."""
    from huggingface_hub import constants, hf_hub_download, snapshot_download
    from huggingface_hub import errors as hub

    offline = bool(constants.HF_HUB_OFFLINE)
    try:
        index = _read_index(Path(hf_hub_download(repo, "model_index.json", local_files_only=offline)).parent)
        return Path(
            snapshot_download(repo, allow_patterns=_patterns(index["_class_name"]), local_files_only=offline)
        )
    except hub.GatedRepoError:
        raise CheckpointError(
            f"name_or_path is {repo!r}, a gated repository; allowed after accepting its terms at "
            f"https://huggingface.co/{repo} and `hf auth login`"
        ) from None
    except (hub.RepositoryNotFoundError, hub.DisabledRepoError):
        raise CheckpointError(
            f"name_or_path is {repo!r}, which the Hub does not have (never, no longer, or only for "
            f"those logged in), and there is no folder of that name; allowed: {_FORMS}"
        ) from None
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if offline else "the Hub cannot be reached"
        raise CheckpointError(
            f"name_or_path is {repo!r}, which is not in the local cache, and {why}; "
            f"allowed offline: {_FORMS.replace('a Hub id', 'a cached Hub id')}"
        ) from None
    except hub.EntryNotFoundError:
        raise CheckpointError(
            f"name_or_path is {repo!r}, a repository without model_index.json; "
            "allowed: a pipeline in diffusers' layout"
        ) from None
    except hub.HFValidationError as error:
        raise CheckpointError(
            f"name_or_path is {repo!r}, no valid Hub id ({error}); allowed: {_FORMS}"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"name_or_path is {repo!r}, and the Hub did not answer ({type(error).__name__}); "
            f"allowed without a connection: {_FORMS.replace('a Hub id', 'a cached Hub id')}"
        ) from None


def _patterns(kind: str) -> list[str]:
    """The files of a repository that are needed: no pickles, no other precision, no safety checker."""
    patterns = ["model_index.json"]
    for component in _COMPONENTS[kind]:
        patterns += [f"{component}/*.json", f"{component}/*.txt"]
        if component in _WEIGHTS:
            patterns += [
                f"{component}/{_WEIGHTS[component]}.safetensors",
                f"{component}/{_WEIGHTS[component]}-?????-of-?????.safetensors",
            ]
    return patterns


# --- device and dtype ---------------------------------------------------------------------------------------


def _device(device: str | torch.device | None) -> torch.device:
    here = ["cpu"] + [
        f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    if torch.backends.mps.is_available():
        here.append("mps")
    if device is None:
        return torch.device("cuda" if "cuda:0" in here else "mps" if "mps" in here else "cpu")
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(allowed("device", device, f"one that is here: {', '.join(here)}")) from None
    name = "cuda:0" if str(wanted) == "cuda" else str(wanted)
    if name not in here and not (wanted.type in ("cpu", "mps") and wanted.type in here):
        none = " (no CUDA device was found)" if wanted.type == "cuda" and "cuda:0" not in here else ""
        raise ValueError(allowed("device", str(device), f"one that is here: {', '.join(here)}{none}"))
    return wanted


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _dtype(dtype: str | torch.dtype | None, device: torch.device, default: torch.dtype) -> torch.dtype:
    if dtype is None:
        return default
    names = [n for n in _DTYPES if not (n == "float16" and device.type == "cpu")]
    name = str(dtype).removeprefix("torch.")
    if name not in names:
        raise ValueError(allowed("dtype", str(dtype), f"on {device.type}: {', '.join(names)}"))
    return _DTYPES[name]


# --- a stand-in for tests and dry runs ----------------------------------------------------------------------


def random_pipeline(seed: int = 0, sample_size: int = 8, channels: tuple[int, ...] = (32, 32), folder=None):
    """A tiny `diffusers.StableDiffusionPipeline` with random weights: the right shapes, no picture worth
    looking at.

    It reads any text, a token a byte, at most 75 of them. With `folder` it is saved there as well, as
    safetensors. It shows that code runs where a real model would be too large.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = letters + [c + "</w>" for c in letters] + ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=77)
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=77,
                bos_token_id=len(words) - 2,
                eos_token_id=len(words) - 1,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=4,
            out_channels=4,
            layers_per_block=1,
            block_out_channels=channels,
            norm_num_groups=8,
            cross_attention_dim=32,
            attention_head_dim=4,
            down_block_types=("DownBlock2D",) * (len(channels) - 1) + ("CrossAttnDownBlock2D",),
            up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (len(channels) - 1),
        )
        vae = AutoencoderKL(
            block_out_channels=(16, 16, 16),
            norm_num_groups=8,
            layers_per_block=1,
            latent_channels=4,
            sample_size=4 * sample_size,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        pipeline = StableDiffusionPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    for module in (text_encoder, unet, vae):
        module.eval()
    pipeline.set_progress_bar_config(disable=True)
    if folder is not None:
        pipeline.save_pretrained(folder, safe_serialization=True)
    return pipeline
