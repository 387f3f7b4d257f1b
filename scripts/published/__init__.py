"""From a chapter's source to text that every reader of notebooks shows: JupyterLab, Colab, GitHub, VS Code.

    blocks      a text cut into prose, fences, formulas and directives
    book        what a chapter's text may name: equations by number, papers, pages, addresses
    inline      prose: roles, links, pictures
    cells       a cell's text from its blocks; the cells of a notebook, with their references at the end
    faults      what a plain renderer would show raw

Whatever the source says that is not known here raises `Unpublishable`, with the cell named: nothing goes out raw.
"""

from .blocks import Unpublishable
from .book import Book
from .cells import publish
from .faults import faults

__all__ = ["Book", "Unpublishable", "faults", "publish"]
