"""What storing the weights in fewer bits costs: `python scripts/playground_storage.py` completes
diffusion_tutorial/results/playground_storage.json.

The page's U-Net runs here as the graph that the page gets, through onnxruntime, with its weights stored in float32,
float16 and int8 (a scale per output channel). N captions that name all six attributes, the same noise for each kind:
does the judge still find what was said, and how far are the pictures from those of float32?
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor, nn

from diffusion_tutorial import load, metrics
from diffusion_tutorial.results import RESULTS, Record
from diffusion_tutorial.still_life.captions import parse
from diffusion_tutorial.still_life.evaluate import draw, full_caption
from diffusion_tutorial.still_life.judge import Judge
from diffusion_tutorial.still_life.scenes import sample_scenes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "playground"))
import export

N, STEPS, SCALE, SEED = 500, 20, 4.0, 930_000


class Graph(nn.Module):
    """An exported U-Net in the place of the shipped one."""

    def __init__(self, unet: nn.Module, data: bytes):
        super().__init__()
        self.config, self.add_embedding = unet.config, None
        self.anchor = nn.Parameter(torch.zeros(()))  # says where the model is, and in which precision
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", 1))
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    @property
    def dtype(self) -> torch.dtype:
        return self.anchor.dtype

    @property
    def device(self) -> torch.device:
        return self.anchor.device

    def forward(self, x: Tensor, t: Tensor, encoder_hidden_states: Tensor, return_dict: bool = False):
        t = torch.as_tensor(t, dtype=torch.float32).expand(len(x))
        feeds = {"x_t": x, "t": t, "states": encoder_hidden_states}
        (output,) = self.session.run(None, {name: value.numpy() for name, value in feeds.items()})
        return (torch.from_numpy(output),)


def differences(one: Tensor, other: Tensor) -> dict:
    """Of two stacks of pictures as a screen has them, in 255ths: (N, 3, H, W) in [0, 1]."""
    apart = ((one * 255).round() - (other * 255).round()).abs().flatten(1)
    most = apart.amax(1)
    return {
        "mean": metrics.mean(apart.mean(1)),
        "largest": float(most.max()),
        "median_of_largest": float(most.median()),
        "share_within_3": metrics.rate((most <= 3).long(), 1),
    }


def main() -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    record = Record(
        RESULTS / "playground_storage.json",
        "How the browser's model fares with its U-Net stored in fewer bits: the judge's adherence for captions that "
        "name six attributes, and the pictures' distance from those of float32 weights",
        "python scripts/playground_storage.py",
        n=N,
        steps=STEPS,
        guidance_scale=SCALE,
        seed=SEED,
        sampler="ddim",
    )
    scenes = sample_scenes(N, SEED)
    captions = [full_caption(scenes, i, SEED) for i in range(N)]
    said, judge = [parse(text) for text in captions], Judge.load()
    reference: list[Tensor] = []  # the pictures of float32

    def measure(kind: str) -> dict:
        model = load("still-life")
        data = export.graphs(export.HALF | {"unet": kind})["unet"].SerializeToString()
        model.adapter.unet = Graph(model.adapter.unet, data)
        pictures = draw(model, captions, STEPS, SCALE, SEED, chunk=25)
        read = judge.read(pictures)
        right, whole = metrics.adherence(read, said), metrics.all_right(read, said)
        found = {"unet_bytes": len(data), "adherence": right, "all_right": whole}
        if kind == "float32":
            reference.append(pictures)
            return found
        return found | differences(pictures, reference[0])

    if all(kind in record for kind in export.STORAGE):
        return
    if "float32" in record:
        measure("float32")  # the others need its pictures
    for kind in export.STORAGE:
        print(kind, record.measure(kind, lambda kind=kind: measure(kind)), flush=True)


if __name__ == "__main__":
    main()
