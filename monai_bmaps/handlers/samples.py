"""Samples during a training, to watch it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.networks import eval_mode
from torch import nn

from monai_bmaps.bmaps import CumulativeTable
from monai_bmaps.inferers import BMapSynthesisInferer
from monai_bmaps.pictures import Pixels, colour_labels, colour_map, side_by_side, to_grey


class SampleGrid:
    """Handler that draws a fixed set of conditions now and then, into TensorBoard and a PNG beside it.

    A column shows the label map, the B-map over the whole chain, the real frame if there is one, and the sample.

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
        scheduler = inferer.scheduler
        self._table = scheduler.b_map.tabulate(scheduler.num_train_timesteps)

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
        return [colour_labels(seg), colour_b_map(self._table, depth[0], 1 - seg[0]), *real, to_grey(sample[0])]


def colour_b_map(table: CumulativeTable, depth: torch.Tensor, sector: torch.Tensor) -> Pixels:
    """Attenuation over the whole chain, as a share of the attenuation at full depth.

    Args:
        table: of the B-map, for all T steps.
        depth: ``(H, W)``.
        sector: ``(H, W)``, 1 inside the beam.
    """
    ends = torch.cat([depth.as_subclass(torch.Tensor).flatten(), torch.ones(1)])
    nats = table.log_cumulative(ends[None], torch.tensor([len(table.coefficients) - 1]))[0]
    share = nats[:-1] / nats[-1] if nats[-1] < 0 else torch.zeros_like(nats[:-1])
    return colour_map(share.reshape(depth.shape), sector)
