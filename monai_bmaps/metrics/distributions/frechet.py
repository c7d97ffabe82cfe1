"""Frechet distance of two sets of features: between the Gaussians of their means and covariances.

Covariances are over ``N - 1``, as pytorch-fid's. Distances have the unit of squared features: compare them at one
layer only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from monai_bmaps.metrics.distributions.features import Features
from monai_bmaps.metrics.findings import Picks


@dataclass(frozen=True, eq=False, repr=False)
class FeatureStatistics:
    """Mean and covariance of the features of an image set: the Gaussian the Frechet distance compares.

    Args:
        mean: ``(F,)``, float64, on the CPU.
        covariance: ``(F, F)``, float64, symmetric, normalised by ``count - 1`` (``numpy.cov``'s default).
        count: number of images, at least 2. Few images bias the distance upwards, heavily so below a few
            times ``F``: beside a distance report the count and the distance of two real sets of that size.
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    count: int

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count must be at least 2 images, got {self.count}; one image has no covariance")
        size = self.mean.numel()
        if self.mean.shape != (size,) or self.covariance.shape != (size, size):
            raise ValueError(
                "mean and covariance must have shapes (F,) and (F, F), "
                f"got {tuple(self.mean.shape)} and {tuple(self.covariance.shape)}"
            )
        for name, value in (("mean", self.mean), ("covariance", self.covariance)):
            if value.dtype != torch.float64 or value.device.type != "cpu":
                raise ValueError(f"{name} must be float64 on the CPU, got {value.dtype} on {value.device}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity; check the images")
        if not torch.allclose(self.covariance, self.covariance.T, rtol=1e-9, atol=1e-12):
            raise ValueError("covariance must be symmetric; build it with FeatureStatistics.from_features")

    @classmethod
    def from_features(cls, features: torch.Tensor) -> FeatureStatistics:
        """Return the statistics of ``features``, ``(N, F)`` with N at least 2, finite."""
        if features.ndim != 2:
            raise ValueError(f"features must have shape (N, F), got {tuple(features.shape)}")
        count = features.shape[0]
        if count < 2:
            raise ValueError(f"features must come from at least 2 images, got {count}; one image has no covariance")
        values = features.detach().as_subclass(torch.Tensor).cpu().double()  # cpu first: MPS has no float64
        mean = values.mean(0)
        deviation = values - mean
        return cls(mean=mean, covariance=deviation.T @ deviation / (count - 1), count=count)

    def __repr__(self) -> str:
        """Name what was measured, not 192 x 192 numbers."""
        return f"FeatureStatistics({self.mean.numel()} features of {self.count} images)"


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians, the quantity FID reports.

    ``|m_a - m_b|^2 + tr A + tr B - 2 tr (A^{1/2} B A^{1/2})^{1/2}``, whose last trace is the nuclear norm of
    ``A^{1/2} B^{1/2}``: real for covariances of any rank, where a root of ``A B`` may turn complex.

    >>> a = FeatureStatistics.from_features(torch.tensor([[0.0], [2.0]]))
    >>> b = FeatureStatistics.from_features(torch.tensor([[1.0], [3.0]]))
    >>> round(frechet_distance(a, b), 6)
    1.0

    Source: Dowson and Landau 1982, https://doi.org/10.1016/0047-259X(82)90077-X.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"a and b must hold the same features, got {a.mean.numel()} and {b.mean.numel()}")
    offset = a.mean - b.mean
    # Singular values of the product, not roots of the eigenvalues of A^{1/2} B A^{1/2}: with fewer images
    # than features those roots would turn a round-off of 1e-16 into 1e-8.
    overlap = torch.linalg.svdvals(_square_root(a.covariance) @ _square_root(b.covariance)).sum()
    distance = float(offset @ offset + a.covariance.trace() + b.covariance.trace() - 2 * overlap)
    return max(distance, 0.0)  # equal sets end within round-off of 0, on either side


def _square_root(covariance: torch.Tensor) -> torch.Tensor:
    """Return the symmetric root, taking eigenvalues within round-off of 0 as 0."""
    values, vectors = torch.linalg.eigh(covariance)
    round_off = values.abs().max() * values.numel() * torch.finfo(values.dtype).eps
    values = torch.where(values > round_off, values, 0.0)
    root: torch.Tensor = (vectors * values.sqrt()) @ vectors.T
    return root


def distances(first: Mapping[int, torch.Tensor], second: Mapping[int, torch.Tensor]) -> dict[int, float]:
    """Return the Frechet distance of two sets at each max-pool, by its number of features.

    Raises:
        ValueError: a set of fewer than two images, or features that are not finite.
    """
    return {
        pool: frechet_distance(*(FeatureStatistics.from_features(features[pool]) for features in (first, second)))
        for pool in first
    }


def resampled_distances(
    first: Mapping[int, torch.Tensor],
    second: Mapping[int, torch.Tensor],
    picks: Sequence[Picks],
    *,
    description: str | None = None,
) -> dict[int, np.ndarray[Any, Any]]:
    """Return the distances of bootstrap samples of two sets, ``(len(picks),)`` at each max-pool.

    Args:
        first: features.
        second: features.
        picks: of :func:`~monai_bmaps.metrics.findings.bootstrap_picks`.
        description: of a progress bar; ``None``: no bar.
    """
    drawn = [
        distances(_picked(first, mine), _picked(second, yours))
        for mine, yours in tqdm(picks, desc=description, disable=description is None)
    ]
    return {pool: np.array([found[pool] for found in drawn]) for pool in first}


def _picked(features: Mapping[int, torch.Tensor], rows: np.ndarray[Any, Any]) -> Features:
    chosen = torch.as_tensor(rows)
    return {pool: values[chosen] for pool, values in features.items()}
