"""Square pixels of the wanted size: images through an antialiased filter, labels without losing what is thin.

Both follow the half-pixel rule: position x becomes ``(x + 0.5) * factor - 0.5``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage

from monai_bmaps.data.convex import pad_to_square
from monai_bmaps.data.prepare.frames import Frame, Grey

Size = int | tuple[int, int] | None

_THIN = 1.5  # new pixels: a connected part into which no box of this side fits is drawn along its middle as well
_TRACE = 0.2  # of a thin part's peak: below it a pixel is beside it


def resample(frame: Frame, size: Size) -> Frame:
    """The frame with square pixels.

    Args:
        frame: without spacing its pixels are taken as square.
        size: a number: pixels along the longest side. (height, width): the frame fills one of them and is centred
            in the other, black beside it. ``None``: the finer of the two spacings, unchanged if they are equal.

    Raises:
        ValueError: a size below 1.
    """
    height, width = frame.image.shape
    row, column = frame.spacing or (1.0, 1.0)
    length = (height * row, width * column)
    if size is None:
        pixel = min(row, column)
    else:
        wanted = (size, size) if isinstance(size, int) else size
        if min(wanted) < 1:
            raise ValueError(f"size must be at least 1, got {size}; give pixels")
        pixel = max(length[0] / wanted[0], length[1] / wanted[1])
    shape = (max(1, round(length[0] / pixel)), max(1, round(length[1] / pixel)))
    spacing = None if frame.spacing is None else (length[0] / shape[0], length[1] / shape[1])
    resized = replace(
        frame,
        image=resize_image(frame.image, shape),
        label=None if frame.label is None else resize_labels(frame.label, shape),
        inside=None if frame.inside is None else resize_labels(frame.inside.astype(np.uint8), shape) > 0,
        spacing=spacing,
    )
    return _padded(resized, size) if isinstance(size, tuple) else resized


def squared(frame: Frame) -> Frame:
    """The frame padded to a square, as :func:`monai_bmaps.data.convex.pad_to_square` does."""
    return replace(
        frame,
        image=pad_to_square(frame.image)[0],
        label=None if frame.label is None else pad_to_square(frame.label)[0],
        inside=None if frame.inside is None else pad_to_square(frame.inside)[0],
    )


def resize_image(image: Grey, shape: tuple[int, int]) -> Grey:
    """Resize (height, width) by a bicubic filter as wide as the new pixels; unchanged at its own size."""
    if image.shape == shape:
        return image
    picture = PillowImage.fromarray(image).resize(shape[::-1], PillowImage.Resampling.BICUBIC)
    return np.asarray(picture)


def resize_labels(label: Grey, shape: tuple[int, int]) -> Grey:
    """Resize a label map (height, width): each new pixel takes the label that covers most of it.

    A connected part so thin that it could vanish or fall apart keeps the pixels along its middle as well.
    """
    if label.shape == shape:
        return label
    values = [int(value) for value in np.unique(label)]
    shares = np.stack([_coverage(label == value, shape) for value in values])
    resized: Grey = np.asarray(values, np.uint8)[shares.argmax(0)]
    for value in values:
        if value != 0:
            _keep_thin(label == value, value, resized)
    return resized


def _coverage(mask: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """The share of each new pixel that the mask covers."""
    picture = PillowImage.fromarray(mask.astype(np.float32))
    enlarged = shape[0] > mask.shape[0] or shape[1] > mask.shape[1]
    kernel = PillowImage.Resampling.BILINEAR if enlarged else PillowImage.Resampling.BOX
    return np.asarray(picture.resize(shape[::-1], kernel))


def _keep_thin(mask: NDArray[np.bool_], value: int, resized: Grey) -> None:
    """Draw the parts of a label that are too thin to cover most of any pixel; writes into ``resized``."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    box = [max(1, round(_THIN * old / new)) for old, new in zip(mask.shape, resized.shape, strict=True)]
    thin = np.ones(count + 1, np.bool_)
    thin[parts[ndimage.minimum_filter(mask, box, mode="nearest")]] = False
    thin[0] = False
    if thin.any():
        # A kernel of two pixels: along a line its peak never falls between two of them.
        picture = PillowImage.fromarray(thin[parts].astype(np.float32))
        share = np.asarray(picture.resize(resized.shape[::-1], PillowImage.Resampling.BILINEAR))
        resized[(share > _TRACE * share.max()) & (share >= 0.5 * ndimage.maximum_filter(share, 3))] = value


def _padded(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame in the middle of a larger one: black, background, outside."""
    short = [wanted - found for wanted, found in zip(size, frame.image.shape, strict=True)]
    margins = [(n // 2, n - n // 2) for n in short]
    label = None if frame.label is None else np.pad(frame.label, margins)
    inside = None if frame.inside is None else np.pad(frame.inside, margins)
    return replace(frame, image=np.pad(frame.image, margins), label=label, inside=inside)
