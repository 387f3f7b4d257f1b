"""A WebKit to drive: Debian's WebKitWebDriver over its HTTP, as the W3C's WebDriver has it, on a screen of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

DRIVER = shutil.which("WebKitWebDriver")
SCREEN = shutil.which("Xvfb")
MISSING = "" if DRIVER and SCREEN else "no WebKit to drive: apt-get install webkit2gtk-driver xvfb"
STARTS, ANSWERS = 60, 120  # seconds
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the W3C's name for a reference to an element
# A machine for tests has no graphics card.
DRAWS = {
    "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
    "WEBKIT_DISABLE_DMABUF_RENDERER": "1",
    "LIBGL_ALWAYS_SOFTWARE": "1",
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class WebKit:
    """One browser without a visible window. RuntimeError with the driver's words where it refuses."""

    def __init__(self, folder: Path):
        read, write = os.pipe()
        self.processes = [
            subprocess.Popen(
                [SCREEN, "-displayfd", str(write), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"],
                pass_fds=[write],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        ]
        os.close(write)
        with os.fdopen(read) as pipe:
            display = pipe.readline().strip()
        if not display:
            raise RuntimeError("Xvfb ended before it named its display")
        port = free_port()
        home = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "DISPLAY": f":{display}"}
        with (folder / "driver.log").open("w") as log:
            self.processes.append(
                subprocess.Popen(
                    [DRIVER, f"--port={port}"], stdout=log, stderr=log, env=os.environ | home | DRAWS
                )
            )
        self.address = f"http://127.0.0.1:{port}"
        self.session = ""
        self._wait()
        asked = {"capabilities": {"alwaysMatch": {"pageLoadStrategy": "normal"}}}
        answer = self.send("POST", "/session", asked)
        self.session = f"/session/{answer['sessionId']}"
        self.agent = answer["capabilities"]["browserVersion"]
        limits = {"script": ANSWERS * 1000, "pageLoad": ANSWERS * 1000}
        self.send("POST", f"{self.session}/timeouts", limits)

    def _wait(self) -> None:
        end = time.monotonic() + STARTS
        while True:
            try:
                return self.send("GET", "/status")
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end or self.processes[-1].poll() is not None:
                    self.close()
                    raise
                time.sleep(0.2)

    def send(self, method: str, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWERS + 10) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            said = json.load(error)["value"]
            raise RuntimeError(f"{said['error']}: {said['message']}") from None

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded: the driver's answer may come while the last one is still there."""
        self.send("POST", f"{self.session}/url", {"url": url})
        end = time.monotonic() + ANSWERS
        while self.ask("return [location.href, document.readyState];") != [url, "complete"]:
            if time.monotonic() > end:
                raise RuntimeError(f"{url} has not loaded in {ANSWERS} s")
            time.sleep(0.05)

    def size(self, width: int, height: int) -> None:
        self.send("POST", f"{self.session}/window/rect", {"width": width, "height": height})

    def ask(self, body: str, *arguments):
        """What the body of an async function comes to in the page; its arguments are `given`."""
        script = (
            "const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);"
            f"(async () => {{ {body} }})().then((value) => done([value]), (e) => done(String(e)));"
        )
        sent = {"script": script, "args": list(arguments)}
        found = self.send("POST", f"{self.session}/execute/async", sent)
        if not isinstance(found, list):
            raise RuntimeError(found)
        return found[0]

    def press(self, selector: str, keys: str) -> None:
        """Press keys on the first element of a CSS selector, as a reader's keyboard does."""
        found = self.send("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        self.send("POST", f"{self.session}/element/{found[ELEMENT]}/value", {"text": keys})

    def picture(self) -> str:
        """The window as PNG, base64."""
        return self.send("GET", f"{self.session}/screenshot")

    def close(self) -> None:
        if self.session:
            try:
                self.send("DELETE", self.session)
            except (RuntimeError, OSError):
                pass
        for process in reversed(self.processes):
            process.terminate()
            process.wait(20)
