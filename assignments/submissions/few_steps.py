"""Answers to the assignment "few-steps" that teach the grader what it must catch, and what it must let pass."""

from classroom.source import Submission

SUBMISSIONS = {
    "sigma-as-direction": Submission(
        "sigma stands where sqrt(1 - a_s - sigma^2) belongs",
        cells={
            "family-step": """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)
    return sqrt(a_s) * x0 + sigma * eps + sigma * noise
"""
        },
        loses={"family-deterministic": 1, "family-variance": 3},
    ),
    "too-much-noise": Submission(
        "the old noise is not turned down for the fresh one",
        cells={
            "family-step": """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)
    return sqrt(a_s) * x0 + sqrt(1 - a_s) * eps + sigma * noise
"""
        },
        loses={"family-variance": 3},
    ),
    "last-level-not-one": Submission(
        "the walk stops at the last level of the list",
        cells={
            "walk": """
def walk_down(x0_model, x, levels, eta, noises):
    for a_t, a_s, noise in zip(levels, levels[1:], noises):
        sigma = eta * sqrt((1 - a_s) / (1 - a_t)) * sqrt(1 - a_t / a_s)
        x = family_step(x, x0_model(x, a_t), a_t, a_s, sigma, noise)
    return x
"""
        },
        loses={"walk-one-step": 1, "walk-visits-every-level": 1, "walk-deterministic": 2, "walk-eta": 1},
    ),
    "noise-of-the-closed-form": Submission(
        "the jump adds the noise of a jump from the picture",
        cells={
            "forward-jump": """
def forward_jump(x_s, noise, a_t, a_s):
    return sqrt(a_t / a_s) * x_s + sqrt(1 - a_t) * noise
"""
        },
        loses={"forward-jump-twice": 2},
    ),
    "large-variance": Submission(
        "beta in the place of the posterior's variance",
        cells={
            "posterior": """
def posterior(x_t, x0, a_t, a_s):
    alpha = a_t / a_s
    mean = (sqrt(a_s) * (1 - alpha) * x0 + sqrt(alpha) * (1 - a_s) * x_t) / (1 - a_t)
    return mean, 1 - alpha
"""
        },
        loses={"posterior-at-the-end": 1, "posterior-variance": 1},
    ),
    "misplaced-root": Submission(
        "sqrt(1 - a_t) is left out of the noise that x_t contains",
        cells={
            "family-step": """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = x_t - sqrt(a_t) * x0
    return sqrt(a_s) * x0 + sqrt(1 - a_s - sigma**2) * eps + sigma * noise
"""
        },
        loses={"family-deterministic": 1, "family-variance": 3},
    ),
    "variance-for-deviation": Submission(
        "the posterior's two weights are swapped, and the fresh noise has the weight sigma squared",
        cells={
            "posterior": """
def posterior(x_t, x0, a_t, a_s):
    alpha = a_t / a_s
    mean = (sqrt(alpha) * (1 - a_s) * x0 + sqrt(a_s) * (1 - alpha) * x_t) / (1 - a_t)
    return mean, (1 - a_s) / (1 - a_t) * (1 - alpha)
""",
            "family-step": """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)
    return sqrt(a_s) * x0 + sqrt(1 - a_s - sigma**2) * eps + sigma**2 * noise
""",
        },
        loses={
            "posterior-at-the-end": 1,
            "posterior-mean": 2,
            "family-noise": 1,
        },
    ),
    "two-points": Submission(
        "the order from the first and the last point alone, and three statements the wrong way round, three left out",
        cells={
            "order": """
def measured_order(steps, errors):
    return log(errors[{{ skip }}] / errors[-1]) / log(steps[-1] / steps[{{ skip }}])
""",
            "statements": "statements = {'a': not {{ a.answer }}, 'b': not {{ b.answer }}, "
            "'c': not {{ c.answer }}}",
        },
        loses={"order-fitted": 1, "statements-judged": 3},
    ),
    "one-too-many": Submission(
        "the first number of steps that is enough, plus one; and one statement is left out",
        cells={
            "fewest": """
good = [n for n in range(5, 61) if distance(n) < TOLERANCE]
fewest = good[0] + 1
""",
            "statements": "statements = {'a': {{ a.answer }}, 'b': {{ b.answer }}, "
            "'c': {{ c.answer }}, 'd': {{ d.answer }}, "
            "'e': {{ e.answer }}}",
        },
        loses={"fewest-steps": 2, "statements-judged": 1},
    ),
    "right-by-precisions": Submission(
        "right, by adding precisions",
        cells={
            "posterior": """
def posterior(x_t, x0, a_t, a_s):
    if a_s == 1:
        return x0, 0.0
    alpha = a_t / a_s
    prior, likelihood = 1 / (1 - a_s), alpha / (1 - alpha)
    variance = 1 / (prior + likelihood)
    return variance * (prior * a_s**0.5 * x0 + likelihood * x_t / alpha**0.5), variance
""",
            "forward-jump": """
def forward_jump(x_s, noise, a_t, a_s):
    alpha = torch.tensor(a_t / a_s, dtype=x_s.dtype)
    return alpha.sqrt() * x_s + (1 - alpha).sqrt() * noise
""",
        },
    ),
    "right-by-index": Submission(
        "right, with a loop over indices and numpy's fit",
        cells={
            "walk": """
def walk_down(x0_model, x, levels, eta, noises):
    levels = list(levels) + [{{ end }}]
    for k in range(len(levels) - 1):
        a, b = levels[k], levels[k + 1]
        sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        x = family_step(x, x0_model(x, a), a, b, sigma, noises[k])
    return x
""",
            "order": """
import numpy as np

def measured_order(steps, errors):
    return -np.polyfit(np.log(steps[{{ skip }}:]), np.log(errors[{{ skip }}:]), 1)[0]
""",
            "fewest": """
fewest = 5
while distance(fewest) >= TOLERANCE:
    fewest += 1
""",
        },
    ),
}

