"""Figures of a report: values with their floor, histograms, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_bmaps.metrics.findings import BLUE, ORANGE, Measured, new_figure
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.pictures import Pixels, colour_labels, side_by_side, to_grey
from monai_bmaps.transforms import LabelToCondition


def draw_values(panels: Mapping[str, Sequence[tuple[str, Measured, str]]], path: Path) -> None:
    """Values with their intervals, one panel above its own axis each.

    Args:
        panels: by the axis' label: (name, number, colour) from top to bottom.
        path: of the picture.
    """
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


def draw_histograms(panels: Mapping[str, Mapping[str, np.ndarray[Any, Any]]], path: Path) -> None:
    """Histograms of two groups of values, one panel each.

    Args:
        panels: by the axis' label: values by name.
        path: of the picture.
    """
    figure = new_figure(2.8 * len(panels), 2.6)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (label, groups) in zip(axes, panels.items(), strict=True):
        finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
        edges = np.histogram_bin_edges(np.concatenate([*finite.values()]), 20)
        for (name, values), colour, style in zip(finite.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
            if len(values) > 0:
                shares = np.histogram(values, edges)[0] / len(values)
                axis.stairs(shares, edges, color=colour, linestyle=style, linewidth=1.8, label=name)
        axis.set_xlabel(label.partition(" (")[0])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share of pairs")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path)


def draw_samples(pairs: Sequence[tuple[int, int]], real: ImageSet, synthetic: ImageSet, path: Path) -> None:
    """Real frames above synthetic images of the same items, with their labels where they are known.

    Args:
        pairs: rows (synthetic, real); six of them are shown, spread evenly.
        real: real frames.
        synthetic: synthetic images.
        path: of the picture.
    """
    shown = [pairs[index] for index in np.unique(np.linspace(0, len(pairs) - 1, 6).round().astype(int))]
    columns: list[list[Pixels]] = []
    for drawn, given in shown:
        labels = [] if (condition := _condition(synthetic, drawn)) is None else [colour_labels(condition)]
        columns.append([*labels, _grey(real, given), _grey(synthetic, drawn)])
    titles = ["labels", real.name, synthetic.name][-len(columns[0]) :]
    side_by_side(columns, titles, scale=1).save(path)


def _grey(images: ImageSet, row: int) -> Pixels:
    return to_grey(images.images[row, 0] * 2 - 1)


def _condition(images: ImageSet, row: int) -> torch.Tensor | None:
    if images.labels is None or images.inside is None:
        return None
    label, inside = images.labels[row][None], images.inside[row][None]
    count = len(images.classes) or int(images.labels.max())
    condition: torch.Tensor = LabelToCondition(count)(label, inside.long())
    return condition
