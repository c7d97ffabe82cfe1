"""Models that come as a zip archive: unpacked whole, inside their folder, or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

from SlicerBMapDiffusionLib.models.downloads import DownloadError, explained

_LARGEST_ARCHIVE = 4 << 30


def unpack(archive: Path, models_folder: Path, staging: Path, check: Callable[[Path], object]) -> Path:
    """Unpack a zip with one model folder in it.

    Args:
        archive: the file.
        models_folder: where the model's folder goes; made where it is not there.
        staging: a folder on the same disk that is not there yet, in which the model becomes whole; removed at the end.
        check: called with the whole folder before it takes its place; what it raises leaves all as it was.

    Returns:
        The model's folder. One of the same name is replaced.

    Raises:
        DownloadError: no zip, damaged, not one folder, an entry that would land elsewhere, no space.
    """
    with explained(str(archive), models_folder):
        models_folder.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        try:
            with zipfile.ZipFile(archive) as opened:
                name = _only_folder(archive, opened)
                opened.extractall(staging)
            check(staging / name)
            _put(staging / name, models_folder / name, staging / f".old-{name}")
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise DownloadError(f"{archive} is no zip archive or damaged ({error}); download it again.") from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return models_folder / name


def _put(new: Path, target: Path, aside: Path) -> None:
    """Move ``new`` to ``target``; what was there goes ``aside``, and comes back if that fails."""
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(new, target)
    except OSError:
        if aside.exists():
            os.replace(aside, target)
        raise


def _only_folder(archive: Path, opened: zipfile.ZipFile) -> str:
    """The one folder that all entries lie in, after looking at each of them."""
    entries = opened.infolist()
    names = {entry.filename.replace("\\", "/").partition("/")[0] for entry in entries}
    if len(names) != 1 or not all("/" in entry.filename for entry in entries):
        raise DownloadError(f"{archive} must hold exactly one folder, the model's, got {sorted(names) or 'nothing'}.")
    for entry in entries:
        outside = ".." in re.split(r"[/\\]", entry.filename) or ":" in entry.filename or entry.filename.startswith("/")
        if outside or stat.S_ISLNK(entry.external_attr >> 16):
            raise DownloadError(f"{archive} holds {entry.filename!r}, which points out of it; do not use this archive.")
    if sum(entry.file_size for entry in entries) > _LARGEST_ARCHIVE:
        raise DownloadError(f"{archive} unpacks to more than {_LARGEST_ARCHIVE >> 30} GB, too much for a model.")
    name = names.pop()
    if name.startswith("."):
        raise DownloadError(f"{archive} holds the folder {name!r}, no model's name.")
    return name
