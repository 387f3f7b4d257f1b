"""The family for the browser: text encoder, U-Nets and decoder as ONNX, weights stored in fp16, and a manifest.

    python playground/export.py FOLDER        writes manifest.json and files named by their content

A graph computes in float32: each large weight is stored in fp16, as it is shipped, and cast when the session is made.
Stored as int8 the U-Net would take 4.7 MB instead of 9.1 and do as well by the judge, but its pictures are visibly
others than those of Python (diffusion_tutorial/results/playground_storage.json), so fp16 it is. The same weights give
the same bytes, so a page that has them cached fetches nothing. The runtime is listed too: its WebAssembly, compressed,
and its two programs, so that they are checked against the manifest like the weights.

The manifest's own entries are the classic's, which needs all its `files`. Under `models` stand the others whose weights
are here: text encoder and decoder are the classic's, so each has one file more, its U-Net, about 9 MB. Whole, not as a
low-rank difference from the classic's: that was measured for adherence alone, and whether variety survives it was not.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from diffusion_tutorial import NoiseSchedule, load
from diffusion_tutorial.checkpoints.student import MOST, STEPS, TOLD, WAVES, WIDTH, Student
from diffusion_tutorial.errors import allowed
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.captions import WORDS
from diffusion_tutorial.still_life.models import MODELS
from diffusion_tutorial.still_life.scenes import ATTRIBUTES

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "playground" / "node_modules" / "onnxruntime-web" / "dist"
SMALL = 256  # tensors of so many numbers or fewer stay in float32
STORAGE = ("float32", "float16", "int8")
GRAPHS = ("text_encoder", "unet", "decoder")
HALF = dict.fromkeys(GRAPHS, "float16")
VERSION = 3  # of the manifest; playground/src/engine.mjs reads this one
CLASSIC = "still-life"
# The models that the page draws with beside it; the weak one answers to guidance in Python alone.
FURTHER = tuple(name for name in MODELS if name not in (CLASSIC, "still-life-weak"))


class TextEncoder(nn.Module):
    """Token ids (B, L) int64 -> states (B, L, D)."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(ids, return_dict=False)[0]


class UNet(nn.Module):
    """x_t (B, 4, 16, 16), timesteps (B,) float32, states (B, L, D) -> what it predicts, (B, 4, 16, 16)."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, states: Tensor) -> Tensor:
        return self.unet(x_t, t, states, return_dict=False)[0]


class StudentUNet(nn.Module):
    """As `UNet`, with what a student is told of guidance beside: told (B, TOLD)."""

    def __init__(self, unet):
        super().__init__()
        self.unet = unet

    def forward(self, x_t: Tensor, t: Tensor, states: Tensor, told: Tensor) -> Tensor:
        return self.unet(x_t, t, states, timestep_cond=told, return_dict=False)[0]


class Decoder(nn.Module):
    """Latents (B, 4, 16, 16) as the U-Net has them -> pictures (B, 3, 64, 64) in [0, 1]."""

    def __init__(self, vae):
        super().__init__()
        self.vae, self.factor = vae, vae.config.scaling_factor

    def forward(self, latents: Tensor) -> Tensor:
        return (self.vae.decode(latents / self.factor, return_dict=False)[0] / 2 + 0.5).clamp(0, 1)


def to_onnx(module: nn.Module, inputs: dict[str, Tensor], output: str) -> onnx.ModelProto:
    """The module as an ONNX graph in float32 with a free batch size."""
    batch = torch.export.Dim("batch", min=1, max=64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=18,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            verbose=False,
        )
    return program.model_proto


def with_stored_weights(model: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """The same graph with its large float32 constants stored in fewer bits, each followed by what makes it float32.

    kind: "float16" casts; "int8" keeps each output channel in 255 even steps, symmetric about 0, with one float32
    scale a channel. The runtime does the casts and products once, when the session is made.
    """
    if kind not in STORAGE:
        raise ValueError(allowed("kind", kind, f"one of {', '.join(STORAGE)}"))
    graph, made, kept = model.graph, [], []
    columns = {
        n.input[1]: n for n in graph.node if n.op_type == "MatMul"
    }  # x W: the channels are W's columns
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if kind == "float32" or tensor.data_type != TensorProto.FLOAT or array.size <= SMALL:
            kept.append(tensor)
            continue
        name = tensor.name
        if kind == "float16" or array.ndim < 2:
            kept.append(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
            made.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
            continue
        axis = array.ndim - 1 if name in columns else 0
        others = tuple(k for k in range(array.ndim) if k != axis)
        scale = np.abs(array).max(axis=others, keepdims=True).clip(1e-12) / 127
        kept.append(numpy_helper.from_array(np.round(array / scale).astype(np.int8), f"{name}_steps"))
        kept.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
        made.append(helper.make_node("Cast", [f"{name}_steps"], [f"{name}_whole"], to=TensorProto.FLOAT))
        made.append(helper.make_node("Mul", [f"{name}_whole", f"{name}_scale"], [name]))
    nodes = [*made, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    del graph.value_info[:]  # only shapes of what is in between: a runtime infers them
    for node in graph.node:
        del node.metadata_props[:]  # where torch found the operation
        node.doc_string = ""
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    return model


def graphs(storage: Mapping[str, str] = HALF) -> dict[str, onnx.ModelProto]:
    """The classic's three graphs by name. storage: how each keeps its weights, one of STORAGE."""
    model = load(CLASSIC)
    adapter = model.adapter
    adapter.text_encoder.config._attn_implementation = "eager"
    inputs = {
        "text_encoder": (
            TextEncoder(adapter.text_encoder),
            {"ids": torch.zeros(2, adapter.max_tokens, dtype=torch.int64)},
            "states",
        ),
        "unet": unet_of(model),
        "decoder": (Decoder(adapter.vae), {"latents": torch.zeros(2, *model.latent_shape)}, "pictures"),
    }
    made = {name: to_onnx(*parts) for name, parts in inputs.items()}
    return {name: with_stored_weights(proto, storage[name]) for name, proto in made.items()}


