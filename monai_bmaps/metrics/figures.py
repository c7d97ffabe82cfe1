"""Figures of a report: values with their floor, histograms, samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.pictures import Pixels, colour_labels, side_by_side, to_grey
from monai_bmaps.transforms import LabelToCondition


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
