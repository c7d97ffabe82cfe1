"""Where a frame of any size lies on a model's grid, and back: cut, scaled true to scale and padded as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

ASPECT_TOLERANCE = 2.0
"""A frame may be this many times wider or narrower than the model's grid; what is longer covers too few pixels."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """A frame's place on a model's grid; all pairs are (rows, columns).

    Args:
        size: of the frame.
        corner: first pixel of the part that is used.
        part: size of that part.
        scaled: its size on the grid, one side of which it fills.
        offset: its first pixel there.
        grid: size of the grid.
    """

    size: Pair
    corner: Pair
    part: Pair
    scaled: Pair
    offset: Pair
    grid: Pair

    @classmethod
    def of(cls, sector: torch.Tensor, grid: Sequence[int], crop: bool = False) -> Placement:
        """As :class:`~monai_bmaps.transforms.TrainingFrames` places frames.

        Args:
            sector: field of view ``(1, H, W)``, positive inside.
            grid: size of the model's images.
            crop: use the field of view alone, and pad below and to the right of it, instead of evenly.
        """
        size = (sector.shape[-2], sector.shape[-1])
        corner, part = _bounds(sector) if crop else ((0, 0), size)
        height, width = grid
        scale = min(height / part[0], width / part[1])
        scaled = (max(1, round(part[0] * scale)), max(1, round(part[1] * scale)))
        offset = (0, 0) if crop else ((height - scaled[0]) // 2, (width - scaled[1]) // 2)
        return cls(size, corner, part, scaled, offset, (height, width))

    @property
    def stretch(self) -> float:
        """How many times longer or shorter the frame is than the grid, at least 1."""
        ratio = (self.part[0] * self.grid[1]) / (self.part[1] * self.grid[0])
        return max(ratio, 1 / ratio)

    def onto(self, values: torch.Tensor, mode: Literal["area", "nearest"], fill: float = 0.0) -> torch.Tensor:
        """A frame's values ``(1, H, W)`` on the grid, ``fill`` around them."""
        (top, left), (height, width) = self.corner, self.part
        part = values[None, :, top : top + height, left : left + width].float()
        scaled = functional.interpolate(part, size=self.scaled, mode=mode)[0]
        (above, before), (rows, columns) = self.offset, self.scaled
        around = (before, self.grid[1] - before - columns, above, self.grid[0] - above - rows)
        return functional.pad(scaled, around, value=fill)

    def back(self, values: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        """Values on the grid ``(1, h, w)`` on the frame's own pixels, ``fill`` beyond what was used of it."""
        (above, before), (rows, columns) = self.offset, self.scaled
        part = values[None, :, above : above + rows, before : before + columns]
        smaller = self.part[0] < rows or self.part[1] < columns
        # averaged where there are fewer pixels, interpolated where there are more
        mode, corners = ("area", None) if smaller else ("bilinear", False)
        scaled = functional.interpolate(part, size=self.part, mode=mode, align_corners=corners)[0]
        (top, left), (height, width) = self.corner, self.part
        around = (left, self.size[1] - left - width, top, self.size[0] - top - height)
        return functional.pad(scaled, around, value=fill)


def _bounds(sector: torch.Tensor) -> tuple[Pair, Pair]:
    """First pixel and size of the smallest box around what is positive."""
    rows, columns = (torch.nonzero((sector[0] > 0).any(dim)).flatten().tolist() for dim in (1, 0))
    return (rows[0], columns[0]), (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
