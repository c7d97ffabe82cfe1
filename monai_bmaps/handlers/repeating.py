"""Iterations that can be repeated from any number."""

from __future__ import annotations

import random
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events

from monai_bmaps.draws import DrawLoader, seed_of


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
