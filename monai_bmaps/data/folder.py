"""Folders of frames with label maps beside them, matched by file name."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from monai_bmaps.data.classes import check_classes
from monai_bmaps.data.split import Split, select_split

SUFFIXES = (".png", ".nii", ".nii.gz")
"""What the bundles' ``LoadFramed`` reads."""
CONVERTIBLE = (*SUFFIXES, ".jpg", ".jpeg", ".mha", ".mhd", ".nrrd")
"""What the prepare command reads as well."""
GENERATOR = "monai_bmaps.data.prepare"
"""Who writes the ``dataset.json`` of prepared frames."""
SYNTHETIC = "monai_bmaps.handlers.TrainingSet"
"""Who writes that of synthetic ones."""
GENERATORS = (GENERATOR, SYNTHETIC)
"""Whose lists :func:`list_items` follows."""


def list_items(
    root: str | Path,
    split: Split | Literal["all"] = "all",
    *,
    source: str,
    group_pattern: str | None = None,
    group_column: str | None = None,
    images: str | None = "images",
    labels: str | None = "labels",
    sectors: str | None = None,
    suffixes: tuple[str, ...] = SUFFIXES,
    columns: Sequence[str] = (),
    incomplete: Literal["refuse", "keep"] = "refuse",
    classes: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Items of a data set laid out as ``root/images/NAME.png``, ``root/labels/NAME.png``, ...

    A folder that ``python -m monai_bmaps.data prepare`` made, or that a bundle filled with synthetic frames, has a
    ``dataset.json``, which says who is in which split: that counts, and ``source``, ``group_pattern`` and
    ``group_column`` are not asked.

    Args:
        root: folder of the data set.
        split: ``"training"``, ``"validation"``, ``"test"`` or ``"all"``; see :mod:`monai_bmaps.data.split`.
        source: name of the data set, part of the split's hash: ``"camus"``.
        group_pattern: regular expression found in a file's name; its match (or first parenthesis) is the group.
        group_column: column of ``root/index.csv`` (with a column ``name``) that holds the group. With neither, every
            file is its own group: right only if no patient has two.
        images: sub-folder of the frames; ``None`` for label maps only.
        labels: sub-folder of the label maps; ``None`` for unlabelled frames.
        sectors: sub-folder of field-of-view masks, if there are any.
        suffixes: endings of the files to list.
        columns: further columns of ``root/index.csv``, which the items then hold as text.
        incomplete: ``"keep"`` lists a frame that lacks its label or sector, without that key.
        classes: what the model takes the labels 1, 2, ... for; compared with the ``labels`` of a prepared folder.

    Returns:
        Dictionaries with ``name``, ``source``, ``group`` and the paths under ``image``, ``label``, ``sector``,
        sorted by name. Those of a prepared folder also have ``spacing`` (row, column) in millimetres where it is
        known, and deformed copies the path of their ``depth``. No pixel is read.

    Raises:
        FileNotFoundError: a folder is missing or empty, or a frame lacks its label or sector (the first few are
            named).
        ValueError: a name in which ``group_pattern`` does not occur, a name or column that the index lacks, a group
            that a ``dataset.json`` has in two splits, or other classes in it.
    """
    if group_pattern is not None and group_column is not None:
        raise ValueError("give group_pattern or group_column, not both")
    root = Path(root)
    folders = {"image": images, "label": labels, "sector": sectors}
    if all(folder is None for folder in folders.values()):
        raise ValueError("name at least one of images, labels and sectors")
    if (prepared := _prepared_lists(root)) is not None:
        if classes is not None:
            check_classes(prepared.get("labels"), classes, root / "dataset.json")
        return _prepared_items(root, prepared, split, [key for key, folder in folders.items() if folder is not None])
    files = {key: _files(root / folder, suffixes) for key, folder in folders.items() if folder is not None}
    lead = next(iter(files))
    names = sorted(files[lead])
    for key, found in files.items():
        missing = [name for name in names if name not in found]
        if missing and incomplete == "refuse":
            raise FileNotFoundError(
                f"{len(missing)} of {len(names)} files in {root / str(folders[lead])} have no {key} in "
                f"{root / str(folders[key])}, for example {', '.join(missing[:3])}; add them or pass {key}s=None"
            )
    index = _index(root, names, [*columns, *([group_column] if group_column is not None else [])])
    groups = _groups(index, names, group_pattern, group_column)
    items = [
        {
            "name": name,
            "source": source,
            "group": groups[name],
            **{column: index[name][column] for column in columns},
            **{key: str(found[name]) for key, found in files.items() if name in found},
        }
        for name in names
    ]
    return select_split(items, split)


def stem_of(path: Path) -> str:
    """A file's name without its ending: ``a.b`` for both ``a.b.png`` and ``a.b.nii.gz``."""
    known = [suffix for suffix in CONVERTIBLE if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(known, key=len))] if known else path.stem


