"""The playground in Firefox, where one is installed: it loads the exported model and samples the picture of Python.

Playwright drives only a Firefox of its own, so the few commands that are needed go to the browser's Marionette.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402

FIREFOX = next((path for name in ("firefox-esr", "firefox") if (path := shutil.which(name))), None)
STARTS, RUNS = 60, 120  # seconds

pytestmark = [
    pytest.mark.site,
    pytest.mark.slow,
    pytest.mark.skipif(FIREFOX is None, reason="no Firefox: apt-get install firefox-esr"),
]


class Marionette:
    """A Firefox without a window. `await_script` runs the body of an async function in the page."""

    def __init__(self, profile: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        profile.mkdir()
        prefs = (
            f'user_pref("marionette.port", {port});\nuser_pref("browser.shell.checkDefaultBrowser", false);\n'
        )
        (profile / "user.js").write_text(prefs, encoding="utf-8")
        command = [FIREFOX, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.socket = self._connect(port)
        self.number = 0
        self._read()  # its greeting
        self.send("WebDriver:NewSession", {"capabilities": {}})
        self.send("WebDriver:SetTimeouts", {"script": RUNS * 1000, "pageLoad": RUNS * 1000})

    def _connect(self, port: int) -> socket.socket:
        end = time.monotonic() + STARTS
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=RUNS + 10)
            except ConnectionRefusedError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.close()
                    raise
                time.sleep(0.2)

    def _read(self):
        size = b""
        while not size.endswith(b":"):
            size += self.socket.recv(1)
        data = b""
        while len(data) < int(size[:-1]):
            data += self.socket.recv(int(size[:-1]) - len(data))
        return json.loads(data)

    def send(self, command: str, parameters: dict):
        self.number += 1
        text = json.dumps([0, self.number, command, parameters]).encode()
        self.socket.sendall(f"{len(text)}:".encode() + text)
        _, number, error, result = self._read()
        assert number == self.number and error is None, error
        return result

    def await_script(self, body: str):
        script = (
            f"const done = arguments[0]; (async () => {{ {body} }})().then(done, (e) => done(String(e)));"
        )
        return self.send("WebDriver:ExecuteAsyncScript", {"script": script, "args": []})["value"]

    def close(self):
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    opened = Marionette(tmp_path_factory.mktemp("firefox") / "profile")
    yield opened
    opened.close()


def test_firefox_samples_the_picture_that_python_sampled(firefox, tmp_path):
    playground_site.write_real(tmp_path / "site")
    address, _, running = playground_site.serve(tmp_path / "site")
    firefox.send("WebDriver:Navigate", {"url": f"{address}/still-life-light.html"})
    found = firefox.await_script(
        """
        const element = document.querySelector("diffusion-playground");
        const root = element.shadowRoot;
        root.querySelector("button.main").click();
        const until = performance.now() + 100000;
        while (performance.now() < until) {
          await new Promise((resolve) => setTimeout(resolve, 100));
          const trouble = root.querySelector("[role=alert]");
          if (!trouble.hidden) return { wrong: trouble.textContent };
          if (/Done/.test(root.querySelector(".bar .note")?.textContent)) break;
        }
        const side = 32; // small enough that enlarging and WebP's own loss do not show
        const bytes = (picture) => {
          const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
          const context = canvas.getContext("2d");
          context.imageSmoothingQuality = "high";
          context.drawImage(picture, 0, 0, side, side);
          return context.getImageData(0, 0, side, side).data;
        };
        const live = bytes(root.querySelector(".row canvas"));
        const still = bytes(element.querySelector("img"));
        const apart = live.reduce((sum, value, k) => sum + Math.abs(value - still[k]), 0) / (side * side * 3);
        return { apart, note: root.querySelector(".bar .note").textContent, agent: navigator.userAgent };
        """
    )
    running.shutdown()
    assert isinstance(found, dict) and "wrong" not in found, found
    assert "Firefox" in found["agent"] and found["note"].startswith("Done in"), found
    assert found["apart"] < 4, f"the mean difference is {found['apart']:.1f} of 255"
