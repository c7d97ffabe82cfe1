"""How near images lie to training images, and whether nearer than to held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monai_bmaps.metrics.memorisation.neighbours import Distances

SPACES = {"pixel": "32 x 32 blurred pixels", "feature": "Inception features"}
"""Names for people of the spaces that distances are in, by their names in keys."""


@dataclass(frozen=True, eq=False)
class Nearness:
    """How near synthetic and held-out real images lie to training images.

    Args:
        space: that distances are in: ``"pixel"``.
        synthetic: distance of each to the nearest training image, ``(S,)``.
        real: the same of the held-out images, ``(H,)``.
        ratio: that distance over the one to the nearest held-out image of another group, ``(S,)``; NaN where there is
            none.
        ratio_real: the same of the held-out images, ``(H,)``.
    """

    space: str
    synthetic: torch.Tensor
    real: torch.Tensor
    ratio: torch.Tensor
    ratio_real: torch.Tensor

    @property
    def place(self) -> str:
        """The space in words."""
        return SPACES.get(self.space, self.space)

    @classmethod
    def of(cls, space: Distances, groups: Sequence[str], held_out: Sequence[str]) -> Nearness:
        """Of the distances of all images.

        Args:
            space: the distances.
            groups: patient, sweep or exam of each synthetic image.
            held_out: of each held-out image.
        """
        synthetic, real = (d.amin(1) for d in (space.synthetic_training, space.held_out_training))
        # far below any distance of two images, so that a copy's ratio has a logarithm
        least = 1e-3 * float(real.median())
        others = [
            d.masked_fill(torch.as_tensor(np.array(own)[:, None] == np.array(held_out)), torch.inf).amin(1)
            for d, own in ((space.synthetic_held_out, groups), (space.held_out_held_out, held_out))
        ]
        ratios = [
            torch.where(other.isfinite(), nearest.clamp_min(least) / other.clamp_min(least), torch.nan)
            for nearest, other in zip((synthetic, real), others, strict=True)
        ]
        return cls(space.space, synthetic, real, *ratios)
