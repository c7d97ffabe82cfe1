"""From an item of a data set to what a bundle trains on and draws from: the chains that all bundles share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import (
    Compose,
    CropForegroundd,
    DeleteItemsd,
    MapTransform,
    MaskIntensityd,
    Resize,
    ScaleIntensityRanged,
    ShiftIntensityd,
    SpatialPadd,
)

from monai_bmaps.geometry import Beam, BeamKind
from monai_bmaps.transforms.beam import BeamDepthd
from monai_bmaps.transforms.condition import LabelToConditiond
from monai_bmaps.transforms.drawing_items import DrawnFromd, SeededAnatomyd
from monai_bmaps.transforms.frame import LoadFramed

_INTERPOLATION = {"image": "area", "label": "nearest", "sector": "nearest", "depth": "nearest", "keep": "nearest"}


class TrainingFrames(Compose):  # type: ignore[misc]
    """Frames with their conditions, for training: ``image`` in [-1, 1], ``seg``, ``depth`` and ``sector``.

    Grey levels 0..255 are read; a frame is resized so that its longest side fits, padded, given the depth map of the
    beam fitted to its ``sector`` (unless it brings a ``depth``), and black outside it.

    Args:
        image_size: height and width of what comes out.
        num_labels: anatomical labels of the label maps; 0 for unlabelled frames.
        kind: what beam to fit: ``"sector"``, ``"linear"`` or ``"auto"``.
        crop_to_beam: cut to the field of view first, and pad below and to the right of it: for frames in a wide margin.
        augmentation: transforms of ``image`` (0 is black), ``label``, ``sector`` and ``depth``, with
            ``allow_missing_keys``.
        keep_beam: leave each item's beam, in pixels of what comes out, under ``beam``: for items that are not batched.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        num_labels: int,
        kind: BeamKind = "auto",
        crop_to_beam: bool = False,
        augmentation: Sequence[Any] = (),
        keep_beam: bool = False,
    ) -> None:
        self._settings: dict[str, Any] = {
            "image_size": image_size,
            "num_labels": num_labels,
            "kind": kind,
            "crop_to_beam": crop_to_beam,
            "keep_beam": keep_beam,
        }
        keys = ["image", "label", "sector", "depth"]
        super().__init__(
            [
                LoadFramed(keys, allow_missing_keys=True),
                *_fitted(keys, image_size, crop_to_beam),
                BeamDepthd(kind=kind, keep_beam=keep_beam),
                # black is 0 while the augmentation pads
                ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=2, clip=True),
                MaskIntensityd("image", mask_key="sector"),
                *augmentation,
                ShiftIntensityd("image", offset=-1),
                LabelToConditiond("label", num_labels=num_labels),
            ]
        )

    def augmented(self, augmentation: Sequence[Any]) -> TrainingFrames:
        """The same chain with an augmentation."""
        return TrainingFrames(**self._settings, augmentation=augmentation)


class DrawingFrames(Compose):  # type: ignore[misc]
    """Conditions to draw images for: ``seg``, ``depth`` and ``sector``, on the training's grid.

    Each item remembers what it was made from, see :class:`DrawnFromd`.

    Args:
        image_size: height and width of what comes out.
        num_labels: anatomical labels of the label maps; 0 for items of a field of view alone.
        beam: one beam for all, in pixels of the label maps; ``None`` takes each item's own.
        crop_to_beam: as in training.
        edit: whether items bring an ``image`` to change, which is then read.
        keep: whether they also bring a mask ``keep`` of what stays in it.
        new_anatomy: deform each label map as its item's seed says, see :class:`SeededAnatomyd`.

    Raises:
        ValueError: new anatomy without labels, or for images that are to be changed.
    """

    def __init__(
        self,
        image_size: Sequence[int],
        num_labels: int,
        beam: Beam | Mapping[str, Any] | None = None,
        crop_to_beam: bool = False,
        edit: bool = False,
        keep: bool = False,
        new_anatomy: bool = False,
    ) -> None:
        if new_anatomy and (num_labels == 0 or edit or keep):
            raise ValueError(
                "new_anatomy deforms label maps to draw new images for: it needs a model with labels, and goes neither "
                "with strength nor with keep, whose images show the anatomy that was"
            )
        unread = [key for key, read in (("image", edit or keep), ("keep", keep)) if not read]
        keys = ["label", "sector", "depth", "keep", "image"]
        super().__init__(
            [
                *([DeleteItemsd(unread)] if unread else []),
                DrawnFromd(["label", "sector", "image", "keep"], beam),
                LoadFramed(["label", "sector", "image", "keep"], allow_missing_keys=True),
                BeamDepthd(reference_key="label" if num_labels else "sector", beam=beam),
                *_fitted(keys, image_size, crop_to_beam),
                *([SeededAnatomyd()] if new_anatomy else []),
                ScaleIntensityRanged(
                    "image", a_min=0, a_max=255, b_min=-1, b_max=1, clip=True, allow_missing_keys=True
                ),
                LabelToConditiond("label", num_labels=num_labels),
            ]
        )


class FitInsided(MapTransform):  # type: ignore[misc]
    """Resize tensors ``(C, H, W)`` of one size so that they fit inside another, true to scale.

    Args:
        keys: what to resize; those an item lacks are skipped.
        image_size: height and width to fit into; one of them is met.
        mode: interpolation of each key, as MONAI's ``Resize`` names it.
    """

    backend = Resize.backend

    def __init__(self, keys: Sequence[str], image_size: Sequence[int], mode: Sequence[str]) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.image_size = tuple(image_size)
        self.mode = tuple(mode)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item at its new size."""
        item = dict(data)
        for key, mode in self.key_iterator(item, self.mode):
            size = item[key].shape[-2:]
            scale = min(most / side for most, side in zip(self.image_size, size, strict=True))
            item[key] = Resize([max(1, round(side * scale)) for side in size], mode=mode)(item[key])
        return item


def _fitted(keys: Sequence[str], image_size: Sequence[int], crop_to_beam: bool) -> list[Any]:
    """Resized into the grid and padded; padding is outside the beam."""
    crop = CropForegroundd(keys, source_key="sector", allow_smaller=True, allow_missing_keys=True)
    method = "end" if crop_to_beam else "symmetric"
    return [
        *([crop] if crop_to_beam else []),
        FitInsided(keys, image_size, [_INTERPOLATION[key] for key in keys]),
        SpatialPadd(keys, spatial_size=image_size, method=method, allow_missing_keys=True),
    ]
