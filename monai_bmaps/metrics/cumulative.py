"""The measures of this room in MONAI's form: called with batches, aggregated at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from monai.metrics import Cumulative, CumulativeIterationMetric

from monai_bmaps.metrics.comparison import file_features
from monai_bmaps.metrics.frechet import FeatureStatistics, InceptionStem, frechet_distance
from monai_bmaps.metrics.kernel import KernelDistance
from monai_bmaps.metrics.perceptual import Lpips, Net, peak_signal_to_noise, structural_similarity

PairMeasure: TypeAlias = Literal["lpips", "ssim", "psnr"]
Pool: TypeAlias = Literal[64, 192]


class PairMetric(CumulativeIterationMetric):  # type: ignore[misc]
    """Mean over corresponding images of LPIPS, SSIM or PSNR.

    Args:
        measure: ``"lpips"``, ``"ssim"`` or ``"psnr"``.
        lpips: file of LPIPS' trunk; ``None`` downloads torchvision's.
        net: trunk of LPIPS; ``None``: what the file holds, or AlexNet.

    Example:
        >>> metric = PairMetric("psnr")
        >>> values = metric(torch.full((2, 1, 5, 7), 0.1), torch.zeros(2, 1, 5, 7))
        >>> round(metric.aggregate().item(), 3)
        26.021
    """

    def __init__(self, measure: PairMeasure, lpips: str | Path | None = None, net: Net | None = None) -> None:
        super().__init__()
        if measure not in get_args(PairMeasure):
            raise ValueError(f"measure must be one of {', '.join(get_args(PairMeasure))}, got {measure!r}")
        simple = {"ssim": structural_similarity, "psnr": peak_signal_to_noise}
        self.measure = simple[measure] if measure in simple else Lpips(lpips, net)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Values ``(N, 1)`` of images ``(N, 1 or 3, H, W)`` in [-1, 1]."""
        if y is None:
            raise ValueError("real images must come with the synthetic ones: metric(y_pred, y)")
        return self.measure(*((x.as_subclass(torch.Tensor) + 1) / 2 for x in (y_pred, y)))[:, None]

    def aggregate(self) -> torch.Tensor:
        """The mean over all pairs."""
        return torch.as_tensor(self.get_buffer()).mean()


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
