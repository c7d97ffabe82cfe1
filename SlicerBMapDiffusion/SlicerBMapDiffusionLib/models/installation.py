"""A small job: a model comes from the network or from a zip file of this computer into the user's folder of models.

The module's end writes nothing and waits for nothing. The child process, this file run as a program, downloads, unpacks
and looks at the model before it takes its place; it needs no package.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from SlicerBMapDiffusionLib.jobs.messages import PREFIX
from SlicerBMapDiffusionLib.models import archives, bundles, downloads

_MARK = "#sha256="


@dataclass(frozen=True)
class ModelInstallation:
    """Where a model comes from and goes to.

    Args:
        source: the path of a zip file, or an address ``https://.../model.zip#sha256=<64 hexadecimal digits>``.
        models: the user's folder of models.
        folder: new or empty, of this job; see :func:`~SlicerBMapDiffusionLib.jobs.job.new_job_folder`.
        taken: names of models that live elsewhere, which this one may not have.
    """

    source: str
    models: Path
    folder: Path
    taken: Collection[str] = ()

    @property
    def staging(self) -> Path:
        """Where the model becomes whole; what a killed child process leaves there, nobody else touches."""
        return self.models / f".new-{self.folder.name}"

    def command(self, python: str | Path) -> list[str]:
        """The child process's arguments; it must run in the folder that holds this library."""
        places = [str(self.models), str(self.staging), str(self._result)]
        return [str(python), "-X", "utf8", "-m", __name__, self.source, *places, *self.taken]

    def read_result(self) -> str:
        """The name of the model that is there now.

        Raises:
            ValueError: why there is none, and what to do.
        """
        try:
            result = json.loads(self._result.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"the installation ended without a result ({error}). Try again") from error
        if "error" in result:
            raise ValueError(result["error"])
        return str(result["model"])

    def remove(self) -> None:
        """Delete what only the job needed; a part of a download stays, to go on from."""
        downloads.remove(self.staging)
        downloads.remove(self.folder)

    @property
    def _result(self) -> Path:
        return self.folder / "model.json"


def check_address(address: str) -> None:
    """Refuse an address that nobody could download from safely; whether a model is there is seen later.

    Raises:
        ValueError: one without a hash, or that can be none.
    """
    _address_and_hash(address)


def _is_address(source: str) -> bool:
    return "://" in source


def _address_and_hash(source: str) -> tuple[str, str]:
    url, mark, sha256 = source.strip().partition(_MARK)
    if not mark:
        raise ValueError(
            f"the address must end in {_MARK} and the file's 64 hexadecimal digits, which whoever offers a model lists "
            "beside it; without them nobody could tell whether the right file arrived"
        )
    downloads.check_address(url)
    return url, downloads.checked_hash(sha256)


def install(source: str, models: Path, staging: Path, taken: Collection[str] = ()) -> str:
    """Bring a model; the child process's work.

    Returns:
        The name of its folder.

    Raises:
        ValueError: no usable model, or its name is taken.
        OSError: it cannot be fetched, read or written.
    """
    if not _is_address(source):
        return _unpacked(Path(source), models, staging, taken)
    url, sha256 = _address_and_hash(source)
    archive = models.parent / "Downloads" / f"{sha256[:12]}.zip"
    name = _unpacked(downloads.fetch(url, sha256, archive, _say_progress), models, staging, taken)
    downloads.remove(archive)
    return name


def _unpacked(archive: Path, models: Path, staging: Path, taken: Collection[str]) -> str:
    def check(folder: Path) -> None:
        if folder.name in taken:
            raise ValueError(f"there is a model named {folder.name} already. Rename the folder in {archive.name}")
        try:
            bundles.check_weights(bundles.read_model(folder))
        except ValueError as error:  # the folder is gone when this is read
            raise ValueError(str(error).replace(str(folder), f"{archive.name}/{folder.name}")) from error

    return archives.unpack(archive, models, staging, check).name


def _say_progress(done: int, total: int | None) -> None:
    if total is None:
        print(f"{done} bytes")  # whoever is silent for too long is taken for stuck and ended
    elif total:
        print(PREFIX + json.dumps({"event": "progress", "image": 0, "images": 1, "step": done, "steps": total}))


def _end_with_the_parent() -> None:
    """The parent holds the other end of the standard input, until it ends in whatever way."""
    with suppress(OSError):
        while os.read(0, 1 << 10):  # not by way of sys.stdin, whose lock would be held when Python ends
            pass
    os._exit(1)


def main(source: str, models: str, staging: str, result: str, *taken: str) -> None:
    """Install, and write how that ended."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        said = {"model": install(source, Path(models), Path(staging), taken)}
    except (ValueError, OSError) as error:
        said = {"error": str(error)}
    Path(result).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
