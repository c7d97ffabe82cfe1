"""Draws images with models of the study: any of their weights, any sampler, with and without clipping.

Every image is kept as it is drawn, so that a stopped drawing goes on where it was; other weights start anew.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import nn
from tqdm import tqdm

import monai_bmaps
from benchmarks.cardiac_quality import SAMPLERS
from benchmarks.study import BUNDLES, CROPPED, ROOT, Cell
from monai_bmaps import BMapSynthesisInferer
from monai_bmaps.acceleration import accelerate
from monai_bmaps.files import replacing
from monai_bmaps.metrics import ImageSet, ReadingOptions, read_images
from monai_bmaps.model_card import sha256_of
from monai_bmaps.pictures import to_grey
from monai_bmaps.training import load_weights

BATCH = 16


@dataclass(frozen=True)
class Conditions:
    """What images are drawn for.

    Args:
        names: of the items.
        seg: condition channels ``(N, classes, H, W)``, the first one 1 outside the beam.
        depth: depth maps ``(N, 1, H, W)``.
        seeds: one an image.
    """

    names: tuple[str, ...]
    seg: torch.Tensor
    depth: torch.Tensor
    seeds: tuple[int, ...]

    @property
    def inside(self) -> torch.Tensor:
        """``(N, H, W)``, true inside the beam."""
        return self.seg[:, 0] < 0.5


@dataclass(frozen=True)
class Drawing:
    """One way of drawing with a cell's model.

    Args:
        weights: ``model.pt`` or a snapshot, which are averages, or ``checkpoint.pt``, of which the network as it was
            trained is taken.
        sampler: ``sampler:steps``, a sampler of :data:`benchmarks.cardiac_quality.SAMPLERS`.
        clip: whether predicted clean images are clamped to [-1, 1] in every step.
    """

    weights: Path
    sampler: str = "ode:20"
    clip: bool = True


def parsed(cell: Cell, data: Path, overrides: Mapping[str, Any] | None = None) -> ConfigParser:
    """The cell's configuration for drawing, as its command lines have it.

    Args:
        cell: of the study.
        data: prepared data set.
        overrides: further entries, by their ids.
    """
    bundle = ROOT / "bundles" / BUNDLES[cell.data]
    parser = ConfigParser()
    parser.read_config([str(bundle / name) for name in ast.literal_eval(cell.configs(["inference"]))])
    given = cell.options()
    options = {name.removeprefix("--"): _value(text) for name, text in zip(given[::2], given[1::2], strict=True)}
    for name, value in {"bundle_root": str(bundle), "dataset_dir": str(data), **options, **(overrides or {})}.items():
        parser[name] = value
    parser.parse(True)
    return parser


def conditions(parser: ConfigParser, most: int | None = None) -> Conditions:
    """Conditions of the test split, or of ``most`` items spread evenly over it."""
    items = parser.get_parsed_content("items")
    count = len(items) if most is None else min(most, len(items))
    chosen = [items[int(row)] for row in np.linspace(0, len(items) - 1, count).round()]
    prepare = parser.get_parsed_content("preprocessing")
    frames = [prepare(item) for item in tqdm(chosen, desc="conditions")]
    seg, depth = (torch.stack([frame[key].as_subclass(torch.Tensor) for frame in frames]) for key in ("seg", "depth"))
    return Conditions(tuple(item["name"] for item in chosen), seg, depth, tuple(int(item["seed"]) for item in chosen))


@functools.cache
def real_frames(cell: Cell, data: Path, size: tuple[int, int], split: str = "test") -> ImageSet:
    """Real frames as the study's comparison reads them."""
    options = ReadingOptions(size=size, crop_to_beam=cell.data in CROPPED)
    return read_images(data, split, split=split, options=options)  # type: ignore[arg-type]


def of_the_same_items(frames: ImageSet, given: Conditions) -> ImageSet:
    """The frames of the items that images are drawn for, in their order.

    Raises:
        ValueError: an item without a frame.
    """
    rows = {name: row for row, name in enumerate(frames.names)}
    missing = [name for name in given.names if name not in rows]
    if missing:
        raise ValueError(
            f"{len(missing)} items have no real frame, for example {missing[0]}; take one data set for both"
        )
    return frames.chosen([rows[name] for name in given.names])


def sampler_of(parser: ConfigParser, drawing: Drawing) -> BMapSynthesisInferer:
    """The sampler of a drawing; it leaves what lies outside the beam as the network has it."""
    trained = parser.get_parsed_content("scheduler")
    kind, steps = drawing.sampler.split(":")
    name, options = SAMPLERS[kind]
    scheduler = getattr(monai_bmaps, name)(
        trained.num_train_timesteps,
        trained.schedule,
        trained.b_map,
        prediction_type=trained.prediction_type,
        clip_sample=drawing.clip,
        **options,
    )
    inferer = parser.get_parsed_content("diffusion_inferer")
    return BMapSynthesisInferer(inferer, scheduler, int(steps), outside=None, verbose=False)


def network_of(parser: ConfigParser, weights: Path) -> nn.Module:
    """The cell's network with these weights, as the bundle runs it."""
    network: nn.Module = parser.get_parsed_content("denoiser_def")
    if weights.name == "checkpoint.pt":
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True)["network"])
    else:
        card = parser.get_parsed_content("card") if weights.with_suffix(".json").is_file() else None
        load_weights(network, weights, card)
    return accelerate(network.eval())


def drawn(parser: ConfigParser, given: Conditions, drawing: Drawing, kept: Path, *, name: str) -> torch.Tensor:
    """Images ``(N, 1, H, W)`` in [0, 1] as 8-bit files hold them, not blackened outside the beam.

    Args:
        parser: of :func:`parsed`.
        given: what to draw for.
        drawing: how.
        kept: file (.npz) that grows batch by batch.
        name: of the progress bar.
    """
    digest = sha256_of(drawing.weights)
    images = _kept(kept, digest, given)
    if len(images) < len(given.seeds):
        sampler, network = sampler_of(parser, drawing), network_of(parser, drawing.weights)
        for first in tqdm(range(len(images), len(given.seeds), BATCH), desc=name):
            rows = slice(first, first + BATCH)
            batch = sampler(given.seg[rows], network, depth=given.depth[rows], seeds=given.seeds[rows])
            images = np.concatenate([images, to_grey(batch[:, 0])])
            with replacing(kept) as partial, partial.open("wb") as stream:
                np.savez_compressed(stream, images=images, weights=np.array(digest), seeds=np.array(given.seeds))
    return torch.from_numpy(images)[:, None] / 255.0


def _kept(path: Path, digest: str, given: Conditions) -> np.ndarray[Any, Any]:
    """Images drawn before with the same weights for the same items."""
    if path.is_file():
        with np.load(path) as found:
            if str(found["weights"]) == digest and found["seeds"].tolist() == list(given.seeds):
                return np.asarray(found["images"])
    return np.zeros((0, *given.seg.shape[2:]), np.uint8)


def _value(text: str) -> Any:
    """What a command line's text stands for."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
