"""The command line of ``python -m monai_bmaps.data prepare``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from monai_bmaps.data import camus
from monai_bmaps.data.prepare.camus_source import CamusSource
from monai_bmaps.data.prepare.dicom_source import DicomSource, read_or_make_key
from monai_bmaps.data.prepare.engine import prepare
from monai_bmaps.data.prepare.folder_source import FolderSource
from monai_bmaps.data.prepare.frames import Source
from monai_bmaps.data.prepare.orientation import Orientation
from monai_bmaps.data.prepare.segthy_source import SegThySource
from monai_bmaps.data.prepare.values import LabelRule

_EPILOG = """\
exit status: 0 all is prepared; 1 some items failed, report.md says which and why, the rest is prepared; 2 nothing done.
Run the same command again after a kill or a repair: it goes on where it stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line, ``["prepare", "camus", SOURCE, OUTPUT]``; ``None``: those of the process.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = argument_parser().parse_args(given)
    try:
        source: Source = options.make(options)
        done = prepare(
            source,
            options.output,
            size=None if options.native_size else _size(options.size),
            file_format=options.format,
            square=options.square,
            most_shadow=options.most_shadow,
            deform=options.deform,
            seed=options.seed,
            unfitted=options.unfitted,
            least_fit=options.least_fit,
            workers=options.workers,
            progress=not options.quiet,
            command=_command(given, source, options),
        )
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, reason in done.failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    counts = ", ".join(f"{count} {split}" for split, count in done.frames.items())
    print(f"{counts} frames in {options.output}; {done.left_out} left out, {len(done.failures)} items failed.")
    print(f"Look at {options.output / 'preview.png'} and read {options.output / 'report.md'}.")
    return 1 if done.failures else 0


def _command(given: list[str], source: Source, options: argparse.Namespace) -> str:
    """The command as typed, without the paths where these may identify a patient."""
    hidden: dict[str, str] = {}
    if source.private:
        hidden = {str(getattr(options, each)): each.upper() for each in ("source", "output", "key_file")}
    return shlex.join(["python", "-m", "monai_bmaps.data", *(hidden.get(each, each) for each in given)])


