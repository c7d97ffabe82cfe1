"""What grey values and label values are accepted, and how others are brought to them: only as the user says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_bmaps.data.prepare.frames import Grey

_LIKELY_GREY = 32  # a label map without a list of classes may count so far


def grey_of(values: NDArray[Any], path: Path, window: tuple[float, float] | None = None) -> Grey:
    """8-bit grey values; other ranges only through a window.

    Args:
        values: (height, width), any number.
        path: the file, for the error.
        window: values that become 0 and 255; what lies beyond is clipped.

    Raises:
        ValueError: values that are no numbers, or beyond [0, 255] without a window.
    """
    if values.dtype == np.uint8 and window is None:
        return np.ascontiguousarray(values)
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path} holds values that are no finite numbers; repair it")
    low, high = (0.0, 255.0) if window is None else window
    if window is None and (numbers.min() < -0.5 or numbers.max() > 255.5):
        span = f"{numbers.min():g} to {numbers.max():g}"
        raise ValueError(f"{path} holds values from {span}, not 0 to 255; say which to show: --window LOW HIGH")
    return ((numbers - low) * (255.0 / (high - low))).round().clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class LabelRule:
    """Which label values a file may hold, and what becomes of them. 0 is always background.

    Args:
        mapping: new value of each value found; values that are not in it are refused. ``None``: none changes.
        known: values that are accepted (before the mapping); ``None``: 1 to 32, or those of the mapping.
        threshold: values above it become 1, the others 0; for masks that JPEG has blurred.

    Raises:
        ValueError: a threshold together with a mapping, or values out of range.
    """

    mapping: Mapping[int, int] | None = None
    known: frozenset[int] | None = None
    threshold: float | None = field(default=None)

    def __post_init__(self) -> None:
        if self.threshold is not None and self.mapping is not None:
            raise ValueError("give a label threshold or a mapping, not both")
        if self.mapping is not None and not all(0 <= v <= 255 for v in self.mapping.values()):
            raise ValueError(f"labels must lie in 0..255, got the mapping {dict(self.mapping)}; use small numbers")

    def apply(self, values: NDArray[Any], path: Path) -> Grey:
        """The label map (height, width), uint8.

        Raises:
            ValueError: values that the rule does not know.
        """
        if self.threshold is not None:
            return (values > self.threshold).astype(np.uint8)
        found = np.unique(values)
        accepted = self.known or frozenset(self.mapping or range(1, _LIKELY_GREY + 1))
        unknown = [value for value in found.tolist() if value != 0 and value not in accepted]
        if unknown:
            shown = ", ".join([f"{value:g}" for value in unknown[:5]] + ["..."] * (len(unknown) > 5))
            raise ValueError(
                f"{path} holds label values {shown}; known are {_named(accepted)}; "
                "map them, for example --map 255=1, or binarise with --label-threshold 127"
            )
        if self.mapping is None:
            return np.ascontiguousarray(values, np.uint8)
        table = np.zeros(256 if found.size == 0 else max(256, int(found.max()) + 1), np.uint8)
        for value, target in self.mapping.items():
            if value < len(table):
                table[value] = target
        return table[np.asarray(values, np.int64)]


def _named(values: frozenset[int]) -> str:
    """``0..5`` for a run of numbers from 1, else all of them."""
    run = values == frozenset(range(1, len(values) + 1))
    return f"0..{len(values)}" if run else ", ".join(map(str, sorted(values | {0})))
