"""What a Chinese message must share with its English one, and how Chinese is set.

Each rule is a function that yields faults, as sentences for the translator. `Rules` puts them together with the terms
of the glossary.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
FULL = "，。；：、？！（）《》「」…—"  # signs that bring their own space
CODE = ("text", "f-string", "docstring", "comment")
FILLED = ("value", "figure")  # texts with {fields} that a program fills in
TOKEN = re.compile(
    r"(?P<role>\{[A-Za-z][\w:+-]*\}`[^`]+`)"
    r"|(?P<code>`+[^`]+`+)"
    r"|(?P<formula>\$(?:\\.|[^$\\])+\$)"
    r"|(?P<value>\{\{\s*\w+\s*\}\})"
    r"|(?P<attributes>(?<=\])\{[#.][^}\n]*\})"
    r"|(?P<target>(?<=\])\((?:[^()\s]|\([^()\s]*\))*\))"
    r"|(?P<tag></?[a-z][^>]*>)"
    r"|(?P<address>https?://[^\s)\u3000-\uffff]+)"
)
FIELD = re.compile(r"\{(?![{])(?:[^{}]|\{[^{}]*\})*\}(?!\})")
PLURAL = re.compile(r"\{\s*['\"](?:s|es|)['\"]\s*(?:\*|if )[^{}]*\}")
WORDS = re.compile(r"\\text\{[^{}]*\}")
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[ -]?(?P<unit>thousand|million|billion|千|万|百万|亿|十亿)(?![A-Za-z]))?"
)
UNITS = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "千": 10**3, "万": 10**4, "百万": 10**6, "亿": 10**8,
         "十亿": 10**9}  # fmt: skip
ENGLISH = re.compile(r"(?:\b[A-Za-z][a-z'’]+[ ,;]+){3,}[a-z]{2,}\b")
MARKDOWN = MarkdownIt("commonmark")


def tokens(text: str, kind: str) -> Counter:
    """What must stand in both languages letter by letter."""
    found: Counter = Counter()
    for match in FIELD.finditer(text) if kind == "f-string" else ():
        if not PLURAL.fullmatch(match[0]):
            found[match[0]] += 1
    for match in TOKEN.finditer(FIELD.sub(" ", text) if kind == "f-string" else text):
        token = " ".join(WORDS.sub(r"\\text{}", match[0]).split())
        if match.lastgroup == "formula":
            token = token.replace(" ", "")
        if match.lastgroup == "tag" and match[0].startswith("<http"):
            token = match[0]
        found[token] += 1
    if kind in FILLED:  # a sentence of a stage or widget: {name} is filled in
        found.update(re.findall(r"\{\w+\}", text))
    return found


def plain(text: str, kind: str, sign: str = "\ue000") -> str:
    """The text with every token as one sign, and links and emphasis as their words."""
    if kind == "f-string":
        text = FIELD.sub(sign, text)
    if kind in FILLED:
        text = re.sub(r"\{\w+\}", sign, text)

    def one(match: re.Match) -> str:
        return "" if match.lastgroup in ("attributes", "target", "tag") else sign

    text = TOKEN.sub(one, text)
    return re.sub(r"[\[\]]|\*+|(?<!\w)_|_(?!\w)|\\(?=[^\w\s])", "", text) if kind not in CODE else text


def numbers(text: str, kind: str) -> Counter:
    found: Counter = Counter()
    for match in NUMBER.finditer(plain(text, kind)):
        value = float(match["digits"].replace(",", "")) * UNITS.get(match["unit"] or "", 1)
        found[f"{value:.12g}"] += 1
    return found


def same_tokens(old: str, new: str, kind: str) -> Iterator[str]:
    a, b = tokens(old, kind), tokens(new, kind)
    if kind == "row" and old.count("|") - old.count(r"\|") != new.count("|") - new.count(r"\|"):
        yield f"the row has {new.count('|')} bars, the English one {old.count('|')}"
    for token in a - b:
        yield f"missing: {token}"
    for token in b - a:
        yield f"not in the English text: {token}"


def same_numbers(old: str, new: str, kind: str) -> Iterator[str]:
    a, b = numbers(old, kind), numbers(new, kind)
    if missing := list((a - b).elements()):
        yield f"missing numbers: {', '.join(missing)} (as digits; 5 million may be 500 万)"
    if extra := list((b - a).elements()):
        yield f"numbers that the English text has not: {', '.join(extra)} (write 两, 三, 十 for numbers in words)"


def punctuation(new: str, kind: str) -> Iterator[str]:
    """Full-width signs after Han."""
    text = plain(new, kind, "\ue000")
    for match in re.finditer(rf"[{HAN}”’）\ue000\w%]\s*[,;:?!](?=\s|$|[{HAN}“])|[{HAN}”]\s*[,;:?!]", text):
        near = text[max(0, match.start() - 6) : match.end() + 6]
        if re.search(rf"[{HAN}]", near) and not outside_han(text, match):
            yield f"half-width sign in “{shown(near)}”; allowed: ，；：？！、"
    for match in re.finditer(
        rf"[{HAN}”）]\.(?=\s|$|[{HAN}“])|[\ue000A-Za-z]\.(?=\s*$|[{HAN}]| [{HAN}])", text
    ):
        yield f"half-width full stop in “{shown(text[max(0, match.start() - 8) : match.end() + 4])}”; allowed: 。"
    for match in re.finditer(r"\(([^()]*)\)", text):
        before, after = text[: match.start()][-2:], text[match.end() :][:2]
        if re.search(rf"[{HAN}]", match[1] + before + after):
            yield f"half-width brackets “{shown(match[0])}”; allowed: （）"
    if re.search(rf'"[^"]*[{HAN}][^"]*"|[{HAN}]"|"[{HAN}]', text):
        yield "straight quotes; allowed: “ ” (and ‘ ’ inside)"


def outside_han(text: str, match: re.Match) -> bool:
    """True if the sign stands inside a quotation without Han, such as a prompt."""
    left, right = text.rfind("“", 0, match.start()), text.find("”", match.end())
    return left >= 0 and right >= 0 and not re.search(rf"[{HAN}”]", text[left + 1 : right])


def spacing(new: str, kind: str) -> Iterator[str]:
    """One space between Han and Latin, digits, formulas and code; none beside full-width signs."""
    new = re.sub(
        rf"([{FULL}])\*\* ", r"\1**", new
    )  # bold that ends in a sign needs the space to be seen as bold
    text = plain(new, kind, "\ue000").replace("\\n", "\n")
    latin = rf"A-Za-z0-9α-ωΑ-Ω{'' if kind in ('f-string', *FILLED) else chr(0xE000)}"
    loose = "\ue000" in latin and "{cite" in new  # a citation prints its own brackets
    for match in re.finditer(rf"[{HAN}][{latin}]|[{latin}%][{HAN}]", text):
        if loose and "\ue000" in match[0]:
            continue
        near = shown(text[max(0, match.start() - 4) : match.end() + 4])
        yield f"no space in “{near}”; allowed: one between Han and Latin, digits, formulas or code"
    for match in re.finditer(rf"[{HAN}] +[{HAN}]", text):
        yield f"a space in “{shown(match[0])}”; allowed: none between Han"
    for match in re.finditer(rf" +[{FULL}]|[{FULL.replace('—', '').replace('…', '')}] +(?=\S)", text):
        near = shown(text[max(0, match.start() - 3) : match.end() + 3])
        yield f"a space beside a full-width sign in “{near}”; allowed: none"


def shown(text: str) -> str:
    return text.replace("\ue000", "▢").strip()


def emphasis(old: str, new: str, kind: str) -> Iterator[str]:
    """Bold that Markdown would not see: `**注意：**后` has a sign inside and a letter after."""
    if kind in (*CODE, *FILLED):
        return
    protected = TOKEN.sub(lambda m: "x" if m.lastgroup != "target" else "(x)", new)
    html = MARKDOWN.renderInline(protected)
    if "**" in html:
        yield "a ** that Markdown does not see; put punctuation outside: **重点**：… or a space after: **为什么？** 因为…"
    elif html.count("<strong>") != MARKDOWN.renderInline(
        TOKEN.sub(lambda m: "x" if m.lastgroup != "target" else "(x)", old)
    ).count("<strong>"):
        yield "not as many **bold** places as in the English text"


# A text that is a prompt of Still Life as a whole stays English beside its gloss.
PROMPT = re.compile(
    r"an? (?:[a-z]+ )*(?:sphere|cube|cylinder|cone|torus|object)(?: on a [a-z]+ floor)?(?: in front of a [a-z]+ wall)?"
)


def english(old: str, new: str, kind: str) -> Iterator[str]:
    """No English sentence left; a prompt in quotation marks stays English."""
    text = plain(new, kind, " ; ")
    quoted = "\n".join([*re.findall(r"[“\"]([^”\"]*)[”\"]", old), old if PROMPT.fullmatch(old) else ""])
    for match in ENGLISH.finditer(text):
        if match[0].strip() not in quoted and not literal_name(match[0]):
            yield f"English left: “{match[0].strip()}”"
    words = re.findall(r"\b[a-z]{3,}\b", plain(old, kind, " "))
    if not re.search(rf"[{HAN}]", new) and len(words) >= 2:
        yield "no Chinese; answer = where the message is to stay as it is"


def literal_name(text: str) -> bool:
    """A title or name: most of its words begin with a capital letter."""
    words = re.findall(r"[A-Za-z]+", text)
    return sum(word[0].isupper() for word in words) > len(words) / 2


@dataclass(frozen=True)
class Rules:
    """The rules with a language's terms: from an English term to the ways it may be said."""

    terms: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, glossary: Path, extra: Path) -> Rules:
        """The terms of book/glossary.md, with the further variants of terms.yml."""
        terms = {}
        for line in glossary.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\| \[(?P<term>[^\]]+)\]\{#term[^}]*\} \| (?P<han>[^|]+) \|", line):
                name = re.sub(r"\s*\(.*\)", "", match["term"])
                ways = [way.strip() for way in re.split(r"[（），]", match["han"]) if way.strip()]
                terms[name] = tuple([*ways, *([name] if re.search(r"[A-Z].*[A-Z]|^eta$", name) else [])])
        further = yaml.safe_load(extra.read_text(encoding="utf-8"))["terms"] if extra.exists() else {}
        for name, ways in further.items():
            terms[name] = tuple(dict.fromkeys([*terms.get(name, ()), *ways]))
        return cls({name: ways for name, ways in terms.items() if "*" not in ways})

    def said(self, old: str, new: str, kind: str) -> Iterator[str]:
        """Each term of the English text as the glossary has it."""
        text = plain(old, kind, " ; ")
        text = re.sub(r"“[^”]*”|\"[^\"]*\"", " ; ", text)
        for term in sorted(self.terms, key=len, reverse=True):
            pattern = re.compile(
                rf"(?<![\w-]){re.escape(term)}(?:s|es)?(?![\w-])", re.I if term.islower() else 0
            )
            if pattern.search(text):
                text = pattern.sub(" ; ", text)
                if not any(way.lower() in new.lower() for way in self.terms[term]):
                    yield f"“{term}” is to be said as {' or '.join(self.terms[term])}"

    def faults(self, old: str, new: str, kind: str) -> list[str]:
        """What is wrong with a translation; nothing if it may stand."""
        found = [*same_tokens(old, new, kind), *same_numbers(old, new, kind), *english(old, new, kind)]
        if "\n" in new:
            found.append("it has several lines; allowed: one")
        if re.search(rf"[{HAN}]", new):
            found += [
                *punctuation(new, kind),
                *spacing(new, kind),
                *emphasis(old, new, kind),
                *self.said(old, new, kind),
            ]
        return list(dict.fromkeys(found))

    def kept(self, old: str, kind: str) -> list[str]:
        """Why a message may not stay as it is."""
        words = re.findall(r"\b[a-z]{2,}\b", re.sub(r"“[^”]*”", "", plain(old, kind, " ; ")))
        limit = 12 if kind in (*CODE, "figure") else 4 if kind == "row" else 1
        return (
            [f"{len(words)} English words; allowed to stay: names and at most {limit} words"]
            if len(words) > limit
            else []
        )
