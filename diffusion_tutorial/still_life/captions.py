"""Still Life's captions: which attributes a text names, in words, and back.

A caption names some attributes and leaves the rest free, so adherence (what was said) and diversity (what was not)
can be counted apart. The vocabulary is closed: a word outside it is an error, never dropped in silence.
"""

from __future__ import annotations

import difflib
import random
import re

from ..errors import PromptError
from .scenes import ATTRIBUTES

_GLUE = ("a", "an", "the", "object", "on", "in", "front", "of", "before", "with", "and", "floor", "wall")
WORDS: tuple[str, ...] = tuple(
    dict.fromkeys((*_GLUE, *(word for values in ATTRIBUTES.values() for word in values)))
)
# What stands between words: white space and the marks of a sentence, those of Chinese too.
_BETWEEN = re.compile("[\\s.,;:!?…\"“”„'‘’()，。、；：！？（）]+")


class UnknownWordError(PromptError):
    """A text has words outside the vocabulary."""


def check_words(text: str, name: str = "prompt") -> str:
    """`text` as the tokenizer reads it: its words in small letters, without punctuation, which no caption has.

    Raises UnknownWordError, with the nearest known words, unless every word is in WORDS; PromptError for a text of
    punctuation alone.
    """
    words = _split(text)
    if text.strip() and not words:
        raise PromptError(f"{name} is {text!r}; allowed: a text with words")
    unknown = [word for word in words if word not in WORDS]
    if not unknown:
        return " ".join(words)
    hints = []
    for word in dict.fromkeys(unknown):
        near = difflib.get_close_matches(word, WORDS, n=3, cutoff=0.5)
        hints.append(f"{word!r}" + (f" (nearest: {', '.join(near)})" if near else ""))
    raise UnknownWordError(
        f"{name} is {text!r}: unknown {'word' if len(hints) == 1 else 'words'} {', '.join(hints)}; "
        f"allowed: {', '.join(sorted(WORDS))}"
    )


def _split(text: str) -> list[str]:
    return [word for word in _BETWEEN.split(text.lower()) if word]


def _article(words: list[str]) -> list[str]:
    return ["an" if words[0][0] in "aeiou" else "a", *words]


def caption(said: dict[str, str], rng: random.Random | None = None) -> str:
    """A caption that names exactly the attributes in `said`, such as {"shape": "cube", "floor": "green"}.

    Without `rng` the words come in the standard order: "a large shiny red sphere on a green floor in front of a
    white wall". With it, order and wording vary as in training. Nothing said gives "an object".
    Raises ValueError for an unknown attribute or value.
    """
    for key, value in said.items():
        if key not in ATTRIBUTES or value not in ATTRIBUTES[key]:
            allowed = ", ".join(ATTRIBUTES.get(key, ATTRIBUTES))
            raise ValueError(f"said[{key!r}] is {value!r}; allowed: {allowed}")
    adjectives = [said[k] for k in ("size", "material", "colour") if k in said]
    bare = vary = False
    if rng is not None:
        bare, vary = rng.random() < 0.15, rng.random() < 0.5
        if vary:
            rng.shuffle(adjectives)
    noun = said.get("shape", "object")
    thing = [*adjectives, noun]
    if bare and adjectives and "shape" not in said and rng.random() < 0.7:
        thing = adjectives  # "red", "small shiny": the way people write negative prompts
    thing = thing if bare else _article(thing)
    nothing_of_it = not adjectives and "shape" not in said
    places = []
    if "floor" in said:
        place = [said["floor"], "floor"]
        places.append((["on"], place))
    if "wall" in said:
        lead = ["in", "front", "of"] if rng is None or rng.random() < 0.6 else ["before"]
        places.append((lead, [said["wall"], "wall"]))
    if rng is not None and rng.random() < 0.25:
        places.reverse()
    if nothing_of_it and places and bare:  # "green floor", "white wall and red floor"
        return " and ".join(" ".join(place) for _, place in places)
    parts = [thing, *([*lead, *(place if bare else _article(place))] for lead, place in places)]
    if rng is not None and len(parts) > 1 and rng.random() < 0.15:
        parts = [*parts[1:], parts[0]]  # "on a green floor a red sphere"
    return " ".join(word for part in parts for word in part)


def parse(text: str) -> dict[str, str]:
    """The attributes that a caption names; the inverse of `caption`. Raises UnknownWordError.

    A colour right before "floor" or "wall" belongs to it, any other to the object. Where a text names an attribute
    twice, the last naming counts.
    """
    check_words(text, "text")
    words, said = _split(text), {}
    for here, after in zip(words, [*words[1:], ""]):
        if after in ("floor", "wall") and here in ATTRIBUTES[after]:
            said[after] = here
            continue
        for key in ("shape", "colour", "size", "material"):
            if here in ATTRIBUTES[key]:
                said[key] = here
    return {key: said[key] for key in ATTRIBUTES if key in said}


def random_said(values: dict[str, str], rng: random.Random) -> dict[str, str]:
    """Which of a scene's attributes a training caption names: all of them in a third of captions, else some.

    Wall, floor and material, the weakest in an early model, are named more often than the rest.
    """
    if rng.random() < 0.34:
        return dict(values)
    chance = {"shape": 0.7, "colour": 0.55, "size": 0.45, "material": 0.55, "floor": 0.5, "wall": 0.55}
    return {k: v for k, v in values.items() if rng.random() < chance[k]}
