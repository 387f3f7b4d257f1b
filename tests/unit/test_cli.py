"""The command line: files it writes, and that a bad argument writes none, in one line, with exit status 2."""

import subprocess
import sys

import pytest
from PIL import Image

from diffusion_tutorial import cli
from diffusion_tutorial.checkpoints import random_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    random_pipeline(folder=folder)
    return str(folder)


@pytest.fixture
def run(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*args, model=model):
        status = cli.main([*map(str, args), *(["--model", model, "--device", "cpu"] if model else [])])
        out, err = capsys.readouterr()
        return status, out, err, sorted(p.name for p in tmp_path.iterdir())

    return call


def sample(run, *args, **kwargs):
    return run("sample", "red", "--steps", 2, *args, **kwargs)


def test_a_picture(run, tmp_path):
    status, out, err, files = sample(run, "-o", "out.png")
    assert (status, out.strip(), err, files) == (0, "out.png", "", ["out.png"])
    with Image.open("out.png") as picture:
        assert picture.size == (32, 32) and picture.text["Description"] == "red"


def test_it_is_what_sample_gives(run, model):
    from diffusion_tutorial.checkpoints import load

    sample(
        run, "-o", "out.png", "--seed", 7, "--negative-prompt", "blue", "--guidance-scale", 2, "--eta", 0.5
    )
    expected = load(model, device="cpu").sample("red", "blue", 2, 2.0, eta=0.5, seed=7).pil()[0]
    assert list(Image.open("out.png").getdata()) == list(expected.getdata())


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_several_pictures_and_kinds_of_file(run, suffix):
    status, _, _, files = sample(run, "-o", f"out.{suffix}", "--num-images", 3)
    assert status == 0 and files == [f"out.{suffix}"]
    assert Image.open(f"out.{suffix}").size == (2 * 64 + 4, 2 * 64 + 4)


def test_a_grid(run):
    status, _, err, files = sample(run, "-o", "grid.png", "--grid", "steps=1,2", "guidance-scale=1,2,4")
    assert (status, err, files) == (0, "", ["grid.png"])
    width, height = Image.open("grid.png").size
    assert width > 3 * 64 and height > 2 * 64


def test_a_trajectory(run):
    status, _, _, files = run("sample", "red", "--steps", 3, "-o", "run.webp", "--trajectory")
    assert status == 0 and files == ["run.webp"]
    with Image.open("run.webp") as film:
        assert film.is_animated and film.n_frames == 4


def test_an_existing_file_is_replaced_whole_or_kept(run, tmp_path, monkeypatch):
    (tmp_path / "out.png").write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    status, _, err, files = sample(run, "-o", "out.png")
    assert status == 2 and "disk full" in err and files == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"old"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert sample(run, "-o", "out.png")[0] == 0
    Image.open(tmp_path / "out.png").verify()


def test_a_warning_is_shown_and_the_file_written(run):
    args = ("-o", "out.png", "--guidance-scale", 1, "--negative-prompt", "blue")
    status, _, err, files = sample(run, *args)
    assert status == 0 and files == ["out.png"]
    assert err.startswith("warning: negative_prompt has no effect") and err.count("\n") == 1


def test_a_text_that_is_cut_is_shown_and_the_file_written(run):
    status, _, err, files = sample(run, "-o", "out.png", "--negative-prompt", "x" * 80)
    assert status == 0 and files == ["out.png"]
    assert err.startswith("warning: negative_prompt is 'xxx") and "does not see: 'xxxxx'" in err


