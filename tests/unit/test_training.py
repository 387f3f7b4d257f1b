import json
import os
import subprocess
import sys

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from diffusion_tutorial.still_life.classifier import NoisyClassifier
from diffusion_tutorial.still_life.judge import Judge
from diffusion_tutorial.training import autoencoder, classifier, data, denoiser, export, flow, judge, loop


def toy(folder, steps=12, stop_at=None, **schedule):
    """A linear regression through the real loop."""
    torch.manual_seed(0)
    module = nn.Linear(4, 1)

    def loss_fn(model, index, rng):
        x = torch.randn(len(index), 4, generator=rng)
        return (model(x) - x.sum(1, keepdim=True)).square().mean(), {}

    plan = loop.Schedule(steps=steps, batch=8, lr=0.05, warmup=3, decay=4, save_every=5, **schedule)
    losses = loop.fit("toy", module, loss_fn, 100, plan, folder, Accelerator(cpu=True), stop_at=stop_at)
    return module, losses


def test_a_resumed_run_takes_the_steps_of_one_that_never_stopped(tmp_path):
    whole, losses = toy(tmp_path / "a")
    _, first = toy(tmp_path / "b", stop_at=7)
    resumed, rest = toy(tmp_path / "b")
    assert first + rest == losses and len(rest) == 5
    assert torch.equal(whole.weight, resumed.weight)


def test_a_finished_run_is_not_repeated_and_returns_the_same_weights(tmp_path):
    whole, _ = toy(tmp_path)
    again, losses = toy(tmp_path)
    assert losses == [] and torch.equal(whole.weight, again.weight)


def test_a_run_does_not_stop_where_it_has_been(tmp_path):
    """Or later weights would pass for those of that step."""
    toy(tmp_path, stop_at=7)
    with pytest.raises(ValueError, match="stop_at is 5; allowed: 7 or more"):
        toy(tmp_path, stop_at=5)
    assert toy(tmp_path, stop_at=7)[1] == []


def test_training_reduces_the_loss(tmp_path):
    _, losses = toy(tmp_path, steps=150)
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])


def test_minutes_are_summed_over_interrupted_parts(tmp_path):
    seconds = [30, 60, 90, 30, 60, 15]  # three parts: 90, 60 and 15 seconds
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"seconds": s}) + "\n" for s in seconds))
    assert loop.minutes_spent(tmp_path / "log.jsonl") == pytest.approx(165 / 60)


def test_the_rate_warms_up_holds_and_decays():
    plan = loop.Schedule(steps=100, batch=1, lr=1.0, warmup=10, decay=20)
    assert plan.rate(0) == pytest.approx(0.1) and plan.rate(50) == 1.0
    assert plan.rate(90) == pytest.approx(0.5) and plan.rate(99) == pytest.approx(0.05)
    with pytest.raises(ValueError, match="decay is 101; allowed: 0 to steps = 100"):
        loop.Schedule(steps=100, batch=1, lr=1.0, decay=101)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    def loss_fn(model, index, rng):
        return model.weight.sum() * float("nan"), {}

    with pytest.raises(FloatingPointError, match="step 0"):
        loop.fit(
            "bad",
            nn.Linear(2, 1),
            loss_fn,
            4,
            loop.Schedule(steps=2, batch=2, lr=0.1),
            tmp_path,
            Accelerator(cpu=True),
        )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """24 scenes, their latents under an untrained autoencoder, and a tokenizer."""
    from diffusion_tutorial.still_life.scenes import render, sample_scenes

    scenes = sample_scenes(24, 0)
    pictures = (render(scenes, samples=1) * 255).byte()
    torch.manual_seed(0)
    vae = autoencoder.build()
    return (
        pictures,
        scenes.labels,
        vae,
        autoencoder.encode_all(vae, pictures),
        denoiser.load_tokenizer(tmp_path_factory.mktemp("tokenizer")),
    )


