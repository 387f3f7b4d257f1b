"""The model cards, written from what was measured.

python -m diffusion_tutorial.training.card                            the classic's
python -m diffusion_tutorial.training.card --model still-life-flow    the flow's
python -m diffusion_tutorial.training.card --model still-life-fast    the student's
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors import safe_open

from diffusion_tutorial.results import RESULTS, read
from diffusion_tutorial.still_life.evaluate import bars, frechet_ratio
from diffusion_tutorial.still_life.models import KNOWN
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


def _judged(got: dict, wanted: dict) -> list[tuple[str, float, str, float, bool]]:
    """(what, measured, "≥" or "≤", bar, met?) for each bar."""
    return [
        (what, got[key], sign, bar, got[key] >= bar if sign == "≥" else got[key] <= bar)
        for key, (what, sign, bar) in wanted.items()
    ]


def _bars_table(rows: list[tuple[str, float, str, float, bool]]) -> str:
    cells = [
        [what, f"{got:.4g}", f"{sign} {bar:g}", "met" if met else "**not met**"]
        for what, got, sign, bar, met in rows
    ]
    return _table(["bar", "measured", "wanted", ""], cells)


def classifier_rows(accuracy: dict) -> list[list[str]]:
    """Timestep, noisy classifier, clean classifier: mean accuracy over the attributes, from results/guidance.json."""
    pairs = zip(accuracy["noisy"], accuracy["clean"], strict=True)
    return [[str(a["t"]), _interval(a["mean"]), _interval(b["mean"])] for a, b in pairs]


def cause(starts: dict, leaks: dict) -> str:
    """Why unsaid walls and floors stray, and what to do: Markdown, from "measured" of results/start.json and of
    results/few_steps.json."""
    rows, marginal = [], leaks["leak, marginal"]

    def walk(prompt: str, eta: int, spacing: str) -> dict:
        for n in (2000, 500):
            if f"unsaid, {prompt}, noise, eta {eta}, {spacing}, n {n}" in starts:
                return starts[f"unsaid, {prompt}, noise, eta {eta}, {spacing}, n {n}"]
        return {"n": 2000, **leaks["leak, noise" + (", trailing" if spacing == "trailing" else "")]}

    for eta, spacing in ((0, "leading"), (0, "trailing"), (1, "trailing")):
        parts = [starts[f"exact, noise, eta {eta}, {spacing}, 20 steps"]]
        parts += [walk(prompt, eta, spacing) for prompt in ("a sphere", "a red object")]
        cells = [
            f"{part['shares']['wall'][0]:.3f}; {_interval(part['total_variation']['wall'], 2)}; {part['n']}"
            for part in parts
        ]
        rows.append([f"eta {eta}, {spacing}", *cells])
    head = ["from pure noise, 20 steps", "denoiser without error", "“a sphere”", "“a red object”"]
    right = marginal["total_variation"]
    return f"""The cause is the noise levels, which are those of Stable Diffusion 1. They end at alpha_bar =
0.0047, and the usual "leading" spacing begins at 0.0082: at the first step the network expects a trace of a picture,
above all of the average one, and is given pure noise. A denoiser without any error, that of 24 Gaussians fitted to the
latents of spheres, shows the same walls from the same start, so longer training on these levels would not mend them.
Share of white walls, which should be 0.25; total variation of the wall; number of pictures:

{_table(head, rows)}

From starts that hold the trace, the network's own walls are {_interval(right["wall"], 2)} and floors {
        _interval(right["floor"], 2)
    } from the
law ("a sphere", leading). What is left of colours, {
        _interval(right["colour"], 2)
    }, is the network's own; more than half of it is pink
