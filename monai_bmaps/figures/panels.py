"""Images of several folders beside each other, one column a name (Dominguez et al. 2024, fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from monai_bmaps.figures.grid import image_grid, save
from monai_bmaps.pictures import Pixels


def draw_panels(path: str | Path, folders: Mapping[str, str | Path], names: Sequence[str]) -> None:
    """Draw the same names out of every folder: a row a folder, a column a name.

    Args:
        path: the picture.
        folders: of ``NAME.png``, by the row's title. Label maps (few small numbers) are spread over the grey levels.
        names: of the files, without ending.

    Raises:
        FileNotFoundError: a folder lacks a name.
        ValueError: no folder or no name.
    """
    if not folders or not names:
        raise ValueError(f"give at least one folder and one name, got {len(folders)} and {len(names)}")
    rows = [[_read(Path(folder) / f"{name}.png") for name in names] for folder in folders.values()]
    save(image_grid(rows, list(folders), names), path)


def common_names(folders: Mapping[str, str | Path], count: int) -> list[str]:
    """Return names that every folder has, ``count`` of them, spread over their sorted list.

    Raises:
        FileNotFoundError: there are none.
    """
    found = [{file.stem for file in Path(folder).glob("*.png")} - {"overview"} for folder in folders.values()]
    names = sorted(set.intersection(*found)) if found else []
    if not names:
        raise FileNotFoundError(f"{', '.join(map(str, folders.values()))} have no PNG of one name in common")
    return [names[index] for index in np.unique(np.linspace(0, len(names) - 1, count).round().astype(int))]


def _read(path: Path) -> Pixels:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; choose names that all folders have")
    with PillowImage.open(path) as picture:
        pixels = np.asarray(picture.convert("L"))
    highest = int(pixels.max())
    return pixels if highest == 0 or highest > 8 else (pixels * (255 // highest)).astype(np.uint8)
