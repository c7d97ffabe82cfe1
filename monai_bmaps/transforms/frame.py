"""Load one frame with rows in depth, whatever the file format.

MONAI's readers index pixels as (column, row), image files and NIfTI alike. Here a frame is ``(1, rows, columns)``,
row 0 nearest the probe, as the beam's depth maps are.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, NibabelReader, PILReader
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends


def frame_affine() -> np.ndarray[Any, Any]:
    """Where (row, column) indices of a frame without a position lie: columns to the left, rows to the back, 1 mm.

    3D Slicer places two-dimensional ultrasound so; viewers then show the probe at the top.
    """
    return np.array([[0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


class LoadFrame(Transform):  # type: ignore[misc]
    """Read a PNG or NIfTI frame as a float32 ``MetaTensor`` ``(1, rows, columns)``.

    Colour is averaged to grey; an alpha channel is dropped. The affine maps (row, column) indices; a PNG, which has
    none, gets :func:`frame_affine`, with pixels of the spacing that it is told.

    Raises:
        ValueError: a file that holds more than one frame.
    """

    backend = (TransformBackends.TORCH,)

    def __call__(self, path: str | Path, spacing: Sequence[float] | None = None) -> MetaTensor:
        """Load ``path``; ``spacing`` is (row, column) in millimetres, for a picture."""
        path = str(path)
        picture = not path.lower().endswith((".nii", ".nii.gz"))
        # LoadImage takes whichever reader is installed last and sets up all of them, some with a warning.
        reader = PILReader() if picture else NibabelReader()
        values, meta = reader.get_data(reader.read(path))
        pixels = torch.from_numpy(np.array(values, dtype=np.float32))
        if picture:
            pixels = pixels[..., :3].mean(-1) if pixels.ndim == 3 and pixels.shape[-1] > 2 else pixels
            pixels = pixels[..., 0] if pixels.ndim == 3 else pixels
        while pixels.ndim > 2 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        if pixels.ndim != 2:
            raise ValueError(f"{path} has shape {tuple(pixels.shape)}, not one frame; export single frames")
        pixel = np.diag([*(spacing or (1.0, 1.0)), 1.0, 1.0])
        affine = frame_affine() @ pixel if picture else np.asarray(meta["affine"], dtype=np.float64)[:, [1, 0, 2, 3]]
        return MetaTensor(pixels.T[None].contiguous(), affine=torch.from_numpy(affine), meta={"filename_or_obj": path})


class LoadFramed(MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`LoadFrame`.

    Args:
        keys: paths of frames.
        allow_missing_keys: skip keys an item lacks.
        spacing_key: where an item may state (row, column) in millimetres. It is taken out: from here on the affines
            hold it, which spatial transforms keep up to date.
    """

    backend = LoadFrame.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False, spacing_key: str = "spacing") -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_key = spacing_key
        self._load = LoadFrame()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by its frame."""
        item = dict(data)
        spacing = item.pop(self.spacing_key, None)
        for key in self.key_iterator(item):
            item[key] = self._load(item[key], spacing)
        return item


LoadFrameD = LoadFrameDict = LoadFramed
