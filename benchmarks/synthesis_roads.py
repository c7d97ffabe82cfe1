"""Synthetic frames for a segmentation: drawn per batch against per item, and their share of a training step."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import torch
from monai.data import DataLoader, Dataset
from monai.losses import DiceCELoss
from monai.networks.nets import UNet

from benchmarks.cardiac import BUNDLE
from benchmarks.report import Row
from benchmarks.timing import compared, interleaved, milliseconds
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.transforms import BeamDepth, BMapSynthesisMixd, RandBMapSynthesisd, SynthesisModel

BATCH, STEPS, SHARE, ROUNDS = 8, 4, 0.5, 5
SIZE = (128, 128)

Batch = Mapping[str, torch.Tensor]


def rows() -> list[Row]:
    """Both roads for half of each batch, then the step that trains on it with and without."""
    model = SynthesisModel.from_bundle(BUNDLE, steps=STEPS, device="cuda" if torch.cuda.is_available() else "cpu")
    items = [item(seed) for seed in range(BATCH)]
    real = next(iter(DataLoader(items, batch_size=BATCH)))
    batch_road = BMapSynthesisMixd("image", model, share=1.0)
    item_road = RandBMapSynthesisd("image", model, prob=1.0)
    loader = DataLoader(Dataset(items, item_road), batch_size=BATCH)
    roads = interleaved({"batch": lambda: batch_road(real), "item": lambda: next(iter(loader))}, ROUNDS)
    step = training_step(model.device)
    mixer = BMapSynthesisMixd("image", model, share=SHARE)
    steps = interleaved({"with": lambda: step(mixer(real)), "without": lambda: step(real)}, ROUNDS)
    share = statistics.median(1 - 1 / ratio for ratio in ratios(steps.seconds))
    how = f"cardiac model, {STEPS} steps, batch {BATCH}, {SIZE[0]} x {SIZE[1]}, on {model.device.type}, no workers"
    return [
        compared(f"{BATCH} synthetic frames by batch", roads, "batch", "item", f"reference: item by item; {how}"),
        Row(
            f"training step of MONAI's UNet, {SHARE:.0%} of each batch synthetic",
            milliseconds(steps.median("with")),
            f"{milliseconds(steps.median('without'))}, all real",
            f"synthesis is {share:.1%} of the step",
            f"forward, backward and optimizer of a UNet of 4 levels; {how}",
        ),
    ]


def ratios(seconds: Mapping[str, tuple[float, ...]]) -> list[float]:
    """How many times longer each round's step takes with synthesis."""
    return [one / other for one, other in zip(seconds["with"], seconds["without"], strict=True)]


def item(seed: int) -> dict[str, torch.Tensor]:
    """A phantom heart in [0, 1] with its labels and depth map."""
    draw = torch.Generator().manual_seed(seed)
    beam = heart_beam(SIZE, generator=draw)
    labels = heart_labels(SIZE, beam=beam, generator=draw)
    image = speckle_image(labels, beam, generator=draw)[None]
    depth, sector = BeamDepth()(beam, image)
    return {"image": image, "label": labels[None], "depth": depth.as_tensor(), "sector": sector.as_tensor()}


def training_step(device: torch.device) -> Callable[[Batch], None]:
    """One step of a segmentation training."""
    network = UNet(2, 1, 4, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=1).to(device)
    loss, optimizer = DiceCELoss(to_onehot_y=True, softmax=True), torch.optim.AdamW(network.parameters())

    def step(batch: Batch) -> None:
        image, label = (batch[key].to(device) for key in ("image", "label"))
        loss(network(image), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
