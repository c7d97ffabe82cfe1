"""Where an ultrasound image lies in the patient: rows, columns and a matrix from pixels to RAS, in mm.

I runs along the columns (lateral), J along the rows (away from the probe), K = I x J from frame to frame, always
right-handed. Index (0, 0, 0) is the CENTRE of the first pixel, and the probe's face is row 0: depth there is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Beyond these an image is a mistake in a table, not a plan: no model draws 4096 pixels, no scene holds 2**28.
LARGEST_SIDE = 4096
LARGEST_STACK = 2**28

# Cosine between axes that are still taken for perpendicular: 0.06 degrees, far above what files round away.
_SQUARE = 1e-3

# What files and the application's own matrices round away, and no one can see.
_ONE_PLACE_MM = 1e-3


@dataclass(frozen=True)
class FrameSize:
    """How large a frame is, wherever it lies.

    Args:
        rows: pixels along depth, 1 to 4096.
        columns: pixels across, 1 to 4096.
        row_mm: distance between rows in mm.
        column_mm: distance between columns in mm.
        count: frames in the stack.
        step_mm: distance between frames in mm; 1 for a single one.

    Raises:
        ValueError: a size or distance is not usable.
    """

    rows: int
    columns: int
    row_mm: float
    column_mm: float
    count: int = 1
    step_mm: float = 1.0

    def __post_init__(self) -> None:
        _check_counts(self.rows, self.columns, self.count)
        for name in ("row_mm", "column_mm", "step_mm"):
            value = float(getattr(self, name))
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be a distance above 0 mm, got {value}; give the spacing of the pixels")


@dataclass(frozen=True, eq=False)
class Frame:
    """One image plane, or a stack of parallel ones.

    Args:
        ijk_to_ras: (4, 4), pixel centres (column, row, frame) to RAS in mm; right-handed, axes perpendicular.
        rows: pixels along J.
        columns: pixels along I.
        count: frames along K.

    Raises:
        ValueError: the matrix is no right-handed grid, or the size is not usable.
    """

    ijk_to_ras: NDArray[np.float64]
    rows: int
    columns: int
    count: int = 1

    def __post_init__(self) -> None:
        _check_counts(self.rows, self.columns, self.count)
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.array_equal(matrix[3], (0, 0, 0, 1)):
            raise ValueError("ijk_to_ras must be a finite (4, 4) matrix that ends in 0 0 0 1; give that of a volume")
        if not square(matrix) or np.linalg.det(matrix[:3, :3]) <= 0:
            raise ValueError("the axes of a frame must be perpendicular and right-handed; use frame_from_axes")
        matrix.flags.writeable = False
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between rows, columns and frames."""
        column, row, step = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(row), float(column), float(step)

    @property
    def size(self) -> FrameSize:
        """The frame's size without its place."""
        row, column, step = self.spacing
        return FrameSize(self.rows, self.columns, row, column, self.count, step)

    @property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors in RAS, as rows: lateral, depth, from frame to frame."""
        columns = self.ijk_to_ras[:3, :3]
        return np.ascontiguousarray((columns / np.linalg.norm(columns, axis=0)).T)

    @property
    def centre_top(self) -> NDArray[np.float64]:
        """RAS of the middle of row 0, in the middle of the stack: the middle of the probe's face."""
        return self.ras((self.columns - 1) / 2, 0, (self.count - 1) / 2)

    @property
    def centre(self) -> NDArray[np.float64]:
        """RAS of the middle of the stack."""
        return self.ras((self.columns - 1) / 2, (self.rows - 1) / 2, (self.count - 1) / 2)

    def ras(self, column: ArrayLike, row: ArrayLike, frame: ArrayLike = 0.0) -> NDArray[np.float64]:
        """RAS of pixel positions: (..., 3) for arguments that broadcast to (...)."""
        ijk = np.stack(np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (column, row, frame))), axis=-1)
        return np.asarray(ijk @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3])

    def corners(self, index: float = 0.0) -> NDArray[np.float64]:
        """RAS of the outer corners of one frame's pixels, (4, 3): face left, face right, far right, far left."""
        right, bottom = self.columns - 0.5, self.rows - 0.5
        return self.ras((-0.5, right, right, -0.5), (-0.5, -0.5, bottom, bottom), index)

    def moved(self, frames: float) -> Frame:
        """The frame moved along K by this many steps."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] += frames * matrix[:3, 2]
        return replace(self, ijk_to_ras=matrix)

    def at_middle(self, point: ArrayLike) -> Frame:
        """The frame moved, not turned, until its middle lies at a point in RAS."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] += np.asarray(point, dtype=np.float64) - self.centre
        return replace(self, ijk_to_ras=matrix)

    def shows(self, point: ArrayLike) -> bool:
        """Whether a point in RAS, seen across the planes, lies within the outer edges of the image."""
        place = np.linalg.solve(self.ijk_to_ras, (*np.asarray(point, dtype=np.float64), 1.0))[:2]
        return bool((np.abs(place - self._last[:2] / 2) <= (self._last[:2] + 1) / 2).all())

    def coincides(self, other: Frame) -> bool:
        """Whether another frame has the same pixels, each within 0.001 mm of its own."""
        if not np.array_equal(self._last, other._last):
            return False
        far = [self._last * np.array(end) for end in np.ndindex(2, 2, 2)]
        return all(np.abs(self.ras(*end) - other.ras(*end)).max() < _ONE_PLACE_MM for end in far)

    @property
    def _last(self) -> NDArray[np.float64]:
        """The last index along columns, rows and frames."""
        return np.array((self.columns - 1, self.rows - 1, self.count - 1), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able mapping that :meth:`from_dict` reads back exactly."""
        size = {"rows": self.rows, "columns": self.columns, "count": self.count}
        return {"ijk_to_ras": self.ijk_to_ras.tolist()} | size

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Frame:
        """Read a frame back from its ``to_dict()``.

        Raises:
            ValueError: a key is missing or unknown, or the values make no frame.
        """
        if missing := {"ijk_to_ras", "rows", "columns"} - set(mapping):
            raise ValueError(f"a frame needs the keys {sorted(missing)}; add them")
        if unknown := set(mapping) - {"ijk_to_ras", "rows", "columns", "count"}:
            raise ValueError(f"a frame has no keys {sorted(unknown)}; remove them")
        matrix = np.array(mapping["ijk_to_ras"], dtype=np.float64)
        return cls(matrix, *(int(mapping.get(name, 1)) for name in ("rows", "columns", "count")))


def frame_from_axes(
    centre_top: ArrayLike,
    lateral: ArrayLike,
    depth: ArrayLike,
    rows: int,
    columns: int,
    spacing: Sequence[float],
    count: int = 1,
    step_mm: float = 1.0,
) -> Frame:
    """A frame whose face's middle, lateral and depth directions are known.

    Args:
        centre_top: RAS of the middle of row 0, in the middle of the stack.
        lateral: direction in RAS in which columns count; any length.
        depth: direction in RAS away from the probe; what is not perpendicular to ``lateral`` is dropped.
        rows: pixels along depth.
        columns: pixels across.
        spacing: distance in mm between rows and between columns.
        count: frames in the stack.
        step_mm: distance in mm between frames, along lateral x depth.

    Raises:
        ValueError: a direction has no length, or both are one line.
    """
    size = FrameSize(rows, columns, float(spacing[0]), float(spacing[1]), count, step_mm)
    across = _unit("lateral", lateral)
    along = _unit("depth", depth)
    rest = along - (along @ across) * across
    if np.linalg.norm(rest) < _SQUARE:
        raise ValueError("lateral and depth point along one line; give directions that span the image")
    along = rest / np.linalg.norm(rest)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack((across, along, np.cross(across, along)), axis=1)
    matrix[:3, :3] *= (size.column_mm, size.row_mm, size.step_mm)
    middle = ((columns - 1) / 2, 0, (count - 1) / 2)
    matrix[:3, 3] = np.asarray(centre_top, dtype=np.float64) - matrix[:3, :3] @ middle
    return Frame(matrix, rows, columns, count)


def square(matrix: NDArray[np.float64]) -> bool:
    """Whether the first three columns of this (4, 4) matrix have lengths and are perpendicular."""
    columns = matrix[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not (lengths > 0).all():
        return False
    cosines = (columns / lengths).T @ (columns / lengths) - np.eye(3)
    return bool(np.abs(cosines).max() < _SQUARE)


def _check_counts(rows: int, columns: int, count: int) -> None:
    for name, value in (("rows", rows), ("columns", columns), ("count", count)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number above 0, got {value!r}; give the frame's size in pixels")
    if max(rows, columns) > LARGEST_SIDE or rows * columns * count > LARGEST_STACK:
        raise ValueError(
            f"a stack of {count} frames of {rows} x {columns} pixels is too large: at most {LARGEST_SIDE} pixels "
            f"a side and {LARGEST_STACK} in all; choose a smaller frame or fewer of them"
        )


def _unit(name: str, direction: ArrayLike) -> NDArray[np.float64]:
    vector = np.asarray(direction, dtype=np.float64)
    length = np.linalg.norm(vector)
    if vector.shape != (3,) or not np.isfinite(length) or length == 0:
        raise ValueError(f"{name} must be a direction in RAS, three numbers not all 0, got {direction!r}")
    return np.asarray(vector / length)
