"""Which array axis runs along depth, which across the beam, and which along the sweep.

An affine places an array in the body. Frames then have rows towards the back (posterior), columns towards the left
(or, in planes that hold the body's long axis, towards the feet) and sweeps towards the head: as an image file with
the probe at the top, and as viewers draw it. A file without a position has no opinion: a single frame's first index is
its column and its second its row, as in every image library; a volume is refused until told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_CLEAR = 0.8  # cosine: an axis further than 37 degrees from all three directions of the body is ambiguous
# towards the back, the left, the head, and the feet, in the affine's right-anterior-superior millimetres
_BACK, _LEFT, _HEAD, _FEET = (np.array(v, np.float64) for v in ((0, -1, 0), (-1, 0, 0), (0, 0, 1), (0, 0, -1)))


@dataclass(frozen=True)
class Orientation:
    """What the user says about the axes of stored arrays.

    Args:
        use_affine: whether the file's position in the body counts; without it the stored order does.
        depth: array axis along depth, ``"i"``, ``"j"`` or ``"k"`` for the first, second and third, and ``"+"`` or
            ``"-"`` for the way in which its index grows deeper: ``"j+"``. ``None``: from the affine.
        sweep: array axis across the slices of a volume, ``"i"``, ``"j"`` or ``"k"``. ``None``: from the affine.

    Raises:
        ValueError: an axis that is none of these, or one axis for both.
    """

    use_affine: bool = True
    depth: str | None = None
    sweep: str | None = None

    def __post_init__(self) -> None:
        if self.depth is not None and not re.fullmatch(r"[ijk][+-]", self.depth):
            raise ValueError(f"the depth axis must be i, j or k followed by + or -, got {self.depth!r}; give e.g. j+")
        if self.sweep is not None and self.sweep not in ("i", "j", "k"):
            raise ValueError(f"the sweep axis must be i, j or k, got {self.sweep!r}; give one")
        if self.depth and self.sweep and self.depth[0] == self.sweep:
            raise ValueError(f"depth and sweep cannot both be axis {self.sweep}; give two axes")


AS_PLACED = Orientation()
"""The affine alone decides."""


@dataclass(frozen=True)
class Layout:
    """Array axes of rows, columns and stack, and whether rows and columns run backwards."""

    row: int
    column: int
    stack: int
    flip_row: bool
    flip_column: bool

    def frame(self, plane: Array) -> Array:
        """A plane of the stack, its axes in stored order, as (height, width)."""
        frame = plane if self.row < self.column else plane.T
        return frame[:: -1 if self.flip_row else 1, :: -1 if self.flip_column else 1]


def frame_layout(affine: Array | None, orientation: Orientation, stack: int = 2) -> Layout:
    """Layout of a single frame, or of a sequence of frames.

    Args:
        affine: (4, 4), from array indices to right-anterior-superior millimetres; ``None`` where the file has none.
        orientation: the user's word, which counts first.
        stack: axis along which the frames follow one another.

    Raises:
        ValueError: the affine does not say which way is deep.
    """
    if orientation.depth is not None:
        return _told(orientation.depth, stack)
    column, row = (axis for axis in range(3) if axis != stack)
    if affine is None or not orientation.use_affine:
        return Layout(row, column, stack, flip_row=False, flip_column=False)
    directions = _directions(affine)
    row, flip_row = _axis(directions, _BACK, (column, row), "depth (to the back)", "--depth-axis j+")
    column = 3 - stack - row
    return Layout(row, column, stack, flip_row, _backwards(directions[:, column]))


def volume_layout(affine: Array | None, orientation: Orientation) -> Layout:
    """Layout of a volume that was swept along the body: depth to the back, slices across the long axis.

    Args:
        affine: as for :func:`frame_layout`.
        orientation: the user's word, which counts first.

    Raises:
        ValueError: the affine does not say which way is deep, or along which axis the probe was moved.
    """
    sweep = None if orientation.sweep is None else "ijk".index(orientation.sweep)
    if orientation.depth is not None and sweep is not None:
        return _told(orientation.depth, sweep)
    if affine is None or not orientation.use_affine:
        raise ValueError(
            "nothing says which axis of the volume is depth and which the sweep; give both, for example "
            "--depth-axis j+ --sweep-axis k"
        )
    directions = _directions(affine)
    if sweep is None:
        free = tuple(a for a in range(3) if orientation.depth is None or "ijk"[a] != orientation.depth[0])
        sweep, _ = _axis(directions, _HEAD, free, "the sweep (to the head)", "--sweep-axis k")
    if orientation.depth is not None:
        return _told(orientation.depth, sweep)
    plane = tuple(a for a in range(3) if a != sweep)
    row, flip_row = _axis(directions, _BACK, plane, "depth (to the back)", "--depth-axis j+")
    column = next(a for a in plane if a != row)
    return Layout(row, column, sweep, flip_row, _backwards(directions[:, column]))


def _told(depth: str, stack: int) -> Layout:
    """Only depth's direction is known: columns and slices stay in stored order."""
    row = "ijk".index(depth[0])
    if row == stack:
        raise ValueError(f"axis {depth[0]} is along the stack of frames and cannot be depth; choose another")
    return Layout(row, 3 - row - stack, stack, depth[1] == "-", False)


def _directions(affine: Array) -> Array:
    """Unit vectors of the three array axes, as columns."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        raise ValueError("the affine in the file is broken (an axis of length 0, or no number); repair its header")
    return np.asarray(affine[:3, :3] / lengths)


def _axis(directions: Array, towards: Array, among: tuple[int, ...], meaning: str, remedy: str) -> tuple[int, bool]:
    """The array axis along a direction of the body, and whether its index runs against it."""
    cosines = towards @ directions[:, among]
    best = int(np.abs(cosines).argmax())
    if abs(cosines[best]) < _CLEAR:
        raise ValueError(
            f"the affine in the file does not show which axis is {meaning}: the nearest is off by "
            f"{np.degrees(np.arccos(abs(cosines[best]))):.0f} degrees; look at the file and give {remedy}, or the like"
        )
    return among[best], bool(cosines[best] < 0)


def _backwards(direction: Array) -> bool:
    """Whether columns must be turned to run to the left, or in a lengthwise plane to the feet."""
    crosswise = abs(direction[0]) >= abs(direction[2])
    return bool((_LEFT if crosswise else _FEET) @ direction < 0)