def test_every_stage_takes_a_step_and_learns_something(small, tmp_path):
    pictures, labels, vae, latents, tokenizer = small
    accelerator = Accelerator(cpu=True)
    plan = loop.Schedule(steps=3, batch=4, lr=1e-3, warmup=1)
    alphas_cumprod = torch.linspace(0.999, 0.005, 1000)
    torch.manual_seed(0)
    text_to_noise = denoiser.TextToNoise(denoiser.build_unet(), denoiser.build_text_encoder(tokenizer))
    stages = {
        "autoencoder": (autoencoder.Reconstruct(vae), autoencoder.joint_loss(pictures, 0.05, 1e-3, 4)),
        "decoder": (autoencoder.Decode(vae), autoencoder.decoder_loss(pictures, latents, 0.03, 15)),
        "denoiser": (text_to_noise, denoiser.denoiser_loss(latents, labels, tokenizer, alphas_cumprod)),
        "flow": (text_to_noise, flow.flow_loss(latents, labels, tokenizer)),
        "judge": (Judge(), judge.judge_loss(pictures, labels)),
        "classifier": (NoisyClassifier(), classifier.classifier_loss(latents, labels, alphas_cumprod)),
        "clean": (NoisyClassifier(), classifier.classifier_loss(latents, labels, alphas_cumprod, True)),
    }
    for name, (module, loss_fn) in stages.items():
        trained = [p for p in module.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in trained]
        losses = loop.fit(name, module, loss_fn, len(pictures), plan, tmp_path, accelerator)
        assert len(losses) == 3 and all(torch.isfinite(torch.tensor(losses))), name
        assert any(not torch.equal(a, b) for a, b in zip(before, trained)), name
        assert (tmp_path / name / "checkpoint" / "state.pt").exists()


def test_captions_are_dropped_at_the_stated_rate(small):
    import random

    _, labels, *_ = small
    texts = denoiser.captions_for(labels.repeat(100, 1), random.Random(0), drop=0.1)
    share = sum(text == "" for text in texts) / len(texts)
    assert abs(share - 0.1) < 3 * (0.09 / len(texts)) ** 0.5


def test_short_captions_come_at_the_stated_rate(small):
    """They name one or two attributes, each as often as the others; without them the draws are the old ones."""
    import random

    from diffusion_tutorial.still_life.captions import parse
    from diffusion_tutorial.still_life.scenes import ATTRIBUTES

    _, labels, *_ = small
    labels = labels.repeat(200, 1)
    said = [parse(text) for text in denoiser.captions_for(labels, random.Random(0), 0.0, sparse=1.0)]
    assert {len(names) for names in said} == {1, 2}
    single = sum(len(names) == 1 for names in said) / len(said)
    assert abs(single - 0.5) < 4 * (0.25 / len(said)) ** 0.5
    for name in ATTRIBUTES:  # 1/6 of the single ones and 1/3 of the double ones
        share = sum(name in names for names in said) / len(said)
        assert abs(share - 0.25) < 4 * (0.1875 / len(said)) ** 0.5
    values = [{k: ATTRIBUTES[k][v] for k, v in zip(ATTRIBUTES, row)} for row in labels.tolist()]
    assert all(value[k] == names[k] for value, names in zip(values, said) for k in names)

    def short(sparse):
        texts = denoiser.captions_for(labels, random.Random(1), 0.0, sparse)
        return sum(len(parse(text)) in (1, 2) for text in texts) / len(texts)

    assert short(0.3) - short(0.0) == pytest.approx(0.3 * (1 - short(0.0)), abs=0.04)


def test_the_flow_sees_every_level_and_more_of_the_noisy_ones():
    rng = torch.Generator().manual_seed(0)
    even = flow.noise_levels(64, 1.0, rng)
    assert torch.equal((even * 64).long(), torch.arange(64)) and even.dtype == torch.float64
    shifted = flow.noise_levels(4096, 2.0, rng)
    assert 0 < shifted[0] and shifted[-1] < 1 and (shifted[1:] > shifted[:-1]).all()
    # sigma <= s where u <= s / (2 - s)
    for s in (0.1, 0.5, 0.9):
        assert float((shifted <= s).double().mean()) == pytest.approx(s / (2 - s), abs=1e-3)


