"""Which images are near copies of training images: nearer to one than all but a share of held-out images are.

How many new images would be flagged is known exactly, whatever the distance (after Dar et al. 2024,
https://arxiv.org/abs/2402.01054).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from monai_bmaps.metrics.images import ImageSet, preconditions
from monai_bmaps.metrics.memorisation.neighbours import Blurred, Copies

SHARE = 0.01
"""Share of new images that are flagged, where enough are held out to say so."""
FEWEST = 20
"""Held-out images below which the threshold means too little."""


@dataclass(frozen=True)
class Threshold:
    """The distance to training below which an image is flagged, and how many new images are.

    Args:
        distance: of the space it is for.
        expected: share of new images that lie below it, on average over held-out sets.
        rank: how many of the held-out images lie below it, about.
        held_out: how many these are.
    """

    distance: float
    expected: float
    rank: float
    held_out: int

    @classmethod
    def of(cls, nearest: torch.Tensor, share: float = SHARE) -> Threshold:
        """The quantile of held-out images' distances ``(H,)`` below which new images fall with probability ``share``.

        The k-th smallest of n has an average of k / (n + 1) below it. Where even the smallest has more than ``share``,
        it is taken, and ``expected`` says what follows.
        """
        values, count = np.sort(nearest.double().numpy()), len(nearest)
        rank = max(1.0, share * (count + 1))
        low = math.floor(rank)
        rest = rank - low
        distance = values[low - 1] + (rest * (values[low] - values[low - 1]) if rest > 0 else 0.0)
        return cls(float(distance), rank / (count + 1), rank, count)

    def flags(self, nearest: torch.Tensor) -> torch.Tensor:
        """Which images of these distances to training are flagged, bool."""
        return nearest < self.distance

    def null_range(self, count: int) -> tuple[float, float]:
        """Shares of ``count`` new images between which 95 % of outcomes lie: beta-binomial, frames independent."""
        a, b = self.rank, self.held_out + 1 - self.rank
        flagged = np.arange(count + 1)
        logs = [
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) + _log_beta(k + a, count - k + b)
            for k in flagged.tolist()
        ]
        below = np.cumsum(np.exp(np.array(logs) - _log_beta(a, b)))
        low, high = (min(int(np.searchsorted(below, quantile)), count) for quantile in (0.025, 0.975))
        return low / count, high / count


class CopyDetector:
    """Flags near copies of training images, for a generator that must not give any away.

    Args:
        training: the real images the model was trained on.
        held_out: real images of other patients, at least 20; they set the threshold.
        mirrored: whether mirror images count as copies, as where training flips images.
        share: share of new images that are to be flagged.

    Raises:
        ValueError: too few held-out images, or held-out patients among the training's.
    """

    def __init__(self, training: ImageSet, held_out: ImageSet, *, mirrored: bool = True, share: float = SHARE) -> None:
        if reason := unfit(held_out, training):
            raise ValueError(reason)
        self._training = Copies(training, mirrored=mirrored)
        self.threshold = Threshold.of(self.nearest(held_out)[0], share)

    def nearest(self, images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each image's distance to the nearest training image and which that is, both ``(N,)``."""
        nearest = self._training.distances(Blurred.of(images)).min(1)
        return nearest.values, nearest.indices

    def flags(self, images: ImageSet) -> torch.Tensor:
        """Return which images are flagged, ``(N,)`` bool."""
        return self.threshold.flags(self.nearest(images)[0])


def unfit(held_out: ImageSet, training: ImageSet) -> str | None:
    """Why held-out images cannot say what is near to training; ``None`` if they can."""
    return preconditions.too_few(FEWEST, held_out, training) or preconditions.shared_groups(held_out, training)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
