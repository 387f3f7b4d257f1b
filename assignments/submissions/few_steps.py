"""Answers to the assignment "few-steps" that teach the grader what it must catch, and what it must let pass."""

from assignments import Submission

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
        loses={
            "family-deterministic": 1,
            "family-variance": 3,
            "walk-deterministic": 2,
            "walk-eta": 1,
        },
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
        loses={"family-variance": 3, "walk-eta": 1},
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
        loses={
            "family-deterministic": 1,
            "family-variance": 3,
            "walk-deterministic": 2,
            "walk-eta": 1,
        },
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
            "family-variance": 3,
            "walk-eta": 1,
        },
    ),
    "two-points": Submission(
        "the order from the first and the last point alone, and every statement held to be true",
        cells={
            "order": """
def measured_order(steps, errors):
    return log(errors[0] / errors[-1]) / log(steps[-1] / steps[0])
""",
            "statements": "statements = dict.fromkeys('abcdef', True)",
        },
        loses={"order-fitted": 1, "statements-judged": 3},
    ),
    "one-too-many": Submission(
        "the first number of steps that is enough, plus one; and one statement is left out",
        cells={
            "fewest": """
good = [n for n in range(5, 41) if distance(n) < TOLERANCE]
fewest = good[0] + 1
""",
            "statements": "statements = {'a': False, 'b': True, 'c': False, 'd': True, 'e': True}",
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
    levels = list(levels) + [1.0]
    for k in range(len(levels) - 1):
        a, b = levels[k], levels[k + 1]
        sigma = eta * ((1 - b) / (1 - a) * (1 - a / b)) ** 0.5
        x = family_step(x, x0_model(x, a), a, b, sigma, noises[k])
    return x
""",
            "order": """
import numpy as np

def measured_order(steps, errors):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]
""",
            "fewest": """
fewest = 5
while distance(fewest) >= TOLERANCE:
    fewest += 1
""",
        },
    ),
}
