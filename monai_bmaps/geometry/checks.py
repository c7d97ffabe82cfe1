"""The numbers that geometry accepts, and how it refuses others: what was given, what is allowed, what to do.

A shape is (height, width) in pixels; a spacing is the distance between pixel centres, one or (row, column).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

Shape: TypeAlias = Sequence[int]
Spacing: TypeAlias = float | tuple[float, float]


def check_number(name: str, value: Any) -> float:
    """A finite number."""
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value!r}; give one")
    return number


def check_pair(name: str, value: Any) -> tuple[float, float]:
    """Two finite numbers."""
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    if len(values) != 2:
        raise ValueError(f"{name} must be two numbers, got {value!r}; give a pair")
    return check_number(name, values[0]), check_number(name, values[1])


def check_positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    if (number := check_number(name, value)) <= 0:
        raise ValueError(f"{name} must be above 0, got {number}; give a positive number")
    return number


def check_order(low: str, first: float, high: str, second: float) -> None:
    """Refuse ends in the wrong order, or equal."""
    if not first < second:
        raise ValueError(f"{low} must be less than {high}, got {first} and {second}; swap or widen them")


def check_shape(shape: Shape) -> tuple[int, int]:
    """Height and width."""
    if len(shape) != 2 or any(int(n) != n or n < 1 for n in shape):
        raise ValueError(f"shape must be (height, width), whole and above 0, got {tuple(shape)}; give these two")
    return int(shape[0]), int(shape[1])


def check_spacing(spacing: Spacing) -> tuple[float, float]:
    """Distance between rows and between columns."""
    row, column = check_pair("spacing", spacing if isinstance(spacing, Iterable) else (spacing, spacing))
    return check_positive("spacing", row), check_positive("spacing", column)
