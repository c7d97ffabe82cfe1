"""Precision, recall, density and coverage: closed cases on a line, planted faults."""

from __future__ import annotations

import doctest

import pytest
import torch

from monai_bmaps.metrics.distributions import manifold
from monai_bmaps.metrics.distributions.manifold import NEIGHBOURS, manifold_measures


def points(count: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, 3, generator=generator) + shift


def means(synthetic: torch.Tensor, real: torch.Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    found = manifold_measures(synthetic, real, neighbours)
    return {name: getattr(found, name).mean().item() for name in ("precision", "recall", "density", "coverage")}


def test_the_documented_example_runs() -> None:
    assert doctest.testmod(manifold).failed == 0


def test_points_on_a_line_have_the_values_of_counting() -> None:
    """Real 0, 1, 3, 7: balls to the next one of radii 1, 1, 2, 4. Synthetic 0.5, 20, 21: radii 19.5, 1, 1."""
    real, synthetic = (torch.tensor(values)[:, None] for values in ([0.0, 1.0, 3.0, 7.0], [0.5, 20.0, 21.0]))
    assert means(synthetic, real, neighbours=1) == pytest.approx(
        {"precision": 1 / 3, "recall": 1.0, "density": 2 / 3, "coverage": 2 / 4}
    )


def test_a_set_covers_itself() -> None:
    found = means(points(40, 0), points(40, 0))
    assert found["precision"] == found["recall"] == found["coverage"] == 1.0


def test_sets_of_one_law_have_a_density_of_one_and_the_coverage_of_theory() -> None:
    """Expectations of Naeem et al. 2020."""
    found = [means(points(100, 2 * k), points(100, 2 * k + 1)) for k in range(20)]
    assert sum(each["density"] for each in found) / 20 == pytest.approx(1.0, abs=0.05)
    assert sum(each["coverage"] for each in found) / 20 == pytest.approx(1 - 2**-NEIGHBOURS, abs=0.02)


def test_images_of_one_mode_are_precise_and_recall_little() -> None:
    real = torch.cat([points(50, 0), points(50, 1, shift=30.0)])
    found = means(points(100, 2), real)
    assert found["precision"] > 0.9
    assert found["coverage"] < 0.55
    assert found["recall"] < 0.55


def test_images_far_from_all_real_ones_are_neither_precise_nor_covering() -> None:
    found = means(points(50, 0, shift=30.0), points(60, 1))
    assert found["precision"] == found["density"] == found["coverage"] == 0.0


def test_one_real_outlier_wins_precision_but_not_density() -> None:
    real = torch.cat([points(99, 0), torch.full((1, 3), 40.0)])
    found = means(points(50, 1, shift=15.0), real)
    assert found["precision"] == 1.0
    assert found["density"] < 0.3


def test_measures_belong_to_the_images_that_are_judged() -> None:
    found = manifold_measures(points(7, 0), points(9, 1))
    assert (len(found.precision), len(found.recall), len(found.density), len(found.coverage)) == (7, 9, 7, 9)


def test_no_more_images_than_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="number 5 need at least 6 images a set, got 5 and 9"):
        manifold_measures(points(5, 0), points(9, 1))
