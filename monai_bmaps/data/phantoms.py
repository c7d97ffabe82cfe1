"""Procedural ultrasound: label maps of the apical heart and the thyroid, and the speckle they would give.

Anatomy lives in the beam's own coordinates, so one drawing serves every image shape. Fully developed speckle:
``|h * (sqrt(backscatter) z)|`` with ``z`` complex circular Gaussian, ``h`` the point spread function
(Wagner et al. 1983, https://doi.org/10.1109/T-SU.1983.31404); then loss with depth and log compression, dB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn import functional

from monai_bmaps.geometry import LinearBeam, SectorBeam

Beam: TypeAlias = LinearBeam | SectorBeam
View: TypeAlias = Literal["4CH", "2CH"]
Phase: TypeAlias = Literal["ED", "ES"]
_Pair: TypeAlias = tuple[float, float]

ECHOGENICITY_DB: Mapping[str, Mapping[int, float]] = {
    "heart": {0: -32.0, 1: -40.0, 2: -26.0, 3: -39.0},
    "thyroid": {0: -33.0, 1: -24.0, 2: -50.0, 3: -50.0},
}
"""Mean backscatter of each label in dB below white, before loss with depth."""

_SMALLEST_SIDE = 16
_SAMPLES_PER_SIGMA = 2.5  # of the point spread function; dense enough for bilinear scan conversion
_AXIAL_SIGMA, _SECTOR_SIGMA, _LINEAR_SIGMA = 0.005, 0.022, 0.010  # of the depth; of the half width
_PSF_RADIUS = 10  # samples: 4 sigma
_CARRIER_PERIOD = 18.0  # samples
_SKIN_DEPTH = 0.012
_LAST_DEPTH = 0.99  # of the far radius: the last image row, which cuts long atria flat


@dataclass(frozen=True)
class _Apical:
    """One apical view at one phase: means measured on public apical label maps.

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


_APICAL: Mapping[tuple[str, str], _Apical] = {
    ("4CH", "ED"): _Apical(
        (0.212, -0.023), (0.700, 0.072),
        ((0.210, 0.484, -1.297, 1.138), (0.243, 0.596, -1.066, 0.780)),
        ((0.398, -0.023, 0.271), (0.447, 0.180, 0.077)),
        0.145, 7.4, 0.055, (0.486, 0.26, -0.25),
    ),
    ("4CH", "ES"): _Apical(
        (0.227, -0.008), (0.663, 0.058),
        ((0.227, 0.500, -1.578, 1.338), (0.228, 0.394, -0.766, 0.592)),
        ((0.442, -0.067, 0.263), (0.459, 0.090, 0.135)),
        0.195, 3.9, 0.035, (0.655, 0.33, -0.20),
    ),
    ("2CH", "ED"): _Apical(
        (0.218, -0.062), (0.723, 0.053),
        ((0.218, 0.658, -1.790, 1.396), (0.228, 0.598, -1.009, 0.760)),
        ((0.474, -0.043, 0.239), (0.462, 0.154, 0.181)),
        0.146, 3.0, 0.080, (0.422, 0.225, 0.0),
    ),
    ("2CH", "ES"): _Apical(
        (0.231, -0.035), (0.660, 0.039),
        ((0.195, 0.511, -1.505, 1.196), (0.210, 0.350, -0.629, 0.484)),
        ((0.510, -0.060, 0.295), (0.480, 0.099, 0.169)),
        0.224, 4.4, 0.055, (0.634, 0.29, 0.0),
    ),
}  # fmt: skip


