"""The shipped cardiac model as the benchmarks use it: its network, noise process and label maps of its demo."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.networks.blocks.crossattention import CrossAttentionBlock
from monai.networks.blocks.selfattention import SABlock
from torch import nn

from monai_bmaps import BMap, BMapDPMSolverScheduler, BMapSynthesisInferer
from monai_bmaps.acceleration import accelerate
from monai_bmaps.inferers import BMapDiffusionInferer

BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"
STEPS = 20


@dataclass(frozen=True)
class Cardiac:
    """The bundle's network and what it is given.

    Args:
        network: with the shipped weights, on the CPU, as MONAI builds it: no fused attention, NCHW.
        b_map: the bundle's B-map.
        num_train_timesteps: T.
        seg: condition channels ``(items, classes, H, W)``.
        depth: depth maps ``(items, 1, H, W)``.
    """

    network: nn.Module
    b_map: BMap
    num_train_timesteps: int
    seg: torch.Tensor
    depth: torch.Tensor

    def fast_network(self, device: torch.device | str = "cpu") -> nn.Module:
        """A copy of the network as the bundle runs it."""
        return accelerate(copy.deepcopy(self.network).to(device))

    def scheduler(self) -> BMapDPMSolverScheduler:
        """The bundle's sampler."""
        return BMapDPMSolverScheduler(self.num_train_timesteps, "cosine", self.b_map)

    def sampler(self, amp_dtype: torch.dtype | str | None, steps: int = STEPS) -> BMapSynthesisInferer:
        """What draws images: 2M on the l2 grid, unguided."""
        inferer = BMapDiffusionInferer(self.scheduler(), "concat", noise_level_channel=True, amp_dtype=amp_dtype)
        return BMapSynthesisInferer(inferer, num_inference_steps=steps, verbose=False)

    def batch(self, count: int, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Condition and depth maps of ``count`` images, the demo's over and over; every image has a map of its own."""
        picked = torch.arange(count) % len(self.seg)
        return self.seg[picked].to(device), self.depth[picked].to(device)

    def inputs(self, count: int, device: torch.device | str = "cpu") -> torch.Tensor:
        """A batch of input channels as in sampling: noise, condition, noise level."""
        seg = self.batch(count, device)[0]
        drawn = torch.randn(count, 1, *seg.shape[2:], generator=torch.Generator().manual_seed(0)).to(device)
        return torch.cat([drawn, seg, torch.zeros_like(drawn)], dim=1)


def load_cardiac() -> Cardiac:
    """The bundle's parts, from its own configuration."""
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "inference.json")
    parser["bundle_root"], parser["device"] = str(BUNDLE), "cpu"
    parser.parse(True)
    network = parser.get_parsed_content("network").denoiser.to(memory_format=torch.contiguous_format)
    for block in network.modules():
        if isinstance(block, (SABlock, CrossAttentionBlock)):
            block.use_flash_attention = False
    items = list(parser.get_parsed_content("dataset"))
    seg, depth = (torch.stack([torch.as_tensor(item[key]) for item in items]) for key in ("seg", "depth"))
    return Cardiac(
        network,
        parser.get_parsed_content("b_map"),
        parser.get_parsed_content("num_train_timesteps"),
        seg.as_subclass(torch.Tensor),
        depth.as_subclass(torch.Tensor),
    )
