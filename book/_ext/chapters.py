"""A chapter's page is made of the text of book/x.md and the outputs of notebooks/x.ipynb.

The notebook holds published text, for readers without a site: numbers and names in the place of references. The page
keeps its references, so Sphinx is handed the source's cells with the notebook's outputs whenever it reads the
notebook; nothing is written. The page keeps the notebook's address, and its download and launch buttons the notebook.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import notebooks  # noqa: E402

logger = logging.getLogger(__name__)
FOLDER = notebooks.NOTEBOOKS.name


def combine(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the chapter's own text in the place of the notebook's."""
    folder, _, name = docname.rpartition("/")
    path = Path(app.srcdir) / "book" / f"{name}.md"
    if folder != FOLDER or path not in notebooks.chapters(path.parent):
        return
    app.env.note_dependency(str(path))  # a page is old when its source is
    stored = nbformat.reads(source[0], as_version=4)
    notebook, must_run = notebooks.update(notebooks.read_source(path), stored)
    if must_run:
        logger.warning("the code of book/%s.md is not that of the notebook: run `make notebooks`", name)
        forget(notebook, set(notebooks.code(stored)))
    source[0] = nbformat.writes(notebook)


def forget(notebook: NotebookNode, known: set[str]) -> None:
    """Take the outputs off cells whose code was never run: they are those of other code."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source not in known:
            cell.outputs = []


def setup(app: Sphinx) -> dict:
    app.connect("source-read", combine, priority=100)  # before what replaces words in a page's source
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
