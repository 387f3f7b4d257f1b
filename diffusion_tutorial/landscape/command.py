"""`python -m diffusion_tutorial landscape`: the table, one system, JSON, or a check of all of it."""

from __future__ import annotations

import json
import sys

from ..errors import allowed


def main(args) -> int:
    """Print what was asked for. Returns 0, or 1 where --check found faults. Raises ValueError for bad input."""
    from . import boards, check, counted, load, table

    if args.check:
        if args.system or args.json:
            raise ValueError("--check stands alone; allowed: no system and no --json beside it")
        faults = check()
        for fault in faults:
            print(fault, file=sys.stderr)
        print(
            f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}"
            if faults
            else "nothing to mend: schema, sources, counts and diffusers agree"
        )
        return 1 if faults else 0
    systems, numbers = load(), counted()
    if args.system and args.system not in systems:
        raise ValueError(allowed("system", args.system, ", ".join(systems)))
    chosen = {args.system: systems[args.system]} if args.system else systems
    rows = table.rows(chosen, numbers, boards().values())
    if args.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif args.system:
        print(table.one_as_text(systems[args.system], numbers.get(args.system)))
    else:
        print(table.as_text(rows))
    return 0
