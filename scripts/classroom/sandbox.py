"""A process that sees Python, the package and an empty folder, and neither files of ours, processes, nor network.

`bwrap` makes it where bubblewrap is installed, `unshare` on any other Linux that allows namespaces, else a command of
the instructor's, such as a container's. With none of these nothing is graded, unless the instructor asks for it.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KINDS = ("auto", "bwrap", "unshare", "command", "none")
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
DEVICES = ("null", "zero", "random", "urandom")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp",
    "IPYTHONDIR": "/tmp",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
HELP = (
    "no sandbox is to be had here, and submissions are programs of strangers; allowed: install bubblewrap "
    "(Debian: apt-get install bubblewrap), a container's command in `c.Grade.command`, or, at your own risk, "
    "`c.Grade.sandbox = 'none'`"
)


class NoSandbox(RuntimeError):
    """There is nothing here that would keep a submission in."""


def package() -> Path:
    """The folder of diffusion_tutorial, wherever it is installed."""
    return Path(importlib.util.find_spec("diffusion_tutorial").submodule_search_locations[0]).resolve()


def visible() -> list[tuple[str, str]]:
    """(there, inside): what a submission may read. Python, its libraries, the package; nothing of the course."""
    pairs = [(p, p) for p in SYSTEM if os.path.exists(p)]
    for prefix in dict.fromkeys((sys.base_prefix, sys.prefix)):
        if not any(Path(prefix).is_relative_to(p) for p in SYSTEM):
            pairs.append((os.path.realpath(prefix), prefix))
            if os.path.realpath(prefix) != prefix:
                pairs.append((os.path.realpath(prefix), os.path.realpath(prefix)))
    return [*pairs, (str(package()), "/package/diffusion_tutorial")]


def launch(kind: str, source: str, hidden: list[Path] = (), command: list[str] = ()) -> subprocess.Popen:
    """Start Python on `source` in a sandbox; stdin and stdout are pipes, stderr is kept.

    kind: one of KINDS, "auto" finds one. hidden: folders that must not be seen, even if they lie in what is visible.
    Raises NoSandbox if there is none.
    """
    kind = found(tuple(command)) if kind == "auto" else kind
    if kind not in KINDS:
        raise ValueError(f"sandbox is {kind!r}; allowed: {', '.join(KINDS)}")
    hidden = [str(Path(p).resolve()) for p in hidden]
    python = [sys.executable, "-I", "-B", "-c", source]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if kind == "bwrap":
        return subprocess.Popen([*bwrap(hidden), *python], env=ENVIRONMENT, cwd="/", **pipes)
    if kind == "unshare":
        place = tempfile.mkdtemp(prefix="sandbox-")
        setup = json.dumps({"root": place, "visible": visible(), "hidden": hidden, "run": python})
        enter = Path(__file__).with_name("enter.py").read_text(encoding="utf-8")
        words = [*unshare(), sys.executable, "-I", "-B", "-c", enter, setup]
        process = subprocess.Popen(words, env=ENVIRONMENT, cwd="/", start_new_session=True, **pipes)
        process.place = place
        return process
    if kind == "command":
        if not command:
            raise NoSandbox(
                "c.Grade.command is empty; allowed: a list of words that start Python in a container"
            )
        return subprocess.Popen([*command, "-I", "-B", "-c", source], start_new_session=True, **pipes)
    place = tempfile.mkdtemp(prefix="unboxed-")
    env = {**ENVIRONMENT, "PATH": os.environ.get("PATH", ""), "HOME": place, "TMPDIR": place}
    process = subprocess.Popen(python, env=env, cwd=place, start_new_session=True, **pipes)
    process.place = place
    return process


def close(process: subprocess.Popen) -> None:
    """End a sandbox and all that runs in it."""
    import signal

    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    process.wait()
    if place := getattr(process, "place", None):
        shutil.rmtree(place, ignore_errors=True)


def bwrap(hidden: list[str]) -> list[str]:
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for there, inside in visible():
        words += ["--ro-bind", there, inside]
    for name in hidden:
        if any(Path(name).is_relative_to(inside) for _, inside in visible()):
            words += ["--tmpfs", name]
    return [*words, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/tmp"]


def unshare() -> list[str]:
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *own, "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]


@functools.cache
def found(command: tuple[str, ...] = ()) -> str:
    """The kind of sandbox that works here. Raises NoSandbox if none does."""
    for kind in ("bwrap", "unshare"):
        if shutil.which(kind) and works(kind):
            return kind
    if command:
        return "command"
    raise NoSandbox(HELP)


def works(kind: str) -> bool:
    """Whether a sandbox of this kind starts and keeps the course's own files out."""
    probe = f"import os; print('in', os.path.exists({str(Path(__file__))!r}))"
    try:
        process = launch(kind, probe)
    except OSError:
        return False
    try:
        answer, _ = process.communicate(timeout=30)
        return answer.split() == [b"in", b"False"]
    except subprocess.TimeoutExpired:
        return False
    finally:
        close(process)
