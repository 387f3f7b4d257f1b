"""What readers see of a cell's code: strings that are drawn or printed, comments, docstrings.

A string counts where it is certain that it is shown: an argument of a drawing or printing function, or one that is
named `alt`, `caption`, `title` and the like. Keys of dictionaries, which become legends, and words that come out of
data are not touched here, since the program may look them up; the package translates them where it draws
(`diffusion_tutorial.plots`).
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from .spans import Span

NAMED = {
    "alt", "caption", "title", "titles", "label", "labels", "xlabel", "ylabel", "row_titles", "column_titles",
    "notes", "heads", "legend", "text",
}  # fmt: skip
SHOWN = {"print", "table", "over_scale", "curves"}  # and all of `plots`
LISTS = {"rows", "lines", "row", "shown"}  # what is appended to these is shown
PASSED = {
    "join",
    "fill",
    "format",
    "ljust",
    "rjust",
    "center",
    "list",
    "tuple",
    "zip",
    "sorted",
    "capitalize",
}
WORD = re.compile(r"[A-Za-z][a-z]{2,}|\b(?:a|an|at|by|in|is|it|no|of|on|or|to|up)\b")
FIXED = re.compile(  # names and units, which need no translation where they stand alone
    r"\b(?:DDIM|DDPM|DPM|Stable Diffusion|Still Life|FLUX|Qwen|Euler|Heun|Sana|Langevin|FLOPs?|GFLOP|TFLOP|FID|eta|NFE|ms"
    r"|GB|MB|MiB|GenEval|DPG-Bench|LongText-Bench)\b"
)
PREFIX = re.compile(r"(?P<prefix>[A-Za-z]{0,2})(?P<quote>\"\"\"|'''|\"|')")
WIDTH = 76


@dataclass(frozen=True)
class Field:
    """`{value:.3f}` of an f-string, braces included."""

    source: str


def name_of(call: ast.Call) -> str:
    """The last name of what is called; "plots" for whatever belongs to it."""
    func = call.func
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "plots":
        return "plots"
    return func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")


def strings(node: ast.AST) -> Iterator[ast.expr]:
    """The strings of an expression that is shown, less those that look something up."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
    elif isinstance(node, ast.Subscript):
        yield from strings(node.value)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from strings(value)
    elif isinstance(node, ast.DictComp):
        yield from strings(node.value)
    elif isinstance(node, (ast.ListComp, ast.GeneratorExp, ast.SetComp)):
        yield from strings(node.elt)
    elif isinstance(node, ast.IfExp):
        yield from strings(node.body)
        yield from strings(node.orelse)
    elif isinstance(node, ast.Call):
        if name_of(node) in PASSED:
            for child in [getattr(node.func, "value", None), *node.args]:
                if child is not None:
                    yield from strings(child)
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set, ast.BinOp, ast.Starred, ast.NamedExpr, ast.BoolOp)):
        for child in ast.iter_child_nodes(node):
            yield from strings(child)


def shown(tree: ast.AST) -> list[ast.expr]:
    """The string expressions of a program that readers see, each once."""
    found: dict[tuple[int, int], ast.expr] = {}

    def keep(node: ast.AST) -> None:
        for string in strings(node):
            found.setdefault((string.lineno, string.col_offset), string)

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = name_of(node)
            owner = getattr(getattr(node.func, "value", None), "id", "")
            if name in SHOWN or name == "plots" or (name == "append" and owner in LISTS):
                for argument in node.args:
                    keep(argument)
            for keyword in node.keywords:
                if keyword.arg in NAMED:
                    keep(keyword.value)
        elif isinstance(node, ast.Assign) and any(
            getattr(t, "id", "") in NAMED - {"text"} for t in node.targets
        ):
            keep(node.value)
    return list(found.values())


def pieces(source: str) -> list[str | Field]:
    """The text of a string literal, f-string or several beside one another, as words and fields."""
    made: list[str | Field] = []
    at = 0
    while match := PREFIX.search(source, at):
        if source[at : match.start()].strip(" \t\n\\()") and not source[
            at : match.start()
        ].lstrip().startswith("#"):
            raise ValueError(f"a string in code is {source!r}; allowed: literals beside one another")
        quote, prefix = match["quote"], match["prefix"].lower()
        start = end = match.end()
        while not source.startswith(quote, end):
            end += 2 if source[end] == "\\" else 1
        made += parts(source[start:end], prefix, quote)
        at = end + len(quote)
    return made