def argument_parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    parser = argparse.ArgumentParser(prog="python -m monai_bmaps.data")
    verbs = parser.add_subparsers(required=True, metavar="prepare")
    sets = verbs.add_parser(
        "prepare", help="a data set as it was downloaded -> images, labels, beams, patient split"
    ).add_subparsers(required=True, metavar="{camus,segthy,folder,dicom}")
    for add in (_add_camus, _add_segthy, _add_folder, _add_dicom):
        each = add(sets)
        each.formatter_class = argparse.RawDescriptionHelpFormatter
        each.epilog = _EPILOG
        _add_common(each)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the data set; it is only read")
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help="a new or empty folder, or one made by this command"
    )
    out = parser.add_argument_group("what is written")
    out.add_argument(
        "--size",
        type=int,
        nargs="+",
        default=[256],
        metavar="N",
        help="pixels along the longest side (default 256), or HEIGHT WIDTH to fill and pad; pixels become square",
    )
    out.add_argument("--native-size", action="store_true", help="as fine as the source; pixels become square")
    out.add_argument("--square", action="store_true", help="pad to a square, evenly left and right or at the bottom")
    out.add_argument(
        "--deform", type=int, default=0, metavar="N", help="N deformed copies of each training frame (the paper: 5)"
    )
    out.add_argument("--seed", type=int, default=0, help="of the deformations")
    out.add_argument("--format", choices=("png", "nifti"), default="png", help="default png; both lossless, 8-bit")
    beam = parser.add_argument_group("beam and orientation")
    beam.add_argument("--beam", choices=("auto", "sector", "linear"), help="which beam to fit")
    beam.add_argument(
        "--unfitted", choices=("drop", "keep"), default="drop", help="frames to which no beam fits (default drop)"
    )
    beam.add_argument(
        "--least-fit", type=float, default=0.8, metavar="IOU", help="overlap below which a beam does not fit (0.8)"
    )
    beam.add_argument(
        "--most-shadow", type=float, metavar="SHARE", help="leave out frames more in shadow (the paper's liver: 0.5)"
    )
    beam.add_argument(
        "--depth-axis", metavar="{i,j,k}{+,-}", help="array axis along depth, and the way it grows: j+; else the affine"
    )
    beam.add_argument("--stored-order", action="store_true", help="ignore affines: first index column, second row")
    run = parser.add_argument_group("running")
    cores = min(4, os.cpu_count() or 1)
    run.add_argument("--workers", type=int, default=cores, help=f"processes (default {cores}); 0: only this one")
    run.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_camus(sets: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = sets.add_parser("camus", help="CAMUS, NIfTI or MetaImage", description=camus.__doc__)
    parser.add_argument("--views", nargs="+", choices=camus.VIEWS, default=list(camus.VIEWS))
    parser.add_argument("--phases", nargs="+", choices=camus.PHASES, default=list(camus.PHASES))
    parser.add_argument("--sequences", action="store_true", help="also the frames of half_sequence files")
    parser.add_argument("--project-split", action="store_true", help="this project's split, not subgroup_*.txt")
    parser.set_defaults(make=_camus)
    return parser


def _camus(options: argparse.Namespace) -> Source:
    return CamusSource(
        options.source,
        views=tuple(options.views),
        phases=tuple(options.phases),
        sequences=options.sequences,
        official_split=not options.project_split,
        orientation=Orientation(not options.stored_order, options.depth_axis),
        beam=options.beam or "sector",
    )


def _add_segthy(sets: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = sets.add_parser("segthy", help="SegThy's volumes, slice by slice", description="SegThy, ultrasound part.")
    parser.add_argument(
        "--classes",
        choices=("all", "collapsed", "thyroid"),
        default="all",
        help="all five (default); thyroid, carotid, jugular of either side; thyroid only",
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="keep every Nth slice (default 1)")
    parser.add_argument("--sweep-axis", choices=("i", "j", "k"), help="array axis across the slices; else the affine")
    parser.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values shown as 0 and 255")
    parser.set_defaults(make=_segthy)
    return parser


def _segthy(options: argparse.Namespace) -> Source:
    return SegThySource(
        options.source,
        classes_kept=options.classes,
        every=options.every,
        window=_window(options),
        orientation=Orientation(not options.stored_order, options.depth_axis, options.sweep_axis),
        beam=options.beam or "linear",
    )


def _add_folder(sets: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = sets.add_parser(
        "folder",
        help="any folder of frames: PNG, JPEG, NIfTI, NRRD, MetaImage",
        description="Frames in SOURCE/images, label maps of the same names in SOURCE/labels, perhaps SOURCE/index.csv.",
    )
    where = parser.add_argument_group("what is where")
    where.add_argument("--name", default="folder", help="data set name; the split depends on it")
    where.add_argument("--images", default="images", metavar="FOLDER", help="default images; . for SOURCE itself")
    where.add_argument("--labels", default="labels", metavar="FOLDER", help="default labels")
    where.add_argument("--no-labels", action="store_true", help="unlabelled frames")
    where.add_argument("--sectors", metavar="FOLDER", help="field-of-view masks; else seen from the grey values")
    where.add_argument("--group-pattern", metavar="REGEX", help="patient, sweep or exam in the file name: patient\\d+")
    where.add_argument("--group-column", metavar="COLUMN", help="the same from index.csv (with a column name)")
    where.add_argument("--view-column", metavar="COLUMN", help="view from index.csv")
    where.add_argument("--spacing", type=float, nargs=2, metavar=("ROW", "COLUMN"), help="pixel size in mm")
    where.add_argument("--spacing-column", metavar="COLUMN", help="pixel size in mm from index.csv")
    values = parser.add_argument_group("values")
    values.add_argument("--map", nargs="+", type=_pair, metavar="OLD=NEW", help="label values: 255=1")
    values.add_argument("--label-threshold", type=float, metavar="T", help="labels above it become 1: for JPEG masks")
    values.add_argument("--classes", nargs="+", type=_named, default=[], metavar="N=NAME", help="1=thyroid 2=carotid")
    values.add_argument("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="values shown as 0 and 255")
    values.add_argument("--terms", default=FolderSource.terms, help="licence and citation, for the report")
    parser.set_defaults(make=_folder)
    return parser


def _folder(options: argparse.Namespace) -> Source:
    rule = None
    if options.map is not None or options.label_threshold is not None:
        rule = LabelRule(dict(options.map) if options.map is not None else None, threshold=options.label_threshold)
    return FolderSource(
        options.source,
        name=options.name,
        images=options.images,
        labels=None if options.no_labels else options.labels,
        sectors=options.sectors,
        group_pattern=options.group_pattern,
        group_column=options.group_column,
        view_column=options.view_column,
        spacing_column=options.spacing_column,
        spacing=None if options.spacing is None else tuple(options.spacing),
        class_names=dict(options.classes),
        rule=rule,
        window=_window(options),
        orientation=Orientation(not options.stored_order, options.depth_axis),
        beam=options.beam or "auto",
        terms=options.terms,
    )


def _add_dicom(sets: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = sets.add_parser(
        "dicom",
        help="ultrasound DICOM, single and multi-frame",
        description="DICOM files in SOURCE and below. No patient identifier is written; outside the beam is blackened.",
    )
    parser.add_argument("--name", default="dicom", help="data set name; the split depends on it")
    parser.add_argument("--key-file", type=Path, help="secret behind the pseudonyms; made if new (default OUTPUT.key)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="keep every Nth frame of a file (default 1)")
    parser.add_argument("--most-colour", type=float, default=1.0, metavar="PART", help="leave out more coloured frames")
    parser.add_argument("--terms", default=DicomSource.terms, help="licence and citation, for the report")
    parser.set_defaults(make=_dicom)
    return parser


def _dicom(options: argparse.Namespace) -> Source:
    if options.stored_order or options.depth_axis:
        raise ValueError("DICOM frames have row 0 at the top: leave out --stored-order and --depth-axis")
    path = options.key_file or options.output.with_name(f"{options.output.name}.key")
    for place in (options.source, options.output):
        if place.resolve() in path.resolve().parents:
            raise ValueError(f"the key {path} would lie among the data in {place}; keep it elsewhere: --key-file FILE")
    return DicomSource(
        options.source,
        read_or_make_key(path),
        every=options.every,
        most_colour=options.most_colour,
        beam=options.beam or "auto",
        name=options.name,
        terms=options.terms,
    )


def _size(given: list[int]) -> int | tuple[int, int]:
    if len(given) > 2:
        raise ValueError(f"--size takes one or two numbers, got {given}; give N, or HEIGHT WIDTH")
    return given[0] if len(given) == 1 else (given[0], given[1])


def _window(options: argparse.Namespace) -> tuple[float, float] | None:
    if options.window is None:
        return None
    low, high = options.window
    if low >= high:
        raise ValueError(f"--window needs LOW below HIGH, got {low:g} {high:g}; swap them")
    return low, high


def _pair(text: str) -> tuple[int, int]:
    old, _, new = text.partition("=")
    try:
        return int(old), int(new)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW, two whole numbers such as 255=1") from None


def _named(text: str) -> tuple[int, str]:
    value, _, name = text.partition("=")
    if not value.isdigit() or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not N=NAME, such as 1=thyroid")
    return int(value), name
