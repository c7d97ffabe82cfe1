"""A sheet of drawn images spread over a set, each beside its label map and the real frame of that label map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage

from monai_bmaps.pictures import Pixels, colour_labels, side_by_side, to_grey

_RIM = 6  # black pixels between cells, which hold two or three panels each


class Sheet:
    """Collects images while they are drawn, so that a sheet needs no second look at the set.

    Args:
        expected: how many images will come; those shown are spread evenly over them.
        side: cells in a row and in a column.
    """

    def __init__(self, expected: int, side: int = 5) -> None:
        self.side = side
        self._wanted = set(np.linspace(0, max(0, expected - 1), side**2).round().astype(int).tolist())
        self._seen = 0
        self._cells: list[Pixels] = []
        self._panels: list[str] = []

    def add(self, batch: Mapping[str, Any], images: torch.Tensor) -> None:
        """Take the images ``(N, 1, H, W)`` in [-1, 1] of a batch, and its ``seg`` and ``image`` where it has them."""
        for index, image in enumerate(images):
            if self._seen in self._wanted:
                panels = {"labels": colour_labels(_plain(batch["seg"][index]))} if "seg" in batch else {}
                panels |= {"real": to_grey(_plain(batch["image"][index])[0])} if "image" in batch else {}
                panels |= {"synthetic": to_grey(_plain(image)[0])}
                self._panels = list(panels)
                self._cells.append(np.concatenate([_rgb(panel) for panel in panels.values()], axis=1))
            self._seen += 1

    def caption(self) -> str:
        """What stands beside what in a cell: ``labels, real, synthetic``."""
        return ", ".join(self._panels)

    def picture(self) -> PillowImage.Image | None:
        """The sheet, ``None`` if no image came."""
        if not self._cells:
            return None
        cells = [np.pad(cell, ((0, _RIM), (0, _RIM), (0, 0))) for cell in self._cells]
        across = min(self.side, len(cells))
        cells += [np.zeros_like(cells[0])] * (-len(cells) % across)
        return side_by_side([cells[column::across] for column in range(across)], [self.caption()], scale=1)


def _plain(image: torch.Tensor) -> torch.Tensor:
    return image.detach().as_subclass(torch.Tensor).cpu()


def _rgb(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