def parts(body: str, prefix: str, quote: str) -> list[str | Field]:
    """The words and fields of one literal's body."""

    def plain(text: str) -> str:
        return ast.literal_eval(f"{prefix.replace('f', '')}{quote}{text}{quote}") if text else ""

    if "f" not in prefix:
        return [plain(body)]
    return [part if isinstance(part, Field) else plain(part) for part in cut_fields(body)]


def cut_fields(body: str) -> list[str | Field]:
    """The words, as they are written but with single braces, and the fields of an f-string's body."""
    made: list[str | Field] = []
    words, at = "", 0
    while at < len(body):
        if body.startswith(("{{", "}}"), at):
            words, at = words + body[at], at + 2
        elif body[at] == "{":
            end = field_end(body, at)
            made += [words, Field(body[at:end])]
            words, at = "", end
        elif body[at] == "\\":
            words, at = words + body[at : at + 2], at + 2
        else:
            words, at = words + body[at], at + 1
    return [*made, words]


def field_end(body: str, at: int) -> int:
    """The place behind the field that begins at `at`."""
    depth, inside = 0, ""
    for place in range(at, len(body)):
        letter = body[place]
        if inside:
            inside = "" if letter == inside else inside
        elif letter in "\"'" and depth == 1:
            inside = letter
        elif letter in "{[(":
            depth += 1
        elif letter in "}])":
            depth -= 1
            if depth == 0:
                return place + 1
    raise ValueError(f"an f-string is {body!r}; allowed: one whose fields are closed")


def message(made: list[str | Field], formatted: bool) -> str:
    """What translators see: words, fields as they stand, a line break as \\n; braces doubled in an f-string."""
    text = ""
    for part in made:
        if isinstance(part, Field):
            text += part.source
        else:
            text += part.replace("{", "{{").replace("}", "}}") if formatted else part
    return text.replace("\n", "\\n")


def has_words(made: list[str | Field]) -> bool:
    """True if there is something to translate: more than names, symbols and units."""
    words = " ".join(part for part in made if isinstance(part, str))
    words = re.sub(r"\$[^$]*\$|`[^`]*`|<[^>]*>|[\w-]*_\w*|\\[a-z]+", " ", words)
    return bool(WORD.search(FIXED.sub(" ", words)))


def columns(text: str) -> int:
    """The width of a text in a terminal: a Han sign takes two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def literal(text: str, formatted: bool) -> str:
    """A message as one Python literal. Raises ValueError for an f-string whose fields are not closed."""
    made = cut_fields(text) if formatted else [text]
    fields = "".join(part.source for part in made if isinstance(part, Field))
    quote = "'" if '"' in fields and "'" not in fields else '"""' if '"' in fields else '"'
    body = ""
    for part in made:
        if isinstance(part, Field):
            body += part.source
        else:
            words = part.replace("\\n", "\n").replace("\\", "\\\\").replace("\n", "\\n")
            words = words.replace(quote[0], "\\" + quote[0])
            body += words.replace("{", "{{").replace("}", "}}") if fields else words
    return f"{'f' if fields else ''}{quote}{body}{quote}"


def units(text: str, formatted: bool) -> list[str]:
    """What stays together at the end of a line: a word with the space after it, a Han sign, a field, an escape."""
    field = r"\{(?!\{)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|" if formatted else ""
    return re.findall(rf"{field}\\n|(?:[^\s\u2e80-\uffff{{\\]|\{{\{{|\\(?!n))+\s*|.", text, re.S)


def broken(text: str, width: int, formatted: bool) -> list[str]:
    """A message cut into parts that are at most about `width` columns wide."""
    lines, line = [], ""
    for unit in units(text, formatted):
        if (
            line
            and columns(line + unit.rstrip()) > width
            and unit[0] not in "，。；：、？！）”’》…—"
            and line[-1] not in "（“《"
        ):
            lines.append(line)
            line = ""
        line += unit
    return [*lines, line]


def offsets(source: str) -> list[int]:
    """Where each line begins."""
    at, starts = 0, [0]
    for line in source.split("\n"):
        at += len(line) + 1
        starts.append(at)
    return starts


def readable(source: str) -> str:
    """The program without what only IPython or an assignment's template knows, all else at the same places."""
    plain = "\n".join(
        "pass".ljust(len(line)) if line.startswith(("%", "!")) else line for line in source.split("\n")
    )
    try:
        ast.parse(plain)
    except SyntaxError:
        return re.sub(r"\{\{.*?\}\}(?P<next>.?)", _filled, plain)
    return plain


