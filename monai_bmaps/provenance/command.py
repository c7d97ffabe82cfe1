"""The command line: ``verify FILE ...`` says of each synthetic file what it is, and whether it is still so."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from monai_bmaps.provenance.verifying import Redrawing, verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0, or 1 if any file is not what it says.

    Args:
        arguments: without the program's name; ``None``: those of this process.
    """
    chosen = _parser().parse_args(arguments)
    redrawing = None
    if chosen.bundle is not None:
        redrawing = Redrawing(chosen.bundle, chosen.config, chosen.labels, chosen.output)
    refused = [path for path in chosen.files if not _is_fine(path, redrawing)]
    if len(chosen.files) > 1:
        print(f"{len(chosen.files) - len(refused)} of {len(chosen.files)} files are what they say")
    return 1 if refused else 0


def _is_fine(path: Path, redrawing: Redrawing | None) -> bool:
    try:
        lines = verify(path, redrawing)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"{path}: REFUSED\n  {_innermost(error)}")
        return False
    print("\n  ".join([f"{path}: ok", *lines]))
    return True


def _innermost(error: BaseException) -> str:
    """What was refused: MONAI wraps it up in errors of its own."""
    while isinstance(error, RuntimeError) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monai_bmaps.provenance", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("verify", help="check synthetic files against what they say of themselves")
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="PNG, NIfTI or NRRD that a bundle wrote")
    command.add_argument(
        "--bundle",
        type=Path,
        help="draw each image again with this bundle and compare; a bundle can run code, give only those you trust",
    )
    command.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[],
        help="files on top of the bundle's inference.json that the images were drawn with, small.json for example",
    )
    command.add_argument(
        "--labels", type=Path, help="where label maps are now: a file, or a folder (a data set, or its labels)"
    )
    command.add_argument("--output", type=Path, help="keep what was drawn again in this folder")
    return parser
