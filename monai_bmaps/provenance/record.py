"""The record of a synthetic image: everything that decides how it looks, where that is found, and what came out.

Two records that decide the same are one image, to rounding. So a generation that was cut off can go on, and a file can
be checked and drawn again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from monai_bmaps.pictures import Pixels

Record: TypeAlias = dict[str, str]
"""Texts by keyword. Two are JSON: ``Source``, the files and the beam that an image was drawn for, their paths relative
to the image's folder; and ``Frame``, beam and spacing in the image's own pixels."""

SOURCE_KEY = "drawn_from"
"""Where a prepared item holds its source, as JSON with absolute paths."""
SOURCE_FILES = ("label", "sector", "image", "keep")
"""Entries of a source that are files: ``{"path": ..., "sha256": ...}``."""

_CONDITION_KEYS = ("seg", "depth", "image", "keep")
_TOLD_TOO = ("Source", "Frame", "Pixels", "Flagged")  # decide nothing: where things are, and what came out


def record_of(item: Mapping[str, Any], settings: Mapping[str, object]) -> Record:
    """The record of an item that is drawn with these settings.

    Args:
        item: a prepared item: ``seg`` and ``depth`` tensors, perhaps ``image`` and ``keep``, a ``seed``, whether its
            ``anatomy`` was deformed, and what it was made from, under ``drawn_from``. Where ``label`` remembers its
            file, that file's name is told.
        settings: of the model and the sampler, by keyword.
    """
    file = getattr(item.get("label"), "meta", {}).get("filename_or_obj")
    own = {
        "Synthetic": "true",
        "Seed": item.get("seed"),
        **({} if file is None else {"Label": Path(str(file)).name}),
        **({"Anatomy": item["anatomy"]} if "anatomy" in item else {}),
        "Condition": condition_digest(item),
        **({"Source": item[SOURCE_KEY]} if SOURCE_KEY in item else {}),
    }
    return {key: str(value) for key, value in {**own, **settings}.items()}


def decisive(record: Mapping[str, str]) -> Record:
    """What of a record decides how the image looks."""
    return {key: value for key, value in record.items() if key not in _TOLD_TOO}


def sealed(record: Record, pixels: Pixels, folder: Path) -> Record:
    """The record of an image that was drawn, as it stands in a file of a folder: with its pixels' digest."""
    whole = {**record, "Pixels": pixels_digest(pixels)}
    if "Source" in whole:
        source = json.loads(whole["Source"])
        for key in SOURCE_FILES:
            if key in source:
                source[key]["path"] = _relative(source[key]["path"], folder)
        whole["Source"] = json.dumps(source)
    return whole


def source_of(record: Mapping[str, str]) -> dict[str, Any]:
    """What an image was drawn for; empty where its record does not say.

    Raises:
        ValueError: a source that is none.
    """
    try:
        source = json.loads(record.get("Source", "{}"))
        files = [source[key] for key in SOURCE_FILES if key in source]
        if isinstance(source, dict) and all(
            isinstance(text, str) for file in files for text in (file["path"], file["sha256"])
        ):
            return source
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the record's Source is {record['Source']!r}, which names no files") from error
    raise ValueError(f"the record's Source is {record['Source']!r}, which names no files")


def condition_digest(item: Mapping[str, Any]) -> str:
    """First 16 digits of the SHA-256 of what an item conditions on: its tensors, with their names and shapes."""
    digest = hashlib.sha256()
    for key in _CONDITION_KEYS:
        if key in item:
            values = item[key].as_subclass(torch.Tensor).detach().cpu().contiguous()
            digest.update(f"{key} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def pixels_digest(pixels: Pixels) -> str:
    """SHA-256 of an 8-bit image ``(H, W)``: the same in every format it is written in."""
    return hashlib.sha256(f"{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _relative(path: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return str(path)
