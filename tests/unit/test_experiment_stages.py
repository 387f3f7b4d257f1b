"""What the stages' curves rest on: the counting, and the file that ships."""

import torch

from diffusion_tutorial.experiments import stages
from diffusion_tutorial.results import read
from diffusion_tutorial.still_life.scenes import ATTRIBUTES


def test_the_share_read_as_in_the_end():
    end = {"shape": torch.tensor([0, 1, 2, 3]), "colour": torch.tensor([0, 0, 0, 0])}
    now = {"shape": torch.tensor([0, 1, 0, 0]), "colour": torch.tensor([0, 0, 0, 1])}
    found = stages.same_as(now, end, ["shape", "colour"])
    assert (found["shape"].value, found["colour"].value) == (0.5, 0.75) and found["shape"].n == 4


def test_what_is_stored_of_the_first_page():
    stored = read("stages")
    assert stored["command"] == "python -m diffusion_tutorial.experiments.stages"
    assert not stored["commit"].endswith("dirty") and stored["settings"]["n_runs"] == stages.N_RUNS
    first = stored["measured"]["first"]
    assert [len(first[what]) for what in ("holds", "expects")] == [stages.STEPS + 1, stages.STEPS]
    for state in first["holds"] + first["expects"]:
        assert set(state) == set(ATTRIBUTES) and all(v["n"] == stages.N_RUNS for v in state.values())
    assert all(v["value"] == 1 for v in first["holds"][-1].values())  # the end, against itself
    assert first["holds"][0]["shape"]["high"] < 0.4 < first["expects"][0]["shape"]["value"]
