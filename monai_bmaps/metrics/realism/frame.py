"""One image of a set as the realism measures take it: plain arrays, with the beam where one can be known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_bmaps.geometry import Beam, SectorBeam, beam_from_depth, fit_beam
from monai_bmaps.metrics.images import ImageSet

Numbers: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

BLACK, WHITE = 0.5 / 255, 254.5 / 255
"""Grey levels below the one and above the other are clipped: an 8-bit file holds 0 and 255."""

_SQUARE = 0.01  # by how much the sides of a pixel may differ for a fan to stay one


@dataclass(frozen=True, eq=False)
class Frame:
    """An image and what is known about it.

    Args:
        image: ``(H, W)`` in [0, 1].
        labels: ``(H, W)`` integers; 0 is none.
        depth: ``(H, W)`` in [0, 1] along the beam.
        inside: ``(H, W)``: inside the beam.
        beam: in pixels.
        spacing: pixel size (row, column) in millimetres.
    """

    image: Numbers
    labels: NDArray[np.int64] | None = None
    depth: Numbers | None = None
    inside: Mask | None = None
    beam: Beam | None = None
    spacing: tuple[float, float] | None = None

    @property
    def beam_spacing(self) -> tuple[float, float] | None:
        """Millimetres a pixel along the beam and across it; ``None`` if unknown or a fan's pixels are not square."""
        if self.spacing is None or self.beam is None:
            return None
        row, column = self.spacing
        if isinstance(self.beam, SectorBeam) and abs(row - column) > _SQUARE * max(row, column):
            return None
        return self.spacing

    @property
    def length(self) -> float | None:
        """From depth 0 to depth 1, in pixels along the beam."""
        if self.beam is None:
            return None
        if isinstance(self.beam, SectorBeam):
            return self.beam.radii[1] - self.beam.radii[0]
        top, bottom, _, _ = self.beam.ends((self.image.shape[0], self.image.shape[1]))
        return bottom - top


def frames_of(images: ImageSet, *, labelled: bool = True) -> Iterator[Frame]:
    """The images of a set, one after another.

    What is not given is taken from what is: the field of view from the beam or the depth map, the depth map from the
    beam, the beam from the depth map (exactly) or from the field of view (fitted).

    Args:
        images: the set.
        labelled: whether to take its labels.
    """
    known: dict[bytes, Beam | None] = {}
    for index in range(len(images)):
        depth, inside, beam = (_at(images.depth, index), _at(images.inside, index), images.beams[index])
        if inside is None and beam is not None:
            inside = beam.mask(images.size).numpy()
        if inside is None and depth is not None:
            inside = depth > 0
        if beam is None and inside is not None:
            key = inside.tobytes() + (b"" if depth is None else depth.tobytes())
            beam = known[key] if key in known else known.setdefault(key, _read_beam(depth, inside))
        if depth is None and beam is not None:
            depth = beam.depth_map(images.size).numpy()
        yield Frame(
            image=checked_image(images.images[index, 0]),
            labels=_at(images.labels, index) if labelled else None,
            depth=None if depth is None else depth.astype(np.float64),
            inside=inside,
            beam=beam,
            spacing=images.spacing[index],
        )


def checked_image(image: Any) -> Numbers:
    """An image as float64.

    Args:
        image: ``(H, W)`` in [0, 1], a tensor or an array.

    Raises:
        ValueError: another number of axes, NaN or values beyond [0, 1].
    """
    values = np.asarray(image.detach().cpu().as_subclass(Tensor) if isinstance(image, Tensor) else image, np.float64)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"an image must be (height, width), got shape {values.shape}; give one image, one channel")
    if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
        raise ValueError(
            f"an image must lie in [0, 1] without NaN, got [{values.min():.4g}, {values.max():.4g}]; divide 8-bit "
            "images by 255"
        )
    return values


def _at(maps: Tensor | None, index: int) -> NDArray[Any] | None:
    return None if maps is None else np.asarray(maps[index].cpu())


def _read_beam(depth: NDArray[Any] | None, inside: Mask) -> Beam | None:
    """The beam of a depth map or else of a field of view; ``None`` where neither shows one."""
    try:
        return fit_beam(inside) if depth is None else beam_from_depth(depth, inside)
    except ValueError:
        return None
