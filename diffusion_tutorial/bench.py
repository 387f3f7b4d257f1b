"""`python -m diffusion_tutorial bench`: how fast `TextToImage.sample` is, beside `StableDiffusionPipeline`.

Both run on the same components, in turn, so that whatever else the machine does falls on both alike.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch

from .checkpoints.adapters import StableDiffusionAdapter
from .checkpoints.silence import quiet
from .errors import allowed, check_integer
from .results import machine
from .schedules import NoiseSchedule


def measure(
    model, steps: int = 25, batches=(1, 16), repeats: int = 5, guidance_scale: float = 4.0
) -> list[dict]:
    """A row a batch size: median and best seconds of ours and of diffusers' pipeline, in alternating runs."""
    if type(model.adapter) is not StableDiffusionAdapter:
        raise ValueError(
            allowed("--model", model.name, "a StableDiffusionPipeline, on which both loops are measured")
        )
    if not isinstance(model.schedule, NoiseSchedule):
        what = "a model with a table of noise levels: StableDiffusionPipeline does not walk a flow"
        raise ValueError(allowed("--model", model.name, what))
    prompt = "a large shiny red sphere on a green floor"
    pipeline = _pipeline(model)
    rows = []
    for batch in batches:
        latents = torch.randn(batch, *model.latent_shape, generator=torch.Generator().manual_seed(0)).to(
            model.device
        )

        def ours(latents=latents, batch=batch):
            return model.sample(
                prompt,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                num_images=batch,
                latents=latents,
            ).images

        def theirs(latents=latents, batch=batch):
            return pipeline(
                prompt,
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                num_images_per_prompt=batch,
                latents=latents.to(model.dtype),
                output_type="pt",
            ).images

        difference = (ours() - theirs().float().cpu()).abs().max().item()  # warms both up, too
        seconds = {ours: [], theirs: []}
        for k in range(repeats):
            for run in (ours, theirs) if k % 2 == 0 else (theirs, ours):
                start = time.perf_counter()
                run()
                if model.device.type == "cuda":
                    torch.cuda.synchronize()
                seconds[run].append(time.perf_counter() - start)
        rows.append(
            {
                "batch": batch,
                "steps": steps,
                "ours_s": statistics.median(seconds[ours]),
                "diffusers_s": statistics.median(seconds[theirs]),
                "ours_best_s": min(seconds[ours]),
                "diffusers_best_s": min(seconds[theirs]),
                "largest_difference": difference,
            }
        )
    return rows


def _pipeline(model):
    """diffusers' own pipeline over the model's components, with its DDIM scheduler."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    parts, schedule = model.adapter, model.schedule
    scheduler = DDIMScheduler(
        num_train_timesteps=schedule.num_train_timesteps,
        trained_betas=schedule.betas.tolist(),
        clip_sample=False,
        set_alpha_to_one=schedule.final_alpha_cumprod == 1.0,
        steps_offset=schedule.steps_offset,
        timestep_spacing=schedule.spacing,
    )
    with quiet():
        pipeline = StableDiffusionPipeline(
            vae=parts.vae,
            text_encoder=parts.text_encoder,
            tokenizer=parts.tokenizer,
            unet=parts.unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def rendering(count: int = 32) -> float:
    """Milliseconds that Still Life's renderer takes for a picture, on the threads that torch uses."""
    from .still_life import scenes

    batch = scenes.sample_scenes(count, seed=0)
    scenes.render(batch[:4])
    start = time.perf_counter()
    scenes.render(batch)
    return 1000 * (time.perf_counter() - start) / count


def peak_memory() -> float | None:
    """The most memory that this process has held, in GB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak / 1e6


def report(args) -> dict:
    """Everything that `bench` measures, as plain values."""
    check_integer("--steps", args.steps, 1, 1000)
    check_integer("--repeats", args.repeats, 1, 1000)
    for batch in args.batches:
        check_integer("--batches", batch, 1, 1024)
    start = time.perf_counter()
    import diffusers.models.unets.unet_2d_condition  # noqa: F401  (its import is counted apart)

    from .checkpoints import load

    imported = time.perf_counter() - start
    start = time.perf_counter()
    model = load(args.model, device=args.device, dtype=args.dtype)
    loaded = time.perf_counter() - start
    rows = measure(model, args.steps, args.batches, args.repeats)
    memory = peak_memory()
    try:
        render = rendering()
    except ImportError:
        render = None
    return {
        "model": model.name,
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "processor": machine(),
        "torch": torch.__version__,
        "import_diffusers_s": imported,
        "load_s": loaded,
        "sampling": rows,
        "render_ms": render,
        "peak_memory_gb": memory,
    }


def table(found: dict) -> str:
    """The report as text."""
    lines = [
        f"{found['model']} on {found['device']}, {found['threads']} threads, torch {found['torch']}",
        "",
        "sampling, median (best) seconds      ours               diffusers          ours / diffusers",
    ]
    for row in found["sampling"]:
        lines.append(
            f"  {row['steps']} steps, batch {row['batch']:<4}               "
            f"{row['ours_s']:6.3f} ({row['ours_best_s']:.3f})     {row['diffusers_s']:6.3f} "
            f"({row['diffusers_best_s']:.3f})     {row['ours_s'] / row['diffusers_s']:.2f}"
        )
    worst = max(row["largest_difference"] for row in found["sampling"])
    lines += [f"  largest difference of a pixel      {worst:.1e}", ""]
    lines += [
        f"load                                 {found['load_s']:6.2f} s",
        f"importing diffusers, once            {found['import_diffusers_s']:6.2f} s",
    ]
    if found["render_ms"] is not None:
        lines += [f"rendering a picture                  {found['render_ms']:6.1f} ms"]
    if found["peak_memory_gb"] is not None:
        lines += [f"peak memory                          {found['peak_memory_gb']:6.2f} GB"]
    return "\n".join(lines)


def main(args) -> int:
    """Print the table, or JSON."""
    found = report(args)
    print(json.dumps(found, indent=2) if args.json else table(found))
    return 0