spheres, a pair that training never showed. For nothing: `spacing="trailing"` and `eta=1.0`. In training: a schedule with
zero terminal SNR, or a flow."""


def card(folder: Path, found: dict, stages: list[dict], classifiers: dict, starts: dict, leaks: dict) -> str:
    """Markdown for folder/README.md.

    found: evaluation in JSON form; stages: the lines of stages.jsonl; classifiers: "accuracy" of
    results/guidance.json; starts and leaks: see `cause`.
    """
    ratio = frechet_ratio(found)
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

{_bars_table(bars(found))}

Measured on {found["date"]} by `{found["command"]}`
on scenes that training never saw. Verdicts are those of the point estimates. The last ratio is that of the best of {
        len(found["frechet"]["by_scale"])
    } guidance
scales, and its own interval is [{ratio.low:.2f}, {ratio.high:.2f}]: it is neither met nor missed for certain.
Brackets hold 95% intervals. The judge reads every attribute off a picture; it was trained on
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

### Why walls and floors stray

{cause(starts, leaks)}

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


FLOW_BARS = {
    "plain": ("Scale 1: total variation of unsaid walls and floors, worst", "≤", 0.05),
    "worst": ("Scale 1: total variation of the unsaid, worst", "≤", 0.10),
    "frechet": ("Fréchet excess over reconstructions, best scale", "≤", 3.0),
    "frechet 1": ("Fréchet excess over reconstructions, scale 1", "≤", 5.0),
    "8 steps": ("Full captions, scale 2, 8 steps: all six right", "≥", 0.99),
    "4 steps": ("Full captions, scale 2, 4 steps: all six right", "≥", 0.99),
    "held out": ("Held-out pairs, scale 2, 20 steps: all six right", "≥", 0.97),
}


def flow_bars(measured: dict) -> list[tuple[str, float, str, float, bool]]:
    """(what, measured, "≥" or "≤", bar, met?) for each bar of the flow, from what `experiments.flow` measures."""
    unsaid = [part for name, part in measured.items() if name.startswith("unsaid")]
    variation = [(name, e["value"]) for part in unsaid for name, e in part["total_variation"].items()]
    excess = {scale: e["excess"]["value"] for scale, e in measured["frechet"]["by_scale"].items()}
    got = {
        "plain": max(value for name, value in variation if name in ("wall", "floor")),
        "worst": max(value for _, value in variation),
        "frechet": min(excess.values()),
        "frechet 1": excess["1"],
        "8 steps": measured["all right, 8 steps"]["all_right"]["value"],
        "4 steps": measured["all right, 4 steps"]["all_right"]["value"],
        "held out": measured["all right, held out"]["all_right"]["value"],
    }
    return _judged(got, FLOW_BARS)


def flow_card(folder: Path, found: dict, stages: list[dict]) -> str:
    """Markdown for the README.md of a folder that holds a flow.

    found: results/still_life_flow.json; stages: the lines of stages.jsonl.
    """
    measured = found["measured"]
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    stage = [s for s in stages if s["stage"] == "flow"][-1]
    unsaid = [
        [
            f"“{part['prompt']}”",
            name,
            f"{_interval(part['total_variation'][name])} ({part['floor'][name]:.3f})",
            _interval(part["entropy"][name], 2),
        ]
        for key, part in measured.items()
        if key.startswith("unsaid")
        for name in part["total_variation"]
    ]
    right = [
        [key.removeprefix("all right, "), str(part["n"]), str(part["steps"]), _interval(part["all_right"])]
        for key, part in measured.items()
        if key.startswith("all right")
    ]
    f = measured["frechet"]
    distances = [
        ["other real pictures (the floor)", _interval(f["real"]), ""],
        ["reconstructions by the autoencoder", _interval(f["reconstructions"]), "0"],
        *(
            [f"samples at scale {scale}", _interval(e["distance"]), _interval(e["excess"])]
            for scale, e in f["by_scale"].items()
        ),
    ]
    first = next(part for key, part in measured.items() if key.startswith("unsaid"))
    plan = stage["schedule"]
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---

# Still Life, the flow

The U-Net of Still Life, trained on to predict the velocity of a straight line from picture to noise, as Stable
Diffusion 3 and FLUX do. Text encoder, tokenizer and autoencoder are the classic's, in the folder `model` beside this
one. Its start is pure noise by construction.

```python
from diffusion_tutorial import load
model = load("still-life-flow")
model.sample("a large shiny red sphere on a green floor", guidance_scale=2, num_inference_steps=8).pil()[0]
```

diffusers has no pipeline class for a U-Net with such a scheduler; its parts load:

```python
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel

classic = StableDiffusionPipeline.from_pretrained("model", torch_dtype=torch.float32)
unet = UNet2DConditionModel.from_pretrained("{folder.name}/unet", torch_dtype=torch.float32)
scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained("{folder.name}/scheduler")
scheduler.set_timesteps(sigmas=[1 - k / 8 for k in range(8)])
words, empty = classic.encode_prompt("a red cube", "cpu", 1, True)
x = torch.randn(1, 4, 16, 16)
with torch.no_grad():
    for t in scheduler.timesteps:
        cond, uncond = unet(x.repeat(2, 1, 1, 1), t, torch.cat([words, empty])).sample.chunk(2)
        x = scheduler.step(uncond + 2 * (cond - uncond), t, x).prev_sample
    picture = classic.vae.decode(x / classic.vae.config.scaling_factor).sample
```

`SHA256SUMS` lists every file that is loaded; `load` checks them first, and those of the classic. The U-Net has
{parameters(file):,} parameters and takes {file.stat().st_size / 1e6:.1f} MB in fp16.

## How good it is

{_bars_table(flow_bars(measured))}

Measured on {found["date"]} by `{found["command"]}` at commit {
        found["commit"]
    }, on scenes that training never saw.
Brackets hold 95% intervals. Steps are Euler's.

What a caption leaves unsaid should follow the training law. At scale 1, {first["n"]} samples each, {
        first["steps"]
    } steps:
total variation from that law (in brackets behind it, what chance alone would show), and entropy in bits:

{_table(["prompt", "unsaid", "total variation", "entropy"], unsaid)}

Captions that name all six attributes, at scale {measured["all right, 8 steps"]["guidance_scale"]:g}:

{_table(["captions", "N", "steps", "all six right"], right)}

Fréchet distance to {f["n"]} real pictures, in the judge's {f["features"]} features, {f["steps"]} steps:

{_table(["pictures", "distance", "excess over reconstructions"], distances)}

## How it was trained

`make train TRAIN_ARGS="--stages flow --init {
        stage["init"]
    }"`, with `diffusion_tutorial/training/config.yaml` at commit
{stage.get("commit", "unknown")}: {plan["steps"]} steps of {plan["batch"] * stage["processes"]}, seed {
        plan["seed"]
    }, in
{stage["minutes"]} minutes of wall time on {stage["machine"]} that other work shared, on {
        stage["date"]
    }. Mean squared
error of the velocity over the last hundred steps: {stage["final_loss"]:.4f}.

## Limits

Those of Still Life. It knows the same words, shows one object, and its pictures are synthetic.
"""


