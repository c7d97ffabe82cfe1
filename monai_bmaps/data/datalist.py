"""``dataset.json`` lists in the MONAI (decathlon) style: items with paths relative to the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_bmaps.data.classes import check_classes
from monai_bmaps.data.folder import stem_of

_PATH_KEYS = ("image", "label", "sector", "depth", "keep")


def load_datalist(
    path: str | Path,
    key: str = "test",
    *,
    required: Sequence[str] = (),
    seed: int = 0,
    variants: int = 1,
    classes: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Items of one list of a ``dataset.json``, each with its own seed.

    Args:
        path: the file; ``{"test": [{"label": "labels/heart_1.png", "beam": {...}}, ...]}``.
        key: which of its lists.
        required: keys that every item must have, for example ``["label"]``.
        seed: seed of the first item; item k of n gets ``seed + k``, its further variants ``seed + k + n``, ...
        variants: how often each item is listed, with seeds of its own and ``_1``, ``_2``, ... added to its name.
        classes: what the model takes the labels 1, 2, ... for; compared with the list's ``labels``, if it has any.

    Returns:
        The items with absolute paths, a ``name`` (from the label's or image's file name where none is given) and a
        ``seed``.

    Raises:
        FileNotFoundError: the list or a file it names is missing.
        ValueError: not JSON, no such list, an empty one, fewer than one variant, an item without a file or a required
            key, two items of one name, a name that is no file name, or other classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the dataset.json of the data to work on")
    try:
        lists = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(lists, dict) or not lists.get(key):
        found = ", ".join(lists) if isinstance(lists, dict) else type(lists).__name__
        raise ValueError(f"{path} has no items under {key!r}; it has {found or 'nothing'}")
    if classes is not None:
        check_classes(lists.get("labels"), classes, path)
    items = [_resolved(item, path) for item in lists[key]]
    for item in items:
        absent = [name for name in required if item.get(name) is None]
        if absent:
            raise ValueError(f"{item['name']} in {path} has no {', '.join(absent)}; add it, or take the item out")
    names = [item["name"] for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} names {', '.join(twice[:3])} more than once; results would overwrite each other")
    return seeded(items, seed, variants)


def seeded(items: Sequence[Mapping[str, Any]], seed: int = 0, variants: int = 1) -> list[dict[str, Any]]:
    """Items to draw images for, each with a seed of its own, whatever the batches they will be drawn in.

    Args:
        items: for example the test items of :func:`~monai_bmaps.data.folder.list_items`; with a ``name``.
        seed: seed of the first item; item k of n gets ``seed + k``, its further variants ``seed + k + n``, ...
        variants: how often each item is listed, with ``_1``, ``_2``, ... added to its name if more than once.

    Raises:
        ValueError: fewer than one variant.

    Example:
        >>> [(item["name"], item["seed"]) for item in seeded([{"name": "a"}, {"name": "b"}], seed=5, variants=2)]
        [('a_1', 5), ('a_2', 7), ('b_1', 6), ('b_2', 8)]
    """
    if variants < 1:
        raise ValueError(f"variants must be at least 1, got {variants}")
    if variants == 1:
        return [{**item, "seed": seed + index} for index, item in enumerate(items)]
    return [
        {**item, "name": f"{item['name']}_{variant + 1}", "seed": seed + index + variant * len(items)}
        for index, item in enumerate(items)
        for variant in range(variants)
    ]


def _resolved(item: Any, index: Path) -> dict[str, Any]:
    paths = [key for key in _PATH_KEYS if isinstance(item, dict) and isinstance(item.get(key), str)]
    if not paths:
        raise ValueError(f"an item of {index} names none of {', '.join(_PATH_KEYS)}: {item!r}")
    resolved = dict(item)
    for key in paths:
        file = index.parent / item[key]
        if not file.is_file():
            raise FileNotFoundError(f"{file}, the {key} of an item of {index}, does not exist")
        resolved[key] = str(file)
    resolved.setdefault("name", stem_of(Path(resolved["label" if "label" in paths else paths[0]])))
    if not re.fullmatch(r"\w[\w.-]*", str(resolved["name"])):
        raise ValueError(f"name {resolved['name']!r} in {index} is no file name; use letters, digits, '.', '_' and '-'")
    return resolved
