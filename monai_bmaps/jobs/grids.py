"""From the model's pixel grid back to the frame that was asked for: undo cropping, resizing and padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from monai_bmaps.geometry import Shape
from monai_bmaps.transforms.frame import frame_affine


class FrameGrid:
    """Where the pixels of a frame lie in an image that was drawn for it.

    Args:
        size: (rows, columns) of the frame.
        affine: ``(4, 4)``, of the drawn image's (row, column) indices, where the frame had that of
            :func:`~monai_bmaps.transforms.frame.frame_affine`; cropping, resizing and padding keep it up to date.
    """

    def __init__(self, size: Shape, affine: Any) -> None:
        self.size = (int(size[0]), int(size[1]))
        to_drawn = np.linalg.inv(np.asarray(affine, dtype=np.float64)) @ frame_affine()
        self.positions = [
            torch.as_tensor(to_drawn[axis, axis] * np.arange(count) + to_drawn[axis, 3])
            for axis, count in enumerate(self.size)
        ]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The frame's pixels ``(rows, columns)`` of an image ``(H, W)``; mixed linearly where the grids differ.

        On the same grid not a bit is changed. Beyond the image its edge goes on.
        """
        image = image.as_subclass(torch.Tensor)
        if image.shape == self.size and all(self._is_whole(x) for x in self.positions):
            return image
        rows, columns = (
            (2 * x / max(1, n - 1) - 1).to(image) for x, n in zip(self.positions, image.shape, strict=True)
        )
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        mixed = functional.grid_sample(image[None, None], places[None], padding_mode="border", align_corners=True)
        return mixed[0, 0]

    @staticmethod
    def _is_whole(positions: torch.Tensor) -> bool:
        return bool(torch.allclose(positions, torch.arange(len(positions)).to(positions), atol=1e-6))
