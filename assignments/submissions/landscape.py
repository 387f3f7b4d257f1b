"""Answers to the assignment "landscape" that teach the grader what it must catch, and what it must let pass."""

from assignments import Submission

SUBMISSIONS = {
    "unknown-is-yes": Submission(
        "what no source says is taken for a yes",
        cells={
            "choose": """
def choose(table, gib, negative):
    fits = [
        row
        for row in table
        if row["commercial"] is not False
        and (row["parameters"] or 0) * 2 / 2**30 <= gib
        and (row["negative"] is not False or not negative)
    ]
    return [row["name"] for row in sorted(fits, key=lambda row: -(row["parameters"] or 0))]
"""
        },
        loses={"choose-known": 2, "choose-unknown": 3},
    ),
    "does-not-just-fit": Submission(
        "a card that is exactly large enough is refused",
        cells={
            "choose": """
def choose(table, gib, negative):
    fits = [
        row
        for row in table
        if row["commercial"]
        and row["parameters"]
        and row["parameters"] * 2 / 2**30 < gib
        and (row["negative"] or not negative)
    ]
    return [row["name"] for row in sorted(fits, key=lambda row: -row["parameters"])]
"""
        },
        loses={"choose-unknown": 3},
    ),
    "bias-forgotten": Submission(
        "biases are not counted",
        cells={
            "convolution": """
def convolution_parameters(channels_in, channels_out, kernel, bias=True):
    return channels_out * channels_in * kernel**2
""",
            "cross-attention": """
def cross_attention_parameters(width, context):
    return 2 * width * width + 2 * context * width
""",
        },
        loses={"convolution-counted": 1, "cross-attention-counted": 2},
    ),
    "context-as-width": Submission(
        "keys and values are taken from the picture, as in self-attention",
        cells={
            "cross-attention": """
def cross_attention_parameters(width, context):
    return 4 * width * width + width
"""
        },
        loses={"cross-attention-counted": 2},
    ),
    "only-what-trains": Submission(
        "frozen weights are not counted",
        cells={
            "count": """
def count(build):
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters() if p.requires_grad)
"""
        },
        loses={"count-on-meta": 2},
    ),
    "guided-everywhere": Submission(
        "the interval and Heun's last step are left out",
        cells={
            "rows": """
def rows(steps, branches, evaluations=1, first=0, last=None):
    return steps * branches * evaluations
"""
        },
        loses={"rows-guided": 2, "rows-heun": 1},
    ),
    "gigabytes": Submission(
        "thousands for powers of two, and offloading taken as half",
        cells={
            "memory": """
def memory(components, dtype, offload=False):
    total = sum(components.values()) * BYTES[dtype] / 1e9
    return total / 2 if offload else total
"""
        },
        loses={"memory-weights": 2, "memory-offload": 1, "memory-refuses": 1, "choose-unknown": 3},
    ),
    "text-every-step": Submission(
        "the text encoder is paid for in every row; two statements are wrong",
        cells={
            "picture-flops": """
def picture_flops(text, denoiser, decoder, prompts, rows):
    return rows * (text + denoiser) + decoder
""",
            "statements": "statements = {'a': True, 'b': True, 'c': True, 'd': True, 'e': False, 'f': True}",
        },
        loses={"picture-flops-added": 2, "statements-judged": 2},
    ),
    "right-by-torch": Submission(
        "right, by asking torch for the layers",
        cells={
            "convolution": """
def convolution_parameters(channels_in, channels_out, kernel, bias=True):
    layer = nn.Conv2d(channels_in, channels_out, kernel, bias=bias, device="meta")
    return sum(p.numel() for p in layer.parameters())
""",
            "cross-attention": """
def cross_attention_parameters(width, context):
    layers = [
        nn.Linear(width, width, bias=False, device="meta"),
        nn.Linear(context, width, bias=False, device="meta"),
        nn.Linear(context, width, bias=False, device="meta"),
        nn.Linear(width, width, device="meta"),
    ]
    return sum(p.numel() for layer in layers for p in layer.parameters())
""",
        },
    ),
    "right-by-formula": Submission(
        "right, with closed forms in the place of loops",
        cells={
            "rows": """
def rows(steps, branches, evaluations=1, first=0, last=None):
    last = steps if last is None else min(last, steps)
    guided = max(0, last - first)
    extra = branches if first <= steps - 1 < last else 1
    return evaluations * (guided * branches + steps - guided) - (evaluations - 1) * extra
""",
            "choose": """
def choose(table, gib, negative):
    names = []
    for row in sorted(table, key=lambda r: r["parameters"] or 0, reverse=True):
        if not row["commercial"] or row["parameters"] is None:
            continue
        if negative and not row["negative"]:
            continue
        if 2 * row["parameters"] / 2**30 <= gib:
            names.append(row["name"])
    return names
""",
        },
    ),
}
