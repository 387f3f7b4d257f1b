"""The landscape's data: complete, sourced, and counted as its recipes say."""

import copy
import json
import re
from dataclasses import replace
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


def test_the_autoregressive_family_has_open_and_closed_systems_of_several_makers():
    found = [s for s in landscape.load().values() if s.family == "autoregressive"]
    assert {s.open for s in found} == {True, False} and len({s["developer"].value for s in found}) >= 4


def test_a_recipe_has_the_makers_steps_and_the_size_of_the_resolution():
    systems = landscape.load()
    assert systems["flux-1-dev"]["maker_steps"].value == 50 != systems["flux-1-dev"]["library_steps"].value
    for name, change in (("flux-1-dev", {"steps": 28}), ("qwen-image-2-1", {"size": 1024})):
        system = systems[name]
        assert landscape._recipe_against_facts(system) == []
        [fault] = landscape._recipe_against_facts(replace(system, count=system.count | change))
        assert name in fault


def test_a_stored_table_of_positions_explains_what_the_parameters_do_not():
    for name, published in (("sd-3-5-medium", 2.5), ("sd-3-5-large", 8.1)):
        component = landscape.load()[name].count["denoiser"]
        trained, stored = landscape.count.sizes_of(component)
        assert round((trained + stored) / 1e9, 1) == published
        assert landscape.counted()[name]["buffers"][component] == stored > 80e6
    assert round(landscape.count.parameters_of("mmdit-sd35-medium") / 1e9, 1) == 2.2  # what is trained alone


def test_an_encoder_with_output_embeddings_of_its_own_counts_them():
    assert landscape.count.parameters_of("text-mistral-small-3") == pytest.approx(24.01e9, rel=1e-3)


def test_every_open_system_is_counted_or_says_why_not():
    for system in landscape.load().values():
        if system.open:
            assert system.count or system.uncounted
            for entry in (system.count or {}).get("missing", []):
                assert entry["because"]
    assert {n for n, found in landscape.counted().items() if found["missing"]} == {"hidream-i1"}


def test_licences_have_a_class_and_gated_systems_have_licences():
    systems, classes = landscape.load(), landscape.licences()
    assert {licence.commercial for licence in classes.values()} == set(facts.COMMERCIAL)
    names = [name.replace(" ", "").lower() for name in classes]
    assert len(names) == len(set(names)), "one licence, one spelling"
    gated = [s for s in systems.values() if s["weights"].value == "gated"]
    assert systems["flux-2-dev"] in gated and all(s.licence for s in gated)
    assert systems["sd-1"].commercial == "yes" and systems["sd-3"].commercial == "capped"
    assert systems["flux-1-dev"].commercial == "no" and systems["playground-2-5"].commercial == "unknown"


def test_no_fact_rests_on_the_parody():
    assert not [source.id for source in landscape.sources().values() if "wikiblah" in source.url]


def test_release_is_the_day_on_which_it_could_first_be_had():
    assert landscape.load()["dalle-3"]["release"].value == "2023-10"  # in ChatGPT; the API came in November


def test_a_system_is_current_by_the_first_word_of_its_status():
    systems = landscape.load()
    assert systems["gpt-image-2"].current and systems["z-image"].current
    assert not any(
        systems[n].current for n in ("dalle-3", "gpt-image-1", "gemini-3-1-flash-image", "midjourney-8")
    )


def test_the_data_turn_back_and_u_nets_go_on():
    """What the chapter no longer says: that the field moved through the designs in one order, and left the U-Net."""
    dated = sorted((s for s in landscape.load().values() if s.released), key=lambda s: s.released)
    assert any(s.family == "latent U-Net" and s.released[0] > 2024.5 for s in dated)
    qwen = [s.family for s in dated if s["developer"].value == "Alibaba (Qwen)"]
    assert "DiT" in qwen[qwen.index("MMDiT") :]


def test_boards_are_dated_newest_first_and_give_a_systems_best_line():
    boards = list(landscape.boards().values())
    assert [b.date for b in boards] == sorted((b.date for b in boards), reverse=True)
    april = landscape.boards()["arena-2026-04-19-edit"]
    assert april.whole and april.of("gemini-3-pro-image").score == 1387  # 1386 at the lower resolution
    assert april.of("sd-1") is None


def test_what_others_published_comes_after_the_maker():
    system = landscape.load()["sd-3"]
    assert [r.value for r in system.report("memory")] == [18.765, 4.266]
    assert all(r.by == "others" for r in system.report("memory")) and system.report("memory", "maker") == []
    with pytest.raises(ValueError, match="allowed"):
        system.report("fame")


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
    sources, licences, boards, systems = (
        schema.schema["properties"][k]["additionalProperties"]
        for k in ("sources", "licences", "boards", "systems")
    )
    assert licences["properties"]["commercial"]["enum"] == list(facts.COMMERCIAL)
    assert boards["properties"]["board"]["enum"] == list(facts.BOARDS)
    assert systems["properties"]["reported"]["items"]["properties"]["what"]["enum"] == list(facts.REPORTED)
    assert list(facts.UNITS) == list(facts.REPORTED)
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
    "a status without its word": (("facts", "status"), {"value": "gone", "unverified": "so it is said"}),
    "a missing part without a reason": (("count", "missing"), ["a text encoder"]),
    "a report of nothing": (("reported",), [{"what": "fame", "value": 1, "setting": "x", "by": "maker"}]),
    "a report without a source": (
        ("reported",),
        [{"what": "memory", "value": 1, "setting": "x", "by": "maker"}],
    ),
    "a key too many": (("facts", "maker_scale"), {"value": 7.5, "unverified": "so", "seen": "yes"}),
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


ONLY_THE_PROGRAM = {  # what a schema cannot say: the part, the change, and what the message names
    "a licence that is not listed": (
        ("systems", "sd-1", "facts", "licence", "value"),
        "Beerware",
        "sd-1.licence",
    ),
    "counted, and a reason why not": (("systems", "sd-1", "uncounted"), "it was too late", "sd-1"),
    "a cap that does not say by what": (
        ("licences", "Krea 2 Community License"),
        {"commercial": "capped", "unverified": "so it is said"},
        "condition",
    ),
    "a licence that nobody has": (("licences", "Beerware"), {"commercial": "unknown"}, "Beerware"),
    "a system on a board that is not listed": (
        ("boards", "arena-2026-08-24", "places", 0, "system"),
        "sd-9",
        "sd-9",
    ),
    "a board that rises": (("boards", "arena-2026-08-24", "places", 0, "score"), 1, "arena-2026-08-24"),
}


@pytest.mark.parametrize("case", ONLY_THE_PROGRAM)
def test_the_program_refuses_what_the_schema_cannot_see(data, case, tmp_path):
    path, value, named = ONLY_THE_PROGRAM[case]
    changed = copy.deepcopy(data)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "models.yaml"
    file.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(named)):
        landscape.load(file)
