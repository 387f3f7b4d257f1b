"""A notebook opened alone, on Colab or from an empty folder, gets the package and nothing else."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from address import Address  # noqa: E402

import notebooks as pairing  # noqa: E402

NAMES = [path.stem for path in pairing.chapters(ROOT / "book")]


def installs_with(monkeypatch, present: bool) -> list[str]:
    """What the cell asks pip for, in a kernel where the package is or is not."""
    asked = []
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "run_line_magic", lambda name, line, *a, **k: asked.append(f"{name} {line}"))
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "diffusion_tutorial" and not present else real(name, *a),
    )
    code = shell.transform_cell(pairing.install_cell().source)
    exec(code, {"get_ipython": lambda: shell})
    return asked


def test_nothing_is_installed_where_the_package_is(monkeypatch):
    assert installs_with(monkeypatch, present=True) == []


def test_the_package_is_installed_where_it_is_missing(monkeypatch):
    address = Address.read()
    assert installs_with(monkeypatch, present=False) == [
        f'pip install --quiet "diffusion-tutorial @ git+{address.repository}@{address.branch}"'
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_cell_comes_before_all_other_code_and_is_not_on_the_page(name):
    source = pairing.read_source(ROOT / "book" / f"{name}.md")
    first = next(cell for cell in source.cells if cell.cell_type == "code")
    assert first.source == pairing.install_cell().source and first.metadata.tags == ["remove-cell"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder, tree = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    # A copy, since setuptools leaves its work beside the sources.
    shutil.copytree(
        ROOT / "diffusion_tutorial",
        tree / "diffusion_tutorial",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(tree)], check=True, timeout=300)
    (file,) = folder.glob("*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_holds_the_weights_and_results_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = ROOT / "diffusion_tutorial"
    for kind in ("still_life/model/**/*", "results/*.json", "landscape/*.yaml", "landscape/**/*.json"):
        for file in package.glob(kind):
            if file.is_file():
                assert f"diffusion_tutorial/{file.relative_to(package).as_posix()}" in names
    outside = [
        n for n in names if not re.match(r"diffusion_tutorial/|diffusion_tutorial-[^/]*\.dist-info/", n)
    ]
    assert not outside and not [n for n in names if "test_" in n or "__pycache__" in n]


@pytest.mark.slow
def test_an_install_beside_torch_leaves_torch_alone(wheel, tmp_path):
    report = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--ignore-installed",
        "--no-deps",
    ]
    subprocess.run([*command, "--report", str(report), str(wheel)], check=True, timeout=300)
    (mine,) = json.loads(report.read_text())["install"]
    needs = [n for n in mine["metadata"]["requires_dist"] if "extra ==" not in n]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--report",
        str(report),
        *needs,
    ]
    subprocess.run(command, check=True, timeout=300)
    assert json.loads(report.read_text())["install"] == []  # what is here is enough: nothing is replaced


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_an_empty_folder_with_the_wheel_alone(wheel, tmp_path, name, monkeypatch):
    place, folder = tmp_path / "packages", tmp_path / "empty"
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(place),
        str(wheel),
    ]
    subprocess.run(command, check=True, timeout=300)
    monkeypatch.setenv("PYTHONPATH", str(place))  # ahead of the development install
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    probe = "import diffusion_tutorial\nprint(diffusion_tutorial.__file__)"
    notebook.cells.append(nbformat.v4.new_code_cell(probe))
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert notebook.cells[-1].outputs[0].text.startswith(str(place))
    assert not any(folder.iterdir()), "the notebook left files behind"