def test_the_flow_is_trained_on_the_line_and_its_slope(small):
    """A network that knows the pictures has loss 0: from x and sigma alone it finds eps - x0."""
    _, labels, _, latents, tokenizer = small
    seen = []

    class Knows(nn.Module):
        def forward(self, x, t, ids):
            s = (t / 1000)[:, None, None, None]
            candidates = latents.flatten(0, 1).float()  # the x0 whose eps is smallest is the right one
            eps = (x[:, None] - (1 - s[:, None]) * candidates) / s[:, None]
            best = eps.square().sum((2, 3, 4)).argmin(1)
            seen.append((t, ids))
            return eps[torch.arange(len(x)), best] - candidates[best]

    index = torch.arange(16)
    loss, _ = flow.flow_loss(latents, labels, tokenizer)(Knows(), index, torch.Generator().manual_seed(0))
    low, high = seen[0][0].min(), seen[0][0].max()
    assert 0 < low < 1000 * 2 / 17 and 1000 * 30 / 31 < high < 1000  # u below 1/16, above 15/16
    assert float(loss) < 1e-3
    twice = flow.flow_loss(latents, labels, tokenizer)(Knows(), index, torch.Generator().manual_seed(0))[0]
    assert float(twice) == float(loss)


def test_the_unet_keeps_to_what_a_browser_can_run():
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    unet = denoiser.build_unet().eval()
    assert sum(p.numel() for p in unet.parameters()) <= 4.5e6
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        unet(torch.zeros(2, 4, 16, 16), torch.zeros(2), torch.zeros(2, 20, 128))
    assert counter.get_total_flops() <= 1.1e9


def test_pictures_are_rendered_once_and_in_shares(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SHARD", 4)
    whole, labels = data.pictures(tmp_path / "one", 3, seed=7)
    for process in (0, 1):
        if process == 0:
            with pytest.raises(FileNotFoundError):  # the other process's shards are not there yet
                data.pictures(tmp_path / "two", 3, 7, process, 2)
        else:
            shared, _ = data.pictures(tmp_path / "two", 3, 7, process, 2)
    assert torch.equal(whole, shared) and whole.shape == (12, 3, 64, 64) and labels.shape == (12, 6)
    assert not list(tmp_path.rglob("*.part"))


def test_the_exported_folder_is_a_pipeline_and_its_sums_hold(small, tmp_path):
    from diffusers import StableDiffusionPipeline

    _, _, vae, _, tokenizer = small
    vae.save_pretrained(tmp_path / "vae")
    denoiser.build_unet().save_pretrained(tmp_path / "unet")
    denoiser.build_text_encoder(tokenizer).save_pretrained(tmp_path / "text_encoder")
    denoiser.load_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "scaling_factor.json").write_text("0.75")
    export.export(tmp_path, tmp_path / "model")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.float32)
    assert pipeline.vae.config.scaling_factor == 0.75 and pipeline.scheduler.config.steps_offset == 1
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red cube", num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 64, 64, 3)
    listed = [line.split("  ")[1] for line in (tmp_path / "model" / "SHA256SUMS").read_text().splitlines()]
    assert "unet/diffusion_pytorch_model.safetensors" in listed and "model_index.json" in listed
    assert sum(p.stat().st_size for p in (tmp_path / "model").rglob("*")) <= 13e6
    assert not list((tmp_path / "model").rglob("*.bin"))


