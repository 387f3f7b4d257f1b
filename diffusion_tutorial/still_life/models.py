"""The models of the family in one table, `KNOWN`, and those whose weights come with this installation, `MODELS`.

`load(name)` makes any of the latter.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple


class Shipped(NamedTuple):
    """One model of the family.

    folder lies beside this file; what it lacks of a pipeline (text encoder, tokenizer, autoencoder) is that of the model
    named `shares`, so that nothing is stored twice.
    """

    name: str
    title: str
    folder: str
    predicts: str  # a key of `predictions.PREDICTIONS`
    shares: str | None = None
    student: bool = False  # of few evaluations, guidance being an input: `checkpoints.student`

    @property
    def path(self) -> Path:
        """Where its files are."""
        return Path(str(resources.files("diffusion_tutorial") / "still_life" / self.folder))


KNOWN: dict[str, Shipped] = {
    row.name: row
    for row in (
        Shipped("still-life", "Still Life", "model", "epsilon"),
        Shipped("still-life-flow", "Still Life, the flow", "model_flow", "flow", shares="still-life"),
        Shipped(
            "still-life-fast", "Still Life, fast", "model_fast", "flow", shares="still-life", student=True
        ),
        Shipped("still-life-weak", "Still Life, the weak twin", "model_weak", "epsilon", shares="still-life"),
    )
}

# Those whose weights are here. The classic always counts: without it an installation is not whole, and `load` says so.
MODELS: dict[str, Shipped] = {
    name: row for name, row in KNOWN.items() if row.shares is None or row.path.is_dir()
}
