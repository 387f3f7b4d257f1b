"""What the number of training levels is for: the same tiny networks with 20, 100 or 1000 levels to practise on.

python -m diffusion_tutorial.experiments.levels      makes results/few-steps-levels.json anew, minutes on two cores
"""

from __future__ import annotations

from ..mixtures.tiny import compare_levels
from ..results import RESULTS, Record
from ..schedules import NoiseSchedule

NETWORKS, TRAINING_STEPS, POINTS, SEED = 8, 2000, 4000, 0


def main() -> None:
    record = Record(
        RESULTS / "few-steps-levels.json",
        "sliced Wasserstein distance to the data by training levels and DDIM steps, a value a network",
        "python -m diffusion_tutorial.experiments.levels",
        networks=NETWORKS,
        training_steps=TRAINING_STEPS,
        points=POINTS,
        seed=SEED,
    )
    record.measure(
        "distance", lambda: compare_levels(NoiseSchedule.linear(), NETWORKS, TRAINING_STEPS, POINTS, SEED)
    )


if __name__ == "__main__":
    main()
