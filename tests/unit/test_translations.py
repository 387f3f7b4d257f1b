"""The Chinese book: messages and catalogues, what a translation must share with its message, and equal programs."""

from __future__ import annotations

import sys
from pathlib import Path

import polib
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from translated import catalogue, code, exchange, figures, markdown, pages  # noqa: E402
from translated.catalogue import Message  # noqa: E402
from translated.rules import Rules  # noqa: E402
from translated.spans import replaced  # noqa: E402
from translated.words import exchanged  # noqa: E402

import translations  # noqa: E402
from diffusion_tutorial import words  # noqa: E402

RULES = translations.rules()
SOURCE = """---
kernelspec:
  language: python
---

# A title

A paragraph over
two lines with $x_0$ and `code`, from {cite:p}`ho2020`.

- an item
  that goes on
- another item

| head | $s$ |
|---|---|
| a cell | 1 |

$$
x \\quad\\text{with}\\quad c_{\\text{neg}}
$$ (eq-one)

<details class="dt-fold"><summary>Hint</summary>

Inside of it.

</details>

```{code-cell} ipython3
:tags: [plumbing]

# Draws the curve
names = {"flow": 1}
plots.figure(plots.tracks(names, "steps done"), alt="A curve "
    f"of {len(names)} lines.", caption=f"Found {names['flow']:.2f}")
print("all", "is well", f"step{'s' * (2 > 1)} {names['flow']}")
```
"""


def test_messages_of_a_source():
    found = [(span.kind, span.message) for span in markdown.spans(SOURCE)]
    assert found == [
        ("heading", "A title"),
        ("paragraph", "A paragraph over two lines with $x_0$ and `code`, from {cite:p}`ho2020`."),
        ("item", "an item that goes on"),
        ("item", "another item"),
        ("row", "| head | $s$ |"),
        ("row", "| a cell | 1 |"),
        ("formula", "with"),
        ("fold", "Hint"),
        ("paragraph", "Inside of it."),
        ("comment", "Draws the curve"),
        ("text", "steps done"),
        ("f-string", "A curve of {len(names)} lines."),
        ("f-string", "Found {names['flow']:.2f}"),
        ("text", "all"),
        ("text", "is well"),
        ("f-string", "step{'s' * (2 > 1)} {names['flow']}"),
    ]


def test_what_is_written_back_is_the_same_program_and_the_same_messages():
    for path in (*(ROOT / "book").glob("*.md"), *(ROOT / "assignments").glob("*.md")):
        source = path.read_text(encoding="utf-8")
        spans = markdown.spans(source)
        text = replaced(source, spans, lambda span: span.message)
        assert [s.message for s in markdown.spans(text)] == [s.message for s in spans], path.name
        pages.differences(source, text)


def test_a_page_with_one_open_message_says_so_and_how_many():
    said = {span.message: "译" for span in markdown.spans(SOURCE) if span.kind in ("heading", "item", "row")}
    text, left = pages.made(SOURCE, said, "zh_CN")
    assert left == len({s.message for s in markdown.spans(SOURCE)}) - len(said)
    assert f"本页有 {left} 处尚未翻译" in text and "Inside of it. 〔此段尚未翻译〕" in text
    assert "# 译" in text and "language: zh_CN" in text


@pytest.mark.parametrize(
    "change",
    [
        ('"steps done"', '"步数", logx=True'),
        ("{'flow': 1}", "{'流': 1}"),
        ("names['flow']:.2f", "names['flow']:.3f"),
        ("len(names)", "len(alt)"),
    ],
)
def test_another_program_is_refused(change):
    old, new = (
        (SOURCE, SOURCE.replace(*change))
        if change[0] in SOURCE
        else (SOURCE, SOURCE.replace('{"flow": 1}', '{"流": 1}'))
    )
    assert old != new
    with pytest.raises(ValueError, match="another program"):
        pages.differences(old, new)


