"""The command ``python -m monai_bmaps.metrics downstream``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from monai_bmaps.metrics.downstream.measuring import unfit
from monai_bmaps.metrics.downstream.plan import Arm, Plan
from monai_bmaps.metrics.downstream.report import write_report
from monai_bmaps.metrics.downstream.running import run_cells
from monai_bmaps.metrics.images import ReadingOptions, read_images
from monai_bmaps.metrics.segmentation import SegmenterSettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`run` reads."""
    parser.add_argument("--real", type=Path, required=True, help="data set of real images, divided by patient")
    parser.add_argument("--synthetic", type=Path, required=True, help="folder of images drawn for training label maps")
    parser.add_argument("--labels", type=Path, help="what these were drawn for (default: the real data set)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the cells and the report; goes on")
    parser.add_argument("--source", help="name of a data set that was not prepared, for its split")
    parser.add_argument("--group-pattern", help="regular expression of the patient in a file's name")
    parser.add_argument("--classes", nargs="+", default=[], help="names of the labels 1, 2, ...")
    parser.add_argument("--kind", choices=("auto", "sector", "linear"), default="auto", help="beam to fit")
    parser.add_argument("--crop-to-beam", action="store_true", help="cut frames to the field of view first")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), default=(128, 128))
    parser.add_argument("--shares", type=float, nargs="+", default=Plan.shares, help="of the real training patients")
    parser.add_argument("--seeds", type=int, nargs="+", default=Plan.seeds, help="of segmenters and shares")
    parser.add_argument("--arms", nargs="+", choices=get_args(Arm), default=Plan.arms, help="what to train on")
    parser.add_argument("--iterations", type=int, default=SegmenterSettings.iterations, help="of every segmenter")


def run(arguments: argparse.Namespace) -> None:
    """Run the experiment and write ``report.md``, ``report.json`` and the figure.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: the sets cannot be compared.
    """
    options = ReadingOptions(
        size=tuple(arguments.size),
        kind=arguments.kind,
        crop_to_beam=arguments.crop_to_beam,
        source=arguments.source,
        group_pattern=arguments.group_pattern,
        classes=tuple(arguments.classes),
    )
    plan = Plan(
        tuple(arguments.shares),
        tuple(arguments.seeds),
        tuple(arguments.arms),
        SegmenterSettings(iterations=arguments.iterations),
    )
    training = read_images(arguments.real, "training", split="training", options=options, verbose=True)
    real = read_images(arguments.real, "real", split="test", options=options, verbose=True)
    labels = arguments.labels or arguments.real
    synthetic = read_images(arguments.synthetic, "synthetic", labels=labels, options=options, verbose=True)
    if reason := unfit(real, synthetic, training, plan):
        raise ValueError(reason)
    results = run_cells(real, synthetic, training, arguments.output, plan=plan, verbose=True)
    write_report(results, real, asdict(plan), arguments.output)
    print(f"wrote report.md, report.json and downstream.png to {arguments.output}")
