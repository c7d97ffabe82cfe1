"""Files: written so that nobody ever meets half of one, and weights read from them."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A place beside ``path``, with its ending, to write to; moved there at the end, removed if writing fails.

    Folders on the way are made. A kill leaves the old file, or none.

    Example:
        >>> with replacing("out/answer.txt") as partial:  # doctest: +SKIP
        ...     partial.write_text("42")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Tensors by name, on the CPU: of a file that ``torch.save`` wrote, or of a ``.npz``. No code in it runs.

    Raises:
        OSError: no such file, or one that cannot be read.
        ValueError: a damaged file, or one that holds something else.
    """
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (EOFError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        size = path.stat().st_size
        raise ValueError(f"{path} ({size} bytes) is damaged or no file of weights; fetch it again") from error
