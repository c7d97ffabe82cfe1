"""Reads image sets: folders of pictures, data sets with labels and beams, what a bundle drew.

Frames of a data set are prepared as for training: resized into the grid, black outside the fitted beam.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, DeleteItemsd, ScaleIntensityRanged, SpatialPadd
from PIL import Image as PillowImage
from tqdm import tqdm

from monai_bmaps.data import list_items, load_datalist
from monai_bmaps.data.folder import GENERATORS, SUFFIXES, stem_of
from monai_bmaps.data.split import Split
from monai_bmaps.geometry import BeamKind, fit_beam
from monai_bmaps.metrics.image_set import ImageSet, Spacing
from monai_bmaps.metrics.picture_folder import GREY_OR_COLOUR, read_pictures
from monai_bmaps.provenance import condition_digest, read_record
from monai_bmaps.transforms import DrawingFrames, TrainingFrames
from monai_bmaps.transforms.frame import LoadFrame, LoadFramed
from monai_bmaps.transforms.pipelines import FitInsided

Item = Mapping[str, Any]


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


def read_images(
    path: str | Path,
    name: str = "real",
    *,
    split: Split | Literal["all"] | None = None,
    labels: str | Path | None = None,
    options: ReadingOptions | None = None,
    verbose: bool = False,
) -> ImageSet:
    """Read a set of images.

    Args:
        path: a folder of PNG or NIfTI images; a data set (``images/``, perhaps ``labels/`` and ``sectors/``, prepared
            or not); or what a bundle drew (then only files that say they are synthetic are read, each once).
        name: of the set: ``"real"``, ``"synthetic"``, ``"training"``.
        split: of a data set; ``None``: ``"test"`` where the split is known (prepared, or a ``source``), else all.
        labels: of images in a plain folder: the data set, the list (``dataset.json``) or the folder of label maps that
            they were drawn for, matched by the label's name in the PNG's text or by file name.
        options: how.
        verbose: show progress bars.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: images of different sizes without ``size``, pictures that cannot be read, or what :class:`ImageSet`
            refuses.
    """
    path, options = Path(path), options or ReadingOptions()
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a folder of {name} images")
    if is_data_set(path):
        return _read_data_set(path, name, split, options, verbose)
    images = read_pictures(path, name, options.size, group_pattern=options.group_pattern, verbose=verbose)
    if labels is None:
        return images
    return with_conditions(images, labels, options, digests=_digests(path, images), verbose=verbose)


def is_data_set(path: Path) -> bool:
    """Whether a folder holds a data set rather than pictures."""
    return path.is_dir() and (path / "images").is_dir()


def with_conditions(
    images: ImageSet,
    labels: str | Path,
    options: ReadingOptions | None = None,
    *,
    digests: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> ImageSet:
    """The images with labels, depth, beam, spacing and patient of the items that they were drawn for.

    Args:
        images: each named as an item, perhaps with ``_1``, ``_2``, ... behind it, or with the label's file in its PNG.
        labels: data set, ``dataset.json`` or folder of label maps.
        options: how the items' maps are fitted into the images' grid.
        digests: of the condition that images were drawn for, by the image's name, where it is known
            (:func:`~monai_bmaps.provenance.condition_digest`); a difference becomes a note of the set.
        verbose: show a progress bar.

    Raises:
        ValueError: images for which there is no item (the first few are named).
    """
    options = options or ReadingOptions()
    items, classes = _conditions(Path(labels), options)
    known = {entry["name"]: entry for entry in items} | {
        stem_of(Path(entry["label"])): entry for entry in items if "label" in entry
    }
    found = [known.get(item) or known.get(item.rpartition("_")[0]) for item in images.items]
    missing = [name for name, item in zip(images.names, found, strict=True) if item is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(images)} {images.name} images have no item in {labels}, for example "
            f"{', '.join(missing[:3])}; give the labels they were drawn for, or leave --labels out"
        )
    matched = [item for item in found if item is not None]
    chain = _drawing_chain(items, classes, replace(options, size=images.size))
    prepared: dict[str, dict[str, Any]] = {}
    for item in tqdm(matched, desc=f"labels of {images.name} images", disable=not verbose):
        if item["name"] not in prepared:
            maps = chain(item)
            prepared[item["name"]] = {**_maps_of(maps, item), "digest": _digest(maps)}
    conditions = [prepared[item["name"]] for item in matched]
    own = {name: condition["digest"] for name, condition in zip(images.names, conditions, strict=True)}
    return replace(
        images,
        items=tuple(item["name"] for item in matched),
        groups=tuple(str(item.get("group", item.get("patient", item["name"]))) for item in matched),
        classes=classes,
        notes=(*images.notes, *_differences(own, digests or {}, Path(labels))),
        **_stacked(conditions),
    )


def _digests(folder: Path, images: ImageSet) -> dict[str, str]:
    """What each PNG says it was drawn for, unless another image went into it."""
    records = {name: read_record(folder / f"{name}.png") or {} for name in images.names}
    return {
        name: record["Condition"]
        for name, record in records.items()
        if "Condition" in record and record.get("Strength", "None") == "None"
    }


def _digest(maps: Item) -> str | None:
    """Digest of a condition, ``None`` of maps that no bundle draws for."""
    known = {key: maps[key] for key in ("seg", "depth") if key in maps}
    return condition_digest(known) if len(known) > 1 else None


def _differences(own: Mapping[str, str | None], digests: Mapping[str, str], labels: Path) -> list[str]:
    """A note where images were drawn for something else than these labels give."""
    others = [name for name, digest in own.items() if digest and digests.get(name, digest) != digest]
    if not others:
        return []
    return [
        f"{len(others)} of {len(own)} images say that they were drawn for another condition than the labels in "
        f"{labels.name} give, for example {others[0]}; check --labels and --crop-to-beam"
    ]


def _read_data_set(
    root: Path, name: str, split: Split | Literal["all"] | None, options: ReadingOptions, verbose: bool
) -> ImageSet:
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
    classes = options.classes or _classes(root)
    size = options.size or _size_of(items[0]["image"])
    _refuse_deep_pictures(items)
    chain = _training_chain(items, classes, replace(options, size=size))
    images, maps = [], []
    for item in tqdm(items, desc=f"{name} images", disable=not verbose):
        prepared = chain(item)
        images.append(((_plain(prepared["image"]) + 1) / 2).clamp(0, 1))
        maps.append(_maps_of(prepared, item))
    notes = [] if "sector" in items[0] else [f"{root.name} has no sectors/: depth and beam are unknown"]
    return ImageSet(
        name,
        tuple(item["name"] for item in items),
        torch.stack(images),
        groups=tuple(item["group"] for item in items),
        classes=classes,
        notes=(*notes, f"{split} split of {root.name}, fitted into {size[0]} x {size[1]} as for training"),
        **_stacked(maps),
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


def _conditions(path: Path, options: ReadingOptions) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Items to condition on, and the names of their classes."""
    index = path / "dataset.json" if path.is_dir() else path
    if index.is_file() and index.suffix == ".json":
        lists = json.loads(index.read_text())
        keys = [key for key, entries in lists.items() if isinstance(entries, list) and entries]
        items = [item for key in keys for item in load_datalist(index, key)]
        return items, options.classes or _classes(index.parent)
    if (path / "labels").is_dir():
        sectors = "sectors" if (path / "sectors").is_dir() else None
        groups: dict[str, Any] = {"group_pattern": options.group_pattern, "group_column": options.group_column}
        return list_items(path, source="", images=None, sectors=sectors, **groups), options.classes
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give a data set, a dataset.json or a folder of label maps")
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))
    return [{"name": stem_of(file), "label": str(file)} for file in files], options.classes


