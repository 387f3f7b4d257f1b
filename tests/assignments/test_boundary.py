"""The judge's boundary: what goes through the pipe, what a sandbox shows, how a damaged notebook is mended."""

import json
import shutil
import sys
from pathlib import Path

import nbformat
import numpy
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from classroom import checks, codec, repair, sandbox, source  # noqa: E402
from classroom.judge import Gone, Host, Phase  # noqa: E402


@pytest.fixture(scope="module")
def host():
    with Host() as host:
        yield host


def phase(host, code, names=(), seconds=20.0):
    cell = {"kind": "own", "source": code, "say": True, "of": "it"}
    return Phase(host, [cell], names, seconds, 3.0)


# --- the pipe -----------------------------------------------------------------------------------------------


def there_and_back(value, plain=False):
    blobs = []
    data = json.loads(json.dumps(codec.encode(value, blobs, lambda f: 7)))
    return codec.decode(data, blobs, lambda number, name: (number, name), plain)


@pytest.mark.parametrize(
    "value", [None, True, 3, -2.5, "ä 数", [1, (2, "x")], {"a": 1, 2: [None]}, {1, 2}, (), "", [[]]]
)
def test_plain_values_come_as_they_were(value):
    back = there_and_back(value)
    assert back == value and type(back) is type(value)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 4), (2, 3)])
def test_tensors_come_as_they_were_and_as_float64_for_the_judge(dtype, shape):
    value = (torch.rand(shape) * 9).to(getattr(torch, dtype))
    back = there_and_back(value)
    assert back.dtype == value.dtype and back.shape == value.shape and bool((back == value).all())
    for_judge = there_and_back(value, plain=True)
    assert for_judge.dtype == (torch.float64 if value.is_floating_point() else value.dtype)


def test_what_has_a_class_of_its_own_loses_it():
    class Agrees(dict):
        def __eq__(self, other):
            return True

    class Number(float):
        __eq__ = __lt__ = lambda self, other: True

    assert type(there_and_back(Agrees(a=1))) is dict and type(there_and_back(Number(2))) is float
    assert type(there_and_back(torch.nn.Parameter(torch.ones(2)), plain=True)) is torch.Tensor
    assert there_and_back(numpy.float32(0.5)) == 0.5 and there_and_back(print) == (7, "print")
    array = there_and_back(numpy.eye(2), plain=True)
    assert type(array) is torch.Tensor and array.dtype == torch.float64


def test_what_is_not_passed_on_is_said():
    deep = []
    deep.append(deep)
    for value, why in (
        (object(), "type object"),
        (deep, "deep"),
        (torch.ones(2, device="meta"), "meta"),
        (1j, "complex"),
    ):
        with pytest.raises(codec.Undecodable, match=why):
            codec.encode(value, [])


@pytest.mark.parametrize(
    "data",
    [[], ["tensor"], ["tensor", "float64", [9], 0, False], ["tensor", "complex64", [1], 0, False], ["os.system", 1],
     ["list", 3], {"a": 1}, ["tensor", "float64", [1], 5, False], ["function", "x", 1]],
)  # fmt: skip
def test_bytes_that_are_no_value_are_refused(data):
    with pytest.raises(codec.Undecodable):
        codec.decode(data, [b"\0" * 8])


# --- a process of its own -------------------------------------------------------------------------------------


def test_a_call_goes_there_and_back_with_functions_and_derivatives(host):
    code = """
import torch
def slope(x, f):
    y = x.clone().requires_grad_()
    return torch.autograd.grad(f(y).sum(), y)[0]
def twice(f, x): return f(f(x))
def change(x):
    x += 1
    return None
def fails(): raise KeyError("nothing")
"""
    one = phase(host, code, ["slope", "twice", "change", "fails"])
    try:
        x = torch.arange(4.0).reshape(2, 2)
        assert torch.equal(one.values["slope"](x, lambda p: (p**3).sum(1)), (3 * x**2).double())
        assert one.values["twice"](lambda v: v + 1, 5) == 7
        one.values["change"](x)
        assert torch.equal(x, torch.arange(4.0).reshape(2, 2) + 1), (
            "as in one process, what is changed is changed"
        )
        with pytest.raises(KeyError):
            one.values["fails"]()
    finally:
        one.close()


