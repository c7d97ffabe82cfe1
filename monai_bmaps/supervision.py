"""Handlers around a training: repeatable iterations, a progress bar with curves, and what to say when it fails."""

from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.engines.utils import IterationEvents
from tqdm import tqdm

from monai_bmaps.draws import DRAW_KEY, DrawLoader, seed_of
from monai_bmaps.files import replacing

try:
    import ignite.distributed as idist
    from ignite.engine import Events
except ImportError as error:
    raise ImportError("monai_bmaps.supervision needs ignite: pip install 'monai-bmaps[bundle]'") from error


class RepeatableIterations:
    """Handler that makes every iteration a function of its number: its draws, and what else is random in it.

    The loader goes on from the engine's iteration, which a checkpoint may have set, and Python's, NumPy's and
    PyTorch's generators are seeded before each iteration, for dropout and the like.

    Args:
        loader: the training's batches.
        seed: the run's seed.
    """

    def __init__(self, loader: DrawLoader, seed: int = 0) -> None:
        self.loader = loader
        self.seed = seed

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.follow)
        engine.add_event_handler(Events.ITERATION_STARTED, self.sow)

    def follow(self, engine: Any) -> None:
        """Tell the loader where the engine is."""
        self.loader.draws.next_iteration = engine.state.iteration

    def sow(self, engine: Any) -> None:
        """Seed the global generators for this iteration and process."""
        seed = seed_of(self.seed + idist.get_rank(), engine.state.iteration)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  MONAI's transforms may draw from it
        torch.manual_seed(seed)


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
        """Register with an ignite engine; after the checkpoint, whose iteration the bar starts from."""
        engine.add_event_handler(Events.STARTED, self.start)
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

    def advance(self, engine: Any) -> None:
        """Count one iteration."""
        self._losses.append(engine.state.output["loss"].detach())
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


class TrainingGuard:
    """Handler that stops a training before a loss that is no number reaches the weights, and explains other failures.

    Args:
        folder: where ``failed_batch.pt`` goes: names, draws and images of the batch, to look at.
        checkpoint: named in the messages as what to go on from.
    """

    def __init__(self, folder: str | Path, checkpoint: str | Path) -> None:
        self.folder = Path(folder)
        self.checkpoint = Path(checkpoint)

    def attach(self, engine: Any) -> None:
        """Register with a MONAI trainer; before handlers that end on an exception."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.check)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.explain)

    def check(self, engine: Any) -> None:
        """Refuse a loss that is not finite, before its gradient is taken."""
        loss = engine.state.output["loss"].detach()
        if bool(torch.isfinite(loss)):
            return
        batch = engine.state.batch
        names = [str(name) for name in batch.get("name", [])]
        path = self.folder / f"failed_batch_{idist.get_rank()}.pt"
        with replacing(path) as partial:
            draws = torch.as_tensor(batch.get(DRAW_KEY, []))
            images = torch.as_tensor(batch["image"]).as_subclass(torch.Tensor)
            torch.save({"name": names, DRAW_KEY: draws, "image": images}, partial)
        raise FloatingPointError(
            f"the loss is {float(loss)} at iteration {engine.state.iteration}, for {', '.join(names) or 'a batch'} "
            f"(kept in {path}); the weights were not changed and {self.checkpoint} is the last good state. Look at "
            "these items, lower learning_rate, or train in single precision (--amp_dtype None)"
        )

    def explain(self, engine: Any, error: BaseException) -> None:
        """Add the remedy to what is known to happen, and raise."""
        text = str(error)
        if isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in text:
            raise RuntimeError(
                f"out of memory at iteration {engine.state.iteration}: lower batch_size (raise accumulation_steps "
                f"to keep the product), image_size or the network's channels; {self.checkpoint} is the last good state"
            ) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise OSError(
                errno.ENOSPC,
                f"the disk is full; {self.checkpoint} is still the last whole checkpoint. Free some space and start "
                "the same command again",
            ) from error
        raise error
