"""How the scheduler's own cost grows, without a network: fitted exponents against those its design implies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmarks.report import Row
from benchmarks.schedule import own_depths
from benchmarks.timing import interleaved, milliseconds
from monai_bmaps import BMap, BMapDPMSolverScheduler

B_MAP = BMap.from_attenuation(db=44.0)
SIDE, BATCH, STEPS, TOTAL = 128, 4, 20, 1000
SIDES, BATCHES = (64, 96, 128, 192, 256), (1, 2, 4, 8, 16)
STEP_COUNTS, TOTALS = (10, 20, 40, 80), (500, 1000, 2000, 4000)


def rows() -> list[Row]:
    """Sampling against each size, and building against T."""
    pixels = {side**2: sampling(side=side) for side in SIDES}
    return [
        grown("sampling against pixels", pixels, 1, f"sides {SIDES[0]} to {SIDES[-1]}, so twice that in the side"),
        grown("sampling against batch size", {batch: sampling(batch=batch) for batch in BATCHES}, 1, "images"),
        grown("sampling against steps", {steps: sampling(steps=steps) for steps in STEP_COUNTS}, 1, "steps"),
        grown("sampling against T", {total: sampling(total=total) for total in TOTALS}, 0, "training steps"),
        grown("building against T", {total: building(total) for total in TOTALS}, 1, "tables and an l2 grid of 20"),
    ]


def sampling(side: int = SIDE, batch: int = BATCH, steps: int = STEPS, total: int = TOTAL) -> Callable[[], object]:
    """All steps of 2M with a depth map per image not met before; the network has answered already."""
    scheduler = BMapDPMSolverScheduler(total, "cosine", B_MAP)
    scheduler.set_timesteps(steps)
    depth, output = own_depths(side, batch), torch.zeros(batch, 1, side, side)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        view, image = scheduler.bind(depth), output
        for t in view.timesteps.tolist():
            image, _ = view.step(output, t, image)
        return image

    return call


def building(total: int) -> Callable[[], object]:
    def call() -> object:
        BMapDPMSolverScheduler(total, "cosine", BMap(minimum=0.97)).set_timesteps(STEPS)
        return None

    return call


def grown(what: str, calls: Mapping[int, Callable[[], object]], expected: float, how: str) -> Row:
    """A row of a fitted exponent."""
    timings = interleaved({str(size): call for size, call in calls.items()}, rounds=7)
    seconds = [timings.median(str(size)) for size in calls]
    found = exponent(list(calls), seconds)
    ends = f"{milliseconds(seconds[0])} at {min(calls)}, {milliseconds(seconds[-1])} at {max(calls)}"
    return Row(
        f"exponent of {what}",
        f"{found:.2f}",
        f"{expected:g}, by design",
        f"{found - expected:+.2f}",
        f"{ends}; {how}; log-log slope over {len(calls)} sizes, the other sizes {SIDE} x {SIDE}, batch {BATCH}, "
        f"{STEPS} steps, T = {TOTAL}",
    )


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the least-squares line through ``log cost`` against ``log size``."""
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)
