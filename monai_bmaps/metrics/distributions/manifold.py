"""Precision, recall, density and coverage: whether synthetic images lie where real ones do, and all over there.

Around each image of a set lies the ball that reaches to its k-th nearest neighbour in that set; the union of the balls
stands for where the set's images can be.

* precision: share of synthetic images in a ball of a real one; recall: share of real images in one of a synthetic one.
* density: number of real balls that a synthetic image is in, over k; may exceed 1. One real outlier with a large ball
  does not decide it, as it can decide precision.
* coverage: share of real images with a synthetic one in their ball.

All four depend on the numbers of images: read them beside those of two real sets. Of one law and two equally large
sets, the expectation of density is 1 and that of coverage about ``1 - 2^-k``.

Source: Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991; Naeem et al. 2020, https://arxiv.org/abs/2002.09797.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

NEIGHBOURS = 5
"""k, which Naeem et al. choose; Kynkaanniemi et al. have 3, for many more images."""


@dataclass(frozen=True, eq=False)
class ManifoldMeasures:
    """The four measures image by image: each measure is the mean of its values.

    Args:
        precision: of each synthetic image, 0 or 1.
        recall: of each real image, 0 or 1.
        density: of each synthetic image, 0 or more.
        coverage: of each real image, 0 or 1.
    """

    precision: torch.Tensor
    recall: torch.Tensor
    density: torch.Tensor
    coverage: torch.Tensor


def manifold_measures(synthetic: torch.Tensor, real: torch.Tensor, neighbours: int = NEIGHBOURS) -> ManifoldMeasures:
    """Compare two sets of features.

    Args:
        synthetic: ``(N, F)``.
        real: ``(M, F)``.
        neighbours: k; a ball's edge belongs to it.

    Raises:
        ValueError: a set of no more than ``neighbours`` images.

    Example:
        >>> line = torch.arange(4.0)[:, None]
        >>> found = manifold_measures(line[:2], line, neighbours=1)
        >>> found.precision.mean().item(), found.coverage.mean().item()
        (1.0, 0.75)
    """
    if min(len(synthetic), len(real)) <= neighbours:
        raise ValueError(
            f"balls to the neighbour number {neighbours} need at least {neighbours + 1} images a set, got "
            f"{len(synthetic)} and {len(real)}"
        )
    synthetic, real = synthetic.double(), real.double()
    across = _distances(real, synthetic)
    in_real_ball = across <= _radii(real, neighbours)[:, None]
    in_synthetic_ball = across <= _radii(synthetic, neighbours)
    return ManifoldMeasures(
        precision=in_real_ball.any(0).double(),
        recall=in_synthetic_ball.any(1).double(),
        density=in_real_ball.double().sum(0) / neighbours,
        coverage=in_real_ball.any(1).double(),
    )


def _radii(points: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Distance of each point to its k-th nearest other one."""
    return _distances(points, points).kthvalue(neighbours + 1, dim=1).values  # the nearest is the point itself


def _distances(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    # by differences: a product of matrices would leave equal points a round-off apart
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
