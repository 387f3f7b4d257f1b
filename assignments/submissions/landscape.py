"""Answers to the assignment "landscape" that teach the grader what it must catch, and what it must let pass."""

from classroom.source import Submission

SUBMISSIONS = {
    "unknown-is-yes": Submission(
        "what no source says is taken for a yes",
        cells={
            "choose": """
def choose(table, room, negative):
    fits = [
        row
        for row in table
        if row["commercial"] is not False
        and (row["parameters"] or 0) * {{ dtype.bytes }} / {{ unit.bytes }} <= room
        and (row["negative"] is not False or not negative)
    ]
    return [row["name"] for row in sorted(fits, key=lambda row: {{ order.sign }}(row["parameters"] or 0))]
"""
        },
        loses={"choose-known": 2, "choose-unknown": 3},
    ),
    "does-not-just-fit": Submission(
        "a card that is exactly large enough is refused",
        cells={
            "choose": """
def choose(table, room, negative):
    fits = [
        row
        for row in table
        if row["commercial"]
        and row["parameters"]
        and row["parameters"] * {{ dtype.bytes }} / {{ unit.bytes }} < room
        and (row["negative"] or not negative)
    ]
    return [row["name"] for row in sorted(fits, key=lambda row: {{ order.sign }}row["parameters"])]
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
    return 4 * width * width + {{ qkv.code }} + width
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
        "a unit a thousand times too small, and offloading taken as half",
        cells={
            "memory": """
def memory(components, dtype, offload=False):
    total = sum(components.values()) * BYTES[dtype] / 1e6
    return total / 2 if offload else total
"""
        },
        loses={"memory-weights": 2, "memory-offload": 1, "memory-refuses": 1},
    ),
    "text-every-step": Submission(
        "the text encoder is paid for in every row; two statements are wrong",
        cells={
            "picture-flops": """
def picture_flops(text, denoiser, decoder, prompts, rows):
    return rows * (text + denoiser) + decoder
""",
            "statements": "statements = {'a': not {{ a.answer }}, 'b': {{ b.answer }}, "
            "'c': {{ c.answer }}, 'd': not {{ d.answer }}, "
            "'e': {{ e.answer }}, 'f': {{ f.answer }}}",
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
        nn.Linear(width, width, bias={{ qkv.bias }}, device="meta"),
        nn.Linear(context, width, bias={{ qkv.bias }}, device="meta"),
        nn.Linear(context, width, bias={{ qkv.bias }}, device="meta"),
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
    extra = branches if first <= {{ once.code }} < last else 1
    return evaluations * (guided * branches + steps - guided) - (evaluations - 1) * extra
""",
            "choose": """
def choose(table, room, negative):
    names = []
    for row in sorted(table, key=lambda r: r["parameters"] or 0, reverse="{{ order.sign }}" == "-"):
        if not row["commercial"] or row["parameters"] is None:
            continue
        if negative and not row["negative"]:
            continue
        if {{ dtype.bytes }} * row["parameters"] / {{ unit.bytes }} <= room:
            names.append(row["name"])
    return names
""",
        },
    ),
}

ROWS = """
def rows(steps, branches, evaluations=1, first=0, last=None):
    last = steps if last is None else last
    total = 0
    for k in range(steps):
        asked = 1 if k == {{ once.code }} else evaluations
        total += asked * (branches if first <= k < last else 1)
    return total
"""

SUBMISSIONS |= {
    "the-denoiser-decides": Submission(
        "with offload the second component is counted, which often is the denoiser",
        {
            "memory": """
def memory(components, dtype, offload=False):
    if dtype not in BYTES:
        raise ValueError(f"{dtype} is no dtype")
    counts = list(components.values())
    return (counts[min(1, len(counts) - 1)] if offload else sum(counts)) * BYTES[dtype] / {{ unit.bytes }}
"""
        },
        {"memory-offload": 1},
    ),
    "buffers-counted": Submission(
        "what a network keeps without learning it is counted too",
        {
            "count": """
def count(build):
    with torch.device("meta"):
        network = build()
    return sum(p.numel() for p in [*network.parameters(), *network.buffers()])
"""
        },
        {"count-on-meta": 2},
    ),
    "made-with-memory": Submission(
        "the network is made before it goes to the meta device",
        {
            "count": """
def count(build):
    return sum(p.numel() for p in build().to("meta").parameters())
"""
        },
        {"count-on-meta": 2},
    ),
    "the-single-evaluation-is-plain": Submission(
        "the step that asks once is taken for a plain one, guided or not",
        {"rows": ROWS.replace("first <= k < last", "first <= k < last and (asked > 1 or evaluations == 1)")},
        {"rows-heun": 1},
    ),
    "the-other-end-asks-once": Submission(
        "the step that asks once is at the wrong end of the run",
        {"rows": ROWS.replace("k == {{ once.code }}", "k == steps - 1 - ({{ once.code }})")},
        {"rows-heun": 1},
    ),
    "beyond-the-last-step": Submission(
        "an interval that ends after the run is counted to its own end",
        {
            "rows": """
def rows(steps, branches, evaluations=1, first=0, last=None):
    last = steps if last is None else last
    once = branches if first <= {{ once.code }} < last else 1
    return evaluations * (steps + (last - first) * (branches - 1)) - (evaluations - 1) * once
"""
        },
        {"rows-guided": 2, "rows-heun": 1},
    ),
    "right-with-own-names": Submission(
        "right, with variables of the student's own that tests use too",
        {
            "picture-flops": """
n, parts, edge, fits, invented, near, a, b, k, got, wanted = (None,) * 11

def picture_flops(text, denoiser, decoder, prompts, rows):
    return decoder + denoiser * rows + prompts * text
"""
        },
    ),
}
