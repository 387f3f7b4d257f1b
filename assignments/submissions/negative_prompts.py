"""Answers to the assignment "negative-prompts" that teach the grader what it must catch, and what it must let pass."""

from classroom.source import Submission

SUBMISSIONS = {
    "direction-against": Submission(
        "the shared part is added, not taken out; the scale is counted from the positive",
        cells={
            "apart": """
def apart(e0, ep, en):
    p, n = (ep - e0).flatten(1), (en - e0).flatten(1)
    return (n + (n * p).sum(1, keepdim=True) / p.square().sum(1, keepdim=True) * p).reshape(e0.shape)
""",
            "scale-of": """
def scale_of(g, ep, en):
    d = ep - en
    return ((g - ep) * d).sum() / (d * d).sum()
""",
        },
        loses={"apart-perpendicular": 1, "apart-rows": 2, "scale-exact": 1, "scale-fitted": 1},
    ),
    "one-product-for-all": Submission(
        "one inner product over the whole batch, and the scale from one number alone",
        cells={
            "apart": """
def apart(e0, ep, en):
    p, n = ep - e0, en - e0
    return n - (n * p).sum() / (p * p).sum() * p
""",
            "scale-of": """
def scale_of(g, ep, en):
    return ((g - en) / (ep - en)).flatten()[0]
""",
        },
        loses={"apart-perpendicular": 1, "apart-rows": 2, "scale-fitted": 1},
    ),
    "apart-by-nothing": Submission(
        "the answer that is perpendicular because it is zero; the mean of ratios for the scale",
        cells={
            "apart": """
def apart(e0, ep, en):
    return torch.zeros_like(e0)
""",
            "scale-of": """
def scale_of(g, ep, en):
    return ((g - en) / (ep - en)).mean()
""",
        },
        loses={"apart-rows": 2, "scale-fitted": 1},
    ),
    "empty-prompt-forgotten": Submission(
        "the weights of the guess without the empty prompt's part in the negative",
        cells={
            "weights": """
def weights(lp, ln):
    return 1 - lp, lp, -ln
""",
            "same-at": """
def same_at(scale):
    return scale, scale
""",
        },
        loses={
            "weights-sum": 1,
            "weights-right": 2,
            "same-formula": 2,
        },
    ),
    "three-rows-always": Submission(
        "all three predictions are computed, whatever their weight",
        cells={
            "thrifty": """
def thrifty(model, x, t, positive, negative, lp, ln):
    texts = [""] * len(x) + [positive] * len(x) + [negative] * len(x)
    a, b, c = model(torch.cat([x, x, x]), t, texts).chunk(3)
    return guess(a, b, c, lp, ln)
"""
        },
        loses={"thrifty-rows": 3},
    ),
    "negative-outside": Submission(
        "outside the window the positive is not guided, and the window is closed at its end",
        cells={
            "windowed": """
def windowed(e0, ep, en, scale, step, num_steps, start, stop):
    if {{ window.code }} or stop == step / num_steps or stop == (step + 1) / num_steps:
        return en + scale * (ep - en)
    return ep
"""
        },
        loses={"windowed-edges": 2},
    ),
    "all-texts-in-turn": Submission(
        "the rows of the batch take turns with the texts, so that each row gets another row's prediction",
        cells={
            "thrifty": """
def thrifty(model, x, t, positive, negative, lp, ln):
    needed = [(text, w) for text, w in zip(("", positive, negative), weights(lp, ln)) if w != 0]
    texts = [text for text, _ in needed] * len(x)
    predictions = model(torch.cat([x] * len(needed)), t, texts).chunk(len(needed))
    return sum(w * prediction for (_, w), prediction in zip(needed, predictions))
"""
        },
        loses={"thrifty-right": 2},
    ),
    "plausible-beliefs": Submission(
        "what many believe about negatives, and the plain share taken at scale 1",
        cells={
            "shares": """
shares = {
    "plain": share(lambda e0, ep, en: ep),
    "used": share(lambda e0, ep, en: used(ep, en, SCALE)),
    "guess": share(lambda e0, ep, en: guess(e0, ep, en, SCALE / 4, SCALE / 4)),
}
""",
            "statements": "statements = {'a': {{ a.answer }}, 'b': not {{ b.answer }}, "
            "'c': {{ c.answer }}, 'd': {{ d.answer }}, "
            "'e': {{ e.answer }}, 'f': not {{ f.answer }}}",
        },
        loses={"shares-plain": 1, "statements-judged": 2},
    ),
    "right-by-einsum": Submission(
        "right, with einsum and least squares",
        cells={
            "apart": """
def apart(e0, ep, en):
    p, n = ep - e0, en - e0
    part = torch.einsum("bchw,bchw->b", n, p) / torch.einsum("bchw,bchw->b", p, p)
    return n - torch.einsum("b,bchw->bchw", part, p)
""",
            "scale-of": """
def scale_of(g, ep, en):
    return torch.linalg.lstsq((ep - en).reshape(-1, 1), (g - en).reshape(-1, 1)).solution
""",
            "windowed": """
def windowed(e0, ep, en, scale, step, num_steps, start, stop):
    if not ({{ window.code }}):
        return (1 - scale) * e0 + scale * ep
    return (1 - scale) * en + scale * ep
""",
        },
    ),
    "right-by-cases": Submission(
        "right, with a dictionary of rows",
        cells={
            "thrifty": """
def thrifty(model, x, t, positive, negative, lp, ln):
    wanted = {}
    for name, text, w in (("e", "", 1 - lp + ln), ("p", positive, lp), ("n", negative, -ln)):
        if abs(w) > 1e-12:
            wanted[name] = (text, w)
    n = len(x)
    out = model(x.repeat(len(wanted), 1, 1, 1), t, sum([[text] * n for text, _ in wanted.values()], []))
    total = torch.zeros_like(x)
    for k, (_, w) in enumerate(wanted.values()):
        total += w * out[k * n : (k + 1) * n]
    return total
""",
            "same-at": """
def same_at(scale):
    lp = scale
    return [lp, lp - 1]
""",
        },
    ),
}

