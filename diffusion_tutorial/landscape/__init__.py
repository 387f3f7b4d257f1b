"""The landscape of text-to-image systems: dated and sourced facts, and numbers that are computed.

load()      all systems of models.yaml, checked
counted()   parameters, FLOPs and memory of the open ones, from results/landscape.json
count       the counting itself, on torch's meta device
check()     everything that is wrong with the data, or has drifted from the installed diffusers
"""

from __future__ import annotations

import hashlib
import json

from ..results import read
from . import count
from .facts import FIELDS, Fact, Source, System, load, sources

__all__ = ["FIELDS", "Fact", "Source", "System", "check", "count", "counted", "digest", "load", "sources"]


def counted() -> dict[str, dict]:
    """What `count.count` gave for each system with a recipe, by id; the stored results of all."""
    return read("landscape")["measured"]


def digest() -> str:
    """Of all that the stored results depend on: recipes and component configurations."""
    parts = {system.id: system.count for system in load().values() if system.count}
    parts |= {name: count.component(name)["config"] for name in count.components()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def check() -> list[str]:
    """Faults, a line each: broken data, unknown components, stale results, drift from the installed diffusers."""
    from . import signatures

    try:
        systems = load()
    except ValueError as error:
        return [str(error)]
    faults = []
    for system in systems.values():
        recipe = system.count or {}
        stages = [recipe, *recipe.get("then", [])] if recipe else []
        names = [stage["denoiser"] for stage in stages] + recipe.get("others", [])
        faults += [
            f"{system.id}.count: no configs/{name}.json" for name in names if name not in count.components()
        ]
        steps = system["steps"].value
        if recipe and isinstance(steps, int) and steps != recipe["steps"]:
            faults.append(f"{system.id}.count.steps is {recipe['steps']}; the fact says {steps}")
    if read("landscape")["settings"]["digest"] != digest():
        faults.append(
            "results/landscape.json is of other recipes or configurations: "
            "python -m diffusion_tutorial.experiments.landscape"
        )
    return faults + signatures.drift(systems)
