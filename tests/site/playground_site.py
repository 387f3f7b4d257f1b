"""A small site of playgrounds for the browser: the real element, worker and pictures, and an engine that is quick.

Its server can be slow, and can spoil what it serves: a file that is missing, damaged, or cut short.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "book" / "_ext")]

import stage  # noqa: E402
from serve import Handler  # noqa: E402

import playground  # noqa: E402

SOURCE = ROOT / "playground" / "src"
FAKE = ROOT / "tests" / "site" / "fake"
SIZES = {"unet.onnx": 900_000, "decoder.onnx": 300_001}
# The U-Nets of the models beside the classic.
FURTHER = {"still-life-flow": 200_000, "still-life-fast": 250_000}
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>Playground</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="styles/custom.css"><link rel="stylesheet" href="styles/playground.css">
<link rel="stylesheet" href="styles/stage.css">
<style>body {{ margin: 0; background: var(--pst-color-background); color: var(--pst-color-text-base); }}
html[data-theme="light"] .only-dark, html[data-theme="dark"] .only-light {{ display: none !important; }}
main {{ max-width: 46rem; margin: 0 auto; padding: 1rem; }}</style>
<script type="module" src="static/{program}.mjs"></script></head>
<body><main class="bd-article"><h1>Playground</h1>{body}</main></body></html>"""


class Faults:
    """What the server does wrong: seconds between pieces of 32 kB, faults by the end of a path ("missing", "damaged",
    "cut", or "held" until `go` is set), and a policy that it sends with every answer."""

    def __init__(self):
        self.pause, self.policy = 0.0, ""
        self.by_path: dict[str, str] = {}
        self.asked: list[str] = []
        self.go = threading.Event()


class FaultyHandler(Handler):
    def __init__(self, *args, faults: Faults, **kwargs):
        self.faults = faults
        super().__init__(*args, **kwargs)

    def end_headers(self):
        if self.faults.policy:
            self.send_header("Content-Security-Policy", self.faults.policy)
        super().end_headers()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.faults.asked.append(path)
        kind = next((fault for end, fault in self.faults.by_path.items() if path.endswith(end)), None)
        if kind is None and not (self.faults.pause and path.endswith(".bin")):
            return super().do_GET()
        if kind == "missing":
            return self.send_error(404)
        if kind == "held":
            self.faults.go.wait(60)
        data = bytearray(Path(self.translate_path(path)).read_bytes())
        if kind == "damaged":
            data[len(data) // 2] ^= 1
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if kind == "cut":
            data = data[: len(data) // 2]
        try:
            for at in range(0, len(data), 32_768):
                self.wfile.write(data[at : at + 32_768])
                time.sleep(self.faults.pause)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the page gave the download up
        self.close_connection = True


def write(folder: Path, pace: int = 2, dead: bool = False) -> None:
    """The site's files, with the quick engine. pace: milliseconds a step of it; dead: it does not start."""
    static = frame(folder)
    shutil.copytree(FAKE, static, dirs_exist_ok=True)
    (static / "model").mkdir()
    files = [put(static / "model", name, size) for name, size in SIZES.items()]
    models = {
        name: {"files": [put(static / "model", f"unet-{name}.onnx", size)]} for name, size in FURTHER.items()
    }
    manifest = {"files": files, "models": models, "pace": pace, "dead": dead}
    (static / "model" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    pages(folder)


def put(folder: Path, name: str, size: int) -> dict:
    """A file of so many bytes that its name decides, and its entry of the manifest."""
    data = (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]
    digest = hashlib.sha256(data).hexdigest()
    path = f"{name.partition('.')[0]}-{digest[:12]}.bin"
    (folder / path).write_bytes(data)
    return {"name": name, "path": path, "bytes": size, "sha256": digest}


def write_real(folder: Path) -> None:
    """The site's files, with the engine and the exported model. FileNotFoundError where nothing was exported."""
    if not (playground.MODEL / "manifest.json").is_file():
        raise FileNotFoundError("the model is not exported: run `make model`")
    shutil.copytree(playground.MODEL, frame(folder) / "model")
    pages(folder)


def frame(folder: Path) -> Path:
    """Program, pictures and styles; returns the folder of the program."""
    static = folder / "static"
    shutil.copytree(SOURCE, static)
    shutil.copytree(playground.STILLS, static / "stills")
    shutil.copytree(stage.PICTURES, static / stage.FOLDER)
    (folder / "styles").mkdir()
    for style in (ROOT / "book" / "_static").glob(
        "*.css"
    ):  # without the faces, which this site does not have
        lines = style.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("@font-face")]
        (folder / "styles" / style.name).write_text("\n".join(kept), encoding="utf-8")
    return static


def pages(folder: Path) -> None:
    for theme in ("light", "dark"):
        for name in playground.stills():
            page(folder / f"{name}-{theme}.html", theme, element(name))
        for name in stage.facts():
            text = (
                stage.element(name, "static", live_model(name)) + "<p>" + "What stands below. " * 40 + "</p>"
            )
            page(folder / f"stage-{name}-{theme}.html", theme, text, "stage")
    page(folder / "two.html", "light", element("intro") + element("few-steps"))
    page(folder / "bare.html", "light", element("intro").replace(attributes(), ""))
    page(folder / "index.html", "light", "<p>Pages of one playground each.</p>")


def attributes(name: str = "intro") -> str:
    """What the directive would write of this site's models."""
    return playground.attributes(("manifest.json", sizes(name)), "static")


def sizes(preset: str) -> dict[str, float]:
    """Megabytes of the models of a preset, by name."""
    known = {"still-life": sum(SIZES.values()) / 1e6} | {model: size / 1e6 for model, size in FURTHER.items()}
    return {model: known[model] for model in playground.stills()[preset].get("models", ["still-life"])}


def live_model(name: str) -> dict | None:
    """What the stage is told of this site's models, whether or not real ones were exported."""
    preset = stage.facts()[name]["preset"]
    if preset is None:
        return None
    told = stage.told("manifest.json", sizes(preset), "static")
    return told | {"manifest": "static/model/manifest.json"}


def element(name: str) -> str:
    """The directive's HTML, with this site's model, whether or not a real one was exported."""
    text = playground.element(name, "static")
    if name == "mixture":
        return text
    opening = f'<diffusion-playground preset="{name}"'
    return f"{opening}{attributes(name)}>" + text[text.index(">") + 1 :]


def page(path: Path, theme: str, body: str, program: str = "element") -> None:
    path.write_text(PAGE.format(theme=theme, body=body, program=program), encoding="utf-8")


def serve(folder: Path) -> tuple[str, Faults, ThreadingHTTPServer]:
    """(address, what it may do wrong, the server), on a free port of this machine."""
    faults = Faults()
    handler = partial(FaultyHandler, directory=str(folder), faults=faults)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}", faults, server