def test_time_runs_out_and_the_next_question_has_its_own(host):
    one = phase(host, "while True:\n    pass", ["f"], seconds=2.0)
    assert one.gone == "the time is up"
    one.close()
    two = phase(host, "import time\ndef f(): time.sleep(60)\ndef g(): return 1", ["f", "g"])
    with pytest.raises(Gone, match="f: the time is up"):
        two.values["f"]()
    with pytest.raises(Gone):
        two.values["g"]()
    two.close()
    three = phase(host, "g = 3", ["g"])
    assert three.values == {"g": 3}
    three.close()


@pytest.mark.parametrize("kind", ["bwrap", "unshare"])
def test_a_sandbox_shows_python_and_the_package_and_nothing_else(kind):
    if not shutil.which(kind) or not sandbox.works(kind):
        pytest.skip(f"{kind} does not work here")
    code = f"""
import os, socket
def tried(do):
    try:
        do()
        return "done"
    except OSError as error:
        return type(error).__name__
import diffusion_tutorial, torch
seen = [os.path.exists(p) for p in ({str(ROOT / "assignments")!r}, {str(ROOT / "scripts")!r}, {str(ROOT / ".git")!r},
                                    {str(ROOT / "Makefile")!r}, "/etc/passwd", "/etc/shadow")]
written = tried(lambda: open(diffusion_tutorial.__file__, "a"))
also = tried(lambda: open(torch.__file__, "a"))
net = tried(lambda: socket.create_connection(("1.1.1.1", 53), 2))
mount = os.system("mount -t tmpfs none /usr 2>/dev/null") != 0
own = tried(lambda: open("/tmp/own", "w"))
processes = len([p for p in os.listdir("/proc") if p.isdigit()]) if os.path.isdir("/proc/1") else 0
"""
    with Host(kind) as host:
        one = phase(host, code, ["seen", "written", "also", "net", "mount", "own", "processes"])
        one.close()
    assert one.values["seen"] == [False] * 6, one.cells
    assert one.values["written"] != "done" != one.values["also"]
    assert one.values["net"] != "done" and one.values["own"] == "done" and one.values["mount"] is True
    assert one.values["processes"] <= 5


def test_without_a_sandbox_nothing_is_graded(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.found.cache_clear()
    try:
        with pytest.raises(sandbox.NoSandbox, match="allowed: install bubblewrap"):
            sandbox.found()
        assert sandbox.found(("docker", "run")) == "command"
    finally:
        sandbox.found.cache_clear()
    with pytest.raises(ValueError, match="sandbox is 'box'; allowed: auto, bwrap"):
        sandbox.launch("box", "")


# --- mended ---------------------------------------------------------------------------------------------------

NAME = "few-steps"


@pytest.fixture(scope="module")
def release():
    return source.emptied(source.source(NAME, "a"), "raise NotImplementedError()")


GIVES = {"forward-jump": ("forward_jump",), "order": ("measured_order",), "fewest": ("fewest",)}


def copy_of(release):
    return nbformat.reads(nbformat.writes(release), as_version=4)


def ids(notebook):
    return [c.metadata["nbgrader"]["grade_id"] for c in notebook.cells if "nbgrader" in c.metadata]


def mended(notebook, release):
    made, remarks = repair.repair(notebook, release, GIVES)
    assert ids(made) == ids(release)
    for cell, ours in zip([c for c in made.cells if "nbgrader" in c.metadata],
                          [c for c in release.cells if "nbgrader" in c.metadata]):  # fmt: skip
        assert cell.metadata == ours.metadata
        if not ours.metadata["nbgrader"]["solution"]:
            assert cell.source == ours.source
    return made, remarks


def put(notebook, key, text):
    cell = next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == key)
    cell.source = text
    return cell


def test_an_untouched_notebook_needs_nothing(release):
    made, remarks = mended(copy_of(release), release)
    assert remarks == [] and [c.source for c in made.cells] == [c.source for c in release.cells]


