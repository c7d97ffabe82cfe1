"""Frechet distances of the study's images to real frames, at the same number of images, with floors and intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monai_bmaps.metrics import ImageSet, InceptionStem, stem_features
from monai_bmaps.metrics.comparison import Store, digest_of
from monai_bmaps.metrics.distributions import Features, distances, resampled_distances
from monai_bmaps.metrics.findings import bootstrap_picks

RESAMPLINGS, SUBSETS = 200, 20


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures images against real frames of the same items.

    Args:
        real: frames of held-out patients.
        stem: the Inception's first layers.
        store: keeps features.
    """

    real: ImageSet
    stem: InceptionStem
    store: Store

    def features(self, images: torch.Tensor) -> Features:
        """Of images ``(N, 1, H, W)`` in [0, 1], kept."""
        key = digest_of(tuple(images.shape), images.contiguous().numpy().tobytes())
        return self.store.features(key, lambda: stem_features(images, self.stem))

    def distances(self, images: torch.Tensor, real: torch.Tensor | None = None) -> dict[str, float]:
        """Distances to the real frames, or to others, by ``max_pool_1`` and ``max_pool_2``."""
        found = distances(self.features(images), self.features(self.real.images if real is None else real))
        return {"max_pool_1": found[64], "max_pool_2": found[192]}

    def resampled(self, images: torch.Tensor) -> np.ndarray[Any, Any]:
        """Distances at the first max-pool of bootstrap samples; the n-th ones of two image sets take the same items."""
        first, real = ({64: self.features(each)[64]} for each in (images, self.real.images))
        return resampled_distances(first, real, bootstrap_picks(self.real.groups, self.real.groups, RESAMPLINGS))[64]

    def floors(self, training: ImageSet) -> dict[str, Any]:
        """Distances of training frames to the real ones: of all, and of as many as there are real ones.

        The latter over random subsets, mean and range.
        """
        every, real = self.features(training.images), self.features(self.real.images)
        count = min(len(self.real), len(training))
        generator = torch.Generator().manual_seed(0)
        rows = [torch.randperm(len(training), generator=generator)[:count] for _ in range(SUBSETS)]
        found = [distances({pool: every[pool][own] for pool in every}, real) for own in rows]
        whole = distances(every, real)
        return {
            name: {
                "training_frames": len(training),
                "of_all": whole[pool],
                "of_as_many": float(np.mean([each[pool] for each in found])),
                "range_of_as_many": [min(each[pool] for each in found), max(each[pool] for each in found)],
            }
            for name, pool in (("max_pool_1", 64), ("max_pool_2", 192))
        }


def spread_over(frames: ImageSet, count: int) -> ImageSet:
    """At most ``count`` frames, evenly over the set."""
    rows = np.linspace(0, len(frames) - 1, min(count, len(frames))).round()
    return frames.chosen([int(row) for row in rows])


def rounded(value: Any) -> Any:
    """Numbers to four digits for a report, ``None`` for those that are not there."""
    if isinstance(value, Mapping):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
