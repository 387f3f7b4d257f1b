"""How fast the playground is in Chromium: `python scripts/playground_bench.py` prints a table with the bars beside.

The exported model, the page's own worker, a guided run (two rows a step). Needs `make model` and Chromium; memory is
the renderer's resident size, read from /proc, and left out where there is none.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import playground_site  # noqa: E402
from chromium import FLAGS, find  # noqa: E402

RUNS = 50
BARS = {  # name: (the most that is allowed, unit)
    "first load, with the runtime's program": (14.0, "MB"),
    "script before the reader's word, one preset": (60.0, "kB"),
    "script before the reader's word, with the plane": (60.0, "kB"),
    "a guided step, median": (50.0, "ms"),
    "20 guided steps and the picture": (1.5, "s"),
    "longest frame gap while sampling": (100.0, "ms"),
    "longest frame gap of the plane": (100.0, "ms"),
    "memory after the first picture": (200.0, "MB"),
    f"memory after {RUNS} more": (200.0, "MB"),
}
SAMPLE = """async ([steps, preview]) => {
  const { clientFor } = await import("./static/client.mjs");
  const client = clientFor(new URL("static/model/manifest.json", document.baseURI).href);
  const request = { prompt: "a large shiny red sphere on a green floor", negativePrompt: "", sampler: "ddim", eta: 0,
    numInferenceSteps: steps, seed: Math.floor(1e6 * performance.now()) % 2 ** 31, numImages: 1,
    guidance: { rule: "classifier_free", scale: 4 } };
  const times = [performance.now()];
  const frames = [];
  let running = true;
  const frame = (now) => { frames.push(now); if (running) requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  await new Promise((resolve, reject) => client.run([{ key: "one", request, film: false }],
    { step: () => times.push(performance.now()), done: resolve, error: reject }, preview));
  running = false;
  const gaps = (list) => list.slice(1).map((time, k) => time - list[k]);
  return { steps: gaps(times), whole: performance.now() - times[0], frames: gaps(frames) };
}"""
SCRIPTS = """() => performance.getEntriesByType("resource").filter((e) => e.name.endsWith(".mjs"))
  .reduce((sum, e) => sum + e.decodedBodySize, 0)"""
FRAMES = """() => new Promise((resolve) => {
  const frames = [];
  const frame = (now) => { frames.push(now); frames.length < 180 ? requestAnimationFrame(frame) : resolve(frames); };
  requestAnimationFrame(frame);
}).then((frames) => frames.slice(1).map((time, k) => time - frames[k]))"""


def measure() -> dict[str, float]:
    """What BARS names, in its units."""
    from playwright.sync_api import sync_playwright

    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder) / "site"
        playground_site.write_real(site)
        address, _, server = playground_site.serve(site)
        model = site / "static" / "model"
        found["first load, with the runtime's program"] = sum(f.stat().st_size for f in model.iterdir()) / 1e6
        browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(f"{address}/mixture-light.html")
        page.locator(".plane canvas").wait_for()
        found["longest frame gap of the plane"] = max(page.evaluate(FRAMES))
        found["script before the reader's word, with the plane"] = page.evaluate(SCRIPTS) / 1e3
        page.goto(f"{address}/intro-light.html")
        page.wait_for_timeout(500)
        found["script before the reader's word, one preset"] = page.evaluate(SCRIPTS) / 1e3
        before = memory(browser)
        page.get_by_role("button", name="Load the model").click()
        page.get_by_text("Done in").wait_for()
        after = memory(browser)
        page.wait_for_timeout(1000)
        quiet = [page.evaluate(SAMPLE, [20, False]) for _ in range(5)]
        found["a guided step, median"] = statistics.median(s for run in quiet for s in run["steps"])
        found["20 guided steps and the picture"] = statistics.median(run["whole"] for run in quiet) / 1e3
        shown = [page.evaluate(SAMPLE, [20, True]) for _ in range(5)]
        found["longest frame gap while sampling"] = max(gap for run in shown for gap in run["frames"])
        for _ in range(RUNS):
            page.evaluate(SAMPLE, [4, True])
        if before is not None:
            found["memory after the first picture"] = (after - before) / 1e6
            found[f"memory after {RUNS} more"] = (memory(browser) - before) / 1e6
        browser.close()
        server.shutdown()
    return found


def memory(browser) -> int | None:
    """Bytes that the browser's renderers hold; None where /proc is missing."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    pages = [Path(f"/proc/{p['id']}/statm") for p in processes if p["type"] == "renderer"]
    if not all(page.exists() for page in pages):
        return None
    return sum(int(page.read_text().split()[1]) for page in pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    start = time.perf_counter()
    found = measure()
    if "--json" in sys.argv:
        print(json.dumps(found))
        return 0
    print(f"The playground in Chromium, one thread, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, (most, unit) in BARS.items():
        if name in found:
            mark = "" if found[name] <= most else "   over"
            print(f"  {name:50} {found[name]:8.2f} {unit:3} at most {most:g}{mark}")
    print(f"({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
