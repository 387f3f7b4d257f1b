"""The README's moving picture: `python scripts/film.py [--site _build/html]` writes book/images/stage.webp.

It is the stage of the first page, filmed in the built site: the slider goes from noise to the picture, a guess is made, and
the curve comes. The file is an animated WebP of at most LIMIT bytes; one that would be larger is not written.
"""

from __future__ import annotations

import argparse
import sys
import threading
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from chromium import FLAGS, find  # noqa: E402
from serve import open_server  # noqa: E402

OUT = ROOT / "book" / "images" / "stage.webp"
LIMIT = 1_000_000  # bytes
WIDTH, HEIGHT, SCALE = 1280, 1000, 1.25  # of the window, and pixels of the film a pixel of the page
STEP, PAUSE, END = 110, 900, 3000  # milliseconds of a frame: on the way, at a halt, the last
GUESS = 1  # which of the guesses is made


def frames(page: Page) -> list[tuple[Image.Image, int]]:
    """Pictures of the stage and how long each stands, in milliseconds."""
    body, slider = page.locator(".dt-stage .stage-body"), page.locator(".dt-stage input[type=range]")

    def shot() -> Image.Image:
        return Image.open(BytesIO(body.screenshot(animations="disabled"))).convert("RGB")

    slider.focus()
    slider.press("Home")
    last = int(slider.get_attribute("max"))
    taken = [(shot(), PAUSE)]
    for at in range(1, last + 1):
        slider.press("ArrowRight")
        page.wait_for_function(
            "(at) => document.querySelector('.dt-stage input[type=range]').value === at", arg=str(at)
        )
        taken.append((shot(), STEP if at < last else PAUSE))
    page.locator(".stage-option").nth(GUESS).click()
    page.evaluate("document.activeElement.blur()")
    taken.append((shot(), END))
    tallest = max(picture.height for picture, _ in taken)
    return [(padded(picture, tallest), long) for picture, long in taken]


def padded(picture: Image.Image, height: int) -> Image.Image:
    """The picture on its own corner's colour, so that all frames are of one height."""
    whole = Image.new("RGB", (picture.width, height), picture.getpixel((0, 0)))
    whole.paste(picture)
    return whole


def film(site: Path) -> bytes:
    """The animated WebP of the built site's first page."""
    server = open_server(site, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(FLAGS))
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT},
            device_scale_factor=SCALE,
            color_scheme="light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/book/intro.html", wait_until="networkidle")
        taken = frames(page)
        browser.close()
    server.shutdown()
    first, *others = [picture for picture, _ in taken]
    whole = BytesIO()
    first.save(
        whole,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=[long for _, long in taken],
        loop=0,
        quality=55,
        method=6,
    )
    return whole.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--site", type=Path, default=ROOT / "_build" / "html", help="the built site")
    options = parser.parse_args()
    if not (options.site / "book" / "intro.html").is_file():
        parser.error(
            f"--site is {options.site}; allowed: a folder with the built site, as `make site` makes it"
        )
    data = film(options.site)
    if len(data) > LIMIT:
        print(f"the film has {len(data):,} bytes, more than {LIMIT:,}: not written")
        return 1
    OUT.write_bytes(data)
    print(f"{OUT.relative_to(ROOT)}: {len(data):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