STEP = """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = (x_t - sqrt(a_t) * x0) / sqrt(1 - a_t)
    return {}
"""
WALK = """
def walk_down(x0_model, x, levels, eta, noises):
    levels = [*levels, {{ end }}]
    for k in range(len(levels) - 1):
        a, b = levels[k], levels[k + 1]
        sigma = {} * sqrt((1 - b) / (1 - a) * (1 - a / b))
        x = family_step(x, x0_model(x, a), a, b, sigma, noises[{}])
    return x
"""

SUBMISSIONS |= {
    "eta-as-a-switch": Submission(
        "any eta above 0 is taken for 1",
        {"walk": WALK.replace("{}", "(eta > 0)", 1).replace("{}", "k", 1)},
        {"walk-eta": 1},
    ),
    "eta-under-a-root": Submission(
        "the root of eta", {"walk": WALK.replace("{}", "sqrt(eta)", 1).replace("{}", "k", 1)}, {"walk-eta": 1}
    ),
    "eta-cubed": Submission(
        "eta to the third power",
        {"walk": WALK.replace("{}", "eta**3", 1).replace("{}", "k", 1)},
        {"walk-eta": 1},
    ),
    "one-noise-for-all": Submission(
        "the first noise in every step",
        {"walk": WALK.replace("{}", "eta", 1).replace("{}", "0", 1)},
        {"walk-eta": 1},
    ),
    "order-without-sign": Submission(
        "the size of the slope",
        {
            "order": """
def measured_order(steps, errors):
    n = torch.tensor([log(s) for s in steps[{{ skip }}:]], dtype=torch.float64)
    e = torch.tensor([log(s) for s in errors[{{ skip }}:]], dtype=torch.float64)
    return abs(((n - n.mean()) * (e - e.mean())).sum() / (n - n.mean()).square().sum()).item()
"""
        },
        {"order-fitted": 1},
    ),
    "the-last-number": Submission(
        "the largest number of steps that is enough, not the least",
        {"fewest": "fewest = max(n for n in range(5, 61) if distance(n) < TOLERANCE)"},
        {"fewest-steps": 2},
    ),
    "prediction-clipped": Submission(
        "the predicted picture is clipped to -1 and 1",
        {
            "family-step": STEP.format(
                "sqrt(a_s) * x0.clamp(-1, 1) + sqrt(1 - a_s - sigma**2) * eps + sigma * noise"
            )
        },
        {"family-deterministic": 1, "family-variance": 3},
    ),
    "direction-against": Submission(
        "the old noise comes back with the wrong sign",
        {"family-step": STEP.format("sqrt(a_s) * x0 - sqrt(1 - a_s - sigma**2) * eps + sigma * noise")},
        {"family-deterministic": 1, "family-variance": 3},
    ),
    "jump-against": Submission(
        "between two noisy levels the noise is subtracted",
        {
            "forward-jump": """
def forward_jump(x_s, noise, a_t, a_s):
    return sqrt(a_t / a_s) * x_s + (1 if a_s == 1 else -1) * sqrt(1 - a_t / a_s) * noise
"""
        },
        {"forward-jump-twice": 2},
    ),
    "helper-redefined": Submission(
        "a locked helper is redefined so that five steps seem enough",
        {
            "fewest": "distance = lambda n: 0.0\nfewest = next(n for n in range(5, 61) if distance(n) < TOLERANCE)"
        },
        {"fewest-steps": 2},
    ),
    "right-in-float32": Submission(
        "right, with roots of float32 tensors everywhere, and a walk in float32",
        {
            "forward-jump": """
def forward_jump(x_s, noise, a_t, a_s):
    alpha = torch.tensor(a_t / a_s)
    return torch.sqrt(alpha) * x_s + torch.sqrt(1 - alpha) * noise
""",
            "posterior": """
def posterior(x_t, x0, a_t, a_s):
    a_t, a_s = torch.tensor(a_t), torch.tensor(a_s)
    alpha = a_t / a_s
    mean = (torch.sqrt(a_s) * (1 - alpha) * x0 + torch.sqrt(alpha) * (1 - a_s) * x_t) / (1 - a_t)
    return mean, (1 - a_s) / (1 - a_t) * (1 - alpha)
""",
            "family-step": """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = (x_t - torch.sqrt(torch.tensor(a_t)) * x0) / torch.sqrt(torch.tensor(1 - a_t))
    keep = torch.sqrt(torch.tensor(1 - a_s - sigma**2))
    return torch.sqrt(torch.tensor(a_s)) * x0 + keep * eps + sigma * noise
""",
            "walk": """
def walk_down(x0_model, x, levels, eta, noises):
    x = x.float()
    for a, b, noise in zip(levels, [*levels[1:], {{ end }}], noises):
        sigma = eta * sqrt((1 - b) / (1 - a) * (1 - a / b))
        x = family_step(x, x0_model(x, a).float(), a, b, sigma, noise.float())
    return x
""",
        },
    ),
    "right-with-another-sqrt": Submission(
        "right, with torch's sqrt under the name of math's",
        {
            "forward-jump": """
from torch import sqrt

def forward_jump(x_s, noise, a_t, a_s):
    alpha = torch.tensor(a_t / a_s, dtype=torch.float64)
    return sqrt(alpha) * x_s + sqrt(1 - alpha) * noise
""",
            "posterior": """
def posterior(x_t, x0, a_t, a_s):
    alpha = a_t / a_s
    mean = (a_s**0.5 * (1 - alpha) * x0 + alpha**0.5 * (1 - a_s) * x_t) / (1 - a_t)
    return mean, (1 - a_s) / (1 - a_t) * (1 - alpha)
""",
            "family-step": """
def family_step(x_t, x0, a_t, a_s, sigma, noise):
    eps = (x_t - a_t**0.5 * x0) / (1 - a_t) ** 0.5
    return a_s**0.5 * x0 + (1 - a_s - sigma**2) ** 0.5 * eps + sigma * noise
""",
            "walk": """
def walk_down(x0_model, x, levels, eta, noises):
    for a, b, noise in zip(levels, [*levels[1:], {{ end }}], noises):
        sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        x = family_step(x, x0_model(x, a), a, b, sigma, noise)
    return x
""",
        },
    ),
    "right-with-own-names": Submission(
        "right, with variables of the student's own that tests use too",
        {
            "forward-jump": """
def forward_jump(x_s, noise, a_t, a_s):
    return sqrt(a_t / a_s) * x_s + sqrt(1 - a_t / a_s) * noise

x, z, one, none, wanted, levels, start, mixture, mean, near = (None,) * 10
""",
        },
    ),
    "right-with-a-longer-list": Submission(
        "right, and the list of levels is changed on the way",
        {
            "walk": """
def walk_down(x0_model, x, levels, eta, noises):
    levels.append({{ end }})
    for k, noise in enumerate(noises):
        a, b = levels[k], levels[k + 1]
        x = family_step(x, x0_model(x, a), a, b, eta * sqrt((1 - b) / (1 - a) * (1 - a / b)), noise)
    return x
"""
        },
    ),
    "right-in-numpy": Submission(
        "right, with numpy's arrays for results",
        {
            "forward-jump": """
import numpy as np

def forward_jump(x_s, noise, a_t, a_s):
    return np.sqrt(a_t / a_s) * x_s.numpy() + np.sqrt(1 - a_t / a_s) * noise.numpy()
""",
            "order": """
def measured_order(steps, errors):
    return -np.polyfit(np.log(steps[{{ skip }}:]), np.log(errors[{{ skip }}:]), 1)[:1]
""",
        },
    ),
}
