"""Handlers for MONAI's engines: save and resume a training, watch its samples, write synthesised images."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.networks import eval_mode
from PIL import Image as PillowImage
from torch import nn
from torch.utils.data import Subset
from tqdm import tqdm

from monai_bmaps import ranks
from monai_bmaps.bmaps import BMap
from monai_bmaps.files import replacing
from monai_bmaps.inferers import BMapSynthesisInferer
from monai_bmaps.pictures import Pixels, colour_labels, colour_map, side_by_side, to_grey
from monai_bmaps.provenance import Record, read_record, record_of, write_png
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


class Items(Protocol):
    """Anything that holds items by number, as data sets do."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """One of them."""


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

    Every file says that it is synthetic: ``descrip`` in the NIfTI, and in the PNG a text that tells everything that
    decides which image is drawn (:mod:`monai_bmaps.provenance`). The PNG comes last, so where it is, all is.

    Args:
        folder: where ``NAME.png``, ``NAME.nii.gz`` and ``overview.png`` go.
        dataset: the prepared items, each with ``name``, ``seg`` and ``depth``, and its ``seed``, if it has one.
        b_map: drawn in the overview.
        num_train_timesteps: T, for the B-map.
        provenance: added to the PNG's text: model and settings that decide how images look.
        overview: how many images the overview shows at most, from the first on.
    """

    def __init__(
        self,
        folder: str | Path,
        dataset: Items,
        b_map: BMap,
        num_train_timesteps: int,
        provenance: Mapping[str, object] | None = None,
        overview: int = 4,
    ) -> None:
        self.folder = Path(folder)
        self.dataset = dataset
        self.b_map = b_map
        self.num_train_timesteps = num_train_timesteps
        self.provenance = dict(provenance or {})
        self.overview = overview
        self._count = 0
        self._table = b_map.tabulate(num_train_timesteps)

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    @cached_property
    def records(self) -> dict[str, Record]:
        """What each item's PNG says, by the item's name."""
        items = (self.dataset[index] for index in range(len(self.dataset)))
        return {item["name"]: record_of(item, self.provenance) for item in items}

    def missing(self, resume: bool | str = True) -> Subset[Mapping[str, Any]]:
        """The items still to be drawn: those whose files are not there, or say something else than they would now.

        Args:
            resume: ``False`` draws all of them; the words true and false are taken for what they say.

        Raises:
            ValueError: ``resume`` is something else.
        """
        if str(resume).lower() not in ("true", "false"):
            raise ValueError(f"resume must be true or false, got {resume!r}")
        resume = str(resume).lower() == "true"
        # without a seed of its own an image depends on the batch it is drawn in
        kept = [resume and record["Seed"] != "None" and self._is_written(name) for name, record in self.records.items()]
        log = logging.getLogger(__name__)
        log.info(f"{sum(kept)} of {len(kept)} images are in {self.folder} already, {len(kept) - sum(kept)} to draw")
        return Subset(self.dataset, [index for index, there in enumerate(kept) if not there])  # type: ignore[arg-type]

    def _is_written(self, name: str) -> bool:
        nifti = self.folder / f"{name}.nii.gz"
        return nifti.is_file() and read_record(self.folder / f"{name}.png") == self.records[name]

    def start(self, engine: Any) -> None:
        """Begin to count."""
        self._count = 0

    def write(self, engine: Any) -> None:
        """Write the images of one batch."""
        batch = engine.state.batch
        for image, seg, name in zip(engine.state.output["pred"].cpu(), batch["seg"], batch["name"], strict=True):
            pixels = to_grey(image[0])
            self._save_nifti(pixels, name, seg)
            write_png(self.folder / f"{name}.png", pixels, self.records[name])
            self._count += 1

    def finish(self, engine: Any) -> None:
        """Let the first process write the overview, of images drawn now or before; say where everything is."""
        columns = [self._column(self.dataset[k]) for k in range(min(self.overview, len(self.dataset)))]
        if columns and ranks.is_first():
            titles = ["labels", f"B-map, 0 to {self._decibels():.0f} dB", "given", "synthetic"]
            edited = len(columns[0]) == len(titles)
            picture = side_by_side(columns, titles if edited else [*titles[:2], titles[-1]])
            with replacing(self.folder / "overview.png") as partial:
                picture.save(partial)
        engine.logger.info(f"wrote {self._count} images to {self.folder}")

    def _column(self, item: Mapping[str, Any]) -> list[Pixels]:
        seg, depth = (item[key].as_subclass(torch.Tensor) for key in ("seg", "depth"))
        given = [to_grey(item["image"][0].as_subclass(torch.Tensor))] if "image" in item else []
        with PillowImage.open(self.folder / f"{item['name']}.png") as picture:
            return [colour_labels(seg), self._colour_b_map(depth[0], 1 - seg[0]), *given, np.asarray(picture)]

    def _decibels(self) -> float:
        return self.b_map.total_attenuation_db(self.num_train_timesteps)

    def _colour_b_map(self, depth: torch.Tensor, sector: torch.Tensor) -> Pixels:
        """Attenuation over the whole chain, as a share of the attenuation at full depth."""
        ends = torch.cat([depth.as_subclass(torch.Tensor).flatten(), torch.ones(1)])
        nats = self._table.log_cumulative(ends[None], torch.tensor([self.num_train_timesteps - 1]))[0]
        share = nats[:-1] / nats[-1] if nats[-1] < 0 else torch.zeros_like(nats[:-1])
        return colour_map(share.reshape(depth.shape), sector)

    def _save_nifti(self, pixels: Pixels, name: str, seg: torch.Tensor) -> None:
        """Column index first, depth second, where the label map lies: ``LoadFrame`` swapped both."""
        affine = frame_affine() if not isinstance(seg, MetaTensor) else np.asarray(seg.affine.cpu(), dtype=float)
        image = nibabel.Nifti1Image(pixels.T[..., None], affine[:, [1, 0, 2, 3]])
        image.header["descrip"] = b"synthetic ultrasound, monai-bmaps"
        with replacing(self.folder / f"{name}.nii.gz") as partial:
            nibabel.save(image, partial)


class ImageProgress:
    """Handler that shows how many images an evaluator has drawn, how many a second, and how long the rest will take.

    Of several processes the first shows its own share.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.update)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def start(self, engine: Any) -> None:
        """Begin with none."""
        shape = "{desc}: {n_fmt}/{total_fmt} |{bar}| {rate_noinv_fmt}, {remaining} left"
        count = len(engine.data_loader.dataset)
        hidden = count == 0 or not ranks.is_first()
        self._bar = tqdm(total=count, desc="drawing", unit=" images", bar_format=shape, disable=hidden)

    def update(self, engine: Any) -> None:
        """Add the images of a batch."""
        if self._bar is not None:
            self._bar.update(len(engine.state.output["pred"]))

    def close(self, engine: Any) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def run_evaluator(evaluator: Any) -> None:
    """Run an evaluator; without any item, which ignite refuses, its handlers start and finish all the same."""
    if len(evaluator.data_loader) > 0:
        evaluator.run()
        return
    for event in (Events.STARTED, Events.COMPLETED):
        evaluator.fire_event(event)