FAST_BARS = {
    "1": ("Full captions, scale 2, one evaluation: all six right", "≥", 0.97),
    "2": ("Full captions, scale 2, two evaluations: all six right", "≥", 0.98),
    "4": ("Full captions, scale 2, four evaluations: all six right", "≥", 0.99),
    "held out": ("Held-out pairs, scale 2, four evaluations: all six right", "≥", 0.97),
    "frechet 1": ("Fréchet excess over reconstructions, scale 1.5, one evaluation", "≤", 12.0),
    "frechet 4": ("Fréchet excess over reconstructions, scale 1.5, four evaluations", "≤", 3.0),
    "worst": ("Scale 1: total variation of the unsaid, worst, four evaluations", "≤", 0.15),
    "negative": ("Red left of “a sphere” by the negative “red”, less what the flow leaves, worst", "≤", 0.0),
    "lost": ("The same: spheres lost, paired, upper end of the interval, worst", "≤", 0.03),
}


def fast_bars(measured: dict, teachers: dict) -> list[tuple[str, float, str, float, bool]]:
    """As `flow_bars`, for the student, from what `experiments.fast` measures of it and of its teachers."""
    right = {k: measured[f"all right, {k}"]["all_right"]["value"] for k in ("1", "2", "4", "held out")}
    excess = {k: measured[f"curve, still-life-fast, {k}"]["excess"]["value"] for k in ("1", "4")}
    unsaid = [part for key, part in measured.items() if key.startswith("unsaid") and key.endswith(", 4")]
    against = [measured[f"negative, {k}"] for k in ("1", "2", "4")]
    left = teachers["negative, flow"]["red"][1]["value"]
    got = {
        **right,
        "frechet 1": excess["1"],
        "frechet 4": excess["4"],
        "worst": max(e["value"] for part in unsaid for e in part["total_variation"].values()),
        "negative": max(part["red"][1]["value"] - left for part in against),
        "lost": max(part["sphere_lost"]["high"] for part in against),
    }
    return _judged(got, FAST_BARS)


