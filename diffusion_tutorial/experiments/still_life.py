"""Every bar of Still Life, measured: results/still_life.json.

python -m diffusion_tutorial.experiments.still_life -o diffusion_tutorial/results/still_life.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..checkpoints import load
from ..results import machine, plain
from ..still_life.evaluate import PARTS, bars, evaluate
from ..still_life.judge import Judge


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a Still Life folder (default: the shipped one)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="measure these alone")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the full sample counts, to look quickly"
    )
    parser.add_argument("--frechet-scales", type=float, nargs="+", default=[1, 1.5, 2])
    parser.add_argument(
        "-o", "--out", type=Path, help="a JSON file; parts not measured now stay as they are in it"
    )
    args = parser.parse_args(argv)
    model = load(str(args.model) if args.model else "still-life")
    judge = Judge.load(args.model / "judge.safetensors" if args.model else None)
    found = plain(evaluate(model, judge, args.parts, args.share, args.frechet_scales))
    words = sys.argv[1:] if argv is None else argv
    found["command"] = " ".join(["python -m diffusion_tutorial.experiments.still_life", *words])
    found["machine"] = machine()
    if args.out:
        kept = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
        found = {**kept, **found}
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if set(PARTS) <= set(found):
        for what, got, sign, bar, met in bars(found):
            print(f"{what}: {got:.4g} ({sign} {bar:g}) {'met' if met else 'not met'}")


if __name__ == "__main__":
    main()
