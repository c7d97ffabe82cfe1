"""The study of docs/study.md: what B-maps, prediction types and conditioning change at one budget.

    python benchmarks/study.py --heart CAMUS --thyroid TG3K --convex HC18 --output RESULTS [--stem FILE] [--lpips FILE]

CAMUS, TG3K and HC18 are data sets that ``python -m monai_bmaps.data prepare`` made; those left out are not studied.
Every cell is three commands, which are printed: a training of ``small.json`` (64 x 64 pixels, 2600 iterations of batch
8; a quarter of an hour on one core), images for the label maps of the test split, and their comparison with its frames.
Hours in all; a stopped study goes on where it was (a stopped training at its last checkpoint), ``--only`` takes some of
the cells. Writes RESULTS/study.json and study.md from the chosen cells that are done.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_bmaps.files import replacing

ROOT = Path(__file__).parents[1]
BUNDLES = {"heart": "cardiac_bmap_sdm", "thyroid": "thyroid_bmap_sdm", "convex": "liver_bmap_gd"}
CROPPED = ("thyroid", "convex")
MAPS: Mapping[str, Sequence[str]] = {
    "none": (),
    "physical": (),
    "paper": ("--num_train_timesteps", "2000", "--b_map", "{'_target_': 'monai_bmaps.BMap.preset', 'name': 'paper'}"),
    "authors_code": ("--b_map", "{'_target_': 'monai_bmaps.BMap.preset', 'name': 'authors_code'}"),
}
"""B-maps by name, as command-line overrides; ``none`` is ``baseline.json``."""
VARIANTS = {"heart": 4, "thyroid": 2, "convex": 1}
MEASURES = {
    "max-pool 1": ("frechet", "max_pool_1"),
    "max-pool 2": ("frechet", "max_pool_2"),
    "floor 1": ("frechet", "floor_max_pool_1"),
    "floor 2": ("frechet", "floor_max_pool_2"),
    "precision": ("manifold", "precision_max_pool_2"),
    "recall": ("manifold", "recall_max_pool_2"),
    "LPIPS": ("pairs", "lpips"),
    "SSIM": ("pairs", "ssim"),
    "PSNR": ("pairs", "psnr"),
    "Dice": ("obedience", "dice_synthetic"),
    "flagged": ("memorisation", "flagged_pixel"),
}
"""Columns of the table: family and key of a report.json."""


@dataclass(frozen=True)
class Cell:
    """One model of the study.

    Args:
        data: ``"heart"``, ``"thyroid"`` or ``"convex"``.
        b_map: a name of :data:`MAPS`.
        prediction: ``"v_prediction"`` or ``"epsilon"``.
        seed: of weights, order, noise and samples.
        spade: whether labels modulate the decoder instead of entering as channels.
    """

    data: str
    b_map: str
    prediction: str = "v_prediction"
    seed: int = 0
    spade: bool = False

    @property
    def name(self) -> str:
        """What its folder is called."""
        kind = "spade" if self.spade else self.b_map
        return f"{self.data}_{kind}_{'v' if self.prediction == 'v_prediction' else self.prediction}_{self.seed}"

    def configs(self, first: Sequence[str]) -> str:
        """Configurations, in the order that they go on top of each other."""
        names = [*first, *["spade"] * self.spade, "small", *["baseline"] * (self.b_map == "none")]
        return "[" + ",".join(f"'configs/{name}.json'" for name in names) + "]"

    def options(self) -> list[str]:
        """What training and drawing share."""
        epsilon = ["--scheduler::prediction_type", self.prediction] if self.prediction != "v_prediction" else []
        return ["--seed", str(self.seed), *MAPS[self.b_map], *epsilon]


CELLS = (
    *(Cell("heart", b_map, prediction) for prediction in ("v_prediction", "epsilon") for b_map in MAPS),
    *(Cell("heart", b_map, seed=1) for b_map in MAPS),
    *(Cell("thyroid", b_map, seed=seed) for seed in (0, 1) for b_map in ("none", "physical")),
    *(Cell("convex", b_map) for b_map in ("none", "physical")),
    *(Cell(data, "physical", spade=True) for data in ("heart", "thyroid")),
)


def commands(cell: Cell, chosen: argparse.Namespace) -> Iterator[tuple[Path, Path, list[str]]]:
    """What a cell takes: the file that says it is done, the folder to run in, and the command."""
    bundle, folder = ROOT / "bundles" / BUNDLES[cell.data], chosen.output / cell.name
    data, weights, samples = str(getattr(chosen, cell.data)), folder / "model.pt", folder / "samples"
    run = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--dataset_dir", data]
    placed = ["--weights", str(weights), *cell.options()]
    kept = ["--output_dir", str(folder), "--snapshot_interval", "2"]
    yield weights, bundle, [*run, "--config_file", cell.configs(["train"]), *kept, *placed]
    drawn = ["--output_dir", str(samples), "--variants", str(VARIANTS[cell.data])]
    yield samples / "overview.png", bundle, [*run, "--config_file", cell.configs(["inference"]), *drawn, *placed]
    compared = ["--synthetic", str(samples), "--real", data, "--train", data, "--output", str(folder / "report")]
    files = [
        text for name in ("stem", "lpips") if getattr(chosen, name) for text in (f"--{name}", getattr(chosen, name))
    ]
    cropped = ["--crop-to-beam"] if cell.data in CROPPED else []
    module = [sys.executable, "-W", "ignore", "-m", "monai_bmaps.metrics", "compare"]
    yield folder / "report" / "report.json", ROOT, [*module, *compared, *cropped, *files]


def run_cell(cell: Cell, chosen: argparse.Namespace) -> bool:
    """Run what is missing of a cell, each command with a log in its folder; return whether all went well."""
    for done, folder, command in commands(cell, chosen):
        if done.is_file():
            continue
        done.parent.mkdir(parents=True, exist_ok=True)
        log = chosen.output / cell.name / f"{done.stem}.log"
        print(f"{cell.name}: {' '.join(command)}", flush=True)
        with log.open("w") as stream:
            if subprocess.run(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT).returncode:
                print(f"{cell.name}: failed, see {log}", file=sys.stderr)
                return False
    return True


def row(report: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of one report.json that the table shows, with their intervals."""
    found = {}
    for name, (family, key) in MEASURES.items():
        measured = report["families"].get(family, {}).get("measured", {}).get(key, {})
        found[name] = {key: measured[key] for key in ("value", "interval_95") if key in measured}
    return found


