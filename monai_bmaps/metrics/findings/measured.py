"""What an evaluation found: numbers with what it takes to read them, one by one and as the section of a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """A number, or why there is none.

    Args:
        key: short name for logs and JSON: ``max_pool_2``.
        name: what it is, for people.
        value: the number; ``None`` where it was left out.
        interval: 95 % interval, if one was estimated.
        counts: how many images of which set it compares: ``{"synthetic": 122, "real": 61}``.
        left_out: why there is no value, and what to do; of numbers without value only.

    Raises:
        ValueError: a value and a reason for its absence, or neither.
    """

    key: str
    name: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    left_out: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.left_out is None):
            raise ValueError(
                f"{self.key} must have either a value or a reason why it was left out, "
                f"got {self.value!r} and {self.left_out!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, without what is not known."""
        known = {
            "name": self.name,
            "value": self.value,
            "interval_95": None if self.interval is None else list(self.interval),
            "images": dict(self.counts),
            "left_out": self.left_out,
        }
        return {name: value for name, value in known.items() if value not in (None, {})}


@dataclass(frozen=True)
class Findings:
    """The part of a report that one family of measures fills.

    Args:
        title: heading of its section.
        rows: its numbers, the most telling first; their keys are unique within the family.
        figures: functions that draw a figure to a path, by the figure's file name: ``{"depth_profile.png": draw}``.
        notes: sentences a reader of the numbers needs.
    """

    title: str
    rows: list[Measured] = field(default_factory=list)
    figures: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def key_of(name: str) -> str:
    """A name for people as a key.

    >>> key_of("left-ventricle cavity")
    'left_ventricle_cavity'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
