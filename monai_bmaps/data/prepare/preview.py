"""``preview.png``: a sheet to look at before training: image with the beam's outline, label map, depth map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from monai_bmaps.files import replacing
from monai_bmaps.geometry import beam_from_dict
from monai_bmaps.pictures import colour_labels, colour_map, side_by_side
from monai_bmaps.transforms import LabelToCondition, LoadFrame

_OUTLINE = np.array([255, 196, 0], np.uint8)


def write_preview(path: Path, output: Path, entries: list[dict[str, Any]], count: int = 8) -> None:
    """Write a sheet of frames spread over the set, and behind them those whose beams fit worst.

    Args:
        path: where to.
        output: folder of the prepared set.
        entries: of its frames; none: no sheet.
        count: how many frames to spread, and half as many of the worst.

    Raises:
        OSError: a frame cannot be read or the sheet not be written.
    """
    entries = [entry for entry in entries if "depth" not in entry]  # no deformed copies
    spread = [entries[i] for i in np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int)]
    rest = [entry for entry in entries if entry not in spread and "fit" in entry]
    worst = sorted(rest, key=lambda entry: entry["fit"])[: count // 2]
    if not entries:
        path.unlink(missing_ok=True)
        return
    columns = [_column(output, entry) for entry in [*spread, *worst]]
    captions = ("image and beam" + f"; last {len(worst)}: worst fits" * bool(worst), "label", "depth")
    with replacing(path) as partial:
        side_by_side(columns, captions, scale=1).save(partial)


def _column(output: Path, entry: dict[str, Any]) -> list[NDArray[np.uint8]]:
    load = LoadFrame()
    image = load(output / entry["image"]).as_tensor()
    beam = beam_from_dict(entry["beam"]) if "beam" in entry else None
    shape = (image.shape[-2], image.shape[-1])
    inside = torch.zeros(shape, dtype=torch.bool) if beam is None else beam.mask(shape)
    depth = torch.zeros(shape) if beam is None else beam.depth_map(shape)
    label = load(output / entry["label"]).as_tensor() if "label" in entry else torch.zeros_like(image)
    count = max(1, int(label.max()))
    condition = LabelToCondition(count)(label, torch.ones_like(label) if beam is None else inside[None].float())
    grey = np.repeat(image[0].numpy().astype(np.uint8)[..., None], 3, axis=-1)
    edge = inside.numpy()
    grey[edge ^ ndimage.binary_erosion(edge)] = _OUTLINE
    return [grey, colour_labels(condition), colour_map(depth, inside.float())]
