"""Which sets of features are compared: synthetic with real, and real with real, which is the floor of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monai_bmaps.metrics.distributions.features import POOLS, Features


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of a set of images, and who is whose.

    Args:
        name: what it is in a report: ``"synthetic"``.
        features: of all N images.
        groups: patient, sweep or exam of each image; empty: every image is its own.
    """

    name: str
    features: Features
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "groups", self.groups or tuple(map(str, range(len(self)))))

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))

    def chosen(self, rows: Sequence[int] | torch.Tensor, name: str | None = None) -> FeatureSet:
        """The images at these places."""
        picked = torch.as_tensor(rows, dtype=torch.int64)
        groups = tuple(self.groups[int(row)] for row in picked)
        return FeatureSet(name or self.name, {pool: self.features[pool][picked] for pool in self.features}, groups)


@dataclass(frozen=True, eq=False)
class Contrast:
    """Two sets to compare.

    Args:
        first: the set in question.
        second: the real images.
        title: put behind the name of a measure; empty for the comparison itself.
        prefix: put before the key of a measure: ``"floor_"``.
    """

    first: FeatureSet
    second: FeatureSet
    title: str = ""
    prefix: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many images of which set."""
        return {self.first.name: len(self.first), self.second.name: len(self.second)}

    def key(self, measure: str, pool: int) -> str:
        """Key of a measure at a max-pool: ``floor_max_pool_2``."""
        place = f"max_pool_{[*POOLS].index(pool) + 1}"
        return f"{self.prefix}{measure}_{place}" if measure else f"{self.prefix}{place}"

    def named(self, measure: str, pool: int) -> str:
        """Name of a measure at a max-pool."""
        return ", ".join(part for part in (measure, self.title, POOLS[pool]) if part)


def contrasts(
    synthetic: FeatureSet, real: FeatureSet, training: FeatureSet | None = None, *, halves: bool = True
) -> list[Contrast]:
    """The comparison and its floor: training frames against real ones, without any two halves of the real ones.

    Args:
        synthetic: what is judged.
        real: what it is compared with.
        training: further real frames.
        halves: whether to fall back on halves, which divide no group. They are half as large, so that distances that
            grow with few images overrate the floor.
    """
    found = [Contrast(synthetic, real)]
    if training is not None:
        return [*found, Contrast(training, real, "floor: real training frames", "floor_")]
    parts = halves_of(real.groups)
    if not halves or min(map(len, parts)) == 0:
        return found
    first, second = (
        real.chosen(rows, f"real ({side} half)") for side, rows in zip(("one", "other"), parts, strict=True)
    )
    return [*found, Contrast(first, second, "floor: one half of the real frames against the other", "floor_")]


def halves_of(groups: Sequence[str], seed: int = 0) -> tuple[list[int], list[int]]:
    """Rows of two halves that divide no group, about equally large."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    order = np.random.default_rng(seed).permutation(len(members))
    halves: tuple[list[int], list[int]] = ([], [])
    for index in sorted(order, key=lambda index: -len([*members.values()][index])):
        min(halves, key=len).extend([*members.values()][index])
    return sorted(halves[0]), sorted(halves[1])