def heart_beam(shape: Sequence[int] = (128, 128), *, generator: Generator | None = None) -> SectorBeam:
    """A phased-array fan that fills the image, as in apical echocardiography padded to a square.

    Args:
        shape: (height, width) of the image in pixels, at least 16 each.
        generator: varies the half angle (37.3 degrees without it, up to about 41 with it), on the CPU.

    Returns:
        The fan, in pixels: centred, straight down, near radius 1 % of the far one.

    >>> round(heart_beam((256, 256)).radii[1])
    210
    """
    height, width = _checked_shape(shape)
    half_angle = 37.3 + 2.0 * abs(_draws(1, generator)[0])
    far = min(0.5 * (width - 1) / math.sin(math.radians(half_angle)), 0.98 * (height - 1))
    return SectorBeam(
        apex=((height - 1 - far) / 2, (width - 1) / 2), radii=(0.01 * far, far), half_angle_deg=half_angle
    )


def thyroid_beam(shape: Sequence[int] = (128, 128)) -> LinearBeam:
    """A linear array over the whole image of ``shape`` (height, width): rows are depth."""
    height, width = _checked_shape(shape)
    return LinearBeam(top=0, bottom=height - 1, left=0, right=width - 1)


def heart_labels(
    shape: Sequence[int] = (128, 128),
    *,
    view: View = "4CH",
    phase: Phase = "ED",
    generator: Generator | None = None,
    beam: SectorBeam | None = None,
) -> Tensor:
    """Left ventricle, myocardium and left atrium in an apical view.

    Args:
        shape: (height, width) in pixels, at least 16 each.
        view: "4CH" (four-chamber) or "2CH" (two-chamber).
        phase: "ED" (end diastole: large cavity, thin wall) or "ES" (end systole).
        generator: varies size, tilt, position, bend, wall and septum; None is the mean anatomy. On the CPU.
        beam: the fan that the anatomy lies in; None is ``heart_beam(shape)``.

    Returns:
        (height, width), int64: 0 background and outside the beam, 1 cavity, 2 myocardium, 3 left atrium.

    Raises:
        ValueError: the view or phase is unknown, the shape too small or the beam no sector.
    """
    size = _checked_shape(shape)
    if (view, phase) not in _APICAL:
        raise ValueError(
            f"view must be '4CH' or '2CH' and phase 'ED' or 'ES', got {view!r} and {phase!r}; pass one each"
        )
    fan = heart_beam(size) if beam is None else beam
    if not isinstance(fan, SectorBeam):
        raise ValueError(f"beam must be a SectorBeam, got {fan!r}; make one with heart_beam(shape)")
    radius, angle = _polar(fan, size)
    labels = _draw_apical(
        radius * torch.cos(angle), radius * torch.sin(angle), _APICAL[view, phase], _draws(12, generator)
    )
    return labels * fan.mask(size)


def thyroid_labels(shape: Sequence[int] = (128, 128), *, generator: Generator | None = None) -> Tensor:
    """Thyroid lobe beside the trachea, isthmus, carotid artery and jugular vein in a transverse view.

    Args:
        shape: (height, width) in pixels, at least 16 each; the anatomy stretches with it, as after a resize.
        generator: varies sizes and positions, mirrors half of the draws; None is the mean. On the CPU.

    Returns:
        (height, width), int64: 0 background, 1 thyroid gland, 2 carotid artery, 3 jugular vein.
    """
    height, width = _checked_shape(shape)
    z = _draws(9, generator)
    side = -1.0 if z[0] > 0 else 1.0
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height)[:, None] - 0.06 * z[1]
    x = side * (2 * (torch.arange(width, dtype=torch.float64) + 0.5) / width - 1)[None, :] - 0.08 * z[2]
    scale = 1 + 0.1 * z[3]
    trachea = _ellipse(x, y, (-0.46, 0.50), (0.34 * scale, 0.20 * scale))
    lobe = _ellipse(x, y, (0.0, 0.44), (0.27 + 0.03 * z[4], 0.19 + 0.02 * z[5]), tilt=20 + 8 * z[6])
    isthmus = torch.maximum(_ellipse(x, y, (-0.44, 0.50), (0.42 * scale, 0.265 * scale)), (y - 0.46) * 4)
    gland = torch.maximum(_smooth_minimum(lobe, isthmus, 0.25), -trachea)
    carotid = _ellipse(x, y, (0.43 + 0.03 * z[4], 0.52), (0.115 + 0.01 * z[7], 0.075))
    jugular = _ellipse(x, y, (0.64, 0.34 + 0.02 * z[8]), (0.17 + 0.02 * z[8], 0.055 + 0.015 * z[8]), tilt=12)
    labels = torch.where(gland < 0, 1, 0)
    return torch.where(jugular < 0, 3, torch.where(carotid < 0, 2, labels))


