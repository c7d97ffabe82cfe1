"""Folders of pictures as image sets: PNG and NIfTI, grey or colour, 8 or 16 bits, drawn by a bundle or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.transforms import Resize, SpatialPad
from PIL import Image as PillowImage
from tqdm import tqdm

from monai_bmaps.data.folder import SUFFIXES, stem_of
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.provenance import read_record
from monai_bmaps.transforms.frame import LoadFrame

GREY_OR_COLOUR = ("L", "LA", "RGB", "RGBA")
"""Pillow's names of pictures with 8 bits a channel, which can be read as grey."""
_DEEP = ("I;16", "I;16B", "I;16L", "I")
_TINT = 0.5  # grey levels that channels may differ by


def read_pictures(
    folder: str | Path,
    name: str,
    size: tuple[int, int] | None = None,
    *,
    group_pattern: str | None = None,
    verbose: bool = False,
) -> ImageSet:
    """Read all images of a folder, without its sub-folders.

    Where some PNGs say in their text that they are synthetic, only these are read: the overview and NIfTI copies beside
    them are no further images. Colour is averaged to grey.

    Args:
        folder: of PNG or NIfTI files; a name that occurs as both is read once, as PNG.
        name: of the set.
        size: height and width to fit every image into, true to scale, black around it; ``None``: as they are.
        group_pattern: regular expression of the patient, sweep or exam in a file's name.
        verbose: show a progress bar.

    Raises:
        FileNotFoundError: no such folder, or none of these files in it.
        ValueError: images of different sizes without ``size``, a picture of a kind that cannot be read as grey, a NIfTI
            file whose values are neither grey levels nor in [0, 1], or a name without ``group_pattern``.
    """
    folder = Path(folder)
    files, records = _files(folder, name)
    images, coloured = [], []
    for file in tqdm(files, desc=f"{name} images", disable=not verbose):
        image, colour = _grey(file)
        images.append(image if size is None else _fitted(image, size))
        coloured += [file.name] if colour else []
    _check_sizes(files, images)
    names = [stem_of(file) for file in files]
    notes = (
        [f"{len(coloured)} of {len(files)} pictures have colour, averaged to grey: {coloured[0]}"] if coloured else []
    )
    return ImageSet(
        name,
        tuple(names),
        torch.stack(images),
        groups=() if group_pattern is None else _groups(names, group_pattern),
        items=tuple(_item(name, records.get(name, {})) for name in names),
        notes=tuple(notes),
    )


def _files(folder: Path, name: str) -> tuple[list[Path], dict[str, dict[str, str]]]:
    """The files to read, sorted by name, and the texts of those that say they are synthetic."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give a folder of {name} images")
    every = sorted(file for file in folder.iterdir() if file.name.lower().endswith(SUFFIXES))
    if not every:
        raise FileNotFoundError(f"{folder} holds no {', '.join(SUFFIXES)} file; give the folder with the {name} images")
    records = {stem_of(file): read_record(file) or {} for file in every if file.suffix.lower() == ".png"}
    drawn = {stem: record for stem, record in records.items() if record.get("Synthetic") == "true"}
    chosen: dict[str, Path] = {}
    for file in every:
        stem = stem_of(file)
        if (not drawn or stem in drawn) and (stem not in chosen or file.suffix.lower() == ".png"):
            chosen[stem] = file
    return [*chosen.values()], drawn


def _item(name: str, record: dict[str, str]) -> str:
    return stem_of(Path(record["Label"])) if "Label" in record else name


def _grey(file: Path) -> tuple[torch.Tensor, bool]:
    """Pixels ``(1, H, W)`` float32 in [0, 1], and whether they had colour."""
    most, colour = _range_of(file)
    values = LoadFrame()(file).as_subclass(torch.Tensor) / most
    return values.float(), colour


def _range_of(file: Path) -> tuple[float, bool]:
    if file.suffix.lower() != ".png":
        return _range_of_nifti(file), False
    try:
        with PillowImage.open(file) as picture:
            picture.load()
            mode, pixels = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{file} cannot be read as a picture ({error}); take it out or write it again") from error
    if mode not in (*GREY_OR_COLOUR, *_DEEP):
        raise ValueError(f"{file} has pixels of kind {mode}, not grey or RGB of 8 or 16 bits; save it as such")
    colour = mode in ("RGB", "RGBA") and float(np.ptp(pixels[..., :3].astype(float), axis=-1).max()) > _TINT
    return (65535.0 if mode in _DEEP else 255.0), colour


def _range_of_nifti(file: Path) -> float:
    """What is white: 255 of whole numbers, 1 of fractions."""
    image = nibabel.load(file)
    kind, values = image.get_data_dtype(), np.asanyarray(image.dataobj)
    low, high = float(values.min()), float(values.max())  # NaN stays NaN, which the image set refuses
    if low < 0 or high > 255:
        raise ValueError(f"{file} has values {low:.4g} to {high:.4g}, not grey levels 0 to 255; write it so")
    return 255.0 if np.issubdtype(kind, np.integer) or high > 1 else 1.0


def _fitted(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    scale = min(most / side for most, side in zip(size, image.shape[1:], strict=True))
    resized = Resize([max(1, round(side * scale)) for side in image.shape[1:]], mode="area")(image)
    fitted: torch.Tensor = SpatialPad(size)(resized).as_subclass(torch.Tensor)
    return fitted


def _check_sizes(files: Sequence[Path], images: Sequence[torch.Tensor]) -> None:
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            first, other = (" x ".join(map(str, each.shape[1:])) for each in (images[0], image))
            raise ValueError(
                f"images must have one size, got {first} ({files[0].name}) and {other} ({file.name}) in "
                f"{file.parent}; fit them into one with --size HEIGHT WIDTH"
            )


def _groups(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    found = [re.search(pattern, name) for name in names]
    absent = [name for name, match in zip(names, found, strict=True) if match is None]
    if absent:
        raise ValueError(f"group_pattern {pattern!r} does not occur in {', '.join(absent[:3])}")
    return tuple(match.group(match.re.groups and 1) for match in found if match is not None)
