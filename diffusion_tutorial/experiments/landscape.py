"""Parameters, FLOPs and memory of every system of the landscape whose component configurations we have.

python -m diffusion_tutorial.experiments.landscape      makes results/landscape.json anew, in about a minute
"""

from __future__ import annotations

from ..landscape import count, digest, load
from ..results import RESULTS, Record


def main() -> None:
    path = RESULTS / "landscape.json"
    settings = {"digest": digest(), "flops": "a multiplication with its addition is 2; one picture, no batch"}
    try:
        record = open_record(path, settings)
    except ValueError:  # other recipes or configurations: nothing of the old file is of use
        path.unlink()
        record = open_record(path, settings)
    for system in load().values():
        if system.count:
            found = record.measure(system.id, lambda recipe=system.count: count.count(recipe))
            print(f"{system.name:28} {found['flops_image'] / 1e12:9.1f} TFLOP an image", flush=True)


def open_record(path, settings: dict) -> Record:
    what = "parameters, FLOPs of a call and of an image, bytes in bf16, counted on torch's meta device"
    return Record(path, what, "python -m diffusion_tutorial.experiments.landscape", **settings)


if __name__ == "__main__":
    main()
