"""The exported family for the tests of the playground's engine, and what Python draws with its further models."""

from __future__ import annotations

import golden
import torch

from diffusion_tutorial import load
from diffusion_tutorial.checkpoints.student import MOST, Student, told
from diffusion_tutorial.noise import gaussian

FLOW, FAST = "still-life-flow", "still-life-fast"
# As golden.RUNS. The levels of a flow go up to all but pure noise, and guided steps there magnify differences most.
FLOW_RUNS = [
    ("ddim", 4, 0.0, "trailing", {"rule": "classifier_free", "scale": 2}, golden.PROMPT, "", 0, 2),
    ("heun", 3, 0.0, "trailing", {"rule": "classifier_free", "scale": 1}, "a cube", "", 1, 1),
    ("dpm++2m", 6, 0.0, "trailing", {"rule": "negative_prompt", "scale": 3}, "a sphere", "red", 2, 2),
    ("ddim", 5, 0.5, "leading", {"rule": "classifier_free", "scale": 1.5}, "a cone", "", 3, 1),
]
FAST_RUNS = [  # steps, scale, prompt, negative, seed, pictures
    (1, 2.0, golden.PROMPT, "", 0, 3),
    (2, 1.0, "a cube", "", 1, 1),
    (4, MOST, "a sphere", "red", 2, 2),
    (4, 2.5, "a matte torus on a gray floor", "", 3, 1),
]


def pictures() -> dict:
    """What Python draws with the flow and with the student."""
    flow, fast = load(FLOW), load(FAST)
    runs = [golden.picture(flow, *run) for run in FLOW_RUNS]
    return {"pictures": runs + [drawn_by(fast, *run) for run in FAST_RUNS]}


def drawn_by(
    model: Student, steps: int, scale: float, prompt: str, negative: str, seed: int, count: int
) -> dict:
    """A run of the student: the page's request, and what Python makes of the same."""
    drawn = model.sample(
        prompt,
        negative or None,
        num_inference_steps=steps,
        guidance_scale=scale,
        seed=seed,
        num_images=count,
    )
    rule = {"rule": "negative_prompt" if negative else "classifier_free", "scale": scale}
    request = {
        "prompt": prompt,
        "negativePrompt": negative,
        "numInferenceSteps": steps,
        "seed": seed,
        "numImages": count,
        "guidance": rule,
    }
    return golden.found(model.name, request, drawn)


def tellings() -> list[dict]:
    """What `told` makes of scales and texts of three tokens, in float32."""
    scales = [1.0, 1.25, 2.0, MOST**0.5, 3.7, MOST]
    states = gaussian((len(scales), 3, 128), 5)
    rows = told(torch.tensor(scales), states)
    return [
        {"scale": scale, "states": p.flatten().tolist(), "told": row.tolist()}
        for scale, p, row in zip(scales, states, rows)
    ]


def refusals() -> list[dict]:
    """Requests that the student refuses, and what Python says of them."""
    model, wrong = load(FAST), []
    cases = [
        ({"numInferenceSteps": 20}, {"num_inference_steps": 20}),
        ({"numInferenceSteps": 3}, {"num_inference_steps": 3}),
        ({"sampler": "heun"}, {"sampler": "heun"}),
        ({"spacing": "leading"}, {"spacing": "leading"}),
        ({"eta": 0.5}, {"eta": 0.5}),
        ({"guidance": {"rule": "classifier_free", "scale": 0.5}}, {"guidance_scale": 0.5}),
        ({"guidance": {"rule": "classifier_free", "scale": 8}}, {"guidance_scale": 8.0}),
    ]
    for request, arguments in cases:
        try:
            model.sample("a cube", **arguments)
        except ValueError as error:
            wrong.append({"request": request, "message": str(error)})
        else:
            raise AssertionError(f"the student takes {arguments}")
    return wrong