def test_a_pasted_cell_stops_nobody(release):
    notebook = copy_of(release)
    cell = put(notebook, "order", "def measured_order(s, e): return 1")
    pasted = nbformat.from_dict(dict(cell))
    pasted.source = "def measured_order(s, e): return 2"
    notebook.cells.append(pasted)
    made, remarks = mended(notebook, release)
    assert remarks == ["the cell of 'order' was there twice; both run, in their order"]
    at = next(
        k for k, c in enumerate(made.cells) if c.metadata.get("nbgrader", {}).get("grade_id") == "order"
    )
    assert (
        made.cells[at + 1].source.endswith("return 2") and made.cells[at + 1].metadata["copy_of"] == "order"
    )


def test_an_untouched_copy_does_not_cost_the_answer(release):
    notebook = copy_of(release)
    stub = nbformat.from_dict(dict(next(c for c in release.cells if c.get("id") == "order")))
    put(notebook, "order", "def measured_order(s, e): return 1")
    for place in (0, len(notebook.cells)):
        other = copy_of(notebook)
        other.cells.insert(place, nbformat.from_dict(dict(stub)))
        made, remarks = mended(other, release)
        assert next(c for c in made.cells if c.get("id") == "order").source.endswith("return 1")
        assert len(made.cells) == len(release.cells) and remarks


def test_stripped_marks_are_found_again(release):
    notebook = copy_of(release)
    put(notebook, "order", "def measured_order(s, e): return 1")
    for keep_ids in (True, False):
        stripped = copy_of(notebook)
        for k, cell in enumerate(stripped.cells):
            cell.metadata = nbformat.NotebookNode()
            if not keep_ids:
                cell["id"] = f"cell-{k}"
        made, remarks = mended(stripped, release)
        assert next(c for c in made.cells if c.get("id") == "order").source.endswith("return 1")
        assert any("lost its mark" in r for r in remarks)


def test_deleted_and_altered_cells_are_put_back(release):
    notebook = copy_of(release)
    put(notebook, "posterior-mean", "assert True")
    gone = [c for c in ids(notebook) if c in ("forward-jump-twice", "order-exact", ids(notebook)[0])]
    notebook.cells = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") not in gone]
    _, remarks = mended(notebook, release)
    assert {f"the cell {key!r} was missing, and is put back" for key in gone} < set(remarks)
    assert "the cell 'posterior-mean' was altered; the release's is taken" in remarks


def test_points_of_the_students_own_are_the_releases(release):
    notebook = copy_of(release)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.metadata["nbgrader"]["points"] = 100.0
    mended(notebook, release)


def test_own_cells_stay_where_they_were(release):
    notebook = copy_of(release)
    at = next(k for k, c in enumerate(notebook.cells) if c.get("id") == "posterior")
    notebook.cells.insert(at, nbformat.v4.new_code_cell("helper = 1"))
    made, _ = mended(notebook, release)
    assert made.cells[at].source == "helper = 1"


@pytest.mark.parametrize(
    "files, remark",
    [
        ({"few-steps-final.ipynb": None}, "is called 'few-steps-final.ipynb'"),
        ({}, "there is no few-steps.ipynb"),
        ({"a.ipynb": None, "b.ipynb": None}, "notebooks: a.ipynb, b.ipynb"),
        ({"few-steps.ipynb": ""}, "no notebook"),
        ({"few-steps.ipynb": "[]"}, "no notebook"),
        ({"few-steps.ipynb": '{"cells": 3}'}, "no notebook"),
        ({"few-steps.ipynb": '{"cells": [{}]}'}, "no notebook"),
        ({"few-steps.ipynb": '{"cells": []}'}, ""),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, release, files, remark):
    for name, text in files.items():
        (tmp_path / name).write_text(nbformat.writes(release) if text is None else text)
    notebook, remarks = repair.read(tmp_path, NAME)
    assert remark in " ".join(remarks)
    mended(notebook, release)


def test_a_damaged_notebook_keeps_its_points(host):
    """Answers in cells without marks, with own cells between and tests deleted: all points."""
    bench = checks.Bench("landscape", host)
    notebook = bench.notebook(source.Submission(""))
    notebook.cells = [c for c in notebook.cells if not c.metadata.get("nbgrader", {}).get("grade")]
    for k, cell in enumerate(notebook.cells):
        cell.metadata, cell["id"] = nbformat.NotebookNode(), f"c{k}"
    assert bench.points(notebook) == bench.most
