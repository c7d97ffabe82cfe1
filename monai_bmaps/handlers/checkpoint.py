"""Save the whole state of a training, and take it up again; keep weights along the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Events

from monai_bmaps.files import replacing


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
            try:
                part.load_state_dict(content[name])
            except (KeyError, RuntimeError, ValueError) as error:
                raise ValueError(
                    f"{self.path} is of another training: its {name} does not fit. Take another output_dir, the "
                    "configuration it was made with, or --resume False to start anew"
                ) from error
        engine.state.iteration = content["iteration"]
        engine.state.epoch = content["iteration"] // engine.state.epoch_length
        engine.logger.info(f"resumed from {self.path} at iteration {content['iteration']}")


class WeightsSnapshots:
    """Handler that keeps the weights of some epochs, to see what a training gains when.

    Args:
        folder: where ``weights_NNNNNN.pt`` go, numbered by iteration.
        save: writes the weights to a path, for example :func:`monai_bmaps.training.save_weights` of the EMA's average.
        interval: epochs between two of them; 0 keeps none.

    Raises:
        ValueError: a negative interval.
    """

    def __init__(self, folder: str | Path, save: Callable[[Path], object], interval: int) -> None:
        if interval < 0:
            raise ValueError(f"interval must be a number of epochs, or 0 for no snapshots, got {interval}")
        self.folder = Path(folder)
        self.save = save
        self.interval = interval

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        if self.interval:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    def __call__(self, engine: Any) -> None:
        """Write the weights as they are; of several processes the first does."""
        if idist.get_rank() == 0:
            self.save(self.folder / f"weights_{engine.state.iteration:06d}.pt")
