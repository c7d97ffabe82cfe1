"""The cardiac bundle with a tiny network that is not silent, run on small hearts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from conftest import awake
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_bmaps.data.phantoms import write_items
from monai_bmaps.training import save_weights

BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"
CONFIG = BUNDLE / "configs" / "inference.json"
COUNT, SIZE = 5, (16, 24)
CHANNELS = [8, 8, 16]


def small_options(root: Path, seed: int = 0) -> dict[str, Any]:
    """Overrides for five small hearts and weights of a seed, which are written below a folder."""
    if not (root / "hearts").is_dir():
        write_items(root / "hearts", COUNT, shape=SIZE)
    small = {
        "bundle_root": str(BUNDLE),
        "dataset_dir": str(root / "hearts"),
        "weights": str(root / f"model_{seed}.pt"),
        "image_size": [*SIZE],
        "denoiser_def::network::channels": CHANNELS,
        "num_inference_steps": 4,
        "batch_size": 1,
    }
    parser = ConfigParser()
    parser.read_config(CONFIG)
    for key, value in small.items():
        parser[key] = value
    network, card = (parser.get_parsed_content(key) for key in ("denoiser_def", "card"))
    save_weights(awake(network, seed), root / f"model_{seed}.pt", card=card)
    return small


def run_here(folder: Path, options: dict[str, Any], config: Path = CONFIG, **changes: Any) -> ConfigWorkflow:
    """A run of the bundle, or of another one, within this process."""
    arguments = {**options, "output_dir": str(folder), **changes}
    workflow = ConfigWorkflow(str(config), logging_file=False, workflow_type="inference", **arguments)
    workflow.initialize()
    workflow.run()
    return workflow


def command(folder: Path, options: dict[str, Any], *launcher: str, **changes: Any) -> list[str]:
    """A run of the bundle by a command line."""
    arguments = {**options, "output_dir": str(folder), **changes}
    pairs = [(f"--{key}", value if isinstance(value, str) else repr(value)) for key, value in arguments.items()]
    bundle = ["monai.bundle", "run", "--config_file", str(CONFIG)]
    return [sys.executable, "-W", "ignore", "-m", *launcher, *bundle, *(word for pair in pairs for word in pair)]
