"""Does a model draw new images, or give back the ones it was trained on?

Copies are looked for as by Dar et al. 2024 (https://arxiv.org/abs/2402.01054): a synthetic image is flagged if it lies
nearer to a training image, moved and mirrored as training does, than all but 1 % of held-out real images. How many
new images would be flagged is known exactly, whatever the distance: the null of every figure here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from monai_bmaps.metrics.findings import Findings, Measured, mean_by_group
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.memorisation.detection import FEWEST, Threshold, unfit
from monai_bmaps.metrics.memorisation.figures import draw_closest, draw_distances
from monai_bmaps.metrics.memorisation.nearness import Nearness
from monai_bmaps.metrics.memorisation.neighbours import in_features, in_pixels

_TITLE = "Memorisation of training images"
_ROWS = {
    "flagged": "flagged share: nearer to a training image than 99 % of new real images are",
    "flagged_expected": "flagged share of as many new real images: average, and the range of 95 % of outcomes",
    "flagged_ratio": "share whose ratio is lower than that of 99 % of new real images",
    "ratio": "ratio of the distances to the nearest training and held-out image, geometric mean, synthetic",
    "ratio_real": "the same ratio of held-out real images",
}
_RATIOS = ("flagged_ratio", "ratio", "ratio_real")
_NOTES = [
    "A flagged image lies nearer to a training image (moved and mirrored as training does) than new real images do: "
    "worth a look in the gallery, not a proof of copying. Smooth or average images lie near everything, held-out "
    "images included; of those the ratio stays near that of real images, where that of a copy falls far below.",
    "Ratios leave out held-out frames of an image's own patient (of a synthetic image: the patient of its label map). "
    "Draw for label maps of held-out patients: those of training patients bring training anatomy with them.",
    "The range of outcomes takes frames as independent; several frames of one patient widen it.",
]


def measure_memorisation(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet,
    *,
    features: Mapping[str, torch.Tensor] | None = None,
    mirrored: bool = True,
) -> Findings:
    """Return the flagged share, and how much nearer training images lie than held-out ones, with their nulls.

    Args:
        real: held-out real images, of no patient of ``training``.
        synthetic: images to judge.
        training: the real images the model was trained on.
        features: of the images in the order of the sets, as :func:`in_features` takes them; ``None`` leaves that
            space out.
        mirrored: whether mirror images count as copies, as where training flips images.
    """
    counts = {"synthetic": len(synthetic), "real": len(real), "training": len(training)}
    if reason := unfit(real, training):
        return Findings(
            _TITLE, [Measured(f"{key}_pixel", name, counts=counts, left_out=reason) for key, name in _ROWS.items()]
        )
    spaces = [in_pixels(synthetic, real, training, mirrored=mirrored)]
    spaces += [in_features(features)] if features is not None else []
    rows: list[Measured] = []
    figures: dict[str, Callable[[Path], None]] = {}
    for space in spaces:
        near = Nearness.of(space, synthetic.groups, real.groups)
        rows += _rows(near, synthetic.groups, real.groups, counts)
        figures[f"memorisation_{space.space}.png"] = partial(draw_distances, near)
    figures["memorisation_closest.png"] = partial(draw_closest, synthetic, training, spaces[0], mirrored)
    return Findings(_TITLE, rows, figures, [*_NOTES, *_conditioning(synthetic, training)])


def _conditioning(synthetic: ImageSet, training: ImageSet) -> list[str]:
    """A warning where images were drawn for training label maps."""
    own = sum(group in set(training.groups) for group in synthetic.groups)
    if not own:
        return []
    return [
        f"{own} of {len(synthetic)} synthetic images were drawn for label maps of training patients: part of their "
        "nearness to training is anatomy that was asked for."
    ]


def _rows(near: Nearness, groups: Sequence[str], held_out: Sequence[str], counts: Mapping[str, int]) -> list[Measured]:
    def row(key: str, found: tuple[float, tuple[float, float] | None]) -> Measured:
        return Measured(f"{key}_{near.space}", f"{_ROWS[key]}; {near.place}", *found, counts)

    threshold = Threshold.of(near.real)
    rows = [
        row("flagged", mean_by_group(threshold.flags(near.synthetic).double(), groups)),
        row("flagged_expected", (threshold.expected, threshold.null_range(len(groups)))),
    ]
    there = [~ratios.isnan() for ratios in (near.ratio, near.ratio_real)]
    if int(there[1].sum()) < FEWEST or not bool(there[0].any()):
        reason = f"needs {FEWEST} held-out images with others of another patient; give frames of more patients"
        names = {key: f"{_ROWS[key]}; {near.place}" for key in _RATIOS}
        return rows + [Measured(f"{key}_{near.space}", names[key], counts=counts, left_out=reason) for key in _RATIOS]
    lower = Threshold.of(near.ratio_real[there[1]]).flags(near.ratio).double()
    return [
        *rows,
        row("flagged_ratio", mean_by_group(torch.where(there[0], lower, torch.nan), groups)),
        row("ratio", _geometric(near.ratio, groups)),
        row("ratio_real", _geometric(near.ratio_real, held_out)),
    ]


def _geometric(ratios: torch.Tensor, groups: Sequence[str]) -> tuple[float, tuple[float, float] | None]:
    mean, interval = mean_by_group(ratios.log(), groups)
    return math.exp(mean), None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))
