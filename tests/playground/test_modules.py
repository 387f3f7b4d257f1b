"""The playground's modules against the Python package: vitest, with golden values written on the spot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import family
import golden
import pytest

from diffusion_tutorial import NoiseSchedule, load
from diffusion_tutorial.predictions import prediction
from diffusion_tutorial.schedules import FlowSchedule
from diffusion_tutorial.still_life.models import MODELS

PLAYGROUND = Path(__file__).resolve().parents[2] / "playground"
MANIFEST = PLAYGROUND / "build" / "manifest.json"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def values(tmp_path_factory) -> Path:
    if not MANIFEST.is_file():
        pytest.fail("the model is not exported: run `make model`")
    file = tmp_path_factory.mktemp("golden") / "golden.json"
    found = {
        "samplers": golden.samplers(),
        "walks": golden.walks(),
        "flow_walks": golden.flow_walks(),
        "plane": golden.plane(),
        "boards": golden.boards(),
        "schedules": golden.schedules(),
        "predictions": golden.predictions(),
        "rules": golden.rules(),
        "words": golden.words(),
        "tokens": json.loads(MANIFEST.read_text())["tokens"],
        "pictures": golden.pictures(),
        "told": family.tellings(),
        "refusals": family.refusals(),
        "family": family.pictures(),
    }
    file.write_text(json.dumps(found))
    return file


@pytest.mark.parametrize("name", ["modules", "stage", "parts", "engine", "family"])
def test_the_browser_gives_what_python_gives(values, name):
    """engine: the whole model on WebAssembly in Node, seven runs, final latents within 1e-3 and pictures within 3/255;
    family: the same of the models beside the classic."""
    environment = {
        **os.environ,
        "GOLDEN": str(values),
        "FAMILY": str(MANIFEST.parent),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    program = PLAYGROUND / "node_modules" / "vitest" / "vitest.mjs"
    done = subprocess.run(
        [str(BIN / "node"), str(program), "run", f"test/{name}.test.mjs"],
        cwd=PLAYGROUND,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def test_the_manifest_says_what_the_model_is():
    """The levels to the last bit, and what the network predicts, read from the model and not written down again."""
    model = load()
    manifest = json.loads(MANIFEST.read_text())
    assert {key: manifest[key] for key in golden.export.description(model)} == golden.export.description(
        model
    )
    assert manifest["schedule"]["alphas_cumprod"] == model.schedule.alphas_cumprod.tolist()
    assert manifest["prediction"] == "epsilon"
    model.schedule, model.adapter.predicts = NoiseSchedule.cosine(spacing="trailing"), prediction("flow")
    other = golden.export.description(model)
    model.schedule = FlowSchedule(shift=3.0)
    flow = {
        "kind": "flow",
        "shift": 3.0,
        "num_train_timesteps": 1000,
        "spacing": "trailing",
        "steps_offset": 1,
    }
    assert golden.export.description(model)["schedule"] == flow
    assert other["prediction"] == "flow" and other["schedule"]["spacing"] == "trailing"
    assert other["schedule"]["alphas_cumprod"] == NoiseSchedule.cosine().alphas_cumprod.tolist()


def test_the_manifest_says_what_the_further_models_are():
    """Each model whose weights are here is exported, with its own levels; a student with what it is told and takes."""
    manifest = json.loads(MANIFEST.read_text())
    assert set(manifest["models"]) == set(MODELS) - {golden.export.CLASSIC, "still-life-weak"}
    for name, about in manifest["models"].items():
        assert {key: value for key, value in about.items() if key != "files"} == golden.export.further(
            load(name)
        )
    built = golden.export.further(load(family.FAST))
    assert built["told"] == {"waves": 16, "width": 128, "most": 6.0, "steps": [1, 2, 4]}
    assert built["prediction"] == "flow" and built["schedule"]["shift"] == 2.0


def test_the_manifest_is_true():
    import hashlib

    manifest = json.loads(MANIFEST.read_text())
    first, total = len(manifest["files"]), 0
    further = [file for model in manifest["models"].values() for file in model["files"]]
    for k, file in enumerate([*manifest["files"], *further]):
        data = (MANIFEST.parent / file["path"]).read_bytes()
        assert len(data) == file["bytes"] and hashlib.sha256(data).hexdigest() == file["sha256"]
        assert file["sha256"][:12] in file["path"]
        total += len(data) if k < first else 0
    assert total <= 14e6, f"the first load is {total / 1e6:.2f} MB"
