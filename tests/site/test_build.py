"""The parts of the site's build, each on its own: pictures, icons, fonts, formulas, the server."""

import base64
import gzip
import io
import re
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from docutils import nodes
from fontTools.ttLib import TTFont
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "book" / "_ext")]

import deeper  # noqa: E402
import finish  # noqa: E402
import fonts  # noqa: E402
import icons  # noqa: E402
import mathematics  # noqa: E402
import pictures  # noqa: E402
import styles  # noqa: E402
import vendored  # noqa: E402
from serve import open_server  # noqa: E402


def png(array) -> str:
    made = io.BytesIO()
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(made, "PNG")
    return base64.b64encode(made.getvalue()).decode()


class TestPictures:
    plot = np.full((60, 90, 3), 255)
    plot[20:22] = 0

    def test_a_plot_loses_nothing(self, tmp_path):
        html = pictures.to_files(
            f'<img src="data:image/png;base64,{png(self.plot)}">', "../i/", tmp_path / "i", tmp_path / "k"
        )
        name = re.fullmatch(r'<img src="\.\./i/(\w+\.webp)">', html)[1]
        assert (np.asarray(Image.open(tmp_path / "i" / name).convert("RGB")) == self.plot).all()

    def test_a_photograph_is_small_and_near(self):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
        photo = np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((400, 400), Image.BICUBIC))
        made = pictures.as_webp(base64.b64decode(png(photo)))
        assert len(made) < len(base64.b64decode(png(photo))) / 2
        back = np.asarray(Image.open(io.BytesIO(made)).convert("RGB")).astype(float)
        assert np.sqrt(((back - photo) ** 2).mean()) < 6  # of 255

    def test_a_figure_of_lines_follows_the_theme(self, tmp_path):
        """Two files, without the white ground, ink dark on one and light on the other; every colour of ours is known."""
        from diffusion_tutorial import plots

        fig = plots.curve_with_interval([1, 2], {str(k): [k, k + 1] for k in range(7)}, "x", "y")
        html = pictures.to_files(
            plots.figure_bundle(fig, "seven lines")["text/html"], "", tmp_path, tmp_path / "k"
        )
        shown = dict(
            re.findall(r'<img class="only-(light|dark) dt-vector" src="([\w.]+)" alt="seven lines"', html)
        )
        light, dark = ((tmp_path / shown[mode]).read_text() for mode in ("light", "dark"))
        assert "fill: #ffffff" not in light + dark and "base64" not in html
        colours = {c for c in re.findall(r"#[0-9a-f]{6}\b", light)}
        assert {c.lower() for c in plots.PALETTE} - {"#000000"} <= colours <= set(pictures.DARK)
        assert not colours & set(re.findall(r"#[0-9a-f]{6}\b", dark))

    def test_a_plot_of_pixels_is_told_from_a_sheet_of_samples(self):
        """The style sheet turns the one over on a dark page, and must not touch the other's colours."""
        sheet = np.full((60, 90, 3), 255)
        sheet[10:60, 10:80] = (200, 30, 30)
        page = "".join(
            f'<img class="dark-light" src="data:image/png;base64,{png(a)}">' for a in (self.plot, sheet)
        )
        assert re.findall('class="([^"]*)"', pictures.marked(page)) == ["dark-light dt-pixels", "dark-light"]

    def test_a_drawing_keeps_its_bytes(self, tmp_path):
        drawing = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20"/>'
        source = f'"data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}"'
        name = pictures.to_files(source, "", tmp_path, tmp_path / "k").strip('"')
        assert (tmp_path / name).read_bytes() == drawing and pictures.size(tmp_path / name) == (30, 20)

    def test_the_first_picture_near_the_top_is_not_lazy_and_all_others_are(self, tmp_path):
        Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
        html = '<article><p>Short.</p><img src="a.png"><img src="a.png" width="3" height="2"></article>'
        first, second = re.findall("<img[^>]*>", pictures.sized(html, tmp_path / "p.html"))
        assert 'width="7" height="5"' in first and "lazy" not in first
        assert 'width="3" height="2"' in second and 'loading="lazy"' in second
        deep = f"<article>{'word ' * 400}<img src='x'></article>"
        assert "lazy" in pictures.sized(deep, tmp_path / "p.html")


class TestIcons:
    def test_an_icon_is_drawn_and_keeps_its_data(self):
        html = icons.drawn(
            '<i class="theme-switch fa-solid fa-sun   fa-lg" data-mode="light" title="Light"></i>'
        )
        assert html.startswith('<svg class="dt-icon theme-switch"') and 'data-mode="light"' in html
        assert "title" not in html and "fa-" not in html

    def test_an_unknown_icon_is_an_error(self):
        with pytest.raises(KeyError, match="'rainbow'; allowed: .*rocket"):
            icons.drawn('<i class="fas fa-rainbow"></i>')


