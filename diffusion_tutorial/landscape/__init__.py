"""The landscape of text-to-image systems: dated and sourced facts, and numbers that are computed.

load()      all systems of models.yaml, checked
boards()    dated preferences, the newest first
licences()  what each licence allows
counted()   parameters, FLOPs and memory of the open ones, from results/landscape.json
count       the counting itself, on torch's meta device
check()     everything that is wrong with the data, or has drifted from the installed diffusers
"""

from __future__ import annotations

import hashlib
import json
import re

from ..results import read
from . import count
from .facts import FIELDS, Board, Fact, Licence, Report, Source, System, boards, licences, load, sources

__all__ = [
    "Board",
    "FIELDS",
    "Fact",
    "Licence",
    "Report",
    "Source",
    "System",
    "boards",
    "check",
    "count",
    "counted",
    "digest",
    "licences",
    "load",
    "sources",
]


def counted() -> dict[str, dict]:
    """What `count.count` gave for each system with a recipe, by id; the stored results of all."""
    return read("landscape")["measured"]


def digest() -> str:
    """Of all that the stored results depend on: recipes and component configurations."""
    parts = {system.id: system.count for system in load().values() if system.count}
    parts |= {name: count.component(name)["config"] for name in count.components()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _recipe_against_facts(system: System) -> list[str]:
    """A recipe has the maker's steps, else the library's, and the size that the resolution begins with."""
    recipe, faults = system.count, []
    steps = [system[field].value for field in ("maker_steps", "library_steps")]
    steps = next((value for value in steps if isinstance(value, int)), None)
    if steps is not None and steps != recipe["steps"]:
        faults.append(f"{system.id}.count.steps is {recipe['steps']}; the fact says {steps}")
    size = re.match(r"(\d+)\b(?! to)", str(system["resolution"].value))
    last = [recipe, *recipe.get("then", [])][-1]["size"]
    if size and int(size[1]) != last:
        faults.append(f"{system.id}.count.size is {last}; the resolution is {system['resolution'].value}")
    return faults


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
        if recipe:
            faults += _recipe_against_facts(system)
    if read("landscape")["settings"]["digest"] != digest():
        faults.append(
            "results/landscape.json is of other recipes or configurations: "
            "python -m diffusion_tutorial.experiments.landscape"
        )
    return faults + signatures.drift(systems)
