"""Which model for which task: the rules of the chapter's first table, on the data and on made-up boards."""

import datetime
from dataclasses import replace

import pytest

from diffusion_tutorial import landscape
from diffusion_tutorial.landscape import choose
from diffusion_tutorial.landscape.facts import Board, Fact, Place


@pytest.fixture(scope="module")
def systems():
    return landscape.load()


@pytest.fixture(scope="module")
def counted():
    return landscape.counted()


@pytest.fixture(scope="module")
def found(systems, counted):
    return {c.task: c for c in choose.choices(systems, counted, landscape.boards())}


def board(date, *lines, kind="text to image"):
    places = tuple(Place(name, "x", score, margin, 100, name) for name, score, margin in lines)
    fact = Fact(kind, "unverified", note="made up")
    return Board(f"b-{date}", kind, datetime.date.fromisoformat(date), True, fact, places)


def test_every_task_names_a_model_that_can_be_had(found):
    assert len(found) >= 10
    for choice in found.values():
        assert choice.systems and len(choice.systems) == len(choice.values)
        assert all(s.current or s.id == "sd-1" for s in choice.systems), choice.task
        datetime.date.fromisoformat(choice.as_of)


def test_what_says_for_business_is_allowed_for_business(found):
    assert sum("business" in task for task in found) >= 4
    for task, choice in found.items():
        if "business" in task:
            assert {s.commercial for s in choice.systems} == {"yes"}, task


def test_overlapping_intervals_are_not_told_apart(systems):
    made = board("2026-01-01", ("flux-2-dev", 1000, 5), ("z-image", 996, 2), ("qwen-image", 992, 2))
    best, scores = choose.liked(made, systems, choose.hold)
    assert [s.id for s in best] == ["flux-2-dev", "z-image"]  # 996 + 2 reaches 1000 - 5, 992 + 2 does not
    assert scores == ["1000 ± 5", "996 ± 2"]


def test_the_newest_board_decides_on_which_somebody_qualifies(systems, counted):
    old = board("2025-01-01", ("flux-2-dev", 900, 5), ("gpt-image-2", 800, 5))
    new = board("2026-01-01", ("gpt-image-2", 1000, 5), ("gemini-3-1-flash-image", 1100, 5))
    rows = choose.choices(systems, counted, {b.id: b for b in (old, new)})
    service = next(row for row in rows if "as a service" in row.task)
    # What is deprecated does not qualify, though it leads.
    assert [s.id for s in service.systems] == ["gpt-image-2"]
    assert service.as_of == "2026-01-01"
    weights = next(row for row in rows if "weights you hold" in row.task)
    assert [s.id for s in weights.systems] == ["flux-2-dev"] and weights.as_of == "2025-01-01"


def test_a_card_holds_counted_weights_with_room_or_what_its_maker_says(systems, counted):
    turbo = systems["z-image-turbo"]
    weights = counted["z-image-turbo"]["bytes_bf16"] / 1e9
    assert 16 < weights < 24 - choose.ROOM
    assert choose.fits(turbo, counted, 16)  # the maker's word
    silent = replace(turbo, reported=())
    assert not choose.fits(silent, counted, 16) and choose.fits(silent, counted, weights + choose.ROOM)
    assert not choose.fits(silent, counted, weights)  # nothing left for the picture
    said = choose.memory(turbo, counted)[1]
    assert f"{weights:.1f} GB of weights" in said and "its maker says 16 GB" in said


def test_a_part_that_was_not_counted_proves_no_fit(systems, counted):
    assert counted["hidream-i1"]["missing"]
    assert not choose.fits(systems["hidream-i1"], counted, 1000)
    assert "and more" in choose.memory(systems["hidream-i1"], counted)[1]


def test_guidance_that_was_distilled_away_is_none(systems):
    assert choose.guided(systems["z-image"]) and choose.guided(systems["sd-1"])
    assert not any(choose.guided(systems[n]) for n in ("z-image-turbo", "flux-1-dev", "flux-2-klein-4b"))


def test_the_class_shows_gates_and_doubt(systems):
    assert choose.licence_class(systems["flux-2-dev"]) == "no, gated"
    assert choose.licence_class(systems["sd-3"]) == "capped*, gated"
    assert choose.licence_class(systems["z-image-turbo"]) == "yes"


def test_the_rows_are_text_with_a_cell_for_each_model(found, counted):
    for row in choose.as_rows(found.values(), counted):
        assert len(row) == 6 and all(isinstance(cell, str) and cell for cell in row)
        assert row[1].count(" | ") == row[2].count(" | ") == row[3].count(" | ")
