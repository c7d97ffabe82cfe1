"""The speckle image of a label map: what a B-mode scanner would make of its tissues.

Fully developed speckle is ``|h * (sqrt(backscatter) z)|`` with ``z`` complex circular Gaussian and ``h`` the point
spread function (Wagner et al. 1983, https://doi.org/10.1109/T-SU.1983.31404); then loss with depth and log
compression, in dB. Computed at the beam's own samples (depth, line), then scan-converted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional

from monai_bmaps.geometry import Beam, SectorBeam

ECHOGENICITY_DB: Mapping[str, Mapping[int, float]] = {
    "heart": {0: -32.0, 1: -40.0, 2: -26.0, 3: -39.0},
    "thyroid": {0: -33.0, 1: -24.0, 2: -50.0, 3: -50.0},
}
"""Mean backscatter of each label in dB below white, before loss with depth."""

_SAMPLES_PER_SIGMA = 2.5  # of the point spread function; dense enough for bilinear scan conversion
_AXIAL_SIGMA, _SECTOR_SIGMA, _LINEAR_SIGMA = 0.005, 0.022, 0.010  # of the depth; of the half width
_PSF_RADIUS = 10  # samples: 4 sigma
_CARRIER_PERIOD = 18.0  # samples
_SKIN_DEPTH = 0.012


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


def _psf_sigmas(beam: Beam, size: tuple[int, int]) -> tuple[float, float]:
    """Point spread function's sigma in depth, [0, 1], and across lines, [-1, 1]; at least 0.8 pixel."""
    if isinstance(beam, SectorBeam):
        extent = beam.radii[1] - beam.radii[0]
        half_width = 0.5 * (beam.radii[1] + beam.radii[0]) * math.radians(beam.half_angle_deg)
        return max(_AXIAL_SIGMA, 0.8 / extent), max(_SECTOR_SIGMA, 0.8 / half_width)
    top, bottom, left, right = beam.ends(size)
    return max(_AXIAL_SIGMA, 0.8 / (bottom - top)), max(_LINEAR_SIGMA, 1.6 / (right - left))


def _interfaces(tissue: Tensor, depth: Tensor) -> Tensor:
    """Where a line enters another tissue or meets the skin: (depth, lines), bool."""
    skin = torch.zeros_like(tissue, dtype=torch.bool)
    skin[int((depth < _SKIN_DEPTH).sum())] = True
    skin[1:] |= tissue[1:] != tissue[:-1]
    return skin


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
    return functional.conv2d(functional.conv2d(field[:, None], kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[
        :, 0
    ]


def _scan_convert(field: Tensor, beam: Beam, size: tuple[int, int]) -> Tensor:
    """Envelope at the pixels, (height, width), from the complex field at the samples, (2, depth, lines).

    Interpolating before the envelope keeps the field Gaussian, hence the speckle Rayleigh.
    """
    if isinstance(beam, SectorBeam):
        radius, angle = beam.polar(size)
        near, far = beam.radii
        depth, lateral = (radius - near) / (far - near), angle / math.radians(beam.half_angle_deg)
    else:
        top, bottom, left, right = beam.ends(size)
        rows = (torch.arange(size[0], dtype=torch.float64) - top) / (bottom - top)
        columns = 2 * (torch.arange(size[1], dtype=torch.float64) - left) / (right - left) - 1
        depth, lateral = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack((lateral, 2 * depth - 1), dim=-1)[None]
    pixels = functional.grid_sample(field[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    return torch.hypot(pixels[0], pixels[1])


def _check_labels(labels: Tensor) -> None:
    if labels.ndim != 2 or labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be (height, width) integers, got shape {tuple(labels.shape)}, {labels.dtype}; "
            "drop the batch and channel axes and use labels.long()"
        )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(
            f"{name} must be finite and in [{low:g}, {high:g}], got {value!r}; choose a value in that range"
        )
