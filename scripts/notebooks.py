"""Make notebooks/x.ipynb from book/x.md: publish the text, update the cells, run what changed, store the outputs.

    python scripts/notebooks.py [--force] [name ...]
    python scripts/notebooks.py --check          change nothing; exit 1 if a notebook is out of date
    python scripts/notebooks.py --language zh_CN [--run] [name ...]   notebooks/zh/ from book/zh/, which is made first

A chapter is a file of book/ that names a kernel in its header. Its Markdown goes through `published`, which makes of
roles, labels and directives what every reader of notebooks shows. A notebook runs if a code cell changed; otherwise its
outputs stay as they are. Before its first code cell a notebook gets one that installs the package where
it is missing, as on Colab; its address is the repository's, so no source holds it.

A notebook in another language has the same cells but for the strings that readers see, so what its cells drew in English
stands in it until it is run itself (`--run`); the cell that installs also says the language, to the package.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from jupytext.combine import combine_inputs_with_outputs
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent))
from address import Address
from published import Book, Unpublishable, publish
from translated import site
from translated.words import say, speak

ROOT = Path(__file__).resolve().parents[1]
BOOK, NOTEBOOKS = ROOT / "book", ROOT / "notebooks"
TIMEOUT = 600
LANGUAGE = {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"}

INSTALL = """\
# {says}
{language}from importlib.util import find_spec

if find_spec("diffusion_tutorial") is None:
    %pip install --quiet "diffusion-tutorial @ git+{repository}@{branch}"
"""
SPEAKS = """\
import os

os.environ["DIFFUSION_TUTORIAL_LANGUAGE"] = "{language}"
"""


def install_cell(language: str = "") -> NotebookNode:
    """The cell that makes a notebook run where only Jupyter and torch are, and says its language to the package; the
    site does not show it."""
    address = Address.read()
    source = INSTALL.format(
        says=say(
            "For Colab: get the book's package, and leave Colab's own torch alone. Where the package is there, "
            "nothing happens."
        ),
        language=SPEAKS.format(language=language) if language else "",
        repository=address.repository,
        branch=address.branch,
    ).rstrip()
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["remove-cell"]})


def chapters(book: Path = BOOK) -> list[Path]:
    """The chapters' sources: files of book/ whose header names a kernel."""
    header = re.compile(r"\A---\n(?:.*\n)*?kernelspec:\n(?:.*\n)*?---\n")
    return [path for path in sorted(book.glob("*.md")) if header.match(path.read_text(encoding="utf-8"))]


