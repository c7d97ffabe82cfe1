"""``dataset.json`` lists in the MONAI (decathlon) style: items with paths relative to the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PATH_KEYS = ("image", "label", "sector")


def load_datalist(path: str | Path, key: str = "test", *, seed: int = 0, variants: int = 1) -> list[dict[str, Any]]:
    """Items of one list of a ``dataset.json``, each with its own seed.

    Args:
        path: the file; ``{"test": [{"label": "labels/heart_1.png", "beam": {...}}, ...]}``.
        key: which of its lists.
        seed: seed of the first item; the k-th (over all variants) gets ``seed + k``.
        variants: how often each item is listed, with seeds of its own and ``_1``, ``_2``, ... added to its name.

    Returns:
        The items with absolute paths, a ``name`` (from the label's or image's file name where none is given) and a
        ``seed``.

    Raises:
        FileNotFoundError: the list or a file it names is missing.
        ValueError: no such list, an empty one, fewer than one variant, or two items of one name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the dataset.json of the data to work on")
    lists = json.loads(path.read_text())
    if not isinstance(lists, dict) or not lists.get(key):
        found = ", ".join(lists) if isinstance(lists, dict) else type(lists).__name__
        raise ValueError(f"{path} has no items under {key!r}; it has {found or 'nothing'}")
    if variants < 1:
        raise ValueError(f"variants must be at least 1, got {variants}")
    items = [_resolved(item, path.parent) for item in lists[key]]
    names = [item["name"] for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} names {', '.join(twice[:3])} more than once; results would overwrite each other")
    if variants == 1:
        return [{**item, "seed": seed + index} for index, item in enumerate(items)]
    return [
        {**item, "name": f"{item['name']}_{variant + 1}", "seed": seed + index * variants + variant}
        for index, item in enumerate(items)
        for variant in range(variants)
    ]


def _resolved(item: dict[str, Any], root: Path) -> dict[str, Any]:
    resolved = dict(item)
    paths = [key for key in _PATH_KEYS if isinstance(item.get(key), str)]
    if not paths:
        raise ValueError(f"an item of {root / 'dataset.json'} names none of {', '.join(_PATH_KEYS)}: {item}")
    for key in paths:
        file = root / item[key]
        if not file.is_file():
            raise FileNotFoundError(f"{file}, the {key} of an item of {root / 'dataset.json'}, does not exist")
        resolved[key] = str(file)
    lead = "label" if "label" in paths else paths[0]
    resolved.setdefault("name", Path(item[lead]).name.split(".")[0])
    return resolved
