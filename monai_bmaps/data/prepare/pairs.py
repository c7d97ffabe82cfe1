"""An image and the label map and field of view that lie beside it, on one grid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_bmaps.data.prepare.frames import Frame, Item
from monai_bmaps.data.prepare.orientation import Layout, Orientation, frame_layout
from monai_bmaps.data.prepare.reading import Stored, open_frame
from monai_bmaps.data.prepare.values import LabelRule, grey_of

_SAME_SPACING = 0.01  # relative


def item_of(found: Mapping[str, Any]) -> Item:
    """What a reader listed, as something to open; a MetaImage's pixel file belongs to it."""
    paths = [Path(found[key]) for key in ("image", "label", "sector") if key in found]
    beside = [path.with_suffix(end) for path in paths if path.suffix.lower() == ".mhd" for end in (".raw", ".zraw")]
    files = (*paths, *(path for path in beside if path.is_file()))
    name = re.sub(r"[^\w.-]|^(?!\w)", "_", found["name"])  # what a dataset.json takes as a name
    return Item(name, found["group"], files, found.get("split"), found)


def label_of(item: Item) -> Path:
    """The label that the item must have.

    Raises:
        ValueError: it has none.
    """
    if "label" not in item.found:
        raise ValueError(f"{item.found['image']} has no label beside it; add the label, or take the image out")
    return Path(item.found["label"])


def labelled_frame(
    item: Item,
    orientation: Orientation,
    rule: LabelRule,
    attributes: Mapping[str, Any],
    spacing: tuple[float, float] | None = None,
    window: tuple[float, float] | None = None,
) -> Frame:
    """A single frame with the label and field of view that lie beside it, if any.

    Args:
        item: with paths under ``image``, ``label`` and ``sector``.
        orientation: the user's word about array axes.
        rule: which labels are accepted.
        attributes: view, phase, ...
        spacing: (row, column) in millimetres for files that state none.
        window: values that become 0 and 255; ``None``: they lie in [0, 255].

    Raises:
        ValueError: a file that cannot be read, or that does not lie on the other pixel by pixel.
        OSError: a file that is not there or may not be read.
    """
    image = open_frame(Path(item.found["image"]))
    layout = frame_layout(image.affine, orientation, image.stack)
    planes = {"image": next(image.planes(layout))}
    for key in ("label", "sector"):
        if key in item.found:
            beside = open_frame(Path(item.found[key]), label=True)
            check_same(image, layout, beside, frame_layout(beside.affine, orientation, beside.stack))
            planes[key] = next(beside.planes(layout))
    return Frame(
        name=item.name,
        image=grey_of(planes["image"], image.path, window),
        label=rule.apply(planes["label"], Path(item.found["label"])) if "label" in planes else None,
        spacing=image.plane_spacing(layout) or spacing,
        inside=planes["sector"] > 0 if "sector" in planes else None,
        attributes=attributes,
    )


def check_same(image: Stored, layout: Layout, label: Stored, of_label: Layout) -> None:
    """Refuse a label that does not lie on its image pixel by pixel.

    Raises:
        ValueError: another shape, orientation or spacing.
    """
    if image.array.shape != label.array.shape:
        shapes = f"{label.array.shape}, its image {image.array.shape}"
        raise ValueError(f"{label.path} has {shapes} pixels; export both on one grid")
    if layout != of_label:
        raise ValueError(
            f"{label.path} is turned differently from its image by their affines; repair one of them, or ignore both "
            "with --stored-order"
        )
    both = (image.plane_spacing(layout), label.plane_spacing(layout))
    if both[0] is not None and both[1] is not None and not np.allclose(both[0], both[1], rtol=_SAME_SPACING):
        raise ValueError(f"{label.path} has pixels of {both[1]} mm, its image {both[0]}; export both on one grid")
