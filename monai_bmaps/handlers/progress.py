"""Progress bars and curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from tqdm import tqdm

from monai_bmaps import ranks


class LossOutput:
    """Handler that leaves of an iteration's output its loss, ``[{"loss": loss}]``.

    That is what MONAI's handlers find after decollating (``StatsHandler``, and ``MLFlowHandler`` with ``--tracking``);
    the target of a denoising task cannot be decollated. For a trainer with ``decollate=False``.
    """

    def attach(self, engine: Any) -> None:
        """Register with a MONAI trainer; what needs prediction and target listens to its earlier events."""
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self.reduce)

    def reduce(self, engine: Any) -> None:
        """Drop prediction and target, and with them the graph."""
        engine.state.output = [{"loss": engine.state.output["loss"].detach()}]


class TrainingProgress:
    """Handler that shows images per second and the time left, and writes the curves to TensorBoard.

    Written every ``interval`` iterations: the loss, averaged over them and over all processes, the learning rate and
    the images per second.

    Args:
        folder: where TensorBoard looks.
        batch_size: images per iteration of one process.
        interval: iterations between two points of the curves.
    """

    def __init__(self, folder: str | Path, batch_size: int, interval: int = 10) -> None:
        self.folder = Path(folder)
        self.batch_size = batch_size
        self.interval = interval
        self._bar: Any = None
        self._writer: Any = None
        self._losses: list[torch.Tensor] = []

    def attach(self, engine: Any) -> None:
        """Register with a MONAI trainer; after the checkpoint, whose iteration the bar starts from."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.note)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.advance)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def start(self, engine: Any) -> None:
        """Open the bar and the curves; only the first process shows any."""
        from torch.utils.tensorboard import SummaryWriter

        self._losses.clear()
        if idist.get_rank() > 0:
            return
        per_iteration = self.batch_size * idist.get_world_size()
        total = engine.state.max_epochs * engine.state.epoch_length * per_iteration
        done = engine.state.iteration * per_iteration
        self._bar = tqdm(total=total, initial=done, desc="training", unit="image", dynamic_ncols=True)
        self._writer = SummaryWriter(str(self.folder))

    def note(self, engine: Any) -> None:
        """Keep a loss."""
        self._losses.append(engine.state.output["loss"].detach())

    def advance(self, engine: Any) -> None:
        """Count one iteration, and now and then write the curves."""
        if self._bar is not None:
            self._bar.update(self.batch_size * idist.get_world_size())
        if engine.state.iteration % self.interval == 0:
            self._log(engine)

    def _log(self, engine: Any) -> None:
        mean = idist.all_reduce(torch.stack(self._losses).mean()) / idist.get_world_size()
        self._losses.clear()
        if self._bar is None:
            return
        loss, rate = float(mean), engine.optimizer.param_groups[0]["lr"]
        self._bar.set_postfix(loss=f"{loss:.4f}", epoch=engine.state.epoch)
        speed = self._bar.format_dict["rate"]
        points = {"train_loss": loss, "learning_rate": rate, **({"images_per_second": speed} if speed else {})}
        for name, value in points.items():
            self._writer.add_scalar(name, value, engine.state.iteration)

    def close(self, engine: Any) -> None:
        """Close both."""
        for part in (self._bar, self._writer):
            if part is not None:
                part.close()
        self._bar = self._writer = None


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
