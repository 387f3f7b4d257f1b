"""What Sphinx is handed for a chapter: the source's cells, the notebook's outputs."""

import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "book" / "_ext")]

import chapters  # noqa: E402

SOURCE = (
    "---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"
    "# T\n\nBy {eq}`a`.\n\n```{code-cell}\n:tags: [check]\n\n1 + 1\n```\n"
)


def page(folder, docname="notebooks/t", code="1 + 1"):
    """What Sphinx is handed for a document whose notebook holds `code` with the output 2, and what it depends on."""
    (folder / "book").mkdir()
    (folder / "book" / "t.md").write_text(SOURCE, encoding="utf-8")
    stored = chapters.notebooks.read_source(folder / "book" / "t.md")
    stored.cells[0].source, stored.cells[-1].source = "# T\n\nBy (3).", code
    for count, cell in enumerate(stored.cells[1:], 1):
        cell.execution_count = count
    result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=2)
    stored.cells[-1].outputs = [result]
    text, needs = [nbformat.writes(stored)], []
    app = SimpleNamespace(srcdir=folder, env=SimpleNamespace(note_dependency=needs.append))
    chapters.combine(app, docname, text)
    return nbformat.reads(text[0], as_version=4), needs


def test_it_has_the_text_of_the_source_and_the_outputs_of_the_notebook(tmp_path):
    made, needs = page(tmp_path)
    assert made.cells[0].source == "# T\n\nBy {eq}`a`."
    assert made.cells[-1].outputs[0].data["text/plain"] == "2" and made.cells[-1].metadata.tags == ["check"]
    assert needs == [str(tmp_path / "book" / "t.md")]


def test_other_documents_stay_as_they_are(tmp_path):
    made, needs = page(tmp_path, "book/t")
    assert made.cells[0].source == "# T\n\nBy (3)." and not needs


def test_code_that_was_not_run_is_a_warning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(chapters.logger, "warning", lambda *words: said.append(words[0] % words[1:]))
    made, _ = page(tmp_path, code="1 + 3")
    assert said == ["the code of book/t.md is not that of the notebook: run `make notebooks`"]
    assert not made.cells[-1].outputs
