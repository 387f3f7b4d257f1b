"""Answers to the assignment "flows" that teach the grader what it must catch, and what it must let pass."""

from classroom.source import Submission

TRAIN = """
torch.manual_seed({{ seed }})
noise = torch.randn(8000, 2)
target = TARGET
student = network()
optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
for step in range(STEPS):
    rows = torch.randint(len(noise), (256,))
    loss = (student(noise[rows]) - target[rows]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""

SUBMISSIONS = {
    "ends-exchanged": Submission(
        "the shares of the two ends are exchanged; the velocity is not scaled to the classic process",
        {
            "ends": """
def ends(x, velocity, sigma):
    forward = {{ way.sign }} * velocity
    return x - (1 - sigma) * forward, x + sigma * forward
""",
            "velocity": """
def velocity(posterior_mean, x, sigma):
    return {{ way.sign }} * (x - posterior_mean(x, (1 - sigma) ** 2)) / sigma
""",
        },
        {"ends-found": 2, "velocity-exact": 3},
    ),
    "the-other-way": Submission(
        "velocity and walk have the other sign",
        {
            "velocity": """
def velocity(posterior_mean, x, sigma):
    size = sqrt((1 - sigma) ** 2 + sigma**2)
    return -{{ way.sign }} * (x - posterior_mean(x / size, ((1 - sigma) / size) ** 2)) / sigma
""",
            "walk": """
def walk(field, x, levels):
    for a, b in zip(levels, levels[1:]):
        x = x + (a - b) * {{ way.sign }} * field(x, a)
    return x
""",
        },
        {"velocity-shape": 1, "velocity-exact": 3, "walk-straight": 1, "walk-bent": 2},
    ),
    "asked-at-the-end": Submission(
        "each step asks at the level to which it goes",
        {
            "walk": """
def walk(field, x, levels):
    for a, b in zip(levels, levels[1:]):
        x = x + (b - a) * {{ way.sign }} * field(x, b)
    return x
"""
        },
        {"walk-bent": 2},
    ),
    "pairs-that-do-not-belong": Submission(
        "noise is paired with points of the data that it does not lead to",
        {"student": TRAIN.replace("TARGET", "teacher(torch.randn(8000, 2)).float()").replace("STEPS", "300")},
        {"student-near": 5},
    ),
    "hardly-trained": Submission(
        "a student that saw few steps",
        {"student": TRAIN.replace("TARGET", "teacher(noise).float()").replace("STEPS", "10")},
        {"student-near": 5},
    ),
    "loss-at-one": Submission(
        "the step begins at 1, so that level and length are wrong; made-up losses; two statements are wrong",
        {
            "one-step-loss": """
def one_step_loss(says, noise, x0):
    return (noise - says(noise, 1.0) - x0).square().mean()
""",
            "losses": "losses = [0.5, 0.2]",
            "statements": "statements = {'a': not {{ a.answer }}, 'b': not {{ b.answer }}, 'c': {{ c.answer }}, "
            "'d': {{ d.answer }}}",
        },
        {"one-step-loss-right": 2, "losses-measured": 2, "statements-judged": 2},
    ),
    "right-by-shares": Submission(
        "right, in float32 and by other formulas",
        {
            "ends": """
def ends(x, velocity, sigma):
    x, velocity = x.float(), {{ way.sign }} * velocity.float()
    eps = x + (1 - sigma) * velocity
    return eps - velocity, eps
""",
            "walk": """
def walk(field, x, levels):
    for k in range(1, len(levels)):
        x = x - (levels[k - 1] - levels[k]) * ({{ way.sign }} * field(x, levels[k - 1]))
    return x
""",
        },
    ),
    "right-by-a-class": Submission(
        "right, a student of a class of its own",
        {
            "student": TRAIN.replace("TARGET", "teacher(noise).float()").replace("STEPS", "1500")
            + """
class Mine:
    def __call__(self, z):
        with torch.no_grad():
            return network_(z.float())

network_, student = student, Mine()
"""
        },
    ),
}
