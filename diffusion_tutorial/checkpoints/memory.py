"""How much memory a checkpoint needs, told before it is loaded, from the headers of its safetensors files."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import CheckpointError

WHOLE, OFFLOAD = "whole", "offload"  # all components on the device, or one at a time

# How many maps of a decoder's widest full-resolution layer are alive at once. Traced on the meta device at the
# published sizes: 3.0 to 4.4 (SD 1 and SDXL autoencoders, Sana's), the most with float16 at 1024 pixels.
_LIVE_MAPS = 4.5


@dataclass(frozen=True)
class Tensors:
    """What a component's weights are: their numbers, how many of them transformers keeps out of float16, and how many
    are counters, 64-bit integers in any dtype (of a batch normalisation, such as FLUX.2's autoencoder has)."""

    parameters: int
    float32: int = 0
    counters: int = 0

    def __add__(self, other: Tensors) -> Tensors:
        return Tensors(
            self.parameters + other.parameters, self.float32 + other.float32, self.counters + other.counters
        )

    def bytes(self, dtype: torch.dtype) -> int:
        held = self.float32 if dtype == torch.float16 else 0
        return (self.parameters - held - self.counters) * dtype.itemsize + 4 * held + 8 * self.counters


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory that a checkpoint's weights take in a dtype, and room to work in.

    components: name -> bytes. working: bytes for the largest tensors of one picture, the last maps of `decoder`.
    decoder: the component that they belong to. Where it is none of the components, whose maps they are is not known.
    """

    components: Mapping[str, int]
    working: int
    decoder: str | None = "vae"

    @property
    def whole(self) -> int:
        """Bytes with everything on one device."""
        return sum(self.components.values()) + self.working

    @property
    def offloaded(self) -> int:
        """Bytes on the device with one component there at a time: the largest, or the decoder with its maps.

        The maps are made when the denoiser and the text encoders have left the device. Without a decoder among the
        components they are added to the largest, which is on the safe side.
        """
        largest = max(self.components.values(), default=0)
        if self.decoder not in self.components:
            return largest + self.working
        return max(largest, self.components[self.decoder] + self.working)

    def __str__(self) -> str:
        largest = sorted(self.components.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in largest)
        return f"{gigabytes(self.whole)} ({parts}; {gigabytes(self.working)} to work in)"


def gigabytes(size: float) -> str:
    """Bytes for people: "5.1 GB", of 10^9."""
    return f"{size / 1e9:.1f} GB"


def card_bytes(size: float) -> int:
    """The bytes of a card that is sold with so many "GB": its makers count 2^30 of them to one, 7% more than 10^9."""
    return int(size * 2**30)


def read_header(file: Path) -> dict:
    """The header of a safetensors file: tensor name -> {dtype, shape, data_offsets}."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header


def count(tensors: Iterable[tuple[str, Iterable[int]]], keep: Iterable[str] = ()) -> Tensors:
    """Tensors of (name, shape) pairs. keep: parts of names, between dots, that float16 is not for."""
    keep, total, held, counters = set(keep), 0, 0, 0
    for name, shape in tensors:
        size = math.prod(shape)
        total += size
        counters += size if name.split(".")[-1] == "num_batches_tracked" else 0
        if keep & set(name.split(".")):
            held += size
    return Tensors(total, held, counters)


def count_file(file: Path, keep: Iterable[str] = ()) -> Tensors:
    """`count` of a local safetensors file, of which the header alone is read."""
    return count(((name, entry["shape"]) for name, entry in read_header(file).items()), keep)


def working_bytes(height: int, width: int, channels: int, dtype: torch.dtype) -> int:
    """Room for the decoder's last maps of one picture of height x width with so many channels."""
    return int(_LIVE_MAPS * height * width * channels * dtype.itemsize)


def free_bytes(device: torch.device) -> int | None:
    """What is free on a device now, None where that cannot be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type == "cpu":
        return _free_ram()
    return None


def _free_ram() -> int | None:
    """Free main memory; a container's own limit counts where there is one."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            found.append(int(limit) - used)
    except (OSError, ValueError, IndexError):
        pass
    if not found and hasattr(os, "sysconf"):
        try:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (OSError, ValueError):
            pass
    return min(found) if found else None


def place(
    name: str,
    tensors: Mapping[str, Tensors],
    working: Mapping[torch.dtype, int],
    device: torch.device,
    dtype: torch.dtype,
    offload: bool | None,
    free: Mapping[str, int | None],
    float32: Iterable[str] = (),
    decoder: str | None = "vae",
) -> str:
    """WHOLE or OFFLOAD: how the model goes onto the device.

    Args:
        tensors: component -> its weights.
        working: dtype -> bytes to work in.
        offload: True or False to decide, None to do as memory allows.
        free: device type -> free bytes, with the device's own and "cpu".
        float32: components that are in float32 whatever the dtype.
        decoder: the component that needs the room to work in; see `MemoryEstimate`.

    Raises CheckpointError, with what would fit, if it does not go.
    """

    def estimate(dtype: torch.dtype) -> MemoryEstimate:
        parts = {n: t.bytes(torch.float32 if n in float32 else dtype) for n, t in tensors.items()}
        return MemoryEstimate(parts, working[dtype], decoder)

    def fits(size: int, where: str) -> bool:
        return free.get(where) is None or size <= free[where]

    wanted = estimate(dtype)
    host = sum(wanted.components.values())
    if device.type != "cuda":
        if offload:
            raise CheckpointError(f"offload is True; allowed on {device.type}: None or False, it is for CUDA")
        if fits(wanted.whole, device.type):
            return WHOLE
    else:
        if not offload and fits(wanted.whole, "cuda"):
            return WHOLE
        if offload is not False and fits(wanted.offloaded, "cuda") and fits(host, "cpu"):
            return OFFLOAD
    tried = str(dtype).removeprefix("torch.")
    kinds = (torch.bfloat16,) if device.type == "cpu" else (torch.float16, torch.bfloat16)
    hints = []
    for other in kinds:
        smaller = estimate(other)
        if other.itemsize >= dtype.itemsize:
            continue
        if fits(smaller.whole, device.type):
            hints.append(f"dtype='{str(other).removeprefix('torch.')}' ({gigabytes(smaller.whole)})")
    if device.type == "cuda":
        if offload is False and fits(wanted.offloaded, "cuda") and fits(host, "cpu"):
            hints.append(
                f"offload=True ({gigabytes(wanted.offloaded)} on the card, {gigabytes(host)} of memory)"
            )
        on_cpu = estimate(torch.bfloat16)
        if free.get("cpu") is not None and fits(on_cpu.whole, "cpu"):
            hints.append(f"device='cpu', dtype='bfloat16' ({gigabytes(on_cpu.whole)}, slow)")
    fit = "; ".join(hints) if hints else f"a checkpoint of at most {gigabytes(free[device.type])}"
    raise CheckpointError(
        f"{name} needs {wanted} in {tried}, and {device.type} has {gigabytes(free[device.type])} free"
        + (
            f" (one component at a time: {gigabytes(wanted.offloaded)} on the card and {gigabytes(host)} of memory)"
            if device.type == "cuda"
            else ""
        )
        + f"; what would fit: {fit}"
    )
