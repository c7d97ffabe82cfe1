"""Frames of a data set and their maps in the grid of the images, prepared as bundles do to train and to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, DeleteItemsd, ScaleIntensityRanged, SpatialPadd

from monai_bmaps.geometry import BeamKind, fit_beam
from monai_bmaps.metrics.images.image_set import Spacing
from monai_bmaps.transforms import DrawingFrames, TrainingFrames
from monai_bmaps.transforms.frame import LoadFrame, LoadFramed
from monai_bmaps.transforms.pipelines import FitInsided

Item: TypeAlias = Mapping[str, Any]
"""An entry of a data list, or what a chain made of it."""


@dataclass(frozen=True)
class ReadingOptions:
    """How images are read.

    Args:
        size: height and width that every image is fitted into, true to scale; ``None``: sizes stay, those of a data set
            become the synthetic images'.
        kind: beam to fit: ``"sector"``, ``"linear"`` or ``"auto"``.
        crop_to_beam: cut frames of a data set to the field of view first, as some bundles do.
        source: name of a data set that was not prepared, which decides its split: ``"camus"``.
        group_pattern: regular expression of the patient, sweep or exam in a file's name.
        group_column: column of ``index.csv`` that holds it.
        classes: names of the labels 1, 2, ...; empty: those of the data set.
    """

    size: tuple[int, int] | None = None
    kind: BeamKind = "auto"
    crop_to_beam: bool = False
    source: str | None = None
    group_pattern: str | None = None
    group_column: str | None = None
    classes: tuple[str, ...] = ()


def training_chain(items: Sequence[Item], classes: Sequence[str], options: ReadingOptions) -> Any:
    """What makes frames and maps of a data set's items as for training: images in [-1, 1].

    Args:
        items: all of one kind, with the same keys as the first.
        classes: names of the labels; empty: as many labels as occur.
        options: with the ``size`` of the grid.
    """
    size = options.size or (0, 0)
    if "sector" not in items[0]:
        return Compose(
            [*_fitted(size), ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=-1, b_max=1, clip=True)]
        )
    return TrainingFrames(
        size, _labels_in(items, classes), kind=options.kind, crop_to_beam=options.crop_to_beam, keep_beam=True
    )


def drawing_chain(items: Sequence[Item], classes: Sequence[str], options: ReadingOptions) -> Any:
    """What makes the maps that images are drawn for of items; arguments as :func:`training_chain`."""
    size = options.size or (0, 0)
    if not any(key in items[0] for key in ("sector", "beam", "depth")):
        return Compose([DeleteItemsd("image"), *_fitted(size)])
    return DrawingFrames(size, _labels_in(items, classes), crop_to_beam=options.crop_to_beam)


def _fitted(size: Sequence[int]) -> list[Any]:
    """Loaded and fitted into the grid, for items without a beam."""
    keys = ["image", "label"]
    return [
        LoadFramed(keys, allow_missing_keys=True),
        FitInsided(keys, size, ["area", "nearest"]),
        SpatialPadd(keys, spatial_size=size, allow_missing_keys=True),
    ]


def _labels_in(items: Sequence[Item], classes: Sequence[str]) -> int:
    """How many labels there are: as many as have names, without names as many as occur."""
    if "label" not in items[0]:
        return 0
    return len(classes) or max(int(LoadFrame()(item["label"]).max()) for item in items)


def maps_of(prepared: Item, item: Item) -> dict[str, Any]:
    """Labels, depth, inside, beam and spacing of a prepared item; ``None`` for what it does not tell."""
    inside = plain(prepared["sector"])[0] > 0.5 if "sector" in prepared else None
    labels = plain(prepared["label"])[0].long() if "label" in item else None
    if labels is not None and inside is not None:
        labels = torch.where(inside, labels, 0)
    beam = prepared.get("beam")
    if beam is None and inside is not None and "depth" not in item:
        beam = fit_beam(inside)
    depth = plain(prepared["depth"])[0].float() if "depth" in prepared else None
    reference = prepared.get("image", prepared.get("label"))
    spacing = _spacing(reference) if item.get("spacing") is not None else None
    return {"labels": labels, "depth": depth, "inside": inside, "beams": beam, "spacing": spacing}


def stacked(maps: Sequence[Item]) -> dict[str, Any]:
    """The maps of all images by field; tensors only where every image has one."""
    stacked: dict[str, Any] = {what: tuple(each[what] for each in maps) for what in ("beams", "spacing")}
    for what in ("labels", "depth", "inside"):
        each = [entry[what] for entry in maps]
        stacked[what] = None if any(entry is None for entry in each) else torch.stack(each)
    return stacked


def _spacing(frame: Any) -> Spacing | None:
    """(row, column) in millimetres of a frame whose affine is known."""
    if not isinstance(frame, MetaTensor):
        return None
    row, column = np.linalg.norm(np.asarray(frame.affine, dtype=float)[:3, :2], axis=0)
    return float(row), float(column)


def plain(values: torch.Tensor) -> torch.Tensor:
    """Values without MONAI's tensor class."""
    return values.as_subclass(torch.Tensor).detach()
