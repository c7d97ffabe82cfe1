"""Where the image lies in a frame, and how large its pixels are (DICOM PS3.3, C.8.5.5)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

from monai_bmaps.data.dicom.refusals import RefusalError, refusing

Box: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right), ends exclusive."""

_TISSUE, _FLOW = 1, 2  # RegionDataType
_TWO_DIMENSIONAL, _CENTIMETRES = 1, 3  # RegionSpatialFormat; PhysicalUnitsXDirection and ...YDirection
_OVER_TIME = {2, 3}  # RegionSpatialFormat: M-mode and spectral Doppler


def placed(header: Any, wanted: int | None, path: Path) -> tuple[Box | None, tuple[float, float] | None, str]:
    """Box to crop to, spacing, and what is missing."""
    with refusing(path, "its ultrasound regions cannot be read; export it again"):
        regions = list(header.get("SequenceOfUltrasoundRegions") or [])
        kinds = [(r.get("RegionSpatialFormat"), r.get("RegionDataType")) for r in regions]
        flat = [i for i, kind in enumerate(kinds) if kind == (_TWO_DIMENSIONAL, _TISSUE)]
        flat = flat or [i for i, kind in enumerate(kinds) if kind == (_TWO_DIMENSIONAL, _FLOW)]
        if wanted is not None and wanted not in flat:
            raise RefusalError(
                f"region {wanted} is no two-dimensional image; of {len(regions)} regions these are: {flat}"
            )
        if not flat and any(kind in _OVER_TIME for kind, _ in kinds):
            raise RefusalError("it shows M-mode or spectral Doppler only, no two-dimensional image; leave it out")
        if not flat:
            return None, None, "uncalibrated: the file marks no two-dimensional region"
        size = (int(header.Rows), int(header.Columns))
        boxes = {i: _box(regions[i], size) for i in flat}
        chosen = wanted if wanted is not None else max(flat, key=lambda i: _area(boxes[i]))
        if (box := boxes[chosen]) is None:
            # Viewers that shrink a frame often leave its regions as they were: their spacing is then wrong as well.
            return None, None, "uncalibrated: the file's region lies outside its frame, which was resized or cut"
        spacing = _spacing(regions[chosen])
        return box, spacing, "" if spacing else "uncalibrated: the file's region has no size in cm"


def _box(region: Any, size: tuple[int, int]) -> Box | None:
    """(top, left, bottom, right), ends exclusive, or None where the region is not inside the frame."""
    names = ("MinY0", "MinX0", "MaxY1", "MaxX1")
    ends = [region.get(f"RegionLocation{name}") for name in names]
    if any(end is None for end in ends):
        return None
    top, left, last_row, last_column = map(int, ends)
    # The last row and column count; several makers write the size instead, one too many.
    if top < 0 or left < 0 or last_row > size[0] or last_column > size[1]:
        return None
    bottom, right = min(last_row + 1, size[0]), min(last_column + 1, size[1])
    return (top, left, bottom, right) if top < bottom and left < right else None


def _area(box: Box | None) -> int:
    return 0 if box is None else (box[2] - box[0]) * (box[3] - box[1])


def _spacing(region: Any) -> tuple[float, float] | None:
    """(row, column) in mm."""
    if any(region.get(f"PhysicalUnits{axis}Direction") != _CENTIMETRES for axis in "XY"):
        return None
    row, column = (abs(float(region.get(f"PhysicalDelta{axis}") or 0.0)) * 10 for axis in "YX")
    return (row, column) if all(math.isfinite(x) and x > 0 for x in (row, column)) else None