def test_other_strings_are_the_same_program():
    new = (
        SOURCE.replace('"is well"', '"一切正常"')
        .replace("step{'s' * (2 > 1)}", "步")
        .replace("# Draws the curve", "# 画曲线")
    )
    pages.differences(SOURCE, new)


GOOD = [
    (
        "paragraph",
        "At $t$ it needs 5 million steps, says {cite:p}`ho2020`.",
        "第 $t$ 级需要 500 万步 {cite:p}`ho2020`。",
    ),
    ("paragraph", "**Why?** Use `eps` of [DDIM](x.md#a).", "**为什么？** 用 [DDIM](x.md#a) 的 `eps`。"),
    ("paragraph", "A negative prompt of “a red sphere” works.", "反向提示词“a red sphere”（红色球体）有效。"),
    ("f-string", "step{'s' * (n > 1)} {n}: {x:.2f}", "第 {n} 步：{x:.2f}"),
    ("row", "| scale | 1.5 | $s$ |", "| 强度 | 1.5 | $s$ |"),
    ("formula", "with", "其中"),
    ("paragraph", "The share is .13 of 20,000.", "在 20000 个里占 0.13。"),
]
BAD = [
    ("paragraph", "It is $t$.", "它是。", "missing: $t$"),
    ("paragraph", "It is `a`.", "它是 `b`。", "missing: `a`"),
    ("paragraph", "See [it](x.md#a).", "见[它](x.md#b)。", "missing: (x.md#a)"),
    ("paragraph", "By {cite:p}`ho2020`.", "作者 {cite:p}`ho2022`。", "missing: {cite:p}`ho2020`"),
    ("paragraph", "It has 20 steps.", "它有 30 步。", "missing numbers: 20"),
    ("paragraph", "It has three steps.", "它有 3 步。", "numbers that the English text has not: 3"),
    ("paragraph", "It is so, or not.", "是这样,或者不是。", "half-width sign"),
    ("paragraph", "It is so.", "是这样.", "half-width full stop"),
    ("paragraph", "It (so) is.", "它(这样)是。", "half-width brackets"),
    ("paragraph", "With DDIM so.", "用DDIM这样。", "no space in"),
    ("paragraph", "With DDIM so.", "用 DDIM，  这样。", "a space beside"),
    ("paragraph", "It is not so.", "不 是这样。", "a space in"),
    ("paragraph", "**Note:** it is so.", "**注意：**是这样。", "a ** that Markdown does not see"),
    ("paragraph", "**Note:** it is so.", "注意：是这样。", "not as many **bold**"),
    ("paragraph", "The sampler is good.", "方法很好。", "“sampler” is to be said as 采样器"),
    ("paragraph", "It is the answer to all of it.", "答案是 the answer to all of it。", "English left"),
    ("paragraph", "It is the answer.", "It is the answer.", "no Chinese"),
    ("f-string", "{n} steps", "{m} 步", "missing: {n}"),
    ("row", "| a b | c d |", "| 甲 |", "bars"),
    ("value", "{stop} of 20 steps", "20 步", "missing: {stop}"),
]


@pytest.mark.parametrize(("kind", "old", "new"), GOOD)
def test_a_right_translation_passes(kind, old, new):
    assert RULES.faults(old, new, kind) == []


@pytest.mark.parametrize(("kind", "old", "new", "why"), BAD)
def test_a_wrong_translation_is_refused_with_the_reason(kind, old, new, why):
    found = RULES.faults(old, new, kind)
    assert any(why in fault for fault in found), found


def stored(*entries) -> polib.POFile:
    made = catalogue.empty("zh_CN")
    made.extend(polib.POEntry(msgid=old, msgstr=new) for old, new in entries)
    return made


