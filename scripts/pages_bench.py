"""What a page weighs and how long a phone waits for it: `python scripts/pages_bench.py [--folder _build/html]`.

Each page is opened in Chromium as a first visit, 390 px wide, through scripts/serve.py, which compresses. Bytes are
those of every answer until the load event, without a scroll or a tap. Times are taken on a line of 1.44 Mbit/s and
562 ms, with a processor four times slower, and are medians of five visits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import FLAGS, find
from published.book import order
from serve import open_server

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("html", "styles", "fonts", "scripts", "pictures", "other")
BARS = {"html": 120, "styles": 30, "fonts": 70, "scripts": 40, "pictures": 40, "total": 300}  # kB
TIME_BARS = {"first paint": 2.5, "shift": 0.05, "blocking": 0.3}  # s, –, s
LINE = {"offline": False, "latency": 562, "downloadThroughput": 1.44e6 / 8, "uploadThroughput": 0.675e6 / 8}
SLOWER, VISITS = 4, 5
PHONE = {"width": 390, "height": 844}
_TYPES = {
    "Document": "html",
    "Stylesheet": "styles",
    "Font": "fonts",
    "Script": "scripts",
    "Image": "pictures",
}
WATCH = """() => {
  window.seen = { lcp: 0, shift: 0, blocking: 0 };
  const on = (type, take) =>
    new PerformanceObserver((list) => list.getEntries().forEach(take)).observe({ type, buffered: true });
  on("largest-contentful-paint", (e) => (seen.lcp = e.startTime));
  on("layout-shift", (e) => e.hadRecentInput || (seen.shift += e.value));
  on("longtask", (e) => (seen.blocking += Math.max(0, e.duration - 50)));
}"""
READ = """() => ({ ...seen, paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN })"""


def pages() -> list[str]:
    """The book's pages, as `_toc.yml` names them."""
    return order(ROOT / "_toc.yml")


@contextmanager
def first_visit(browser, slow: bool = False) -> Iterator[tuple]:
    """(page, session): a window of a phone with an empty cache; on the slow line and processor if asked."""
    context = browser.new_context(viewport=PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(120_000)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": False})
    if slow:
        session.send("Network.emulateNetworkConditions", LINE)
        session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    yield page, session
    context.close()


def weigh(browser, address: str) -> dict[str, float]:
    """kB of each kind, and their total, until the load event of a first visit."""
    with first_visit(browser) as (page, session):
        kinds: dict[str, str] = {}
        ended: list[tuple[str, float, float]] = []
        session.on("Network.responseReceived", lambda e: kinds.update({e["requestId"]: e["type"]}))
        session.on(
            "Network.loadingFinished",
            lambda e: ended.append((e["requestId"], e["timestamp"], e["encodedDataLength"])),
        )
        load: list[float] = []
        session.send("Page.enable")
        session.on("Page.loadEventFired", lambda e: load.append(e["timestamp"]))
        page.goto(address, wait_until="load")
        page.wait_for_timeout(400)  # for events under way
        found = dict.fromkeys(KINDS, 0.0)
        for request, when, size in ended:
            if when <= load[0] + 0.05:
                found[_TYPES.get(kinds.get(request, ""), "other")] += size / 1e3
    return found | {"total": sum(found.values())}


def time(browser, address: str) -> dict[str, float]:
    """Seconds to the first and the largest paint, layout shift, seconds of blocked main thread; one slow first visit."""
    with first_visit(browser, slow=True) as (page, _):
        page.add_init_script(f"({WATCH})()")
        page.goto(address, wait_until="load")
        page.wait_for_timeout(1500)
        seen = page.evaluate(READ)
    return {
        "first paint": seen["paint"] / 1e3,
        "largest paint": seen["lcp"] / 1e3,
        "shift": seen["shift"],
        "blocking": seen["blocking"] / 1e3,
    }


def timed(browser, address: str, visits: int = VISITS) -> dict[str, float]:
    runs = [time(browser, address) for _ in range(visits)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def main() -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "_build/html")
    parser.add_argument(
        "--visits", type=int, default=VISITS, help="slow visits of a page; 0 measures bytes alone"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("pages", nargs="*", help="pages of _toc.yml; all if none is named")
    options = parser.parse_args()
    server = open_server(options.folder, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{server.server_address[1]}"
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        for name in options.pages or pages():
            found[name] = weigh(browser, f"{at}/{name}.html")
            if options.visits:
                found[name] |= timed(browser, f"{at}/{name}.html", options.visits)
            if not options.json:
                show(name, found[name])
        browser.close()
    server.shutdown()
    if options.json:
        print(json.dumps(found))
    return 0


def show(name: str, found: dict[str, float]) -> None:
    parts = []
    for key, value in found.items():
        bar = (BARS | TIME_BARS).get(key)
        unit = (
            "" if key == "shift" else " s" if key in ("first paint", "largest paint", "blocking") else " kB"
        )
        digits = ".0f" if unit == " kB" else ".2f"
        parts.append(f"{key} {value:{digits}}{unit}{' OVER' if bar is not None and value > bar else ''}")
    print(f"{name}: {', '.join(parts)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
