"""`load` asks each question once: every file of weights is opened for checking once, and every index is read once."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import torch

from diffusion_tutorial.checkpoints import families, load, random_pipeline, sources


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("once") / "pipeline"
    random_pipeline(folder=made)
    return made


def test_each_file_is_opened_once_to_look_at_it(folder, monkeypatch):
    opened, read, asked = [], [], []
    real_open, real_read, real_chain = safetensors.safe_open, sources._read_index, families.schedule_of
    monkeypatch.setattr(safetensors, "safe_open", lambda f, **k: opened.append(Path(f)) or real_open(f, **k))
    monkeypatch.setattr(sources, "_read_index", lambda f: read.append(f) or real_read(f))
    monkeypatch.setattr(families, "schedule_of", lambda *a: asked.append(a) or real_chain(*a))
    load(folder, device="cpu")
    weights = sorted(folder.rglob("*.safetensors"))
    assert sorted(opened) == weights and len(weights) == 3
    assert len(read) == 1 and len(asked) == 1


def test_headers_are_those_of_the_files(folder):
    source = sources.Folder(folder)
    for component in source.weights():
        (file,) = (folder / component).glob("*.safetensors")
        with safetensors.safe_open(file, framework="pt") as tensors:
            wanted = {name: tuple(tensors.get_tensor(name).shape) for name in tensors.keys()}
        assert dict(source.headers(component)) == wanted
    held = sum(t.parameters for t in source.tensors().values())
    parts = random_pipeline().components.values()
    assert held == sum(
        p.numel() for m in parts if isinstance(m, torch.nn.Module) for p in m.state_dict().values()
    )


def test_a_family_row_names_all_that_is_particular():
    """No class of a pipeline or a tokenizer is named in the code beside the table of families."""
    home = Path(families.__file__).parent
    words = {kind for kind in families.FAMILIES} | set(families.WORDS) | set().union(
        *(f.homes for f in families.FAMILIES.values())
    )  # fmt: skip
    for path in sorted(home.glob("*.py")):
        if path.name in ("families.py", "random_pipelines.py"):
            continue
        code = "\n".join(
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if not line.lstrip().startswith("#")
        )
        parts = code.split('"""')
        bare = "".join(parts[::2])  # without docstrings
        assert not [word for word in words if f'"{word}"' in bare], path.name
