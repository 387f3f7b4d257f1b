"""Answers to the assignment "guidance" that teach the grader what it must catch, and what it must let pass."""

from assignments import Submission

SUBMISSIONS = {
    "three-of-four-channels": Submission(
        "only the first three channels are guided",
        cells={
            "guided": """
def guided(model, x, t, text, null, scale):
    out = model(torch.cat([x, x]), t, torch.cat([null.expand_as(text), text]))
    eps, rest = out[:, :3], out[:, 3:]
    uncond, cond = eps.chunk(2)
    return torch.cat([uncond + scale * (cond - uncond), rest.chunk(2)[1]], 1)
"""
        },
        loses={"guided-null": 1, "guided-everywhere": 3},
    ),
    "hard-coded-null": Submission(
        "zeros in the place of the empty prompt",
        cells={
            "guided": """
def guided(model, x, t, text, null, scale):
    uncond, cond = model(torch.cat([x, x]), t, torch.cat([torch.zeros_like(text), text])).chunk(2)
    return uncond + scale * (cond - uncond)
"""
        },
        loses={"guided-null": 1, "guided-everywhere": 3},
    ),
    "off-by-one": Submission(
        "w is taken for s, and the sum starts from the conditional prediction",
        cells={
            "mix": """
def mix(eps_uncond, eps_cond, value, convention):
    return eps_uncond + value * (eps_cond - eps_uncond)
""",
            "guided": """
def guided(model, x, t, text, null, scale):
    uncond, cond = model(torch.cat([x, x]), t, torch.cat([null.expand_as(text), text])).chunk(2)
    return cond + scale * (cond - uncond)
""",
        },
        loses={
            "mix-w": 2,
            "mix-refuses": 1,
            "guided-scale-one": 1,
            "guided-null": 1,
            "guided-everywhere": 3,
        },
    ),
    "swapped": Submission(
        "the halves of the batch are read in the wrong order, by two calls",
        cells={
            "guided": """
def guided(model, x, t, text, null, scale):
    cond, uncond = model(x, t, null.expand_as(text)), model(x, t, text)
    return uncond + scale * (cond - uncond)
"""
        },
        loses={"guided-scale-one": 1, "guided-once": 1, "guided-null": 1, "guided-everywhere": 3},
    ),
    "wrong-sign": Submission(
        "the gradient is added to the noise",
        cells={
            "classifier-guided": """
def classifier_guided(eps, x, log_prob, alpha_bar, scale):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(leaf).sum(), leaf)
    return eps + sqrt(1 - alpha_bar) * scale * gradient
""",
            "implied": """
def implied_gradient(eps_uncond, eps_cond, alpha_bar):
    return (eps_cond - eps_uncond) / sqrt(1 - alpha_bar)
""",
        },
        loses={"classifier-direction": 1, "classifier-size": 3, "implied-classifier": 2},
    ),
    "mean-over-rows": Submission(
        "the gradient of the mean over rows, with the graph left in the result",
        cells={
            "classifier-guided": """
def classifier_guided(eps, x, log_prob, alpha_bar, scale):
    with torch.enable_grad():
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(x).mean(), x)
    return eps - sqrt(1 - alpha_bar) * scale * gradient
"""
        },
        loses={"classifier-size": 3, "classifier-rows": 1, "classifier-clean": 1},
    ),
    "root-forgotten": Submission(
        "the score's gradient is used as if it were a noise",
        cells={
            "classifier-guided": """
def classifier_guided(eps, x, log_prob, alpha_bar, scale):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(leaf).sum(), leaf)
    return eps - scale * gradient
""",
            "implied": """
def implied_gradient(eps_uncond, eps_cond, alpha_bar):
    return eps_uncond - eps_cond
""",
        },
        loses={"classifier-size": 3, "implied-classifier": 2},
    ),
    "likelihood-forgotten": Submission(
        "the tilted density has the conditional density in the place of the marginal; two statements are wrong",
        cells={
            "tilted": """
def tilted(scale):
    log = two.conditional(1).log_prob(grid[:, None]) + scale * two.class_log_posterior(grid[:, None])[:, 1]
    return torch.softmax(log, 0) / (grid[1] - grid[0])
""",
            "statements": "statements = {'a': True, 'b': True, 'c': True, 'd': True, 'e': True}",
        },
        loses={"tilted-density": 2, "gap-measured": 2, "statements-judged": 2},
    ),
    "right-by-weights": Submission(
        "right, as a weighted sum, and with the halves in the other order",
        cells={
            "mix": """
def mix(eps_uncond, eps_cond, value, convention):
    weights = {"s": (1 - value, value), "w": (-value, 1 + value)}
    if convention not in weights:
        raise ValueError(f"unknown convention: {convention}")
    a, b = weights[convention]
    return a * eps_uncond + b * eps_cond
""",
            "guided": """
def guided(model, x, t, text, null, scale):
    rows = len(x)
    out = model(x.repeat(2, 1, 1, 1), t, torch.cat([text, null.repeat(rows, 1, 1)], dim=0))
    return scale * out[:rows] + (1 - scale) * out[rows:]
""",
        },
    ),
    "right-by-hand": Submission(
        "right, with backward() on a clone, and the density normalised by hand",
        cells={
            "classifier-guided": """
def classifier_guided(eps, x, log_prob, alpha_bar, scale):
    leaf = x.clone().detach()
    leaf.requires_grad = True
    with torch.enable_grad():
        log_prob(leaf).sum().backward()
    return (eps - scale * (1 - alpha_bar) ** 0.5 * leaf.grad).detach()
""",
            "tilted": """
def tilted(scale):
    p = two.log_prob(grid[:, None]).exp() * two.class_posterior(grid[:, None])[:, 1] ** scale
    return p / (p.sum() * (grid[1] - grid[0]))
""",
            "gap": """
density = tilted(SCALE)
gap = float(guided_samples(SCALE).mean()) - float((grid * density).sum() / density.sum())
""",
        },
    ),
}
