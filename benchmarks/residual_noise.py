"""Is a gap between models with and without B-maps noise that is left in the images? Measured on the study's hearts.

    python benchmarks/residual_noise.py --runs RESULTS --heart CAMUS --output OUTPUT [--stem FILE]

RESULTS is what benchmarks/study.py wrote, CAMUS the data set it was given. Against the frames of the test split, at as
many images for every row: real frames with planted noise, blur and brightness (which dose gives which Frechet
distance); and images of every finished heart cell without and with the physical B-map, one a label map, with the
averaged and the raw weights, by several samplers, with and without clipping, and after a light filter. Six minutes a
cell on one core; what is drawn and measured is kept in OUTPUT/kept, so that a stopped run goes on where it was, and a
later one adds the cells that are done by then. Writes residual_noise.json, residual_noise.md, residual_noise.png and
some of the images, drawn.png.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, Python looks in this folder only

from benchmarks.image_noise import FAULTS, FILTERS, finest_band, mean_level, spread
from benchmarks.judge import Judge, rounded, spread_over
from benchmarks.residual_noise_report import PAPER, draw_findings, tables
from benchmarks.study import CELLS, Cell
from benchmarks.study_drawing import Drawing, conditions, drawn, of_the_same_items, parsed, real_frames
from monai_bmaps.files import replacing
from monai_bmaps.metrics import ImageSet, InceptionStem, read_images
from monai_bmaps.metrics.comparison import Store
from monai_bmaps.metrics.distributions import distances
from monai_bmaps.metrics.findings import interval
from monai_bmaps.pictures import side_by_side
from monai_bmaps.schedulers import BMapDDPMScheduler

RUNS: Mapping[str, tuple[str, str, bool]] = {
    "2M 20": ("model.pt", "ode:20", True),
    "2M 20, raw weights": ("checkpoint.pt", "ode:20", True),
    "2M 20, not clipped": ("model.pt", "ode:20", False),
    "DDIM 20": ("model.pt", "ddim:20", True),
    "ancestral 20": ("model.pt", "ancestral:20", True),
    "ancestral 50": ("model.pt", "ancestral:50", True),
    "ancestral 250": ("model.pt", "ancestral:250", True),
    "ancestral 20, not clipped": ("model.pt", "ancestral:20", False),
    "ancestral 20, not clipped, raw": ("checkpoint.pt", "ancestral:20", False),
}
"""Weights, sampler and clipping by name: first as the study draws, last all that is suspected at once."""
FILTERED = ("2M 20", "ancestral 50")
LONG = "ancestral 250"
COLUMNS = 8
"""What is also measured after a filter, and as the network has it outside the beam."""
NOISE_DOSES = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80)
DOSES: Mapping[str, tuple[str, int, Sequence[float]]] = {
    "white noise, 64 x 64": ("white", 64, NOISE_DOSES),
    "noise growing with depth, 64 x 64": ("deep", 64, NOISE_DOSES),
    "white noise, 128 x 128": ("white", 128, NOISE_DOSES),
    "white noise, also outside, 128 x 128": ("everywhere", 128, (0, 2, 5, 10, 20, 40)),
    "brighter, 64 x 64": ("brighter", 64, (0, 2, 5, 10, 20, 40, 80, 120, 160)),
    "blurred, 64 x 64": ("blurred", 64, (0, 0.3, 0.5, 0.7, 1, 1.5, 2, 3)),
}
"""Kind of fault, side of the frames in pixels and doses: grey levels, of the blur pixels."""
WANTED = [Cell("heart", b_map, kind) for kind in ("v_prediction", "epsilon") for b_map in ("none", "physical")]
EARLY_ENDS = (1, 5, 10, 20, 50)
BLOOD = (1, 3)
"""Labels of the cavities of ventricle and atrium."""


def noise_of(images: torch.Tensor, frames: ImageSet) -> dict[str, float]:
    """Direct measures of noise in images of these frames' items: medians over the images, in grey levels.

    Raises:
        ValueError: frames without beam or labels.
    """
    if frames.inside is None or frames.labels is None:
        raise ValueError("noise is measured inside the beam and in blood: give a data set with sectors/ and labels/")
    blood = torch.isin(frames.labels, torch.tensor(BLOOD))
    band = finest_band(images, frames.inside)
    found = {
        "finest_band": band,
        "finest_band_of_the_noisiest_tenth": band.nanquantile(0.9),
        "level_inside": mean_level(images, frames.inside),
        "spread_in_blood": spread(images, blood),
        "level_outside": mean_level(images, ~frames.inside),
    }
    return {name: float(values.nanmedian()) for name, values in found.items()}


def doses(judge: Judge, data: Path, count: int) -> dict[str, dict[str, dict[str, float]]]:
    """Distances of training frames with planted faults to frames of the test split, by curve and dose."""
    curves: dict[str, dict[str, dict[str, float]]] = {}
    known: dict[int, tuple[ImageSet, torch.Tensor]] = {}
    for name, (fault, side, given) in DOSES.items():
        if side not in known:
            training, real = (real_frames(CELLS[0], data, (side, side), split) for split in ("training", "test"))
            known[side] = (spread_over(training, count), spread_over(real, count).images)
        frames, real_images = known[side]
        if frames.inside is None or frames.depth is None:
            raise ValueError(f"{data} has no sectors/: noise is planted inside the beam")
        curves[name] = {
            f"{dose:g}": judge.distances(FAULTS[fault](frames.images, frames.inside, frames.depth, dose), real_images)
            for dose in tqdm(given, desc=name)
        }
    return curves


def dose_of(curve: Mapping[str, Mapping[str, float]], distance: float) -> float:
    """The dose at which a curve reaches a distance, between its doses linear in dose and in log distance.

    NaN below the curve's first value, that of no fault, and above its last one.
    """
    given = np.array([float(dose) for dose in curve])
    values = np.maximum.accumulate([row["max_pool_1"] for row in curve.values()])
    if not values[0] <= distance <= values[-1]:
        return math.nan
    return float(np.interp(math.log(distance), np.log(values), given))


def filtered(judge: Judge, images: torch.Tensor) -> dict[str, dict[str, float]]:
    """Distances at the first max-pool after each filter: to the real frames, and to these with the same filter."""
    inside = judge.real.inside
    if inside is None:
        raise ValueError("filters work inside the beam: give a data set with sectors/")
    found = {}
    for name, taken in FILTERS.items():
        clean, real = taken(images, inside), taken(judge.real.images, inside)
        found[name] = {
            "real": judge.distances(clean)["max_pool_1"],
            "real_filtered_too": judge.distances(clean, real)["max_pool_1"],
        }
    return found


def kept_file(output: Path, cell: str, run: str) -> Path:
    """Where the images of a run are kept."""
    return output / "kept" / f"{cell}_{run.replace(', ', '_').replace(' ', '_')}.npz"


def draw_examples(found: Mapping[str, Mapping[str, Any]], output: Path) -> None:
    """Draw ``drawn.png``: a row for each cell, its longest chain if drawn, and a column for some label maps."""
    shown = {cell: LONG if LONG in runs else next(iter(runs)) for cell, runs in found.items() if runs}
    if not shown:
        return
    rows = []
    for cell, run in shown.items():
        with np.load(kept_file(output, cell, run)) as kept:
            rows.append(kept["images"][:: max(1, len(kept["images"]) // COLUMNS)][:COLUMNS])
    captions = [f"{cell.removeprefix('heart_')}, {run}" for cell, run in shown.items()]
    picture = side_by_side([*zip(*rows, strict=True)], captions).convert("L")
    with replacing(output / "drawn.png") as partial:
        picture.save(partial)


def of_cell(
    judge: Judge, cell: Cell, chosen: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """What was found of each run of a cell, and the bootstrap distances of each."""
    parser = parsed(cell, chosen.heart)
    given = conditions(parser, chosen.images)
    rows: dict[str, Any] = {}
    samples = {}
    for run, (weights, sampler, clip) in ((way, RUNS[way]) for way in chosen.ways):
        drawing = Drawing(chosen.runs / cell.name / weights, sampler, clip)
        kept = kept_file(chosen.output, cell.name, run)
        if chosen.as_is and not kept.is_file():
            continue
        plain = drawn(parser, given, drawing, kept, name=f"{cell.name}: {run}")
        images = torch.where(given.inside[:, None], plain, 0.0)
        samples[run] = judge.resampled(images)
        rows[run] = judge.distances(images) | noise_of(plain, judge.real)
        rows[run]["interval_95"] = interval(rows[run]["max_pool_1"], samples[run], lowest=0.0)
        if run in FILTERED:
            rows[run]["not_blackened_max_pool_1"] = judge.distances(plain)["max_pool_1"]
            rows[run]["filtered"] = filtered(judge, images)
    return rows, samples


def numbers(judge: Judge, cell: Cell, runs: Path) -> dict[str, Any]:
    """Distances at the first max-pool of the study's own images: of each variant alone, and of all together."""
    folder = runs / cell.name / "samples"
    if not folder.is_dir():
        return {}
    images = read_images(folder, "synthetic")
    variants = sorted({name.rpartition("_")[2] for name in images.names})
    rows = [[row for row, name in enumerate(images.names) if name.endswith(f"_{each}")] for each in variants]
    every, real = judge.features(images.images), {64: judge.features(judge.real.images)[64]}
    return {
        "of_one_variant": [distances({64: every[64][torch.tensor(own)]}, real)[64] for own in rows],
        "images_of_one_variant": len(rows[0]),
        "of_all": distances({64: every[64]}, real)[64],
        "images": len(images),
    }


