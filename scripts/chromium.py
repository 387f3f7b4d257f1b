"""Find the Chromium that the browser test drives; install Debian's where that can be done.

python scripts/chromium.py --ensure
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The path of a Chromium: `$CHROMIUM` if it is set, else the first of NAMES on the PATH."""
    chosen = os.environ.get("CHROMIUM")
    if chosen:
        return shutil.which(chosen)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install() -> None:
    """Install Debian's chromium with apt-get."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], check=True, env=environment, stdin=subprocess.DEVNULL)
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ensure", action="store_true", help="install it with apt-get if it is missing")
    options = parser.parse_args()
    if find() is None and options.ensure:
        advice = "The browser test needs Chromium. Install it, or set CHROMIUM to the path of one."
        if shutil.which("apt-get") is None:
            print(f"{advice} (There is no apt-get here to do it.)", file=sys.stderr)
            return 1
        if os.geteuid() != 0:
            print(f"{advice} On Debian: sudo apt-get install chromium", file=sys.stderr)
            return 1
        try:
            install()
        except subprocess.CalledProcessError as error:
            print(f"{advice} ({' '.join(error.cmd[:2])} failed with {error.returncode}.)", file=sys.stderr)
            return 1
    path = find()
    print(path or "no Chromium found")
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main())
