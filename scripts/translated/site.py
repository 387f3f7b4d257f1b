"""The source of the site in another language, made beside the build: pages, contents and settings, all else linked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import yaml

from . import catalogue, pages, values, words

ENGLISH_OUTPUTS = "outputs_in_english"  # in a notebook's metadata: it was not run in its own language yet
SPOKEN = {"zh_CN": "zh"}  # from a catalogue's language to the folder of its site, pages and notebooks


def lexicon(root: Path, language: str, name: str) -> dict[str, str]:
    """From an English text to its translation, of one catalogue."""
    return catalogue.translations(catalogue.read(root / "translations" / language / f"{name}.po"))


def write_pages(root: Path, language: str) -> dict[str, int]:
    """Make book/LANGUAGE/*.md; how many messages of each page are still English."""
    folder, left = root / "book" / SPOKEN[language], {}
    folder.mkdir(exist_ok=True)
    for path in sorted((root / "book").glob("*.md")):
        found = lexicon(root, language, path.stem)
        text, left[path.stem] = pages.made(path.read_text(encoding="utf-8"), found, language)
        put(folder / path.name, text)
    for path in folder.glob("*.md"):
        if path.stem not in left:
            path.unlink()
    return left


def put(path: Path, text: str) -> None:
    """Write a file if it changes: a build looks at times."""
    if not path.exists() or path.is_symlink() or path.read_text(encoding="utf-8") != text:
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def link(path: Path, target: Path) -> None:
    """A symbolic link, made anew where it leads elsewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.readlink() == target:
        return
    if path.exists() or path.is_symlink():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    os.symlink(target, path)


def settings(root: Path, language: str, found: dict[str, str]) -> dict:
    """_config.yml for the language."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    config["title"] = found.get(config["title"], config["title"])
    config["author"] = found.get(config["author"], config["author"])
    html, sphinx = config["html"], config["sphinx"]["config"]
    html["extra_footer"] = found.get(html["extra_footer"].strip(), html["extra_footer"])
    sphinx["language"] = language
    sphinx["twins"] = str(root / "_build" / "twins.json")
    sphinx["html_title"] = sphinx["html_theme_options"]["logo"]["text"] = config["title"]
    toc = sphinx["html_theme_options"]["toc_title"]
    sphinx["html_theme_options"]["toc_title"] = found.get(toc, toc)
    return config


def contents(root: Path, found: dict[str, str]) -> dict:
    """_toc.yml for the language."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        part["caption"] = found.get(part["caption"], part["caption"])
    return toc


def stage(root: Path, language: str, to: Path) -> dict[str, int]:
    """Make the source of the language's site in the folder `to`; as `write_pages`."""
    left = write_pages(root, language)
    found = lexicon(root, language, "site")
    dump = {"allow_unicode": True, "sort_keys": False}
    put(to / "_config.yml", yaml.safe_dump(settings(root, language, found), **dump))
    put(to / "_toc.yml", yaml.safe_dump(contents(root, found), **dump))
    book, spoken = root / "book", SPOKEN[language]
    for name in ("_ext", "_templates", "references.bib", "stages.yml"):
        link(to / "book" / name, book / name)
    for path in sorted((book / "images").iterdir()):
        if path.suffix != ".html":
            link(to / "book" / "images" / path.name, path)
    drawn = lexicon(root, language, "words")
    for path in (book / "images").glob("*.html"):
        put(to / "book" / "images" / path.name, values.drawn(path.read_text(encoding="utf-8"), drawn))
    for path in sorted((book / "_static").iterdir()):
        if path.suffix == ".mjs":
            put(to / "book" / "_static" / path.name, words.exchanged(path.read_text(encoding="utf-8"), drawn))
        else:
            link(to / "book" / "_static" / path.name, path)
    for path in sorted((book / spoken).glob("*.md")):
        put(to / "book" / path.name, path.read_text(encoding="utf-8"))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        own = root / "notebooks" / spoken / path.name
        if own.exists():
            put(to / "notebooks" / path.name, own.read_text(encoding="utf-8"))
    return left


def taken_over(notebook: nbformat.NotebookNode, english: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with the outputs of the English one, cell by cell; the programs are the same."""
    ours = [cell for cell in notebook.cells if cell.cell_type == "code"]
    theirs = [cell for cell in english.cells if cell.cell_type == "code"]
    for cell, other in zip(ours, theirs, strict=True):
        cell.outputs, cell.execution_count = other.outputs, other.execution_count
    if "widgets" in english.metadata:
        notebook.metadata["widgets"] = english.metadata["widgets"]
    return notebook
