"""How well two label maps agree, structure by structure: Dice and the 95th percentile of the Hausdorff distance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

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
    predicted: torch.Tensor,
    reference: torch.Tensor,
    num_labels: int,
    spacing: Sequence[tuple[float, float]] | None = None,
) -> torch.Tensor:
    """Return the symmetric Hausdorff distance (95th percentile) of every structure, ``(N, num_labels)`` float64.

    NaN where the reference lacks the structure. Where only the prediction lacks it, the image's diagonal: a missed
    structure must not better a mean by its absence.

    Args:
        predicted: ``(N, H, W)`` int64, 0 to ``num_labels``.
        reference: as ``predicted``.
        num_labels: number of structures.
        spacing: (row, column) of the pixels of each image; the result is in its unit. ``None``: in pixels.

    Raises:
        ValueError: shapes that differ.
        ImportError: SciPy is missing.
    """
    first, second = _structures(predicted, reference, num_labels)
    units = [(1.0, 1.0)] * len(predicted) if spacing is None else list(spacing)
    present, found = (maps.flatten(2).any(2) for maps in (second, first))
    distances = torch.full(present.shape, torch.nan, dtype=torch.float64)
    for image, structure in present.nonzero().tolist():
        row, column = units[image]
        distance = math.hypot((predicted.shape[1] - 1) * row, (predicted.shape[2] - 1) * column)
        if found[image, structure]:
            distance = _hausdorff(first[image, structure], second[image, structure], units[image])
        distances[image, structure] = distance
    return distances


def _hausdorff(first: torch.Tensor, second: torch.Tensor, spacing: tuple[float, float]) -> float:
    """Of two masks ``(H, W)`` that are not empty."""
    with warnings.catch_warnings():
        # MONAI calls itself with an argument that it deprecates
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        distance = compute_hausdorff_distance(
            first[None, None], second[None, None], include_background=True, percentile=95, spacing=spacing
        )
    return float(distance)


def _structures(predicted: torch.Tensor, reference: torch.Tensor, num_labels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot channels of the structures alone, ``(N, num_labels, H, W)`` bool."""
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise ValueError(
            f"predicted and reference must both be (N, H, W), got {tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    values = torch.arange(1, num_labels + 1).reshape(1, -1, 1, 1)
    return predicted[:, None] == values, reference[:, None] == values
