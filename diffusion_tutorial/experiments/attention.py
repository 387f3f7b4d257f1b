"""Which word drew what: Still Life's cross-attention against the renderer's masks.

    python -m diffusion_tutorial.experiments.attention        makes or completes results/attention.json, about ten
                                                              minutes on one core; --only WORD measures some keys

Where a drawn picture has its object nobody knows for certain, so the masks are known by construction instead: scenes are
rendered, encoded and noised to the levels of a run of 20 steps, and the network is asked at these states, with a caption
that names all six attributes. `pointing` says, for the words of each kind,

- "pointed": the share of the word's own region (object, floor or wall) in the place of the latents where the word weighs
  most, and "inside": the share of the word's weight that lies in the region. Chance is the region's share of the picture;
- "shuffled": the same with the region of another scene of the same shape and size: what a map reaches that knows from the
  caption where such objects mostly are, and nothing of this picture;
- "weight": the share of all attention that the word gets; 1 / 20 if all tokens got the same.

`negatives` asks at the same states with one or two words, of what the scene has and of what it has not: to the network that
is all that a negative prompt is. `run` watches a word in real runs, as a part of the prompt and as the negative. There the
object is where pixels are strong in the colour that was asked for; how well that finds it is counted on rendered scenes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from functools import cache
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .. import metrics
from ..checkpoints import load
from ..checkpoints.attention import Seen, recording, words
from ..guidance import COND, NEG
from ..metrics import Estimate
from ..noise import gaussian
from ..results import RESULTS, Record, read
from ..still_life.evaluate import full_caption
from ..still_life.scenes import ATTRIBUTES, REGIONS, Scenes, masks, render, sample_scenes

N, STEPS, SCALE, CHUNK = 500, 20, 4.0, 50
SEED, NOISE = 970_000, 31  # of the scenes and of what is added to them; training's scenes lie below 900,000
# Kind of word -> its region.
KINDS = {
    "shape": "object",
    "colour": "object",
    "size": "object",
    "material": "object",
    "floor": "floor",
    "floor's colour": "floor",
    "wall": "wall",
    "wall's colour": "wall",
}
MARKS = ("start", "end", "rest")  # tokens that are no words; "rest" is the filling behind the end mark
ASKED = (0, 2, 4, 6, 8, 10, 12, 14, 16, 19)  # steps of a run of STEPS at whose levels the network is asked
APART = (4, 12)  # of these, where layers are read apart
ALONE = 8  # and where it is asked about texts of one thing, and about a word that weighs more
RUN_STEPS = 10  # of the real runs
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0)  # what the text states of one word are multiplied by


def placed(found: dict[str, list[int]], tokens: int) -> dict[str, list[int]]:
    """Kind of word, or of mark -> its tokens, in a caption whose `words` are `found`."""
    names, kinds = [name.split("#")[0] for name in found], {}
    after = [*names[1:], ""]
    for name, behind, places in zip(names, after, found.values(), strict=True):
        if name in ("floor", "wall"):
            kinds[name] = places
        elif behind in ("floor", "wall") and name in ATTRIBUTES[behind]:
            kinds[f"{behind}'s colour"] = places
        else:
            for attribute in ("shape", "colour", "size", "material"):
                if name in ATTRIBUTES[attribute]:
                    kinds[attribute] = places
    last = max(p for places in found.values() for p in places)
    return kinds | {"start": [0], "end": [last + 1], "rest": list(range(last + 2, tokens))}


def cells(regions: Tensor, side: tuple[int, int]) -> Tensor:
    """(B, R, H, W) masks -> (B, R, h, w), the share of each place of a map."""
    return adaptive_avg_pool2d(regions, side)


def pointed(maps: Tensor, region: Tensor) -> Tensor:
    """(B,) the region's share of the place where a map weighs most; maps and region (B, h, w)."""
    at = maps.flatten(1).argmax(1, keepdim=True)
    return region.flatten(1).gather(1, at)[:, 0]


def inside(maps: Tensor, region: Tensor) -> Tensor:
    """(B,) the share of a map's weight that lies in the region; maps and region (B, h, w)."""
    return (maps * region).sum((1, 2)) / maps.sum((1, 2))


