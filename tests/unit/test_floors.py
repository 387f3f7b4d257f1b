"""The floors of the package: imports run downwards, and never in a circle. HOUSE, in `FLOORS`, is what a newcomer sees.

A module may import from its own floor (without a circle) and from those below. An import inside a function counts too:
it hides the cost of an import, not its direction.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "diffusion_tutorial"
NAME = PACKAGE.name

# From the ground up. A folder stands for all that is in it.
FLOORS = (
    ("_faces", "errors", "words", "noise", "schedules", "predictions"),
    ("results", "samplers"),
    ("guidance", "metrics", "plots"),
    ("text_to_image",),
    ("mixtures", "checkpoints", "still_life"),
    ("training", "widgets", "landscape"),
    ("experiments", "bench", "cli", "__main__"),
)
# What lies beside others on its floor and may not know them: three worlds, each on its own.
APART = (
    ("mixtures", "checkpoints"),
    ("mixtures", "still_life"),
    ("widgets", "training"),
    ("widgets", "landscape"),
)


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found[".".join(parts)] = path
    return found


MODULES = modules()


def imported(name: str, path: Path) -> set[str]:
    """Our modules that a module imports, anywhere in it; those that a face shows by name count as the face."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = [part for part in package if part][: len(package) - node.level + 1]
                base += node.module.split(".") if node.module else []
            elif node.module and node.module.split(".")[0] == NAME:
                base = node.module.split(".")[1:]
            else:
                continue
            for alias in node.names:
                longer = ".".join([*base, alias.name])
                found.add(longer if longer in MODULES else ".".join(base))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == NAME:
                    found.add(".".join(parts[1:]))
    return {module for module in found if module and module != name}


IMPORTS = {name: imported(name, path) for name, path in MODULES.items() if name}


def floor(module: str) -> int:
    top = module.split(".")[0]
    return next(k for k, names in enumerate(FLOORS) if top in names)


def test_every_module_has_a_floor():
    tops = {name.split(".")[0] for name in MODULES if name}
    listed = [name for names in FLOORS for name in names]
    assert sorted(tops) == sorted(listed), "a module without a floor, or a floor without a module"


def test_no_import_runs_upwards():
    upwards = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if floor(other) > floor(module)
    ]
    assert not upwards, "; ".join(upwards)


def test_worlds_do_not_know_one_another():
    for one, two in APART:
        for module, others in IMPORTS.items():
            for other in others:
                pair = (module.split(".")[0], other.split(".")[0])
                assert pair not in ((one, two), (two, one)), f"{module} imports {other}"


def test_no_circle():
    """Neither between modules nor between rooms. (The real world knows the one that ships, by its name.)"""
    edges = IMPORTS
    assert circle(edges) is None
    rooms: dict[str, set[str]] = {}
    for module, others in edges.items():
        room = module.split(".")[0]
        rooms.setdefault(room, set()).update(o.split(".")[0] for o in others if o.split(".")[0] != room)
    assert circle(rooms) is None


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    """A way that leads back to its start, or None."""
    done: set[str] = set()

    def walk(at: str, way: list[str]) -> list[str] | None:
        if at in way:
            return [*way[way.index(at) :], at]
        if at in done:
            return None
        for other in sorted(edges.get(at, ())):
            if found := walk(other, [*way, at]):
                return found
        done.add(at)
        return None

    for start in sorted(edges):
        if found := walk(start, []):
            return found
    return None


def test_the_finder_of_circles_finds_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) is None


@pytest.mark.parametrize("room", ["mixtures", "plots", "checkpoints", "results"])
def test_faces_show_names_that_are_there(room):
    import importlib

    face = importlib.import_module(f"{NAME}.{room}")
    for name in getattr(face, "__all__", ()):
        assert getattr(face, name) is not None
    for module in MODULES:  # a name that is a module's too would be hidden by importing that
        if module.startswith(f"{room}."):
            assert module.split(".")[1] not in getattr(face, "__all__", ())
