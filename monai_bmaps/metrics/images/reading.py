"""Reads image sets: folders of pictures, data sets with labels and beams, what a bundle drew."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from monai_bmaps.data.split import Split
from monai_bmaps.metrics.images.conditions import recorded_digests, with_conditions
from monai_bmaps.metrics.images.data_set import is_data_set, read_data_set
from monai_bmaps.metrics.images.frames import ReadingOptions
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.images.picture_folder import read_pictures


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
        return read_data_set(path, name, split, options, verbose)
    images = read_pictures(path, name, options.size, group_pattern=options.group_pattern, verbose=verbose)
    if labels is None:
        return images
    return with_conditions(images, labels, options, digests=recorded_digests(path, images), verbose=verbose)
