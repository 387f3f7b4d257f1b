"""JupyterLab on the chapters, or on a course: `make lab`, `make lab COURSE=~/diffusion-course`.

Works as root too, as in most containers; there it listens on this machine only, like everywhere.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def command(course: str | None) -> tuple[list[str], Path]:
    """(words, folder to start in). Raises ValueError for a course that is no folder."""
    words = [sys.executable, "-m", "jupyterlab"]
    if course:
        folder = Path(course).expanduser().resolve()
        if not folder.is_dir():
            raise ValueError(f"COURSE is {str(folder)!r}; allowed: a folder that `make assignments` wrote")
    else:
        folder = ROOT
        words.append("--LabApp.default_url=/lab/tree/notebooks")
    words.append(f"--ServerApp.root_dir={folder}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        words.append("--allow-root")
    return words, folder


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--course", default="", help="a course's folder")
    parser.add_argument("rest", nargs="*", help="handed to JupyterLab, after --")
    options = parser.parse_args(argv)
    try:
        words, folder = command(options.course)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # nbgrader's programs, which the formgrader calls by name, are in this environment.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.chdir(folder)
    os.execv(words[0], [*words, *options.rest])


if __name__ == "__main__":
    raise SystemExit(main())
