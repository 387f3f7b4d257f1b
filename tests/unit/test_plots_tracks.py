"""plots.tracks: curves with x values of their own."""

import pytest

from diffusion_tutorial.plots import encode, tracks

CURVES = {
    "a": {"x": [1, 2, 4], "y": [0.5, 0.7, 0.6], "low": [0.4, 0.6, 0.5], "high": [0.6, 0.8, 0.7]},
    "b": {"x": [1, 8], "y": [0.9, 0.1], "tags": ["first", "last"]},
}


def test_each_curve_has_its_own_points_bars_and_tags():
    fig = tracks(CURVES, "scale", "share", logx=True, ticks=(1, 2, 4, 8))
    (axes,) = fig.axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [
        [[1, 0.5], [2, 0.7], [4, 0.6]],
        [[1, 0.9], [8, 0.1]],
    ]
    (bars,) = axes.collections
    assert [s.tolist() for s in bars.get_segments()] == [
        [[1, 0.4], [1, 0.6]],
        [[2, 0.6], [2, 0.8]],
        [[4, 0.5], [4, 0.7]],
    ]
    assert [t.get_text() for t in axes.texts] == [
        "first",
        "last",
        "b",
        "a",
    ]  # tags, then ends from the bottom up
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "4", "8"]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "scale" and axes.get_ylabel() == "share"
    data, kind, width, height = encode(fig)
    assert (
        kind == "svg+xml"
        and (width, height) == (504, 384)
        and data == encode(tracks(CURVES, "scale", "share", logx=True, ticks=(1, 2, 4, 8)))[0]
    )


@pytest.mark.parametrize(
    "curves, name",
    [
        ({}, "curves is '0 curves'; allowed: 1 to 7"),
        ({"a": {"x": [1], "y": [1, 2]}}, r"curves\['a'\] is"),
        ({"a": {"x": [], "y": []}}, r"curves\['a'\] is"),
    ],
)
def test_bad_input_is_named(curves, name):
    with pytest.raises(ValueError, match=name):
        tracks(curves, "x", "y")
