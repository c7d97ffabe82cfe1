"""Frechet distance against training: the study's models along their way.

    python benchmarks/training_curve.py --runs RESULTS [--heart CAMUS] [--thyroid TG3K] [--convex HC18] --output OUTPUT

RESULTS is what benchmarks/study.py wrote, the data sets are those it was given. Draws, with the averaged weights that
every finished cell kept along its training, one image for each of at most 61 label maps of the test split (20 steps of
the 2M ODE solver), and measures their distances to the frames of these label maps. Two minutes a cell on one core; what
is drawn is kept in OUTPUT/kept, so that a stopped run goes on where it was. A cell that kept nothing on its way has its
final weights alone. Writes training_curve.json and training_curve.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, Python looks in this folder only

from benchmarks.judge import Judge, rounded
from benchmarks.residual_noise_report import PURPLE
from benchmarks.study import BUNDLES, CELLS, Cell
from benchmarks.study_drawing import Drawing, conditions, drawn, of_the_same_items, parsed, real_frames
from monai_bmaps.figures.grid import plotting, save
from monai_bmaps.files import replacing
from monai_bmaps.metrics import InceptionStem
from monai_bmaps.metrics.comparison import Store
from monai_bmaps.metrics.findings import BLUE, GREEN, GREY, ORANGE, interval

STYLES = {
    "none": ("no B-map", ORANGE, "o"),
    "physical": ("physical", BLUE, "s"),
    "paper": ("paper", GREEN, "^"),
    "authors_code": ("authors' code", PURPLE, "D"),
}
"""Title, Okabe and Ito's colour and marker of each B-map."""
LINES = {("v_prediction", 0): "-", ("v_prediction", 1): "--", ("epsilon", 0): ":"}
POOLS = {"max_pool_1": "max-pool 1", "max_pool_2": "max-pool 2"}


def snapshots(folder: Path) -> dict[int, Path]:
    """A cell's weights by iteration; none where its training is not done."""
    card = folder / "model.json"
    if not card.is_file():
        return {}
    final = int(json.loads(card.read_text())["training"]["iterations"])
    kept = {int(path.stem.partition("_")[2]): path for path in sorted(folder.glob("weights_*.pt"))}
    return {**kept, final: folder / "model.pt"}


def judge_of(cell: Cell, data: Path, chosen: argparse.Namespace) -> tuple[Judge, dict[str, Any]]:
    """What measures images of the cell's kind of data, and its floors."""
    setting = parsed(cell, data)
    size = tuple(setting.get_parsed_content("image_size"))
    real = of_the_same_items(real_frames(cell, data, size), conditions(setting, chosen.images))
    judge = Judge(real, InceptionStem.load(chosen.stem), Store(chosen.output / "kept"))
    return judge, judge.floors(real_frames(cell, data, size, "training"))


def curve(judge: Judge, cell: Cell, chosen: argparse.Namespace) -> dict[str, Any]:
    """Distances by iteration."""
    parser = parsed(cell, getattr(chosen, cell.data))
    given = conditions(parser, chosen.images)
    rows = {}
    for iteration, weights in snapshots(chosen.runs / cell.name).items():
        kept = chosen.output / "kept" / f"{cell.name}_{iteration:06d}.npz"
        plain = drawn(parser, given, Drawing(weights), kept, name=f"{cell.name}: {iteration}")
        images = torch.where(given.inside[:, None], plain, 0.0)
        row = judge.distances(images)
        rows[str(iteration)] = {**row, "interval_95": interval(row["max_pool_1"], judge.resampled(images), lowest=0.0)}
    return rows


def measured(cells: Sequence[Cell], chosen: argparse.Namespace) -> dict[str, Any]:
    """All numbers of the report, by kind of data."""
    found: dict[str, Any] = {}
    for data in dict.fromkeys(cell.data for cell in cells):
        own = [cell for cell in cells if cell.data == data]
        judge, floors = judge_of(own[0], getattr(chosen, data), chosen)
        curves = {cell.name: curve(judge, cell, chosen) for cell in own}
        found[data] = {"images": len(judge.real), "floors": floors, "cells": curves}
    return found


def draw_curves(found: Mapping[str, Any], cells: Sequence[Cell], path: Path) -> None:
    """Draw a row of panels for each kind of data, a line for each cell; the floor dotted."""
    pyplot = plotting()
    figure, axes = pyplot.subplots(
        len(found), 2, figsize=(9.5, 0.6 + 2.9 * len(found)), squeeze=False, layout="constrained"
    )
    for line, (data, part) in zip(axes, found.items(), strict=True):
        for axis, (pool, title) in zip(line, POOLS.items(), strict=True):
            for cell in (cell for cell in cells if cell.data == data):
                _draw_cell(axis, cell, part["cells"][cell.name], pool)
            label = f"{part['images']} real training frames"
            axis.axhline(part["floors"][pool]["of_as_many"], color=GREY, linestyle=(0, (1, 3)), label=label)
            axis.set(yscale="log", title=f"{data}, {title}", xlabel="iterations")
            axis.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("Frechet distance")
        line[1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    save(figure, path)


def _draw_cell(axis: Any, cell: Cell, rows: Mapping[str, Any], pool: str) -> None:
    title, colour, marker = STYLES[cell.b_map]
    told = [title, *["SPADE"] * cell.spade, *["epsilon"] * (cell.prediction == "epsilon"), f"seed {cell.seed}"]
    steps = [int(iteration) for iteration in rows]
    style = "-." if cell.spade else LINES[cell.prediction, cell.seed]
    values = [row[pool] for row in rows.values()]
    axis.plot(steps, values, color=colour, linestyle=style, marker=marker, markersize=4, label=", ".join(told))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("runs", "output"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True)
    for data in BUNDLES:
        parser.add_argument(f"--{data}", type=lambda text: Path(text).resolve(), help=f"data set of the {data}")
    parser.add_argument("--stem", type=Path, help="weights of the Inception; downloaded once without it")
    parser.add_argument("--images", type=int, default=61, help="at most so many, evenly over the test split")
    parser.add_argument("--only", nargs="+", metavar="CELL", choices=[cell.name for cell in CELLS])
    chosen = parser.parse_args(arguments)
    wanted = [cell for cell in CELLS if getattr(chosen, cell.data) and (not chosen.only or cell.name in chosen.only)]
    cells = [cell for cell in wanted if snapshots(chosen.runs / cell.name)]
    if not cells:
        parser.error(f"no cell of these data sets is done in {chosen.runs}: give --heart, --thyroid or --convex")
    found = rounded(measured(cells, chosen))
    with replacing(chosen.output / "training_curve.json") as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    draw_curves(found, cells, chosen.output / "training_curve.png")
    print(f"wrote training_curve.json and training_curve.png of {len(cells)} cells to {chosen.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