def _filled(match: re.Match) -> str:
    """A template's value as a number, or as a sign where a name follows at once."""
    size = len(match[0]) - len(match["next"])
    filling = "-".ljust(size) if re.match(r"[\w(\[{'\"]", match["next"]) else "1" * size
    return filling + match["next"]


def spans(source: str) -> list[Span]:
    """What readers see of a cell's code, in order."""
    program = readable(source)
    tree = ast.parse(program)
    starts = offsets(source)
    lines = source.split("\n")

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found = []
    for node in shown(tree):
        start, end = place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
        formatted = isinstance(node, ast.JoinedStr)
        made = pieces(source[start:end])
        if not has_words(made):
            continue
        whole = message(made, formatted)
        before = whole[: len(whole) - len(whole.lstrip(" "))]
        after = whole[len(whole.rstrip(" ")) :]
        column = columns(lines[node.lineno - 1].encode()[: node.col_offset].decode())

        def write(text, before=before, after=after, column=column, formatted=formatted):
            said = before + text + after
            if column + columns(said) + 4 <= WIDTH:
                return literal(said, formatted)
            cut = broken(said, max(40, WIDTH - column - 4), formatted)
            return ("\n" + " " * column).join(literal(part, formatted) for part in cut)

        kind = "f-string" if formatted else "text"
        found.append(Span(start, end, whole.strip(" "), kind, write))
    found += docstrings(tree, source, place)
    found += comments(program, source, starts)
    return sorted(found, key=lambda span: span.start)


def docstrings(tree: ast.Module, source: str, place) -> Iterator[Span]:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or not ast.get_docstring(node):
            continue
        string = node.body[0].value
        start, end = place(string.lineno, string.col_offset), place(string.end_lineno, string.end_col_offset)
        if source[start] == "r":
            continue
        said = " ".join(string.value.split())
        indent = " " * string.col_offset

        def write(text, indent=indent):
            cut = broken(text.replace("\\", "\\\\"), WIDTH - len(indent) - 3, False)
            return '"""' + f"\n{indent}".join(part.strip() for part in cut) + '"""'

        yield Span(start, end, said.replace("\\", "\\\\") if "\\" in said else said, "docstring", write)


def comments(program: str, source: str, starts: list[int]) -> Iterator[Span]:
    """Comments; lines of their own that follow one another are one message."""
    run: list[tuple[int, int, int, str, bool]] = []
    for token in tokenize.generate_tokens(io.StringIO(program + "\n").readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            own = not token.line[:column].strip()
            if token.string.startswith("###"):  # a mark for nbgrader
                continue
            joined = run and own and run[-1][4] and run[-1][0] == row - 1 and run[-1][1] == column
            if run and not joined:
                yield from comment(run, starts)
                run = []
            run.append((row, column, token.end[1], token.string.lstrip("#").strip(), own))
    if run:
        yield from comment(run, starts)


def comment(run: list[tuple], starts: list[int]) -> Iterator[Span]:
    said = " ".join(part[3] for part in run)
    if not has_words([said]) or said.startswith(("noqa", "type:", "fmt:")):
        return
    row, column, *_ = run[0]
    start, end = starts[row - 1] + column, starts[run[-1][0] - 1] + run[-1][2]
    own = run[0][4]

    def write(text: str) -> str:
        cut = broken(text, WIDTH - column - 2, False) if own else [text]
        return f"\n{' ' * column}".join(f"# {part.strip()}" for part in cut)

    yield Span(start, end, said, "comment", write)


def skeleton(source: str) -> str:
    """A program's syntax tree without what readers see, to compare two languages by."""
    tree = ast.parse(readable(source))
    visible = shown(tree)
    for node in visible:
        if isinstance(node, ast.JoinedStr):
            fields = sorted(
                ast.dump(v) for v in node.values if isinstance(v, ast.FormattedValue) and not plural(v)
            )
            node.values = [ast.Constant("; ".join(fields))]
        else:
            node.value = ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node):
            node.body[0].value.value = ""
    return ast.dump(tree)


def plural(field: ast.FormattedValue) -> bool:
    """`{'s' * (n > 1)}`: an ending that Chinese has not."""
    text = ast.unparse(field.value)
    return bool(re.match(r"'(?:s|es)?' ?(?:\*|if )", text))
