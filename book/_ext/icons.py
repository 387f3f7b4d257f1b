"""The frame's icons as lines in the page: no font and no script draws them.

The theme writes `<i class="fa-solid fa-bars"></i>`; each becomes an SVG drawn for this site on a grid of 24.
"""

from __future__ import annotations

import re

# Paths are stroked; a name that is not here fails the build, since the reader would see nothing.
PATHS = {
    "bars": "M4 6.5h16M4 12h16M4 17.5h16",
    "list": "M9 6.5h11M9 12h11M9 17.5h11M4.5 6.5h.01M4.5 12h.01M4.5 17.5h.01",
    "outdent": "M9 6.5h11M9 12h11M9 17.5h11M4.5 6.5h.01M4.5 12h.01M4.5 17.5h.01",
    "magnifying-glass": "M10.5 4a6.5 6.5 0 1 1 0 13a6.5 6.5 0 0 1 0-13M15.3 15.3L20.5 20.5",
    "sun": "M12 8a4 4 0 1 1 0 8a4 4 0 0 1 0-8M12 2.5v2.2M12 19.3v2.2M2.5 12h2.2M19.3 12h2.2M5.3 5.3l1.5 1.5"
    "M17.2 17.2l1.5 1.5M18.7 5.3l-1.5 1.5M6.8 17.2l-1.5 1.5",
    "moon": "M19.8 14.5A8.3 8.3 0 0 1 9.5 4.2a8.3 8.3 0 1 0 10.3 10.3z",
    "circle-half-stroke": "M12 3.8a8.2 8.2 0 1 1 0 16.4a8.2 8.2 0 0 1 0-16.4zM12 3.8v16.4M12 8l5.6-2M12 12h8"
    "M12 16l5.6 2",
    "rocket": "M12 3.2c3 2.3 4.2 5.4 4.2 8.6l-1.7 4.7h-5l-1.7-4.7c0-3.2 1.2-6.3 4.2-8.6zM12 9.3v.01M7.8 11.8"
    "L4.8 15v4l4.3-2.6M16.2 11.8l3 3.2v4l-4.3-2.6M12 18.8v2",
    "download": "M12 4v10.5M7.3 10.2L12 14.9l4.7-4.7M4.5 19.5h15",
    "github": "M7 4.2a2 2 0 1 1 0 4a2 2 0 0 1 0-4zM17 4.2a2 2 0 1 1 0 4a2 2 0 0 1 0-4zM7 15.8a2 2 0 1 1 0 4a2 2 0 "
    "0 1 0-4zM7 8.2v7.6M17 8.2c0 4.6-10 2.6-10 7.6",
    "lightbulb": "M12 3.3a6.3 6.3 0 0 1 3.6 11.4v2.4H8.4v-2.4A6.3 6.3 0 0 1 12 3.3zM9.3 20.3h5.4",
    "file": "M6.5 3.5h7.5l4 4v13H6.5zM14 3.5v4h4",
    "file-pdf": "M6.5 3.5h7.5l4 4v13H6.5zM14 3.5v4h4M9.5 12.5h5.5M9.5 16h5.5",
    "file-code": "M6.5 3.5h7.5l4 4v13H6.5zM14 3.5v4h4M10.8 11.5l-2 2.3l2 2.3M13.6 11.5l2 2.3l-2 2.3",
    "angle-left": "M14.5 5.5L8 12l6.5 6.5",
    "angle-right": "M9.5 5.5L16 12l-6.5 6.5",
    "chevron-down": "M5.5 9L12 15.5L18.5 9",
    "chevron-right": "M9.5 5.5L16 12l-6.5 6.5",
    "arrow-up": "M12 20V4.5M5.8 10.5L12 4.3l6.2 6.2",
    "xmark": "M5.5 5.5l13 13M18.5 5.5l-13 13",
    "copy": "M9 9h10.5v11.5H9zM15 9V3.5H4.5V15H9",
    "check": "M4.5 12.8l5 5L19.5 6.5",
    "print": "M7 8.5V3.5h10v5M7 17H4v-8.5h16V17h-3M7 14h10v6.5H7z",
}
_ICON = re.compile(
    r'<(i|span) class="((?:[\w-]+ )*?)(?:fa-(?:solid|regular|brands)|fa[srb]) fa-([\w-]+)([^"]*)"([^>]*)></\1>'
)


def svg(name: str, classes: str = "", rest: str = "") -> str:
    """One icon. KeyError with the known names where it is not drawn."""
    if name not in PATHS:
        raise KeyError(f"icon is {name!r}; allowed: {', '.join(sorted(PATHS))}")
    classes = " ".join(["dt-icon", *(c for c in classes.split() if not c.startswith("fa-"))])
    return (
        f'<svg class="{classes}" viewBox="0 0 24 24" aria-hidden="true"{rest}><path d="{PATHS[name]}"/></svg>'
    )


def drawn(html: str) -> str:
    """The page with the theme's icons drawn in it."""

    def draw(found: re.Match) -> str:
        rest = re.sub(r'\s*\btitle="[^"]*"', "", found[5]).rstrip()
        return svg(found[3], f"{found[2]} {found[4]}", rest)

    return _ICON.sub(draw, html)
