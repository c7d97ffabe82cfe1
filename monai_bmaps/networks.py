"""What MONAI's diffusion networks need to be conditioned correctly and cheaply by a segmentation."""

from __future__ import annotations

from typing import Any, Literal

import monai.networks.nets
import torch
from monai.networks.blocks.spade_norm import SPADE
from torch import nn
from torch.nn import functional

from monai_bmaps.types import Image, Timesteps


class SPADEDiffusionModelUNet(monai.networks.nets.SPADEDiffusionModelUNet):  # type: ignore[misc]
    """MONAI's SPADE diffusion network with the modulation that SPADE defines.

    MONAI's block instance-normalises its own ``gamma`` and ``beta`` over the image, which removes what a label says
    wherever it covers the image evenly and ties the rest to the area a label covers. Park et al. 2019
    (https://arxiv.org/abs/1903.07291) use plain convolutions. The normalisation has no parameters, so state dicts
    load both ways; outputs differ, and weights trained with one setting need the same setting.

    Args:
        spade_norm: ``"plain"`` as in the paper; ``"monai"`` for weights trained with MONAI's block.
        arguments: as MONAI's network.
    """

    def __init__(self, *args: Any, spade_norm: Literal["plain", "monai"] = "plain", **arguments: Any) -> None:
        if spade_norm not in ("plain", "monai"):
            raise ValueError(f"spade_norm must be 'plain' or 'monai', got {spade_norm!r}")
        super().__init__(*args, **arguments)
        if spade_norm == "plain":
            for block in self.modules():
                if isinstance(block, SPADE):
                    use_plain_modulation(block)


def use_plain_modulation(block: SPADE) -> None:
    """Remove the instance normalisation of a SPADE block's ``gamma`` and ``beta``, in place."""
    for convolution in (block.mlp_gamma, block.mlp_beta):
        if hasattr(convolution, "adn"):
            del convolution.adn


def has_plain_modulation(block: SPADE) -> bool:
    """Whether ``gamma`` and ``beta`` of a SPADE block are plain convolutions."""
    return not any(hasattr(convolution, "adn") for convolution in (block.mlp_gamma, block.mlp_beta))


class PatchUNet(nn.Module):
    """Run a network on ``patch_size x patch_size`` pixel patches folded into channels (space to depth).

    A 128x128 image becomes a 64x64 one of four channels, so that the network's widest layers work on a quarter of the
    positions (Hoogeboom et al. 2023, https://arxiv.org/abs/2301.11093); ``docs/decisions`` has what it costs and saves.

    Args:
        network: takes ``in_channels * patch_size^2`` channels and returns ``out_channels * patch_size^2``.
        patch_size: side of a patch in pixels. Height and width must be multiples of it and, where the network is one of
            MONAI's, of what its levels halve: of 8 for patches of 2 pixels and three levels.
    """

    def __init__(self, network: nn.Module, patch_size: int = 2) -> None:
        super().__init__()
        if patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {patch_size}")
        self.network = network
        self.patch_size = patch_size
        self._multiple = patch_size * 2 ** max(0, len(getattr(network, "down_blocks", ())) - 1)

    def forward(
        self,
        x: Image,
        timesteps: Timesteps,
        context: torch.Tensor | None = None,
        seg: torch.Tensor | None = None,
    ) -> Image:
        """As the wrapped network; ``seg`` is handed on at full resolution, for networks that take one."""
        if x.shape[-2] % self._multiple or x.shape[-1] % self._multiple:
            raise ValueError(
                f"height and width must be multiples of {self._multiple}, got {tuple(x.shape[-2:])}; pad the image, or "
                "choose another size (image_size of a bundle)"
            )
        folded = functional.pixel_unshuffle(x, self.patch_size)
        extra = {} if seg is None else {"seg": seg}
        output = self.network(folded, timesteps=timesteps, context=context, **extra)
        return functional.pixel_shuffle(output, self.patch_size)
