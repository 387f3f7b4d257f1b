"""Rendered pictures on disk, in shards that are made once and then read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_tutorial.still_life.scenes import render, sample_scenes

SHARD = 512


def _write(path: Path, array: np.ndarray) -> None:
    """Write so that a reader, or a stop, never meets half a file."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with open(part, "wb") as file:
        np.save(file, array)
    part.replace(path)


def pictures(
    folder: Path,
    shards: int,
    seed: int,
    process: int = 0,
    processes: int = 1,
    wait=lambda: None,
    scenes=sample_scenes,
) -> tuple[Tensor, Tensor]:
    """`shards` x 512 pictures: (N, 3, 64, 64) uint8 and labels (N, 6) int64. Missing shards are rendered.

    Shard k holds `scenes(512, seed + k)`, so it is the same wherever it is rendered. Processes share the work and
    call `wait` before they read.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(process, shards, processes):
        image_file, label_file = folder / f"pictures-{k:04d}.npy", folder / f"labels-{k:04d}.npy"
        if image_file.exists() and label_file.exists():
            continue
        drawn = scenes(SHARD, seed + k)
        _write(label_file, drawn.labels.numpy())
        _write(image_file, (render(drawn) * 255).round().byte().numpy())
    wait()
    images = [np.load(folder / f"pictures-{k:04d}.npy") for k in range(shards)]
    labels = [np.load(folder / f"labels-{k:04d}.npy") for k in range(shards)]
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))


def as_input(pictures: Tensor, mirror: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float in [-1, 1]; where `mirror` (B,) is true, left and right are swapped.

    A mirrored scene is as likely as the scene itself: place, yaw, camera and light are drawn symmetrically.
    """
    x = pictures.float() / 127.5 - 1
    return torch.where(mirror[:, None, None, None], x.flip(-1), x)
