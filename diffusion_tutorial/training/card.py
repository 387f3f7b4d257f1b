"""The model card, written from what was measured: `python -m diffusion_tutorial.training.card`."""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from pathlib import Path

from safetensors import safe_open

from diffusion_tutorial.results import read
from diffusion_tutorial.still_life.evaluate import bars
from diffusion_tutorial.still_life.scenes import ATTRIBUTES, HELD_OUT


def _interval(e: dict, digits: int = 3) -> str:
    return f"{e['value']:.{digits}f} [{e['low']:.{digits}f}, {e['high']:.{digits}f}]"


def parameters(file: Path) -> int:
    """How many numbers a safetensors file holds."""
    with safe_open(str(file), "pt") as f:
        total = 0
        for key in f.keys():
            count = 1
            for n in f.get_slice(key).get_shape():
                count *= n
            total += count
    return total


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def classifier_rows(accuracy: dict) -> list[list[str]]:
    """Timestep, noisy classifier, clean classifier: mean accuracy over the attributes, from results/guidance.json."""
    pairs = zip(accuracy["noisy"], accuracy["clean"], strict=True)
    return [[str(a["t"]), _interval(a["mean"]), _interval(b["mean"])] for a, b in pairs]


def card(folder: Path, found: dict, stages: list[dict], classifiers: dict) -> str:
    """Markdown for folder/README.md.

    found: evaluation in JSON form; stages: the lines of stages.jsonl; classifiers: "accuracy" of
    results/guidance.json.
    """
    weights = {
        "text encoder": folder / "text_encoder" / "model.safetensors",
        "U-Net": folder / "unet" / "diffusion_pytorch_model.safetensors",
        "autoencoder": folder / "vae" / "diffusion_pytorch_model.safetensors",
        "judge": folder / "judge.safetensors",
        "classifier on noised latents": folder / "classifier.safetensors",
        "classifier on clean latents": folder / "classifier-clean.safetensors",
    }
    apart = {"README.md", *(file.name for file in weights.values() if file.parent == folder)}
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name not in apart)
    accuracy = [
        [
            name,
            *(
                _interval(found[part]["accuracy"][name])
                for part in ("judge", "autoencoder", "captions", "held_out")
            ),
        ]
        for name in ATTRIBUTES
    ]
    unsaid = [
        [
            f"“{part['prompt']}”",
            name,
            f"{_interval(part['total_variation'][name])} ({part['floor'][name]:.3f})",
            _interval(part["entropy"][name], 2),
        ]
        for part in found["diversity"]
        for name in part["total_variation"]
    ]
    f = found["frechet"]
    distances = [
        ["other real pictures (the floor)", _interval(f["real"])],
        ["reconstructions by the autoencoder", _interval(f["reconstructions"])],
        *([f"samples at scale {scale}", _interval(e)] for scale, e in f["by_scale"].items()),
    ]
    held = ", ".join(f"{colour} {shape}" for shape, colour in HELD_OUT)
    c, h = found["captions"], found["held_out"]
    trained = {s["stage"] for s in stages}
    missing = "" if "decoder" in trained else "The stage `decoder` was not part of this run. "
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---

# Still Life

A text-to-image latent diffusion model in the layout of Stable Diffusion 1, small enough for a browser. It paints one
object on a floor before a wall, 64x64 pixels, from captions such as “a large shiny red sphere on a green floor”.
Everything in a picture is known by construction, so what the model does can be counted. It is made for teaching.

```python
from diffusion_tutorial import load
load().sample("a large shiny red sphere on a green floor").pil()[0]
```

The folder also loads in `diffusers.StableDiffusionPipeline.from_pretrained`. `SHA256SUMS` lists every file that is
loaded; `load` checks them first.

## Size

{_table(["part", "parameters"], [[name, f"{parameters(file):,}"] for name, file in weights.items()])}

The diffusers folder takes {size / 1e6:.1f} MB, weights in fp16.

## How good it is

{
        _table(
            ["bar", "measured", "wanted", ""],
            [
                [what, f"{got:.4g}", f"{sign} {bar:g}", "met" if met else "**not met**"]
                for what, got, sign, bar, met in bars(found)
            ],
        )
    }

Measured on {found["date"]} by `python -m diffusion_tutorial.still_life.evaluate` on scenes
that training never saw. Brackets hold 95% intervals. The judge reads every attribute off a picture; it was trained on
clean renderings alone.

Accuracy of the judge's reading: on {found["judge"]["n"]} clean pictures, on {
        found["autoencoder"]["n"]
    } reconstructions,
on {c["n"]} samples from captions that name all six attributes (scale {c["guidance_scale"]:g}, {
        c["steps"]
    } DDIM steps), and
on {h["n"]} samples of the pairs that training never showed ({held}):

{_table(["attribute", "clean", "reconstructed", "sampled", "sampled, held-out pair"], accuracy)}

All six right: {_interval(c["all_right"])}; with a held-out pair {_interval(h["all_right"])}.
Peak signal-to-noise ratio of the autoencoder: {
        _interval(found["autoencoder"]["psnr"], 2)
    } dB, mean over pictures.

What a caption leaves unsaid should follow the training law. At scale 1, {
        found["diversity"][0]["n"]
    } samples each: total
variation from that law (in brackets behind it, what chance alone would show), and entropy in bits:

{_table(["prompt", "unsaid", "total variation", "entropy"], unsaid)}

Fréchet distance to {f["n"]} real pictures, in the judge's {f["features"]} features, {f["steps"]} steps:

{_table(["pictures", "distance"], distances)}

## The classifiers

They read the attributes off a latent, for classifier guidance: one was trained at every noise level, the other on
latents without noise. Their mean accuracy over the six attributes, on {
        classifiers["noisy"][0]["mean"]["n"]
    } fresh scenes, by the timestep of
the noise:

{_table(["t", "trained on noised latents", "trained on clean latents"], classifier_rows(classifiers))}

## How it was trained

`make train`, that is `accelerate launch -m diffusion_tutorial.training`, with `diffusion_tutorial/training/config.yaml`:

{
        _table(
            ["stage", "from", "steps", "batch", "seed", "minutes", "machine", "date"],
            [
                [
                    s["stage"],
                    s["init"],
                    str(s["schedule"]["steps"]),
                    str(s["schedule"]["batch"] * s["processes"]),
                    str(s["schedule"]["seed"]),
                    str(s["minutes"]),
                    s["machine"],
                    s["date"],
                ]
                for s in stages
            ],
        )
    }

{missing}Minutes are wall time on cores that other
work shared. Training pictures and their mirror images were rendered by the
package; no other data was used.

## Limits

It knows {
        sum(len(v) for v in ATTRIBUTES.values())
    } attribute values and the words around them; other words are refused.
One object, one camera height, no counting, no relations. The pictures are synthetic and show no people.
"""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/still-life"))
    parser.add_argument("--folder", type=Path, default=files("diffusion_tutorial.still_life") / "model")
    parser.add_argument(
        "--result", type=Path, default=files("diffusion_tutorial") / "results" / "still_life.json"
    )
    args = parser.parse_args(argv)
    stages = [
        json.loads(line) for line in (args.run / "stages.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    found = json.loads(Path(args.result).read_text(encoding="utf-8"))
    folder, classifiers = Path(str(args.folder)), read("guidance")["measured"]["accuracy"]
    (folder / "README.md").write_text(card(folder, found, stages, classifiers), encoding="utf-8")


if __name__ == "__main__":
    main()
