"""Features of images as 8-bit files hold them, and where they are taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch

from monai_bmaps.metrics.distributions.inception import InceptionStem, stem_features
from monai_bmaps.pictures import to_grey

Features: TypeAlias = dict[int, torch.Tensor]
"""``{64: (N, 64), 192: (N, 192)}`` of N images at the first and the second max-pool."""
POOLS = {64: "max-pool 1 (64 features)", 192: "max-pool 2 (192 features)"}
"""Where distances are taken, by number of features."""

_HALF_A_GREY_LEVEL = 1 / 255


def as_files(images: torch.Tensor) -> torch.Tensor:
    """Return images as 8-bit files hold them: ``k / 255`` in [0, 1], float32, on the CPU.

    Args:
        images: any shape, in [-1, 1]; values beyond by what rounding takes away are let pass.

    Raises:
        ValueError: an empty tensor, values out of range, or NaN.
    """
    if images.numel() == 0:
        raise ValueError(f"images must not be empty, got shape {tuple(images.shape)}")
    plain = images.detach().as_subclass(torch.Tensor)
    low, high = (float(bound) for bound in plain.aminmax())  # either is NaN if any pixel is
    if not (low >= -1 - _HALF_A_GREY_LEVEL and high <= 1 + _HALF_A_GREY_LEVEL):
        raise ValueError(
            f"images must lie in [-1, 1], got [{low:.4g}, {high:.4g}]; scale 8-bit images by 2 / 255 and subtract 1, "
            "and look for a network that gave NaN"
        )
    return torch.as_tensor(to_grey(plain)) / 255.0


def file_features(
    images: torch.Tensor | Iterable[torch.Tensor], stem: InceptionStem, *, batch_size: int = 8
) -> Features:
    """Return the features of images in [-1, 1], each rounded to 8 bits first.

    Args:
        images: ``(N, 1 or 3, H, W)``, or an iterable of such batches or of single ``(1 or 3, H, W)`` images; they are
            asked for one after another, so that a generator never holds them all.
        stem: the network; its device is where batches are computed.
        batch_size: the most images in one pass.

    Raises:
        ValueError: no images, or what :func:`as_files` and :func:`stem_features` refuse.
    """
    batches = [images] if isinstance(images, torch.Tensor) else images
    return stem_features((as_files(batch) for batch in batches), stem, batch_size=batch_size)


def as_rows(features: Mapping[int, torch.Tensor]) -> torch.Tensor:
    """Return one row of 256 numbers an image, ``(N, 256)``: to keep, send and sort."""
    return torch.cat([features[pool] for pool in POOLS], dim=1)


def from_rows(rows: torch.Tensor) -> Features:
    """Return the features of :func:`as_rows`'s rows."""
    first, second = rows.tensor_split([next(iter(POOLS))], dim=1)
    return dict(zip(POOLS, (first, second), strict=True))