def speckle_image(
    labels: Tensor,
    beam: Beam,
    *,
    kind: str | Mapping[int, float] = "heart",
    attenuation_db: float = 30.0,
    tgc: float = 0.8,
    specular_db: float | None = -16.0,
    dynamic_range_db: float = 60.0,
    generator: Generator | None = None,
) -> Tensor:
    """The B-mode image of a label map: speckle, loss with depth, wall echoes, log compression.

    ``image = 1 + 20 log10(envelope) / dynamic_range_db``, clamped to [0, 1]. The point spread function is
    Gaussian and the same at every (depth, line), so in a fan it widens laterally in proportion to the radius.

    Args:
        labels: (height, width), integer.
        beam: where the sound goes, in pixels.
        kind: "heart", "thyroid", or label -> mean backscatter in dB below white.
        attenuation_db: two-way loss from depth 0 to depth 1, linear in depth, in [0, 1000].
        tgc: share of the loss that time gain compensation restores, in [0, 1].
        specular_db: peak level of an interface square to the beam and of the skin line; None leaves them out.
        dynamic_range_db: from black to white, in [1, 1000].
        generator: source of the scatterers, on the CPU; None is torch's global one.

    Returns:
        (height, width), float32, in [0, 1]; 0 outside the beam.

    Raises:
        ValueError: the labels are no integer map, one has no echogenicity, or a number is out of its range.
    """
    _check_labels(labels)
    _check_range("attenuation_db", attenuation_db, 0.0, 1000.0)
    _check_range("tgc", tgc, 0.0, 1.0)
    _check_range("dynamic_range_db", dynamic_range_db, 1.0, 1000.0)
    size = (labels.shape[0], labels.shape[1])
    tissue, depth = _at_lines(labels, beam)
    loss_db = (1 - tgc) * attenuation_db * depth[:, None]
    echoes_db = None
    if specular_db is not None:
        echoes_db = torch.where(_interfaces(tissue, depth), specular_db - loss_db, -math.inf)
    field = _blurred(_scatterers(_echogenicity(tissue, kind) - loss_db, echoes_db, generator))
    level_db = 20 * torch.log10(_scan_convert(field, beam, size).clamp_min(1e-30))
    return ((1 + level_db / dynamic_range_db).clamp(0.0, 1.0) * beam.mask(size)).float()


def _draw_apical(depth: Tensor, lateral: Tensor, mean: _Apical, z: Sequence[float]) -> Tensor:
    """Label map from (depth, lateral) in units of the fan's far radius; ``z`` are standard normal draws."""
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


def _long_axis(depth: Tensor, lateral: Tensor, mean: _Apical, z: Sequence[float]) -> tuple[Tensor, Tensor]:
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


def _walls(s: Tensor, n: Tensor, mean: _Apical, z: Sequence[float]) -> tuple[Tensor, Tensor]:
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


