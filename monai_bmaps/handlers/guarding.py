"""What a training does when it fails: lose nothing, and say what to do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents

from monai_bmaps.draws import DRAW_KEY
from monai_bmaps.files import replacing


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
            "these items, lower learning_rate, or train in single precision (--amp_dtype '$None')"
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
