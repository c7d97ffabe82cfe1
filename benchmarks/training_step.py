"""What B-maps add to a training step, timed alone and within it, against MONAI's scalar noise process."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.engines import DiffusionPrepareBatch
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler
from torch import nn

from benchmarks.cardiac import Cardiac, load_cardiac
from benchmarks.report import Row
from benchmarks.timing import compared, interleaved, milliseconds
from monai_bmaps import BMapDDPMScheduler, BMapDiffusionInferer
from monai_bmaps.training import BMapPrepareBatch

BATCH = 8

Forward = Callable[[nn.Module], tuple[torch.Tensor, torch.Tensor]]
"""From a network to its output and target for one batch."""


class Answered(nn.Module):
    """A network that costs nothing: what is left is what runs around it."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Always the same."""
        return self.output


def rows() -> list[Row]:
    """The operations alone as a share of the step, and the whole step with and without B-maps."""
    cardiac = load_cardiac()
    images = torch.rand(BATCH, 1, *cardiac.depth.shape[2:]) * 2 - 1
    ours, plain = with_b_maps(cardiac, images), without_b_maps(cardiac, images)
    network, answered = cardiac.fast_network().train(), Answered(images)
    optimizer = torch.optim.AdamW(network.parameters())

    def step(forward: Forward) -> None:
        output, target = forward(network)
        nn.functional.mse_loss(output.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad()

    alone = interleaved({"ours": lambda: ours(answered), "MONAI": lambda: plain(answered)}, rounds=31)
    steps = interleaved({"ours": lambda: step(ours), "MONAI": lambda: step(plain)}, rounds=7)
    added = alone.median("ours") - alone.median("MONAI")
    height, width = images.shape[2:]
    how = f"cardiac network, batch {BATCH}, {height} x {width}, bfloat16, a depth map per image"
    return [
        Row(
            "what B-maps add to a training step, their operations alone",
            milliseconds(added),
            f"{milliseconds(steps.median('ours'))}, the whole step",
            f"{added / steps.median('ours'):.2%} of it",
            f"noise, target and noise-level channel: {milliseconds(alone.median('ours'))} with B-maps, "
            f"{milliseconds(alone.median('MONAI'))} with MONAI's scalar scheduler; {how}",
        ),
        compared("training step with B-maps", steps, "ours", "MONAI", f"reference: without, MONAI's scheduler; {how}"),
    ]


def with_b_maps(cardiac: Cardiac, images: torch.Tensor) -> Forward:
    """As the bundle trains."""
    seg, depth = cardiac.batch(BATCH)
    scheduler = BMapDDPMScheduler(cardiac.num_train_timesteps, "cosine", cardiac.b_map)
    prepare = BMapPrepareBatch(scheduler)
    inferer = BMapDiffusionInferer(scheduler, "concat", noise_level_channel=True, amp_dtype=torch.bfloat16)

    def forward(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        inputs, task, _, keywords = prepare({"image": images, "seg": seg, "depth": depth})
        return inferer(inputs, network, **keywords), task.target

    return forward


def without_b_maps(cardiac: Cardiac, images: torch.Tensor) -> Forward:
    """MONAI's scheduler and inferer; a channel of zeros stands where the noise level was."""
    condition = torch.cat([cardiac.batch(BATCH)[0], torch.zeros_like(images)], dim=1)
    scheduler = DDPMScheduler(cardiac.num_train_timesteps, "cosine", prediction_type="v_prediction")
    prepare, inferer = DiffusionPrepareBatch(cardiac.num_train_timesteps, "condition"), DiffusionInferer(scheduler)

    def forward(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        batch = {"image": images, "label": images, "condition": condition}
        inputs, noise, _, keywords = prepare(batch)
        target = scheduler.get_velocity(inputs, noise, keywords["timesteps"])
        with torch.autocast("cpu", torch.bfloat16):
            return inferer(inputs, network, mode="concat", **keywords), target

    return forward