def _polar(beam: SectorBeam, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Radius in far radii, and angle from the centre line in radians, of each pixel's centre."""
    rows = torch.arange(size[0], dtype=torch.float64)[:, None] - beam.apex[0]
    columns = torch.arange(size[1], dtype=torch.float64)[None, :] - beam.apex[1]
    angle = torch.atan2(columns, rows) - math.radians(beam.steering_deg)
    return torch.hypot(rows, columns) / beam.radii[1], torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _ellipse(x: Tensor, y: Tensor, centre: _Pair, radii: _Pair, tilt: float = 0.0) -> Tensor:
    """Implicit ellipse in (x in [-1, 1], y in [0, 1]): -1 at its centre, 0 on it, positive outside."""
    # y counts twice: the image is 2 wide and 1 deep in these coordinates.
    dx, dy = x - centre[0], 2 * (y - centre[1])
    cosine, sine = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return torch.hypot((dx * cosine + dy * sine) / radii[0], (dy * cosine - dx * sine) / (2 * radii[1])) - 1


def _smooth_minimum(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two implicit shapes with a fillet where they meet."""
    return -width * torch.logaddexp(-a / width, -b / width)


def _psf_sigmas(beam: Beam, size: tuple[int, int]) -> _Pair:
    """Point spread function's sigma in depth, [0, 1], and across lines, [-1, 1]; at least 0.8 pixel."""
    if isinstance(beam, SectorBeam):
        extent = beam.radii[1] - beam.radii[0]
        half_width = 0.5 * (beam.radii[1] + beam.radii[0]) * math.radians(beam.half_angle_deg)
        return max(_AXIAL_SIGMA, 0.8 / extent), max(_SECTOR_SIGMA, 0.8 / half_width)
    top, bottom, left, right = beam.ends(size)
    return max(_AXIAL_SIGMA, 0.8 / (bottom - top)), max(_LINEAR_SIGMA, 1.6 / (right - left))


def _at_lines(labels: Tensor, beam: Beam) -> tuple[Tensor, Tensor]:
    """Nearest label at the beam's own samples, (depth samples, lines), and the samples' depths in [0, 1]."""
    axial, across = _psf_sigmas(beam, (labels.shape[0], labels.shape[1]))
    depth = torch.linspace(0.0, 1.0, 1 + math.ceil(_SAMPLES_PER_SIGMA / axial), dtype=torch.float64)
    lateral = torch.linspace(-1.0, 1.0, 1 + math.ceil(2 * _SAMPLES_PER_SIGMA / across), dtype=torch.float64)
    if isinstance(beam, SectorBeam):
        radius = beam.radii[0] + depth[:, None] * (beam.radii[1] - beam.radii[0])
        angle = torch.deg2rad(beam.steering_deg + lateral[None, :] * beam.half_angle_deg)
        rows, columns = beam.apex[0] + radius * torch.cos(angle), beam.apex[1] + radius * torch.sin(angle)
    else:
        top, bottom, left, right = beam.ends(labels.shape)
        rows = (top + depth * (bottom - top))[:, None]
        columns = (left + (lateral + 1) / 2 * (right - left))[None, :]
    row = rows.round().long().clamp(0, labels.shape[0] - 1)
    return labels.long()[row, columns.round().long().clamp(0, labels.shape[1] - 1)], depth


def _scatterers(level_db: Tensor, interfaces_db: Tensor | None, generator: Generator | None) -> Tensor:
    """Scatterer amplitudes (2: real and imaginary, depth, lines), padded for the point spread function.

    Args:
        level_db: mean backscatter, (depth, lines); the speckle gets this mean power.
        interfaces_db: peak of coherent echoes square to the beam, (depth, lines); -inf where there is none.
        generator: source of the draws.
    """
    amplitude = _padded(10 ** (level_db / 20)) / math.sqrt(2)
    field = amplitude * torch.randn((2, *amplitude.shape), generator=generator, dtype=torch.float64)
    if interfaces_db is not None:
        kernel = _kernel()
        echo = _padded(10 ** (interfaces_db / 20)) / (kernel.max() * kernel.sum())
        # The carrier's phase makes oblique walls cancel across the lines, as specular reflectors do.
        phase = (2 * math.pi / _CARRIER_PERIOD) * torch.arange(len(echo), dtype=torch.float64)[:, None]
        field += torch.stack((echo * torch.cos(phase), echo * torch.sin(phase)))
    return field


def _interfaces(tissue: Tensor, depth: Tensor) -> Tensor:
    """Where a line enters another tissue or meets the skin: (depth, lines), bool."""
    skin = torch.zeros_like(tissue, dtype=torch.bool)
    skin[int((depth < _SKIN_DEPTH).sum())] = True
    skin[1:] |= tissue[1:] != tissue[:-1]
    return skin


def _kernel() -> Tensor:
    """A factor of the point spread function: Gaussian, energy 1, so that speckle keeps its mean power."""
    offsets = torch.arange(-_PSF_RADIUS, _PSF_RADIUS + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / _SAMPLES_PER_SIGMA) ** 2)
    return kernel / kernel.square().sum().sqrt()


def _padded(field: Tensor) -> Tensor:
    """(depth, lines), continued on all sides by the point spread function's radius."""
    return functional.pad(field[None, None], (_PSF_RADIUS,) * 4, mode="replicate")[0, 0]


def _blurred(field: Tensor) -> Tensor:
    """Convolve (2, depth, lines) with the point spread function; the padding is used up."""
    kernel = _kernel()
    return functional.conv2d(
        functional.conv2d(field[:, None], kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1)
    )[:, 0]


def _scan_convert(field: Tensor, beam: Beam, size: tuple[int, int]) -> Tensor:
    """Envelope at the pixels, (height, width), from the complex field at the samples, (2, depth, lines).

    Interpolating before the envelope keeps the field Gaussian, hence the speckle Rayleigh.
    """
    if isinstance(beam, SectorBeam):
        radius, angle = _polar(beam, size)
        near = beam.radii[0] / beam.radii[1]
        depth, lateral = (radius - near) / (1 - near), angle / math.radians(beam.half_angle_deg)
    else:
        top, bottom, left, right = beam.ends(size)
        rows = (torch.arange(size[0], dtype=torch.float64) - top) / (bottom - top)
        columns = 2 * (torch.arange(size[1], dtype=torch.float64) - left) / (right - left) - 1
        depth, lateral = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack((lateral, 2 * depth - 1), dim=-1)[None]
    pixels = functional.grid_sample(
        field[None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[0]
    return torch.hypot(pixels[0], pixels[1])


def _draws(count: int, generator: Generator | None) -> list[float]:
    """Standard normal draws cut at +-1.8, so that no anatomy is monstrous; zeros without a generator."""
    if generator is None:
        return [0.0] * count
    drawn: list[float] = (
        torch.randn(count, generator=generator, dtype=torch.float64).clamp(-1.8, 1.8).tolist()
    )
    return drawn


def _checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) != 2 or any(not isinstance(side, int) or side < _SMALLEST_SIDE for side in shape):
        raise ValueError(
            f"shape must be (height, width) of at least {_SMALLEST_SIDE} pixels each, got {tuple(shape)}; "
            "draw larger and resize the result"
        )
    return shape[0], shape[1]


def _check_labels(labels: Tensor) -> None:
    if labels.ndim != 2 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be (height, width) integers, got shape {tuple(labels.shape)}, {labels.dtype}; "
            "drop the batch and channel axes and use labels.long()"
        )
    _checked_shape(labels.shape)


def _echogenicity(tissue: Tensor, kind: str | Mapping[int, float]) -> Tensor:
    """Mean backscatter in dB at each sample."""
    if isinstance(kind, str) and kind not in ECHOGENICITY_DB:
        raise ValueError(
            f"kind must be one of {sorted(ECHOGENICITY_DB)} or a mapping label -> dB, got {kind!r}; "
            "pass the dB of your own labels as a mapping"
        )
    table = ECHOGENICITY_DB[kind] if isinstance(kind, str) else kind
    present = set(tissue.flatten().tolist())
    if missing := sorted(present - set(table)):
        raise ValueError(
            f"labels {missing} have no echogenicity, which covers {sorted(table)}; "
            "pass kind={label: dB below white, ...} with an entry for every label"
        )
    level = torch.zeros(tissue.shape, dtype=torch.float64)
    for label in present:
        level[tissue == label] = table[label]
    return level


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(
            f"{name} must be finite and in [{low:g}, {high:g}], got {value!r}; choose a value in that range"
        )