def fast_card(folder: Path, found: dict, stages: list[dict], teachers: dict | None = None) -> str:
    """Markdown for the README.md of a folder that holds a student.

    found: results/still_life_fast.json; teachers: "measured" of results/still_life_teachers.json (default: as stored).
    """
    measured = found["measured"]
    teachers = read("still_life_teachers")["measured"] if teachers is None else teachers
    both = {**measured, **teachers}
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    stage = [s for s in stages if s["stage"] == "fast"][-1]
    plan = stage["schedule"]
    unsaid = [
        [key.removeprefix("unsaid, "), name, _interval(part["total_variation"][name])]
        for key, part in measured.items()
        if key.startswith(("unsaid", "repaired"))
        for name in part["total_variation"]
    ]
    curve = [
        [
            key.removeprefix("curve, ").split(",")[0],
            str(part["steps"]),
            str(part["evaluations"]),
            _interval(part["excess"], 1),
            _interval(part["all_right"]),
        ]
        for key, part in both.items()
        if key.startswith("curve")
    ]
    scale = [
        [
            key.removeprefix("scale "),
            _interval(part["adherence"]),
            f"{sum(e['value'] for e in part['entropy'].values()):.2f}",
        ]
        for key, part in both.items()
        if key.startswith("scale")
    ]
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---

# Still Life, fast

A student of Still Life's flow: one network for one, two or four evaluations, with guidance scale (1 to 6) and negative
prompt as inputs. Text encoder, tokenizer and autoencoder are the classic's, in the folder `model` beside this one.

```python
from diffusion_tutorial import load
model = load("still-life-fast")
model.sample("a large shiny red sphere on a green floor", guidance_scale=2, num_inference_steps=1).pil()[0]
```

Other steps, samplers and rules of guidance are refused. `SHA256SUMS` lists every file that is loaded; `load` checks them
first. The U-Net has {parameters(file):,} parameters and takes {
        file.stat().st_size / 1e6:.1f} MB in fp16. Its config loads in diffusers; the further input is
`timestep_cond`, as `checkpoints/student.py` makes it.

## How good it is

{_bars_table(fast_bars(measured, teachers))}

Measured on {found["date"]} by `{found["command"]}` at commit {
        found["commit"]
    }, on scenes that training never saw.
Brackets hold 95% intervals.

Full captions at scale 1.5, N = 2000 a row. Under guidance a step of the others asks the network twice:

{_table(["model", "steps", "evaluations", "Fréchet excess", "all six right"], curve)}

What a caption leaves unsaid, at scale 1: total variation from the training law. The number behind the prompt is that of
the evaluations; “repaired” has the flow take the first step of four:

{_table(["prompt", "unsaid", "total variation"], unsaid)}

What the scale does, by evaluations: share of said attributes of short prompts that are there,
and bits that “a sphere” leaves open:

