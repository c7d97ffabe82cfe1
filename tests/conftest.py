"""One thread for every test; networks small enough for one core and not silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import monai.networks.nets
import pytest
import torch
from torch import nn

from monai_bmaps.networks import SPADEDiffusionModelUNet

LABELS = 3


def traced_on_purpose(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that traces: PyTorch deprecates it, and MONAI's exports do it.

    A trace does not record the checks that networks make of their input's shape, and says so.
    """
    unrecorded = "ignore:Converting a tensor to a Python boolean:torch.jit.TracerWarning"
    for ignored in ("ignore:`torch.jit.*deprecated:FutureWarning", f"{unrecorded}:torch.nn", f"{unrecorded}:monai.net"):
        test = pytest.mark.filterwarnings(ignored)(test)
    return test


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter anew: untrained MONAI networks output exactly 0, which any wrong code does too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        scale = 0.1 if parameter.ndim < 2 else (1.5 / parameter[0].numel()) ** 0.5
        noise = torch.randn(parameter.shape, generator=generator) * scale
        parameter.data = noise + (1.0 if parameter.ndim < 2 and bool((parameter == 1).all()) else 0.0)
    return network.eval()


def small_unet(in_channels: int = 1, out_channels: int = 1, **arguments: object) -> nn.Module:
    """A MONAI diffusion network for 2D images."""
    settings = {
        "spatial_dims": 2,
        "channels": (8, 16),
        "num_res_blocks": 1,
        "attention_levels": (False, False),
        "norm_num_groups": 4,
    }
    return awake(
        monai.networks.nets.DiffusionModelUNet(
            in_channels=in_channels, out_channels=out_channels, **{**settings, **arguments}
        )
    )


@pytest.fixture(scope="session")
def tiny_unet() -> Callable[..., nn.Module]:
    """A maker of MONAI diffusion networks for 2D images of one channel."""
    return small_unet


@pytest.fixture(scope="session")
def tiny_spade() -> Callable[..., nn.Module]:
    """A maker of SPADE diffusion networks, ours unless told."""

    def make(kind: type[nn.Module] = SPADEDiffusionModelUNet, **arguments: object) -> nn.Module:
        settings = {
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 1,
            "label_nc": LABELS,
            "channels": (8, 16),
            "num_res_blocks": 1,
            "attention_levels": (False, False),
            "norm_num_groups": 4,
            "spade_intermediate_channels": 8,
        }
        return awake(kind(**{**settings, **arguments}))

    return make
