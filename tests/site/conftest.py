"""One build of the site for all tests of this folder, served on loopback."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from chromium import FLAGS, find  # noqa: E402
from serve import open_server  # noqa: E402


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> Path:
    """A fresh build, warnings being errors; or the folder that SITE_HTML names."""
    if "SITE_HTML" in os.environ:
        return Path(os.environ["SITE_HTML"])
    output = tmp_path_factory.mktemp("site")
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(ROOT), "--path-output", str(output)]
    done = subprocess.run(
        [*command, "--warningiserror", "--keep-going"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"the site does not build:\n{done.stderr[-4000:]}"
    return output / "_build" / "html"


@pytest.fixture(scope="session")
def address(html) -> str:
    """Where the built site is served, without a closing slash."""
    server = open_server(html, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all files: a second Playwright in the same process refuses to start beside the first."""
    from playwright.sync_api import sync_playwright

    path = find()
    assert path, "no Chromium: run `python scripts/chromium.py --ensure`"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield launched
        launched.close()
