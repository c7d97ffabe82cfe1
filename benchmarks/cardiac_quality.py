"""Frechet distances of the cardiac bundle's samples to held-out patients, over samplers and numbers of steps.

    python benchmarks/cardiac_quality.py --data DATA --stem STEM [--runs ode:20 ancestral:1000 ...] [--samples 200]

DATA is a folder of CAMUS apical frames (images/, labels/, sectors/), STEM the Inception weights (pytorch-fid's file or
the folded .npz; left out, pytorch-fid's is downloaded). Samples are conditioned on label maps of test patients, which
no shipped weight has seen, each with its own seed, and rounded to 8 bits. Real frames are prepared as in training.

A run is ``sampler:steps``: ``ode`` and ``sde`` (BMapDPMSolverScheduler, l2 grid), ``ddim`` (BMapDDIMScheduler, l2
grid), ``ancestral`` (BMapDDPMScheduler, uniform grid). Hours in all; features are kept in --work after every batch, so
a stopped run goes on where it was, and another call adds to the report; runs with --precision float32 are reported as
``sampler:steps:float32``. Writes report.json, curve.png and sheets of samples to --work.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from tqdm import tqdm

import monai_bmaps
from monai_bmaps import BMapSynthesisInferer
from monai_bmaps.files import replacing
from monai_bmaps.metrics import InceptionStem
from monai_bmaps.metrics.distributions import (
    POOLS,
    Features,
    as_rows,
    distances,
    file_features,
    from_rows,
    resampled_distances,
)
from monai_bmaps.metrics.findings import bootstrap_picks, interval
from monai_bmaps.pictures import to_grey

BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ode": ("BMapDPMSolverScheduler", {"algorithm": "ode", "step_grid": "l2"}),
    "sde": ("BMapDPMSolverScheduler", {"algorithm": "sde", "step_grid": "l2"}),
    "ddim": ("BMapDDIMScheduler", {"recompute_noise": True, "step_grid": "l2"}),
    "ancestral": ("BMapDDPMScheduler", {"step_grid": "uniform"}),
}
RUNS = [
    *(f"ode:{steps}" for steps in (5, 8, 10, 15, 20, 30, 50, 100)),
    *(f"sde:{steps}" for steps in (10, 20, 50)),
    *(f"ddim:{steps}" for steps in (20, 50)),
    "ancestral:1000",
]
REFERENCE = "ancestral:1000"
BATCH, SHEET, RESAMPLINGS = 8, 24, 200


def parsed(name: str, **overrides: object) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / name)
    parser["bundle_root"] = str(BUNDLE)
    for key, value in overrides.items():
        parser[key] = value
    parser.parse(True)
    return parser


def held_out(data: str, split: str) -> list[dict[str, torch.Tensor]]:
    training = parsed("train.json", dataset_dir=data)
    prepare = training.get_parsed_content("preprocessing")
    items = training.get_parsed_content("items")(split=split)
    return [prepare(item) for item in tqdm(items, desc=f"reading {split}")]


def sampler_of(run: str, precision: str | None, weights: str | None) -> tuple[BMapSynthesisInferer, Any]:
    kind, steps = run.split(":")[:2]
    inference = parsed("inference.json", amp_dtype=precision, **({"weights": weights} if weights else {}))
    trained = inference.get_parsed_content("scheduler")
    name, options = SAMPLERS[kind]
    scheduler = getattr(monai_bmaps, name)(
        trained.num_train_timesteps,
        "cosine",
        trained.b_map,
        prediction_type=trained.prediction_type,
        **options,
    )
    inferer = inference.get_parsed_content("diffusion_inferer")
    network = inference.get_parsed_content("network").denoiser.to(memory_format=torch.channels_last)
    return BMapSynthesisInferer(inferer, scheduler, int(steps), verbose=False), network


def sample(
    run: str, count: int, items: list[dict[str, torch.Tensor]], stem: InceptionStem, chosen: argparse.Namespace
) -> dict[str, np.ndarray]:
    """Features and sheet images of a run, kept in a file that grows batch by batch."""
    path = chosen.work / f"{run.replace(':', '_')}.npz"
    kept = dict(np.load(path)) if path.exists() else {}
    done = len(kept.get("features", ()))
    if done >= count:
        return kept
    sampler, network = sampler_of(run, chosen.precision, chosen.weights)
    for first in tqdm(range(done, count, BATCH), desc=run):
        seeds = range(first, min(first + BATCH, count))
        batch = [items[seed % len(items)] for seed in seeds]
        seg, depth = (torch.stack([item[key].as_tensor() for item in batch]) for key in ("seg", "depth"))
        images = sampler(seg, network, depth=depth, seeds=seeds)
        grown = {
            "features": as_rows(file_features(images, stem)).numpy(),
            "images": to_grey(images[:, 0])[: max(0, SHEET - first)],
        }
        kept = {key: np.concatenate([kept[key], value]) if kept else value for key, value in grown.items()}
        with replacing(path) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, **kept)
    return kept


def rounded(values: dict[int, Any]) -> list[Any]:
    """Values at max-pool 1 and 2, for the report."""
    return np.round([values[pool] for pool in POOLS], 4).tolist()


def report(runs: dict[str, dict[str, np.ndarray]], known: Features, real: Features, count: int) -> dict[str, Any]:
    """Distances with 95 % bootstrap intervals; differences to the reference resample both runs and the real alike."""
    sets = {run: from_rows(torch.as_tensor(kept["features"][:count])) for run, kept in runs.items()}
    picks = bootstrap_picks(count, len(real[64]), RESAMPLINGS)
    found = {run: distances(features, real) for run, features in sets.items()}
    drawn = {run: resampled_distances(features, real, picks, description=run) for run, features in sets.items()}
    rows = {}
    for run in runs:
        within = {pool: interval(found[run][pool], drawn[run][pool], lowest=0.0) for pool in real}
        rows[run] = {"distance": rounded(found[run]), "interval": rounded(within)}
        if REFERENCE in runs and run != REFERENCE:
            change = {
                pool: interval(found[run][pool] - found[REFERENCE][pool], drawn[run][pool] - drawn[REFERENCE][pool])
                for pool in real
            }
            rows[run]["minus_reference_interval"] = rounded(change)
    return {
        "samples": count,
        "held_out_frames": len(real[64]),
        "distances_at": list(POOLS.values()),
        "training_frames_against_held_out": rounded(distances(known, real)),
        "reference": REFERENCE,
        "runs": rows,
    }


def write_sheet(images: np.ndarray, items: list[dict[str, torch.Tensor]], path: Path, columns: int = 6) -> None:
    """Alternating rows: real frame, sample with the same label map."""
    count = min(len(images), len(items)) // columns * columns
    real = np.stack([to_grey(item["image"][0]) for item in items[:count]])
    rows = [np.concatenate(list(part[i : i + columns]), 1) for i in range(0, count, columns) for part in (real, images)]
    Image.fromarray(np.concatenate(rows)).save(path)


def write_curve(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for index, axis in enumerate(axes):
        for kind in SAMPLERS:
            named = ((*run.split(":"), values) for run, values in found["runs"].items() if run.count(":") == 1)
            runs = sorted(((int(steps), values) for each, steps, values in named if each == kind), key=lambda x: x[0])
            if not runs:
                continue
            steps = [step for step, _ in runs]
            middle = np.array([v["distance"][index] for _, v in runs])
            low, high = np.array([v["interval"][index] for _, v in runs]).T
            line = axis.plot(steps, middle, "o-", label=kind)[0]
            axis.fill_between(steps, low, high, alpha=0.15, color=line.get_color())
        floor = found["training_frames_against_held_out"][index]
        axis.axhline(floor, color="grey", linestyle=":", label="training against held-out frames")
        axis.set(xscale="log", yscale="log", xlabel="network evaluations", title=found["distances_at"][index])
    axes[0].set_ylabel("Frechet distance, 95 % bootstrap band")
    axes[0].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--stem")
    arguments.add_argument("--runs", nargs="+", default=RUNS)
    arguments.add_argument("--samples", type=int, default=128)
    arguments.add_argument("--precision", choices=("auto", "float32"), default="auto")
    arguments.add_argument("--weights")
    arguments.add_argument("--split", default="test")
    arguments.add_argument("--work", type=Path, default=Path("benchmark_results/cardiac_quality"))
    chosen = arguments.parse_args()
    chosen.precision = None if chosen.precision == "float32" else chosen.precision
    chosen.work.mkdir(parents=True, exist_ok=True)

    items, known = held_out(chosen.data, chosen.split), held_out(chosen.data, "training")
    stem = InceptionStem.load(chosen.stem)
    real, training = (file_features((item["image"] for item in group), stem) for group in (items, known))
    for run in (f"{run}:float32" if chosen.precision is None else run for run in chosen.runs):
        kept = sample(run, chosen.samples, items, stem, chosen)
        write_sheet(kept["images"], items, chosen.work / f"{run.replace(':', '_')}.png")
    complete = {}
    for path in sorted(chosen.work.glob("*_*.npz")):
        kept = dict(np.load(path))
        if len(kept["features"]) >= chosen.samples:
            complete[path.stem.replace("_", ":")] = kept
    found = report(complete, training, real, chosen.samples)
    (chosen.work / "report.json").write_text(json.dumps(found, indent=1))
    write_curve(found, chosen.work / "curve.png")
    for run, row in found["runs"].items():
        print(f"{run:16s} {row['distance']}  95 % {row['interval']}")
    print(f"training frames against held out: {found['training_frames_against_held_out']}; report in {chosen.work}")


if __name__ == "__main__":
    main()
