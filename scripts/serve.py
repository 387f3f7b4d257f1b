"""Serve the built site on this machine alone.

python scripts/serve.py [--port 8000] [--folder _build/html]
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import re
import sys
from functools import lru_cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TRIES = 20
TEXT = (".html", ".css", ".js", ".mjs", ".json", ".svg", ".xml", ".txt", ".map")  # what gzip makes smaller
SMALL = 600  # bytes below which it is not worth it


@lru_cache(maxsize=512)
def compressed(path: str, changed: int, size: int) -> bytes:
    """The file's bytes as gzip; kept until it changes."""
    return gzip.compress(Path(path).read_bytes(), 6, mtime=0)


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder, with the site's own page for those that are not there, and without a log."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".woff2": "font/woff2",
    }

    def log_message(self, *_) -> None:
        pass

    def send_head(self):
        """As in the standard library; a text goes compressed to a browser that takes it so."""
        path = self.translate_path(self.path)
        if path.endswith("/"):
            path += "index.html"
        takes = "gzip" in self.headers.get("Accept-Encoding", "")
        if not takes or not path.endswith(TEXT) or not os.path.isfile(path):
            return super().send_head()
        state = os.stat(path)
        if state.st_size < SMALL or "If-Modified-Since" in self.headers:
            return super().send_head()
        body = compressed(path, state.st_mtime_ns, state.st_size)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Vary", "Accept-Encoding")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", self.date_time_string(state.st_mtime))
        self.end_headers()
        return io.BytesIO(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        page = Path(self.directory) / "404.html"
        if code != 404 or not page.exists():
            return super().send_error(code, message, explain)
        # The page names the site's own address as its base; here the site is at the top.
        body = re.sub(rb'<base href="[^"]*"', b'<base href="/"', page.read_bytes(), count=1)
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True


def open_server(folder: Path, port: int, tries: int = TRIES) -> Server:
    """A server of `folder` on `port`, or on the next free one of `tries`; port 0 takes any free one."""
    if not (folder / "index.html").exists():
        raise FileNotFoundError(f"{folder} holds no built site: run `make site` first")
    handler = partial(Handler, directory=str(folder))
    for candidate in range(port, port + tries) if port else (0,):
        try:
            return Server(("127.0.0.1", candidate), handler)
        except OSError:
            continue
    raise OSError(f"ports {port} to {port + tries - 1} are taken: choose another with PORT=…")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--folder", type=Path, default=Path("_build/html"))
    options = parser.parse_args()
    if not 0 <= options.port <= 65535:
        parser.error(f"--port is {options.port}; it must lie in 0 to 65535")
    try:
        server = open_server(options.folder, options.port)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    chosen = server.server_address[1]
    if options.port not in (0, chosen):
        print(f"Port {options.port} is taken.")
    print(f"The book is at http://127.0.0.1:{chosen}/ (stop with Ctrl+C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
