"""Handlers for MONAI's engines: save and resume a training, watch its samples, write synthesised images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.networks import eval_mode
from PIL import Image as PillowImage
from PIL import PngImagePlugin
from torch import nn

from monai_bmaps.bmaps import BMap
from monai_bmaps.files import replacing
from monai_bmaps.inferers import BMapSynthesisInferer
from monai_bmaps.pictures import Pixels, colour_labels, colour_map, side_by_side, to_grey
from monai_bmaps.transforms.frame import frame_affine

try:
    import ignite.distributed as idist
    from ignite.engine import Events
except ImportError as error:
    raise ImportError("monai_bmaps.handlers needs ignite: pip install 'monai-bmaps[bundle]'") from error


class Stateful(Protocol):
    """Anything that checkpoints can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state."""

    def load_state_dict(self, state: dict[str, Any]) -> object:
        """Take the state."""


class ResumableCheckpoint:
    """Handler that saves the whole training state every few iterations and takes it up again at the start.

    The file is written beside its place and moved there, so a kill at any moment leaves the last whole one. Attach it
    after the handlers that change the state (EMA, learning rate): the file holds what they did up to its own turn. Of
    several processes all read and the first writes.

    Args:
        path: the checkpoint file.
        state: what to save, by name: network, EMA, optimiser, learning-rate schedule. The engine is added.
        interval: iterations between two saves; the end of training saves too.
        resume: take up an existing file; ``False`` starts anew and overwrites it.
    """

    def __init__(
        self, path: str | Path, state: Mapping[str, Stateful], interval: int = 500, resume: bool = True
    ) -> None:
        self.path = Path(path)
        self.state = dict(state)
        self.interval = interval
        self.resume = resume

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self.save)
        engine.add_event_handler(Events.COMPLETED, self.save)

    def save(self, engine: Any) -> None:
        """Write the checkpoint."""
        if idist.get_rank() > 0:
            return
        content = {name: part.state_dict() for name, part in self.state.items()}
        content["iteration"] = engine.state.iteration
        with replacing(self.path) as partial:
            torch.save(content, partial)

    def load(self, engine: Any) -> None:
        """Read the checkpoint, if there is one, and set the engine to its iteration."""
        if not (self.resume and self.path.exists()):
            return
        content = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.state.items():
            part.load_state_dict(content[name])
        engine.state.iteration = content["iteration"]
        engine.state.epoch = content["iteration"] // engine.state.epoch_length
        engine.logger.info(f"resumed from {self.path} at iteration {content['iteration']}")


class EMA:
    """Handler that keeps an exponential moving average of a network's weights.

    The decay after iteration n is ``min(decay, (1 + n) / (10 + n))``: a short memory at the start, then a longer one.
    It depends on the iteration alone, so a resumed training averages as an uninterrupted one does (ignite's
    ``EMAHandler`` starts its warm-up again).

    Args:
        network: the network in training.
        decay: share of the old average kept at an iteration, in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.network = network
        self.decay = decay
        self.average = copy.deepcopy(network).eval().requires_grad_(False)

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Any) -> None:
        """Move the average towards the network."""
        n = engine.state.iteration
        share = 1.0 - min(self.decay, (1 + n) / (10 + n))
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, share)
        for kept, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(current)


class SampleGrid:
    """Handler that draws a fixed set of conditions now and then, into TensorBoard and a PNG beside it.

    Args:
        folder: where TensorBoard looks and ``samples_NNNNNN.png`` go.
        network: the network to sample with, usually the EMA's.
        inferer: the sampler.
        items: items with ``seg`` and ``depth`` (and ``image``, shown above the samples).
        interval: epochs between two grids.
    """

    def __init__(
        self,
        folder: str | Path,
        network: nn.Module,
        inferer: BMapSynthesisInferer,
        items: Sequence[Mapping[str, torch.Tensor]],
        interval: int = 1,
    ) -> None:
        if len(items) == 0:
            raise ValueError("items must hold at least one item to draw; is the validation split empty?")
        self.folder = Path(folder)
        self.network = network
        self.inferer = inferer
        self.items = items
        self.interval = interval

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Any) -> None:
        """Draw, write and log; of several processes only the first does."""
        if idist.get_rank() > 0:
            return
        from torch.utils.tensorboard import SummaryWriter

        def batch(key: str) -> torch.Tensor:
            device = next(self.network.parameters()).device
            return torch.stack([item[key].as_subclass(torch.Tensor) for item in self.items]).to(device)

        with eval_mode(self.network):
            samples = self.inferer(batch("seg"), self.network, depth=batch("depth"))
        columns = [self._column(item, sample) for item, sample in zip(self.items, samples.cpu(), strict=True)]
        picture = side_by_side(columns)
        self.folder.mkdir(parents=True, exist_ok=True)
        with SummaryWriter(str(self.folder)) as writer:
            writer.add_image("samples", np.asarray(picture), engine.state.iteration, dataformats="HWC")
        picture.save(self.folder / f"samples_{engine.state.iteration:06d}.png")

    def _column(self, item: Mapping[str, torch.Tensor], sample: torch.Tensor) -> list[Pixels]:
        seg, depth = item["seg"].as_subclass(torch.Tensor), item["depth"].as_subclass(torch.Tensor)
        real = [to_grey(item["image"][0].as_subclass(torch.Tensor))] if "image" in item else []
        return [colour_labels(seg), colour_map(depth[0], 1 - seg[0]), *real, to_grey(sample[0])]


