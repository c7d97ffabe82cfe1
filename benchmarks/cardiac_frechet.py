"""Frechet distance of the cardiac bundle's samples to held-out patients, beside the real-against-real value.

    python benchmarks/cardiac_frechet.py --data DATA --stem STEM [--samples 200] [--steps 50] [--output FOLDER]

DATA is a folder of CAMUS apical frames (images/, labels/, sectors/), STEM the Inception weights (pytorch-fid's file or
the folded .npz; left out, pytorch-fid's is downloaded). Samples are conditioned on label maps of test patients, which
no shipped weight has seen, each with its own seed, and rounded to 8 bits. Real frames are prepared as in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from PIL import Image
from tqdm import tqdm

from monai_bmaps.metrics import FeatureStatistics, InceptionStem, frechet_distance, stem_features
from monai_bmaps.pictures import to_grey

BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"


def parsed(name: str, **overrides: object) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / name)
    parser["bundle_root"] = str(BUNDLE)
    for key, value in overrides.items():
        parser[key] = value
    parser.parse(True)
    return parser


def grey(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.as_tensor(to_grey(image[0]))[None] / 255.0 for image in images])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--stem")
    arguments.add_argument("--samples", type=int, default=200)
    arguments.add_argument("--steps", type=int, nargs="+", default=[50])
    arguments.add_argument("--eta", type=float, default=0.0)
    arguments.add_argument("--guidance", type=float)
    arguments.add_argument("--weights")
    arguments.add_argument("--split", default="test")
    arguments.add_argument("--output", type=Path)
    chosen = arguments.parse_args()

    training = parsed("train.json", dataset_dir=chosen.data)
    listed = training.get_parsed_content("items")
    prepare = Compose(training.get_parsed_content("preprocessing") + training.get_parsed_content("finishing"))
    real = {
        name: [prepare(item) for item in tqdm(listed(split=split), desc=f"reading {name}")]
        for name, split in {"known": "training", "held out": chosen.split}.items()
    }
    stem = InceptionStem.load(chosen.stem)
    features = {
        name: stem_features(grey(torch.stack([x["image"] for x in items])), stem) for name, items in real.items()
    }
    statistics = {
        name: {k: FeatureStatistics.from_features(f) for k, f in found.items()} for name, found in features.items()
    }
    counts = ", ".join(f"{len(items)} {name}" for name, items in real.items())
    print(f"real against real ({counts}): " + distances(statistics["known"], statistics["held out"]))

    overrides = {"weights": chosen.weights} if chosen.weights else {}
    for steps in chosen.steps:
        inference = parsed(
            "inference.json", num_inference_steps=steps, eta=chosen.eta, guidance=chosen.guidance, **overrides
        )
        network, sampler = inference.get_parsed_content("network"), inference.get_parsed_content("inferer")
        sampler.verbose = False
        held_out, batches = real["held out"], range(0, chosen.samples, 8)
        drawn = []
        for first in tqdm(batches, desc=f"{steps} steps"):
            seeds = range(first, min(first + 8, chosen.samples))
            items = [held_out[seed % len(held_out)] for seed in seeds]
            seg, depth = (torch.stack([item[key].as_tensor() for item in items]) for key in ("seg", "depth"))
            drawn.append(sampler(seg, network, depth=depth, seeds=seeds))
        samples = grey(torch.cat(drawn))
        found = {k: FeatureStatistics.from_features(f) for k, f in stem_features(samples, stem).items()}
        means = [
            np.mean([float(x[x > 0.02].mean()) for x in group])
            for group in (samples, grey(torch.stack([i["image"] for i in held_out])))
        ]
        print(
            f"{steps} steps, {len(samples)} samples against held out: {distances(found, statistics['held out'])}"
            f"; mean grey inside {means[0]:.3f}, real {means[1]:.3f}"
        )
        if chosen.output:
            chosen.output.mkdir(parents=True, exist_ok=True)
            write_sheet(samples, held_out, chosen.output / f"samples_{steps}.png")


def distances(first: dict[int, FeatureStatistics], second: dict[int, FeatureStatistics]) -> str:
    return ", ".join(
        f"max-pool {i + 1}: {frechet_distance(first[k], second[k]):.4f}" for i, k in enumerate(sorted(first))
    )


def write_sheet(samples: torch.Tensor, held_out: list[dict[str, torch.Tensor]], path: Path, rows: int = 4) -> None:
    """Alternating rows: real frame, sample with the same label map."""
    columns = min(6, len(held_out) // rows)
    real = grey(torch.stack([item["image"] for item in held_out[: rows * columns]]))
    sheet = torch.cat(
        [
            torch.cat(list(part[row * columns : (row + 1) * columns, 0]), dim=-1)
            for row in range(rows)
            for part in (real, samples)
        ]
    )
    Image.fromarray((sheet * 255).round().to(torch.uint8).numpy()).save(path)
    print(f"wrote {path}: rows of real frames, each above samples with the same label maps")


if __name__ == "__main__":
    main()
