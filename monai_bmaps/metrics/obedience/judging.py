"""What a segmenter sees in images, and how well that agrees with the label maps they were drawn for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.segmentation import dice_per_structure

_SHIFTS = 8  # other label maps that each image is compared with, for the chance level


@dataclass(frozen=True, eq=False)
class Judged:
    """A set with what the segmenter saw in it.

    Args:
        images: with their label maps.
        labels: what was seen, ``(N, H, W)`` int64.
        dice: of both, ``(N, K)`` float64; NaN where the given label map lacks the structure.
    """

    images: ImageSet
    labels: torch.Tensor
    dice: torch.Tensor

    @classmethod
    def of(cls, images: ImageSet, labels: torch.Tensor) -> Judged:
        """Compare what was seen with the label maps."""
        return cls(images, labels, dice_per_structure(labels, images.known_labels, len(images.classes)))

    def chance(self) -> torch.Tensor:
        """Dice against label maps of other groups, ``(N,)``: what stereotyped anatomy gives away.

        NaN where there is no other group.
        """
        given, count, groups = self.images.known_labels, len(self.images), np.array(self.images.groups)
        found = []
        for shift in np.unique(np.linspace(1, count - 1, min(_SHIFTS, count - 1)).round().astype(int)):
            dice = dice_per_structure(self.labels, given.roll(int(shift), 0), len(self.images.classes)).nanmean(1)
            found.append(torch.where(torch.as_tensor(groups != np.roll(groups, shift)), dice, torch.nan))
        return torch.stack(found).nanmean(0)
