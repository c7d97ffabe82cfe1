"""Depth as data: one more key beside image and label, carried along by ordinary spatial transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends

from monai_bmaps.geometry import Beam, BeamKind, LinearBeam, SectorBeam, Spacing, beam_from_dict, fit_beam


class BeamDepth(Transform):  # type: ignore[misc]
    """Depth map and field of view of a beam, for an image's pixel grid.

    Args:
        spacing: pixel size in the beam's unit, a number or (row, column); 1 for a beam in pixels.

    Example:
        >>> depth, sector = BeamDepth()(LinearBeam(), torch.zeros(1, 5, 7))
        >>> depth.shape, float(depth[0, 2, 0])
        (torch.Size([1, 5, 7]), 0.5)
    """

    backend = (TransformBackends.TORCH,)

    def __init__(self, spacing: Spacing = 1.0) -> None:
        self.spacing = spacing

    def __call__(self, beam: Beam | Mapping[str, Any], reference: torch.Tensor) -> tuple[MetaTensor, MetaTensor]:
        """Depth in [0, 1] and sector mask (0 or 1), both float32 ``(1, H, W)`` with the reference's affine.

        Raises:
            ValueError: a beam that covers no pixel.
        """
        if not isinstance(beam, (LinearBeam, SectorBeam)):
            beam = beam_from_dict(beam)
        shape = (reference.shape[-2], reference.shape[-1])
        depth, mask = beam.depth_map(shape, self.spacing), beam.mask(shape, self.spacing)
        if not bool(mask.any()):
            raise ValueError(
                f"{beam} covers no pixel of an image of {shape[0]} x {shape[1]} with spacing {self.spacing}; are its "
                "lengths in pixels? Millimetres need the pixel size as spacing"
            )
        affine = reference.affine if isinstance(reference, MetaTensor) else None
        depth, mask = (MetaTensor(x.float()[None].to(reference.device), affine=affine) for x in (depth, mask))
        return depth, mask


class BeamDepthd(Transform):  # type: ignore[misc]
    """Add ``depth`` and ``sector`` to an item.

    The beam is, in this order: the one given here; the item's own under ``beam_key`` (a beam or its dictionary); none,
    if the item has a depth map and sector of its own, which then stay; one fitted to the item's field-of-view mask
    under ``sector_key``, which is then replaced by the fitted beam's. A beam
    in the item is meant in the pixels of the image it stands beside: resize after this transform, or fit after
    resizing. It is taken out of the item, unless asked for: spatial transforms change the depth map, but not a beam.

    Args:
        reference_key: image or label whose pixel grid counts.
        beam: one beam for all items, or ``None``.
        spacing: pixel size in the beam's unit.
        beam_key: where an item's own beam is.
        depth_key: where the depth map ``(1, H, W)`` goes.
        sector_key: where the field of view ``(1, H, W)`` goes, or is read for fitting.
        kind: what to fit: ``"sector"``, ``"linear"`` or ``"auto"``.
        keep_beam: leave the beam, as an object, under ``beam_key``: for items that are not batched.

    Raises:
        KeyError: an item from which no beam can be had, or without ``reference_key``.
        ValueError: a field-of-view mask or depth map of another size than the reference, or a beam that covers no
            pixel.
    """

    backend = BeamDepth.backend

    def __init__(
        self,
        reference_key: str = "image",
        beam: Beam | Mapping[str, Any] | None = None,
        spacing: Spacing = 1.0,
        beam_key: str = "beam",
        depth_key: str = "depth",
        sector_key: str = "sector",
        kind: BeamKind = "auto",
        keep_beam: bool = False,
    ) -> None:
        self.reference_key = reference_key
        self.beam = beam
        self.beam_key = beam_key
        self.depth_key = depth_key
        self.sector_key = sector_key
        self.kind = kind
        self.keep_beam = keep_beam
        self._make = BeamDepth(spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with its depth map and sector."""
        item = dict(data)
        if self.reference_key not in item:
            raise KeyError(f"the item has no {self.reference_key!r}, whose pixels count; it has {_names(item)}")
        if self.beam is None and item.get(self.beam_key) is None and self.depth_key in item:
            self._check_own(item)
            return item
        beam = self._beam_of(item)
        item[self.depth_key], item[self.sector_key] = self._make(beam, item[self.reference_key])
        item.pop(self.beam_key, None)  # no batch holds beams of two kinds, nor ends that are None
        if self.keep_beam:
            item[self.beam_key] = beam if isinstance(beam, (LinearBeam, SectorBeam)) else beam_from_dict(beam)
        return item

    def _check_own(self, item: Mapping[Hashable, Any]) -> None:
        """Refuse a depth map that does not belong to the image beside it."""
        size = item[self.reference_key].shape[-2:]
        for key in (self.depth_key, self.sector_key):
            if not isinstance(item.get(key), torch.Tensor) or item[key].shape[-2:] != size:
                raise ValueError(
                    f"an item with its own {self.depth_key} needs {key} as a tensor of {tuple(size)} pixels, like its "
                    f"{self.reference_key}; load and resize it with the image"
                )

    def _beam_of(self, item: Mapping[Hashable, Any]) -> Beam | Mapping[str, Any]:
        if self.beam is not None:
            return self.beam
        if item.get(self.beam_key) is not None:
            return cast("Beam | Mapping[str, Any]", item[self.beam_key])
        if self.sector_key in item:
            mask = torch.as_tensor(item[self.sector_key]).as_subclass(torch.Tensor)[0] > 0
            size = item[self.reference_key].shape[-2:]
            if mask.shape != size:
                raise ValueError(
                    f"the {self.sector_key} is {tuple(mask.shape)}, but the {self.reference_key} beside it "
                    f"{tuple(size)}; resize one of them"
                )
            return fit_beam(mask, kind=self.kind, spacing=self._make.spacing)
        raise KeyError(
            f"no beam for this item: give BeamDepthd a beam, or the item a {self.beam_key!r} or a field-of-view mask "
            f"{self.sector_key!r}; it has {_names(item)}"
        )


def _names(item: Mapping[Hashable, Any]) -> str:
    return ", ".join(map(str, item))


BeamDepthD = BeamDepthDict = BeamDepthd
