"""Figures of distances between distributions: values with their intervals beside their floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from monai_bmaps.metrics.distributions.features import POOLS
from monai_bmaps.metrics.findings import BLUE, GREY, Measured, new_figure


def draw_beside_floors(rows: list[Measured], measure: str, label: str, path: Path) -> None:
    """The value beside its floors, one panel a max-pool.

    Args:
        rows: of a measure, with its floors.
        measure: what its keys begin with: ``""`` or ``"kernel_"``.
        label: its name, for the axes.
        path: of the picture.
    """
    known = {row.key: row for row in rows}
    places = {
        "synthetic\nagainst real": ("", BLUE),
        "floor:\nreal against real": ("floor_", GREY),
        "floor of as few\nas synthetic": ("floor_same_count_", GREY),
    }
    panels = {}
    for index, pool in enumerate(POOLS, 1):
        keys = {name: (f"{prefix}{measure}max_pool_{index}", colour) for name, (prefix, colour) in places.items()}
        entries = [(name, known[key], colour) for name, (key, colour) in keys.items() if key in known]
        panels[f"{label},\n{POOLS[pool]}"] = entries
    _draw_values(panels, path)


def _draw_values(panels: Mapping[str, Sequence[tuple[str, Measured, str]]], path: Path) -> None:
    """Values with their intervals, one panel above its own axis each; by its label (name, number, colour)."""
    figure = new_figure(7.2, 0.9 + 0.55 * max(map(len, panels.values())))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, entries) in zip(axes, panels.items(), strict=True):
        for place, (_, row, colour) in enumerate(entries):
            if row.value is not None:
                low, high = row.interval or (row.value, row.value)
                axis.plot([low, high], [place, place], color=colour, linewidth=2)
                axis.plot(row.value, place, "o", color=colour)
        axis.set_yticks(range(len(entries)), [name for name, _, _ in entries])
        axis.set_ylim(len(entries) - 0.5, -0.5)
        axis.set_xlabel(label)
        axis.set_xlim(left=min(0.0, axis.get_xlim()[0]))
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelleft=axis is axes[0])
    figure.savefig(path)
