"""Autoguidance and classifier-free guidance in the plane, where every error is known: results/guidance_plane.json.

    python -m diffusion_tutorial.experiments.guidance_plane

makes the file, in about a minute on one core. `COPIES` networks of each kind, from different weights, data and noise; every
rule starts from the same points, so differences from no guidance are taken copy by copy. Intervals are of the mean over
copies.
"""

from __future__ import annotations

from functools import cache

from .. import metrics
from ..mixtures import underfit
from ..results import RESULTS, Record

COPIES, POINTS = 8, 2000
SCALES = (1.25, 1.5, 2, 3)
RULES = {  # name -> (what it pushes away from, the level from which on)
    "autoguidance": ("weak", 0.0),
    "classifier-free": ("every", 0.0),
    "autoguidance, late": ("weak", underfit.LATE),
    "classifier-free, late": ("every", underfit.LATE),
}


def main() -> None:
    fitted = cache(lambda: underfit.fit(COPIES))
    own = cache(lambda: underfit.score(underfit.draw(underfit.guided(fitted(), "weak", 1), COPIES, POINTS)))
    record = Record(
        RESULTS / "guidance_plane.json",
        "networks fitted too little on eight blobs: errors by level, and what guidance does",
        "python -m diffusion_tutorial.experiments.guidance_plane",
        copies=COPIES,
        points=POINTS,
        steps=underfit.STEPS,
        less=underfit.LESS,
        late=underfit.LATE,
    )
    for a in underfit.LEVELS:
        record.measure(f"errors, {a:g}", lambda a=a: underfit.errors(fitted(), a))
    record.measure("none", lambda: {name: metrics.mean(values) for name, values in own().items()})
    record.measure("weak twin alone", lambda: alone(fitted()))
    for name, (other, late) in RULES.items():
        for scale in SCALES:
            record.measure(
                f"{name} {scale:g}",
                lambda o=other, s=scale, x=late: compared(
                    own(),
                    underfit.score(underfit.draw(underfit.guided(fitted(), o, s, x), COPIES, POINTS)),
                ),
            )
    for scale in (1, *SCALES):
        record.measure(f"exact {scale:g}", lambda s=scale: exact(s))


def alone(fitted: underfit.Fitted) -> dict:
    """The weak twin without the model."""
    found = underfit.score(underfit.draw(lambda x, a: fitted.eps("weak", x, a), COPIES, POINTS))
    return {name: metrics.mean(values) for name, values in found.items()}


def exact(scale: float) -> dict:
    """Classifier-free guidance with exact predictions; one run of as many points."""
    found = underfit.score(underfit.draw(underfit.exactly_guided(scale, 1), 1, COPIES * POINTS))
    return {name: values.item() for name, values in found.items()}


def compared(own: dict, other: dict) -> dict:
    """Means over copies, and of the differences from no guidance, copy by copy."""
    return {
        name: {"value": metrics.mean(other[name]), "less own": metrics.mean(other[name] - own[name])}
        for name in own
    }


if __name__ == "__main__":
    main()
