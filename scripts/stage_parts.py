"""The pictures and numbers of Still Life's stage, its parts: `python scripts/stage_parts.py [--check]`.

For each sentence of `SENTENCES` one run is drawn from the shipped weights, and book/images/parts gets three files: a sheet
of what the run expects and holds at some steps, a small one of the four channels of its latents, and a sheet of shades,
one for each token and step, dark where a place looks the token up little. parts.json beside them says where each lies,
which share of attention each token gets, and what was measured of words of its kind. No word for a reader is in it; those
are in book/stages.yml, under still-life. book/_ext/parts_stage.py makes the page of both.

--check draws anew and compares with the files, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffusion_tutorial import load
from diffusion_tutorial.checkpoints.attention import recording, words
from diffusion_tutorial.experiments.attention import ASKED, KINDS, STEPS, placed, stored
from diffusion_tutorial.results import read
from diffusion_tutorial.still_life.captions import parse

OUT = Path(__file__).resolve().parents[1] / "book" / "images" / "parts"
SENTENCES = (
    "a large shiny red sphere on a green floor in front of a white wall",
    "a small matte blue cube on a gray floor in front of a yellow wall",
    "a shiny yellow cone on a blue floor",
    "a red sphere and a blue cube",
)
SEED, SCALE = 7, 4.0
STOPS = ASKED  # steps that are shown: those of the measurement
# Pixels of a picture and of its repeated edge, rows, WebP's quality: of the sheet, and of that of the latents.
SHEET = {"side": 96, "pad": 2, "rows": 2, "quality": 45}
SMALL = {"side": 32, "pad": 1, "rows": 1, "quality": 80}
NEAR = 0.05  # root mean square between a cell and its picture that WebP may cost, of 1
FIRST = {"at": STOPS.index(4), "set": 0}


def tokens_of(model, text: str) -> list[dict]:
    """What the page shows of a sentence, in order: name, number in the vocabulary, kind, places in the encoder's text.

    Names of marks are "start" and "end"; the end mark and its repetitions are one.
    """
    ids = model.adapter.tokenizer(text).input_ids
    found = words(model, text)
    kinds = placed(found, model.adapter.max_tokens)
    of_place = {at: kind for kind, places in kinds.items() if kind in KINDS for at in places}
    last = [*kinds["end"], *kinds["rest"]]
    return [
        {"name": "start", "id": ids[0], "kind": "mark", "places": [0]},
        *(
            {"name": name.split("#")[0], "id": ids[at[0]], "kind": of_place.get(at[0], ""), "places": at}
            for name, at in found.items()
        ),
        {"name": "end", "id": ids[-1], "kind": "mark", "places": last},
    ]


def drawn(model, text: str) -> tuple[list[list[Tensor]], Tensor]:
    """(views of steps of (3, H, W) in [0, 1], maps (tokens, steps, h, w)) of a sentence's run."""
    with recording(model) as seen:
        run = model.sample(text, num_inference_steps=STEPS, guidance_scale=SCALE, seed=SEED).trajectory
    maps = torch.stack(
        [torch.cat([seen.map(one["places"], steps=[k]) for k in STOPS]) for one in tokens_of(model, text)]
    )
    holds = model.decode(torch.cat([run[k].x_t for k in STOPS]))
    expects = model.decode(torch.cat([run[k].x0 for k in STOPS]))
    channels = [tiles(run[k].x_t[0]) for k in STOPS]
    return [list(expects), list(holds), channels], maps


def tiles(latent: Tensor) -> Tensor:
    """(4, h, w) -> (3, 2 h, 2 w) in [0, 1]: the channels as gray squares, 0 in the middle and 3 deviations at the ends."""
    gray = (latent / 6 + 0.5).clamp(0, 1)
    rows = [torch.cat([gray[0], gray[1]], 1), torch.cat([gray[2], gray[3]], 1)]
    return torch.cat(rows, 0).expand(3, -1, -1)