def test_what_stays_is_kept_what_changed_is_marked_what_is_gone_is_dropped():
    old = stored(
        ("It has 20 steps in all.", "一共 20 步。"),
        ("It stays.", "不变。"),
        ("Quite another thing.", "另一回事。"),
    )
    new = catalogue.merged(
        [Message("It has 30 steps in all.", "paragraph"), Message("It stays.", "paragraph")], old
    )
    changed, same = new
    assert (changed.msgstr, changed.flags, changed.previous_msgid) == (
        "一共 20 步。",
        ["fuzzy"],
        "It has 20 steps in all.",
    )
    assert (same.msgstr, same.flags) == ("不变。", [])
    assert len(new) == 2 and catalogue.translations(new) == {"It stays.": "不变。"}
    again = catalogue.merged(
        [Message("It has 30 steps in all.", "paragraph"), Message("It stays.", "paragraph")], new
    )
    assert str(again) == str(new)


def test_answers_are_taken_or_refused_one_by_one():
    new = catalogue.merged(
        [Message("It has 20 steps.", "paragraph"), Message("Still Life", "heading")], catalogue.empty("zh_CN")
    )
    text = exchange.exported(list(new))
    first, second = exchange.answers(text)
    said = exchange.answers(f"@{first}\n它有 30 步。\n\n@{second}\n=\n@000000\n没有\n")
    taken, refused = exchange.imported(new, said, RULES)
    assert taken == 1 and len(refused) == 2
    taken, refused = exchange.imported(new, {first: "它有 20 步。"}, RULES)
    assert taken == 1 and not refused and not catalogue.waiting(new)


def test_catalogues_are_those_of_the_sources_and_break_no_rule(capsys):
    assert translations.check(list(translations.sources())) == 0, capsys.readouterr().out


def test_marked_texts_of_a_script_are_exchanged():
    text = 'const a = say("Copy this code"); say("{n} sections.", { n });'
    assert (
        exchanged(text, {"Copy this code": "复制“代码”"})
        == 'const a = say("复制“代码”"); say("{n} sections.", { n });'
    )


def test_labels_are_found_whatever_their_numbers(monkeypatch):
    monkeypatch.setenv("DIFFUSION_TUTORIAL_LANGUAGE", "zh_CN")
    monkeypatch.setattr(
        words, "_words", lambda name: {"DDIM, {1} steps of {2}": "DDIM，{2} 步中的 {1} 步", "wall": "墙"}
    )
    assert words.shown("DDIM, 5 steps of 1,000") == "DDIM，1,000 步中的 5 步"
    assert words.page('<td class="wall">wall</td>') == '<td class="wall">墙</td>'
    assert words.shown("no such words") == "no such words"
    for text in ("scale 4, 0.5 [0.4, 0.6]", "SD1 and 2"):
        assert words.pattern(text) == figures.pattern(text)


def test_a_chinese_figure_has_its_words_and_no_missing_sign(monkeypatch, recwarn):
    from diffusion_tutorial import plots
    from diffusion_tutorial.plots import style

    monkeypatch.setenv("DIFFUSION_TUTORIAL_LANGUAGE", "zh_CN")
    monkeypatch.setattr(words, "_words", lambda name: {"wall": "，。"})
    figure = style.in_language(plots.curve_with_interval([1, 2], {"wall": [1, 2]}, "wall", "y"))
    svg = plots.svg(figure).decode()
    assert svg.count("，。") == 2 and ">wall<" not in svg and "PingFang SC" in svg
    assert not [w for w in recwarn if "missing from" in str(w.message)]


def test_the_figures_font_has_every_sign():
    import figure_font

    missing = {sign for sign in figure_font.wanted() - figure_font.has() if "\u4e00" <= sign <= "\u9fff"}
    assert not missing, f"run scripts/figure_font.py: {''.join(sorted(missing))}"


def test_english_is_left_alone(monkeypatch):
    monkeypatch.delenv("DIFFUSION_TUTORIAL_LANGUAGE", raising=False)
    assert words.shown("wall") == "wall" and words.language() == ""
    assert code.skeleton("x = 1") == code.skeleton("x = 1  # why")
    assert isinstance(RULES, Rules)
