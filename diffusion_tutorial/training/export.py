"""From a training run to the folder that ships: diffusers layout, fp16 safetensors, SHA-256 sums."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderTiny,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from . import distil, flow
from .denoiser import SCHEDULER


def export(run: Path, folder: Path) -> None:
    """Assemble run/{vae,unet,text_encoder,tokenizer,judge.safetensors} into `folder`, replacing it whole."""
    run, folder = Path(run), Path(folder)
    vae_source = run / "vae" if (run / "vae").exists() else run / "vae-joint"
    half = {"torch_dtype": torch.float16}
    vae = AutoencoderTiny.from_pretrained(vae_source, **half).to(memory_format=torch.contiguous_format)
    vae.register_to_config(scaling_factor=json.loads((run / "scaling_factor.json").read_text()))
    pipeline = StableDiffusionPipeline(
        vae=vae,
        unet=UNet2DConditionModel.from_pretrained(run / "unet", **half),
        text_encoder=CLIPTextModel.from_pretrained(run / "text_encoder", **half),
        tokenizer=CLIPTokenizer.from_pretrained(run / "tokenizer"),
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    for name in ("vocab.json", "merges.txt"):  # transformers 5 leaves them out, transformers 4 asks for them
        shutil.copyfile(run / "tokenizer" / name, fresh / "tokenizer" / name)
    for name in ("judge.safetensors", "classifier.safetensors", "classifier-clean.safetensors"):
        if (run / name).exists():
            shutil.copyfile(run / name, fresh / name)
    _settle(fresh, folder)


def export_flow(run: Path, folder: Path) -> None:
    """run/unet-flow and its scheduler's config, replacing `folder` whole; all else the flow takes from the classic."""
    _export_unet(Path(run) / "unet-flow", FlowMatchEulerDiscreteScheduler(**flow.SCHEDULER), Path(folder))


def export_fast(run: Path, folder: Path) -> None:
    """run/unet-fast, the student, as `export_flow`."""
    scheduler = FlowMatchEulerDiscreteScheduler(**distil.SCHEDULER)
    _export_unet(Path(run) / "unet-fast", scheduler, Path(folder))


def export_weak(run: Path, folder: Path) -> None:
    """run/unet-weak, autoguidance's weak twin, as `export_flow`; its scheduler is the classic's."""
    _export_unet(Path(run) / "unet-weak", DDIMScheduler(**SCHEDULER), Path(folder))


def _export_unet(source: Path, scheduler: SchedulerMixin, folder: Path) -> None:
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    unet = UNet2DConditionModel.from_pretrained(source, torch_dtype=torch.float16)
    unet.save_pretrained(fresh / "unet", safe_serialization=True)
    scheduler.save_pretrained(fresh / "scheduler")
    _settle(fresh, folder)


def _settle(fresh: Path, folder: Path) -> None:
    """The last touches to a folder that was written, its sums, and the move to where it belongs."""
    for file in fresh.rglob("*.safetensors"):
        file.chmod(0o644)
    for file in fresh.rglob("config.json"):  # where the run lay is nobody's business
        config = json.loads(file.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        if (
            "dtype" in config
        ):  # transformers loads in the dtype named here; diffusers in float32 unless told otherwise
            config["dtype"] = "float32"
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_sums(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def write_sums(folder: Path) -> None:
    """SHA256SUMS over every file of `folder` that is loaded (all but itself and the model card)."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ("SHA256SUMS", "README.md"))
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(folder).as_posix()}\n" for p in paths
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
