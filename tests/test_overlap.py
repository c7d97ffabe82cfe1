"""Dice and Hausdorff distances by hand."""

from __future__ import annotations

import math

import pytest
import torch

from monai_bmaps.metrics.segmentation.overlap import dice_per_structure, hausdorff_per_structure


def two_boxes(shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of 4 x 6 pixels, one moved down."""
    first, second = torch.zeros(2, 1, 20, 24, dtype=torch.int64)
    first[0, 4:8, 5:11] = 1
    second[0, 4 + shift : 8 + shift, 5:11] = 1
    return first, second


def test_dice_is_twice_the_common_area_over_both() -> None:
    assert dice_per_structure(*two_boxes(1), 1).tolist() == [[pytest.approx(0.75)]]


def test_hausdorff_is_the_shift_of_a_moved_box() -> None:
    assert hausdorff_per_structure(*two_boxes(3), 1).tolist() == [[pytest.approx(3.0)]]


def test_hausdorff_is_in_millimetres_where_the_spacing_is() -> None:
    assert hausdorff_per_structure(*two_boxes(3), 1, [(0.5, 2.0)]).tolist() == [[pytest.approx(1.5)]]


def test_a_missed_structure_costs_the_diagonal_and_has_dice_0() -> None:
    first, second = two_boxes(1)
    distance = hausdorff_per_structure(torch.zeros_like(first), second, 1, [(1.0, 2.0)])
    assert distance.tolist() == [[pytest.approx(math.hypot(19, 46))]]
    assert dice_per_structure(torch.zeros_like(first), second, 1).tolist() == [[0.0]]


def test_a_structure_that_the_reference_lacks_counts_nowhere() -> None:
    first, _ = two_boxes(1)
    for measure in (dice_per_structure, hausdorff_per_structure):
        assert measure(first, torch.zeros_like(first), 2).isnan().all()


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N, H, W\)"):
        dice_per_structure(torch.zeros(1, 4, 5).long(), torch.zeros(1, 5, 4).long(), 1)