def another(labels: Tensor) -> Tensor:
    """(N,) for each scene the next one of the same shape and size; labels (N, 6). A scene without one is its own."""
    found = torch.arange(len(labels))
    groups = labels[:, 0] * len(ATTRIBUTES["size"]) + labels[:, 2]
    for group in groups.unique():
        members = (groups == group).nonzero()[:, 0]
        found[members] = members.roll(-1)
    return found


class World:
    """N scenes, their latents, captions, masks and noises: where everything is, is known."""

    def __init__(self, model, n: int = N, seed: int = SEED):
        self.model, self.scenes = model, sample_scenes(n, seed)
        self.captions = [full_caption(self.scenes, i, seed) for i in range(n)]
        with torch.no_grad():
            self.latents = model.encode(render(self.scenes))
        self.regions = masks(self.scenes)  # (N, 3, 64, 64)
        self.others = self.regions[another(self.scenes.labels)]
        self.noise = gaussian(self.latents.shape, NOISE)

    def __len__(self) -> int:
        return len(self.captions)

    def at(self, alpha_bar: float, rows: slice) -> Tensor:
        """The states of some scenes at a level."""
        return sqrt(alpha_bar) * self.latents[rows] + sqrt(1 - alpha_bar) * self.noise[rows]

    def shares(self) -> dict[str, Estimate]:
        """What part of the picture each region is: what chance points at."""
        return {name: metrics.mean(self.regions[:, k].mean((1, 2))) for k, name in enumerate(REGIONS)}

    @torch.no_grad()
    def ask(self, step: int, texts: Sequence[str], change: Callable | None = None):
        """(rows, Seen) for each chunk of the scenes, asked at a step of a run. change: of the text states."""
        level = self.model.schedule.transitions(STEPS)[step]
        for first in range(0, len(self), CHUNK):
            rows = slice(first, min(first + CHUNK, len(self)))
            states = self.model.encode_text(texts[rows])
            if change is not None:
                states = change(states, rows)
            with recording(self.model) as seen:
                self.model.eps(self.at(level.alpha_bar_t, rows), level.t, states)
            yield rows, seen


def token_maps(seen: Seen, layers: Sequence[str] | None = None) -> Tensor:
    """(B, tokens, h, w) the map of every token, at the finest layer's size."""
    tokens = next(iter(seen.asked[0].weights.values())).shape[-1]
    return torch.stack([seen.map([k], layers=layers) for k in range(tokens)], 1)


def picked(maps: Tensor, places: Sequence[Sequence[int]]) -> Tensor:
    """(B, h, w) of `token_maps` those of picture i's own places[i], added up."""
    return torch.stack([one[list(at)].sum(0) for one, at in zip(maps, places, strict=True)])


def layers_of(seen: Seen) -> dict[str, list[str] | None]:
    """What is read apart: all layers, those of each size, and each one."""
    sizes = sorted(set(seen.layers.values()))
    by_size = {f"{h} x {w}": [n for n, side in seen.layers.items() if side == (h, w)] for h, w in sizes}
    return {"all": None, **by_size, **{name: [name] for name in seen.layers}}


def compared(maps: Tensor, regions: Tensor, others: Tensor, region: str) -> dict[str, Tensor]:
    """The figures of one kind, (B,) each. regions, others: (B, 3, H, W) of the scenes, and of other ones."""
    k = REGIONS.index(region)
    own, other = (cells(r[:, k : k + 1], maps.shape[1:])[:, 0] for r in (regions, others))
    return {
        "pointed": pointed(maps, own),
        "shuffled": pointed(maps, other),
        "inside": inside(maps, own),
        "inside_shuffled": inside(maps, other),
        "weight": maps.mean((1, 2)),
    }


def means(figures: dict[str, Tensor]) -> dict[str, Estimate]:
    """Means with their intervals; and of the pairs, own region minus another scene's."""
    found = {name: metrics.mean(values) for name, values in figures.items()}
    if "shuffled" in figures:
        found["pointed_minus_shuffled"] = metrics.mean(figures["pointed"] - figures["shuffled"])
        found["inside_minus_shuffled"] = metrics.mean(figures["inside"] - figures["inside_shuffled"])
        del found["inside_shuffled"]
    return found


def joined(parts: list[dict]) -> dict:
    """Figures of chunks, put together: {"a": {"b": (B,)}} from a list of such."""
    return {
        kind: {name: torch.cat([part[kind][name] for part in parts]) for name in parts[0][kind]}
        for kind in parts[0]
    }


