"""Maps that depend only on a sampling step and the bound depth: computed once, kept while they are few or small."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch

Maps = tuple[torch.Tensor, ...]

_RECENT = 4
_LIMIT_BYTES = 256 * 2**20


class StepPlan:
    """What one bound scheduler has computed for its steps.

    A sampler with few steps or one depth map for a whole batch then computes every coefficient once for all batches;
    a thousand steps of a batch with a depth map per image keep what fits and compute the rest anew.

    Args:
        limit_bytes: most that :meth:`kept` holds.
    """

    def __init__(self, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._kept: dict[Hashable, Maps] = {}
        self._recent: dict[Hashable, Maps] = {}
        self._free_bytes = limit_bytes

    def kept(self, key: Hashable, make: Callable[[], Maps]) -> Maps:
        """The maps under ``key``, made at the first call and held as long as the plan lives, if they fit."""
        if key in self._kept:
            return self._kept[key]
        maps = _ordinary(make)
        size = sum(x.numel() * x.element_size() for x in maps)
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._kept[key] = maps
        return maps

    def recent(self, key: Hashable, make: Callable[[], Maps]) -> Maps:
        """The maps under ``key``, held until a few others were asked for: consecutive steps share their levels."""
        maps = self._recent.pop(key, None) or _ordinary(make)
        self._recent[key] = maps
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        return maps


def _ordinary(make: Callable[[], Maps]) -> Maps:
    """Made outside inference mode, whose tensors a later training step could not use."""
    with torch.inference_mode(False), torch.no_grad():
        return make()
