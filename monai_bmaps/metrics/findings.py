"""What one family of measures found: numbers, figures and what to know about both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from monai_bmaps.metrics.measured import Measured


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
