"""Pictures for people: label maps and B-maps in colour, columns side by side with captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

Pixels: TypeAlias = np.ndarray[Any, Any]
"""``(H, W)`` or ``(H, W, 3)`` uint8."""

_LABEL_COLOURS = np.array(
    [[12, 12, 16], [178, 58, 72], [222, 176, 92], [74, 124, 178], [118, 158, 110], [150, 112, 170]],
    dtype=np.uint8,
)
_UNLABELLED = np.array([58, 60, 66], dtype=np.uint8)
_MAP_STOPS = np.array([[250, 236, 170], [226, 120, 70], [120, 40, 100], [22, 14, 50]], dtype=np.float64)


def to_grey(image: torch.Tensor) -> Pixels:
    """8-bit grey of an image ``(H, W)`` in [-1, 1]."""
    return np.asarray(((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu())


def colour_labels(seg: torch.Tensor) -> Pixels:
    """Colours of condition channels ``(K + 2, H, W)``: outside the beam first, unlabelled tissue last.

    The colours of the anatomy repeat after five labels.
    """
    classes = seg.argmax(0).cpu().numpy()
    outside, anatomy = _LABEL_COLOURS[:1], _LABEL_COLOURS[1:]
    colours = np.concatenate([outside, anatomy[np.arange(len(seg) - 2) % len(anatomy)], _UNLABELLED[None]])
    return np.asarray(colours[classes])


def colour_map(values: torch.Tensor, sector: torch.Tensor) -> Pixels:
    """Colours of a map ``(H, W)`` in [0, 1], light for 0 and dark for 1; as the labels' outside where sector is 0."""
    position = values.double().clamp(0, 1).cpu().numpy() * (len(_MAP_STOPS) - 1)
    low = np.minimum(position.astype(int), len(_MAP_STOPS) - 2)
    share = (position - low)[..., None]
    colours = ((1 - share) * _MAP_STOPS[low] + share * _MAP_STOPS[low + 1]).round().astype(np.uint8)
    return np.asarray(np.where(sector.cpu().numpy()[..., None] > 0.5, colours, _LABEL_COLOURS[0]))


def side_by_side(
    columns: Sequence[Sequence[Pixels]], captions: Sequence[str] = (), scale: int = 2
) -> PillowImage.Image:
    """One picture of columns of panels; captions name the rows, at their left edge. Smaller panels get a black rim.

    Raises:
        ValueError: no column, or columns of different lengths.
    """
    if not columns or len({len(column) for column in columns}) != 1:
        raise ValueError(f"columns must be non-empty and equally long, got lengths {[len(c) for c in columns]}")
    height, width = (max(panel.shape[axis] for column in columns for panel in column) for axis in (0, 1))
    rgb = [[_panel(panel, height, width) for panel in column] for column in columns]
    body = np.concatenate([np.concatenate(column, axis=0) for column in rgb], axis=1)
    picture = PillowImage.fromarray(body)
    picture = picture.resize((picture.width * scale, picture.height * scale), PillowImage.Resampling.BICUBIC)
    drawing = ImageDraw.Draw(picture)
    for row, caption in enumerate(captions):
        top = row * picture.height / len(columns[0])
        font = ImageFont.load_default(size=14)  # dark rim: panels may be as light as the letters
        drawing.text((6, top + 4), caption, fill=(235, 235, 235), font=font, stroke_width=2, stroke_fill=(12, 12, 16))
    return picture


def _panel(pixels: Pixels, height: int, width: int) -> Pixels:
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    return np.pad(rgb, ((0, height - rgb.shape[0]), (0, width - rgb.shape[1]), (0, 0)))
