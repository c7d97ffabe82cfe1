"""Which beam a field-of-view mask shows: the one whose own mask overlaps it best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

from monai_bmaps.geometry.beams import Beam, LinearBeam, Numbers
from monai_bmaps.geometry.checks import Spacing, check_spacing
from monai_bmaps.geometry.sector_fitting import Mask, fit_sector

BeamKind: TypeAlias = Literal["auto", "sector", "linear"]

_LEAST_OVERLAP = 0.8  # a fit below this intersection over union is refused
_PREFER_LINEAR = 0.03  # a linear beam is preferred although a sector overlaps by this much more


def fit_beam(mask: Any, kind: BeamKind = "auto", spacing: Spacing = 1.0, *, ignore: Any = None) -> Beam:
    """Find the beam whose mask overlaps a field-of-view mask best (intersection over union, IoU).

    Sides cut off by the image's edges, holes, speckle and ragged edges are tolerated. The image's edge is no
    evidence of an end; an arc that the mask does not show is put at its nearest or deepest pixel. A near
    radius under 3 % of the far one cannot be told from 0 and becomes 0 (phased array). Deterministic.

    Args:
        mask: (height, width), boolean or 0 and 1; 1 inside the field of view, holes filled if possible.
        kind: which beam; "auto" takes the better one, the linear one where both do (IoU within 0.03).
        spacing: distance between pixel centres; the beam has the same unit (pixels at spacing 1).
        ignore: (height, width), 1 where the mask is no evidence, for example under a box that hides burned-in text.

    Returns:
        The beam, whose ``mask(mask.shape, spacing)`` reproduces ``mask``.

    Raises:
        ValueError: the mask is empty, not two-dimensional or not 0/1, or no beam reaches IoU 0.8.

    >>> fit_beam(LinearBeam(top=3, bottom=20).mask((24, 32)))
    LinearBeam(top=3.0, bottom=20.0, left=None, right=None)
    """
    inside = _check_mask(mask)
    seen = _check_ignored(ignore, inside)
    inside = inside & seen
    fits: dict[str, Callable[[Mask, Mask, Spacing], Beam]] = {"linear": _fit_linear, "sector": fit_sector}
    if kind not in ("auto", *fits):
        raise ValueError(f"kind must be 'auto', 'linear' or 'sector', got {kind!r}; choose one")
    found: list[tuple[Beam, float]] = []
    for name in fits if kind == "auto" else (kind,):
        candidate = fits[name](inside, seen, spacing)
        found.append((candidate, _overlap(candidate.mask(inside.shape, spacing).numpy() & seen, inside)))
        if found[0][1] >= 1 - _PREFER_LINEAR:
            break  # no other could be that much better
    linear_will_do = found[0][1] >= found[-1][1] - _PREFER_LINEAR
    beam, overlap = found[0] if linear_will_do else found[-1]
    if overlap < _LEAST_OVERLAP:
        raise ValueError(
            f"the overlap (IoU) of a beam with the mask must be at least {_LEAST_OVERLAP}, kind {kind!r} got "
            f"{overlap:.3f}; pass the filled field of view as mask, or give the beam's numbers yourself"
        )
    return beam


def _check_mask(mask: Any) -> Mask:
    """The mask as (height, width), bool."""
    values = mask.detach().cpu().as_subclass(Tensor).numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if values.ndim != 2:
        raise ValueError(f"mask must be (height, width), got shape {values.shape}; drop batch and channel")
    if not ((values == 0) | (values == 1)).all():
        span = f"{values.min()} to {values.max()}"
        raise ValueError(f"mask must hold only 0 and 1, got values from {span}; pass e.g. image > 0")
    if not values.any():
        raise ValueError(f"mask must be 1 inside the beam, got only zeros, shape {values.shape}; check the threshold")
    return values.astype(np.bool_)


def _check_ignored(ignore: Any, inside: Mask) -> Mask:
    """Where the mask is evidence."""
    if ignore is None:
        return np.ones_like(inside)
    values = ignore.detach().cpu().as_subclass(Tensor).numpy() if isinstance(ignore, Tensor) else np.asarray(ignore)
    if values.shape != inside.shape:
        raise ValueError(f"ignore must have the mask's shape {inside.shape}, got {values.shape}; make it as large")
    seen = values == 0
    if not (inside & seen).any():
        raise ValueError("ignore leaves nothing of the mask; ignore fewer pixels")
    return np.asarray(seen)


def _overlap(first: Mask, second: Mask) -> float:
    """Intersection over union of two boolean masks."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def _fit_linear(inside: Mask, seen: Mask, spacing: Spacing) -> LinearBeam:
    """The rectangle of rows and columns that are filled at least half as well as the best ones."""
    row, column = check_spacing(spacing)
    height, width = inside.shape
    top, bottom, left, right = 0, height - 1, 0, width - 1
    for _ in range(3):  # rows and columns depend on one another
        top, bottom = _filled_range(_share(inside[:, left : right + 1], seen[:, left : right + 1], 1))
        left, right = _filled_range(_share(inside[top : bottom + 1], seen[top : bottom + 1], 0))
    return LinearBeam(
        top=top * row,
        bottom=None if bottom == height - 1 else max(bottom, top + 1) * row,
        left=None if left == 0 else left * column,
        right=None if right == width - 1 else max(right, left + 1) * column,
    )


def _share(inside: Mask, seen: Mask, axis: int) -> Numbers:
    """The share of what is seen that is inside."""
    return np.asarray(inside.sum(axis) / np.maximum(seen.sum(axis), 1), np.float64)


def _filled_range(share: Numbers) -> tuple[int, int]:
    """First and last index at which the profile reaches half of its top."""
    filled = np.flatnonzero(share >= 0.5 * np.quantile(share[share > 0], 0.9))
    return int(filled[0]), int(filled[-1])
