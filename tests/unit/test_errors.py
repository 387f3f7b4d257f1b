"""Errors speak one dialect: "name is value; allowed: what". The older one, "must be ..., got ...", does not come back."""

import ast
from pathlib import Path

import pytest

from diffusion_tutorial.errors import PromptError, allowed, check_integer, check_number
from diffusion_tutorial.still_life.captions import UnknownWordError

PACKAGE = Path(__file__).resolve().parents[2] / "diffusion_tutorial"


def messages(path: Path):
    """(line, text) of what is raised, as far as it is written out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            texts = [
                n.value
                for n in ast.walk(node.exc)
                if isinstance(n, ast.Constant) and isinstance(n.value, str)
            ]
            yield node.lineno, "".join(texts)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_dialect(path):
    old = [f"line {line}: {text}" for line, text in messages(path) if ", got " in text or "; got " in text]
    assert not old, old


def test_the_words():
    assert allowed("steps", 0, "1 to 1000") == "steps is 0; allowed: 1 to 1000"
    with pytest.raises(ValueError, match="n is True; allowed: an integer of 1 or more"):
        check_integer("n", True, 1)
    with pytest.raises(ValueError, match=r"eta is nan; allowed: a number from 0 to 1"):
        check_number("eta", float("nan"), 0, 1)


def test_an_unknown_word_is_a_fault_of_the_prompt():
    assert issubclass(UnknownWordError, PromptError) and issubclass(PromptError, ValueError)
