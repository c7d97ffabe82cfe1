"""LPIPS, SSIM and PSNR in MONAI's form: called with batches, aggregated at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from monai.metrics import CumulativeIterationMetric

from monai_bmaps.metrics.pairs.perceptual import Lpips, Net, peak_signal_to_noise, structural_similarity

PairMeasure: TypeAlias = Literal["lpips", "ssim", "psnr"]


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
