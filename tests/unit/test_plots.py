"""Figures: what is in them, how large they are, and that none is shown without alternative text."""

import base64
import gzip
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_tutorial import plots
from diffusion_tutorial.checkpoints import random_pipeline, wrap


@pytest.fixture(scope="module")
def samples():
    return wrap(random_pipeline()).sample("red", num_inference_steps=4, num_images=3)


def pixels(fig):
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=fig.dpi)
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_to_pil_takes_what_there_is(samples):
    assert len(plots.to_pil(samples)) == 3
    one = plots.to_pil(samples.images[0])
    assert len(one) == 1 and one[0].size == (32, 32)
    assert len(plots.to_pil([samples.images[0], one[0]])) == 2
    assert plots.to_pil(one[0], scale=3)[0].size == (96, 96)
    sharp = np.asarray(plots.to_pil(samples.images[0], scale=2, resample="nearest")[0])
    assert (sharp[::2, ::2] == sharp[1::2, 1::2]).all()
    grey = torch.full((3, 4, 4), 0.5)
    assert np.asarray(plots.to_pil(grey)[0]).max() == 128


@pytest.mark.parametrize(
    "images, settings, message",
    [
        (torch.zeros(2, 4, 4), {}, r"images is \(2, 4, 4\)"),
        ([], {}, "images is 'list'"),
        ("red", {}, "images is 'str'"),
        (torch.zeros(3, 4, 4), {"scale": 0}, "scale is 0; allowed"),
        (torch.zeros(3, 4, 4), {"resample": "cubic"}, "resample is 'cubic'; allowed: 'nearest', 'lanczos'"),
    ],
)
def test_to_pil_refuses(images, settings, message):
    with pytest.raises(ValueError, match=message):
        plots.to_pil(images, **settings)


def test_a_grid_shows_every_pixel(samples):
    fig = plots.show_grid(samples, titles=["a", "b", "c"], columns=2, scale=2, resample="nearest")
    shown = pixels(fig)
    for picture in plots.to_pil(samples, 2, "nearest"):
        wanted = np.asarray(picture)
        places = np.argwhere((shown[: -wanted.shape[0] + 1, : -wanted.shape[1] + 1] == wanted[0, 0]).all(-1))
        assert any((shown[y : y + 64, x : x + 64] == wanted).all() for y, x in places)
    assert shown[0, 0].tolist() == [255, 255, 255]  # white ground: it reads on a dark page too


def test_grid_counts_are_checked(samples):
    with pytest.raises(ValueError, match=r"titles is '2 titles'; allowed: 3"):
        plots.show_grid(samples, titles=["a", "b"])
    with pytest.raises(ValueError, match=r"row_titles is '1 titles'; allowed: 2"):
        plots.show_grid(samples, columns=2, row_titles=["a"])
    with pytest.raises(ValueError, match="columns is 0"):
        plots.show_grid(samples, columns=0)
    with pytest.raises(ValueError, match="images is '3 pictures'; allowed: '?2 rows x 2"):
        plots.labelled_grid(samples, ["a", "b"], ["c", "d"])


