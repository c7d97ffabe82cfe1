"""What a synthetic PNG tells of itself in its text: everything that decides which image is drawn.

Two equal records are one image, to a grey level. So a generation that was cut off can go on, and a file can be checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from monai_bmaps.files import replacing
from monai_bmaps.pictures import Pixels

Record: TypeAlias = dict[str, str]
"""The text of a PNG by keyword."""

_CONDITION_KEYS = ("seg", "depth", "image", "keep")


def record_of(item: Mapping[str, Any], settings: Mapping[str, object]) -> Record:
    """The record of an item that is drawn with these settings.

    Args:
        item: a prepared item: ``seg`` and ``depth`` tensors, perhaps ``image`` and ``keep``, a ``seed``, and where
            ``label`` remembers its file, that file's name is told.
        settings: of the model and the sampler, by keyword.
    """
    source = getattr(item.get("label"), "meta", {}).get("filename_or_obj")
    label = {} if source is None else {"Label": Path(str(source)).name}
    own = {"Synthetic": "true", "Seed": item.get("seed"), **label, "Condition": condition_digest(item)}
    return {key: str(value) for key, value in {**own, **settings}.items()}


def condition_digest(item: Mapping[str, Any]) -> str:
    """First 16 digits of the SHA-256 of what an item conditions on: its tensors, with their names and shapes."""
    digest = hashlib.sha256()
    for key in _CONDITION_KEYS:
        if key in item:
            values = item[key].as_subclass(torch.Tensor).detach().cpu().contiguous()
            digest.update(f"{key} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]


def write_png(path: Path, pixels: Pixels, record: Record) -> None:
    """Write 8-bit pixels with their record, whole or not at all."""
    text = PngImagePlugin.PngInfo()
    for key, value in record.items():
        text.add_text(key, value)
    with replacing(path) as partial:
        PillowImage.fromarray(pixels).save(partial, pnginfo=text)


def read_record(path: Path) -> Record | None:
    """The record of a PNG; ``None`` where there is no file, or one that does not decode to its end."""
    try:
        with PillowImage.open(path, formats=["PNG"]) as picture:
            picture.load()
            return dict(picture.text)  # type: ignore[attr-defined]
    except (OSError, SyntaxError, ValueError):  # what Pillow raises at damaged files
        return None
