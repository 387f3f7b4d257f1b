"""Still Life's pictures: one object on a floor before a wall, rendered by a small signed-distance ray marcher.

Every attribute of a picture is known, so what a text-to-image model does with a caption can be counted.
Rays are marched only inside the object's bounding sphere; floor and wall are planes and need no march.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": ("sphere", "cube", "cylinder", "cone", "torus"),
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink"),
    "size": ("small", "large"),
    "material": ("matte", "shiny"),
    "floor": ("red", "yellow", "green", "blue", "gray", "white"),
    "wall": ("white", "yellow", "green", "blue"),
}

# Pairs that training never shows, to see whether the model composes what it knows apart.
HELD_OUT: tuple[tuple[str, str], ...] = (
    ("sphere", "pink"),
    ("cube", "cyan"),
    ("cylinder", "orange"),
    ("cone", "purple"),
    ("torus", "yellow"),
)

# sRGB. The object's colours are saturated, the floor's muted, the wall's pale: a red sphere shows on a red floor.
_OBJECT = (
    (0.86, 0.10, 0.10),
    (0.98, 0.50, 0.04),
    (0.98, 0.86, 0.10),
    (0.13, 0.62, 0.18),
    (0.15, 0.80, 0.85),
    (0.12, 0.25, 0.86),
    (0.50, 0.16, 0.74),
    (0.98, 0.47, 0.70),
)
_FLOOR = (
    (0.66, 0.30, 0.28),
    (0.74, 0.64, 0.30),
    (0.34, 0.54, 0.32),
    (0.30, 0.40, 0.66),
    (0.44, 0.44, 0.45),
    (0.88, 0.88, 0.88),
)
_WALL = ((0.95, 0.95, 0.95), (0.93, 0.87, 0.60), (0.66, 0.84, 0.66), (0.64, 0.77, 0.94))
_RADIUS = (0.66, 0.98)  # small, large
_MARCH_STEPS, _SHADOW_STEPS = 28, 18


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes. `labels` (B, 6) int64 indexes ATTRIBUTES in order; the rest, (B,) float32, is free."""

    labels: Tensor
    x: Tensor  # the object's place on the floor
    z: Tensor
    yaw: Tensor  # radians
    stretch: Tensor  # factor on the radius that the size gives
    camera_azimuth: Tensor
    camera_height: Tensor
    camera_distance: Tensor
    light_azimuth: Tensor
    light_elevation: Tensor
    light_power: Tensor
    wall_z: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> Scenes:
        """A sub-batch; `index` is a slice, a mask or a tensor of positions."""
        return Scenes(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def values(self, i: int) -> dict[str, str]:
        """The attributes of scene `i` in words."""
        return {name: ATTRIBUTES[name][int(self.labels[i, k])] for k, name in enumerate(ATTRIBUTES)}


def is_held_out(labels: Tensor) -> Tensor:
    """(B, 6) labels -> (B,) bool: does the scene show a (shape, colour) pair that training never shows?"""
    held = torch.zeros(len(ATTRIBUTES["shape"]), len(ATTRIBUTES["colour"]), dtype=torch.bool)
    for shape, colour in HELD_OUT:
        held[ATTRIBUTES["shape"].index(shape), ATTRIBUTES["colour"].index(colour)] = True
    return held[labels[:, 0], labels[:, 1]]


def sample_scenes(
    n: int, seed: int, fixed: dict[str, str] | None = None, held_out: bool | None = False
) -> Scenes:
    """Draw `n` scenes, attributes independent and uniform over the allowed combinations.

    fixed: attributes to hold, such as {"shape": "cone"}. held_out: False draws what training may show, True only
    the held-out pairs, None both. Raises ValueError for an unknown attribute or value, or where nothing is allowed.
    """
    if n < 1:
        raise ValueError(f"n is {n}; allowed: 1 or more")
    for name, value in (fixed or {}).items():
        if name not in ATTRIBUTES:
            raise ValueError(f"fixed names the attribute {name!r}; allowed: {', '.join(ATTRIBUTES)}")
        if value not in ATTRIBUTES[name]:
            raise ValueError(f"fixed[{name!r}] is {value!r}; allowed: {', '.join(ATTRIBUTES[name])}")
    rng = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        columns = [torch.randint(len(v), (count,), generator=rng) for v in ATTRIBUTES.values()]
        for name, value in (fixed or {}).items():
            k = list(ATTRIBUTES).index(name)
            columns[k] = torch.full_like(columns[k], ATTRIBUTES[name].index(value))
        return torch.stack(columns, 1)

    labels = draw(n)
    for _ in range(1000):
        bad = torch.zeros(n, dtype=torch.bool) if held_out is None else is_held_out(labels) != held_out
        if not bad.any():
            break
        labels[bad] = draw(int(bad.sum()))
    else:
        raise ValueError(f"fixed is {fixed}; allowed with held_out={held_out}: no such combination exists")

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=rng)

    side = torch.randint(2, (n,), generator=rng) * 2.0 - 1.0
    return Scenes(
        labels=labels,
        x=uniform(-0.35, 0.35),
        z=uniform(-0.25, 0.25),
        yaw=uniform(0, 2 * math.pi),
        stretch=uniform(0.95, 1.05),
        camera_azimuth=uniform(-0.2, 0.2),
        camera_height=uniform(2.1, 2.7),
        camera_distance=uniform(4.3, 4.7),
        light_azimuth=side * uniform(0.45, 1.0),
        light_elevation=uniform(0.8, 1.05),
        light_power=uniform(0.92, 1.08),
        wall_z=uniform(-2.2, -1.8),
    )


