"""What a voxel grid shows in a frame: nearest voxels for labels, trilinear interpolation for images.

A voxel fills half a spacing to each side of its centre, so that a volume of one slice is as thick as its spacing says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from SlicerBMapDiffusionLib.geometry.frames import Frame

Order: TypeAlias = Literal["nearest", "linear"]

# In voxels. A frame on the very boundary between voxels must not flicker between them with rounding errors.
_ROUNDING = 1e-6


def resampled(
    voxels: NDArray[Any], ijk_to_ras: NDArray[np.float64], frame: Frame, order: Order, outside: float = 0
) -> NDArray[Any]:
    """Voxels as a frame sees them.

    Args:
        voxels: (K, J, I), as ``slicer.util.arrayFromVolume`` gives them, or (K, J, I, channels).
        ijk_to_ras: (4, 4), from voxel centres (i, j, k) to RAS; left-handed, oblique or sheared are fine.
        frame: where to look.
        order: "nearest" keeps the type; "linear" gives float32.
        outside: the value where there is no voxel.

    Returns:
        (count, rows, columns) or (count, rows, columns, channels).

    Raises:
        ValueError: the matrix squeezes the volume into a plane.
    """
    if abs(np.linalg.det(ijk_to_ras[:3, :3])) < 1e-12:
        raise ValueError("the volume has no thickness: its IJK-to-RAS matrix cannot be inverted; set its spacing")
    shape = (frame.count, frame.rows, frame.columns, *voxels.shape[3:])
    result = np.full(shape, outside, dtype=voxels.dtype if order == "nearest" else np.float32)
    sample = _nearest if order == "nearest" else _linear
    for image, positions in zip(result, _positions(ijk_to_ras, frame), strict=True):
        inside = _inside(positions, voxels.shape)
        image[inside] = sample(voxels, positions[inside])
    return result


def _positions(ijk_to_ras: NDArray[np.float64], frame: Frame) -> Iterator[NDArray[np.float64]]:
    """(rows, columns, 3) voxel positions (i, j, k), frame by frame: a whole sweep's would fill the memory."""
    matrix = np.linalg.inv(ijk_to_ras) @ frame.ijk_to_ras
    columns = np.arange(frame.columns)[None, :, None] * matrix[:3, 0]
    rows = np.arange(frame.rows)[:, None, None] * matrix[:3, 1]
    for index in range(frame.count):
        yield columns + rows + (index * matrix[:3, 2] + matrix[:3, 3])


def _inside(positions: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    extent = np.array(shape[2::-1])
    return np.asarray(((positions >= -0.5 - _ROUNDING) & (positions <= extent - 0.5 + _ROUNDING)).all(axis=-1))


def _nearest(voxels: NDArray[Any], positions: NDArray[np.float64]) -> NDArray[Any]:
    last = np.array(voxels.shape[2::-1]) - 1
    i, j, k = np.clip(np.floor(positions + (0.5 + _ROUNDING)).astype(np.intp), 0, last).T
    return np.asarray(voxels[k, j, i])


def _linear(voxels: NDArray[Any], positions: NDArray[np.float64]) -> NDArray[np.float32]:
    last = np.array(voxels.shape[2::-1]) - 1
    positions = np.clip(positions, 0, last)
    low = np.floor(positions).astype(np.intp)
    share = positions - low
    total = np.zeros((len(positions), *voxels.shape[3:]))
    for corner in np.ndindex(2, 2, 2):
        i, j, k = np.minimum(low + corner, last).T
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        total += weight.reshape(-1, *(1,) * (voxels.ndim - 3)) * voxels[k, j, i]
    return total.astype(np.float32)
