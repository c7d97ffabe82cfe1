"""Features of all ranks as one set, in an order that depends on the images alone."""

from __future__ import annotations

from collections.abc import Sequence

import ignite.distributed as idist
import numpy as np
import torch

from monai_bmaps.metrics.distributions import POOLS, Features, as_rows, from_rows


def gathered(parts: Sequence[Features]) -> Features:
    """Return the features that all ranks accumulated, sorted by value.

    Sorted, so that neither the number of ranks nor the order of batches decides which image a bootstrap sample takes.

    Args:
        parts: of this rank, batch by batch; a rank may have none.
    """
    rows = [as_rows(part) for part in parts]
    own = torch.cat(rows).double() if rows else torch.zeros(0, sum(POOLS), dtype=torch.float64)
    everyones = _from_all_ranks(own)
    return from_rows(everyones[np.lexsort(everyones.numpy().T[::-1])])


def anywhere(condition: bool) -> bool:
    """Return whether the condition holds on any rank."""
    return bool(idist.all_reduce(float(condition)))


def _from_all_ranks(own: torch.Tensor) -> torch.Tensor:
    """Rows of every rank; collectives want equal shapes, so shorter parts are filled up on the way."""
    counts = torch.as_tensor(idist.all_gather(torch.tensor([len(own)]))).tolist()
    longest = max(*counts, 1)
    filled = torch.cat([own, own.new_zeros(longest - len(own), own.shape[1])])
    parts = torch.as_tensor(idist.all_gather(filled)).cpu().reshape(-1, longest, own.shape[1])
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