# --- signed distances of the unit shapes: inside the unit ball, resting on y = -floor_gap ---------------------------


def _length(*parts: Tensor) -> Tensor:
    return torch.sqrt(sum(p * p for p in parts))


def _sphere(x, y, z):
    return _length(x, y, z) - 0.92


def _cube(x, y, z, half=0.60, edge=0.09):
    qx, qy, qz = (a.abs() - half + edge for a in (x, y, z))
    outside = _length(qx.clamp(min=0), qy.clamp(min=0), qz.clamp(min=0))
    return outside + torch.maximum(qx, torch.maximum(qy, qz)).clamp(max=0) - edge


def _cylinder(x, y, z, radius=0.64, half=0.72, edge=0.06):
    qr, qy = _length(x, z) - radius + edge, y.abs() - half + edge
    return torch.maximum(qr, qy).clamp(max=0) + _length(qr.clamp(min=0), qy.clamp(min=0)) - edge


def _cone(x, y, z, radius=0.76, half=0.78, edge=0.04):
    """Base of `radius` at y = -half, apex at y = +half; exact outside, edges rounded."""
    radius, half = radius - edge, half - edge
    r = _length(x, z)
    # Nearest point on the slanted side, in the (r, y) plane.
    t = ((radius - r) * radius + (y + half) * 2 * half) / (radius**2 + 4 * half**2)
    t = t.clamp(0, 1)
    side = _length(r - radius * (1 - t), y + half - 2 * half * t)
    base = _length((r - radius).clamp(min=0), y + half)
    inside = (y > -half) & (r * 2 * half < radius * (half - y))
    return torch.where(inside, -torch.minimum(side, base), torch.minimum(side, base)) - edge


def _torus(x, y, z, ring=0.64, tube=0.32):
    return _length(_length(x, z) - ring, y) - tube


_SDF = {
    "sphere": (_sphere, 0.92),
    "cube": (_cube, 0.60),
    "cylinder": (_cylinder, 0.72),
    "cone": (_cone, 0.78),
    "torus": (_torus, 0.32),
}
_STRIP = {"cube": 0.30, "cylinder": 0.75, "cone": 0.75}  # how bright a shiny side mirrors the strip light
_BOUND = 1.03  # radius of a ball that holds every unit shape


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


def _unit(v: Tensor) -> Tensor:
    return v / v.norm(dim=0, keepdim=True)


def _linear(srgb: tuple) -> Tensor:
    return torch.tensor(srgb, dtype=torch.float32) ** 2.2


