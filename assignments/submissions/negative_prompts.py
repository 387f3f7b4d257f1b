"""Answers to the assignment "negative-prompts" that teach the grader what it must catch, and what it must let pass."""

from assignments import Submission

SUBMISSIONS = {
    "towards-the-negative": Submission(
        "the negative's sign is wrong in the guess",
        cells={
            "guess": """
def guess(e0, ep, en, lp, ln):
    return e0 + lp * (ep - e0) + ln * (en - e0)
"""
        },
        loses={"guess-away": 2, "thrifty-right": 2, "shares-negative": 2},
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
            "thrifty-right": 2,
            "thrifty-rows": 3,
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
    "scale-off-by-one": Submission(
        "the used formula counts its scale from the positive prediction",
        cells={
            "used": """
def used(ep, en, scale):
    return ep + scale * (ep - en)
"""
        },
        loses={"used-formula": 2, "shares-negative": 2},
    ),
    "negative-outside": Submission(
        "outside the window the positive is not guided, and the window is closed at its end",
        cells={
            "windowed": """
def windowed(e0, ep, en, scale, step, num_steps, start, stop):
    if start <= step / num_steps <= stop:
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
    "guess": share(lambda e0, ep, en: guess(e0, ep, en, SCALE, SCALE)),
}
""",
            "statements": "statements = {'a': True, 'b': True, 'c': True, 'd': False, 'e': True, 'f': True}",
        },
        loses={"shares-plain": 1, "statements-judged": 2},
    ),
    "right-by-einsum": Submission(
        "right, with stacked predictions and one weighted sum",
        cells={
            "guess": """
def guess(e0, ep, en, lp, ln):
    w = torch.tensor([1 - lp + ln, lp, -ln], dtype=e0.dtype)
    return torch.einsum("k,k...->...", w, torch.stack([e0, ep, en]))
""",
            "used": """
def used(ep, en, scale):
    return scale * ep + (1 - scale) * en
""",
            "windowed": """
def windowed(e0, ep, en, scale, step, num_steps, start, stop):
    at = step / num_steps
    if at < start or at >= stop:
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