def pointing(world: World, step: int, apart: bool = False) -> dict:
    """One step: figures by kind of word, and the weight of the marks, over all layers; with `apart`, of each one too."""
    model, shuffled = world.model, world.others
    tokens = model.adapter.max_tokens
    kinds = [placed(words(model, text), tokens) for text in world.captions]
    parts: dict[str, list[dict]] = {}
    for rows, seen in world.ask(step, world.captions):
        for name, layers in layers_of(seen).items() if apart else [("all", None)]:
            found, whole = {}, token_maps(seen, layers)
            for kind, region in KINDS.items():
                maps = picked(whole, [k[kind] for k in kinds[rows]])
                found[kind] = compared(maps, world.regions[rows], shuffled[rows], region)
            for mark in MARKS:
                maps = picked(whole, [k[mark] for k in kinds[rows]])
                found[mark] = {"weight": maps.mean((1, 2))}
            parts.setdefault(name, []).append(found)
    level = model.schedule.transitions(STEPS)[step]
    every = {name: {k: means(v) for k, v in joined(part).items()} for name, part in parts.items()}
    short = {
        name: {kind: {"pointed": v["pointed"]} for kind, v in found.items() if kind in KINDS}
        for name, found in every.items()
        if name != "all"
    }
    return {
        "n": len(world),
        "t": level.t,
        "alpha_bar": level.alpha_bar_t,
        "all": every["all"],
        "layers": short,
    }


# ------------------------------------------------------------------------------------------------------------
# Texts of one thing, as negative prompts are


def alone(attribute: str, value: str) -> tuple[str, str]:
    """(a text that names one value, the word in it that is watched)."""
    if attribute in ("floor", "wall"):
        return f"{value} {attribute}", attribute
    return value, value


def other_values(scenes: Scenes, seed: int = SEED) -> list[dict[str, str]]:
    """For each scene a value of every attribute that it does not have."""
    rng = random.Random(seed)
    return [
        {name: rng.choice([v for v in values if v != scenes.values(i)[name]]) for name, values in ATTRIBUTES.items()}
        for i in range(len(scenes))
    ]  # fmt: skip


def negatives(world: World, step: int) -> dict:
    """One step: what a text of one thing points at, where the scene has the thing and where it has another."""
    model, shuffled, level = world.model, world.others, world.model.schedule.transitions(STEPS)[step]
    absent = other_values(world.scenes)
    found = {"n": len(world), "t": level.t, "alpha_bar": level.alpha_bar_t}
    for attribute in ATTRIBUTES:
        region = attribute if attribute in REGIONS else "object"
        for case in ("present", "absent"):
            values = [world.scenes.values(i) if case == "present" else absent[i] for i in range(len(world))]
            texts, watched = zip(*(alone(attribute, v[attribute]) for v in values), strict=True)
            places = [words(model, text)[word] for text, word in zip(texts, watched, strict=True)]
            parts = []
            for rows, seen in world.ask(step, texts):
                maps = picked(token_maps(seen), places[rows])
                parts.append({"word": compared(maps, world.regions[rows], shuffled[rows], region)})
            found[f"{attribute}, {case}"] = means(joined(parts)["word"])
    return found


# ------------------------------------------------------------------------------------------------------------
# A word that weighs more


def weighted(world: World, step: int, kind: str) -> dict:
    """One step: what a word's own map does when the text states at its place are multiplied by a weight.

    That is the way of prompt weighting in the web interfaces, without their change of the other states.
    """
    model, shuffled = world.model, world.others
    tokens = model.adapter.max_tokens
    places = [placed(words(model, text), tokens)[kind] for text in world.captions]
    found = {"n": len(world)}
    for weight in WEIGHTS:

        def change(states: Tensor, rows: slice, weight=weight) -> Tensor:
            states = states.clone()
            for i, own in enumerate(places[rows]):
                states[i, own] *= weight
            return states

        parts = []
        for rows, seen in world.ask(step, world.captions, change):
            maps = picked(token_maps(seen), places[rows])
            parts.append({"word": compared(maps, world.regions[rows], shuffled[rows], KINDS[kind])})
        found[f"{weight:g}"] = means(joined(parts)["word"])
    return found