def _enter_ball(origin: Tensor, direction: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Distance (>= 0) at which each ray enters the ball about 0, and whether it meets the ball ahead at all."""
    b = _dot(origin, direction)
    disc = b * b - _dot(origin, origin) + radius * radius
    root = disc.clamp(min=0).sqrt()
    return (-b - root).clamp(min=0), (disc > 0) & (root - b > 0)


def _shadow(sdf, origin: Tensor, direction: Tensor, softness: float = 5.0) -> Tensor:
    """Share of the light that reaches each point, from the nearest miss along the way (Quilez's soft shadow)."""
    light = torch.ones(origin.shape[1])
    t, meets = _enter_ball(origin, direction, _BOUND * 1.3)
    near = meets.nonzero().squeeze(1)
    if len(near) == 0:
        return light
    o, d, t = origin[:, near], direction[:, near], t[near].clamp(min=0.03)
    share = torch.ones(len(near))
    for _ in range(_SHADOW_STEPS):
        h = sdf(*(o + t * d))
        share = torch.minimum(share, softness * h / t.clamp(min=0.25))
        t = t + h.clamp(0.03, 0.4)
    share = share.clamp(0, 1)
    light[near] = share * share * (3 - 2 * share)
    return light


def _render_shape(shape: str, s: Scenes, size: int, samples: int, regions: bool = False) -> Tensor:
    """Scenes that all show `shape` -> (B, 3, size, size) in [0, 1]: colours, or with `regions` those of `masks`."""
    sdf, rest = _SDF[shape]
    n, side = len(s), size * samples
    radius = torch.tensor(_RADIUS)[s.labels[:, 2]] * s.stretch
    shiny = s.labels[:, 3] == 1
    albedo, floor, wall = (
        _linear(table)[s.labels[:, k]].T for table, k in ((_OBJECT, 1), (_FLOOR, 4), (_WALL, 5))
    )

    # Camera: a pinhole that looks at a point above the floor. Vectors are (3, ...) with y up and z to the viewer.
    zero = torch.zeros(n)
    eye = torch.stack(
        [
            s.camera_azimuth.sin() * s.camera_distance,
            s.camera_height,
            s.camera_azimuth.cos() * s.camera_distance,
        ]
    )
    forward = _unit(torch.stack([zero, zero + 0.42, zero]) - eye)
    right = _unit(torch.stack([-forward[2], zero, forward[0]]))
    up = torch.linalg.cross(right, forward, dim=0)
    ticks = ((torch.arange(side) + 0.5) / side * 2 - 1) * 0.37
    v, u = torch.meshgrid(-ticks, ticks, indexing="ij")
    ray = _unit(
        (
            forward[:, :, None]
            + right[:, :, None] * u.reshape(1, 1, -1)
            + up[:, :, None] * v.reshape(1, 1, -1)
        ).reshape(3, -1)
    )
    owner = torch.arange(n).repeat_interleave(side * side)  # the scene of each ray

    light = torch.stack(
        [
            s.light_azimuth.sin() * s.light_elevation.cos(),
            s.light_elevation.sin(),
            s.light_azimuth.cos() * s.light_elevation.cos(),
        ]
    )
    centre = torch.stack([s.x, rest * radius, s.z])
    cos, sin = s.yaw.cos(), s.yaw.sin()

    def turn(vec: Tensor, scene: Tensor) -> Tensor:
        c, k = cos[scene], sin[scene]
        return torch.stack([c * vec[0] - k * vec[2], vec[1], k * vec[0] + c * vec[2]])

    def local(point: Tensor, scene: Tensor) -> Tensor:
        """World -> the unit shape's own frame."""
        return turn((point - centre[:, scene]) / radius[scene], scene)

    # Where floor and wall are met.
    origin = eye[:, owner]
    to_floor = torch.where(ray[1] < -1e-4, -origin[1] / ray[1], torch.inf)
    to_wall = torch.where(ray[2] < -1e-4, (s.wall_z[owner] - origin[2]) / ray[2], torch.inf)
    on_floor = to_floor < to_wall
    ground = origin + torch.minimum(to_floor, to_wall) * ray
    place = local(ground, owner)

    # The object, where its bounding ball is hit.
    start = local(origin, owner)
    heading = turn(ray, owner)
    t, meets = _enter_ball(start, heading, _BOUND)
    index = meets.nonzero().squeeze(1)
    o, d, t = start[:, index], heading[:, index], t[index]
    for _ in range(_MARCH_STEPS):
        t = t + sdf(*(o + t * d))
    hit = sdf(*(o + t * d)).abs() < 0.01
    index, o, d, t = index[hit], o[:, hit], d[:, hit], t[hit]
    if regions:
        shows = torch.stack([torch.zeros_like(on_floor), on_floor, ~on_floor])
        shows[:, index] = torch.tensor([[True], [False], [False]])
        return shows.float().reshape(3, n, size, samples, size, samples).mean((3, 5)).transpose(0, 1)

    # The colours of floor and wall.
    facing = torch.where(on_floor, light[1, owner], light[2, owner])
    contact = (sdf(*place) * radius[owner] / 0.45).clamp(0, 1)
    gap = (ground[2] - s.wall_z[owner]).where(on_floor, ground[1])
    corner = 0.80 + 0.20 * (gap / 0.7).clamp(0, 1)  # less light where wall and floor meet
    base = torch.where(on_floor, floor[:, owner], wall[:, owner])
    power = s.light_power[owner]
    lit = facing * _shadow(sdf, place, turn(light, torch.arange(n))[:, owner])
    colour = base * power * corner * (0.34 * (0.45 + 0.55 * contact) + 0.80 * lit)

    # The colours of the object.
    scene = owner[index]
    p = o + t * d
    e = 2e-3
    normal = _unit(
        sum(
            torch.tensor(k)[:, None] * sdf(p[0] + e * k[0], p[1] + e * k[1], p[2] + e * k[2])
            for k in ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
        )
    )
    sun = turn(light, torch.arange(n))[:, scene]
    diffuse = _dot(normal, sun).clamp(min=0)
    diffuse = diffuse * _shadow(sdf, p + 0.02 * normal, sun)
    sky = 0.5 + 0.5 * normal[1]
    height = ((p[1] + rest) / 0.5).clamp(0, 1)
    ambient = (0.20 + 0.22 * sky) * (0.55 + 0.45 * height)
    own = albedo[:, scene]
    bounce = floor[:, scene] * (0.16 * (1 - sky))
    matte = own * (ambient + bounce + 0.86 * diffuse)

    # Shiny: a mirror image of a softbox, of a tall strip light below it (for the sides that never face the softbox),
    # of the floor and of the bright room, more of it at grazing angles.
    away = d - 2 * _dot(d, normal) * normal
    grazing = (1 + _dot(d, normal)).clamp(0, 1) ** 3
    box = ((_dot(away, sun) - 0.80) / 0.10).clamp(0, 1)
    level = _length(away[0], away[2]) * _length(sun[0], sun[2])
    strip = (((away[0] * sun[0] + away[2] * sun[2]) / level.clamp(min=1e-3) - 0.93) / 0.04).clamp(0, 1)
    lamp = torch.maximum(1.5 * box, _STRIP.get(shape, 0) * strip * ((away[1] + 0.75) / 0.2).clamp(0, 1))
    room = torch.where(away[1] > 0, 0.55 + 0.75 * away[1].clamp(min=0), 0 * away[1])
    mirror = torch.where(away[1] > 0, wall[:, scene] * room, floor[:, scene] * 0.55)
    polished = own * (ambient + 0.62 * diffuse) + (0.14 + 0.50 * grazing) * mirror + lamp * (diffuse > 0)
    colour[:, index] = torch.where(shiny[scene], polished, matte) * s.light_power[scene]

    picture = colour.clamp(0, 1).reshape(3, n, size, samples, size, samples).mean((3, 5)).transpose(0, 1)
    return picture ** (1 / 2.2)


REGIONS = ("object", "floor", "wall")


@torch.no_grad()
def masks(scenes: Scenes, size: int = 64, samples: int = 2, chunk: int = 4) -> Tensor:
    """Scenes -> (B, 3, size, size), the share of each pixel that shows each of REGIONS; the three add up to 1.

    By the rays that `render` casts for the same size and samples. A shadow belongs to what it falls on.
    """
    return _by_shape(scenes, size, samples, chunk, regions=True)


@torch.no_grad()
def render(scenes: Scenes, size: int = 64, samples: int = 2, chunk: int = 4) -> Tensor:
    """Scenes -> pictures (B, 3, size, size) in [0, 1], `samples` x `samples` rays a pixel.

    The result does not depend on `chunk`, which only bounds the memory (about 3 MB a picture).
    """
    return _by_shape(scenes, size, samples, chunk)


def _by_shape(scenes: Scenes, size: int, samples: int, chunk: int, regions: bool = False) -> Tensor:
    for name, value in (("size", size), ("samples", samples), ("chunk", chunk)):
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed: 1 or more")
    pictures = torch.empty(len(scenes), 3, size, size)
    for k, shape in enumerate(ATTRIBUTES["shape"]):  # one distance function at a time
        members = (scenes.labels[:, 0] == k).nonzero().squeeze(1)
        for part in members.split(chunk):
            pictures[part] = _render_shape(shape, scenes[part], size, samples, regions)
    return pictures
