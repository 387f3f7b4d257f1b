"""Perp-Neg where prompt and negative share a part: the prompt "a red sphere" and the negative "red", on Still Life.

    python -m diffusion_tutorial.experiments.perp_neg

makes or completes results/perp_neg.json, about ten minutes on one core; every setting is written when it is done.

Pictures are drawn and read as in `experiments.negative_prompts`, from the same noises. "weights" asks the network at the
states of one run: how much of the pushes of "a sphere" and of "red" each rule contains, by least squares, and what
the formula says, with k measured at the same states. The file that ships has the weights alone; the command adds 500
pictures of each rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import metrics
from ..checkpoints import load
from ..guidance import PerpNeg, classifier_free, negative_prompt, perpendicular_negative, three_branch
from ..noise import gaussian
from ..results import RESULTS, Record, read
from ..still_life.judge import Judge
from .negative_prompts import NOISE, SCALE, STEPS, Results, Setting, measure, none, used

PROMPT, SHAPE, SHARED = "a red sphere", "a sphere", "red"
AT = (0, 1, 2, 3, 5, 8, 11, 14, 17)  # steps at which the network is asked
PERP = Setting(f"{PROMPT}, scale {SCALE:g}, perpendicular, {SHARED}", PROMPT, (SHARED,), PerpNeg(SCALE))


def settings() -> list[Setting]:
    return [PERP, used(SCALE, SHARED, PROMPT), none(SCALE, PROMPT)]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


@torch.no_grad()
def weights(model, n: int = 64, scale: float = SCALE) -> list[dict]:
    """Of each step in `AT`: k, and for each rule the weights of the two pushes, means over n states.

    The pushes of the two words are not quite at right angles, and that of the prompt is not their sum: "unexplained" is
    the share of its length that no combination of the two gives.
    """
    start = gaussian((n, *model.latent_shape), NOISE)
    run = model.sample(
        PROMPT, num_inference_steps=STEPS, guidance_scale=scale, num_images=n, latents=start
    ).trajectory
    found = []
    for step in AT:
        x_t, t = run[step].x_t, run[step].t
        e_0, e_p, e_n, e_a = (model.eps(x_t, t, text) for text in (None, PROMPT, SHARED, SHAPE))
        d_a, d_b, d_p = e_a - e_0, e_n - e_0, e_p - e_0
        pushes = {
            "plain": classifier_free(e_0, e_p, scale),
            "used": negative_prompt(e_n, e_p, scale),
            "guess": three_branch(e_0, e_p, e_n, scale, scale),
            "Perp-Neg": perpendicular_negative(e_0, e_p, e_n, scale),
        }
        basis = torch.stack([d_a.flatten(1), d_b.flatten(1)], 2).double()
        by_rule = {}
        for name, eps in pushes.items():
            solved = torch.linalg.lstsq(basis, (eps - e_0).flatten(1).double()[:, :, None]).solution[:, :, 0]
            by_rule[name] = {"shape": metrics.mean(solved[:, 0]), "shared": metrics.mean(solved[:, 1])}
        whole = d_p.flatten(1).double()
        rest = whole - (basis @ torch.linalg.lstsq(basis, whole[:, :, None]).solution)[:, :, 0]
        found.append(
            {
                "t": t,
                "k": metrics.mean(_dot(d_b, d_b) / (_dot(d_a, d_a) + _dot(d_b, d_b))),
                "cosine": metrics.mean(_dot(d_a, d_b) / (_dot(d_a, d_a) * _dot(d_b, d_b)).sqrt()),
                "unexplained": metrics.mean(rest.norm(dim=1) / whole.norm(dim=1)),
                "weights": by_rule,
            }
        )
    return found


def stored() -> Results:
    """The stored measurement; `Results` of the chapter's first one reads it."""
    return Results(read("perp_neg"))


def main() -> None:
    record = Record(
        RESULTS / "perp_neg.json",
        "Still Life: the prompt 'a red sphere' with the negative 'red', by Perp-Neg and by the formula in use",
        "python -m diffusion_tutorial.experiments.perp_neg",
        noise=NOISE,
        steps=STEPS,
        sampler="ddim",
    )
    model, judge = load(), Judge.load()
    record.measure("weights", lambda: weights(model))
    for setting in settings():
        record.measure(setting.name, lambda s=setting: measure(model, judge, s))


if __name__ == "__main__":
    main()