# ------------------------------------------------------------------------------------------------------------
# Real runs: the same word as a part of the prompt, and as the negative

PLACE = "on a gray floor in front of a white wall"
# (prompt, its word that is watched, negative): each word is watched as a part of the prompt and as the negative.
RUNS = ((f"a shiny red object {PLACE}", "shiny", "cone"), (f"a red cone {PLACE}", "cone", "shiny"))
CERTAIN = {"floor": "gray", "wall": "white"}
STRONG = 0.25  # red minus the larger of green and blue, of 1: more of it is the object


def strong(pictures: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, H, W) 1 where a pixel is strongly red: the object, where floor is gray and wall is white."""
    return (pictures[:, 0] - pictures[:, 1:].amax(1) > STRONG).float()


def overlap(n: int = 200) -> dict:
    """How well `strong` finds the object in rendered scenes: intersection over union with the renderer's mask."""
    scenes = sample_scenes(n, SEED + 1, fixed={"colour": "red", **CERTAIN})
    found, true = strong(render(scenes)), masks(scenes)[:, 0] > 0.5
    both, either = ((found * true).sum((1, 2)), torch.maximum(found, true.float()).sum((1, 2)))
    return {"n": n, "overlap": metrics.mean(both / either)}


@torch.no_grad()
def run(model, prompt: str, word: str, negative: str, n: int = N) -> dict:
    """n pictures of a prompt and a negative of one word: by step, the figures of a word of each.

    The object is that of the finished picture. Pictures with less than 1% of strong pixels count as having none, and are
    left out; "kept" is how many are not. "shuffled" is the object of another picture of the run.
    """
    watched = {
        "prompt": (COND, words(model, prompt)[word]),
        "negative": (NEG, words(model, negative)[negative]),
    }
    parts: list[list[dict]] = [[] for _ in range(RUN_STEPS)]
    kept = 0
    for first in range(0, n, CHUNK):
        shape = (min(CHUNK, n - first), *model.latent_shape)
        with recording(model) as seen:
            samples = model.sample(
                prompt,
                negative,
                num_inference_steps=RUN_STEPS,
                guidance_scale=SCALE,
                num_images=shape[0],
                latents=gaussian(shape, NOISE + 1, first=first),
                keep_trajectory=False,
            )
        found = strong(samples.images)
        there = found.mean((1, 2)) > 0.01
        kept += int(there.sum())
        regions = found[there, None].expand(-1, len(REGIONS), -1, -1)
        for step in range(RUN_STEPS):
            own = {
                name: compared(seen.map(at, branch, [step])[there], regions, regions.roll(1, 0), "object")
                for name, (branch, at) in watched.items()
            }
            parts[step].append(own)
    short = ("pointed", "shuffled", "inside", "weight")
    steps = [{k: {s: metrics.mean(v[s]) for s in short} for k, v in joined(part).items()} for part in parts]
    return {"n": n, "kept": kept, "prompt": prompt, "word": word, "negative": negative, "steps": steps}


def stored() -> dict:
    """What was measured: key -> figures."""
    return read("attention")["measured"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="measure only the keys that contain this")
    only = parser.parse_args(arguments).only
    record = Record(
        RESULTS / "attention.json",
        "Still Life: where the words of a caption and of a negative prompt attend to, beside the renderer's masks",
        "python -m diffusion_tutorial.experiments.attention",
        n=N,
        steps=STEPS,
        run_steps=RUN_STEPS,
        scale=SCALE,
        seed=SEED,
        noise=NOISE,
        strong=STRONG,
    )
    model = load()
    world = cache(lambda: World(model))
    plan: list[tuple[str, Callable[[], object]]] = [("shares", lambda: world().shares())]
    plan += [(f"pointing, step {k}", lambda k=k: pointing(world(), k, k in APART)) for k in ASKED]
    plan += [("overlap", overlap)]
    plan += [("weighted, floor", lambda: weighted(world(), ALONE, "floor"))]
    plan += [(f"run, {p} / {negative}", lambda a=(p, w, negative): run(model, *a)) for p, w, negative in RUNS]
    plan += [("alone", lambda: negatives(world(), ALONE))]
    for name, function in plan:
        if only in name:
            record.measure(name, function)


if __name__ == "__main__":
    main()
