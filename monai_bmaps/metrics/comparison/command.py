"""The command ``python -m monai_bmaps.metrics compare``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from monai_bmaps.data.split import Split
from monai_bmaps.geometry import BeamKind
from monai_bmaps.metrics.comparison.comparing import compare
from monai_bmaps.metrics.comparison.families import FAMILIES
from monai_bmaps.metrics.comparison.settings import Settings
from monai_bmaps.metrics.images import ImageSet, ReadingOptions, is_data_set, read_images
from monai_bmaps.metrics.pairs import Net
from monai_bmaps.metrics.segmentation import SegmenterSettings

_SPLITS = [*get_args(Split), "all"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`run` reads."""
    _add_sets(parser.add_argument_group("images"))
    _add_reading(parser.add_argument_group("how they are read"))
    _add_measuring(parser.add_argument_group("how they are measured"))


def run(given: argparse.Namespace) -> None:
    """Compare the sets that a command names, and write the report.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: the sets cannot be read or compared.
    """
    compare(
        *read_sets(given),
        settings=Settings(
            given.stem,
            given.lpips,
            given.lpips_net,
            given.resamplings,
            given.dynamic_range,
            SegmenterSettings(iterations=given.iterations),
            given.segmenters,
        ),
        output=given.output,
        skip=given.skip,
        provenance={"Synthetic": given.synthetic.name, "Real": given.real.name},
        verbose=not given.quiet,
    )


def read_sets(given: argparse.Namespace) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """Real, synthetic and training images that a command names; frames of data sets get the synthetic images' size."""
    verbose, options = not given.quiet, _options(given)
    labels = given.labels or (given.real if is_data_set(given.real) and (given.real / "labels").is_dir() else None)
    # the groups of synthetic images are those of the items they were drawn for
    drawn = replace(options, group_pattern=None if labels is None else options.group_pattern)
    synthetic = read_images(
        given.synthetic,
        "synthetic",
        split=given.synthetic_split if is_data_set(given.synthetic) else None,
        labels=labels,
        options=drawn if not is_data_set(given.synthetic) else options,
        verbose=verbose,
    )
    fitted = replace(options, size=synthetic.size) if options.size is None else options
    real_options = fitted if is_data_set(given.real) else options
    real = read_images(given.real, "real", split=given.split, options=real_options, verbose=verbose)
    if given.train is None:
        return real, synthetic, None
    train_options = fitted if is_data_set(given.train) else options
    train_split = given.train_split if is_data_set(given.train) else None
    training = read_images(given.train, "training", split=train_split, options=train_options, verbose=verbose)
    return real, synthetic, training


def _options(given: argparse.Namespace) -> ReadingOptions:
    return ReadingOptions(
        None if given.size is None else tuple(given.size),
        given.beam,
        given.crop_to_beam,
        given.source,
        given.group_pattern,
        given.group_column,
        tuple(given.classes),
    )


def _add_sets(group: Any) -> None:
    group.add_argument(
        "--synthetic",
        type=Path,
        required=True,
        metavar="S",
        help="folder of images, or what a bundle's inference wrote",
    )
    group.add_argument("--real", type=Path, required=True, metavar="R", help="data set (images/, ...) or folder")
    group.add_argument("--train", type=Path, metavar="T", help="data set the model was trained on: for the floors")
    group.add_argument(
        "--labels",
        type=Path,
        metavar="L",
        help="data set or dataset.json that S was drawn for; default: R",
    )
    group.add_argument("--output", type=Path, required=True, metavar="O", help="folder for the report")
    group.add_argument("--synthetic-split", choices=_SPLITS, default="all", help="of S, if a data set; default all")
    group.add_argument("--split", choices=_SPLITS, help="of R; default test where it is known, else all")
    group.add_argument("--train-split", choices=_SPLITS, default="training", help="of T; default training")


def _add_reading(group: Any) -> None:
    group.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="fit all images into it")
    group.add_argument("--beam", choices=get_args(BeamKind), default="auto", help="to fit to sectors/; default auto")
    group.add_argument("--crop-to-beam", action="store_true", help="as the thyroid and convex bundles do")
    group.add_argument("--source", metavar="NAME", help="name of a data set that was not prepared: decides its split")
    group.add_argument("--group-pattern", metavar="REGEX", help=r"patient, sweep or exam in file names: patient\d+")
    group.add_argument("--group-column", metavar="COLUMN", help="the same from index.csv")
    group.add_argument("--classes", nargs="+", default=(), metavar="NAME", help="of the labels 1, 2, ...")


def _add_measuring(group: Any) -> None:
    group.add_argument("--stem", type=Path, metavar="FILE", help="weights of the Inception; default: download once")
    group.add_argument("--lpips", type=Path, metavar="FILE", help="trunk of LPIPS; default: download once")
    group.add_argument("--lpips-net", choices=get_args(Net), help="default alex, or what FILE holds")
    group.add_argument("--resamplings", type=int, default=200, metavar="N", help="bootstrap samples; default 200")
    group.add_argument("--dynamic-range", type=float, default=60.0, metavar="DB", help="black to white; default 60")
    iterations = SegmenterSettings.iterations
    group.add_argument(
        "--iterations", type=int, default=iterations, metavar="N", help=f"of the segmenter; default {iterations}"
    )
    group.add_argument("--segmenters", type=Path, metavar="FOLDER", help="where segmenters are kept; default in O")
    group.add_argument("--skip", nargs="+", default=(), choices=[*FAMILIES], metavar="NAME", help=", ".join(FAMILIES))
    group.add_argument("--quiet", action="store_true", help="no progress bars")
