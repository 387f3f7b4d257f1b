"""Wrong answers and right ones made by a program from our solutions: what the tests catch, and what they let pass.

A mutant changes one place of one solution. It must lose points, of its own question and of no other. A variant says the
same in another way, and must keep them all. Mutants that are no mistakes are listed with the reason in
assignments/submissions/equivalent.yml.
"""

from __future__ import annotations

import ast
import copy
import time
from collections.abc import Iterator

import yaml

from .checks import Bench
from .judge import Host
from .source import SUBMISSIONS, Submission

SALT = "tests"


# --- mutants ------------------------------------------------------------------------------------------------------

BINARY = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.MatMult: [],
}
COMPARE = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
OTHER = {"sum": "max", "max": "min", "min": "max", "mean": "sum", "softmax": "log_softmax", "next": "len"}
ROOTS = ("sqrt", "log", "square", "abs", "float", "bool", "flatten", "detach")


def mutants(source: str) -> Iterator[str]:
    """Every program that differs from `source` by one operator at one place."""
    tree = ast.parse(source)
    original = ast.unparse(tree)
    seen = {original}
    count = sum(1 for _ in ast.walk(tree))
    for place in range(count):
        for change in range(12):
            made = copy.deepcopy(tree)
            nodes = list(ast.walk(made))
            if not changed(made, nodes, place, change):
                break
            try:
                text = ast.unparse(ast.fix_missing_locations(made))
                ast.parse(text)
            except Exception:
                continue
            if text not in seen:
                seen.add(text)
                yield text


def changed(tree, nodes, place: int, change: int) -> bool:
    """Apply the `change`-th operator to the node at `place`; False when there are no more."""
    node = nodes[place]
    choices = operators(node, tree)
    if change >= len(choices):
        return False
    new = choices[change]()
    if new is not None and new is not node:
        for parent in nodes:
            for name, value in ast.iter_fields(parent):
                if value is node:
                    setattr(parent, name, new)
                elif isinstance(value, list) and any(one is node for one in value):
                    value[[one is node for one in value].index(True)] = new
    return True


def operators(node, tree) -> list:
    """What can be done to a node: functions that change it in place, or return another."""
    found = []

    def put(**fields):
        def do():
            for name, value in fields.items():
                setattr(node, name, value)

        return do

    if isinstance(node, ast.BinOp):
        found += [put(op=kind()) for kind in BINARY.get(type(node.op), [])]
        found += [lambda: node.left, lambda: node.right, put(left=node.right, right=node.left)]
    elif isinstance(node, ast.UnaryOp):
        found += [lambda: node.operand]
    elif isinstance(node, ast.Compare):
        found += [put(ops=[kind(), *node.ops[1:]]) for kind in COMPARE.get(type(node.ops[0]), [])]
        if len(node.ops) > 1:
            found += [put(ops=[*node.ops[:-1], kind()]) for kind in COMPARE.get(type(node.ops[-1]), [])]
    elif isinstance(node, ast.BoolOp):
        found += [put(op=ast.Or() if isinstance(node.op, ast.And) else ast.And())]
        found += [put(values=node.values[:k] + node.values[k + 1 :]) for k in range(len(node.values))]
    elif isinstance(node, ast.IfExp):
        found += [put(body=node.orelse, orelse=node.body), lambda: node.body, lambda: node.orelse]
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            found += [put(value=not node.value)]
        elif isinstance(node.value, int | float):
            found += [put(value=node.value + 1), put(value=node.value - 1), put(value=node.value * 2)]
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in ROOTS and isinstance(node.func, ast.Name) and len(node.args) == 1:
            found += [lambda: node.args[0]]
        if name in ROOTS and isinstance(node.func, ast.Attribute) and not node.args:
            found += [lambda: node.func.value]
        if name in OTHER:
            other = copy.deepcopy(node.func)
            setattr(other, "id" if isinstance(other, ast.Name) else "attr", OTHER[name])
            found += [put(func=other)]
        for k in range(len(node.args) - 1):
            args = list(node.args)
            args[k], args[k + 1] = args[k + 1], args[k]
            found += [put(args=args)]
        found += [put(keywords=[w for w in node.keywords if w is not one]) for one in node.keywords]
    elif isinstance(node, ast.List | ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        for k in range(len(node.elts) - 1):
            items = list(node.elts)
            items[k], items[k + 1] = items[k + 1], items[k]
            found += [put(elts=items)]
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.slice, ast.Slice)
    ):
        found += [lambda: node.value]
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        names = arguments_beside(node, tree)
        if node.id in names and len(names) > 1:
            at = names.index(node.id)
            found += [put(id=names[(at + 1) % len(names)]), put(id=names[at - 1])]
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        found += [put(op=ast.Sub())]
    elif isinstance(node, ast.If):
        found += [put(body=[ast.Pass()]), put(test=ast.UnaryOp(ast.Not(), node.test))]
    return found


