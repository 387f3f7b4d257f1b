"""The built site as a reader's browser sees it: no third party, nothing broken, nothing out of reach."""

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from address import Address  # noqa: E402
from pages_bench import pages  # noqa: E402

PAGES = pages()
NOTEBOOKS = [page for page in PAGES if page.startswith("notebooks/")]
VIEWS = {"desktop": (1280, 900, "light"), "phone": (390, 844, "light"), "desktop-dark": (1280, 900, "dark")}
AXE = ROOT / "scripts/vendor/node_modules/axe-core/axe.min.js"
PLACEHOLDER = re.compile(r"\b(TODO|FIXME|TBD|XXX|lorem ipsum|coming soon|placeholder)\b", re.IGNORECASE)
WAIT = 60_000
FAULTS = """() => {
  const faults = [];
  const root = document.documentElement;
  const start = (element) => element.textContent.trim().slice(0, 60);
  const wide = root.scrollWidth - root.clientWidth;
  if (wide > 0) faults.push(`wider than the window by ${wide} px`);
  for (const math of document.querySelectorAll("span.math, div.math"))
    if (!math.querySelector(".katex-html") || !math.querySelector("math"))
      faults.push(`mathematics not drawn: ${start(math)}`);
  for (const bad of document.querySelectorAll(".katex-error")) faults.push(`mathematics: ${start(bad)}`);
  // A stand-in, "X like Y", is there where the reader's system has Y.
  for (const face of document.fonts)
    if (face.status === "error" && !face.family.includes(" like ")) faults.push(`font: ${face.family} ${face.style}`);
  for (const image of document.images)
    if (image.complete && image.naturalWidth === 0) faults.push(`picture: ${image.src.slice(0, 80)}`);
  return faults;
}"""
SCROLL = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight + 300) {
    scrollTo(0, y);
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
  }
  scrollTo(0, 0);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
}"""

pytestmark = pytest.mark.site
every_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture
def view(browser, address, request):
    """A function that opens a page in one of VIEWS and returns it with a list of the faults it met."""
    contexts = []

    def open_page(name: str, kind: str = "desktop", javascript: bool = True):
        width, height, scheme = VIEWS[kind]
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=javascript
        )
        contexts.append(context)
        faults: list[str] = []

        def decide(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                faults.append(f"asks a third party: {route.request.url}")
                route.abort()

        context.route("**/*", decide)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("console", lambda m: m.type == "error" and faults.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.on("requestfailed", lambda r: faults.append(f"failed: {r.url}"))
        page.on("response", lambda r: r.status >= 400 and faults.append(f"{r.status}: {r.url}"))
        page.goto(f"{address}/{name}", wait_until="load")
        if javascript:
            page.wait_for_load_state("networkidle")
        return page, faults

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("kind", VIEWS)
@every_page
def test_page_is_whole_and_accessible(view, page, kind):
    """No error, no failed request, no third party; all drawn, nothing too wide; axe finds nothing."""
    opened, faults = view(f"{page}.html", kind)
    opened.evaluate(SCROLL)  # what is far from the window is not laid out before a reader comes near
    faults += opened.evaluate(FAULTS)
    opened.add_script_tag(path=str(AXE))
    found = opened.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    faults += [
        f"{fault['id']} ({fault['impact']}): {node['html'][:160]}"
        for fault in found
        for node in fault["nodes"]
    ]
    assert faults == [], "\n".join(faults)


@every_page
def test_page_reads_without_javascript(view, page):
    opened, faults = view(f"{page}.html", javascript=False)
    assert not [fault for fault in faults if "third party" in fault or fault.startswith(("4", "5"))]
    assert len(opened.inner_text("article")) > 200


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_the_quiz_answers_without_a_kernel_and_by_keyboard(view, page):
    opened, _ = view(f"{page}.html", "phone")
    quiz = opened.locator("section", has=opened.locator("h2", has_text="Quiz")).last
    answers = quiz.locator("details.dt-fold")
    assert answers.count() >= 12
    first = answers.first
    feedback = first.locator("p").last
    assert not feedback.is_visible()
    first.locator("summary").focus()
    opened.keyboard.press("Enter")
    assert feedback.is_visible() and re.match(r"(Right|No)\b", feedback.inner_text())
    assert not answers.nth(1).locator("p").last.is_visible()
    assert answers.nth(1).locator("summary").bounding_box()["height"] >= 24  # a finger's target


def test_dark_mode_can_be_chosen(view):
    opened, _ = view(f"{PAGES[0]}.html")
    for _ in range(3):
        opened.locator("button.theme-switch-button").first.click()
        if opened.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    assert opened.evaluate("document.documentElement.dataset.theme") == "dark"
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_a_missing_page_says_so(view):
    opened, faults = view("no/such/page.html")
    assert "Nothing but noise here" in opened.inner_text("h1")
    assert faults and all("no/such/page.html" in fault or "404" in fault for fault in faults)
    assert opened.locator("nav.bd-docs-nav a", has_text="Glossary").is_visible()
    opened.fill(".dt-search-page input", "guidance")
    opened.locator("ol.dt-found a").first.wait_for()
    opened.click("#home")
    opened.wait_for_url("**/book/intro.html")
    assert "Diffusion, answered" in opened.inner_text("h1")


# --- the files themselves


@pytest.fixture(scope="session")
def soups(html) -> dict[str, BeautifulSoup]:
    return {
        path.relative_to(html).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in html.rglob("*.html")
        if not {"_static", "_sources"} & set(path.relative_to(html).parts)
    }


def in_the_twin(html, target) -> bool:
    """Whether a way leads to the twin of a page in the other language, whose site is built apart, into zh/."""
    built = html.resolve()
    twin = built / "zh"
    return not twin.exists() and target.is_relative_to(twin) and (built / target.relative_to(twin)).exists()


def test_every_internal_link_and_anchor_resolves(html, soups):
    broken = []
    for name, soup in soups.items():
        if name == "404.html":
            continue
        for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for element in soup.find_all(tag, attrs={attribute: True}):
                link = urlsplit(element[attribute])
                if link.scheme or link.netloc:
                    continue
                target = (html / name).parent / unquote(link.path) if link.path else html / name
                target = target.resolve()
                if target.is_dir():
                    target = target / "index.html"
                if not target.exists() and not in_the_twin(html, target):
                    broken.append(f"{name}: {element[attribute]}")
                elif link.fragment and target.suffix == ".html":
                    anchor = unquote(link.fragment)
                    other = soups[target.relative_to(html.resolve()).as_posix()]
                    if not (anchor == "" or other.find(id=anchor) or other.find(attrs={"name": anchor})):
                        broken.append(f"{name}: {element[attribute]}")
    assert broken == []


@every_page
def test_every_picture_says_what_it_shows(soups, page):
    bad = [
        str(image)[:160]
        for image in soups[f"{page}.html"].find("article").find_all("img")
        if not image.get("alt", "").strip() or re.search(r"\.(png|webp|svg|jpe?g)$", image["alt"])
    ]
    assert bad == []


@every_page
def test_nothing_is_left_to_be_written(soups, page):
    article = soups[f"{page}.html"].find("article")
    assert not PLACEHOLDER.findall(article.get_text(" "))


@every_page
def test_every_table_is_one(soups, page):
    for paragraph in soups[f"{page}.html"].find("article").find_all("p"):
        assert not re.search(r"\|\s*[-–—:]+\s*\|", paragraph.get_text()), paragraph.get_text()[:160]


@every_page
def test_page_has_a_description(soups, page):
    soup = soups[f"{page}.html"]
    description = soup.find("meta", attrs={"name": "description"})
    assert description and 40 <= len(description["content"]) <= 320
    assert soup.find("meta", attrs={"property": "og:title"})
    assert soup.find("meta", attrs={"property": "og:description"})


@every_page
def test_headings_do_not_skip_a_level(soups, page):
    levels = [int(h.name[1]) for h in soups[f"{page}.html"].find("article").find_all(re.compile("^h[1-6]$"))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:]))


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_launch_buttons_open_the_notebook(soups, page):
    here = Address.read()
    links = {a["href"] for a in soups[f"{page}.html"].find_all("a", href=True)}
    assert here.colab_notebook(f"{page}.ipynb") in links
    assert any(unquote(link) == unquote(here.binder_notebook(f"{page}.ipynb")) for link in links)
    assert (ROOT / f"{page}.ipynb").exists()


# The page's own address, and that of its twin in the other language: names for search engines, which no browser loads.
NAMES_OF_PAGES = (["canonical"], ["alternate"])


def test_no_page_or_script_names_a_content_network(html):
    """A page holds no script, style or picture of another origin, not even one that a click would load."""
    found = []
    for path in html.rglob("*.html"):
        for tag, attribute in (("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")):
            for element in BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find_all(tag):
                value = element.get(attribute) or ""
                if value.startswith(("http:", "https:", "//")) and element.get("rel") not in NAMES_OF_PAGES:
                    found.append(f"{path.name}: {value}")
    assert found == []


def test_sitemap_lists_every_page(html):
    text = (html / "sitemap.xml").read_text(encoding="utf-8")
    listed = re.findall(r"<loc>(.*?)</loc>", text)
    assert listed == [f"{Address.read().site}{page}.html" for page in sorted(PAGES)]


def test_public_modules_are_in_the_reference(soups):
    package = ROOT / "diffusion_tutorial"
    shown = {code.get_text() for code in soups["book/api.html"].select("article h2 code")}
    assert {"schedules", "samplers", "guidance", "noise"} <= shown
    known = {".".join(path.relative_to(package).with_suffix("").parts) for path in package.rglob("*.py")}
    assert {name for name in shown if f"{name}.__init__" not in known} <= known


def test_glossary_is_long_enough_and_bilingual(soups):
    rows = soups["book/glossary.html"].select("table.glossary tbody tr")
    assert len(rows) >= 35
    for row in rows:
        cells = [cell.get_text().strip() for cell in row.find_all("td")]
        assert cells[0] and cells[4]
        assert re.search("[\u4e00-\u9fff]", cells[1]), cells[0]


def test_code_names_of_the_glossary_exist(soups):
    """A name in the column "in the code" stands somewhere in the package."""
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "diffusion_tutorial").rglob("*.py")
    )
    names = {
        code.get_text()
        for code in soups["book/glossary.html"].select("table.glossary td:nth-of-type(4) code")
    }
    missing = [
        name for name in names if not all(re.search(rf"\b{w}\b", source) for w in re.findall(r"\w{2,}", name))
    ]
    missing = [name for name in missing if not (ROOT / f"diffusion_tutorial/{name}.py").exists()]
    assert missing == []


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_the_first_use_of_a_term_leads_to_the_glossary(soups, page):
    links = soups[f"{page}.html"].select("article a.dt-term")
    targets = [link["href"].partition("#")[2] for link in links]
    assert len(targets) == len(set(targets)) >= 10
    lines = {
        span["id"]: span.get_text() for span in soups["book/glossary.html"].select("table.glossary span[id]")
    }
    for link, target in zip(links, targets):
        name, _, other = lines[target].lower().partition(" (")
        word = " ".join(link.get_text().lower().split())
        assert word in {name, f"{name}s", other.rstrip(")"), f"{other.rstrip(')')}s"}
        assert not link.find_parents(["a", "h1", "h2", "h3", "h4", "pre", "code"])
