"""The images of a comparison: how many there are, which of them cannot be ultrasound, and samples of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.pairs import pairs_of
from monai_bmaps.pictures import Pixels, colour_labels, side_by_side, to_grey
from monai_bmaps.transforms import LabelToCondition


def measure_images(real: ImageSet, synthetic: ImageSet, training: ImageSet | None = None) -> Findings:
    """How many images there are, and which of them cannot be ultrasound; a figure of samples.

    Args:
        real: real images.
        synthetic: synthetic images.
        training: real images that the model was trained on, if they are known.
    """
    rows, notes = [], []
    for images in (real, synthetic, training):
        if images is not None:
            rows += _counted(images)
            notes += [f"{images.name}: {note}" for note in images.notes]
    pairs = pairs_of(real, synthetic) or [(row, row) for row in range(min(len(real), len(synthetic)))]
    return Findings("The images", rows, {"samples.png": partial(_draw_samples, pairs, real, synthetic)}, notes)


def _counted(images: ImageSet) -> list[Measured]:
    flat = images.images.flatten(1)
    constant = (flat.amax(1) == flat.amin(1)).tolist()
    counts = {images.name: len(images)}
    groups = float(len(set(images.groups)))
    repeated = float(len(images) - len(torch.unique(flat, dim=0)))
    rows = [
        Measured(f"{images.name}_groups", f"Patients, sweeps or exams, {images.name}", groups, None, counts),
        Measured(f"{images.name}_repeated", f"Images equal to another one, {images.name}", repeated, None, counts),
    ]
    if any(constant):
        named = ", ".join([name for name, blank in zip(images.names, constant, strict=True) if blank][:3])
        title = f"Images of one grey level ({named}), {images.name}; take them out"
        rows.append(Measured(f"{images.name}_constant", title, float(sum(constant)), None, counts))
    return rows


def _draw_samples(pairs: Sequence[tuple[int, int]], real: ImageSet, synthetic: ImageSet, path: Path) -> None:
    """Real frames above synthetic images of the same items, with their labels where they are known.

    Of the pairs (synthetic, real) of rows six are shown, spread evenly.
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
