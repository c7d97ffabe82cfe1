"""The command ``fit-beam``: which beam a picture shows, as JSON in pixels of the picture."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from monai_bmaps.data.prepare.beams import FittedBeam, beam_of
from monai_bmaps.data.prepare.frames import Frame
from monai_bmaps.files import replacing
from monai_bmaps.geometry import BeamKind
from monai_bmaps.jobs.lines import announce
from monai_bmaps.jobs.watching import end_with_parent

_LEAST_OVERLAP = 0.8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: ``["fit-beam", IMAGE, "--kind", "sector", "--output", FILE]``; ``None``: those of the process.

    Returns:
        The exit status: 0, or 2 where no beam was found, with the reason on standard error.
    """
    end_with_parent()
    options = argument_parser().parse_args(arguments)
    try:
        fitted = fit_picture(read_grey(options.image), options.kind)
    except (ValueError, OSError) as error:
        print(f"ValueError: {error}", file=sys.stderr)
        return 2
    with replacing(options.output) as partial:
        content = {"beam": fitted.beam.to_dict(), "overlap": round(fitted.overlap, 4)}
        partial.write_text(json.dumps(content), encoding="ascii")
    announce("done", images=0)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    parser = argparse.ArgumentParser(prog="python -m monai_bmaps.jobs")
    fit = parser.add_subparsers(required=True, metavar="fit-beam").add_parser(
        "fit-beam", help="which beam a picture shows"
    )
    fit.add_argument("image", type=Path, metavar="IMAGE", help="a picture, with square pixels, the probe at the top")
    fit.add_argument("--kind", choices=("auto", "sector", "linear"), default="auto", help="default auto")
    fit.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON: beam, in pixels, and overlap")
    return parser


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey levels ``(rows, columns)`` of a picture."""
    with PillowImage.open(path) as picture:
        return np.asarray(picture.convert("L"))


def fit_picture(pixels: NDArray[np.uint8], kind: BeamKind) -> FittedBeam:
    """The beam of a picture.

    Raises:
        ValueError: none matches, or the picture is turned.
    """
    frame: Any = Frame("the picture", pixels)
    fitted = beam_of(frame, kind)
    if fitted is None or fitted.overlap < _LEAST_OVERLAP:
        shape = "beam" if kind == "auto" else f"{kind} beam"
        raise ValueError(
            f"no {shape} was found in the picture: it must be black outside the beam. Choose another image, or set "
            "the beam by hand"
        )
    return fitted
