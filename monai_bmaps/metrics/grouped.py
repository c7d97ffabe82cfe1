"""Means over images that come in groups: frames of one patient are no independent witnesses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def mean_by_group(
    values: torch.Tensor, groups: Sequence[str], *, resamplings: int = 1000, seed: int = 0
) -> tuple[float, tuple[float, float] | None]:
    """Return the mean over images and its 95 % interval from samples of whole groups, drawn with replacement.

    Args:
        values: ``(N,)``; NaN is left out.
        groups: patient, sweep or exam of each.
        resamplings: number of bootstrap samples.
        seed: of the samples.

    Returns:
        The mean, NaN if there is no value; the percentile interval, ``None`` of fewer than two groups.

    >>> mean_by_group(torch.tensor([0.0, 1.0, 2.0]), ["a", "b", "b"])[0]
    1.0
    """
    there = np.flatnonzero(~torch.isnan(values).numpy())
    if len(there) == 0:
        return float("nan"), None
    numbers = values.double().numpy()[there]
    _, members = np.unique(np.asarray(groups, dtype=object)[there].astype(str), return_inverse=True)
    sums, counts = np.bincount(members, weights=numbers), np.bincount(members)
    if len(sums) < 2:
        return float(numbers.mean()), None
    picks = np.random.default_rng(seed).integers(0, len(sums), (resamplings, len(sums)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(numbers.mean()), (float(low), float(high))
