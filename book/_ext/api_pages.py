"""The `api` directive: the package's reference, read from its source without importing it.

Reading by `ast` needs neither torch nor the package's other dependencies, so the pages build anywhere.

    ```{api} diffusion_tutorial
    :first: schedules samplers guidance
    :skip: cli
    ```

A docstring is plain text: paragraphs, `code` between backticks, lines that start with "- ", tables of lines that start
with "|", and indented blocks, which are shown as they are.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Entry:
    """A public class, function, property or constant."""

    kind: str
    name: str
    signature: str
    doc: str
    members: list[Entry] = field(default_factory=list)


def modules(package: Path, first: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> list[tuple[str, Path]]:
    """(dotted name, file) of the public modules of a package, those of `first` first."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name and name not in skip and not any(part.startswith("_") for part in name.split(".")):
            found[name] = path
    order = [name for name in first if name in found] + [name for name in found if name not in first]
    return [(f"{package.name}.{name}", found[name]) for name in order]


def entries(tree: ast.Module) -> list[Entry]:
    """The documented public names that a module defines, in order; those of `__all__` if it is there."""
    listed = exported(tree)
    chosen = []
    for node in tree.body:
        for entry in entry_of(node):
            if entry.doc and (entry.name in listed if listed is not None else not entry.name.startswith("_")):
                chosen.append(entry)
    return chosen


def exported(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            try:
                return set(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None


def entry_of(node: ast.stmt) -> Iterator[Entry]:
    if isinstance(node, ast.FunctionDef):
        yield Entry("function", node.name, signature(node), ast.get_docstring(node) or "")
    elif isinstance(node, ast.ClassDef):
        members = [member for child in node.body if (member := method_of(child)) is not None]
        yield Entry("class", node.name, constructor(node), ast.get_docstring(node) or "", members)


def method_of(node: ast.stmt) -> Entry | None:
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or not ast.get_docstring(node):
        return None
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if decorators & {"property", "cached_property", "functools.cached_property"}:
        return Entry("property", node.name, "", ast.get_docstring(node))
    bound = "staticmethod" not in decorators
    kind = "classmethod" if "classmethod" in decorators else "staticmethod" if not bound else "method"
    return Entry(kind, node.name, signature(node, drop_first=bound), ast.get_docstring(node))


def signature(node: ast.FunctionDef, drop_first: bool = False) -> str:
    """`(x, y=1) -> Tensor`: names and defaults; types stay in the docstring, where shapes are."""
    bare = ast.parse(ast.unparse(node)).body[0]
    arguments = bare.args
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    if drop_first:
        (arguments.posonlyargs or arguments.args).pop(0)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(arguments)}){returns}".replace("\n", " ")


def constructor(node: ast.ClassDef) -> str:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return signature(child, drop_first=True).replace(" -> None", "")
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [child for child in node.body if isinstance(child, ast.AnnAssign)]
        shown = [ast.unparse(f.target) + (f"={ast.unparse(f.value)}" if f.value else "") for f in fields]
        return f"({', '.join(name for name in shown if not name.startswith('_'))})"
    return ""


def body(doc: str) -> list[nodes.Node]:
    """A docstring as document nodes."""
    made: list[nodes.Node] = []
    for block in re.split(r"\n\s*\n", dedent(doc).strip("\n")):
        lines = block.splitlines()
        if all(line.startswith("    ") for line in lines):
            text = dedent(block)
            if made and isinstance(made[-1], nodes.literal_block):
                text = f"{made.pop().astext()}\n\n{text}"
            made.append(nodes.literal_block(text, text, language="none"))
            continue
        hang = next((i for i, line in enumerate(lines) if i and line.startswith("    ")), None)
        if len(lines) > 2 and all(line.strip().startswith("|") for line in lines):
            made.append(table([line.strip() for line in lines]))
        elif lines[0].lstrip().startswith(("- ", "* ")):
            made.append(bullets(lines))
        elif (
            hang
            and lines[hang - 1].rstrip().endswith(":")
            and all(x.startswith("    ") for x in lines[hang:])
        ):
            made.append(paragraph(" ".join(lines[:hang])))
            text = dedent("\n".join(lines[hang:]))
            made.append(nodes.literal_block(text, text, language="none"))
        else:
            made.append(paragraph(" ".join(line.strip() for line in lines)))
    return made


def table(lines: list[str]) -> nodes.table:
    """A table of a docstring: a line of heads, a line of dashes, and the rows, their cells between bars."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in rows[0]), cols=len(rows[0]))
    head, *others = [
        nodes.row("", *(nodes.entry("", paragraph(cell) if cell else nodes.paragraph()) for cell in row))
        for row in rows
    ]
    group += [nodes.thead("", head), nodes.tbody("", *others)]
    return nodes.table("", group)


def bullets(lines: list[str]) -> nodes.bullet_list:
    items: list[str] = []
    for line in lines:
        if line.lstrip().startswith(("- ", "* ")):
            items.append(line.lstrip()[2:])
        else:
            items[-1] += " " + line.strip()
    return nodes.bullet_list("", *(nodes.list_item("", paragraph(item)) for item in items))


def paragraph(text: str) -> nodes.paragraph:
    made = nodes.paragraph()
    for i, part in enumerate(re.split(r"``?([^`]+)``?", text)):
        if part:
            made += nodes.literal(part, part) if i % 2 else nodes.Text(part)
    return made


class Api(SphinxDirective):
    """One section a module, one description an entry."""

    required_arguments = 1
    option_spec = {"first": directives.unchanged, "skip": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        package = ROOT / self.arguments[0]
        first, skip = (tuple(self.options.get(name, "").split()) for name in ("first", "skip"))
        made = []
        found = modules(package, first, skip)
        trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in found}
        # A type's name that two modules have would lead to either: it stays a word.
        names = Counter(entry.name for tree in trees.values() for entry in entries(tree))
        for name, path in found:
            self.env.note_dependency(str(path))
            tree = trees[name]
            public = entries(tree)
            self.twice = {n for n, count in names.items() if count > 1}
            if not public:
                continue
            section = nodes.section(ids=[f"module-{name.replace('.', '-')}"], names=[name])
            short = name.removeprefix(f"{package.name}.")
            section += nodes.title(short, "", nodes.literal(short, short))
            section += body(ast.get_docstring(tree) or "")
            for entry in public:
                section += self.describe(entry, name)
            made.append(section)
        return made

    def describe(self, entry: Entry, module: str, parent: str = "") -> list[nodes.Node]:
        path = f"{parent}.{entry.name}" if parent else entry.name
        kind = {"classmethod": "method", "staticmethod": "method"}.get(entry.kind, entry.kind)
        lines = [f"```{{py:{kind}}} {path}{entry.signature}", f":module: {module}"]
        lines += [f":{entry.kind}:"] if kind != entry.kind else []
        holder = nodes.Element()
        self.state.nested_parse(StringList([*lines, "```"], self.get_source_info()[0]), 0, holder)
        made = list(holder.children)
        for reference in list(holder.findall(pending_xref)):
            if reference["reftarget"].rpartition(".")[2] in self.twice:
                reference.parent.replace(reference, reference.children)
        content = next(node for node in made if node.tagname == "desc").children[-1]
        content += body(entry.doc)
        for member in entry.members:
            content += self.describe(member, module, path)
        return made


def setup(app: Sphinx) -> dict:
    app.add_directive("api", Api)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
