"""Which text-to-image pipelines of the installed diffusers take a negative prompt, and when they use it.

Read from the library's source text, so nothing of it is imported and the answer is about the version at hand:

    for row in support():
        print(row.family, row.pipeline, row.takes_negative, row.condition)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SCALES = ("true_cfg_scale", "guidance_scale", "prior_guidance_scale", "decoder_guidance_scale")


@dataclass(frozen=True)
class Support:
    """What a pipeline's `__call__` and source say."""

    family: str  # diffusers' own name of the family
    pipeline: str
    takes_negative: bool  # __call__ has an argument negative_prompt
    scales: dict[str, float | None]  # each guidance scale argument -> its default
    condition: str  # when the second branch runs, in the words of the source; "" where there is no such line
    zeros_when_empty: bool  # without a negative the second branch gets zeros, where the checkpoint says so
    embeds_scale: bool  # the network may be given the scale as an input: guidance-distilled

    @property
    def off_by_default(self) -> bool:
        """With default arguments a negative prompt has no effect: the scale that switches it is 1 or less."""
        switch = [
            value for name, value in self.scales.items() if name in self.condition and value is not None
        ]
        return self.takes_negative and bool(switch) and max(switch) <= 1


@cache
def support() -> tuple[Support, ...]:
    """A row for each family that `AutoPipelineForText2Image` knows, in its order; controlled variants left out.

    Raises ModuleNotFoundError without diffusers.
    """
    spec = find_spec("diffusers")
    if spec is None:
        raise ModuleNotFoundError(
            "diffusers is not installed; allowed: any version that requirements.txt admits"
        )
    folder = Path(spec.origin).parent / "pipelines"
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("**/*.py"))}
    rows = []
    for family, pipeline in _text_to_image(sources[folder / "auto_pipeline.py"]):
        if re.search(r"controlnet|control|-pag", family) or any(row.pipeline == pipeline for row in rows):
            continue
        for text in sources.values():
            if f"\nclass {pipeline}(" in text:
                rows.append(_read(family, pipeline, text))
                break
    return tuple(rows)


def _text_to_image(source: str) -> Iterator[tuple[str, str]]:
    """(family, class name) of the mapping in auto_pipeline.py."""
    table = source.split("AUTO_TEXT2IMAGE_PIPELINES_MAPPING", 1)[1].split("\n)", 1)[0]
    yield from re.findall(r'\(\s*"([^"]+)",\s*(\w+),?\s*\)', table)


def _read(family: str, pipeline: str, source: str) -> Support:
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == pipeline)
    methods = {n.name: n for n in body.body if isinstance(n, ast.FunctionDef)}
    call = methods["__call__"]
    arguments = [*call.args.posonlyargs, *call.args.args, *call.args.kwonlyargs]
    defaults = dict(zip([a.arg for a in call.args.args][::-1], call.args.defaults[::-1]))
    names = {argument.arg for argument in arguments}
    scales = {}
    for name in SCALES:
        if name in names:
            value = defaults.get(name)
            scales[name] = value.value if isinstance(value, ast.Constant) else None
    text = ast.get_source_segment(source, body) or ""
    return Support(
        family,
        pipeline,
        "negative_prompt" in names,
        scales,
        _condition(methods),
        "force_zeros_for_empty_prompt" in text,
        "guidance_embeds" in text or "time_cond_proj_dim" in text,
    )


def _condition(methods: dict[str, ast.FunctionDef]) -> str:
    """The expression that decides whether the second branch runs."""
    flag = methods.get("do_classifier_free_guidance")
    for node in ast.walk(flag) if flag else ():
        if isinstance(node, ast.Return):
            return _plain(node.value)
    for node in ast.walk(methods["__call__"]):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id in ("do_true_cfg", "do_classifier_free_guidance", "perform_guidance"):
                return _plain(node.value)
    return ""


def _plain(expression: ast.expr) -> str:
    return re.sub(r"self\._?", "", ast.unparse(expression))