def test_the_flow_starts_from_the_shipped_weights_and_leaves_the_text_encoder(tmp_path, monkeypatch):
    """The stage through its command: resumed bit for bit, in a folder of its own, which diffusers' parts can load."""
    from importlib.resources import files

    import yaml
    from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
    from safetensors.torch import load_file

    from diffusion_tutorial.training import __main__ as command

    monkeypatch.setattr(data, "SHARD", 8)
    config = yaml.safe_load((files("diffusion_tutorial.training") / "config.yaml").read_text())
    config["mixed_precision"] = "no"
    config["data"]["shards"] = 1
    config["flow"]["schedule"] |= {"steps": 4, "batch": 2, "warmup": 1, "decay": 1, "save_every": 2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(FileNotFoundError, match="allowed: the stage denoiser before flow, or --init shipped"):
        arguments = [
            "--config",
            str(tmp_path / "config.yaml"),
            "--out",
            str(tmp_path / "no"),
            "--stages",
            "flow",
        ]
        command.main(arguments)

    def train(out):
        arguments = [
            "--config",
            str(tmp_path / "config.yaml"),
            "--out",
            str(tmp_path / out),
            "--init",
            "shipped",
        ]
        command.main([*arguments, "--stages", "flow"])
        return load_file(tmp_path / out / "unet-flow" / "diffusion_pytorch_model.safetensors")

    whole, fit = train("whole"), loop.fit
    monkeypatch.setattr(command, "fit", lambda *args, **options: fit(*args, **{**options, "stop_at": 2}))
    train("parts")
    monkeypatch.setattr(command, "fit", fit)
    parts = train("parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[k], parts[k]) for k in whole)
    shipped = files("diffusion_tutorial.still_life") / "model"
    before = load_file(str(shipped / "unet" / "diffusion_pytorch_model.safetensors"))
    assert sum(not torch.equal(whole[k], before[k].float()) for k in whole) > len(whole) / 2
    state = torch.load(tmp_path / "whole" / "flow" / "checkpoint" / "state.pt", weights_only=True)
    text = load_file(str(shipped / "text_encoder" / "model.safetensors"))
    kept = {k.removeprefix("text_encoder."): v for k, v in state["module"].items() if k.startswith("text_")}
    assert kept.keys() >= text.keys() and all(torch.equal(kept[k], text[k].float()) for k in text)
    scale = json.loads((tmp_path / "whole" / "scaling_factor.json").read_text())
    assert scale == json.loads((shipped / "vae" / "config.json").read_text())["scaling_factor"]
    record = json.loads((tmp_path / "whole" / "stages.jsonl").read_text())
    assert record["stage"] == "flow" and record["init"] == "shipped" and record["commit"]

    shared = ["--config", str(tmp_path / "config.yaml"), "--stages", "export", "--out"]
    with pytest.raises(
        FileNotFoundError, match="none of unet, unet-flow, unet-fast; allowed: a stage that trains one"
    ):
        command.main([*shared, str(tmp_path / "no")])
    command.main([*shared, str(tmp_path / "whole")])
    folder = tmp_path / "whole" / "model-flow"
    assert not (tmp_path / "whole" / "model").exists()
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    assert unet(torch.zeros(1, 4, 16, 16), 999.5, torch.zeros(1, 20, 128)).sample.isfinite().all()
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    assert scheduler.config.shift == flow.SCHEDULER["shift"]
    listed = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert listed == [
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    """`accelerate launch` on two CPU processes: render, train every stage for a few steps, export."""
    from importlib.resources import files

    import yaml

    config = yaml.safe_load((files("diffusion_tutorial.training") / "config.yaml").read_text())
    config["mixed_precision"] = "no"
    config["data"].update(shards=2, judge_shards=2)
    config["classifier"]["snapshots"] = [1]
    config["fast"].update(shards=2, counterparts=1, teacher_steps=2)
    for stage in (
        "autoencoder",
        "decoder",
        "denoiser",
        "flow",
        "fast",
        "judge",
        "classifier",
        "classifier_clean",
    ):
        config[stage]["schedule"].update(steps=2, batch=4, decay=1, save_every=2)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["-m", "diffusion_tutorial.training", "--config", str(tmp_path / "config.yaml")]
    command += ["--out", str(tmp_path / "run")]
    # Without MPI, accelerate launches one CPU process at a time; the usual variables make the two one job.
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "OMP_NUM_THREADS": "1"}
    jobs = [
        subprocess.Popen(
            command,
            env={**os.environ, **group, "RANK": str(k), "LOCAL_RANK": str(k)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for k in (0, 1)
    ]
    outputs = [job.communicate(timeout=900)[0] for job in jobs]
    assert all(job.returncode == 0 for job in jobs), outputs
    records = [json.loads(line) for line in (tmp_path / "run" / "stages.jsonl").read_text().splitlines()]
    stages = ["autoencoder", "decoder", "denoiser", "flow", "fast", "judge", "classifier", "classifier_clean"]
    assert [r["stage"] for r in records] == stages
    assert all(r["processes"] == 2 for r in records)
    assert (tmp_path / "run" / "model" / "judge.safetensors").exists()
    assert (tmp_path / "run" / "model-flow" / "SHA256SUMS").exists()
    assert (tmp_path / "run" / "model-fast" / "SHA256SUMS").exists()
