"""From a chapter's MyST to text for every reader of notebooks, on a book of three pages."""

import sys
from pathlib import Path

import nbformat
import pytest
from pybtex.database import parse_string

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from address import Address  # noqa: E402
from published import Book, Unpublishable, faults, publish  # noqa: E402
from published.book import Page, order  # noqa: E402
from published.cells import folds, text  # noqa: E402
from published.papers import Papers  # noqa: E402

HERE = "notebooks/one"
SITE = "https://ann.github.io/book/"
REPOSITORY = "https://github.com/ann/book"
INTRO = "---\ntitle: x\n---\n# Intro\n\n(q-why)=\n## Why?\n\n$$\na\n$$ (eq-a)\n"
ONE = """\
# One

$$
b
$$ (eq-b)

```{code-cell} ipython3
# no heading
$$
x
$$ (eq-code)
```

```{math}
:label: eq-c
c
```
"""
TWO = "# Two\n\n## A place here\n\n:::{note}\n$$\nd\n$$ (eq-d)\n:::\n"
WORDS = "# Words\n\n| [seed]{#term-seed} | 7 |\n"
BIB = """
@misc{one, author = {Ho, Jonathan}, title = {First}, year = {2020}, url = {https://a.org/1}}
@misc{two, author = {Ho, Jonathan and Fern{\\'a}ndez Abrevaya, V.}, title = {Second_x}, year = {2021}, doi = {10.1/2}}
@misc{three, author = {Song, J. and Meng, C. and Ermon, S.}, title = {Third}, year = {2021}, url = {https://a.org/3}}
@misc{who, author = {{AUTO1}}, title = {Code}, url = {https://a.org/4}}
@misc{lost, author = {Nobody, A.}, title = {Nothing}, year = {2000}}
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    root = tmp_path_factory.mktemp("book")
    (root / "book" / "images").mkdir(parents=True)
    (root / "book" / "images" / "x.png").write_bytes(b"")
    (root / "LICENSE").write_text("free")
    pages = {"book/intro": INTRO, HERE: ONE, "notebooks/two": TWO, "book/words": WORDS}
    return Book(
        {name: Page(name, source) for name, source in pages.items()},
        Papers(parse_string(BIB, "bibtex")),
        Address("ann", "book", "main"),
        root,
    )


def test_numbers_run_through_the_book_in_the_order_of_its_pages(book):
    assert book.numbers == {"eq-a": 1, "eq-b": 2, "eq-c": 3, "eq-d": 4}


PUBLISHED = {
    "an equation of this page": ("by {eq}`eq-b`", "by (2)"),
    "of another page": ("by {eq}`eq-a`", f"by [(1)]({SITE}book/intro.html#equation-eq-a)"),
    "a displayed formula": ("$$\nb\n$$ (eq-b)", "$$\nb\n\\tag{2}\n$$"),
    "without a label": ("so\n\n$$ b $$\n\nthen", "so\n\n$$\nb\n$$\n\nthen"),
    "as a directive": ("```{math}\n:label: eq-c\nc\n```", "$$\nc\n\\tag{3}\n$$"),
    "in a list": ("- so\n\n  $$\n  b\n  $$ (eq-b)", "- so\n\n  $$\n  b\n  \\tag{2}\n  $$"),
    "that breaks": (r"$$ a \\ b $$", "$$\n\\begin{split}\na \\\\ b\n\\end{split}\n$$"),
    "a formula with spaces": ("so $ a $", "so $a$"),
    "a role for a formula": ("so {math}`a_1`", "so $a_1$"),
    "one author": ("{cite:p}`one`", "([Ho, 2020](https://a.org/1))"),
    "two papers": (
        "{cite:p}`two,three`",
        "([Ho and Fernández Abrevaya, 2021](https://doi.org/10.1/2); [Song et al., 2021](https://a.org/3))",
    ),
    "no year": ("{cite}`who`", "([AUTO1](https://a.org/4))"),
    "authors in the sentence": ("{cite:t}`three` say", "Song et al. ([2021](https://a.org/3)) say"),
    "a chapter": ("[Two](two.ipynb)", "[Two](two.ipynb)"),
    "an empty link": ("[](two.ipynb)", "[Two](two.ipynb)"),
    "a place of a chapter": ("[p](two.ipynb#a-place-here)", f"[p]({SITE}notebooks/two.html#a-place-here)"),
    "a place by its name": ("[](q-why)", f"[Why?]({SITE}book/intro.html#q-why)"),
    "a page of the site": ("[words](../book/words.md)", f"[words]({SITE}book/words.html)"),
    "a term": ("[seed](../book/words.md#term-seed)", f"[seed]({SITE}book/words.html#term-seed)"),
    "a role for a term": ("{term}`seed`, {term}`seeds <seed>`", "seed, seeds"),
    "a role for a page": ("{doc}`../book/words`", f"[Words]({SITE}book/words.html)"),
    "a role for a place": ("{ref}`here <q-why>`", f"[here]({SITE}book/intro.html#q-why)"),
    "a file": (
        "[licence](../LICENSE), <repo:LICENSE>",
        f"[licence]({REPOSITORY}/blob/main/LICENSE), [LICENSE]({REPOSITORY}/blob/main/LICENSE)",
    ),
    "the web": ("[a](https://a.org) <https://b.org>", "[a](https://a.org) <https://b.org>"),
    "a link with a formula": ("[$a$ and `b`](two.ipynb)", "[$a$ and `b`](two.ipynb)"),
    "a picture": ("![An x](../book/images/x.png)", f"![An x]({REPOSITORY}/raw/main/book/images/x.png)"),
    "a figure": (
        ":::{figure} ../book/images/x.png\n:alt: An x\n:width: 50%\nBy {eq}`eq-b`.\n:::",
        f"![An x]({REPOSITORY}/raw/main/book/images/x.png)\n\nBy (2).",
    ),
    "a note": (":::{note}\nBy {eq}`eq-b`.\n\n$$ b $$\n:::", "> **Note**\n>\n> By (2).\n>\n> $$\n> b\n> $$"),
    "a warning in one line": ("```{warning} Careful.\n```", "> **Warning**\n>\n> Careful."),
    "an admonition": (":::{admonition} On `x`\n:class: tip\nText.\n:::", "> **On `x`**\n>\n> Text."),
    "a note in a note": (
        "::::{note}\n:::{tip}\nA.\n:::\n::::",
        "> **Note**\n>\n> > **Tip**\n> >\n> > A.",
    ),
    "a dropdown": (
        ":::{dropdown} Proof\nA.\n:::",
        "<details>\n<summary><b>Proof</b></summary>\n\nA.\n\n</details>",
    ),
    "the playground": (
        ":::{playground} x\nSee the cell.\n:::",
        f"> **Live on [the page of this chapter]({SITE}notebooks/one.html).**\n>\n> See the cell.",
    ),
    "code": ("```{code-block} python\n{eq}`x`\n```", "```python\n{eq}`x`\n```"),
    "code as it is": ("```\n:::{note}\n```", "```\n:::{note}\n```"),
    "code in a line": ("`{eq}` and ``{cite:p}`x` ``", "`{eq}` and ``{cite:p}`x` ``"),
    "names of places, looks, comments": ("(here)=\n{.wide}\n% not said\n# T", "# T"),
    "a substitution": ("{{ folder }} at {{ site }}", f"book at {SITE}"),
    "an escape": (r"\$5 and \{eq\}", r"\$5 and \{eq\}"),
    "a bracket that is no link": ("in [0, 1) and (0, 1]", "in [0, 1) and (0, 1]"),
    "plain text": (
        "# T\n\n| a | `b|c` |\n|---|---|\n| $x$ | *y* |",
        "# T\n\n| a | `b|c` |\n|---|---|\n| $x$ | *y* |",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published(book, name):
    source, expected = PUBLISHED[name]
    assert text(source, book, HERE) == expected
    if "code" not in name and "escape" not in name:
        assert faults(expected) == []


REFUSED = {
    "an unknown role": ("{numref}`x`", "a role is 'numref'; allowed: .*eq"),
    "an unknown directive": (":::{exercise} x\n:::", "a directive is 'exercise'; allowed: .*note"),
    "an unknown option": (":::{note}\n:sort: x\n:::", "an option of note is 'sort'; allowed: .*class"),
    "an unknown equation": ("{eq}`eq-x`", "the label of an equation is 'eq-x'"),
    "an unknown paper": ("{cite:p}`x`", "a citation is 'x'"),
    "a paper without an address": ("{cite:p}`lost`", "the address of lost is None; allowed: .*doi"),
    "a page that is not there": ("[x](none.ipynb)", "is 'notebooks/none.ipynb'; allowed: a page"),
    "a place that is not there": (
        "[x](two.ipynb#none)",
        "the place in notebooks/two is 'none'; allowed: a-place-here",
    ),
    "a name that is not there": ("[x](none)", "the name of a place is 'none'"),
    "a picture that is not there": ("![x](../book/images/y.png)", "is 'book/images/y.png'"),
    "a picture without words": ("![](../book/images/x.png)", "the alternative text of a picture is ''"),
    "a way out of the repository": ("[x](../../secret.txt)", "is '../secret.txt'"),
    "a fence that does not end": (":::{note}\nText.", "a fence is ':::{note}'"),
    "a colon fence without a name": (":::\nText.\n:::", "a colon fence is ':::'"),
    "a formula that does not end": ("$$\na", "a displayed formula is"),
    "a formula with an empty line": ("$$\na\n\nb\n$$", "a displayed formula is"),
    "a footnote": ("so[^1]", "footnote"),
    "a list of definitions": ("word\n: its meaning", "definition"),
    "a link by reference": ("[a]: b.md", "beside them"),
    "a link in HTML": ('<a href="x.md">x</a>', "in Markdown"),
    "an unknown substitution": ("{{ none }}", "a substitution is 'none'; allowed: repository"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_plain_form_is_refused(book, name):
    source, message = REFUSED[name]
    with pytest.raises(Unpublishable, match=message):
        text(source, book, HERE)


def test_an_equation_may_not_have_a_label_twice(book):
    pages = {name: Page(name, ONE) for name in ("notebooks/one", "notebooks/two")}
    with pytest.raises(Unpublishable, match="more than one equation is .*eq-b.*allowed: each once"):
        Book(pages, book.papers, book.address, book.root)


FAULTS = {
    "{eq}`eq-a`": "a role",
    "a\n\n:::{note}\nb\n:::": "a colon fence",
    "(here)=\n# T": "the name of a place",
    "{.wide}": "an attribute",
    "a {{ b }}": "a substitution",
    "$$\na\n$$ (eq-a)": "a formula",
    "so $a": "a formula",
    "```{note}\na\n```": "a directive",
    "[](a.md)": "an empty link",
    "[a]()": "a link to nowhere",
    "![](a.png)": "a picture without words",
    "<details>\n<summary>T</summary>\n**a** [b](c)\n</details>": "Markdown inside HTML",
    "a[^1]": "a footnote",
}


@pytest.mark.parametrize("raw", FAULTS)
def test_a_fault_is_seen(raw):
    assert any(fault.startswith(FAULTS[raw]) for fault in faults(raw)), faults(raw)


class TestFolds:
    def test_one_in_a_cell_is_a_fold_with_a_bold_title(self):
        (made,) = folds(['a\n\n<details class="x"><summary>Hint</summary>\n\nb\n\n</details>\n\nc'])
        assert made == "a\n\n<details>\n<summary><b>Hint</b></summary>\n\nb\n\n</details>\n\nc"

    def test_one_over_cells_is_a_section_with_a_rule_at_its_end(self):
        made = folds(["## A\n\n<details><summary>Proof</summary>\n\nb", "c\n\n</details>\n\nd"])
        assert made == ["## A\n\n### Proof\n\nb", "c\n\n---\n\nd"]

    def test_before_a_heading_there_is_no_rule(self):
        made = folds(["# A", "<details><summary>Proof</summary>", "c\n\n</details>\n\n## B"])
        assert made == ["# A", "## Proof", "c\n\n## B"]

    def test_one_in_one(self):
        made = folds(
            [
                "<details><summary>A</summary>\n\n<details><summary>B</summary>\n\nb\n\n</details>",
                "</details>",
            ]
        )
        assert made == ["## A\n\n<details>\n<summary><b>B</b></summary>\n\nb\n\n</details>", "---"]

    @pytest.mark.parametrize("sources", [["</details>"], ["<details><summary>A</summary>", "b"]])
    def test_one_without_its_other_end_is_refused(self, sources):
        with pytest.raises(Unpublishable, match="details"):
            folds(sources)


class TestNotebook:
    def notebook(self, *sources):
        made = nbformat.v4.new_notebook(
            metadata={"jupytext": {"a": 1}, "kernelspec": {"name": "python3", "display_name": "Python 3"}}
        )
        made.cells = [
            nbformat.v4.new_markdown_cell(source, id=f"text-{i}") for i, source in enumerate(sources)
        ]
        output = nbformat.v4.new_output("stream", name="stdout", text="{eq}`x`")
        code = nbformat.v4.new_code_cell("print('{eq}`x`')", outputs=[output], execution_count=1, id="code")
        code.metadata["tags"] = ["check"]
        made.cells.insert(1, code)
        return made

    def test_code_outputs_tags_and_names_stay(self, book):
        before = self.notebook("{eq}`eq-b`", "b")
        after = publish(before, book, HERE)
        assert after.cells[1] == before.cells[1]
        assert [(c.id, c.source) for c in after.cells if c.id != "code"] == [
            ("text-0", "(2)"),
            ("text-1", "b"),
        ]
        assert before.cells[0].source == "{eq}`eq-b`"

    def test_it_is_not_paired_with_its_source(self, book):
        assert dict(publish(self.notebook("a"), book, HERE).metadata) == {
            "kernelspec": {"name": "python3", "display_name": "Python 3"}
        }

    def test_what_it_cites_is_listed_at_its_end(self, book):
        last = publish(self.notebook("{cite:p}`three`", "{cite:p}`two,three` `{cite:p}`"), book, HERE).cells[
            -1
        ]
        assert last.id == "references"
        heading, _, *lines = last.source.splitlines()
        assert heading == "## References"
        assert [line[:14] for line in lines] == ["- Jonathan Ho ", "- J. Song, C. "]
        assert "Fernández Abrevaya. Second\\_x. 2021." in lines[0] and "[doi:10.1/2](https://doi.org/10.1/2)" in lines[0]
        assert faults(last.source) == []

    def test_the_cell_of_a_fault_is_named(self, book):
        with pytest.raises(
            Unpublishable, match=r"^notebooks/one, cell text-1 \('bad \{no\}`x`'\): a role is 'no'"
        ):
            publish(self.notebook("a", "bad {no}`x`\nmore"), book, HERE)

    def test_what_would_show_raw_is_refused(self, book):
        with pytest.raises(Unpublishable, match="cell text-0 .*an attribute or directive"):
            publish(self.notebook("a {thing} of MyST"), book, HERE)

    def test_a_chapter_that_is_not_on_the_site_is_refused(self, book):
        with pytest.raises(
            Unpublishable, match="a chapter is 'notebooks/none'; allowed: one that _toc.yml names"
        ):
            publish(self.notebook("a"), book, "notebooks/none")


def test_the_order_of_pages_is_that_of_reading(tmp_path):
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: a\nparts:\n- caption: P\n  chapters:\n  - file: b\n    sections:\n    - file: c\n"
        "- caption: Q\n  chapters:\n  - file: d\n  - url: https://a.org\n    title: A\n"
    )
    assert order(tmp_path / "_toc.yml") == ["a", "b", "c", "d"]