def cell(picture: Tensor, side: int, pad: int) -> np.ndarray:
    """(3, h, w) in [0, 1] -> (side + 2 pad, side + 2 pad, 3) bytes."""
    pixels = Image.fromarray((picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    scaled = np.asarray(pixels.resize((side, side), Image.Resampling.LANCZOS))
    return np.pad(scaled, ((pad, pad), (pad, pad), (0, 0)), mode="edge")


def sheet(views: list[list[Tensor]], form: dict) -> Image.Image:
    """A row a view, a column a step; form: `SHEET` or `SMALL`."""
    rows = [np.concatenate([cell(p, form["side"], form["pad"]) for p in view], 1) for view in views]
    return Image.fromarray(np.concatenate(rows, 0))


def shape(form: dict) -> dict:
    """Where the cells of a sheet lie, for the page."""
    size = form["side"] + 2 * form["pad"]
    return {k: form[k] for k in ("side", "pad")} | {"width": len(STOPS) * size, "height": form["rows"] * size}


def shades(maps: Tensor) -> np.ndarray:
    """(tokens, steps, h, w) -> (tokens h, steps w) bytes: 0 where a map is largest, 255 where it is 0, by map."""
    share = maps / maps.amax((2, 3), keepdim=True)
    dark = ((1 - share) * 255).round().to(torch.uint8)
    return dark.permute(0, 2, 1, 3).reshape(dark.shape[0] * dark.shape[2], -1).numpy()


def shaded(dark: np.ndarray) -> Image.Image:
    """The shades as a picture: black, opaque where a place looks the token up least."""
    return Image.fromarray(np.dstack([np.zeros((*dark.shape, 3), np.uint8), dark]))


def curves() -> dict:
    """Kind of word -> its region, and by step how often its strongest place lies there, and on another scene's."""
    found = [stored()[f"pointing, step {k}"]["all"] for k in STOPS]
    return {
        kind: {
            "region": region,
            **{
                name: [round(one[kind][name]["value"], 3) for one in found]
                for name in ("pointed", "shuffled")
            },
        }
        for kind, region in KINDS.items()
    }


def facts() -> dict:
    """Numbers of the answer, of the curve's title and of the chips, as they are written."""
    measured = stored()
    step = measured["pointing, step 8"]["all"]
    percent = lambda value: f"{100 * value:.0f}%"  # noqa: E731
    names = {"floor": "floor", "colour": "floor's colour"}
    return {
        "n": str(read("attention")["settings"]["n"]),
        "chance": percent(measured["shares"]["floor"]["value"]),
        **{name: percent(step[kind]["pointed"]["value"]) for name, kind in names.items()},
        **{f"{name}Looks": f"{100 * step[kind]['weight']['value']:.0f}%" for name, kind in names.items()},
    }


def entry(model) -> dict:
    """parts.json but for the numbers of the runs, which `sets` has."""
    return {
        "seed": SEED,
        "scale": SCALE,
        "steps": STEPS,
        "stops": list(STOPS),
        "first": FIRST | {"word": next(k for k, t in enumerate(tokens_of(model, SENTENCES[0])) if t["name"] == "floor")},
        "sheet": shape(SHEET),
        "small": shape(SMALL),
        "shares": {name: round(one["value"], 3) for name, one in stored()["shares"].items()},
        "kinds": curves(),
        "facts": facts(),
    }  # fmt: skip


def one_set(model, number: int, maps: Tensor) -> dict:
    text = SENTENCES[number]
    weights = maps.mean((2, 3))
    return {
        "sentence": text,
        "said": parse(text),
        "file": f"still-life-{number + 1}.webp",
        "latents": f"still-life-{number + 1}-latents.webp",
        "shades": f"still-life-{number + 1}-shades.webp",
        "map": list(maps.shape[2:]),
        "tokens": [
            {k: v for k, v in token.items() if k != "places"}
            | {"count": len(token["places"]), "weights": [round(float(w), 3) for w in weights[k]]}
            for k, token in enumerate(tokens_of(model, text))
        ],
    }


def near(path: Path, views: list[list[Tensor]], form: dict) -> float:
    """The largest root mean square between a stored cell and its picture."""
    old, new = (np.asarray(one.convert("RGB"), float) / 255 for one in (Image.open(path), sheet(views, form)))
    if old.shape != new.shape:
        return 1.0
    size = form["side"] + 2 * form["pad"]
    square = ((old - new) ** 2).mean(2)
    return float(np.sqrt(square.reshape(len(views), size, len(STOPS), size).mean((1, 3))).max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, and write nothing")
    check = parser.parse_args().check
    OUT.mkdir(parents=True, exist_ok=True)
    model, sets, wrong = load("still-life"), [], []
    for number, text in enumerate(SENTENCES):
        views, maps = drawn(model, text)
        one = one_set(model, number, maps)
        for key, part, form in (("file", views[:2], SHEET), ("latents", views[2:], SMALL)):
            path = OUT / one[key]
            if not check:
                sheet(part, form).save(path, "WEBP", quality=form["quality"], method=6)
            far = near(path, part, form)
            print(f"{path.name}: {path.stat().st_size:,} bytes, at most {far:.3f} from its pictures")
            wrong += [path.name] if far > NEAR else []
        dark = OUT / one["shades"]
        if not check:
            shaded(shades(maps)).save(dark, "WEBP", lossless=True, quality=100, method=6, exact=True)
        off = np.abs(np.asarray(Image.open(dark))[..., 3].astype(int) - shades(maps)).max()
        print(f"{dark.name}: {dark.stat().st_size:,} bytes, at most {off} of 255 from its maps")
        wrong += [dark.name] if off > 2 else []
        sets.append(one)
    new, file = json.loads(json.dumps(entry(model) | {"sets": sets})), OUT / "parts.json"
    if check:
        wrong += [file.name] if same(json.loads(file.read_text(encoding="utf-8")), new) else []
    else:
        file.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if wrong:
        print(f"not current: {', '.join(wrong)}")
    return 1 if wrong else 0


def same(old, new, at: str = "") -> list[str]:
    """Where two files of numbers differ, by more than the last digit that is written."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        return [place for key in old for place in same(old[key], new[key], f"{at}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [place for k, pair in enumerate(zip(old, new)) for place in same(*pair, f"{at}.{k}")]
    close = isinstance(old, float) and isinstance(new, float) and abs(old - new) <= 0.0015
    return [] if close or old == new else [at]


if __name__ == "__main__":
    sys.exit(main())
