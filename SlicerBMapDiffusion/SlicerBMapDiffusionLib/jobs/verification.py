"""Whether installed packages work: a small job that imports all of them in the worker's Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from SlicerBMapDiffusionLib.jobs.hints import last_error

MODULES = ("torch", "monai.bundle", "ignite.engine", "fire", "nibabel", "PIL", "einops", "monai_bmaps.handlers")
"""What a drawing imports."""


def command(python: str | Path, modules: Sequence[str] = MODULES) -> list[str]:
    """The child process's arguments; it should run in a folder that holds no Python files."""
    return [str(python), "-X", "utf8", "-W", "ignore", "-c", f"import {', '.join(modules)}"]


def explained(returncode: int | None, last_lines: Iterable[str]) -> str:
    """What the user reads when it did not end with 0, of what :func:`~.hints.hint` is given, too."""
    said = last_error(last_lines) or f"exit code {returncode}"
    return (
        f"The packages are installed but do not work: {said.rstrip('.')}. Restart Slicer and try again; if it stays "
        "so, uninstall PyTorch in the module 'PyTorch Utils' and install again."
    )