class TestFormulas:
    @pytest.mark.parametrize(
        ("tex", "breaks"),
        [
            (r"a \\ b", True),
            (r"\begin{aligned} a \\ b \end{aligned}", False),
            (r"\begin{cases} a \\ b \end{cases} \\ c", True),
            (r"\frac{a}{b} \{ c \}", False),
            (r"{a \\ b}", False),
        ],
    )
    def test_a_break_at_the_top_is_seen(self, tex, breaks):
        assert mathematics.breaks_lines(tex) is breaks

    @pytest.mark.parametrize(
        ("after", "holds"), [(". So", True), ("), so", True), ("-th", True), (" and", False), ("", False)]
    )
    def test_no_line_begins_with_the_sign_after_a_formula(self, after, holds):
        formula = nodes.math("x", "x")
        paragraph = nodes.paragraph(
            "", "", nodes.Text("If "), formula, *([nodes.Text(after)] if after else [])
        )
        assert mathematics.holds(formula) is holds and paragraph.index(formula) == 1

    def test_formulas_are_drawn_once_and_speak(self, tmp_path):
        asked = [(r"\bar\alpha_t", False), (r"x = \frac{1}{2}", True), (r"\frac{1}", False)]
        first = mathematics.Formulas(tmp_path / "f.json")
        first.learn([*asked, asked[0]])
        again = mathematics.Formulas(tmp_path / "f.json")
        assert again.found == first.found and len(first.found) == 3
        good, shown, bad = (first.found[mathematics.Formulas.name(*pair)] for pair in asked)
        assert "<math" in good["html"] and "katex-html" in good["html"] and "annotation" not in good["html"]
        assert "katex-display" in shown["html"]
        assert "error" in bad and "KaTeX parse error" in bad["error"]

    def test_each_letter_goes_to_the_face_that_draws_it(self, tmp_path):
        katex = vendored.package("katex") / "dist"
        choices = fonts.mathematics_choices((katex / "katex.css").read_text(encoding="utf-8"))
        known = mathematics.Formulas(tmp_path / "f.json")
        tex = r"\mathcal{N} \mathbf{x} \mathbb{E} \varnothing \sum_{i} \bigl( y \Bigr) 7"
        known.learn([(tex, True)])
        letters = fonts.mathematics_letters(known.found[known.name(tex, True)]["html"], choices)
        assert letters["KaTeX_Caligraphic", "normal", "400"] == {"N"}
        assert letters["KaTeX_Main", "normal", "700"] == {"x"}
        assert {"E", "∅"} & letters["KaTeX_AMS", "normal", "400"]
        assert {"i", "y"} <= letters["KaTeX_Math", "italic", "400"]
        assert "∑" in letters["KaTeX_Size2", "normal", "400"]
        assert (
            ")" in letters["KaTeX_Size2", "normal", "400"] and "(" in letters["KaTeX_Size1", "normal", "400"]
        )
        assert "7" in letters["KaTeX_Main", "normal", "400"]


def test_a_font_is_cut_to_its_letters(tmp_path):
    source = vendored.package("@fontsource-variable/inter") / "files" / "inter-latin-wght-normal.woff2"
    data, points = fonts.kept_cut(tmp_path, source, set("Diffusion"), (), (400, 700))
    made = TTFont(io.BytesIO(data))
    assert set(made.getBestCmap()) == points == {ord(c) for c in "Diffusion"}
    assert (made["fvar"].axes[0].minValue, made["fvar"].axes[0].maxValue) == (400, 700)
    assert len(data) < source.stat().st_size / 5
    assert fonts.kept_cut(tmp_path, source, set("Diffusion"), (), (400, 700)) == (data, points)


def test_code_points_become_ranges():
    assert fonts.ranges({0x61, 0x62, 0x63, 0x3B1}) == "U+61-63, U+3B1"


def test_a_stylesheet_loses_space_and_keeps_words_in_quotes():
    assert styles.minified('a { b: "x ; y" ; }\n/* gone */ c , d { e: f }') == 'a{b: "x ; y"}c,d{e: f}'


def test_a_heading_takes_its_sections_id():
    html = '<section id="a">\n<span id="b"></span><h2>T</h2></section>'
    assert finish.headings_first(html) == '<section>\n<span id="b"></span><h2 id="a">T</h2></section>'


