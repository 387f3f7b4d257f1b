"""The flow's measurements and its card: bars met and not met, and the lines for plain diffusers, which are run."""

import json
import re
import shutil

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffusion_tutorial.experiments import flow
from diffusion_tutorial.metrics import frechet_distance, total_variation
from diffusion_tutorial.results import Record
from diffusion_tutorial.still_life.models import MODELS
from diffusion_tutorial.still_life.scenes import ATTRIBUTES
from diffusion_tutorial.training import card


def estimate(value, spread=0.01):
    return {"value": value, "low": value - spread, "high": value + spread, "n": 2000}


def measured(wall=0.02, colour=0.07, scale_1=4.0, best=2.0, eight=0.995, four=0.992, held_out=0.98):
    """As `flow.measure` stores it."""
    found = {}
    for text, said in (("a sphere", "shape"), ("a red object", "colour")):
        names = [name for name in ATTRIBUTES if name != said]
        values = {"wall": wall, "colour": colour}
        found[f"unsaid, {text}"] = {
            "n": 2000,
            "steps": 20,
            "guidance_scale": 1.0,
            "prompt": text,
            "total_variation": {name: estimate(values.get(name, 0.03)) for name in names},
            "floor": dict.fromkeys(names, 0.015),
            "entropy": {name: estimate(1.5) for name in names},
        }
    for key, value, steps in (
        ("20 steps", 0.999, 20),
        ("8 steps", eight, 8),
        ("4 steps", four, 4),
        ("held out", held_out, 20),
    ):
        found[f"all right, {key}"] = {
            "n": 1000,
            "steps": steps,
            "guidance_scale": 2.0,
            "all_right": estimate(value),
        }
    found["frechet"] = {
        "n": 2000,
        "steps": 20,
        "features": 64,
        "real": estimate(5.0),
        "reconstructions": estimate(6.0),
        "by_scale": {
            "1": {"distance": estimate(6 + scale_1), "excess": estimate(scale_1)},
            "1.5": {"distance": estimate(6 + best), "excess": estimate(best)},
        },
    }
    return found


STAGE = {
    "stage": "flow",
    "schedule": {"steps": 1234, "batch": 64, "seed": 7},
    "processes": 1,
    "final_loss": 0.2345,
    "minutes": 56.7,
    "machine": "a processor, 1 thread(s)",
    "date": "2026-01-02",
    "init": "shipped",
    "commit": "abcdef1234",
}


