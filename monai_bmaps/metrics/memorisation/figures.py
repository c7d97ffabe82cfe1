"""Figures of memorisation: how distances are spread, and the synthetic images nearest to training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from monai_bmaps.metrics.findings import BLUE, ORANGE, new_figure
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.memorisation.detection import FEWEST, Threshold
from monai_bmaps.metrics.memorisation.nearness import Nearness
from monai_bmaps.metrics.memorisation.neighbours import Blurred, Copies, Distances

_GALLERY = 6  # images shown
_COLOURS: tuple[dict[str, Any], ...] = (
    {"cmap": "gray", "vmin": 0, "vmax": 1},
    {"cmap": "gray", "vmin": 0, "vmax": 1},
    {"cmap": "PuOr", "vmin": -0.5, "vmax": 0.5},
)


def draw_distances(near: Nearness, path: Path) -> None:
    """Cumulative shares of the distances to training, and of the ratios, of synthetic and of held-out real images."""
    figure = new_figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    pairs = (
        (left, near.synthetic, near.real, f"distance to the nearest training image\n({near.place})"),
        (
            right,
            near.ratio,
            near.ratio_real,
            "distance to the nearest training image\n/ to the nearest held-out one",
        ),
    )
    for axis, synthetic, real, label in pairs:
        for values, colour, name in ((real, BLUE, "held-out real"), (synthetic, ORANGE, "synthetic")):
            finite = values[values.isfinite()]
            if len(finite):
                axis.ecdf(finite.numpy(), color=colour, label=f"{name} ({len(finite)})")
        if int(real.isfinite().sum()) >= FEWEST:
            axis.axvline(
                Threshold.of(real[real.isfinite()]).distance, color="black", linestyle=":", label="flagged below"
            )
        axis.set(xlabel=label, ylabel="share of images", xlim=(0, None), ylim=(0, 1))
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path)


def draw_closest(synthetic: ImageSet, training: ImageSet, space: Distances, mirrored: bool, path: Path) -> None:
    """The synthetic images nearest to training, each above that training image and their difference."""
    nearest = space.synthetic_training.min(1)
    rows = nearest.values.argsort()[:_GALLERY].tolist()
    height, width = synthetic.size
    figure = new_figure(1.7 * len(rows) + 0.6, 5.1 * height / width + 0.9)
    axes = figure.subplots(3, len(rows), squeeze=False)
    for column, row in enumerate(rows):
        index = int(nearest.indices[row])
        drawn = synthetic.images[row, 0]
        known, inside, turned = _as_seen(synthetic, row, training, index, mirrored)
        difference = torch.where(inside, drawn - known, torch.nan)
        for axis, values, colours in zip(axes[:, column], (drawn, known, difference), _COLOURS, strict=True):
            shown = axis.imshow(values.numpy(), **colours)
            axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(f"{synthetic.names[row]}\ndistance {nearest.values[row]:.3f}", fontsize=7)
        axes[1, column].set_title(training.names[index] + (", mirrored" if turned else ""), fontsize=7)
    for axis, name in zip(axes[:, 0], ("synthetic", "nearest training", "difference"), strict=True):
        axis.set_ylabel(name)
    figure.colorbar(shown, ax=axes[2, :].tolist(), label="synthetic - training", shrink=0.9)
    figure.savefig(path)


def _as_seen(
    synthetic: ImageSet, row: int, training: ImageSet, index: int, mirrored: bool
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """The training image in its nearest pose, where both beams are, and whether it is mirrored."""
    drawn, known = synthetic.chosen([row]), training.chosen([index])
    pose = Copies(known, mirrored=mirrored).pose(Blurred.of(drawn), 0)
    pixels, inside = (
        functional.interpolate(pose(maps), synthetic.size)[0, 0] for maps in (known.images, known.field_of_view)
    )
    return pixels, (inside * drawn.field_of_view[0, 0]) > 0, pose.mirrored
