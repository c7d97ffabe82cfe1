"""Writing files so that nobody ever meets half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