def test_a_filmstrip(samples):
    fig = plots.filmstrip(samples, steps=3, index=1)
    said = [t.get_text() for t in fig.texts]
    assert said == ["t = 751", "t = 251", "t = 1", "x_t", "x0 predicted"]
    plots.filmstrip(samples, which=("x0",), steps=[0, 3])
    for settings, message in [
        ({"which": ("x1",)}, "which is 'x1'"),
        ({"which": ()}, "which is"),
        ({"steps": [9]}, "steps is 9; allowed: an integer from 0 to 3"),
        ({"index": 3}, "index is 3; allowed: an integer from 0 to 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            plots.filmstrip(samples, **settings)


def test_bars_and_curves():
    fig = plots.accuracy_bars({"shape": (0.99, 0.98, 1.0), "material": (0.93, 0.9, 0.95)}, bar=0.97, low=0.5)
    assert "0.930" in [t.get_text() for t in fig.axes[0].texts]
    x = [1, 2, 5, 10]
    fig = plots.curve_with_interval(
        x, {"DDIM": ([4, 3, 2, 1], [3, 2, 1, 0.5], [5, 4, 3, 2]), "DDPM": [4, 3.9, 2.5, 1.1]},
        "steps", "error", logx=True,
    )  # fmt: skip
    labels = {t.get_text(): t for t in fig.axes[0].texts}
    assert set(labels) == {"DDIM", "DDPM"}
    assert (
        labels["DDPM"].get_position()[1] - labels["DDIM"].get_position()[1] >= 0.07
    )  # side by side, not on top
    assert pixels(fig).std() > 0
    for call, message in [
        (lambda: plots.accuracy_bars({}), "values is {}"),
        (lambda: plots.accuracy_bars({"a": (0.5, 0.6, 0.7)}), r"values\['a'\] is .*allowed: 'low <= value"),
        (lambda: plots.curve_with_interval(x, {"a": [1, 2]}, "x", "y"), r"curves\['a'\] is"),
        (lambda: plots.curve_with_interval(x, {}, "x", "y"), "curves is '0 curves'"),
    ]:
        with pytest.raises(ValueError, match=message.replace("'low", "low")):
            call()


def test_the_palette_is_told_apart():
    """No two colours look alike, also with the two common kinds of colour blindness."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plots.PALETTE])
    deuteranopia = np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    )  # Machado 2009
    protanopia = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for matrix in (np.eye(3), deuteranopia, protanopia):
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.4)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(len(seen))
        assert apart.min() > 0.1


def test_figure_has_alternative_text_and_is_small(samples, monkeypatch):
    displayed = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: displayed.append(data))
    plots.figure(plots.show_grid(samples), alt='Three "pictures" & <noise>', caption="a < b")
    (data,) = displayed
    page = data["text/html"]
    assert 'alt="Three &quot;pictures&quot; &amp; &lt;noise&gt;"' in page
    assert "<figcaption>a &lt; b</figcaption>" in page
    assert data["text/plain"] == '[figure: Three "pictures" & <noise>]'
    kind, encoded = re.search(r'src="data:image/(\w+);base64,([^"]+)"', page).groups()
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        assert picture.format.lower() == kind
        assert f'width="{picture.width}" height="{picture.height}"' in page
    assert len(page) < 60_000


def test_figure_takes_pictures_and_demands_alt(samples):
    assert 'width="64"' in plots.figure_bundle(samples.images[0], "one", scale=2)["text/html"]
    assert "<img" in plots.figure_bundle(samples, "three")["text/html"]
    for alt in ("", "  ", None):
        with pytest.raises(ValueError, match="alt is"):
            plots.figure(samples, alt=alt)


def test_a_page_of_pictures_stays_small():
    """64 smooth pictures, enlarged twice: under 300 kB in the notebook."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    phase = torch.linspace(0, 6, 64)[:, None, None, None]
    images = (torch.stack([x, y, x * y])[None] * 4 + phase).sin() / 2 + 0.5
    images = images + 0.01 * torch.randn(64, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert len(plots.figure_bundle(plots.show_grid(images), "waves")["text/html"]) < 300_000


def test_pyplot_is_left_alone(samples):
    import sys

    plots.show_grid(samples)
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_a_table_is_named_marked_and_escaped(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda value: shown.append(value.data))
    plots.table(
        ("model", "takes <it>"),
        [("A & B", "with `scale` above one only"), ("C", "0.22 [0.19, 0.26]")],
        "What each takes.",
    )
    page = shown[0]
    assert '<th scope="row">A &amp; B</th><td>with <code>scale</code> above one only</td>' in page
    assert '<td class="n">0.22 [0.19, 0.26]</td>' in page
    assert "takes &lt;it&gt;" in page and "<caption>What each takes.</caption>" in page
    assert 'aria-label="What each takes."' in page and 'tabindex="0"' in page


def test_as_cards_each_cell_has_its_columns_name_and_the_table_says_that_it_is_one(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda value: shown.append(value.data))
    rows = [("in blind pairs", "A & B", "yes"), ("for business", "C", "no")]
    for cards in (False, True):
        plots.table(("task", "model <name>", "use"), rows, "Which for what.", cards=cards)
    plain, cards = shown
    assert "data-label" not in plain and "role=" not in plain.replace('role="region"', "")
    assert '<td class="n" role="cell" data-label="model &lt;name&gt;">A &amp; B</td>' in cards
    assert cards.count('data-label="use"') == cards.count('role="rowheader"') == len(rows)
    assert 'class="table dt-table dt-cards" role="table"' in cards and cards.count('role="rowgroup"') == 2
    assert cards.count('role="columnheader"') == 3 and cards.count('role="row"') == 1 + len(rows)


@pytest.mark.parametrize(
    ("rows", "caption", "message"),
    [([("a",)], "Named.", "rows is 'a row with 1 cells'.*2 cells"), ([], " ", "caption is ' '")],
)
def test_tables_are_checked(rows, caption, message):
    with pytest.raises(ValueError, match=message):
        plots.table(("one", "two"), rows, caption)


@pytest.mark.parametrize("title", ["DPM++ 2M", "ancestral, eta 1", "two\nlines", "i", ""])
def test_a_row_has_room_for_its_title(samples, title):
    fig = plots.show_grid(samples.images[:2], columns=1, row_titles=[title, "x"])
    fig.canvas.draw()
    boxes = [t.get_window_extent() for t in fig.texts if t.get_text()]
    assert boxes and min(box.x0 for box in boxes) >= 0


def test_a_figure_of_lines_is_a_small_vector_with_text():
    """The same bytes each time, numbers as they were written, letters of 11 pixels at a phone's width."""
    x = [5, 10, 20, 50, 100]
    draw = lambda: plots.curve_with_interval(  # noqa: E731
        x,
        {f"a method of a long name, {k}": ([k + 0.1 * v for v in x],) * 3 for k in range(5)},
        "steps",
        "error",
        True,
    )
    data, kind, width, height = plots.encode(draw())
    assert kind == "svg+xml" and data == plots.encode(draw())[0] and len(gzip.compress(data)) < 40_000
    text = data.decode()
    assert text.startswith("<svg") and "system-ui" in text and "'DejaVu Sans', sans-serif" in text
    assert "<metadata" not in text and "a method of a" in text and "base64" not in text
    points = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])
    sizes = {float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", text)}
    assert min(sizes) * 360 / points >= 11 and width == round(points / 72 * 100 * 1.2)
    bars = plots.svg(plots.accuracy_bars({"shape": (0.99, 0.98, 1.0)})).decode()
    assert ">0.990<" in bars
    page = plots.figure_bundle(draw(), "five lines")["text/html"]
    assert 'src="data:image/svg+xml;base64,' in page and f'width="{width}"' in page


def test_lit_is_as_bright_as_the_map_says():
    pictures = torch.full((3, 8, 8), 0.5)
    maps = torch.tensor([[[0.2, 0.2], [0.2, 0.2]], [[0.4, 0.0], [0.4, 0.0]]])
    found = plots.lit(pictures, maps)
    assert found.shape == (2, 3, 8, 8) and (found[0] == 0.5).all()
    assert (found[1, :, :, 0] == 0.5).all() and (found[1, :, :, -1] == 0).all()
    with pytest.raises(ValueError, match="maps is .*allowed: 0 and more"):
        plots.lit(pictures, torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="maps is"):
        plots.lit(pictures.expand(3, 3, 8, 8), maps)