def unet_of(model) -> tuple[nn.Module, dict[str, Tensor], str]:
    """What `to_onnx` needs of a model's U-Net; a student's has one input more."""
    adapter, x = model.adapter, torch.zeros(2, *model.latent_shape)
    states = torch.zeros(2, adapter.max_tokens, adapter.text_encoder.config.hidden_size)
    inputs = {"x_t": x, "t": torch.full((2,), 500.0), "states": states}
    if isinstance(model, Student):
        return StudentUNet(adapter.unet), inputs | {"told": torch.zeros(2, TOLD)}, "output"
    return UNet(adapter.unet), inputs, "output"


def description(model=None) -> dict:
    """What the page has to know of the model (by default Still Life) beside its graphs.

    The noise levels are the model's own, to the last bit of float64; prediction is what its network predicts, by
    diffusers' name, as playground/src/predictions.mjs reads it.
    """
    model = model or load("still-life")
    tokenizer, schedule = model.adapter.tokenizer, model.schedule
    return {
        "latent_shape": list(model.latent_shape),
        "tokens": {
            "length": model.adapter.max_tokens,
            "start": tokenizer.bos_token_id,
            "end": tokenizer.eos_token_id,
            "pad": tokenizer.pad_token_id,
            "words": {word: tokenizer(word).input_ids[1] for word in WORDS},
        },
        "attributes": {name: list(values) for name, values in ATTRIBUTES.items()},
        "prediction": model.adapter.predicts.name,
        "schedule": levels(schedule),
    }


def further(model) -> dict:
    """What the page has to know of a model that shares text encoder and decoder with the classic, beside its U-Net.

    told, of a student alone: how playground/src/told.mjs makes the U-Net's input of the same name. Its last `width`
    numbers are a sum of the negative prompt's states, which the classic's graph of the text encoder gives already.
    """
    found = {"prediction": model.adapter.predicts.name, "schedule": levels(model.schedule)}
    if isinstance(model, Student):
        found["told"] = {"waves": WAVES, "width": WIDTH, "most": MOST, "steps": list(STEPS)}
    return found


def levels(schedule: NoiseSchedule | FlowSchedule) -> dict:
    """A schedule as playground/src/model-schedule.mjs reads it."""
    visits = {"spacing": schedule.spacing, "steps_offset": schedule.steps_offset}
    if isinstance(schedule, FlowSchedule):
        sizes = {"shift": schedule.shift, "num_train_timesteps": schedule.num_train_timesteps}
        return {"kind": "flow", **sizes, **visits}
    table, final = schedule.alphas_cumprod.tolist(), float(schedule.final_alpha_cumprod)
    return {"kind": "table", "alphas_cumprod": table, "final_alpha_cumprod": final, **visits}


def write(folder: Path, storage: Mapping[str, str] = HALF, others: Mapping | None = None) -> dict:
    """Write the files and the manifest into `folder`, replacing it whole. Returns the manifest.

    others: models by name beside the classic, by default all whose weights are here. Raises FileNotFoundError where the
    runtime is not installed (`npm ci` in playground/).
    """
    wasm, program = RUNTIME / "ort-wasm-simd-threaded.wasm", RUNTIME / "ort.wasm.bundle.min.mjs"
    if not wasm.is_file():
        raise FileNotFoundError(f"{wasm.name} is missing; run `npm ci` in playground/")
    contents = {f"{name}.onnx": proto.SerializeToString() for name, proto in graphs(storage).items()}
    contents["ort.mjs"] = program.read_bytes()
    contents["ort.glue.mjs"] = wasm.with_suffix(".mjs").read_bytes()  # what it imports to start the wasm
    contents["ort.wasm.gz"] = gzip.compress(wasm.read_bytes(), compresslevel=9, mtime=0)
    fresh = folder.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    files = [put(fresh, name, data) for name, data in contents.items()]
    if others is None:
        others = {name: load(name) for name in FURTHER}
    models = {name: write_further(fresh, name, model, storage["unet"]) for name, model in others.items()}
    manifest = {"version": VERSION, "files": files, **description(), "models": models}
    (fresh / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return manifest


def put(folder: Path, name: str, data: bytes) -> dict:
    """Write a file under a name that has its content's hash in it; returns its entry of the manifest."""
    digest = hashlib.sha256(data).hexdigest()
    stem, _, kind = name.partition(".")
    path = f"{stem}-{digest[:12]}.{kind}"
    (folder / path).write_bytes(data)
    return {"name": name, "path": path, "bytes": len(data), "sha256": digest}


def write_further(folder: Path, name: str, model, storage: str = "float16") -> dict:
    """Write the U-Net of a model beside the classic's files; returns the model's entry of the manifest."""
    data = with_stored_weights(to_onnx(*unet_of(model)), storage).SerializeToString()
    return {"files": [put(folder, f"unet-{name}.onnx", data)], **further(model)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--storage", choices=STORAGE, default="float16", help="how the weights are kept")
    options = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    found = write(options.folder, dict.fromkeys(GRAPHS, options.storage))
    by_model = {CLASSIC: found["files"]} | {name: about["files"] for name, about in found["models"].items()}
    for name, files in by_model.items():
        for file in files:
            print(f"{file['path']:48} {file['bytes'] / 1e6:6.2f} MB")
        print(f"{name}: {sum(file['bytes'] for file in files) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