def test_the_fold_of_a_chapters_further_pages_has_a_name():
    """The theme's fold beside a chapter of several pages is an icon alone."""
    html = '<details open="open"><summary><span class="toctree-toggle" role="presentation"></span></summary></details>'
    assert '<summary aria-label="Further pages of this chapter">' in finish.named(html)
    assert "aria-label" not in finish.named("<details><summary>Hint</summary></details>")


@pytest.fixture
def served(tmp_path):
    (tmp_path / "index.html").write_text("<p>word</p>" * 500, encoding="utf-8")
    (tmp_path / "404.html").write_text('<base href="https://example.org/book/"><p>gone</p>', encoding="utf-8")
    (tmp_path / "model.bin").write_bytes(b"0" * 5000)
    server = open_server(tmp_path, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def asked(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
        return answer.headers, answer.read()


def test_texts_go_compressed_to_those_who_take_it(served):
    headers, body = asked(f"{served}/", **{"Accept-Encoding": "gzip, br"})
    assert headers["Content-Encoding"] == "gzip" and int(headers["Content-Length"]) == len(body) < 300
    assert gzip.decompress(body) == b"<p>word</p>" * 500
    headers, body = asked(f"{served}/index.html")
    assert headers["Content-Encoding"] is None and body == b"<p>word</p>" * 500
    headers, body = asked(f"{served}/model.bin", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] is None and len(body) == 5000


def test_the_page_for_404_has_its_links_from_the_top(served):
    with pytest.raises(urllib.error.HTTPError) as error:
        asked(f"{served}/deep/down/none.html")
    assert error.value.code == 404 and error.value.read() == b'<base href="/"><p>gone</p>'


def test_a_signature_keeps_its_text_its_names_and_its_link():
    html = (
        '<dt class="sig sig-object py" id="m.f">\n<em class="property"><span class="pre">class</span> </em>'
        '<span class="sig-prename descclassname"><span class="pre">m.</span></span>'
        '<span class="sig-name descname"><span class="pre">f</span></span><span class="sig-paren">(</span>'
        '<em class="sig-param"><span class="n"><span class="pre">x</span></span><span class="o"><span class="pre">=</span>'
        '</span><span class="default_value"><span class="pre">1</span></span></em><span class="sig-paren">)</span>'
        '<a class="headerlink" href="#m.f">#</a></dt>\n<dd><em class="sig-param">kept</em></dd>'
    )
    plain = finish.plain_signatures(html)
    assert re.sub("<[^>]*>", "", plain) == re.sub("<[^>]*>", "", html)
    assert '<span class="sig-name descname">f</span>(x=1)<a class="headerlink" href="#m.f">#</a></dt>' in plain
    assert '<em class="property">class </em>' in plain and plain.endswith('<em class="sig-param">kept</em></dd>')


class TestDeeper:
    """Sections off the core path, folded whole."""

    head = '<section>\n<h3 id="a">A</h3>\n'
    marked = (
        '<section>\n<span id="old"></span><h3 id="b">B <a href="#b">¶</a></h3>\n<!-- deeper -->\n<p>text</p>\n</section>'
    )

    def test_the_heading_is_the_line_and_the_rest_is_inside(self):
        html = deeper.folded(f"{self.head}<p>open</p></section>{self.marked}<section><h3>C</h3></section>")
        assert html.count("<details") == html.count("</details></section>") == 1
        line, inside = re.search(r"<details[^>]*><summary>(.*?)</summary>(.*?)</details>", html, re.S).groups()
        assert 'id="old"' in line and 'id="b"' in line and inside.strip() == "<p>text</p>"
        assert html.startswith(f"{self.head}<p>open</p></section><section><details") and deeper.MARK not in html

    def test_a_mark_without_a_heading_or_over_sections_is_refused(self):
        with pytest.raises(ValueError, match="where no heading is"):
            deeper.folded(f"{self.head}<p>open</p>{deeper.MARK}</section>")
        with pytest.raises(ValueError, match="'A' is marked as deeper and holds sections"):
            deeper.folded(f"{self.head}{deeper.MARK}<section><h4>D</h4></section></section>")

    def test_outside_leaves_the_lines_of_folds(self):
        inner = "<details><summary>in</summary>deep</details>"
        html = f"<p>a</p><details class='x'><summary>line</summary>b{inner}c</details><p>d</p>"
        assert deeper.outside(html) == "<p>a</p><summary>line</summary><p>d</p>"
        assert deeper.outside(f"<p>a</p>{inner}{inner}e") == "<p>a</p><summary>in</summary><summary>in</summary>e"

    def test_a_folded_section_is_guessed_to_be_as_tall_as_its_line(self):
        long = self.marked.replace("text", "text " * 2000)
        assert finish.tall(deeper.folded(long)) < 0.1 * finish.tall(long)