def _prepared_lists(root: Path) -> dict[str, Any] | None:
    """The ``dataset.json`` of a folder that the prepare command or a bundle made, else ``None``."""
    path = root / "dataset.json"
    try:
        content = json.loads(path.read_text()) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; run the prepare command again") from error
    return content if isinstance(content, dict) and content.get("generator") in GENERATORS else None


def _prepared_items(root: Path, content: dict[str, Any], split: str, keys: list[str]) -> list[dict[str, Any]]:
    select_split([], split)  # type: ignore[arg-type]  # refuses an unknown one
    home: dict[str, str] = {}
    items = []
    for part in get_args(Split):
        for entry in content.get(part, []):
            if home.setdefault(entry["patient"], part) != part:
                raise ValueError(
                    f"{root / 'dataset.json'} has {entry['patient']} in {home[entry['patient']]} and {part}; a split "
                    "must not divide a patient: prepare the data again"
                )
            missing = [key for key in keys if key not in entry]
            if missing:
                raise FileNotFoundError(
                    f"{entry['name']} in {root / 'dataset.json'} has no {missing[0]}; pass {missing[0]}s=None"
                )
            item = {"name": entry["name"], "source": content["source"], "group": entry["patient"]}
            item |= {key: str(root / entry[key]) for key in [*keys, *(["depth"] if "depth" in entry else [])]}
            item |= {"spacing": entry["spacing"]} if "spacing" in entry else {}
            items += [item] if split in (part, "all") else []
    return items


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; check the data root and the names of its sub-folders")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(suffixes):
            continue
        name = stem_of(path)
        if name in found:
            raise ValueError(f"{folder} holds {name} twice: {found[name].name} and {path.name}; keep one")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no {', '.join(suffixes)} file; convert the frames to one of these")
    return found


def _index(root: Path, names: list[str], columns: list[str]) -> dict[str, dict[str, str]]:
    """The rows of ``root/index.csv`` by name, if a column of it is wanted."""
    path = root / "index.csv"
    if not columns:
        return {}
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; the column {columns[-1]!r} is read from it")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = csv.DictReader(lines)
        index = {row.get("name", ""): row for row in rows}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV in UTF-8: {error}; save it as that") from error
    for needed in ("name", *columns):
        if needed not in (rows.fieldnames or ()):
            known = ", ".join(rows.fieldnames or ()) or "none"
            raise ValueError(f"{path} has no column {needed!r}; it has {known}")
    absent = [name for name in names if name not in index]
    if absent:
        raise ValueError(f"{path} lacks {len(absent)} names, for example {', '.join(absent[:3])}")
    return index


def _groups(
    index: dict[str, dict[str, str]], names: list[str], pattern: str | None, column: str | None
) -> dict[str, str]:
    if column is not None:
        return {name: index[name][column] for name in names}
    if pattern is None:
        return {name: name for name in names}
    try:
        matches = {name: re.search(pattern, name) for name in names}
    except re.error as error:
        raise ValueError(f"group_pattern {pattern!r} is no regular expression: {error}") from error
    unmatched = [name for name, match in matches.items() if match is None]
    if unmatched:
        raise ValueError(f"group_pattern {pattern!r} does not occur in {', '.join(unmatched[:3])}")
    return {name: (match.group(1) if match.re.groups else match.group(0)) for name, match in matches.items() if match}
