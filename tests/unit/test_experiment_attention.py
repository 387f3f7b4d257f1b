"""The figures of `experiments.attention`, on maps made by hand and on a few scenes, and what it stored."""

import random

import pytest
import torch

from diffusion_tutorial.checkpoints import load
from diffusion_tutorial.checkpoints.attention import words
from diffusion_tutorial.experiments import attention
from diffusion_tutorial.experiments.attention import (
    APART,
    ASKED,
    KINDS,
    MARKS,
    RUN_STEPS,
    RUNS,
    World,
    alone,
    another,
    cells,
    inside,
    means,
    other_values,
    placed,
    pointed,
    strong,
)
from diffusion_tutorial.still_life.captions import caption, parse
from diffusion_tutorial.still_life.evaluate import full_caption
from diffusion_tutorial.still_life.scenes import ATTRIBUTES, REGIONS, masks, render, sample_scenes


@pytest.fixture(scope="module")
def model():
    return load("still-life", device="cpu")


def test_kinds_are_the_captions_words_in_every_wording(model):
    """Against the caption's own tokens: the word at a kind's place is the scene's value of it."""
    scenes, tokenizer = sample_scenes(200, 3), model.adapter.tokenizer
    for i in range(len(scenes)):
        text, values = full_caption(scenes, i, 5), scenes.values(i)
        pieces = tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids)
        found = placed(words(model, text), model.adapter.max_tokens)
        assert set(found) == set(KINDS) | set(MARKS)
        value = {
            "floor": "floor",
            "wall": "wall",
            "floor's colour": values["floor"],
            "wall's colour": values["wall"],
        }
        for kind in KINDS:
            (place,) = found[kind]
            assert pieces[place] == value.get(kind, values.get(kind)) + "</w>", (text, kind)
        assert pieces[found["end"][0]] == "<|endoftext|>" and len(pieces) == found["end"][0] + 1
        assert found["rest"] == list(range(len(pieces), model.adapter.max_tokens))


def test_picked_maps_are_those_of_the_recorder(model):
    world = World(model, 3)
    ((rows, seen),) = world.ask(10, world.captions)
    places = [[1], [2, 5], [0]]
    found = attention.picked(attention.token_maps(seen), places)
    for i, at in enumerate(places):
        torch.testing.assert_close(found[i], seen.map(at)[i])
    assert rows == slice(0, 3)


def test_pointed_and_inside_by_hand():
    maps = torch.tensor([[[0.1, 0.4], [0.3, 0.2]], [[0.7, 0.1], [0.1, 0.1]]])
    region = torch.tensor([[[0.0, 0.5], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]])
    assert pointed(maps, region).tolist() == [0.5, 0.0]
    torch.testing.assert_close(inside(maps, region), torch.tensor([0.5, 0.3]))


def test_chance_is_the_regions_share():
    """A map that is the same everywhere has the region's share inside; random maps point at it that often."""
    regions = cells(masks(sample_scenes(50, 8)), (8, 8))
    for k in range(len(REGIONS)):
        region = regions[:, k]
        share = region.mean((1, 2))
        torch.testing.assert_close(inside(torch.ones_like(region), region), share)
        noise = torch.rand(200, *region.shape, generator=torch.Generator().manual_seed(1))
        hits = torch.stack([pointed(one, region) for one in noise]).mean()
        assert abs(hits - share.mean()) < 0.02


def test_another_scene_has_the_same_shape_and_size():
    labels = sample_scenes(300, 4).labels
    found = another(labels)
    assert (labels[found][:, [0, 2]] == labels[:, [0, 2]]).all()
    assert (found != torch.arange(300)).all() and found.sort().values.equal(torch.arange(300))


def test_texts_of_one_thing_say_what_they_should(model):
    scenes = sample_scenes(40, 6)
    absent = other_values(scenes)
    for i, values in enumerate(absent):
        for attribute, value in values.items():
            text, word = alone(attribute, value)
            assert parse(text) == {attribute: value}
            assert value != scenes.values(i)[attribute] and word in words(model, text)


def test_strong_pixels_are_the_object_in_rendered_scenes():
    found = attention.overlap(12)
    assert found["overlap"].low > 0.8
    blue = render(sample_scenes(8, 3, fixed={"colour": "blue", "floor": "gray", "wall": "white"}))
    assert strong(blue).mean() == 0


def test_figures_of_a_few_scenes_have_their_shapes(model, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 5)
    world = World(model, 8)
    found = attention.pointing(world, 10, apart=True)
    assert found["n"] == 8 and set(found["all"]) == set(KINDS) | set(MARKS)
    assert found["all"]["floor"]["pointed"].value > 0.8 > found["all"]["shape"]["weight"].value
    total = sum(found["all"][kind]["weight"].value for kind in MARKS)
    assert 0 < total < 1 and len(found["layers"]) == 2 + 7
    ones = attention.weighted(world, 10, "floor")["1"]
    assert ones["weight"].value == pytest.approx(found["all"]["floor"]["weight"].value, abs=1e-6)
    few = attention.run(model, *RUNS[0], n=6)
    assert len(few["steps"]) == RUN_STEPS and few["kept"] <= 6


def test_pairs_are_taken_scene_by_scene():
    a, b = torch.tensor([1.0, 0.0, 1.0, 0.0]), torch.tensor([0.9, -0.1, 0.9, -0.1])
    found = means({"pointed": a, "shuffled": b, "inside": a, "inside_shuffled": b, "weight": a})
    assert found["pointed_minus_shuffled"].value == pytest.approx(0.1)
    assert found["pointed_minus_shuffled"].high - found["pointed_minus_shuffled"].low < 1e-6


# --- what was stored


@pytest.fixture(scope="module")
def stored():
    return attention.stored()


def test_everything_was_measured_with_enough_scenes(stored):
    assert [stored[f"pointing, step {k}"]["n"] for k in ASKED] == [attention.N] * len(ASKED)
    assert attention.N >= 500 and stored["overlap"]["overlap"]["low"] > 0.85
    for k in APART:
        assert set(stored[f"pointing, step {k}"]["layers"]) > {"4 x 4", "8 x 8"}
    assert set(stored["alone"]) > {f"{a}, {c}" for a in ATTRIBUTES for c in ("present", "absent")}
    for prompt, _, negative in RUNS:
        assert stored[f"run, {prompt} / {negative}"]["kept"] > 0.9 * attention.N
    assert sum(stored["shares"][name]["value"] for name in REGIONS) == pytest.approx(1, abs=1e-5)


def test_chance_of_the_levels_is_that_of_a_blind_map(stored):
    """At the first step the latents are 0.8% of the state: own region and another's score alike."""
    first = stored["pointing, step 0"]["all"]
    for kind in KINDS:
        assert abs(first[kind]["pointed_minus_shuffled"]["value"]) < 0.06, kind


def test_a_caption_of_all_six_is_what_was_asked():
    rng = random.Random(1)
    assert set(parse(caption(sample_scenes(1, 1).values(0), rng))) == set(ATTRIBUTES)
