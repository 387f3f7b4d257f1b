"""notebooks/x.ipynb, which readers open, holds the cells of book/x.md, which authors edit, with published text."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import notebooks as pairing  # noqa: E402
from published import Book  # noqa: E402

BOOK = Book.read(ROOT)
SOURCES = {path.stem: path for path in pairing.chapters(ROOT / "book")}
STORED = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
LIMIT = 1_500_000
MACHINE = re.compile(
    r"site-packages|dist-packages|\.venv\b|/tmp/|/home/|/root/|/Users/|" + re.escape(str(ROOT))
)

every_notebook = pytest.mark.parametrize("path", STORED.values(), ids=STORED.keys())


def outputs(notebook):
    return [(i, output) for i, cell in enumerate(notebook.cells) for output in cell.get("outputs", ())]


def test_each_source_has_its_notebook_and_each_notebook_its_source():
    assert set(SOURCES) == set(STORED), "run `make notebooks`"


@pytest.mark.parametrize("name", sorted(set(SOURCES) & set(STORED)))
def test_cells_are_equal(name):
    source, stored = pairing.read_source(SOURCES[name]), nbformat.read(STORED[name], as_version=4)
    published = pairing.as_published(source, name, BOOK)
    assert pairing.code(source) == pairing.code(stored), f"book/{name}.md changed: run `make notebooks`"
    assert pairing.shape(published) == pairing.shape(stored), f"book/{name}.md changed: run `make notebooks`"
    assert pairing.read_ids(published) == pairing.read_ids(stored), (
        f"book/{name}.md changed: run `make notebooks`"
    )


@every_notebook
def test_every_cell_was_run_in_order(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_no_error_is_stored(path):
    bad = [i for i, output in outputs(nbformat.read(path, as_version=4)) if output.output_type == "error"]
    assert not bad, f"cells {bad} hold an error"


@every_notebook
def test_no_warning_is_stored(path):
    bad = [
        (i, output.text)
        for i, output in outputs(nbformat.read(path, as_version=4))
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not bad


@every_notebook
def test_size(path):
    assert path.stat().st_size < LIMIT, f"{path.stat().st_size:,} bytes; the limit is {LIMIT:,}"


@every_notebook
def test_outputs_name_no_path_of_a_machine(path):
    found = [
        (i, match.group())
        for i, output in outputs(nbformat.read(path, as_version=4))
        if (match := MACHINE.search(json.dumps(without_pictures(output))))
    ]
    assert not found


def without_pictures(output):
    kinds = [kind for kind in output.get("data", {}) if not kind.startswith(("image/", "video/"))]
    return {"data": {kind: output.data[kind] for kind in kinds}, "text": output.get("text", "")}


@every_notebook
def test_metadata_holds_only_what_readers_need(path):
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "widgets"}
    assert not notebook.metadata["language_info"].get("version")
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}


@every_notebook
def test_is_valid(path):
    nbformat.validate(nbformat.read(path, as_version=4))


@every_notebook
def test_pictures_are_ignored_by_the_comparison(path):
    """A picture's bytes differ between processors, so its cell must carry the tag."""
    notebook = nbformat.read(path, as_version=4)
    bad = [
        i
        for i, output in outputs(notebook)
        if any(kind.startswith(("image/", "video/")) or "widget" in kind for kind in output.get("data", {}))
        and "nbval-ignore-output" not in notebook.cells[i].metadata.get("tags", ())
    ]
    assert not bad, f"cells {bad} show pictures or widgets and need the tag nbval-ignore-output"


class TestUpdating:
    """What scripts/notebooks.py keeps and what it runs again."""

    TEXT = (
        "---\nkernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n---\n\n"
        "# T\n\n```{code-cell}\n1 + 1\n```\n"
    )

    def stored(self, tmp_path):
        source = self.read(tmp_path, self.TEXT)
        for count, cell in enumerate((c for c in source.cells if c.cell_type == "code"), 1):
            cell.execution_count = count
        result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
        source.cells[-1].outputs = [result]
        return source

    def read(self, tmp_path, text):
        (tmp_path / "t.md").write_text(text, encoding="utf-8")
        return pairing.read_source(tmp_path / "t.md")

    def test_new_prose_keeps_outputs_and_runs_nothing(self, tmp_path):
        text = self.TEXT.replace("# T", "# New")
        new, must_run = pairing.update(self.read(tmp_path, text), self.stored(tmp_path))
        assert not must_run
        assert new.cells[0].source == "# New"
        assert new.cells[-1].outputs[0].data["text/plain"] == "2"

    def test_new_code_runs(self, tmp_path):
        text = self.TEXT.replace("1 + 1", "1 + 2")
        assert pairing.update(self.read(tmp_path, text), self.stored(tmp_path))[1]

    def test_a_notebook_that_never_ran_runs(self, tmp_path):
        stored = self.stored(tmp_path)
        stored.cells[-1].execution_count = None
        assert pairing.update(self.read(tmp_path, self.TEXT), stored)[1]

    def test_reading_twice_gives_the_same_cell_names(self, tmp_path):
        first, second = (pairing.read_ids(self.read(tmp_path, self.TEXT)) for _ in range(2))
        assert first == second and len(set(first)) == len(first)
