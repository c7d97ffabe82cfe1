"""Frechet and kernel distance in MONAI's form: called with batches, aggregated at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from monai.metrics import Cumulative

from monai_bmaps.metrics.distributions.features import file_features
from monai_bmaps.metrics.distributions.frechet import FeatureStatistics, frechet_distance
from monai_bmaps.metrics.distributions.inception import InceptionStem
from monai_bmaps.metrics.distributions.kernel import KernelDistance

Pool: TypeAlias = Literal[64, 192]


class DistributionMetric(Cumulative):  # type: ignore[misc]
    """Frechet or kernel distance (KID) between all images that came.

    Args:
        measure: ``"frechet"`` or ``"kernel"``.
        stem: file of the Inception's weights; ``None`` downloads pytorch-fid's.
        pool: number of features, 64 or 192.
    """

    def __init__(
        self, measure: Literal["frechet", "kernel"] = "frechet", stem: str | Path | None = None, pool: Pool = 192
    ) -> None:
        super().__init__()
        if measure not in ("frechet", "kernel") or pool not in get_args(Pool):
            raise ValueError(f"measure must be frechet or kernel at 64 or 192 features, got {measure!r} at {pool}")
        self.measure = measure
        self.pool = pool
        self._stem = InceptionStem.load(stem)

    def __call__(self, y_pred: torch.Tensor, y: torch.Tensor) -> None:
        """Take equally many synthetic and real images, ``(N, 1 or 3, H, W)`` in [-1, 1], as files would hold them."""
        self.extend(*(file_features(images, self._stem)[self.pool] for images in (y_pred, y)))

    def aggregate(self) -> float:
        """The distance of all images.

        Raises:
            ValueError: fewer than two pairs came.
        """
        first, second = (torch.as_tensor(buffer) for buffer in self.get_buffer())
        if self.measure == "kernel":
            return KernelDistance(first, second).of_all()
        return frechet_distance(*map(FeatureStatistics.from_features, (first, second)))
