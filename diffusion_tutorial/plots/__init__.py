"""Figures: grids of pictures, filmstrips of a run, bars and curves with intervals, and the one way to show them.

Every function returns a `matplotlib.figure.Figure`, a PIL picture or frames; `figure` and `table` show in a notebook.
"""

from .._faces import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "style": ["DPI", "INK", "PALETTE", "PAPER", "RULE", "TEXT", "WIDTH", "blank", "plain", "svg"],
        "pictures": ["filmstrip", "labelled_grid", "lit", "show_grid", "to_pil"],
        "curves": ["accuracy_bars", "curve_with_interval", "tracks"],
        "page": ["encode", "figure", "figure_bundle", "table"],
        "fields": ["field_panels", "plane"],
        "animate": ["animation", "animation_bundle", "particle_frames", "path_picture", "webp"],
    },
)
