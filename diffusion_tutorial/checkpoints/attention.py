"""Which word each place of the latents looks up: cross-attention, recorded while a model is asked.

    with recording(model) as seen:
        model.sample("a red sphere on a green floor", seed=7)
    floor = seen.map(words(model, "a red sphere on a green floor")["floor"], steps=[3])     # (B, h, w)

A cross-attention layer gives each place of the latents weights over the tokens, softmax(Q K^T / sqrt(d)), Q from the
place and K from the tokens (Rombach et al. 2022, section 3.3; Vaswani et al. 2017, equation 1; neither page was opened,
diffusers' `AttnProcessor` was). A word's map is the weight of its tokens at every place.

The layer's own processor still gives the layer's output, so what is sampled does not change by a bit; the weights are
computed beside it, from the layer's own projections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import PromptError, UnsupportedModelError, allowed
from ..guidance import COND
from ..samplers import Moment


@dataclass
class Asked:
    """One question to the network, and where every layer looked while it answered.

    moment and branches are None where the network was asked outside `sample`. weights: layer -> (R, h, w, tokens)
    float32 on the CPU, means over the layer's heads, with R rows: the pictures of the first branch, then of the next.
    """

    moment: Moment | None = None
    branches: tuple[str, ...] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, branch: str) -> slice:
        """The rows of a branch; all of them where the network was asked outside `sample`."""
        count = len(next(iter(self.weights.values())))
        if self.branches is None:
            return slice(0, count)
        each, place = count // len(self.branches), self.branches.index(branch)
        return slice(place * each, (place + 1) * each)


class Seen:
    """What `recording` has seen. asked: every question in order; layers: name -> (h, w), in the network's own order."""

    def __init__(self, layers: Sequence[str]):
        self.asked: list[Asked] = []
        self.names, self.layers = tuple(layers), {}

    def map(
        self,
        places: Sequence[int],
        branch: str = COND,
        steps: Sequence[int] | None = None,
        layers: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """(B, h, w) the weight of the tokens at `places`, for each picture and place of the latents.

        The weights of several tokens add up; several layers and questions are averaged, each enlarged to `size` first
        (bilinear). branch: which of the rule's texts, such as `guidance.NEG`. steps: which questions, by their number
        in `asked` (the step of a run); None is all that asked about the branch. layers: None is all of them. size:
        None is the finest of the layers'.

        Raises ValueError that names the argument, its value and what is allowed.
        """
        if not self.asked:
            raise ValueError("nothing was recorded; allowed: ask the model inside `recording`")
        names = list(self.layers if layers is None else layers)
        for name in names:
            if name not in self.layers:
                raise ValueError(allowed("layers", name, f"names of {', '.join(self.layers)}"))
        if not names:
            raise ValueError(allowed("layers", layers, "at least one name, or None for all"))
        having = [k for k, one in enumerate(self.asked) if one.branches is None or branch in one.branches]
        if steps is not None:
            for k in steps:
                if k not in having:
                    raise ValueError(allowed("steps", k, f"questions that asked about {branch!r}: {having}"))
            having = list(steps)
        if not having:
            met = sorted({name for one in self.asked for name in one.branches})
            raise ValueError(allowed("branch", branch, ", ".join(met)))
        tokens = next(iter(self.asked[0].weights.values())).shape[-1]
        places = list(places)
        if not places or not all(isinstance(p, int) and 0 <= p < tokens for p in places):
            raise ValueError(allowed("places", places, f"numbers of tokens, from 0 to {tokens - 1}"))
        size = size or max((self.layers[name] for name in names), key=lambda side: side[0] * side[1])
        total = 0
        for k in having:
            rows = self.asked[k].rows(branch)
            for name in names:
                own = self.asked[k].weights[name][rows][..., places].sum(-1)
                total = total + resized(own, size)
        return total / (len(having) * len(names))


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, h, w) at another size, bilinear; their own where it is the same."""
    if maps.shape[1:] == tuple(size):
        return maps
    return interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def words(model, text: str) -> dict[str, list[int]]:
    """Which tokens stand for which word: word -> places in the encoder's text, in the text's order.

    A word that comes again has "#2", "#3" and so on behind it. Words that the encoder cuts off are left out. Raises
    PromptError for a text without words, or one whose words the tokenizer does not cut one by one.
    """
    adapter = _adapter(model)
    text = (model.check_prompt(text, "text") if model.check_prompt and text.strip() else None) or text
    if not text.split():
        raise PromptError(allowed("text", text, "a text with words"))
    tokenizer, found, at = adapter.tokenizer, {}, adapter.marks - 1
    for word in text.split():
        count = len(tokenizer(word, add_special_tokens=False).input_ids)
        name, again = word, 1
        while name in found:
            again += 1
            name = f"{word}#{again}"
        found[name] = list(range(at, at + count))
        at += count
    if at + 1 != adapter.count_tokens(text):
        raise PromptError(allowed("text", text, "a text whose words are tokenized one by one"))
    last = adapter.max_tokens - 1
    return {name: places for name, places in found.items() if places[-1] < last}


@contextmanager
def recording(model) -> Iterator[Seen]:
    """Record the cross-attention of a model's network while the block runs; every processor is put back after it.

    model: a `TextToImage` that our samplers drive, over a network with cross-attention layers. A question of more rows
    than the adapter sends at once is one question in `sample`, and several outside it.

    Raises UnsupportedModelError for a model that runs its own loop, or a network without such layers.
    """
    adapter = _adapter(model)
    layers = {n: m for n, m in adapter.unet.named_modules() if _crosses(n, m)}
    if not layers:
        kind = type(adapter.unet).__name__
        raise UnsupportedModelError(allowed("model", kind, "a network with cross-attention layers"))
    seen, own = Seen(list(layers)), {name: layer.processor for name, layer in layers.items()}
    before, pending, told = model.asking, [], []

    def asking(moment: Moment, branches: tuple[str, ...]) -> None:
        _settle(seen, pending)
        told[:] = [(moment, branches)]
        if before is not None:
            before(moment, branches)

    def called(_network, arguments, named) -> None:
        if not told:
            _settle(seen, pending)
        state = arguments[0] if arguments else named.get("hidden_states", named.get("sample"))
        pending.append((told[0] if told else (None, None), tuple(state.shape[-2:]), {}))

    handle = adapter.unet.register_forward_pre_hook(called, with_kwargs=True)
    try:
        model.asking = asking
        for name, layer in layers.items():
            layer.processor = _Listening(own[name], name, pending)
        yield seen
    finally:
        handle.remove()
        model.asking = before
        for name, layer in layers.items():
            layer.processor = own[name]
        _settle(seen, pending)


def weights(layer, hidden: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
    """(R, positions, tokens) softmax(Q K^T / sqrt(d)) of a diffusers `Attention`, in float32, mean over its heads.

    hidden (R, positions, width) or (R, width, h, w), text (R, tokens, width); mask (R, 1, tokens), added to the scores.
    """
    if hidden.ndim == 4:
        hidden = hidden.flatten(2).transpose(1, 2)
    if layer.group_norm is not None:
        hidden = layer.group_norm(hidden.transpose(1, 2)).transpose(1, 2)
    if layer.norm_cross:
        text = layer.norm_encoder_hidden_states(text)
    query, key = (
        part.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for part in (layer.to_q(hidden), layer.to_k(text))
    )
    query = query if layer.norm_q is None else layer.norm_q(query)
    key = key if layer.norm_k is None else layer.norm_k(key)
    scores = query.float() @ key.float().transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask[:, None].float()
    return scores.softmax(-1).mean(1)


class _Listening:
    """A processor that lets another one work, and keeps the weights."""

    def __init__(self, own, name: str, pending: list):
        self.own, self.name, self.pending = own, name, pending

    def __call__(self, layer, hidden_states, encoder_hidden_states=None, attention_mask=None, *args, **named):
        if encoder_hidden_states is not None and self.pending:
            found = weights(layer, hidden_states, encoder_hidden_states, attention_mask)
            self.pending[-1][2][self.name] = found.cpu()
        return self.own(layer, hidden_states, encoder_hidden_states, attention_mask, *args, **named)


def _settle(seen: Seen, pending: list) -> None:
    """Calls of the network that belong to one question become an `Asked`."""
    if not pending:
        return
    (moment, branches), state, first = pending[0]
    found = {}
    for name in (name for name in seen.names if name in first):
        joined = torch.cat([part[name] for _, _, part in pending]).clone()
        side = sides(joined.shape[1], state)
        seen.layers[name] = side
        found[name] = joined.unflatten(1, side)
    pending.clear()
    if found:
        seen.asked.append(Asked(moment, branches, found))


def sides(positions: int, state: tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a layer that looks from so many positions of a state (H, W), halved some times, odd sides rounded up.

    Raises UnsupportedModelError where no halving gives that number.
    """
    h, w = state
    while h * w > positions and h * w > 1:
        h, w = -(-h // 2), -(-w // 2)
    if h * w != positions:
        raise UnsupportedModelError(allowed("positions", positions, f"those of {state}, halved some times"))
    return h, w


def _crosses(name: str, module) -> bool:
    return hasattr(module, "processor") and bool(getattr(module, "is_cross_attention", False))


def _adapter(model):
    """The model's adapter. Raises UnsupportedModelError where it has none that reads a text by a network of ours."""
    adapter = getattr(model, "adapter", None)
    if not all(hasattr(adapter, name) for name in ("unet", "tokenizer", "count_tokens")):
        raise UnsupportedModelError(
            allowed("model", model, "one that our samplers drive, such as Stable Diffusion 1, 2 or SDXL")
        )
    return adapter
