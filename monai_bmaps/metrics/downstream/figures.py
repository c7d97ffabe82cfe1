"""The figure of a downstream experiment: Dice and Hausdorff-95 of every seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monai_bmaps.metrics.downstream.results import ARM_NAMES, CellResult, values_of
from monai_bmaps.metrics.findings import BLUE, GREEN, ORANGE, new_figure

_COLOURS = {"real": BLUE, "synthetic": ORANGE, "both": GREEN}


def draw_cells(results: Sequence[CellResult], path: Path) -> None:
    """Every seed as a point, the mean of a setting as a line."""
    settings = list(
        dict.fromkeys(result.setting for result in sorted(results, key=lambda r: (r.share, r.arm != "real")))
    )
    figure = new_figure(9, 3.6)
    for axis, measure, label in zip(
        figure.subplots(1, 2),
        ("dice", "hausdorff"),
        ("Dice (1 is agreement)", f"Hausdorff-95 ({results[0].unit}; 0 is agreement)"),
        strict=True,
    ):
        for place, setting in enumerate(settings):
            means = values_of(results, setting, measure).nanmean(2).nanmean(1).numpy()
            axis.plot(np.full(len(means), place), means, "o", color=_COLOURS[setting.arm], alpha=0.7)
            axis.hlines(means.mean(), place - 0.25, place + 0.25, color=_COLOURS[setting.arm], linewidth=2)
        ticks = [
            ARM_NAMES[arm].replace(" ", "\n", 1) + ("" if arm == "synthetic" else f"\n{share:.0%}")
            for arm, share in settings
        ]
        axis.set_xticks(range(len(settings)), ticks, fontsize=8)
        axis.set(ylabel=label, xlim=(-0.5, len(settings) - 0.5))
        axis.grid(axis="y", alpha=0.3)
    figure.savefig(path)
