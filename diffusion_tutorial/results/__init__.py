"""Results that took long, kept as JSON in the package: what was measured, by which command, when and where.

python -m diffusion_tutorial.experiments.few_steps      makes or completes results/few_steps.json
read("few_steps")                                       gives a chapter what is in it
"""

from __future__ import annotations

import datetime
import json
import math
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from importlib import resources
from pathlib import Path

import torch

RESULTS = Path(str(resources.files(__name__)))


class Record:
    """A results file that is written after each measurement, so that a run that was stopped goes on.

    Args:
        path: the JSON file; what is in it already is kept, and not measured again.
        what: one sentence, what the numbers are.
        command: how to make the file anew.
        settings: what all measurements share. Raises ValueError where the file was made with other ones.
    """

    def __init__(self, path: str | Path, what: str, command: str, **settings):
        self.path = Path(path)
        settings = plain(settings)
        if self.path.exists():
            self.found = json.loads(self.path.read_text(encoding="utf-8"))
            if self.found["settings"] != settings:
                raise ValueError(
                    f"{self.path.name} was made with the settings {self.found['settings']}; "
                    "allowed: the same "
                    f"ones as now, {settings}, or another file"
                )
        else:
            self.found = {"settings": settings, "seconds": 0.0, "measured": {}}
        self.found |= {"what": what, "command": command}

    def __contains__(self, key: str) -> bool:
        return key in self.found["measured"]

    def __getitem__(self, key: str):
        return self.found["measured"][key]

    def measure(self, key: str, function: Callable[[], object]) -> object:
        """The value of `key`: from the file, or else function()'s, which is written at once."""
        if key not in self:
            start = time.perf_counter()
            self.found["measured"][key] = plain(function())
            self.found["seconds"] = round(self.found["seconds"] + time.perf_counter() - start, 1)
            self.found |= {
                "commit": commit(),
                "date": datetime.date.today().isoformat(),
                "machine": machine(),
            }
            self._write()
        return self[key]

    def _write(self) -> None:
        order = ("what", "command", "commit", "date", "machine", "seconds", "settings", "measured")
        text = json.dumps({key: self.found[key] for key in order}, indent=1, ensure_ascii=False)
        part = self.path.with_suffix(".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(self.path)


def read(name: str) -> dict:
    """The shipped results of that name: what, command, commit, date, machine, seconds, settings, measured.

    Raises FileNotFoundError that lists the names there are.
    """
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        names = sorted(path.stem for path in RESULTS.glob("*.json"))
        raise FileNotFoundError(f"name is {name!r}; allowed: {', '.join(names)}")
    return json.loads(file.read_text(encoding="utf-8"))


def plain(value):
    """The same in JSON's types. Dataclasses (an `Estimate`) become objects; a number that is not finite raises
    ValueError."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a result is {value}; allowed: finite numbers")
        return float(f"{value:.6g}")
    return value


def machine() -> str:
    """The processor, what torch uses of it, torch's version, and the CUDA devices there are."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join([name, f"{torch.get_num_threads()} thread(s)", f"torch {torch.__version__}", *cards])


def commit() -> str:
    """The repository's commit, with "-dirty" where tracked files differ from it; "unknown" outside a repository.

    Results themselves do not count: a run that writes its second file is not of other code than the first.
    """
    try:
        name = _git("rev-parse", "--short=10", "HEAD").strip()
        changed = _git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/", f":(exclude){RESULTS}/*.json"
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{name}-dirty" if changed.strip() else name


def _git(*arguments: str) -> str:
    call = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=20).stdout
