"""A CLIPTokenizer whose every known word is one token."""

from __future__ import annotations

import json
from pathlib import Path

from .captions import WORDS

MAX_LENGTH = 20  # the longest caption has 15 words; with begin and end, 17


def build(folder: Path) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json, as CLIPTokenizer reads them, to `folder`."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = _apply(word, merges)
        while (
            len(pieces) > 1
        ):  # join what is still apart, from the left; earlier words keep their earlier merges
            merges.append((pieces[0], pieces[1]))
            pieces = _apply(word, merges)
    tokens = [
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(c + "</w>" for c in letters),
        *(a + b for a, b in merges),
    ]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, indent=0) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8"
    )
    end = "<|endoftext|>"
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "bos_token": "<|startoftext|>",
        "eos_token": end,
        "pad_token": end,
        "unk_token": end,
        "do_lower_case": True,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    special = {key: config[key] for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n", encoding="utf-8")


def _apply(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """Byte-pair encoding of one word: join the pair of lowest rank until none is left (Sennrich et al. 2016)."""
    rank = {pair: i for i, pair in enumerate(merges)}
    pieces = [*word[:-1], word[-1] + "</w>"]
    while len(pieces) > 1:
        pairs = [(rank.get(pair, len(merges)), i) for i, pair in enumerate(zip(pieces, pieces[1:]))]
        best, i = min(pairs)
        if best == len(merges):
            break
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces
