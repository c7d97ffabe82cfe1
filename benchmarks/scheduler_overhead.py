"""What B-maps add to a training step: noise, tables, memory; each beside MONAI's scalar scheduler in the same run.

    python benchmarks/scheduler_overhead.py

Prints medians and their ratios. The training step is the cardiac bundle's network, batch and precision on random
images.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.networks.schedulers import DDPMScheduler

from monai_bmaps import BMap, BMapDDPMScheduler, SectorBeam

BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"


def median_seconds(call: Callable[[], object], runs: int) -> float:
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def training_step(parser: ConfigParser, batch: int, size: tuple[int, int]) -> Callable[[], object]:
    network = parser.get_parsed_content("network_def").to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    channels = parser.get_parsed_content("network_def::network::in_channels") // 4
    inputs, target = torch.randn(batch, channels, *size), torch.randn(batch, 1, *size)
    timesteps = torch.randint(0, 1000, (batch,))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            output = network(inputs, timesteps)
        torch.nn.functional.mse_loss(output.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    parser = ConfigParser(globals={"torch": torch})
    parser.read_config(BUNDLE / "configs" / "train.json")
    batch, size = parser["batch_size"], tuple(parser["image_size"])
    images, noise = torch.randn(batch, 1, *size), torch.randn(batch, 1, *size)
    timesteps = torch.randint(0, 1000, (batch,))
    depth = SectorBeam((10.0, 64.0), (0.0, 106.0), 37.0).depth_map(size).expand(batch, 1, *size)

    step = median_seconds(training_step(parser, batch, size), 9)
    print(f"training step (bundle network, batch {batch}, {size[0]}x{size[1]}, bf16): {step * 1e3:.0f} ms")
    stock = DDPMScheduler(1000, "cosine")
    scalar = median_seconds(lambda: stock.add_noise(images, noise, timesteps), 101)
    print(f"add_noise, MONAI scalar:        {scalar * 1e3:6.2f} ms = {scalar / step:7.3%} of a training step")
    for name, b_map in {
        "44 dB (Beer-Lambert)": BMap.from_attenuation(db=44.0),
        "paper's form, sqrt ramp": BMap(minimum=0.97),
        "preserve_length": BMap(minimum=0.97, preserve_length=True),
    }.items():
        scheduler = BMapDDPMScheduler(1000, b_map=b_map)
        ours = median_seconds(lambda s=scheduler: s.bind(depth).add_noise(images, noise, timesteps), 101)
        print(
            f"bind + add_noise, {name:24s} {ours * 1e3:6.2f} ms = {ours / step:7.3%} of a training step, "
            f"{ours / scalar:.1f} x MONAI's"
        )

    build_stock = median_seconds(lambda: DDPMScheduler(2000, "cosine"), 21)
    build = median_seconds(lambda: BMapDDPMScheduler(2000, b_map=BMap(minimum=0.97)), 21)
    ratio = build / build_stock
    print(f"building, T = 2000: {build * 1e3:.1f} ms, MONAI scalar {build_stock * 1e3:.1f} ms, {ratio:.0f} x")
    state = sum(b.numel() * b.element_size() for b in BMapDDPMScheduler(2000, b_map=BMap(minimum=0.97)).buffers())
    full = 6 * 2000 * 3 * 256 * 256 * 4
    print(
        f"state, T = 2000, 256x256: {state / 1e3:.0f} kB; six float32 tables of T x 3 x H x W: "
        f"{full / 2**30:.2f} GiB, {full / state:.0f} x"
    )


if __name__ == "__main__":
    main()
