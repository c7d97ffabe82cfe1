"""Do synthetic images help? The same segmenter learns from real, synthetic and both kinds of images.

After Echo from Noise (Stojanovski et al. 2023, https://arxiv.org/abs/2305.05424): same network, same number of steps,
several seeds, judged on real images of held-out patients. A cell is one arm, share of the real data and seed; what a
cell found lies in a file of its own, so that an experiment goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch
from tqdm import tqdm

from monai_bmaps.files import replacing
from monai_bmaps.metrics.downstream_report import CellResult, findings_of, write_report
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet, ReadingOptions, preconditions, read_images
from monai_bmaps.metrics.segmentation import (
    SegmenterSettings,
    dice_per_structure,
    hausdorff_per_structure,
    train_segmenter,
)

Arm: TypeAlias = Literal["real", "synthetic", "both"]
"""What a segmenter is trained on."""


@dataclass(frozen=True)
class Cell:
    """One training.

    Args:
        arm: what it is trained on.
        share: of the real patients, in (0, 1]; 0 of synthetic images alone.
        seed: of the segmenter, and of who is in the share.
    """

    arm: Arm
    share: float
    seed: int

    @property
    def name(self) -> str:
        """As the cell's file is called: ``both_0.1_seed2``."""
        return f"{self.arm}_{self.share:g}_seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Which cells there are, and how each is trained.

    Args:
        shares: of the real training patients, each in (0, 1].
        seeds: at least one, better three.
        arms: what segmenters are trained on.
        settings: of every segmenter; the seed is the cell's.

    Raises:
        ValueError: a share out of range, no seed or no arm, or one that is named twice or unknown.
    """

    shares: tuple[float, ...] = (0.1, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[Arm, ...] = ("real", "synthetic", "both")
    settings: SegmenterSettings = field(default_factory=SegmenterSettings)

    def __post_init__(self) -> None:
        for name in ("shares", "seeds", "arms"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise ValueError(f"{name} must name something, each once, got {given}")
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"shares must lie in (0, 1], got {self.shares}")
        if unknown := set(self.arms) - set(get_args(Arm)):
            raise ValueError(f"arms must be of {', '.join(get_args(Arm))}, got {', '.join(map(str, unknown))}")

    def cells(self) -> list[Cell]:
        """Every cell, seed by seed, so that an early end leaves whole comparisons."""
        return [
            Cell(arm, share, seed)
            for seed in self.seeds
            for arm in self.arms
            for share in ((0.0,) if arm == "synthetic" else sorted(self.shares))
        ]


def share_of_patients(images: ImageSet, share: float, seed: int) -> ImageSet:
    """Return the images of a share of the patients, at least of one.

    Shares of one seed are nested: whoever is in a tenth is in a half.

    Args:
        images: with their ``groups``.
        share: of the patients, in (0, 1].
        seed: of their order.
    """
    patients = sorted(set(images.groups))
    order = torch.randperm(len(patients), generator=torch.Generator().manual_seed(seed)).tolist()
    count = max(1, math.ceil(share * len(patients) - 1e-9))
    chosen = {patients[place] for place in order[:count]}
    return images.chosen([row for row, group in enumerate(images.groups) if group in chosen])


def measure_downstream(
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet,
    folder: str | Path,
    *,
    plan: Plan | None = None,
    verbose: bool = False,
) -> Findings:
    """Train every cell that ``folder`` lacks, and return Dice, Hausdorff-95 and what synthetic images add.

    Args:
        real: held-out real images with label maps, of no patient of ``training``.
        synthetic: images with the label maps they were drawn for, none of a patient of ``real``.
        training: real images with label maps.
        folder: where ``cells/`` and the segmenters (``segmenters/``) are kept.
        plan: shares, seeds, arms and segmenter.
        verbose: show progress bars.

    Raises:
        ValueError: the folder holds a cell of other data or settings.
    """
    plan = plan or Plan()
    if reason := _unfit(real, synthetic, training, plan):
        row = Measured("dice_real", "Dice on held-out real images", left_out=reason)
        return Findings("Downstream segmentation", [row])
    return findings_of(run_cells(real, synthetic, training, folder, plan=plan, verbose=verbose), real)


def run_cells(
    real: ImageSet, synthetic: ImageSet, training: ImageSet, folder: str | Path, *, plan: Plan, verbose: bool = False
) -> list[CellResult]:
    """Return what every cell of the plan found; sets and errors as :func:`measure_downstream`."""
    results = []
    for cell in tqdm(plan.cells(), "cells", disable=not verbose):
        images, labels, counts = _frames(cell, synthetic, training)
        settings = replace(plan.settings, seed=cell.seed)
        print_ = settings.fingerprint(images, labels, real.images, real.known_labels)
        path = Path(folder) / "cells" / f"{cell.name}.json"
        result = _read_cell(path, print_)
        if result is None:
            started = time.monotonic()
            segmenter = train_segmenter(
                images,
                labels,
                len(training.classes),
                settings,
                cache=Path(folder) / "segmenters",
                description=cell.name if verbose else None,
            )
            result = _judged(cell, segmenter.predict(real.images), real, counts, time.monotonic() - started)
            with replacing(path) as partial:
                partial.write_text(json.dumps({"fingerprint": print_, **result.to_dict()}, allow_nan=False) + "\n")
        results.append(result)
    return results


def _unfit(real: ImageSet, synthetic: ImageSet, training: ImageSet, plan: Plan) -> str | None:
    if drawn_for_held_out := preconditions.shared_groups(real, synthetic):
        return f"{drawn_for_held_out}: images drawn for label maps of held-out patients give the answers away"
    return preconditions.unfit_for_segmenter(real, synthetic, training) or plan.settings.misfit(training.size)


def _frames(cell: Cell, synthetic: ImageSet, training: ImageSet) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    """Images and labels that a cell is trained on, and how many of which kind."""
    sets = [share_of_patients(training, cell.share, cell.seed)] if cell.arm != "synthetic" else []
    sets += [synthetic] if cell.arm != "real" else []
    images, labels = torch.cat([part.images for part in sets]), torch.cat([part.known_labels for part in sets])
    return images, labels, {part.name: len(part) for part in sets}


def _judged(cell: Cell, predicted: torch.Tensor, real: ImageSet, counts: dict[str, int], seconds: float) -> CellResult:
    known = [spacing for spacing in real.spacing if spacing is not None]
    spacing = known if len(known) == len(real) else None
    num_labels = len(real.classes)
    return CellResult(
        **asdict(cell),
        counts=counts,
        seconds=round(seconds, 1),
        dice=dice_per_structure(predicted, real.known_labels, num_labels),
        hausdorff=hausdorff_per_structure(predicted, real.known_labels, num_labels, spacing),
        unit="pixels" if spacing is None else "mm",
    )


def _read_cell(path: Path, fingerprint: str) -> CellResult | None:
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    if content.pop("fingerprint") != fingerprint:
        raise ValueError(f"{path} was found with other data or settings; choose another folder, or move it away")
    return CellResult.from_dict(content)


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
    if reason := _unfit(real, synthetic, training, plan):
        raise ValueError(reason)
    results = run_cells(real, synthetic, training, arguments.output, plan=plan, verbose=True)
    write_report(results, real, asdict(plan), arguments.output)
    print(f"wrote report.md, report.json and downstream.png to {arguments.output}")
