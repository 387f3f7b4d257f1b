"""The landscape's data: complete, sourced, and counted as its recipes say."""

import copy
import json
import re
from importlib import resources

import jsonschema
import pytest

from diffusion_tutorial import landscape
from diffusion_tutorial.landscape import facts

ASKED = {  # the systems that the first question names
    *("midjourney-5", "midjourney-5-x", "midjourney-6", "sd-1", "sd-2", "sdxl", "sd-3", "dalle-2", "dalle-3"),
    *("pixart-alpha", "pixart-sigma", "ideogram-1", "playground-2-5", "imagen-1", "imagen-2"),
}
PUBLISHED = {
    "unet-if-i-xl": 4.3e9,  # deep-floyd/IF, README
    "unet-sd1": 859.5e6,
    "unet-sd2": 865.9e6,
    "unet-sdxl": 2567.5e6,
    "mmdit-sd3-medium": 2028e6,
    "dit-pixart-alpha": 611e6,
}


def test_the_data_is_sound_and_fits_the_installed_diffusers():
    assert landscape.check() == []


def test_every_system_of_the_question_has_a_row():
    assert set(landscape.load()) >= ASKED


def test_every_system_has_every_field():
    for system in landscape.load().values():
        for field in landscape.FIELDS:
            assert isinstance(system[field], landscape.Fact), (system.id, field)


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_agree_with_published_ones(name):
    assert abs(landscape.count.parameters_of(name) / PUBLISHED[name] - 1) < 0.01


@pytest.fixture(scope="module")
def schema():
    found = json.loads((resources.files("diffusion_tutorial.landscape") / "schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


@pytest.fixture(scope="module")
def data():
    return facts._read(facts.FILE)


def test_the_file_obeys_its_schema(schema, data):
    assert [error.message for error in schema.iter_errors(data)] == []


def test_the_schema_and_the_program_know_the_same_words(schema):
    sources, systems = (
        schema.schema["properties"][k]["additionalProperties"] for k in ("sources", "systems")
    )
    assert sources["properties"]["kind"]["enum"] == list(facts.SOURCE_KINDS)
    assert systems["properties"]["family"]["enum"] == list(facts.FAMILIES)
    fields = systems["properties"]["facts"]
    assert fields["required"] == list(fields["properties"]) == list(facts.FIELDS)
    for field, values in facts.VALUES.items():
        choices = fields["properties"][field]["allOf"][1]["anyOf"][1]["properties"]["value"]["enum"]
        assert choices == [*values, "unknown"]


WRONG = {  # what is changed in Stable Diffusion 1's row, and by what
    "no value": (("facts", "release"), {"source": "sd1-readme"}),
    "no source and no reason": (("facts", "release"), {"value": "2022-08"}),
    "no date": (("facts", "release"), {"value": "August", "unverified": "so it is said"}),
    "another word": (("facts", "weights"), {"value": "free", "unverified": "so it is said"}),
    "a key too many": (("facts", "scale"), {"value": 7.5, "unverified": "so", "seen": "yes"}),
    "half a step": (("count", "steps"), 0.5),
    "a stage without steps": (("count", "then"), [{"denoiser": "unet-sd1", "size": 512}]),
    "another family": (("family",), "GAN"),
}


@pytest.mark.parametrize("case", WRONG)
def test_schema_and_program_refuse_the_same(schema, data, case, tmp_path):
    path, value = WRONG[case]
    changed = copy.deepcopy(data)
    place = changed["systems"]["sd-1"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(schema.iter_errors(changed))
    file = tmp_path / "models.yaml"
    file.write_text(json.dumps(changed), encoding="utf-8")  # JSON is YAML
    with pytest.raises((ValueError, KeyError), match=re.escape("sd-1")):
        landscape.load(file)
