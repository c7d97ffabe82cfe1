"""What the schedule costs: building and holding it, against dense tables; noising and stepping, against MONAI's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

from benchmarks.dense_tables import dense_tables
from benchmarks.report import Row
from benchmarks.timing import compared, interleaved, milliseconds
from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, BMapDPMSolverScheduler, SectorBeam
from monai_bmaps.schedulers.base import BMapScheduler

PAPER = BMap(minimum=0.97)
SHIPPED = BMap.from_attenuation(db=44.0)
BATCH, SIDE, STEPS = 8, 128, 20
MEASURED = (1000, 128)
SLICE_ROWS = 8
TOLERANCE = 2e-3


def rows() -> list[Row]:
    """Building and memory, noising, stepping."""
    built = [row for total in (1000, 2000) for side in (128, 256) for row in building(total, side)]
    return [*built, *noising(), *stepping()]


# Building


def building(total: int, side: int) -> list[Row]:
    """Time and bytes against dense tables, which are built in full for the smallest case only."""
    depth = sector(side)
    part = depth if (total, side) == MEASURED else depth[-SLICE_ROWS:]
    scale = len(depth) / len(part)
    check(total, part)

    def ours() -> BMapScheduler:
        return BMapDDPMScheduler(total, "cosine", PAPER).bind(depth)

    def dense() -> object:
        return dense_tables(total, PAPER.minimum, part)

    timings = interleaved({"ours": ours, "dense": dense}, rounds=7)
    state = sum(x.nbytes for x in ours().buffers()) + depth.nbytes
    held = 6 * total * side * side * 4
    how = "built in full" if scale == 1 else f"time extrapolated x {scale:g} from {len(part)} rows, bytes computed"
    case = f"T = {total}, {side} x {side}"
    return [
        Row(
            f"building the schedule, {case}",
            milliseconds(timings.median("ours")),
            milliseconds(scale * timings.median("dense")),
            f"{scale * timings.ratio('dense', 'ours'):.0f} x faster",
            f"BMapDDPMScheduler and bind; reference: six dense float32 tables, {how}",
        ),
        Row(
            f"memory of the schedule, {case}",
            f"{state / 1e3:.0f} kB",
            f"{held / 1e6:.0f} MB",
            f"{held / state:.0f} x smaller",
            "all tables and the depth map; reference: six dense float32 tables, one channel",
        ),
    ]


def check(total: int, depth: torch.Tensor) -> None:
    """Dense tables and ours must be the same schedule.

    Raises:
        RuntimeError: if they are not.
    """
    dense = dense_tables(total, PAPER.minimum, depth)["product"][:: total // 10].double().log()
    steps = torch.arange(total)[:: total // 10]
    scheduler = BMapDDPMScheduler(total, "cosine", PAPER)
    ours = scheduler.bind(depth).log_retained(steps)[:, 0] - scheduler.log_alphas_cumprod[steps].reshape(-1, 1, 1)
    difference = float((ours - dense).abs().max())
    if difference > TOLERANCE:
        raise RuntimeError(f"log Bbar of the dense tables and ours differ by {difference:.1e}: one is wrong")


# Noising and stepping


def noising() -> list[Row]:
    """``add_noise`` with its ``bind`` against MONAI's."""
    images, noise = torch.randn(2, BATCH, 1, SIDE, SIDE)
    timesteps = torch.arange(BATCH) * 100 + 50
    stock = DDPMScheduler(1000, "cosine")
    cases = {
        "44 dB, shared depth map": (SHIPPED, sector(SIDE)[None, None]),
        "44 dB, a depth map per image": (SHIPPED, own_depths(SIDE, BATCH)),
        "paper's form, a depth map per image": (PAPER, own_depths(SIDE, BATCH)),
        "preserve_length, a depth map per image": (BMap(0.97, preserve_length=True), own_depths(SIDE, BATCH)),
    }
    calls: dict[str, Callable[[], object]] = {"MONAI": lambda: stock.add_noise(images, noise, timesteps)}
    for name, (b_map, depth) in cases.items():
        scheduler = BMapDDPMScheduler(1000, "cosine", b_map)
        calls[name] = lambda s=scheduler, d=depth: s.bind(d).add_noise(images, noise, timesteps)
    timings = interleaved(calls, rounds=31, repeats=5)
    how = f"bind and add_noise, {BATCH} x {SIDE} x {SIDE}; reference: MONAI's scalar DDPMScheduler"
    return [compared(f"add_noise, {name}", timings, name, "MONAI", how) for name in cases]


def stepping() -> list[Row]:
    """``step`` over 20 levels, the network left out, against MONAI's scalar schedulers.

    The first batch computes the coefficients of its depth maps; a solver keeps them for later ones of the same depth.
    """
    calls, references = stock_loops(), dict[str, str]()
    depths = {"shared depth map": sector(SIDE)[None, None], "a depth map per image": own_depths(SIDE, BATCH)}
    for name, kind in (("ddpm", BMapDDPMScheduler), ("ddim", BMapDDIMScheduler), ("2M", BMapDPMSolverScheduler)):
        scheduler = kind(1000, "cosine", SHIPPED)
        scheduler.set_timesteps(STEPS)
        reference = "MONAI ddpm" if name == "ddpm" else "MONAI ddim"
        for which, depth in depths.items():
            calls[f"{name}, {which}"] = lambda s=scheduler, d=depth: loop(s.bind(d))
            references[f"{name}, {which}"] = reference
        if name == "2M":
            calls["2M, later batches"] = functools.partial(loop, scheduler.bind(depth))
            references["2M, later batches"] = reference
    timings = interleaved(calls, rounds=9)
    how = f"one of {STEPS} steps, {BATCH} x {SIDE} x {SIDE}, no network; reference: "
    return [
        compared(f"step, {name}", timings, name, reference, how + reference, scale=1 / STEPS)
        for name, reference in references.items()
    ]


def stock_loops() -> dict[str, Callable[[], object]]:
    """MONAI's schedulers over as many steps."""
    schedulers = {
        "MONAI ddpm": DDPMScheduler(1000, "cosine", prediction_type="v_prediction"),
        "MONAI ddim": DDIMScheduler(1000, "cosine", prediction_type="v_prediction"),
    }
    for scheduler in schedulers.values():
        scheduler.set_timesteps(STEPS)
    return {name: functools.partial(loop, scheduler) for name, scheduler in schedulers.items()}


@torch.inference_mode()
def loop(scheduler: Any) -> torch.Tensor:
    """Sampling in which the network has answered already."""
    image = output = torch.zeros(BATCH, 1, SIDE, SIDE)
    for t in scheduler.timesteps.tolist():
        image, _ = scheduler.step(output, t, image)
    return image


def sector(side: int) -> torch.Tensor:
    """Depth map of a cardiac sector, ``(side, side)``."""
    scale = side / 128
    return SectorBeam((10.0 * scale, 64.0 * scale), (0.0, 106.0 * scale), 37.0).depth_map((side, side))


def own_depths(side: int, count: int) -> torch.Tensor:
    """A sector for each of ``count`` images, each at another height, ``(count, 1, side, side)``."""
    return torch.stack([sector(side).roll(shift, 0) for shift in range(count)])[:, None]