def read_source(path: Path) -> NotebookNode:
    """A chapter's source as a notebook without outputs, with the cell that installs; cell names follow from the
    cells' text."""
    notebook = jupytext.read(path)
    language = notebook.metadata.get("language", "")
    notebook.metadata = NotebookNode(
        {key: notebook.metadata[key] for key in ("kernelspec", "jupytext") if key in notebook.metadata}
    )
    notebook.metadata["language_info"] = NotebookNode(LANGUAGE)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    first = next(
        (i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells)
    )
    notebook.cells.insert(first, install_cell(language))
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        cell.metadata = NotebookNode({"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {})
        name = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        cell["id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return notebook


def code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def shape(notebook: NotebookNode) -> list[tuple]:
    """What source and notebook must share: kind, text and tags of every cell."""
    return [(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ()))) for cell in notebook.cells]


def executed(notebook: NotebookNode) -> bool:
    """True if every code cell with any text has been run."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    return all(cell.execution_count is not None for cell in cells)


def update(source: NotebookNode, stored: NotebookNode | None) -> tuple[NotebookNode, bool]:
    """The cells of `source` with the outputs of `stored`, and whether they must be run."""
    if stored is None:
        return source, True
    fresh = combine_inputs_with_outputs(source, stored, fmt={"extension": ".md", "format_name": "myst"})
    if "widgets" in stored.metadata:
        fresh.metadata["widgets"] = stored.metadata["widgets"]
    for cell, named in zip(fresh.cells, read_ids(source), strict=True):
        cell["id"] = named
    return fresh, code(source) != code(stored) or not executed(stored)


def as_published(notebook: NotebookNode, name: str, book: Book) -> NotebookNode:
    """A source's notebook with the text that readers of notebooks see. Raises Unpublishable with the cell named."""
    return publish(notebook, book, f"{NOTEBOOKS.name}/{name}")


def read_ids(notebook: NotebookNode) -> list[str]:
    return [cell["id"] for cell in notebook.cells]


def run(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run all cells in a fresh kernel, in `folder`; a cell that raises stops it with the cell's own error."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)
    kept = dict(notebook.metadata)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    widgets = notebook.metadata.get("widgets")
    notebook.metadata = NotebookNode(kept | ({"widgets": widgets} if widgets else {}))
    return notebook


def translated(name: str, language: str, book: Book, must: bool) -> bool:
    """Make notebooks/LANGUAGE/NAME.ipynb; True if it was written. must: run it where its outputs are not its own."""
    folder = NOTEBOOKS / site.SPOKEN[language]
    target, source = folder / f"{name}.ipynb", BOOK / site.SPOKEN[language] / f"{name}.md"
    stored = nbformat.read(target, as_version=4) if target.exists() else None
    notebook, changed = update(read_source(source), stored)
    foreign = stored is None or stored.metadata.get(site.ENGLISH_OUTPUTS, False)
    english = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    notebook = as_published(notebook, name, book)
    if must and (changed or foreign):
        print(f"{target.relative_to(ROOT)}: running …", flush=True)
        os.environ["DIFFUSION_TUTORIAL_LANGUAGE"] = language
        start = time.perf_counter()
        run(notebook, folder)
        print(f"{target.relative_to(ROOT)}: {time.perf_counter() - start:.0f} s")
    elif changed or foreign:
        notebook = site.taken_over(notebook, english)
        notebook.metadata[site.ENGLISH_OUTPUTS] = True
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return False
    folder.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return True


def in_language(language: str, names: list[str], must: bool) -> int:
    """Make the notebooks of another language; the number of those that could not be made."""
    speak(language)
    left = site.write_pages(ROOT, language)
    book, failed = Book.read(ROOT, site.SPOKEN[language]), 0
    for name in names:
        run_it = must and not left[name]
        if must and left[name]:
            print(f"{name}: {left[name]} messages are not translated; it is not run")
        try:
            written = translated(name, language, book, run_it)
        except (Unpublishable, CellExecutionError, ValueError) as error:
            failed += 1
            print(f"{name} in {language} is left as it was. {error}", file=sys.stderr)
        else:
            print(f"notebooks/{site.SPOKEN[language]}/{name}.ipynb: {'written' if written else 'up to date'}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="chapters to look at; all if none is named")
    parser.add_argument("--force", action="store_true", help="run them even if no cell changed")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if one is out of date")
    parser.add_argument(
        "--language", choices=list(site.SPOKEN), help="make the notebooks of another language"
    )
    parser.add_argument(
        "--run", action="store_true", help="run those of another language that are all translated"
    )
    options = parser.parse_args()
    sources = {path.stem: path for path in chapters()}
    if unknown := set(options.names) - set(sources):
        known = ", ".join(sources) or "none"
        parser.error(f"no chapter named {', '.join(sorted(unknown))}; there are: {known}")
    NOTEBOOKS.mkdir(exist_ok=True)
    os.environ["DIFFUSION_TUTORIAL_STATIC"] = "1"  # for the kernels: store a widget as its picture
    if options.language:
        return 1 if in_language(options.language, options.names or list(sources), options.run) else 0
    try:
        book = Book.read(ROOT)
    except Unpublishable as error:
        print(f"no notebook is written. {error}", file=sys.stderr)
        return 1
    old = 0
    for name in options.names or sources:
        target = NOTEBOOKS / f"{name}.ipynb"
        stored = nbformat.read(target, as_version=4) if target.exists() else None
        notebook, must_run = update(read_source(sources[name]), stored)
        try:
            notebook = as_published(notebook, name, book)
        except Unpublishable as error:
            old += 1
            print(f"notebooks/{name}.ipynb is left as it was. {error}", file=sys.stderr)
            continue
        if options.check:
            if must_run or stored is None or shape(notebook) != shape(stored):
                old += 1
                print(f"notebooks/{name}.ipynb is out of date: run `make notebooks`")
            continue
        if must_run or options.force:
            print(f"notebooks/{name}.ipynb: running …", flush=True)
            start = time.perf_counter()
            try:
                run(notebook, NOTEBOOKS)
            except CellExecutionError as error:
                print(f"notebooks/{name}.ipynb is left as it was. {error}", file=sys.stderr)
                return 1
            print(f"notebooks/{name}.ipynb: {time.perf_counter() - start:.0f} s")
        nbformat.validate(notebook)
        text = nbformat.writes(notebook) + "\n"
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
            print(f"notebooks/{name}.ipynb: written")
        else:
            print(f"notebooks/{name}.ipynb: up to date")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
