"""Answers to the assignment "guidance" that teach the grader what it must catch, and what it must let pass."""

from classroom.source import Submission

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
        "the other convention is taken for s, and the sum starts from the conditional prediction",
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
    log = two.conditional({{ side }}).log_prob(grid[:, None])
    log = log + scale * two.class_log_posterior(grid[:, None])[:, {{ side }}]
    return torch.softmax(log, 0) / (grid[1] - grid[0])
""",
            "statements": "statements = {'a': {{ a.answer }}, 'b': {{ b.answer }}, "
            "'c': {{ c.answer }}, 'd': not {{ d.answer }}, "
            "'e': not {{ e.answer }}}",
        },
        loses={"tilted-density": 2, "statements-judged": 2},
    ),
    "right-by-weights": Submission(
        "right, as a weighted sum, and with the halves in the other order",
        cells={
            "mix": """
def mix(eps_uncond, eps_cond, value, convention):
    w = (value - ({{ other.uncond }})) / ({{ other.cond }} - ({{ other.uncond }}))
    weights = {"s": (1 - value, value), "{{ other.name }}": (1 - w, w)}
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
    p = two.log_prob(grid[:, None]).exp() * two.class_posterior(grid[:, None])[:, {{ side }}] ** scale
    return p / (p.sum() * (grid[1] - grid[0]))
""",
            "gap": """
density = tilted(SCALE)
gap = float(guided_samples(SCALE).mean()) - float((grid * density).sum() / density.sum())
""",
        },
    ),
}

MIX = """
def mix(eps_uncond, eps_cond, value, convention):
    if convention not in ("s", "{{ other.name }}"):
        raise ValueError(f"convention is {convention!r}")
    s = value if convention == "s" else (value - ({{ other.uncond }})) / ({{ other.cond }} - ({{ other.uncond }}))
    return WHAT
"""

SUBMISSIONS |= {
    "scale-squared": Submission(
        "the square of the scale",
        {"mix": MIX.replace("WHAT", "eps_uncond + s**2 * (eps_cond - eps_uncond)")},
        {"mix-s": 1, "mix-w": 2},
    ),
    "scale-as-a-switch": Submission(
        "any scale but 0 is the conditional prediction",
        {"mix": MIX.replace("WHAT", "eps_cond if s else eps_uncond")},
        {"mix-s": 1, "mix-w": 2},
    ),
    "gap-without-sign": Submission(
        "the size of the difference, or its negative where it has a sign already",
        {
            "gap": """
gap = -(guided_samples(SCALE).mean() - (grid * tilted(SCALE)).sum() * (grid[1] - grid[0])).item()
"""
        },
        {"gap-measured": 2},
    ),
    "helpers-redefined": Submission(
        "the scale of the measurement is set to 0, and the grid to one point",
        {
            "gap": """
SCALE = 0
grid = torch.zeros(1)
guided_samples = lambda scale: torch.zeros(1)
gap = 0.0
"""
        },
        {"gap-measured": 2},
    ),
    "value-not-named": Submission(
        "an error that does not name what was given",
        {
            "mix": MIX.replace("WHAT", "eps_uncond + s * (eps_cond - eps_uncond)").replace(
                'f"convention is {convention!r}"', '"unknown convention"'
            )
        },
        {"mix-refuses": 1},
    ),
    "right-in-float32": Submission(
        "right, with roots of float32 tensors",
        {
            "classifier-guided": """
def classifier_guided(eps, x, log_prob, alpha_bar, scale):
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_prob(leaf).sum(), leaf)
    return (eps - torch.sqrt(torch.tensor(1 - alpha_bar)) * scale * gradient).float()
""",
            "implied": """
def implied_gradient(eps_uncond, eps_cond, alpha_bar):
    return (eps_uncond - eps_cond) / torch.sqrt(torch.tensor(1 - alpha_bar))
""",
        },
    ),
    "right-in-numpy": Submission(
        "right, a density in numpy",
        {
            "tilted": """
import numpy as np

def tilted(scale):
    p = two.log_prob(grid[:, None]).exp().numpy() * two.class_posterior(grid[:, None])[:, {{ side }}].numpy() ** scale
    return p / p.sum() / (16 / 4000)
""",
            "gap": """
p = tilted(SCALE) * (16 / 4000)
gap = guided_samples(SCALE).numpy().mean() - (p * grid.numpy()).sum()
""",
        },
    ),
    "right-with-own-names": Submission(
        "right, with variables of the student's own that tests use too",
        {
            "gap": """
x, eps, u, c, text, null, wanted, got, near, p, r = (0,) * 11
gap = (guided_samples(SCALE).mean() - (grid * tilted(SCALE)).sum() * (grid[1] - grid[0])).item()
"""
        },
    ),
    "right-by-the-package": Submission(
        "right, by the package's own rule, which students may read",
        {
            "guided": """
from diffusion_tutorial import classifier_free

def guided(model, x, t, text, null, scale):
    uncond, cond = model(torch.cat([x, x]), t, torch.cat([null.expand_as(text), text])).chunk(2)
    return classifier_free(uncond, cond, scale)
"""
        },
    ),
}
