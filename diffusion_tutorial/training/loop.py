"""One training loop for every stage: Accelerate, EMA, checkpoints, exact resume.

What a step sees is a pure function of (seed, step, process), so a run that stops and resumes takes the same steps
as one that never stopped.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm.auto import tqdm


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage trains. `batch` is per process."""

    steps: int
    batch: int
    lr: float
    warmup: int = 100
    decay: int = 0  # the last `decay` steps bring the rate down to 1% of lr, linearly
    weight_decay: float = 0.01
    ema: float = 0.999
    clip: float = 1.0
    seed: int = 0
    save_every: int = 250

    def __post_init__(self):
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: 1 or more")
        if not 0 <= self.decay <= self.steps:
            raise ValueError(f"decay is {self.decay}; allowed: 0 to steps = {self.steps}")

    def rate(self, step: int) -> float:
        """The learning rate of `step` (0-based): warm up, hold, decay. Holding lets a later run extend this one."""
        up = min(1.0, (step + 1) / max(1, self.warmup))
        down = min(1.0, max(0.01, (self.steps - step) / self.decay)) if self.decay else 1.0
        return self.lr * up * down


def step_generator(seed: int, step: int, process: int) -> torch.Generator:
    """The source of all randomness of one step on one process."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 1009 + process)


def fit(
    name: str,
    module: nn.Module,
    loss_fn: Callable[[nn.Module, Tensor, torch.Generator], tuple[Tensor, dict[str, float]]],
    n_items: int,
    schedule: Schedule,
    folder: Path,
    accelerator: Accelerator,
    stop_at: int | None = None,
) -> list[float]:
    """Train `module` in place and leave its EMA weights in it. Returns the losses of the steps taken here.

    loss_fn(module, index, rng) -> (loss, values to log); `index` (batch,) int64 picks items out of `n_items`.
    Checkpoints go to folder/name; an unfinished run found there is resumed. `stop_at` ends early, at that step of
    the schedule, as an interruption would; another call goes on. Raises ValueError for a `stop_at` that lies behind.
    """
    place = Path(folder) / name
    place.mkdir(parents=True, exist_ok=True)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=schedule.lr, betas=(0.9, 0.99), weight_decay=schedule.weight_decay, fused=True
    )
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    average = EMAModel(trained, decay=schedule.ema, foreach=True)

    def save(step: int) -> None:
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            fresh, last = place / "checkpoint.new", place / "checkpoint"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            state = {
                "step": step,
                "module": accelerator.unwrap_model(wrapped).state_dict(),
                "optimizer": optimizer.state_dict(),
                "ema": average.state_dict(),
            }
            torch.save(state, fresh / "state.pt")
            shutil.rmtree(last, ignore_errors=True)
            fresh.rename(last)  # a stop in the middle leaves either the old checkpoint or the new one
        accelerator.wait_for_everyone()

    first = 0
    if (place / "checkpoint" / "state.pt").exists():
        state = torch.load(place / "checkpoint" / "state.pt", weights_only=True, map_location="cpu")
        accelerator.unwrap_model(wrapped).load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        average.load_state_dict(state["ema"])
        average.to(trained[0].device)
        first = state["step"]
    if stop_at is not None and first > stop_at:
        raise ValueError(
            f"stop_at is {stop_at}; allowed: {first} or more, the step that the run in {place} has reached"
        )

    losses, began = [], time.time()
    last = schedule.steps if stop_at is None else min(schedule.steps, stop_at)
    bar = tqdm(
        range(first, last),
        initial=first,
        total=schedule.steps,
        desc=name,
        mininterval=5,
        disable=not accelerator.is_main_process,
    )
    log = open(place / "log.jsonl", "a") if accelerator.is_main_process else None
    wrapped.train()
    for step in bar:
        rng = step_generator(schedule.seed, step, accelerator.process_index)
        index = torch.randint(n_items, (schedule.batch,), generator=rng)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        with accelerator.autocast():
            loss, values = loss_fn(wrapped, index, rng)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(trained, schedule.clip)
        optimizer.step()
        optimizer.zero_grad()
        average.step(trained)
        losses.append(loss.item())
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"{name}: the loss is {loss.item()} at step {step}; lower lr, now {schedule.lr}"
            )
        if log and (step + 1) % 50 == 0:
            mean = sum(losses[-50:]) / len(losses[-50:])
            bar.set_postfix(loss=f"{mean:.4f}", **{k: f"{v:.4f}" for k, v in values.items()})
            log.write(
                json.dumps(
                    {"step": step + 1, "loss": mean, "seconds": round(time.time() - began, 1), **values}
                )
                + "\n"
            )
            log.flush()
        if (step + 1) % schedule.save_every == 0 or step + 1 == last:
            save(step + 1)
    average.copy_to(trained)
    module.eval()
    accelerator.free_memory()
    return losses


def minutes_spent(log: Path) -> float:
    """Wall time of a stage over all its interrupted parts, from log.jsonl; `seconds` starts anew in each."""
    parts, before = [], 0.0
    for line in Path(log).read_text(encoding="utf-8").splitlines():
        now = json.loads(line)["seconds"]
        if now < before:
            parts.append(before)
        before = now
    return (sum(parts) + before) / 60