def arguments_beside(node, tree) -> list[str]:
    """The arguments of the function that a name stands in."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and any(one is node for one in ast.walk(function)):
            return [a.arg for a in function.args.args]
    return []


# --- variants -----------------------------------------------------------------------------------------------------

WRAP = """
{source}

_first_{name} = {name}

def {name}(*args, **kwargs):
    import numpy
    import torch
    def each(value, do):
        if isinstance(value, (tuple, list)):
            return type(value)(each(one, do) for one in value)
        return do(value)
    {before}
    value = _first_{name}(*args, **kwargs)
    return {after}
"""


class Renamed(ast.NodeTransformer):
    """Local variables with other names."""

    def visit_FunctionDef(self, node):
        own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        own -= {a.arg for a in node.args.args}
        for n in ast.walk(node):
            if isinstance(n, ast.Name) and n.id in own:
                n.id = f"my_{n.id}"
        return node


class Commuted(ast.NodeTransformer):
    """Factors and summands the other way round, where they are numbers or tensors."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        lists = (ast.List, ast.Tuple)
        if isinstance(node.op, ast.Add | ast.Mult) and not isinstance(node.left, lists):
            node.left, node.right = node.right, node.left
        return node


class Subtracted(ast.NodeTransformer):
    """a - b as a + (-b)."""

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if isinstance(node.op, ast.Sub):
            node.op, node.right = ast.Add(), ast.UnaryOp(ast.USub(), node.right)
        return node


class Roots(ast.NodeTransformer):
    """sqrt as a power, or by numpy, or of a float32 tensor."""

    def __init__(self, how: str):
        self.how = how

    def visit_Call(self, node):
        self.generic_visit(node)
        if getattr(node.func, "id", "") != "sqrt":
            return node
        text = ast.unparse(node.args[0])
        return ast.parse(self.how.format(text), mode="eval").body


def variants(source: str, names: tuple[str, ...], functions: bool) -> Iterator[tuple[str, str]]:
    """(what was done, program): the same answer, said in another way."""

    def through(transformer):
        tree = copy.deepcopy(ast.parse(source))
        return ast.unparse(ast.fix_missing_locations(transformer.visit(tree)))

    yield "other names", through(Renamed())
    yield "commuted", through(Commuted())
    yield "no minus between two terms", through(Subtracted())
    yield "roots as powers", through(Roots("({0}) ** 0.5"))
    yield "roots by numpy", "import numpy\n" + through(Roots("float(numpy.sqrt({0}))"))
    yield "roots of float32 tensors", "import torch\n" + through(Roots("torch.sqrt(torch.tensor({0}))"))
    yield (
        "own names that tests use",
        f"{source}\nx, z, wanted, got, near, levels, n, s, e0, ep, en, u, c = (0,) * 13\n",
    )
    yield "magics and output", f"%matplotlib inline\nprint('on my way')\n{source}\nprint('done')\n"
    yield "comments in Chinese", f"# 我的答案\n数 = 1\n{source}\n"
    if functions:
        name = names[0]
        done = {
            "results in float32": (
                "pass",
                "each(value, lambda v: v.float() if isinstance(v, torch.Tensor) else v)",
            ),
            "results in numpy": (
                "pass",
                "each(value, lambda v: v.numpy() if isinstance(v, torch.Tensor) else v)",
            ),
            "numbers as tensors": (
                "pass",
                "each(value, lambda v: torch.tensor(v) if type(v) is float else v)",
            ),
            "numbers of numpy": (
                "pass",
                "each(value, lambda v: numpy.float64(v) if type(v) is float else v)",
            ),
            "arguments copied": (
                "args = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]",
                "value",
            ),
            "lists as they come": ("args = [list(a) if isinstance(a, list) else a for a in args]", "value"),
        }
        for what, (before, after) in done.items():
            yield what, WRAP.format(source=source, name=name, before=before, after=after)
    else:
        shown = "\n    ".join(source.splitlines())
        given = ", ".join(names)
        yield "in a function", f"def answer():\n    {shown}\n    return {given}\n\n{given} = answer()\n"
        yield "twice", f"{source}\n{source}\n"
        yield "with a semicolon", f"{source};\n"