WINDOW = """
def windowed(e0, ep, en, scale, step, num_steps, start, stop):
    CHANGE
    base = en if {{ window.code }} else e0
    return base + scale * (ep - base)
"""

SUBMISSIONS |= {
    "window-over-one-step-less": Submission(
        "the last step is at the end of the run",
        {"windowed": WINDOW.replace("CHANGE", "num_steps = max(1, num_steps - 1)")},
        {"windowed-edges": 2},
    ),
    "window-in-whole-steps": Submission(
        "the window's ends are cut to whole steps",
        {
            "windowed": WINDOW.replace(
                "CHANGE",
                "start, stop = int(start * num_steps) / num_steps, int(stop * num_steps) / num_steps",
            )
        },
        {"windowed-edges": 2},
    ),
    "three-outside": Submission(
        "outside the window the scale is always 3",
        {
            "windowed": """
def windowed(e0, ep, en, scale, step, num_steps, start, stop):
    if {{ window.code }}:
        return en + scale * (ep - en)
    return e0 + 3 * (ep - e0)
"""
        },
        {"windowed-edges": 2},
    ),
    "three-rows-of-three": Submission(
        "the batch is always taken for one of three",
        {
            "thrifty": """
def thrifty(model, x, t, positive, negative, lp, ln):
    needed = [(text, w) for text, w in zip(("", positive, negative), weights(lp, ln)) if w != 0]
    texts = [text for text, _ in needed for _ in range(3)]
    out = model(torch.cat([x] * len(needed)), t, texts)
    return sum(w * out[3 * k : 3 * k + 3] for k, (_, w) in enumerate(needed))
"""
        },
        {"thrifty-right": 2, "thrifty-rows": 3},
    ),
    "texts-as-keys": Submission(
        "a dictionary by text, which loses a text that is there twice",
        {
            "thrifty": """
def thrifty(model, x, t, positive, negative, lp, ln):
    needed = {text: w for text, w in zip(("", positive, negative), weights(lp, ln)) if w != 0}
    texts = [text for text in needed for _ in range(len(x))]
    out = model(torch.cat([x] * len(needed)), t, texts).chunk(len(needed))
    return sum(w * p for w, p in zip(needed.values(), out))
"""
        },
        {"thrifty-right": 2},
    ),
    "guessed-shares": Submission(
        "shares that were not measured",
        {"shares": 'shares = {"plain": 0.25, "used": 0.0, "guess": 0.0}'},
        {"shares-plain": 1, "shares-negative": 2},
    ),
    "helper-redefined": Submission(
        "the measurement is redefined",
        {
            "shares": 'share = lambda rule: 0.0\nshares = dict.fromkeys(("plain", "used", "guess"), share(None))'
        },
        {"shares-plain": 1, "shares-negative": 2},
    ),
    "right-in-float32": Submission(
        "right, in float32",
        {
            "apart": """
def apart(e0, ep, en):
    p, n = (ep - e0).float().flatten(1), (en - e0).float().flatten(1)
    return (n - (n * p).sum(1, keepdim=True) / (p * p).sum(1, keepdim=True) * p).reshape(e0.shape)
""",
            "windowed": WINDOW.replace("CHANGE", "e0, ep, en = e0.float(), ep.float(), en.float()"),
        },
    ),
}
