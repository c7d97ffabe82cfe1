"""The kernel distance: its formula pair by pair, no bias, samples."""

from __future__ import annotations

import doctest
import itertools

import numpy as np
import pytest
import torch

from monai_bmaps.metrics.distributions import kernel
from monai_bmaps.metrics.distributions.kernel import KernelDistance, cubic_kernel


def points(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.randn(count, 3, generator=generator, dtype=torch.float64) + shift


def pair_by_pair(first: torch.Tensor, second: torch.Tensor) -> float:
    """The unbiased estimator as sums over pairs of different images."""

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    within = [np.mean([k(x, y) for x, y in itertools.permutations(values, 2)]) for values in (first, second)]
    return float(sum(within) - 2 * np.mean([k(x, y) for x in first for y in second]))


def test_the_documented_example_runs() -> None:
    assert doctest.testmod(kernel).failed == 0


def test_the_kernel_is_the_cube_of_the_scaled_product_plus_one() -> None:
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0], [0.0, 0.0]])
    assert cubic_kernel(first, second).tolist() == [[(13 / 2 + 1) ** 3, 1.0]]


def test_the_distance_is_the_mean_over_pairs_of_different_images() -> None:
    first, second = points(5, 0), points(4, 1, shift=0.5)
    assert KernelDistance(first, second).of_all() == pytest.approx(pair_by_pair(first, second), rel=1e-12)


def test_sets_of_one_law_are_at_no_distance_on_average_however_small() -> None:
    found = np.array([KernelDistance(points(4, 2 * k), points(5, 2 * k + 1)).of_all() for k in range(400)])
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean()) < 3 * error
    assert found.min() < 0 < found.max()


def test_a_shift_moves_the_distance_by_many_errors() -> None:
    apart = np.mean([KernelDistance(points(4, 2 * k), points(5, 2 * k + 1, shift=0.4)).of_all() for k in range(50)])
    same = np.array([KernelDistance(points(4, 2 * k), points(5, 2 * k + 1)).of_all() for k in range(50)])
    assert apart > 5 * same.std() / 50**0.5


def test_subsets_are_halves_without_repetition_whose_mean_is_the_distance() -> None:
    found = KernelDistance(points(12, 0), points(8, 1, shift=0.3))
    drawn = found.of_subsets(2000)
    assert drawn.mean() == pytest.approx(found.of_all(), abs=4 * drawn.std() / 2000**0.5)
    assert np.array_equal(drawn[:50], found.of_subsets(50))
    assert found.of_subsets(3, size=4).tolist() == found.of_subsets(3).tolist()


def test_a_subset_larger_than_half_of_the_smaller_set_is_refused() -> None:
    found = KernelDistance(points(12, 0), points(8, 1))
    for size in (1, 5):
        with pytest.raises(ValueError, match=f"2 to 4 images, half of the smaller set, got {size}"):
            found.of_subsets(3, size=size)


def test_a_sample_never_compares_an_image_with_its_repetition() -> None:
    first, second = points(3, 0), points(3, 1)
    drawn = KernelDistance(first, second).resampled([(np.array([0, 0, 1]), np.array([2, 1, 0]))])
    within = float(cubic_kernel(first[:1], first[1:2]))
    others = [float(cubic_kernel(second[[i]], second[[j]])) for i, j in itertools.combinations(range(3), 2)]
    across = float(cubic_kernel(first[[0, 0, 1]], second).mean())
    assert drawn == pytest.approx([within + np.mean(others) - 2 * across], rel=1e-12)


def test_one_image_or_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 images a set, got 1 and 4"):
        KernelDistance(points(1, 0), points(4, 1))
    with pytest.raises(ValueError, match="same features, got 3 and 2"):
        KernelDistance(points(4, 0), points(4, 1)[:, :2])
