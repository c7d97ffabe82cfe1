"""The average of a network's weights over a training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from ignite.engine import Events
from torch import nn


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
