"""Which pixels of a frame are ultrasound, seen from the grey values alone.

Scanners and data sets leave everything outside the beam black, whereas tissue in the deepest shadow still shows
noise. Text, scales and bars are apart from the beam's one large region. Boxes that hide burned-in text cut corners
into that region, which no beam has; what lies under them is unknown.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask: TypeAlias = NDArray[np.bool_]

_PART = 0.05  # of the largest region: smaller ones are text, scales and bars
_EDGE = 0.15  # of the brightest pixel within two
_ARM = 10  # pixels along which a box's two edges must run straight
_DOUBT = 0.25  # of the four squares of this side around a corner
_NEIGHBOURS = np.ones((3, 3), np.bool_)


def field_of_view(image: NDArray[Any], flat: float = 0.0, noise: float = 0.0) -> tuple[Mask, Mask]:
    """The beam's region, and the boxes that hide parts of it.

    Args:
        image: (height, width), grey values in [0, 255].
        flat: grey value outside the beam.
        noise: how far the grey outside the beam may be from that: 0, or a few where JPEG has been.

    Returns:
        Two (height, width) masks: inside, holes filled; and unknown, under a box with straight black edges.

    Raises:
        ValueError: nothing stands out.
    """
    grey = np.abs(np.asarray(image, np.float32) - flat)
    # Resizing and JPEG blur an edge over a few pixels: it lies where a good part of the tissue beside it is reached.
    bright = (grey > noise) & (grey >= _EDGE * ndimage.maximum_filter(grey, 5))
    solid = _large(ndimage.binary_opening(ndimage.binary_closing(bright, _NEIGHBOURS), _NEIGHBOURS, iterations=2))
    if not solid.any():
        raise ValueError(f"no region differs from grey value {flat:g} by more than {noise:g}: the frame is empty")
    # Opening rounds off the tip of a sector: what it took from the region's own edge comes back.
    inside = ndimage.binary_dilation(solid, _NEIGHBOURS, iterations=4, mask=bright | solid)
    inside = ndimage.binary_fill_holes(inside)
    return inside, _boxes(inside)


def _large(mask: Mask) -> Mask:
    """The largest connected region, and others that a shadow cut off from it."""
    regions, _ = ndimage.label(mask)
    areas = np.bincount(regions.ravel())
    areas[0] = 0
    return np.asarray((areas >= max(1, _PART * areas.max()))[regions])


def _boxes(inside: Mask) -> Mask:
    """Rectangles that start at a right-angled corner cut into the region."""
    unknown = np.zeros_like(inside)
    for rows in (1, -1):
        for columns in (1, -1):
            seen, found = inside[::rows, ::columns], unknown[::rows, ::columns]
            for row, column in _corners(seen):
                # a little inside the box, where its blurred edge does not reach
                down, right = seen[row + 2 :, column + 2], seen[row + 2, column + 2 :]
                height, width = (2 + (int(x.argmax()) if x.any() else len(x)) for x in (down, right))
                found[row : row + height, column : column + width] = True
    return unknown & ~inside


def _corners(seen: Mask) -> NDArray[np.intp]:
    """Where a box's top left corner lies in the region: filled above and on the left, empty below right. (n, 2)."""
    # beyond the image's edge nothing is known: neither filled nor empty
    share = ndimage.uniform_filter(seen.astype(np.float32), _ARM, mode="constant", cval=0.5)
    half = _ARM // 2
    above_left, above, left, inner = (
        ndimage.shift(share, shift, order=0, cval=0.5)
        for shift in ((half, half), (half, -half), (-half, half), (-half, -half))
    )
    doubt = (3 - above_left - above - left) + inner
    best = (doubt < _DOUBT) & (doubt == ndimage.minimum_filter(doubt, _ARM))
    return np.argwhere(best[: -_ARM // 2, : -_ARM // 2])
