"""What one segmenter of a downstream experiment reached, and what it was trained on, in words and as a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from monai_bmaps.metrics.findings import key_of

ARM_NAMES = {"real": "real only", "synthetic": "synthetic only", "both": "real + synthetic"}
"""What segmenters are trained on, for people."""
MEAN = "mean"
"""Stands for the mean over structures where names of structures stand."""


class Setting(NamedTuple):
    """What the segmenters of all seeds have in common.

    Args:
        arm: ``"real"``, ``"synthetic"`` or ``"both"``.
        share: of the real patients; 0 of synthetic images alone.
    """

    arm: str
    share: float

    @property
    def name(self) -> str:
        """For people."""
        whole = ARM_NAMES[self.arm]
        return whole if self.arm == "synthetic" else f"{whole}, {self.share:.0%} of the real patients"

    @property
    def key(self) -> str:
        """For logs and JSON: ``both_0_1``."""
        return self.arm if self.arm == "synthetic" else f"{self.arm}_{key_of(f'{self.share:g}')}"


@dataclass(frozen=True, eq=False)
class CellResult:
    """What one segmenter reached on the held-out images.

    Args:
        arm: ``"real"``, ``"synthetic"`` or ``"both"``.
        share: of the real patients; 0 of synthetic images alone.
        seed: of the training.
        counts: training images by kind.
        seconds: that it took, on the clock.
        dice: ``(N, K)`` float64; NaN where the reference lacks the structure.
        hausdorff: as ``dice``, in ``unit``.
        unit: ``"pixels"`` or ``"mm"``.
    """

    arm: str
    share: float
    seed: int
    counts: Mapping[str, int]
    seconds: float
    dice: torch.Tensor
    hausdorff: torch.Tensor
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; NaN is null."""
        known = {name: getattr(self, name) for name in ("arm", "share", "seed", "counts", "seconds", "unit")}
        return known | {name: _listed(getattr(self, name)) for name in ("dice", "hausdorff")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CellResult:
        """Read :meth:`to_dict` back."""
        tensors = {
            name: torch.tensor(
                [[np.nan if x is None else x for x in row] for row in content[name]], dtype=torch.float64
            )
            for name in ("dice", "hausdorff")
        }
        return cls(**{**content, **tensors})

    @property
    def setting(self) -> Setting:
        """What it was trained on: all that seeds have in common."""
        return Setting(self.arm, self.share)


def values_of(results: Sequence[CellResult], setting: Setting, measure: str) -> torch.Tensor:
    """Of every seed, image and structure: ``(seeds, N, K)``."""
    return torch.stack([getattr(result, measure) for result in results if result.setting == setting])


def gain_key(measure: str, share: float) -> str:
    """Key of what synthetic images add to a share of the real patients: ``gain_dice_0_1``."""
    return f"gain_{measure}_{key_of(f'{share:g}')}"


def of_structure(key: str, structure: str) -> str:
    """Key of a structure's part of a number; the mean over structures has the number's own."""
    return key if structure == MEAN else f"{key}_{key_of(structure)}"


def _listed(values: torch.Tensor) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(value, 6) for value in row] for row in values.tolist()]
