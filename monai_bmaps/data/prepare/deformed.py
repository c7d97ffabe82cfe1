"""Deformed copies of prepared frames, written beside them: the paper's CAMUS protocol, offline.

A deformed depth map is no beam's any more, so it is written too, as float32 NIfTI: lossless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from monai_bmaps.data.prepare.frames import Frame
from monai_bmaps.geometry import Beam
from monai_bmaps.transforms.deform import deformations

Planes: TypeAlias = dict[str, NDArray[Any] | None]
"""Arrays (height, width) by the key that the list gives them; ``None``: there is none."""


def deformed_copies(frame: Frame, beam: Beam, count: int, seed: int) -> Iterator[tuple[str, Planes]]:
    """Name and planes (height, width) of each copy: image, label, sector (uint8) and depth (float32, in [0, 1]).

    Args:
        frame: as it is written.
        beam: its beam.
        count: how many copies.
        seed: at least 0; with the frame's name it decides the deformations, whichever frames are prepared with it.
    """
    if count == 0:
        return
    shape = (frame.image.shape[0], frame.image.shape[1])
    planes = {"image": frame.image, "label": frame.label, "sector": beam.mask(shape).numpy().astype(np.uint8)}
    item: dict[Hashable, Any] = {}
    for key, x in planes.items():
        if x is not None:
            item[key] = torch.from_numpy(np.array(x))[None]
    item["image"] = item["image"].float()
    item["depth"] = beam.depth_map(shape)[None]
    own_seed = int.from_bytes(hashlib.sha1(f"{seed}/{frame.name}".encode()).digest()[:4], "big")
    for index, moved in enumerate(deformations(item, count, own_seed), start=1):
        result: Planes = {str(key): np.asarray(value[0]) for key, value in moved.items()}
        result["image"] = np.asarray(moved["image"][0]).round().clip(0, 255).astype(np.uint8)
        yield f"{frame.name}_deformed{index}", result
