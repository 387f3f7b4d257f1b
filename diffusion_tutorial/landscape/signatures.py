"""What the installed diffusers says by itself: default steps, scales and the negative-prompt argument."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from .facts import System


def parameter(where: str) -> inspect.Parameter:
    """The parameter that "Class.method:argument" names. Raises LookupError where diffusers has it no more."""
    import diffusers

    path, _, argument = where.partition(":")
    class_name, _, method = path.partition(".")
    cls = getattr(diffusers, class_name, None)
    if cls is None:
        raise LookupError(f"diffusers has no {class_name}")
    function = getattr(cls, method, None)
    if function is None:
        raise LookupError(f"{class_name} has no {method}")
    found = inspect.signature(function).parameters
    if argument not in found:
        raise LookupError(f"{path} has no argument {argument}")
    return found[argument]


def negative_prompt(class_name: str) -> str:
    """ "no" without the argument; "conditional" where it waits for another one, true_cfg_scale; else "yes"."""
    import diffusers

    names = inspect.signature(getattr(diffusers, class_name).__call__).parameters
    if "negative_prompt" not in names:
        return "no"
    return "conditional" if "true_cfg_scale" in names else "yes"


def edits(class_name: str) -> str:
    """ "yes" where the pipeline's call takes a picture beside the prompt, else "no"."""
    import diffusers

    names = inspect.signature(getattr(diffusers, class_name).__call__).parameters
    return "yes" if "image" in names else "no"


def default(where: str) -> object:
    """The default value of "Class.method:argument"; a schedule of guidance scales becomes "7.0 x 45, 3.0 x 3"."""
    value = parameter(where).default
    if isinstance(value, tuple):
        return ", ".join(f"{v} x {value.count(v)}" for v in dict.fromkeys(value))
    return value


def drift(systems: Mapping[str, System]) -> list[str]:
    """Where models.yaml and the installed diffusers differ, a line each; empty if nowhere."""
    import diffusers

    faults = []
    for system in systems.values():
        for field, fact in system.facts.items():
            if not fact.where:
                continue
            label = f"{system.id}.{field}"
            try:
                if field == "pipeline":
                    found = fact.value if hasattr(diffusers, fact.value) else "no such class"
                elif field == "negative_prompt":
                    found = negative_prompt(fact.where.partition(".")[0])
                elif field == "edits":
                    found = edits(fact.where.partition(".")[0])
                elif field in ("prediction", "text_encoders"):
                    annotation = parameter(fact.where).annotation
                    name = str(getattr(annotation, "__name__", annotation))
                    found = fact.value if name in fact.excerpt else name
                else:
                    found = default(fact.where)
            except (LookupError, AttributeError) as error:
                faults.append(f"{label}: {error}")
                continue
            if found != fact.value:
                faults.append(
                    f"{label}: models.yaml says {fact.value!r}, diffusers {diffusers.__version__} {found!r} "
                    f"({fact.where})"
                )
    return faults