def table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table of the study in Markdown."""
    lines = ["| cell | " + " | ".join(MEASURES) + " |", "|---" * (len(MEASURES) + 1) + "|"]
    for name, values in rows.items():
        cells = [f"{values[key]['value']:.3g}" if values[key] else "-" for key in MEASURES]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def write_summary(output: Path, cells: Sequence[Cell]) -> None:
    """Write study.json and study.md of all cells that are done."""
    reports = {cell.name: output / cell.name / "report" / "report.json" for cell in cells}
    rows = {name: row(json.loads(path.read_text())) for name, path in reports.items() if path.is_file()}
    with replacing(output / "study.json") as partial:
        partial.write_text(json.dumps(rows, indent=2) + "\n")
    with replacing(output / "study.md") as partial:
        partial.write_text("\n".join(table(rows)) + "\n")
    print(f"{len(rows)} of {len(cells)} cells are done: wrote study.json and study.md to {output}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for data in BUNDLES:
        parser.add_argument(f"--{data}", type=lambda text: Path(text).resolve(), help=f"data set of the {data}")
    parser.add_argument("--output", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--stem", type=lambda text: str(Path(text).resolve()), help="weights of the Inception")
    parser.add_argument("--lpips", type=lambda text: str(Path(text).resolve()), help="weights of LPIPS")
    parser.add_argument("--only", nargs="+", metavar="CELL", choices=[cell.name for cell in CELLS])
    chosen = parser.parse_args(arguments)
    cells = [cell for cell in CELLS if getattr(chosen, cell.data) and (not chosen.only or cell.name in chosen.only)]
    if not cells:
        parser.error("give the data set of at least one of the cells: --heart, --thyroid or --convex")
    done = [run_cell(cell, chosen) for cell in cells]
    write_summary(chosen.output, cells)
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
