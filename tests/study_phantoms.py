"""A prepared data set of phantoms and tiny finished trainings, as the commands that look at a study find them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle_data import BUNDLES, write_phantoms
from conftest import awake
from monai.bundle import ConfigParser

from benchmarks import study_drawing
from benchmarks.study import Cell
from monai_bmaps.metrics import InceptionStem
from monai_bmaps.model_card import ModelCard
from monai_bmaps.training import save_weights

TINY: Mapping[str, Any] = {"image_size": [16, 32], "denoiser_def::network::channels": [8, 8, 8, 16]}
ITERATIONS = 7


def tiny(cell: Cell, data: Path, overrides: Mapping[str, Any] | None = None) -> ConfigParser:
    """The cell's configuration with a network that answers at once."""
    return study_drawing.parsed(cell, data, {**TINY, **(overrides or {})})


def prepared_hearts(root: Path) -> Path:
    """Phantoms with lists of three test and five training frames."""
    write_phantoms(BUNDLES[0], root)
    names = sorted(path.stem for path in (root / "images").iterdir())
    entries = [
        {"name": name, "patient": name, **{key: f"{key}s/{name}.png" for key in ("image", "label", "sector")}}
        for name in names
    ]
    classes = ["background", "left-ventricle cavity", "myocardium", "left atrium"]
    labels = {str(value): name for value, name in enumerate(classes)}
    lists = {"test": entries[:3], "training": entries[3:8]}
    index = {"generator": "monai_bmaps.data.prepare", "source": "phantom", "labels": labels, **lists}
    (root / "dataset.json").write_text(json.dumps(index))
    return root


def finished(folder: Path, parser: ConfigParser, seed: int = 0) -> Path:
    """What a training leaves: averaged weights with their card, and a checkpoint with other raw ones."""
    network = awake(parser.get_parsed_content("denoiser_def"), seed)
    card: ModelCard = parser.get_parsed_content("card")
    told = ModelCard(**{**vars(card), "training": {"iterations": ITERATIONS}})
    save_weights(network, folder / "model.pt", card=told)
    torch.save({"network": awake(network, seed + 1).state_dict()}, folder / "checkpoint.pt")
    return folder


def random_stem(path: Path) -> Path:
    """An Inception with random weights: distances of it are numbers, which is all that these tests need."""
    torch.manual_seed(0)
    np.savez(path, **{name: value.numpy() for name, value in InceptionStem().state_dict().items()})
    return path