# --- the account --------------------------------------------------------------------------------------------------


def equivalent(name: str) -> dict[str, dict[str, str]]:
    """{answer: {the changed line: why it is no mistake}}"""
    file = SUBMISSIONS / "equivalent.yml"
    return (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get(name, {}) if file.is_file() else {}


def line_of(source: str, mutant: str) -> str:
    """The line that a mutant changed."""
    old = ast.unparse(ast.parse(source)).splitlines()
    return " / ".join(line.strip() for line in mutant.splitlines() if line not in old) or "(a line less)"


def account(name: str, host: Host, most: int = 0, whole: int = 20, answers=None, say=print) -> dict:
    """Grade mutants and variants of an assignment. {"mutants", "caught", "equivalent", "variants", "kept", "wrong"}.

    most: mutants an answer, spread evenly (0: all). One mutant in `whole` is graded with all questions, the others with
    their own, which is what a question of its own process has to do with.
    """
    bench = Bench(name, host, SALT, seconds=40.0, call_seconds=8.0)
    same = equivalent(name)
    total = {"mutants": 0, "caught": 0, "equivalent": 0, "variants": 0, "kept": 0, "wrong": []}
    number = 0
    for answer in bench.judge.paper.answers:
        if answers and answer.id not in answers:
            continue
        own = {test for test, _, _ in answer.tests}
        best = {test: bench.most[test] for test in own}
        every = list(mutants(answer.source))
        step = max(1, -(-len(every) // most)) if most else 1
        for text in every[::step]:
            line = line_of(answer.source, text)
            if line in same.get(answer.id, {}):
                total["equivalent"] += 1
                continue
            number += 1
            everything = number % whole == 0
            notebook = bench.notebook(Submission("", {answer.id: text}))
            got = bench.points(notebook, None if everything else [answer.id])
            total["mutants"] += 1
            lost = {test for test, points in got.items() if points < bench.most[test]}
            if lost and lost <= own:
                total["caught"] += 1
            else:
                total["wrong"].append(f"{name}, {answer.id}: lost {sorted(lost)}: {line}")
                say(total["wrong"][-1])
        for what, text in variants(answer.source, answer.names, answer.functions):
            got = bench.points(bench.notebook(Submission("", {answer.id: text})), [answer.id])
            total["variants"] += 1
            if got == best:
                total["kept"] += 1
            else:
                total["wrong"].append(f"{name}, {answer.id}, {what}: {got}")
                say(total["wrong"][-1])
    return total


def report(chosen: list[str], most: int = 0) -> int:
    """Print the account by assignment; 1 if fewer than 98% of the mutants are caught, or a variant lost points."""
    bad = False
    with Host() as host:
        for name in chosen:
            begin = time.monotonic()
            total = account(name, host, most)
            share = total["caught"] / max(1, total["mutants"])
            print(
                f"{name}: {total['caught']} of {total['mutants']} mutants caught ({share:.1%}), "
                f"{total['equivalent']} equivalent; {total['kept']} of {total['variants']} variants kept all points; "
                f"{time.monotonic() - begin:.0f} s",
                flush=True,
            )
            bad |= share < 0.98 or total["kept"] < total["variants"]
    return int(bad)