BAD = [
    (["sample", "", "-o", "x.png"], "prompt is empty; allowed"),
    (
        ["sample", "red", "--steps", "0", "-o", "x.png"],
        "--steps: num_inference_steps is 0; allowed: .* 1 to 1000",
    ),
    (["sample", "red", "--steps", "1001", "-o", "x.png"], "--steps: num_inference_steps is 1001"),
    (["sample", "red", "--steps", "many", "-o", "x.png"], "argument --steps: invalid int value: 'many'"),
    (["sample", "red", "--eta", "1.5", "-o", "x.png"], "--eta: eta is 1.5; allowed: a number from 0 to 1"),
    (["sample", "red", "--eta", "-1", "-o", "x.png"], "--eta: eta is -1"),
    (["sample", "red", "--guidance-scale", "nan", "-o", "x.png"], "--guidance-scale: guidance_scale is nan"),
    (["sample", "red", "--guidance-scale", "inf", "-o", "x.png"], "guidance_scale is inf; allowed: a finite"),
    (
        ["sample", "red", "--sampler", "magic", "-o", "x.png"],
        "--sampler: sampler is 'magic'; allowed: 'ddpm'",
    ),
    (["sample", "red", "--seed", "-1", "-o", "x.png"], "--seed: seed is -1; allowed"),
    (["sample", "red", "--num-images", "0", "-o", "x.png"], "--num-images: num_images is 0"),
    (["sample", "red", "--scale", "0", "-o", "x.png"], "--scale is 0; allowed: 1 to 32"),
    (["sample", "red", "-o", "x.bmp"], r"--output is 'x.bmp'; allowed: a file name that ends in .png"),
    (
        ["sample", "red", "-o", "none/x.png"],
        "--output is 'none/x.png'; allowed: a file in a folder that exists",
    ),
    (
        ["sample", "red", "-o", "x.png", "--trajectory"],
        "--output is 'x.png'; allowed: .*.webp with --trajectory",
    ),
    (
        ["sample", "red", "-o", "x.png", "--grid", "steps=1,2", "steps=3"],
        "--grid is .*two different parameters",
    ),
    (["sample", "red", "-o", "x.png", "--grid", "steps=1", "hue=3"], "--grid is 'hue=3'; allowed: NAME=V1"),
    (["sample", "red", "-o", "x.png", "--grid", "steps=1,b", "eta=0"], "--grid is 'steps=1,b'; allowed"),
    (["sample", "red", "-o", "x.png", "--grid", "steps=1,0", "eta=0"], "--steps: num_inference_steps is 0"),
    (["sample", "red", "-o", "x.png", "--grid", "steps=1"], "argument --grid: expected 2 arguments"),
    (["sample", "red"], "arguments are required: -o/--output"),
    (["paint"], "invalid choice: 'paint'"),
    (["bench", "--repeats", "0"], "--repeats is 0; allowed"),
]


@pytest.mark.parametrize("args, message", BAD)
def test_bad_input(run, args, message):
    import re

    status, out, err, files = run(*args)
    assert status == 2 and out == "" and files == []
    assert err.startswith("error: ") and err.count("\n") == 1 and re.search(message, err), err


def test_bench_says_that_it_does_not_walk_a_flow(run):
    status, _, err, _ = run("bench", "--model", "still-life-flow", model=None)
    assert status == 2 and "--model is 'still-life-flow'; allowed: a model with a table" in err


def test_bad_models(run, monkeypatch):
    import torch

    args = ("sample", "red", "-o", "x.png")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for extra, message in [
        (("--model", "nothing"), "--model: name_or_path is 'nothing'; allowed: 'still-life'"),
        (("--model", "."), "a folder without model_index.json"),
        (("--device", "cuda"), "--device: device is 'cuda'; allowed: one that is here: cpu"),
        (("--dtype", "int4"), "--dtype: dtype is 'int4'"),
    ]:
        status, out, err, files = run(*args, *extra, model=None)
        assert status == 2 and files == [] and err.count("\n") == 1
        if "--model" in extra:
            assert message in err
    status, _, err, files = run(model=None)
    assert status == 2 and "a command is missing; allowed: sample, bench" in err


def test_bench_prints_the_table(run, monkeypatch):
    status, out, err, _ = run("bench", "--steps", 2, "--repeats", 1, "--batches", 1, 2)
    assert status == 0, err
    assert "2 steps, batch 2" in out and "ours / diffusers" in out and "rendering a picture" in out
    assert "peak memory" in out


def test_as_a_module():
    command = [sys.executable, "-m", "diffusion_tutorial", "sample", "red", "-o", "x.bmp"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
