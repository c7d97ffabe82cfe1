"""Time of one network evaluation as shipped against MONAI's defaults; whole samplings; batches and processes."""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from monai.inferers import DiffusionInferer
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.selfattention import SABlock
from monai.networks.schedulers import DDPMScheduler
from torch import nn

from benchmarks import draw_share
from benchmarks.cardiac import STEPS, Cardiac, load_cardiac
from benchmarks.report import Row
from benchmarks.timing import Timings, interleaved, milliseconds
from monai_bmaps.acceleration import accelerate, fast_dtype

BATCH, BATCHES = 8, (1, 2, 4, 8, 16)
SAMPLED = 8
CHAIN, TIMED = 1000, 20
DEFAULT = "MONAI's defaults: float32, NCHW, no fused attention"

Call = Callable[[], torch.Tensor]


def rows() -> list[Row]:
    """On the CPU, and on a GPU where there is one."""
    cardiac = load_cardiac()
    devices = [torch.device(name) for name in ("cpu", *(["cuda"] if torch.cuda.is_available() else []))]
    return [row for device in devices for row in on(cardiac, device)] + [scaling()]


def on(cardiac: Cardiac, device: torch.device) -> list[Row]:
    """All figures of one device."""
    return [*configurations(cardiac, device), *batch_sizes(cardiac, device), end_to_end(cardiac, device)]


# One evaluation


def configurations(cardiac: Cardiac, device: torch.device) -> list[Row]:
    """What each measure brings, and the error it makes."""
    default, fast = copy.deepcopy(cardiac.network).to(device), cardiac.fast_network(device)
    fused, half = with_fused_attention(default), fast_dtype(device)
    calls = {
        DEFAULT: evaluation(cardiac, default, BATCH, None),
        "fused attention (SDPA)": evaluation(cardiac, fused, BATCH, None),
        "SDPA, channels_last": evaluation(cardiac, fast, BATCH, None),
    }
    if half is not None:
        calls[f"SDPA, {precision_of(half)}"] = evaluation(cardiac, fused, BATCH, half)
        calls[f"as shipped: SDPA, channels_last, {precision_of(half)}"] = evaluation(cardiac, fast, BATCH, half)
    calls["as shipped, compiled"], trouble = compiled(cardiac, device, half)
    timings, wanted = interleaved(calls, rounds=7), calls[DEFAULT]()
    how = f"{device.type}, batch {BATCH}, 128 x 128; reference: {DEFAULT}; "
    return [
        faster(
            f"one evaluation, {name}",
            timings,
            name,
            how + error(call(), wanted) + (trouble if "compiled" in name else ""),
        )
        for name, call in calls.items()
        if name != DEFAULT
    ]


def evaluation(cardiac: Cardiac, network: nn.Module, batch: int, dtype: torch.dtype | None) -> Call:
    """A call of the network on a batch, in some precision."""
    device = next(network.parameters()).device
    inputs, timesteps = cardiac.inputs(batch, device), torch.full((batch,), 500, device=device)

    @torch.inference_mode()
    def call() -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return torch.as_tensor(network(inputs, timesteps=timesteps)).float()

    return call