def test_each_bar_is_met_and_can_be_missed():
    assert all(met for *_, met in card.flow_bars(measured()))
    misses = {
        "wall": 0.06,
        "colour": 0.11,
        "scale_1": 5.1,
        "best": 3.1,
        "eight": 0.98,
        "four": 0.98,
        "held_out": 0.96,
    }
    for k, (name, value) in enumerate(misses.items()):
        met = [row[-1] for row in card.flow_bars(measured(**{name: value}))]
        missed = {0} if name == "wall" else {1} if name == "colour" else {(2, 3)[name == "scale_1"]}
        if k >= 4:
            missed = {k}
        assert {i for i, ok in enumerate(met) if not ok} == missed, name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The classic's own U-Net and a flow's scheduler where a flow would lie, and a card beside them."""
    place = tmp_path_factory.mktemp("flow") / "model_flow"
    shutil.copytree(MODELS["still-life"].path / "unet", place / "unet")
    FlowMatchEulerDiscreteScheduler().save_pretrained(place / "scheduler")
    found = {
        "measured": measured(four=0.9),
        "date": "2026-01-03",
        "command": "measure it",
        "commit": "1234567890",
    }
    (place.parent / "found.json").write_text(json.dumps(found))
    (place.parent / "stages.jsonl").write_text(
        json.dumps({"stage": "judge"}) + "\n" + json.dumps(STAGE) + "\n"
    )
    options = ["--model", "still-life-flow", "--folder", str(place), "--run", str(place.parent)]
    card.main([*options, "--result", str(place.parent / "found.json")])
    return place


def test_the_card_says_what_was_measured_and_how_it_was_trained(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "| Full captions, scale 2, 4 steps: all six right | 0.9 | ≥ 0.99 | **not met** |" in text
    assert "| “a red object” | wall | 0.020 [0.010, 0.030] (0.015) | 1.50 [1.49, 1.51] |" in text
    assert "| samples at scale 1.5 | 8.000 [7.990, 8.010] | 2.000 [1.990, 2.010] |" in text
    assert "1234 steps of 64, seed 7, in\n56.7 minutes" in text and "abcdef1234" in text
    assert "4,445,380 parameters" in text or re.search(r"has\n[\d,]+ parameters", text)
    assert "None" not in text and "nan" not in text


def test_its_lines_for_plain_diffusers_run(folder):
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    (lines,) = [block for block in blocks if "set_timesteps" in block]
    lines = lines.replace('"model"', repr(str(MODELS["still-life"].path)))
    lines = lines.replace('"model_flow/', f'"{folder}/')
    space = {}
    torch.manual_seed(0)
    exec(lines, space)
    assert space["picture"].shape == (1, 3, 64, 64) and space["picture"].isfinite().all()


def test_the_excess_is_a_difference_of_distances_with_the_interval_of_chance():
    rng = torch.Generator().manual_seed(0)
    reference, rebuilt, other = (torch.randn(600, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    found = 0.5 + other
    e = flow.excess(reference, found, rebuilt)
    far, near = (frechet_distance(reference, x, resamples=0).value for x in (found, rebuilt))
    assert e.value == pytest.approx(far - near) and e.low < 1.0 < e.high and e.high - e.low < 0.6
    same = flow.excess(reference, rebuilt, rebuilt)
    assert same.value == 0 and same.low < 0 < same.high


def test_the_cards_walk_is_the_default_of_the_walks_beside_it():
    from diffusion_tutorial.checkpoints import load
    from diffusion_tutorial.still_life.evaluate import diversity, law
    from diffusion_tutorial.still_life.judge import Judge

    model, judge = load("still-life-flow", device="cpu"), Judge.load()
    read = flow.read_by(model, judge, 12)
    card_s = diversity(model, judge, "a sphere", 12, flow.STEPS)["total_variation"]
    for name, found in card_s.items():
        assert total_variation(read[name], law(name, {"shape": "sphere"})) == found
    other = {**read, "wall": (read["wall"] + torch.tensor([1] * 3 + [0] * 9)) % 4}
    assert [flow.changed(read, other)[name].value for name in ("wall", "floor")] == [0.25, 0]


def test_measure_fills_what_is_missing_and_no_more(tmp_path, monkeypatch):
    """On the classic, a handful of pictures: the keys that the card reads, and a second run that measures nothing."""
    from diffusion_tutorial.checkpoints import load
    from diffusion_tutorial.still_life.judge import Judge

    monkeypatch.setattr(flow, "STEPS", 2)
    monkeypatch.setattr(flow, "FEW_STEPS", (2,))
    model, judge = load("still-life", device="cpu"), Judge.load()
    monkeypatch.setattr(flow, "frechet", lambda model, judge, n: {"n": n})
    record = Record(tmp_path / "r.json", "a look", "python", share=0.01)
    flow.measure(model, judge, record, 0.01)
    keys = [
        "unsaid, a sphere",
        "unsaid, a red object",
        "all right, 2 steps",
        "all right, held out",
        "frechet",
    ]
    assert list(json.loads((tmp_path / "r.json").read_text())["measured"]) == keys
    assert record["frechet"] == {"n": 20} and record["unsaid, a sphere"]["n"] == 20
    monkeypatch.setattr(flow, "diversity", lambda *args: pytest.fail("measured again"))
    flow.measure(model, judge, record, 0.01)