def pairs(done: Sequence[Cell]) -> Iterator[tuple[str, Cell, Cell]]:
    """Cells without and with the B-map that differ in nothing else, with the name of what they share."""
    for cell in done:
        for other in done:
            same = (cell.prediction, cell.seed) == (other.prediction, other.seed)
            if same and (cell.b_map, other.b_map) == ("none", "physical"):
                yield cell.name.replace("_none", ""), cell, other


def differences(
    found: Mapping[str, Any], samples: Mapping[str, Mapping[str, np.ndarray[Any, Any]]], done: Sequence[Cell]
) -> dict[str, Any]:
    """How much larger distances are without the B-map; both and the real frames are resampled alike."""
    return {
        name: {
            run: {
                "value": (change := found[plain.name][run]["max_pool_1"] - found[mapped.name][run]["max_pool_1"]),
                "interval_95": interval(change, samples[plain.name][run] - samples[mapped.name][run]),
            }
            for run in found[plain.name]
            if run in found[mapped.name]
        }
        for name, plain, mapped in pairs(done)
    }


def early_ends() -> dict[str, float]:
    """Noise in grey levels that is left by a chain of 1000 cosine steps ending in step t instead of the clean image."""
    levels = BMapDDPMScheduler(1000, "cosine").log_alphas_cumprod
    return {str(t): float(127.5 * torch.sqrt(-torch.expm1(levels[t]))) for t in EARLY_ENDS}