def compiled(cardiac: Cardiac, device: torch.device, dtype: torch.dtype | None) -> tuple[Call, str]:
    """The shipped network under ``torch.compile``, and a remark if it fell back to running without."""
    network = accelerate(copy.deepcopy(cardiac.network).to(device), compile_mode="default")
    call = evaluation(cardiac, network, BATCH, dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    fell_back = any("torch.compile failed" in str(warning.message) for warning in caught)
    return call, "; torch.compile FAILED here, so this ran without" if fell_back else ""


def with_fused_attention(network: nn.Module) -> nn.Module:
    """A copy with MONAI's own switch turned, nothing else."""
    network = copy.deepcopy(network)
    for block in network.modules():
        if isinstance(block, (SABlock, CrossAttentionBlock)):
            block.use_flash_attention = True
    return network


def error(output: torch.Tensor, wanted: torch.Tensor) -> str:
    return f"relative L2 error {float((output - wanted).norm() / wanted.norm()):.1e}"


def precision_of(dtype: torch.dtype | None) -> str:
    return "float32" if dtype is None else str(dtype).removeprefix("torch.")


def faster(what: str, timings: Timings, name: str, how: str) -> Row:
    """A row of a time against the defaults'."""
    low, high = timings.quartiles(DEFAULT, name)
    ours, reference = (milliseconds(timings.median(x)) for x in (name, DEFAULT))
    ratio = f"{timings.ratio(DEFAULT, name):.3g} x faster"
    return Row(what, ours, reference, ratio, f"{how} (quartiles {low:.3g} to {high:.3g})")


# Batches, samplings, processes


def batch_sizes(cardiac: Cardiac, device: torch.device) -> list[Row]:
    """Images per second: evaluations per second and image, by the evaluations an image takes."""
    default, fast, half = copy.deepcopy(cardiac.network).to(device), cardiac.fast_network(device), fast_dtype(device)
    found = []
    for batch in BATCHES:
        calls = {
            DEFAULT: evaluation(cardiac, default, batch, None),
            "as shipped": evaluation(cardiac, fast, batch, half),
        }
        timings = interleaved(calls, rounds=5)
        ours, reference = (batch / STEPS / timings.median(name) for name in ("as shipped", DEFAULT))
        found.append(
            Row(
                f"images per second, batch {batch}",
                f"{ours:.3g} /s",
                f"{reference:.3g} /s",
                f"{timings.ratio(DEFAULT, 'as shipped'):.3g} x faster",
                f"{device.type}, from one evaluation, {STEPS} of which make an image; reference: {DEFAULT}, as many",
            )
        )
    return found


def end_to_end(cardiac: Cardiac, device: torch.device) -> Row:
    """A whole sampling as shipped against a plain ancestral chain in MONAI's defaults, of which some steps are run."""
    network, sampler = cardiac.fast_network(device), cardiac.sampler("auto")
    seg, depth = cardiac.batch(SAMPLED, device)
    unmet = itertools.cycle([depth, depth.roll(1, -1)])
    plain = copy.deepcopy(cardiac.network).to(device)
    scheduler = DDPMScheduler(CHAIN, "cosine", prediction_type="v_prediction")
    scheduler.timesteps = scheduler.timesteps[:TIMED]
    inferer, noise = DiffusionInferer(scheduler), torch.randn(SAMPLED, 1, *seg.shape[2:]).to(device)
    condition = torch.cat([seg, torch.zeros_like(noise)], dim=1)
    timings = interleaved(
        {
            "as shipped": lambda: sampler(seg, network, depth=next(unmet)),
            "plain": lambda: inferer.sample(noise, plain, conditioning=condition, mode="concat", verbose=False),
        },
        rounds=3,
    )
    chain = CHAIN / TIMED
    return Row(
        f"drawing {SAMPLED} images, end to end",
        milliseconds(timings.median("as shipped")),
        milliseconds(chain * timings.median("plain")),
        f"{chain * timings.ratio('plain', 'as shipped'):.0f} x faster",
        f"{device.type}, {STEPS} steps as shipped; reference: MONAI's DDPMScheduler and DiffusionInferer, "
        f"{CHAIN} steps extrapolated from {TIMED} timed ones, {DEFAULT}",
    )


def scaling() -> Row:
    """Two processes of one thread against one of two threads, the same seeds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seconds.json"
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
        ]
        done = subprocess.run([*command, draw_share.__file__, str(path)], capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            raise RuntimeError(f"two processes under torchrun could not run: {done.stderr[-2000:]}")
        found = json.loads(path.read_text())
    return Row(
        f"drawing {draw_share.SEEDS} images in 2 processes",
        milliseconds(found["together"]),
        milliseconds(found["alone"]),
        f"{found['ratio']:.3g} x faster",
        "CPU, torchrun, 1 thread and half of the seeds each; reference: 1 process, 2 threads, all seeds; images differ "
        f"by {found['difference']:.1e} at most",
    )
