"""A small job: which beam an image shows. The child process fits it, the module only draws it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from SlicerBMapDiffusionLib.jobs.png import write_png

Kind = Literal["auto", "sector", "linear"]


@dataclass(frozen=True)
class FitJob:
    """A folder with an image, and where the beam found in it is written.

    Args:
        folder: new or empty, see :func:`~SlicerBMapDiffusionLib.jobs.job.new_job_folder`.
        kind: which beam to look for.
        size: (rows, columns) of the image.
    """

    folder: Path
    kind: Kind
    size: tuple[int, int]

    def command(self, python: str | Path) -> list[str]:
        """The child process's arguments; it may run in any folder, :attr:`folder` for example."""
        image, output = str(self.folder / "image.png"), str(self.folder / "beam.json")
        start = [str(python), "-X", "utf8", "-W", "ignore", "-m", "monai_bmaps.jobs", "fit-beam"]
        return [*start, image, "--kind", self.kind, "--output", output]

    def remove(self) -> None:
        """Delete the folder; what cannot be deleted now stays, without an error."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def read_result(self) -> dict[str, Any]:
        """The beam, in pixels of the image.

        Raises:
            ValueError: there is none, or half of one.
        """
        try:
            beam = json.loads((self.folder / "beam.json").read_text(encoding="utf-8"))["beam"]
            if beam["kind"] in ("sector", "linear"):
                return dict(beam)
            reason = f"unknown kind {beam['kind']!r}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        raise ValueError(f"no beam came back ({reason}). Choose another image, or set the beam by hand")


def write_fit(folder: str | Path, image: NDArray[np.uint8], kind: Kind = "auto") -> FitJob:
    """Write what the child process needs to find the beam of an image.

    Args:
        folder: new or empty.
        image: ``(rows, columns)`` uint8, square pixels, probe at the top, black outside the beam.
        kind: which beam to look for.

    Raises:
        ValueError: another kind or shape.
        OSError: the folder cannot be written to.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    write_png(folder / "image.png", image)
    return FitJob(folder, kind, (image.shape[0], image.shape[1]))
