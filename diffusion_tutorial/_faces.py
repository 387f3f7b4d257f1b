"""Packages whose names are imported when first used, so that importing one part never pays for the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def face(package: str, modules: Mapping[str, Sequence[str]]) -> tuple[Callable, Callable, list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package that shows names of its modules as its own.

    modules: module -> the names that it gives. No name may be a module's too: importing that would hide it.
    """
    home = {name: module for module, names in modules.items() for name in names}
    if both := sorted(set(home) & set(modules)):
        raise ValueError(f"modules is {both[0]!r} -> {both[0]!r}; allowed: names that are no module's")

    def get(name: str):
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted({*vars(sys.modules[package]), *home}), sorted(home)
