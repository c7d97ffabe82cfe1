"""Time of sampling over the time its network evaluations would take alone."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.cardiac import STEPS, Cardiac, load_cardiac
from benchmarks.report import Row
from benchmarks.timing import compared, interleaved, now
from monai_bmaps.acceleration import fast_dtype

ROUNDS = {1: 9, 8: 5}
SHARED, OWN = "shared depth map", "a depth map per image"


class Watched(nn.Module):
    """A network that notes how long it was at work."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seconds = 0.0

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """As the network."""
        start = now()
        output = self.network(*arguments, **keywords)
        self.seconds += now() - start
        return output


def rows() -> list[Row]:
    """Both precisions, one image and a batch."""
    cardiac = load_cardiac()
    precisions = dict.fromkeys([fast_dtype(torch.device("cpu")), None])
    return [row for dtype in precisions for batch in ROUNDS for row in measured(cardiac, batch, dtype)]


def measured(cardiac: Cardiac, batch: int, dtype: torch.dtype | None) -> list[Row]:
    """Sampling with depth maps not met before, so that every coefficient is computed, against bare evaluations."""
    network = Watched(cardiac.fast_network())
    timesteps, inputs = torch.full((batch,), 500), cardiac.inputs(batch)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(STEPS):
            with torch.autocast("cpu", dtype, enabled=dtype is not None):
                network.network(inputs, timesteps=timesteps)

    depths = {SHARED: cardiac.depth[:1], OWN: cardiac.batch(batch)[1]}
    shares: dict[str, list[float]] = {which: [] for which in depths}
    calls = {which: sampling(cardiac, network, depth, batch, dtype, shares[which]) for which, depth in depths.items()}
    if batch == 1:
        del calls[SHARED]
    timings = interleaved({"bare": bare, **calls}, ROUNDS[batch])
    precision = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    return [
        compared(
            f"sampling, {STEPS} steps, {precision}, batch {batch}, {which}",
            timings,
            which,
            "bare",
            f"reference: {STEPS} bare forwards of the same network, 128 x 128; in the sampling's own time, "
            f"{statistics.median(shares[which]):.2%} was spent outside of the network",
        )
        for which in calls
    ]


def sampling(
    cardiac: Cardiac, network: Watched, depth: torch.Tensor, batch: int, dtype: torch.dtype | None, shares: list[float]
) -> Callable[[], None]:
    """A call that draws a batch, and notes the share of its time outside of the network."""
    sampler, seg = cardiac.sampler(dtype), cardiac.batch(batch)[0]
    unmet = itertools.cycle([depth, depth.roll(1, -1)])

    def draw() -> None:
        network.seconds, start = 0.0, now()
        sampler(seg, network, depth=next(unmet), seeds=range(batch))
        shares.append(1 - network.seconds / (now() - start))

    return draw
