import math
from dataclasses import replace

import pytest
import torch

from diffusion_tutorial.still_life.scenes import (
    ATTRIBUTES,
    HELD_OUT,
    REGIONS,
    is_held_out,
    masks,
    render,
    sample_scenes,
)


def test_scenes_depend_on_the_seed_alone():
    a, b, c = sample_scenes(8, 5), sample_scenes(8, 5), sample_scenes(8, 6)
    assert torch.equal(a.labels, b.labels) and torch.equal(a.yaw, b.yaw)
    assert not torch.equal(a.yaw, c.yaw)


def test_rendering_is_deterministic_and_does_not_depend_on_the_batch():
    scenes = sample_scenes(11, 3)
    whole = render(scenes)
    assert whole.shape == (11, 3, 64, 64) and whole.min() >= 0 and whole.max() <= 1
    assert torch.equal(whole, render(scenes, chunk=3))
    assert torch.equal(whole[4:5], render(scenes[4:5]))


def test_attributes_are_uniform_over_what_is_allowed():
    labels = sample_scenes(20_000, 1).labels
    assert not is_held_out(labels).any()
    for k, (name, values) in enumerate(ATTRIBUTES.items()):
        share = torch.bincount(labels[:, k], minlength=len(values)) / len(labels)
        # Every shape loses one colour of eight and every colour at most one shape of five, so shapes stay
        # uniform; colours without a held-out pair are a little more frequent: 5/35 against 4/35.
        held = [c for _, c in HELD_OUT]
        expected = (
            torch.tensor([(4 if v in held else 5) / 35 for v in values])
            if name == "colour"
            else torch.full((len(values),), 1 / len(values))
        )
        assert (share - expected).abs().max() < 4 * math.sqrt(0.25 / len(labels))


def test_held_out_pairs_can_be_asked_for_and_are_all_met():
    labels = sample_scenes(500, 2, held_out=True).labels
    assert is_held_out(labels).all()
    met = {(ATTRIBUTES["shape"][s], ATTRIBUTES["colour"][c]) for s, c in labels[:, :2].tolist()}
    assert met == set(HELD_OUT)


def test_fixed_attributes_hold():
    scenes = sample_scenes(20, 0, fixed={"shape": "cone", "wall": "blue"})
    assert all(scenes.values(i)["shape"] == "cone" and scenes.values(i)["wall"] == "blue" for i in range(20))


@pytest.mark.parametrize("name", list(ATTRIBUTES))
def test_every_attribute_changes_the_picture_in_its_own_place(name):
    """Change one attribute of one scene: the picture changes, and by more than rounding."""
    scenes = sample_scenes(1, 9, held_out=None)
    k, n = list(ATTRIBUTES).index(name), len(ATTRIBUTES[name])
    before = render(scenes)
    scenes.labels[0, k] = (scenes.labels[0, k] + 1) % n
    change = (render(scenes) - before).abs()
    assert change.amax() > 0.1
    if name == "wall":
        assert change[..., -8:, :].max() == 0  # the foreground is floor
    if name == "floor":
        assert change[..., :6, :].max() == 0  # the top is wall


def test_the_mirror_image_of_a_scene_is_the_scene_with_its_signs_turned():
    """Training doubles its pictures by mirroring; that is exact only if the renderer knows no left and right."""
    from dataclasses import replace

    scenes = sample_scenes(10, 4)
    turned = replace(
        scenes,
        x=-scenes.x,
        yaw=-scenes.yaw,
        camera_azimuth=-scenes.camera_azimuth,
        light_azimuth=-scenes.light_azimuth,
    )
    difference = (render(turned).flip(-1) - render(scenes)).abs()
    assert (
        difference.mean() < 1e-4 and difference.amax(1).gt(0.05).float().mean() < 1e-3
    )  # single grazing rays aside


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(n=0, seed=0), ("n is 0", "1 or more")),
        (dict(n=1, seed=0, fixed={"colour": "beige"}), ("'beige'", "red, orange")),
        (dict(n=1, seed=0, fixed={"hue": "red"}), ("'hue'", "shape, colour")),
        (dict(n=1, seed=0, fixed={"shape": "sphere", "colour": "pink"}), ("fixed", "no such combination")),
    ],
)
def test_bad_scene_arguments_are_named(arguments, words):
    with pytest.raises(ValueError) as error:
        sample_scenes(**arguments)
    assert all(word in str(error.value) for word in words)


def test_bad_render_arguments_are_named():
    with pytest.raises(ValueError, match="samples is 0; allowed: 1 or more"):
        render(sample_scenes(1, 0), samples=0)


def test_masks_are_where_a_colour_shows():
    """Against pictures alone: a matte object's colour changes the pixels of its mask, and no others; so for the wall."""
    scenes = sample_scenes(6, 12, fixed={"material": "matte"})
    shows = masks(scenes, size=32)
    assert (
        shows.shape == (6, 3, 32, 32) and (shows.sum(1) == 1).all() and REGIONS == ("object", "floor", "wall")
    )
    base = render(scenes, size=32)
    for region, column in (("object", 1), ("wall", 5)):
        labels = scenes.labels.clone()
        labels[:, column] = (labels[:, column] + 1) % len(ATTRIBUTES[list(ATTRIBUTES)[column]])
        changed = (render(replace(scenes, labels=labels), size=32) != base).any(1)
        assert changed.equal(shows[:, REGIONS.index(region)] > 0), region


def test_masks_refuse_what_render_refuses():
    with pytest.raises(ValueError, match="size is 0"):
        masks(sample_scenes(1, 0), size=0)
