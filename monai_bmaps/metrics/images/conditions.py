"""What images were drawn for: labels, depth, beam and patient of the items, matched by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_bmaps.data import list_items, load_datalist
from monai_bmaps.data.folder import SUFFIXES, stem_of
from monai_bmaps.metrics.images.data_set import classes_of
from monai_bmaps.metrics.images.frames import Item, ReadingOptions, drawing_chain, maps_of, stacked
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.provenance import condition_digest, read_record


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
    matched = _matched(images, items, labels)
    chain = drawing_chain(items, classes, replace(options, size=images.size))
    prepared: dict[str, dict[str, Any]] = {}
    for item in tqdm(matched, desc=f"labels of {images.name} images", disable=not verbose):
        if item["name"] not in prepared:
            maps = chain(item)
            prepared[item["name"]] = {**maps_of(maps, item), "digest": _digest(maps)}
    conditions = [prepared[item["name"]] for item in matched]
    own = {name: condition["digest"] for name, condition in zip(images.names, conditions, strict=True)}
    return replace(
        images,
        items=tuple(item["name"] for item in matched),
        groups=tuple(str(item.get("group", item.get("patient", item["name"]))) for item in matched),
        classes=classes,
        notes=(*images.notes, *_differences(own, digests or {}, Path(labels))),
        **stacked(conditions),
    )


def recorded_digests(folder: Path, images: ImageSet) -> dict[str, str]:
    """Digest of the condition that each PNG of a folder says it was drawn for, unless another image went into it."""
    records = {name: read_record(folder / f"{name}.png") or {} for name in images.names}
    return {
        name: record["Condition"]
        for name, record in records.items()
        if "Condition" in record and record.get("Strength", "None") == "None"
    }


def _matched(images: ImageSet, items: Sequence[Item], labels: str | Path) -> list[Item]:
    """The item of each image."""
    known = {entry["name"]: entry for entry in items} | {
        stem_of(Path(entry["label"])): entry for entry in items if "label" in entry
    }
    found = [known.get(item) or known.get(item.rpartition("_")[0]) for item in images.items]
    missing = [name for name, item in zip(images.names, found, strict=True) if item is None]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(images)} {images.name} images have no item in {labels}, for example "
            f"{', '.join(missing[:3])}; give the labels they were drawn for with --labels (without it, those of --real "
            "are taken)"
        )
    return [item for item in found if item is not None]


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


def _conditions(path: Path, options: ReadingOptions) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Items to condition on, and the names of their classes."""
    index = path / "dataset.json" if path.is_dir() else path
    if index.is_file() and index.suffix == ".json":
        lists = json.loads(index.read_text())
        keys = [key for key, entries in lists.items() if isinstance(entries, list) and entries]
        items = [item for key in keys for item in load_datalist(index, key)]
        return items, options.classes or classes_of(index.parent)
    if (path / "labels").is_dir():
        sectors = "sectors" if (path / "sectors").is_dir() else None
        groups: dict[str, Any] = {"group_pattern": options.group_pattern, "group_column": options.group_column}
        return list_items(path, source="", images=None, sectors=sectors, **groups), options.classes
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; give a data set, a dataset.json or a folder of label maps")
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))
    return [{"name": stem_of(file), "label": str(file)} for file in files], options.classes
