"""Trains the segmenters of a downstream experiment, cell by cell, and judges them on held-out images.

What a cell found lies in a file of its own, so that an experiment goes on where it was stopped.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from monai_bmaps.files import replacing
from monai_bmaps.metrics.downstream.plan import Cell, Plan, share_of_patients
from monai_bmaps.metrics.downstream.results import CellResult
from monai_bmaps.metrics.images import ImageSet
from monai_bmaps.metrics.segmentation import (
    SegmenterSettings,
    dice_per_structure,
    hausdorff_per_structure,
    train_segmenter,
)


def run_cells(
    real: ImageSet, synthetic: ImageSet, training: ImageSet, folder: str | Path, *, plan: Plan, verbose: bool = False
) -> list[CellResult]:
    """Return what every cell of the plan found; sets and errors as ``measure_downstream`` has them."""
    return [
        _run_cell(cell, real, synthetic, training, Path(folder), plan.settings, verbose)
        for cell in tqdm(plan.cells(), "cells", disable=not verbose)
    ]


def _run_cell(
    cell: Cell,
    real: ImageSet,
    synthetic: ImageSet,
    training: ImageSet,
    folder: Path,
    settings: SegmenterSettings,
    verbose: bool,
) -> CellResult:
    """What a cell found, from its file where there is one."""
    images, labels, counts = _frames(cell, synthetic, training)
    settings = replace(settings, seed=cell.seed)
    print_ = settings.fingerprint(images, labels, real.images, real.known_labels)
    path = folder / "cells" / f"{cell.name}.json"
    if (known := _read_cell(path, print_)) is not None:
        return known
    started = time.monotonic()
    bar = cell.name if verbose else None
    kept = folder / "segmenters"
    segmenter = train_segmenter(images, labels, len(training.classes), settings, cache=kept, description=bar)
    result = _judged(cell, segmenter.predict(real.images), real, counts, time.monotonic() - started)
    with replacing(path) as partial:
        partial.write_text(json.dumps({"fingerprint": print_, **result.to_dict()}, allow_nan=False) + "\n")
    return result


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
