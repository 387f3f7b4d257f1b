"""`accelerate launch -m diffusion_tutorial.training`: from nothing, or from the shipped weights, to a Still Life folder.

Stages: autoencoder, decoder, denoiser, flow, fast, weak, judge, classifier, export. A stage that was stopped
goes on where it was; one that is finished is not repeated. Everything lies under --out.
"""

from __future__ import annotations

import argparse
import datetime
import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion_tutorial.errors import allowed
from diffusion_tutorial.results import commit, machine
from diffusion_tutorial.still_life.classifier import NoisyClassifier
from diffusion_tutorial.still_life.judge import Judge
from diffusion_tutorial.still_life.models import MODELS
from diffusion_tutorial.still_life.scenes import sample_scenes

from . import autoencoder, data, denoiser, distil, flow
from .classifier import classifier_loss
from .export import export, export_fast, export_flow, export_weak
from .judge import judge_loss
from .loop import Schedule, fit, minutes_spent

STAGES = ("autoencoder", "decoder", "denoiser", "flow", "fast", "weak", "judge", "classifier", "export")


class Run:
    """One training run: the config, the folder, and the accelerator."""

    def __init__(self, config: dict, out: Path, init: Path | None, accelerator: Accelerator):
        self.config, self.out, self.init, self.accelerator = config, out, init, accelerator
        self.device = accelerator.device
        self.commit = commit()  # of the code that runs, which later edits do not change

    def pictures(self):
        c = self.config["data"]
        return data.pictures(
            self.out / "pictures",
            c["shards"],
            c["seed"],
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self.accelerator.wait_for_everyone,
        )

    def _fit(self, name: str, module, loss_fn, n_items: int, stop_at: int | None = None) -> None:
        schedule = Schedule(**self.config[name]["schedule"])
        losses = fit(name, module, loss_fn, n_items, schedule, self.out, self.accelerator, stop_at=stop_at)
        if losses and stop_at is None and self.accelerator.is_main_process:
            record = {
                "stage": name,
                "schedule": asdict(schedule),
                "processes": self.accelerator.num_processes,
                "final_loss": sum(losses[-100:]) / len(losses[-100:]),
                "minutes": round(minutes_spent(self.out / name / "log.jsonl"), 1),
                "machine": machine(),
                "torch": torch.__version__,
                "date": datetime.date.today().isoformat(),
                "init": "shipped" if self.init else "scratch",
                "commit": self.commit,
            }
            if "method" in self.config[name]:
                record["method"] = self.config[name]["method"]
            with open(self.out / "stages.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def autoencoder(self) -> None:
        pictures, _ = self.pictures()
        set_seed(self.config["seed"])
        vae = (
            AutoencoderTiny.from_pretrained(self.init / "vae", torch_dtype=torch.float32)
            if self.init
            else autoencoder.build()
        )
        vae.to(memory_format=torch.channels_last)
        c = self.config["autoencoder"]
        self._fit(
            "autoencoder",
            autoencoder.Reconstruct(vae),
            autoencoder.joint_loss(pictures, c["noise_std"], c["prior_weight"], c["mse_weight"]),
            len(pictures),
        )
        self._save(vae, "vae-joint")

    def decoder(self) -> None:
        pictures, _ = self.pictures()
        vae = AutoencoderTiny.from_pretrained(self.out / "vae-joint").to(memory_format=torch.channels_last)
        c, latents = self.config["decoder"], self._latents(pictures)
        self._fit(
            "decoder",
            autoencoder.Decode(vae),
            autoencoder.decoder_loss(pictures, latents, c["noise_std"], c["mse_weight"]),
            len(pictures),
        )
        self._save(vae, "vae")

    def denoiser(self) -> None:
        pictures, labels = self.pictures()
        latents = self._latents(pictures)
        set_seed(self.config["seed"])
        tokenizer = self._tokenizer()
        if self.init:
            unet = UNet2DConditionModel.from_pretrained(self.init / "unet", torch_dtype=torch.float32)
            text_encoder = CLIPTextModel.from_pretrained(
                self.init / "text_encoder", torch_dtype=torch.float32
            )
        else:
            unet, text_encoder = denoiser.build_unet(), denoiser.build_text_encoder(tokenizer)
        c = self.config["denoiser"]
        alphas_cumprod = DDIMScheduler(**denoiser.SCHEDULER).alphas_cumprod
        loss_fn = denoiser.denoiser_loss(
            latents * self.scale(latents), labels, tokenizer, alphas_cumprod, c["drop"], c["gamma"]
        )
        self._fit("denoiser", denoiser.TextToNoise(unet, text_encoder), loss_fn, len(labels))
        self._save(unet, "unet")
        self._save(text_encoder, "text_encoder")

    def flow(self) -> None:
        """From the denoiser's U-Net and text encoder: this run's, or the shipped ones. Only the U-Net is trained."""
        start = self.out if (self.out / "unet").exists() else self.init
        if start is None:
            raise FileNotFoundError(
                f"{self.out / 'unet'} is not there; allowed: the stage denoiser before flow, or --init shipped"
            )
        pictures, labels = self.pictures()
        latents = self._latents(pictures) * json.loads((self.out / "scaling_factor.json").read_text())
        set_seed(self.config["seed"])
        tokenizer = self._tokenizer()
        unet = UNet2DConditionModel.from_pretrained(start / "unet", torch_dtype=torch.float32)
        text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder", torch_dtype=torch.float32)
        text_encoder.requires_grad_(False)
        c = self.config["flow"]
        loss_fn = flow.flow_loss(latents, labels, tokenizer, c["drop"], c["sparse"], c["shift"])
        self._fit("flow", denoiser.TextToNoise(unet, text_encoder), loss_fn, len(labels))
        self._save(unet, "unet-flow")

    def fast(self) -> None:
        """The student, from the flow: this run's, or the shipped one. The flow draws its lessons first."""
        own, shipped = self.out / "unet-flow", MODELS["still-life"].path
        if not own.exists() and self.init is None:
            raise FileNotFoundError(
                f"{own} is not there; allowed: the stage flow before fast, or --init shipped"
            )
        # Each flow with the text encoder that it was trained beside: this run's only where this run trained one.
        place = own if own.exists() else MODELS["still-life-flow"].path / "unet"
        trained = own.exists() and (self.out / "text_encoder").exists()
        texts = CLIPTextModel.from_pretrained(
            (self.out if trained else shipped) / "text_encoder", torch_dtype=torch.float32
        ).requires_grad_(False)
        flow_unet = UNet2DConditionModel.from_pretrained(place, torch_dtype=torch.float32)
        teacher = distil.Networks(flow_unet.requires_grad_(False), texts).eval().to(self.device)
        tokens = denoiser.tokenizer_of(self._tokenizer())
        c = self.config["fast"]
        if c["method"] == "reflow":
            pairs = self._pairs(teacher, tokens)
            loss_fn, n_items = distil.reflow_loss(pairs), len(pairs["x0"])
        elif c["method"] == "consistency":
            pictures, labels = self.pictures()
            latents = self._latents(pictures) * json.loads((self.out / "scaling_factor.json").read_text())
            loss_fn, n_items = distil.consistency_loss(latents, labels, teacher, tokens, c), len(labels)
        else:
            raise ValueError(allowed("fast.method", c["method"], "reflow, consistency"))
        set_seed(self.config["seed"])
        student = distil.build_student(flow_unet).requires_grad_(True)
        self._fit("fast", distil.Networks(student, texts), loss_fn, n_items)
        self._save(student, "unet-fast")

    def _pairs(self, teacher: distil.Networks, tokens) -> dict:
        """What the teacher draws for reflow, as far as it is not there yet."""
        c, lane = self.config["fast"], self.accelerator
        with lane.autocast():
            distil.make_pairs(self.out / "pairs", teacher, tokens, c, lane.process_index, lane.num_processes)
            lane.wait_for_everyone()
            reader = NoisyClassifier.load("clean")
            distil.make_counterparts(
                self.out / "pairs",
                teacher,
                tokens,
                lambda x0: reader.read(x0, 0),
                c,
                lane.process_index,
                lane.num_processes,
            )
        lane.wait_for_everyone()
        return distil.read_pairs(self.out / "pairs", c)

    def weak(self) -> None:
        """A smaller U-Net, trained from nothing and for less, as the denoiser is: autoguidance's weak twin.

        The text encoder is the denoiser's, this run's or the shipped one, and stays as it is.
        """
        start = self.out if (self.out / "text_encoder").exists() else self.init
        if start is None:
            raise FileNotFoundError(
                f"{self.out / 'text_encoder'} is not there; allowed: the stage denoiser before weak, or --init shipped"
            )
        pictures, labels = self.pictures()
        latents = self._latents(pictures) * json.loads((self.out / "scaling_factor.json").read_text())
        set_seed(self.config["seed"])
        tokenizer = denoiser.load_tokenizer(self.out / "tokenizer")
        unet = denoiser.build_unet(denoiser.WEAK_CHANNELS)
        text_encoder = CLIPTextModel.from_pretrained(start / "text_encoder", torch_dtype=torch.float32)
        text_encoder.requires_grad_(False)
        c = self.config["weak"]
        alphas_cumprod = DDIMScheduler(**denoiser.SCHEDULER).alphas_cumprod
        loss_fn = denoiser.denoiser_loss(latents, labels, tokenizer, alphas_cumprod, c["drop"], c["gamma"])
        self._fit("weak", denoiser.TextToNoise(unet, text_encoder), loss_fn, len(labels))
        self._save(unet, "unet-weak")

    def judge(self) -> None:
        c = self.config["data"]
        pictures, labels = data.pictures(
            self.out / "judge-pictures",
            c["judge_shards"],
            c["judge_seed"],
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self.accelerator.wait_for_everyone,
            scenes=lambda n, seed: sample_scenes(n, seed, held_out=None),
        )
        set_seed(self.config["seed"])
        judge = Judge()
        if self.init:
            judge.load_state_dict(Judge.load(self.init / "judge.safetensors").state_dict())
            judge.requires_grad_(True)
        self._fit("judge", judge, judge_loss(pictures, labels), len(pictures))
        self._save_half(judge, "judge.safetensors")

    def classifier(self) -> None:
        """Both classifiers, and the weaker ones that `snapshots` names, as files under out/classifiers."""
        pictures, labels = self.pictures()
        latents = self._latents(pictures)
        latents = latents * self.scale(latents)
        alphas_cumprod = DDIMScheduler(**denoiser.SCHEDULER).alphas_cumprod
        for name, clean in (("classifier", False), ("classifier_clean", True)):
            set_seed(self.config["seed"])
            classifier = NoisyClassifier()
            if self.init:
                kind = "clean" if clean else "noisy"
                shipped = self.init / f"{name.replace('_', '-')}.safetensors"
                classifier.load_state_dict(NoisyClassifier.load(kind, shipped).state_dict())
            loss_fn = classifier_loss(latents, labels, alphas_cumprod, clean)
            for stop in self.config[name].get("snapshots", ()):
                snapshot = f"classifiers/{name}-{stop}.safetensors"
                if not (self.out / snapshot).exists():
                    self._fit(name, classifier, loss_fn, len(labels), stop)
                    self._save_half(classifier, snapshot)
            self._fit(name, classifier, loss_fn, len(labels))
            self._save_half(classifier, f"{name.replace('_', '-')}.safetensors")

    def export(self) -> None:
        """out/model, out/model-flow, -fast and -weak, whichever of them were trained here."""
        made = {
            "unet": (export, "model"),
            "unet-flow": (export_flow, "model-flow"),
            "unet-fast": (export_fast, "model-fast"),
            "unet-weak": (export_weak, "model-weak"),
        }
        found = [name for name in made if (self.out / name).exists()]
        if not found:
            raise FileNotFoundError(
                f"{self.out} has none of {', '.join(made)}; allowed: a stage that trains one"
            )
        if self.accelerator.is_main_process:
            for write, folder in (made[name] for name in found):
                write(self.out, self.out / folder)

    def _tokenizer(self) -> CLIPTokenizer:
        """The language's tokenizer. One process writes its files, or another would read them half written."""
        folder = self.out / "tokenizer"
        if self.accelerator.is_main_process:
            denoiser.build_tokenizer(folder)
        self.accelerator.wait_for_everyone()
        return CLIPTokenizer.from_pretrained(folder)

    def scale(self, latents) -> float:
        """The factor that brings the latents to unit variance (Rombach et al. 2022, appendix G)."""
        return 1.0 / float(latents[0].float().std())

    def _latents(self, pictures):
        """Latents of every picture and its mirror image, encoded once and kept on disk beside the scale."""
        place = self.out / "latents.safetensors"
        if self.accelerator.is_main_process and not place.exists():
            own = (self.out / "vae-joint").exists() or self.init is None
            source = self.out / "vae-joint" if own else self.init / "vae"
            vae = AutoencoderTiny.from_pretrained(source, torch_dtype=torch.float32)
            latents = autoencoder.encode_all(vae.to(memory_format=torch.channels_last), pictures)
            scale = self.scale(latents) if own else vae.config.scaling_factor
            (self.out / "scaling_factor.json").write_text(json.dumps(scale))
            save_file({"latents": latents}, place)
        self.accelerator.wait_for_everyone()
        return load_file(place)["latents"]

    def _save_half(self, module, name: str) -> None:
        """The weights in fp16, in one safetensors file under out."""
        if self.accelerator.is_main_process:
            (self.out / name).parent.mkdir(exist_ok=True)
            state = module.state_dict()
            half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
            save_file(half, self.out / name)

    def _save(self, model, name: str) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            model.save_pretrained(self.out / name)
        self.accelerator.wait_for_everyone()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="diffusion_tutorial.training", description=__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--config", type=Path, default=files("diffusion_tutorial.training") / "config.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/still-life"))
    parser.add_argument(
        "--init", choices=("scratch", "shipped"), default="scratch", help="where the weights start"
    )
    args = parser.parse_args(argv)
    config = yaml.safe_load(Path(args.config).read_text(encoding="utf-8"))
    accelerator = Accelerator(mixed_precision=config["mixed_precision"])
    init = Path(str(files("diffusion_tutorial.still_life") / "model")) if args.init == "shipped" else None
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(config, args.out, init, accelerator)
    for stage in STAGES:
        if stage in args.stages:
            getattr(run, stage)()


if __name__ == "__main__":
    main()