{_table(["scale, evaluations", "said and there", "bits"], scale)}

## How it was trained

`make train TRAIN_ARGS="--stages fast --init {
        stage["init"]
    }"`, with `diffusion_tutorial/training/config.yaml` at commit
{stage.get("commit", "unknown")}: the flow draws the pairs, then {plan["steps"]} steps of {
        plan["batch"] * stage["processes"]
    }, seed {plan["seed"]}, in
{stage["minutes"]} minutes of wall time on {stage["machine"]} that other work shared, on {stage["date"]}.

## Limits

Those of Still Life and of its flow, which drew all that it learned from.
"""


def weak_card(folder: Path, found: dict, stages: list[dict]) -> str:
    """Markdown for the README.md of the weak twin's folder; found: results/guidance_continued.json."""
    measured = found["measured"]
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    stage = [s for s in stages if s["stage"] == "weak"][-1]
    plan = stage["schedule"]
    keys = [key for key in measured if key.startswith("errors, weak, ")]
    rows = [
        [key.rpartition(" ")[2], _interval(measured[key]["best scale"], 2), f"{measured[key]['saved']:.1%}"]
        for key in keys
    ]
    return f"""---
license: cc-by-4.0
pipeline_tag: text-to-image
library_name: diffusers
---

# Still Life, the weak twin

A bad version of Still Life: a smaller U-Net, trained from nothing in the same way, for far less. It is there to be
pushed away from (autoguidance), and draws poorly by itself. Text encoder, tokenizer and autoencoder are the classic's, in
the folder `model` beside this one.

```python
from diffusion_tutorial import AutoGuidance, load
model, weak = load(), load("still-life-weak")
model.sample("a large shiny red sphere on a green floor", guidance=AutoGuidance(1.5, weak)).pil()[0]
```

`SHA256SUMS` lists every file that is loaded; `load` checks them first. The U-Net has {parameters(file):,} parameters and
takes {file.stat().st_size / 1e6:.1f} MB in fp16. It loads in diffusers, with the classic's scheduler.

## What it mends

The scale at which the classic's prediction, pushed away from this one's, has the least squared error on noised latents of
fresh scenes, and the share of the error that is gone there. Above 1, autoguidance mends at that timestep:

{_table(["timestep", "best scale", "error saved"], rows)}

Measured on {found["date"]} by `{found["command"]}` at commit {found["commit"]}. Brackets hold 95% intervals.

## How it was trained

`make train TRAIN_ARGS="--stages weak --init {stage["init"]}"`, with `diffusion_tutorial/training/config.yaml` at commit
{stage.get("commit", "unknown")}: {plan["steps"]} steps of {plan["batch"] * stage["processes"]}, seed {plan["seed"]}, in
{stage["minutes"]} minutes of wall time on {stage["machine"]} that other work
shared, on {stage["date"]}.

## Limits

Those of Still Life, and many more: it is bad on purpose.
"""


# What writes each model's card, beside the classic's.
CARDS = {"still-life-flow": flow_card, "still-life-fast": fast_card, "still-life-weak": weak_card}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=KNOWN, default="still-life")
    parser.add_argument("--run", type=Path, default=Path("runs/still-life"))
    parser.add_argument("--folder", type=Path, help="default: where the model ships")
    parser.add_argument("--result", type=Path, help="default: the model's in results/")
    args = parser.parse_args(argv)
    folder = args.folder or KNOWN[args.model].path
    result = args.result or RESULTS / f"{args.model.replace('-', '_')}.json"
    stages = [
        json.loads(line) for line in (args.run / "stages.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    found = json.loads(result.read_text(encoding="utf-8"))
    if args.model in CARDS:
        text = CARDS[args.model](folder, found, stages)
    else:
        starts, leaks = read("start")["measured"], read("few_steps")["measured"]
        text = card(folder, found, stages, read("guidance")["measured"]["accuracy"], starts, leaks)
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
