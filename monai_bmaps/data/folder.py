"""Folders of frames with label maps beside them, matched by file name."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, Literal

from monai_bmaps.data.split import Split, select_split

SUFFIXES = (".png", ".nii", ".nii.gz")


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
) -> list[dict[str, Any]]:
    """Items of a data set laid out as ``root/images/NAME.png``, ``root/labels/NAME.png``, ...

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

    Returns:
        Dictionaries with ``name``, ``source``, ``group`` and the paths under ``image``, ``label``, ``sector``,
        sorted by name. No pixel is read.

    Raises:
        FileNotFoundError: a folder is missing or empty, or a frame lacks its label or sector (the first few are
            named).
        ValueError: a name in which ``group_pattern`` does not occur, or a name or column that the index lacks.
    """
    root = Path(root)
    folders = {"image": images, "label": labels, "sector": sectors}
    files = {key: _files(root / folder) for key, folder in folders.items() if folder is not None}
    if not files:
        raise ValueError("name at least one of images, labels and sectors")
    lead = next(iter(files))
    names = sorted(files[lead])
    for key, found in files.items():
        missing = [name for name in names if name not in found]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(names)} files in {root / str(folders[lead])} have no {key} in "
                f"{root / str(folders[key])}, for example {', '.join(missing[:3])}; add them or pass {key}s=None"
            )
    groups = _groups(root, names, group_pattern, group_column)
    items = [
        {
            "name": name,
            "source": source,
            "group": groups[name],
            **{key: str(found[name]) for key, found in files.items()},
        }
        for name in names
    ]
    return select_split(items, split)


def stem_of(path: Path) -> str:
    """A file's name without its ending: ``a.b`` for both ``a.b.png`` and ``a.b.nii.gz``."""
    known = [suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(known, key=len))] if known else path.stem


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; check the data root and the names of its sub-folders")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.lower().endswith(SUFFIXES):
            continue
        name = stem_of(path)
        if name in found:
            raise ValueError(f"{folder} holds {name} twice: {found[name].name} and {path.name}; keep one")
        found[name] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no {', '.join(SUFFIXES)} file; convert the frames to one of these")
    return found


def _groups(root: Path, names: list[str], pattern: str | None, column: str | None) -> dict[str, str]:
    if pattern is not None and column is not None:
        raise ValueError("give group_pattern or group_column, not both")
    if column is not None:
        if not (root / "index.csv").is_file():
            raise FileNotFoundError(f"{root / 'index.csv'} does not exist; group_column={column!r} is read from it")
        with (root / "index.csv").open(newline="") as stream:
            rows = csv.DictReader(stream)
            for needed in ("name", column):
                if needed not in (rows.fieldnames or ()):
                    known = ", ".join(rows.fieldnames or ()) or "none"
                    raise ValueError(f"{root / 'index.csv'} has no column {needed!r}; it has {known}")
            index = {row["name"]: row[column] for row in rows}
        absent = [name for name in names if name not in index]
        if absent:
            raise ValueError(f"{root / 'index.csv'} lacks {len(absent)} names, for example {', '.join(absent[:3])}")
        return {name: index[name] for name in names}
    if pattern is None:
        return {name: name for name in names}
    matches = {name: re.search(pattern, name) for name in names}
    unmatched = [name for name, match in matches.items() if match is None]
    if unmatched:
        raise ValueError(f"group_pattern {pattern!r} does not occur in {', '.join(unmatched[:3])}")
    return {name: (match.group(1) if match.re.groups else match.group(0)) for name, match in matches.items() if match}
