"""Every page of the built site in WebKit, which is what Safari is made of: it opens without an error, its mathematics
is drawn, its stage shows its picture, and the slider moves it."""

import json
import re
import sys
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "site")]

import webkit  # noqa: E402
from pages_bench import pages  # noqa: E402
from serve import Handler  # noqa: E402

PAGES = pages()
END, HOME = "\ue010", "\ue011"  # the W3C's signs for the keys
# The driver tells of no errors, so each page counts its own, from before its first script on.
COUNTS = b"""<script>
window.faults = [];
const missing = ({ target }) => `not loaded: ${target.src || target.href}`;
addEventListener("error", (event) => faults.push(event.message || missing(event)), true);
addEventListener("unhandledrejection", (event) => faults.push(`promise: ${event.reason}`));
for (const kind of ["error", "warn"]) {
  const as = console[kind];
  console[kind] = (...said) => (faults.push(`console: ${said.join(" ")}`), as.apply(console, said));
}
</script>"""
LOOKS = """
  await document.fonts.ready;
  const size = (element) => { const box = element.getBoundingClientRect(); return [box.width, box.height]; };
  const heading = document.querySelector("article h1");
  for (const fold of document.querySelectorAll("article details")) fold.open = true;
  const formulas = [...document.querySelectorAll("article div.math")];
  const root = document.documentElement;
  const sizes = [];
  for (const formula of formulas) {
    formula.scrollIntoView();  // what is far from the window is not laid out
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
    sizes.push(size(formula.querySelector(".katex-html")));
  }
  scrollTo(0, 0);
  // WebKit calls a face that has not come yet an error, and later loaded: what counts is how its load ends.
  const late = [...document.fonts].filter((face) => face.status === "error" && !face.family.includes(" like "));
  const ends = await Promise.all(late.map((face) => face.load().then(() => "", () => `${face.family} ${face.style}`)));
  return {
    heading: [heading.textContent, ...size(heading)],
    formulas: sizes,
    wide: root.scrollWidth - root.clientWidth,
    math: formulas.length && getComputedStyle(formulas[0].querySelector(".katex-html")).fontFamily,
    failed: ends.filter(Boolean),
    faults,
  };
"""
# Where a view's picture lies in its frame, as shares of the frame; and how large the sheet behind it is.
VIEWS = """
  const stage = document.querySelector(".dt-stage");
  stage.scrollIntoView();
  await Promise.all([...stage.querySelectorAll(".stage-view img")].map((image) => image.decode()));
  await new Promise((done) => setTimeout(done, 100));
  return [...stage.querySelectorAll(".stage-view img")].map((image) => {
    const frame = image.parentElement.getBoundingClientRect(), here = image.getBoundingClientRect();
    return { natural: [image.naturalWidth, image.naturalHeight], frame: [frame.width, frame.height],
      at: [(frame.left - here.left) / here.width, (frame.top - here.top) / here.height].map((v) => Number(v.toFixed(4))) };
  });
"""

pytestmark = [
    pytest.mark.site,
    pytest.mark.slow,
    pytest.mark.skipif(bool(webkit.MISSING), reason=webkit.MISSING),
]


class Counting(Handler):
    """The site, with the counter of errors in each page's head."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.suffix != ".html" or not path.is_file():
            return super().do_GET()
        body = path.read_bytes().replace(b"<head>", b"<head>" + COUNTS, 1)
        assert COUNTS in body, f"{path} has no head"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def counted(html):
    """The built site's address, with pages that count their errors."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(html)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="module")
def safari(tmp_path_factory):
    opened = webkit.WebKit(tmp_path_factory.mktemp("webkit"))
    opened.size(1280, 900)
    yield opened
    opened.close()


def test_the_counter_sees_a_broken_script(safari, counted):
    safari.open(f"{counted}/{PAGES[0]}.html")
    seen = safari.ask("""
      const script = document.createElement("script");
      script.textContent = "nothing.here";
      document.head.append(script);
      const picture = new Image();
      picture.src = "no-such-file.webp";
      document.body.append(picture);
      await new Promise((done) => setTimeout(done, 500));
      return faults;
    """)
    assert len(seen) == 2 and "nothing" in seen[0] and "no-such-file" in seen[1]


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_in_webkit(safari, counted, html, page):
    safari.open(f"{counted}/{page}.html")
    found = safari.ask(LOOKS)
    text, width, height = found["heading"]
    assert text.strip() and width > 100 and height > 20
    assert found["faults"] == [] and found["failed"] == [] and found["wide"] <= 0
    written = (html / f"{page}.html").read_text(encoding="utf-8")
    displayed = len(re.findall(r'<div class="math[ "]', written))
    assert len(found["formulas"]) == displayed
    if displayed:
        assert "KaTeX" in found["math"]
    assert [size for size in found["formulas"] if size[0] < 20 or size[1] < 15] == []


def stages(html) -> list[str]:
    return [p for p in PAGES if 'class="dt-stage' in (html / f"{p}.html").read_text(encoding="utf-8")]


def test_the_stages_show_their_pictures_and_the_slider_moves_them(safari, counted, html):
    """In one test, since which pages have a stage is known once the site is built."""
    staged = stages(html)
    assert staged
    for page in staged:
        safari.open(f"{counted}/{page}.html")
        about = json.loads(safari.ask("return document.querySelector('.dt-stage script').textContent"))
        first = safari.ask(VIEWS)
        assert first, page
        for view in first:
            assert view["natural"] == [about["sheet"]["width"], about["sheet"]["height"]], page
            assert min(view["frame"]) > 60, page
        seen = []
        for key in (HOME, END):
            safari.press(".dt-stage input[type=range]", key)
            seen.append([view["at"] for view in safari.ask(VIEWS)])
        value = safari.ask("return document.querySelector('.dt-stage input[type=range]').valueAsNumber")
        assert value == len(about["stops"]) - 1, page
        assert all(a != b for a, b in zip(*seen)), f"{page}: the slider moves nothing"
        assert safari.ask("return faults") == [], page
