"""Data sets as image sets, with labels and beams.

Frames are prepared as for training: resized into the grid, black outside the fitted beam.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image as PillowImage
from tqdm import tqdm

from monai_bmaps.data import list_items
from monai_bmaps.data.folder import GENERATORS
from monai_bmaps.data.split import Split
from monai_bmaps.metrics.images.frames import Item, ReadingOptions, maps_of, plain, stacked, training_chain
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.images.picture_folder import GREY_OR_COLOUR
from monai_bmaps.transforms.frame import LoadFrame


def is_data_set(path: Path) -> bool:
    """Whether a folder holds a data set rather than pictures."""
    return path.is_dir() and (path / "images").is_dir()


def read_data_set(
    root: Path, name: str, split: Split | Literal["all"] | None, options: ReadingOptions, verbose: bool
) -> ImageSet:
    """Read a split of a data set; arguments and errors as :func:`~monai_bmaps.metrics.images.reading.read_images`."""
    known = options.source is not None or _is_prepared(root)
    split = split or ("test" if known else "all")
    if split != "all" and not known:
        raise ValueError(
            f"{root} was not prepared, so the split {split!r} needs the data set's name: --source, and --group-pattern "
            "or --group-column for the patients"
        )
    items = _items(root, split, options)
    if not items:
        raise FileNotFoundError(f"{root} has no item in its {split} split; take another one")
    classes = options.classes or classes_of(root)
    size = options.size or _size_of(items[0]["image"])
    _refuse_deep_pictures(items)
    chain = training_chain(items, classes, replace(options, size=size))
    images, maps = [], []
    for item in tqdm(items, desc=f"{name} images", disable=not verbose):
        prepared = chain(item)
        images.append(((plain(prepared["image"]) + 1) / 2).clamp(0, 1))
        maps.append(maps_of(prepared, item))
    notes = [] if "sector" in items[0] else [f"{root.name} has no sectors/: depth and beam are unknown"]
    return ImageSet(
        name,
        tuple(item["name"] for item in items),
        torch.stack(images),
        groups=tuple(item["group"] for item in items),
        classes=classes,
        notes=(*notes, f"{split} split of {root.name}, fitted into {size[0]} x {size[1]} as for training"),
        **stacked(maps),
    )


def _items(root: Path, split: Split | Literal["all"], options: ReadingOptions) -> list[dict[str, Any]]:
    labels, sectors = (kind if (root / kind).is_dir() else None for kind in ("labels", "sectors"))
    return list_items(
        root,
        split,
        source=options.source or root.name,
        group_pattern=options.group_pattern,
        group_column=options.group_column,
        labels=labels,
        sectors=sectors,
    )


def _is_prepared(root: Path) -> bool:
    index = root / "dataset.json"
    return index.is_file() and json.loads(index.read_text()).get("generator") in GENERATORS


def classes_of(root: Path) -> tuple[str, ...]:
    """Names of the labels 1, 2, ... of a data set that tells them."""
    index = root / "dataset.json"
    named = json.loads(index.read_text()).get("labels", {}) if index.is_file() else {}
    return tuple(name for value, name in sorted(named.items(), key=lambda entry: int(entry[0])) if int(value) > 0)


def _size_of(path: str) -> tuple[int, int]:
    height, width = LoadFrame()(path).shape[1:]
    return height, width


def _refuse_deep_pictures(items: Sequence[Item]) -> None:
    """Frames of data sets are read as grey levels 0 to 255: what has others would be cut off silently."""
    for path in (item["image"] for item in items if str(item["image"]).lower().endswith(".png")):
        with PillowImage.open(path) as picture:
            mode = picture.mode
        if mode not in GREY_OR_COLOUR:
            raise ValueError(
                f"{path} has pixels of kind {mode}, frames of a data set have 8 bits; bring it into this form with "
                "python -m monai_bmaps.data prepare folder (--window LOW HIGH)"
            )
