import json

import pytest

from diffusion_tutorial.metrics import wilson
from diffusion_tutorial.results import Record, plain, read


def test_a_value_is_measured_once_and_survives_a_stop(tmp_path):
    file, calls = tmp_path / "x.json", []
    first = Record(file, "what", "command", n=3)
    assert first.measure("a", lambda: calls.append(1) or {"rate": wilson(1, 4)})["rate"]["value"] == 0.25
    again = Record(file, "what", "command", n=3)
    assert "a" in again and "b" not in again
    assert again.measure("a", lambda: calls.append(2)) == first["a"] and calls == [1]
    found = json.loads(file.read_text())
    assert found["settings"] == {"n": 3} and found["commit"] and found["date"] and found["machine"]


def test_a_measurement_that_fails_writes_nothing(tmp_path):
    record = Record(tmp_path / "x.json", "what", "command", n=3)
    with pytest.raises(ZeroDivisionError):
        record.measure("a", lambda: 1 / 0)
    assert not list(tmp_path.iterdir())


def test_other_settings_are_refused(tmp_path):
    Record(tmp_path / "x.json", "what", "command", n=3).measure("a", lambda: 1)
    with pytest.raises(ValueError, match="made with the settings {'n': 3}.*{'n': 4}"):
        Record(tmp_path / "x.json", "what", "command", n=4)


def test_plain_refuses_what_json_cannot_hold():
    with pytest.raises(ValueError, match="finite"):
        plain({"a": [float("nan")]})
    assert plain((1.23456789, {"k": 2})) == [1.23457, {"k": 2}]


def test_read_names_what_there_is():
    with pytest.raises(FileNotFoundError, match="still_life"):
        read("nothing")