def _training_chain(items: Sequence[Item], classes: Sequence[str], options: ReadingOptions) -> Any:
    size = options.size or (0, 0)
    if "sector" not in items[0]:
        return Compose(
            [*_fitted(size), ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=-1, b_max=1, clip=True)]
        )
    return TrainingFrames(
        size, _labels_in(items, classes), kind=options.kind, crop_to_beam=options.crop_to_beam, keep_beam=True
    )


def _drawing_chain(items: Sequence[Item], classes: Sequence[str], options: ReadingOptions) -> Any:
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


def _maps_of(prepared: Item, item: Item) -> dict[str, Any]:
    """Labels, depth, inside, beam and spacing of a prepared item; ``None`` for what it does not tell."""
    inside = _plain(prepared["sector"])[0] > 0.5 if "sector" in prepared else None
    labels = _plain(prepared["label"])[0].long() if "label" in item else None
    if labels is not None and inside is not None:
        labels = torch.where(inside, labels, 0)
    beam = prepared.get("beam")
    if beam is None and inside is not None and "depth" not in item:
        beam = fit_beam(inside)
    depth = _plain(prepared["depth"])[0].float() if "depth" in prepared else None
    reference = prepared.get("image", prepared.get("label"))
    spacing = _spacing(reference) if item.get("spacing") is not None else None
    return {"labels": labels, "depth": depth, "inside": inside, "beams": beam, "spacing": spacing}


def _stacked(maps: Sequence[Item]) -> dict[str, Any]:
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


def _plain(values: torch.Tensor) -> torch.Tensor:
    return values.as_subclass(torch.Tensor).detach()


def _is_prepared(root: Path) -> bool:
    index = root / "dataset.json"
    return index.is_file() and json.loads(index.read_text()).get("generator") in GENERATORS


def _classes(root: Path) -> tuple[str, ...]:
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
