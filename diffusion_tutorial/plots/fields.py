"""Vector fields in the plane as arrows over a density, with the paths of points that follow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import allowed
from .style import INK, PALETTE, RULE, TEXT, WIDTH, blank

GROUND = 61  # pixels a side of a density: what shows it smooths them


def plane(limit: float, side: int, centre: Sequence[float] = (0.0, 0.0)) -> Tensor:
    """(side^2, 2) an even grid on the square [-limit, limit]^2 about the centre, rows from the bottom up, float64."""
    axis = torch.linspace(-limit, limit, side, dtype=torch.float64)
    y, x = torch.meshgrid(axis + centre[1], axis + centre[0], indexing="ij")
    return torch.stack([x.ravel(), y.ravel()], dim=1)


def field_panels(
    fields: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor] | None]],
    paths: Mapping[str, Sequence[Tensor]] | None = None,
    limit: float = 3.0,
    centre: Sequence[float] = (0.0, 0.0),
    side: int = 15,
    columns: int = 2,
    size: float = WIDTH / 2,
):
    """A panel for each field: arrows on a grid, above the density that the field climbs.

    fields: title -> (vectors, log_density), functions of points (N, 2) to (N, 2) and to (N,); the density may be
    None. Arrows show direction; their length grows with the square root of the vector's, so that weak fields stay
    in sight, and is scaled to the longest of the panel. paths: title -> positions (P, 2) at each step, drawn as
    lines with a ring at the start and a dot at the end, in the panel of that title.
    limit, centre: of the square shown. side: arrows a side. size: inches a panel. Returns the figure.
    Raises ValueError without fields and for paths in a panel that is not there.
    """
    if not fields:
        raise ValueError(allowed("fields", fields, "title -> (vectors, log_density), at least one"))
    paths = paths or {}
    if unknown := [title for title in paths if title not in fields]:
        raise ValueError(allowed("paths", unknown[0], ", ".join(map(repr, fields))))
    columns = min(columns, len(fields))
    rows = -(-len(fields) // columns)
    from matplotlib.colors import to_rgb

    fig = blank(size * columns, (size + 0.25) * rows)
    grid, fine = plane(limit * (1 - 1 / side), side, centre), plane(limit, GROUND, centre)
    for k, (title, (vectors, log_density)) in enumerate(fields.items()):
        axes = fig.add_subplot(rows, columns, k + 1)
        if log_density is not None:
            values = log_density(fine).reshape(GROUND, GROUND)
            shade = (values - values.max()).exp().sqrt()  # the root keeps thin tails in sight
            blue = torch.tensor([*to_rgb(PALETTE[0]), 1.0]).expand(GROUND, GROUND, 4).clone()
            blue[..., 3] = 0.55 * shade  # clear where there is nothing, so that any ground shows through
            extent = (centre[0] - limit, centre[0] + limit, centre[1] - limit, centre[1] + limit)
            axes.imshow(blue.numpy(), origin="lower", extent=extent, interpolation="none")
        v = vectors(grid)
        norm = v.norm(dim=1, keepdim=True)
        arrows = v / norm.clamp(min=1e-12) * (norm / norm.max().clamp(min=1e-12)).sqrt()
        axes.quiver(
            *grid.T.numpy(), *arrows.T.numpy(), color=INK, angles="xy", scale_units="xy",
            scale=side / (2.2 * limit), width=0.005, headwidth=4, alpha=0.75,
        )  # fmt: skip
        if title in paths:
            ways = torch.stack(list(paths[title])).double()  # (steps, P, 2)
            for i in range(ways.shape[1]):
                colour = PALETTE[1 + i % (len(PALETTE) - 1)]
                axes.plot(*ways[:, i].T.numpy(), color=colour, lw=1.8)
                axes.plot(*ways[0, i].numpy(), "o", ms=6, mfc="white", mec=colour, mew=1.6)
                axes.plot(*ways[-1, i].numpy(), "o", ms=6, color=colour)
        axes.set(
            xlim=(centre[0] - limit, centre[0] + limit), ylim=(centre[1] - limit, centre[1] + limit),
            aspect="equal", xticks=(), yticks=(),
        )  # fmt: skip
        axes.set_title(title, fontsize=TEXT, color=INK)
        for spine in axes.spines.values():
            spine.set_color(RULE)
    return fig
