"""The repository's address is set once, in _config.yml; everything else follows."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import address  # noqa: E402
from address import Address, render  # noqa: E402

HERE = Address.read(ROOT / "_config.yml")
ELSEWHERE = Address("someone", "other.name", "trunk")


def test_files_match_the_configuration():
    assert address.stale() == {}, "run `python scripts/address.py`"


def test_citation_is_ours():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == HERE.repository
    assert citation["url"] == HERE.site
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_address_stands_nowhere_else():
    """Pages, scripts, tests and workflows derive it."""
    folders = ("book", "scripts", "tests", ".github", "binder", "diffusion_tutorial")
    bad = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".md", ".py", ".yml", ".txt", ".html", ".mjs", ".svg", ".json"}
        and "node_modules" not in path.parts
        and f"{HERE.owner}/{HERE.name}" in path.read_text(encoding="utf-8")
    ]
    assert bad == []


def test_launch_links_of_the_readme_open_notebooks_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    binder = re.findall(r"\((https://mybinder\.org/\S+?)\)", text)
    colab = re.findall(r"\((https://colab\.research\.google\.com/\S+?)\)", text)
    assert binder and colab
    for link in binder:
        path = re.fullmatch(rf"{re.escape(HERE.binder)}\?urlpath=lab%2Ftree%2F(.+)", link)[1].replace(
            "%2F", "/"
        )
        assert (ROOT / path).exists()
    for link in colab:
        assert (ROOT / link.removeprefix(f"{HERE.colab}/")).exists()


def test_pictures_and_files_of_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("http")]
    assert links and all((ROOT / link).exists() for link in links)
    assert not re.findall(r"!\[[^\]]*\]\(http", text), "a picture of the README asks a third party"


def test_every_make_target_is_in_the_readme_and_the_reverse():
    targets = set(
        re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    shown = set(
        re.findall(r"^\| `make ([a-z-]+)`", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert shown == targets - {"help", "env"}


def test_rendering_moves_every_form_and_nothing_else():
    text = "\n".join(
        [
            *HERE.forms().values(),
            HERE.file("README.md"),
            HERE.binder_notebook("notebooks/x.ipynb"),
            f"{HERE.repository}.git",
            f"{HERE.repository}-fork",
            "https://github.com/huggingface/diffusers",
        ]
    )
    moved = render(text, HERE, ELSEWHERE)
    assert moved.splitlines() == [
        *ELSEWHERE.forms().values(),
        ELSEWHERE.file("README.md"),
        ELSEWHERE.binder_notebook("notebooks/x.ipynb"),
        f"{HERE.repository}.git",
        f"{HERE.repository}-fork",
        "https://github.com/huggingface/diffusers",
    ]
    assert render(moved, ELSEWHERE, HERE) == text


@pytest.mark.parametrize(
    "url",
    ["", "github.com/a/b", "https://example.org/a/b", "https://github.com/a", "https://github.com/a/b/c"],
)
def test_a_bad_address_is_refused_by_name(url):
    with pytest.raises(ValueError, match="repository.url"):
        Address.parse(url)


def test_a_site_of_an_owner_has_no_folder():
    assert Address("Someone", "someone.github.io").site == "https://someone.github.io/"
    assert Address("Someone", "book").site == "https://someone.github.io/book/"