class SynthesisWriter:
    """Handler that writes what an evaluator synthesised: PNG and NIfTI per image, one overview picture.

    Every file says that it is synthetic: a text chunk in the PNG, ``descrip`` in the NIfTI.

    Args:
        folder: where ``NAME.png``, ``NAME.nii.gz`` and ``overview.png`` go.
        b_map: drawn in the overview.
        num_train_timesteps: T, for the B-map.
        provenance: added to the PNG's text, for example model and steps.
        overview: how many images the overview shows at most.
    """

    def __init__(
        self,
        folder: str | Path,
        b_map: BMap,
        num_train_timesteps: int,
        provenance: Mapping[str, object] | None = None,
        overview: int = 4,
    ) -> None:
        self.folder = Path(folder)
        self.b_map = b_map
        self.num_train_timesteps = num_train_timesteps
        self.provenance = dict(provenance or {})
        self.overview = overview
        self._columns: list[list[Pixels]] = []
        self._count = 0
        self._table = b_map.tabulate(num_train_timesteps)

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Any) -> None:
        """Begin a new overview."""
        self._columns.clear()
        self._count = 0

    def write(self, engine: Any) -> None:
        """Write the images of one batch."""
        batch = engine.state.batch
        images = engine.state.output["pred"].cpu()
        seeds = batch.get("seed", [None] * len(images))
        for index, (image, seg, depth, name, seed) in enumerate(
            zip(images, batch["seg"], batch["depth"], batch["name"], seeds, strict=True)
        ):
            pixels = to_grey(image[0])
            self._save_png(pixels, name, seed)
            self._save_nifti(pixels, name, seg)
            self._count += 1
            if len(self._columns) < self.overview:
                given = [to_grey(batch["image"][index][0].as_subclass(torch.Tensor))] if "image" in batch else []
                self._columns.append([colour_labels(seg), self._colour_b_map(depth[0], 1 - seg[0]), *given, pixels])

    def finish(self, engine: Any) -> None:
        """Write the overview and say where everything is."""
        if self._columns:
            titles = ["labels", f"B-map, 0 to {self._decibels():.0f} dB", "given", "synthetic"]
            edited = len(self._columns[0]) == len(titles)
            picture = side_by_side(self._columns, titles if edited else [*titles[:2], titles[-1]])
            with replacing(self.folder / "overview.png") as partial:
                picture.save(partial)
        engine.logger.info(f"wrote {self._count} images to {self.folder}")

    def _decibels(self) -> float:
        return self.b_map.total_attenuation_db(self.num_train_timesteps)

    def _colour_b_map(self, depth: torch.Tensor, sector: torch.Tensor) -> Pixels:
        """Attenuation over the whole chain, as a share of the attenuation at full depth."""
        ends = torch.cat([depth.as_subclass(torch.Tensor).flatten(), torch.ones(1)])
        nats = self._table.log_cumulative(ends[None], torch.tensor([self.num_train_timesteps - 1]))[0]
        share = nats[:-1] / nats[-1] if nats[-1] < 0 else torch.zeros_like(nats[:-1])
        return colour_map(share.reshape(depth.shape), sector)

    def _save_png(self, pixels: Pixels, name: str, seed: object) -> None:
        text = PngImagePlugin.PngInfo()
        for key, value in {"Synthetic": "true", "Seed": seed, **self.provenance}.items():
            text.add_text(key, str(value.item() if isinstance(value, torch.Tensor) else value))
        with replacing(self.folder / f"{name}.png") as partial:
            PillowImage.fromarray(pixels).save(partial, pnginfo=text)

    def _save_nifti(self, pixels: Pixels, name: str, seg: torch.Tensor) -> None:
        """Column index first, depth second, where the label map lies: ``LoadFrame`` swapped both."""
        affine = frame_affine() if not isinstance(seg, MetaTensor) else np.asarray(seg.affine.cpu(), dtype=float)
        image = nibabel.Nifti1Image(pixels.T[..., None], affine[:, [1, 0, 2, 3]])
        image.header["descrip"] = b"synthetic ultrasound, monai-bmaps"
        with replacing(self.folder / f"{name}.nii.gz") as partial:
            nibabel.save(image, partial)
