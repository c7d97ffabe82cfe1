"""Load one frame with rows in depth, whatever the file format.

MONAI's readers index pixels as (column, row), image files and NIfTI alike. Here a frame is ``(1, rows, columns)``,
row 0 nearest the probe, as the beam's depth maps are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImage, MapTransform, Transform
from monai.utils import TransformBackends


def frame_affine() -> np.ndarray[Any, Any]:
    """Where (row, column) indices of a frame without a position lie: columns to the left, rows to the back, 1 mm.

    3D Slicer places two-dimensional ultrasound so; viewers then show the probe at the top.
    """
    return np.array([[0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


class LoadFrame(Transform):  # type: ignore[misc]
    """Read a PNG or NIfTI frame as a float32 ``MetaTensor`` ``(1, rows, columns)``.

    Colour is averaged to grey; an alpha channel is dropped. The affine maps (row, column) indices; a PNG, which has
    none, gets :func:`frame_affine`.

    Raises:
        ValueError: a file that holds more than one frame.
    """

    backend = (TransformBackends.TORCH,)

    def __init__(self) -> None:
        self._load = LoadImage(image_only=True, dtype=torch.float32)

    def __call__(self, path: str | Path) -> MetaTensor:
        """Load ``path``."""
        path = str(path)
        loaded = self._load(path)
        pixels = loaded.as_tensor()
        if path.lower().endswith(".png"):
            pixels = pixels[..., :3].mean(-1) if pixels.ndim == 3 and pixels.shape[-1] > 2 else pixels
            pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
        while pixels.ndim > 2 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        if pixels.ndim != 2:
            raise ValueError(f"{path} has shape {tuple(pixels.shape)}, not one frame; export single frames")
        affine = loaded.affine[:, [1, 0, 2, 3]] if not path.lower().endswith(".png") else torch.tensor(frame_affine())
        return MetaTensor(pixels.T[None].contiguous(), affine=affine, meta={"filename_or_obj": path})


class LoadFramed(MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`LoadFrame`."""

    backend = LoadFrame.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self._load = LoadFrame()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its frame."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self._load(item[key])
        return item


LoadFrameD = LoadFrameDict = LoadFramed
