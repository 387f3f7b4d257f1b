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


def test_the_further_scales_are_measured_as_the_others():
    """Scale 0 pushes by nothing, so it is what guidance.json has of classifier guidance at scale 0, number for number."""
    further, before = read("stages")["measured"], read("guidance")["measured"]
    assert stages.FURTHER == (0, 16, 32)
    none, unpushed = further["guidance, cfg 0"], before["classifier 0"]
    assert all(none[key] == unpushed[key] for key in ("adherence", "all_right", "entropy"))
    assert all(abs(none["frechet"][k] - unpushed["frechet"][k]) < 0.01 for k in ("value", "low", "high"))
    right = [further[f"guidance, cfg {s}"]["all_right"] for s in stages.FURTHER]
    assert right[0]["high"] < 0.05 and right[2]["high"] < before["cfg 2"]["all_right"]["low"]
    size = [further[f"guidance, cfg {s}"]["entropy"]["size"] for s in (16, 32)]
    assert max(s["high"] for s in size) < before["cfg 8"]["entropy"]["size"]["low"]
