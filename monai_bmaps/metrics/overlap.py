"""How well two label maps agree, structure by structure: Dice and the 95th percentile of the Hausdorff distance."""

from __future__ import annotations

import math

import torch
from monai.metrics import compute_dice, compute_hausdorff_distance


def dice_per_structure(predicted: torch.Tensor, reference: torch.Tensor, num_labels: int) -> torch.Tensor:
    """Return the Dice of every structure of every image, ``(N, num_labels)`` float64.

    NaN where the reference lacks the structure: there Dice cannot tell a small mistake from a large one.

    Args:
        predicted: ``(N, H, W)`` int64, 0 to ``num_labels``.
        reference: as ``predicted``.
        num_labels: number of structures.

    Raises:
        ValueError: shapes that differ.
    """
    first, second = _structures(predicted, reference, num_labels)
    return torch.as_tensor(compute_dice(first, second, include_background=True, ignore_empty=True)).double()


def hausdorff_per_structure(
    predicted: torch.Tensor, reference: torch.Tensor, num_labels: int, spacing: tuple[float, float] = (1.0, 1.0)
) -> torch.Tensor:
    """Return the symmetric Hausdorff distance (95th percentile) of every structure, ``(N, num_labels)`` float64.

    NaN where the reference lacks the structure. Where only the prediction lacks it, the image's diagonal: a missed
    structure must not better a mean by its absence.

    Args:
        predicted: ``(N, H, W)`` int64, 0 to ``num_labels``.
        reference: as ``predicted``.
        num_labels: number of structures.
        spacing: (row, column) of a pixel; the result is in its unit, pixels at 1.

    Raises:
        ValueError: shapes that differ.
        ImportError: SciPy is missing.
    """
    first, second = _structures(predicted, reference, num_labels)
    height, width = predicted.shape[1:]
    found = second.flatten(2).any(2)
    both = found & first.flatten(2).any(2)
    diagonal = math.hypot((height - 1) * spacing[0], (width - 1) * spacing[1])
    distances = torch.full(found.shape, torch.nan, dtype=torch.float64)
    distances[found] = diagonal
    for image, structure in both.nonzero().tolist():
        pair = (maps[image, structure][None, None] for maps in (first, second))
        distance = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=spacing)
        distances[image, structure] = float(distance)
    return distances


def _structures(predicted: torch.Tensor, reference: torch.Tensor, num_labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot channels of the structures alone, ``(N, num_labels, H, W)`` bool."""
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise ValueError(
            f"predicted and reference must both be (N, H, W), got {tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    values = torch.arange(1, num_labels + 1).reshape(1, -1, 1, 1)
    return predicted[:, None] == values, reference[:, None] == values
