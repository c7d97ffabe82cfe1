"""The heart in an apical view, drawn in the coordinates of its fan.

The mean shapes were measured on the label maps of CAMUS (Leclerc et al., IEEE TMI 38(9), 2019,
https://doi.org/10.1109/TMI.2019.2900516): means only, no pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

_Pair: TypeAlias = tuple[float, float]

_LAST_DEPTH = 0.99  # of the far radius: the last image row, which cuts long atria flat


@dataclass(frozen=True)
class Apical:
    """One apical view at one phase: means measured on the label maps of CAMUS.

    Positions are (depth, lateral) in units of the beam's far radius; the rest is in units of the long axis L
    from valve (s = 0) to apex (s = 1). A wall's distance from the axis is ``polynomial(s) * sqrt(1 - s^2)``.
    """

    apex: _Pair
    base: _Pair
    cavity: tuple[Sequence[float], Sequence[float]]  # left (septal or inferior) wall, right wall
    outside: tuple[Sequence[float], Sequence[float]]  # of the myocardium, over s / (1 + apical wall)
    apical_wall: float
    valve_tilt_deg: float
    feet: float  # how far the myocardium reaches beyond the valve plane
    atrium: tuple[float, float, float]  # length, half width at its belly, sideways lean per length


APICAL: Mapping[tuple[str, str], Apical] = {
    ("4CH", "ED"): Apical(
        (0.212, -0.023), (0.700, 0.072),
        ((0.210, 0.484, -1.297, 1.138), (0.243, 0.596, -1.066, 0.780)),
        ((0.398, -0.023, 0.271), (0.447, 0.180, 0.077)),
        0.145, 7.4, 0.055, (0.486, 0.26, -0.25),
    ),
    ("4CH", "ES"): Apical(
        (0.227, -0.008), (0.663, 0.058),
        ((0.227, 0.500, -1.578, 1.338), (0.228, 0.394, -0.766, 0.592)),
        ((0.442, -0.067, 0.263), (0.459, 0.090, 0.135)),
        0.195, 3.9, 0.035, (0.655, 0.33, -0.20),
    ),
    ("2CH", "ED"): Apical(
        (0.218, -0.062), (0.723, 0.053),
        ((0.218, 0.658, -1.790, 1.396), (0.228, 0.598, -1.009, 0.760)),
        ((0.474, -0.043, 0.239), (0.462, 0.154, 0.181)),
        0.146, 3.0, 0.080, (0.422, 0.225, 0.0),
    ),
    ("2CH", "ES"): Apical(
        (0.231, -0.035), (0.660, 0.039),
        ((0.195, 0.511, -1.505, 1.196), (0.210, 0.350, -0.629, 0.484)),
        ((0.510, -0.060, 0.295), (0.480, 0.099, 0.169)),
        0.224, 4.4, 0.055, (0.634, 0.29, 0.0),
    ),
}  # fmt: skip


def draw_apical(depth: Tensor, lateral: Tensor, mean: Apical, z: Sequence[float]) -> Tensor:
    """The label map of a view.

    Args:
        depth: along the fan's middle line, of any shape, in units of its far radius.
        lateral: across it, to the right, likewise.
        mean: the view's mean shape.
        z: 12 standard normal draws that vary it.

    Returns:
        Shaped like ``depth``, int64: 0 background, 1 cavity, 2 myocardium, 3 left atrium; not cut to the fan.
    """
    s, n = _long_axis(depth, lateral, mean, z)
    inner, outer = _walls(s, n, mean, z)
    length, belly, lean = mean.atrium
    length, belly, lean = length * (1 + 0.25 * z[9]), belly * (1 + 0.1 * z[10]), lean + 0.1 * z[11]
    q = (-s / length).clamp(0.0, 1.0)
    # inner is constant below the valve plane, so the atrium starts exactly as wide as the valve.
    atrium_width = (inner + (belly - inner) * 4 * q * (1 - q)) * torch.sqrt(1 - q**4)
    atrium = (s <= 0) & ((n - lean * q * length).abs() < atrium_width) & (depth < _LAST_DEPTH)
    cavity = (s > 0) & (n.abs() < inner)
    across_wall = ((n.abs() - inner) / (outer - inner).clamp_min(1e-6)).clamp(0.0, 1.0)
    muscle = (n.abs() < outer) & (s > -mean.feet * across_wall) & (n.abs() >= inner)
    labels = torch.where(muscle, 2, torch.where(cavity, 1, 0))
    return torch.where(atrium & ~muscle, 3, labels)


def _long_axis(depth: Tensor, lateral: Tensor, mean: Apical, z: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Coordinates along (s: 0 valve, 1 apex) and across (n: right is positive) the ventricle, in L."""
    apex = (mean.apex[0] + 0.03 * z[0], mean.apex[1] + 0.04 * z[1])
    base_depth = apex[0] + (mean.base[0] - mean.apex[0]) * math.exp(0.13 * z[2])
    base = (min(base_depth, 0.86), mean.base[1] + 0.05 * z[3])
    length = math.hypot(apex[0] - base[0], apex[1] - base[1])
    down, across = (apex[0] - base[0]) / length, (apex[1] - base[1]) / length
    s = ((depth - base[0]) * down + (lateral - base[1]) * across) / length
    n = ((depth - base[0]) * across - (lateral - base[1]) * down) / length
    inside = s.clamp(0.0, 1.0)
    n = n - 0.10 * z[4] * inside * (1 - inside)
    # The tilt of the valve plane fades towards the apex.
    return s + n * math.tan(math.radians(mean.valve_tilt_deg + 5 * z[5])) * (1 - inside) ** 2, n


def _walls(s: Tensor, n: Tensor, mean: Apical, z: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Distance of the inner and outer wall from the axis, each on the side of the axis where ``n`` lies."""
    wall, widths = 1 + 0.15 * z[6], []
    for inside, outside in zip(mean.cavity, mean.outside, strict=True):
        inner = _profile(s, inside, 1.0)
        thickness = _profile(s, outside, 1 + mean.apical_wall * wall) - inner
        widths.append((inner * (1 + 0.10 * z[8]), inner * (1 + 0.10 * z[8]) + wall * thickness))
    (left, outer_left), (right, outer_right) = widths
    septal_bulge = 0.2 * z[7] * torch.exp(-(((s.clamp_min(0.0) - 0.35) / 0.18) ** 2))
    left = (left * (1 - septal_bulge)).minimum(outer_left - 0.05)
    return torch.where(n < 0, left, right), torch.where(n < 0, outer_left, outer_right)


def _profile(s: Tensor, polynomial: Sequence[float], end: float) -> Tensor:
    """Distance of a wall from the long axis: 0 from ``s = end`` on, constant below the valve plane."""
    t = (s / end).clamp(0.0, 1.0)
    height = torch.zeros_like(t)
    for coefficient in reversed(polynomial):
        height = height * t + coefficient
    return height * torch.sqrt(1 - t * t)