def measured(judge: Judge, training: ImageSet, done: Sequence[Cell], chosen: argparse.Namespace) -> dict[str, Any]:
    """All numbers of the report."""
    count = len(judge.real)
    curves = doses(judge, chosen.heart, count)
    found, samples = {}, {}
    for cell in done:
        found[cell.name], samples[cell.name] = of_cell(judge, cell, chosen)
    for row in (row for rows in found.values() for row in rows.values()):
        row["equal_white_noise"] = dose_of(curves["white noise, 64 x 64"], row["max_pool_1"])
    control = spread_over(training, count)
    return {
        "images": count,
        "patients": len(set(judge.real.groups)),
        "floors": judge.floors(training),
        "real_frames": noise_of(judge.real.images, judge.real),
        "doses": curves,
        "dose_of_the_papers": {
            name: {str(v): dose_of(curve, v) for v in PAPER.values()} for name, curve in curves.items()
        },
        "left_by_an_early_end": early_ends(),
        "filtered_training_frames": filtered(judge, control.images),
        "cells": found,
        "without_minus_with": differences(found, samples, done),
        "numbers_of_images": {cell.name: numbers(judge, cell, chosen.runs) for cell in done[:1]},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("runs", "heart", "output"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--stem", type=Path, help="weights of the Inception; downloaded once without it")
    parser.add_argument("--images", type=int, help="at most so many, evenly over the test split")
    parser.add_argument(
        "--ways", nargs="+", choices=[*RUNS], default=[*RUNS], metavar="WAY", help=f"of {', '.join(RUNS)}"
    )
    parser.add_argument("--as-is", action="store_true", help="begin no new drawings, report those that are there")
    parser.add_argument("--only", nargs="+", metavar="CELL", choices=[cell.name for cell in WANTED])
    chosen = parser.parse_args(arguments)
    wanted = [cell for cell in WANTED if not chosen.only or cell.name in chosen.only]
    done = [cell for cell in wanted if (chosen.runs / cell.name / "model.pt").is_file()]
    print(f"cells that are done: {', '.join(cell.name for cell in done) or 'none'}")
    setting = parsed(CELLS[0], chosen.heart)
    size = tuple(setting.get_parsed_content("image_size"))
    real = of_the_same_items(real_frames(CELLS[0], chosen.heart, size), conditions(setting, chosen.images))
    training = real_frames(CELLS[0], chosen.heart, size, "training")
    judge = Judge(real, InceptionStem.load(chosen.stem), Store(chosen.output / "kept"))
    found = rounded(measured(judge, training, done, chosen))
    with replacing(chosen.output / "residual_noise.json") as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    with replacing(chosen.output / "residual_noise.md") as partial:
        partial.write_text("\n".join(tables(found)) + "\n")
    draw_findings(found, chosen.output / "residual_noise.png")
    draw_examples(found["cells"], chosen.output)
    print(f"wrote residual_noise.json, residual_noise.md, residual_noise.png and drawn.png to {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
