"""Which segmenters a downstream experiment trains: on what, on how much of it, with which seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch

from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.segmentation import SegmenterSettings

Arm: TypeAlias = Literal["real", "synthetic", "both"]
"""What a segmenter is trained on."""


@dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        arm: what it is trained on.
        share: of the real patients, in (0, 1]; 0 of synthetic images alone.
        seed: of the segmenter, and of who is in the share.
    """

    arm: Arm
    share: float
    seed: int

    @property
    def name(self) -> str:
        """As the cell's file is called: ``both_0.1_seed2``."""
        return f"{self.arm}_{self.share:g}_seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Which cells there are, and how each is trained.

    Args:
        shares: of the real training patients, each in (0, 1].
        seeds: at least one, better three.
        arms: what segmenters are trained on.
        settings: of every segmenter; the seed is the cell's.

    Raises:
        ValueError: a share out of range, no seed or no arm, or one that is named twice or unknown.
    """

    shares: tuple[float, ...] = (0.1, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[Arm, ...] = ("real", "synthetic", "both")
    settings: SegmenterSettings = field(default_factory=SegmenterSettings)

    def __post_init__(self) -> None:
        for name in ("shares", "seeds", "arms"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"{name} must name something, each once, got {given}")
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"shares must lie in (0, 1], got {self.shares}")
        if unknown := set(self.arms) - set(get_args(Arm)):
            raise ValueError(f"arms must be of {', '.join(get_args(Arm))}, got {', '.join(map(str, unknown))}")

    def cells(self) -> list[Cell]:
        """Every cell, seed by seed, so that an early end leaves whole comparisons."""
        return [
            Cell(arm, share, seed)
            for seed in self.seeds
            for arm in self.arms
            for share in ((0.0,) if arm == "synthetic" else sorted(self.shares))
        ]


def share_of_patients(images: ImageSet, share: float, seed: int) -> ImageSet:
    """Return the images of a share of the patients, at least of one.

    Shares of one seed are nested: whoever is in a tenth is in a half.

    Args:
        images: with their ``groups``.
        share: of the patients, in (0, 1].
        seed: of their order.
    """
    patients = sorted(set(images.groups))
    order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(seed)).tolist()
    count = max(1, math.ceil(share * len(patients) - 1e-9))
    chosen = {patients[place] for place in order[:count]}
    return images.chosen([row for row, group in enumerate(images.groups) if group in chosen])
