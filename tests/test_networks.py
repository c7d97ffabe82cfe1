"""SPADE keeps what a label says; patches fold and unfold without a trace."""

from __future__ import annotations

from collections.abc import Callable

import monai.networks.nets
import pytest
import torch
from monai.networks.blocks.spade_norm import SPADE
from torch import nn
from torch.nn import functional

from monai_bmaps.networks import PatchUNet, SPADEDiffusionModelUNet, use_plain_modulation

Maker = Callable[..., nn.Module]
SHAPE = (16, 24)
CLASSES = 3


def full_image_label(index: int, batch: int = 1) -> torch.Tensor:
    seg = torch.zeros(batch, CLASSES, *SHAPE)
    seg[:, index] = 1.0
    return seg


def spade_block(plain: bool, kernel_size: int = 3, seed: int = 0) -> SPADE:
    torch.manual_seed(seed)
    block = SPADE(CLASSES, norm_nc=2, kernel_size=kernel_size, hidden_channels=8)
    if plain:
        use_plain_modulation(block)
    return block


def without_edges(network: nn.Module) -> nn.Module:
    """Continue labels beyond the image, so that a full-image label is uniform to every SPADE convolution."""
    for block in network.modules():
        if isinstance(block, SPADE):
            for convolution in block.modules():
                if isinstance(convolution, nn.Conv2d):
                    convolution.padding_mode = "replicate"
    return network


def blobs(generator: torch.Generator, count: int) -> torch.Tensor:
    """Label maps of one rectangle each, from a few pixels to the whole image, in front of class 0."""
    labels = torch.zeros(count, *SHAPE, dtype=torch.long)
    for label in labels:
        height, width = (int(torch.randint(3, side + 1, (), generator=generator)) for side in SHAPE)
        top, left = (
            int(torch.randint(side - extent + 1, (), generator=generator))
            for side, extent in zip(SHAPE, (height, width), strict=True)
        )
        label[top : top + height, left : left + width] = int(torch.randint(1, CLASSES, (), generator=generator))
    return labels


def unexplained_share(plain: bool) -> float:
    """Share of a per-class constant's variance that a trained SPADE block misses on new label maps."""
    torch.manual_seed(0)
    block = nn.ModuleList([spade_block(plain), nn.Conv2d(2, 1, 1)])
    constants = torch.tensor([-1.0, 0.3, 1.0])
    generator = torch.Generator().manual_seed(1)

    def errors(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = blobs(generator, count)
        seg = functional.one_hot(labels, CLASSES).movedim(-1, 1).float()
        noise = torch.randn(count, 2, *SHAPE, generator=generator)
        return block[1](block[0](noise, seg))[:, 0] - constants[labels], constants[labels]

    optimizer = torch.optim.Adam(block.parameters(), lr=0.03)
    for _ in range(120):
        optimizer.zero_grad()
        errors(8)[0].square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error, target = errors(64)
    return float(error.square().mean() / target.var())


def test_a_per_class_constant_is_learned_with_plain_modulation() -> None:
    assert unexplained_share(plain=True) < 0.1  # about 0.01 measured; label borders remain


def test_a_per_class_constant_is_not_learned_with_monais_block() -> None:
    assert unexplained_share(plain=False) > 0.3  # about 0.5 measured: the defect that use_plain_modulation removes


def test_monais_block_gives_every_full_image_label_the_same_modulation() -> None:
    block = spade_block(plain=False, kernel_size=1)
    x = torch.randn(1, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    first, second = (block(x, full_image_label(index)) for index in (0, 1))
    # rounding of the mean over 384 pixels, times 1 / sqrt(1e-5) of the normalisation
    torch.testing.assert_close(first, second, atol=1e-3, rtol=0)


def test_plain_modulation_tells_full_image_labels_apart() -> None:
    block = spade_block(plain=True, kernel_size=1)
    x = torch.randn(1, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    first, second = (block(x, full_image_label(index)) for index in (0, 1))
    assert float((first - second).detach().abs().mean()) > 0.05


@pytest.mark.parametrize("spade_norm", ["plain", "monai"])
def test_a_full_image_label_changes_the_networks_output_only_with_plain_modulation(
    tiny_spade: Maker, spade_norm: str
) -> None:
    network = without_edges(tiny_spade(spade_norm=spade_norm))
    x = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (network(x, torch.tensor([3]), full_image_label(index)) for index in (0, 1))
    change = float((first - second).norm() / first.norm())
    assert change > 0.02 if spade_norm == "plain" else change < 1e-3  # rounding, as above


def test_modulation_of_a_class_depends_on_the_area_it_covers_only_with_monais_block() -> None:
    small, large = torch.zeros(1, *SHAPE, dtype=torch.long), torch.zeros(1, *SHAPE, dtype=torch.long)
    small[:, 6:9, 10:14] = 1
    large[:, 1:15, 1:23] = 1
    inside = (..., slice(7, 8), slice(11, 13))  # covered by both
    ratios = {}
    for plain in (True, False):
        block = spade_block(plain, kernel_size=1)
        gammas = [
            block.mlp_gamma(block.mlp_shared(functional.one_hot(label, CLASSES).movedim(-1, 1).float()))[inside].mean()
            for label in (small, large)
        ]
        ratios[plain] = float((gammas[0] / gammas[1]).detach())
    assert ratios[True] == pytest.approx(1.0, rel=1e-5)  # float32
    assert abs(ratios[False]) > 2


@pytest.mark.parametrize("ours_first", [True, False])
def test_state_dicts_load_both_ways(tiny_spade: Maker, ours_first: bool) -> None:
    ours, monais = tiny_spade(), tiny_spade(monai.networks.nets.SPADEDiffusionModelUNet)
    source, target = (ours, monais) if ours_first else (monais, ours)
    for parameter in target.parameters():
        nn.init.zeros_(parameter)
    target.load_state_dict(source.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


def outputs(tiny_spade: Maker, spade_norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    ours, monais = tiny_spade(spade_norm=spade_norm), tiny_spade(monai.networks.nets.SPADEDiffusionModelUNet)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, *SHAPE, generator=generator)
    seg = functional.one_hot(blobs(generator, 2), CLASSES).movedim(-1, 1).float()
    with torch.no_grad():
        return ours(x, torch.tensor([3, 70]), seg), monais(x, torch.tensor([3, 70]), seg)


def test_spade_norm_monai_is_monais_network_bit_for_bit(tiny_spade: Maker) -> None:
    ours, monais = outputs(tiny_spade, "monai")
    assert float(ours.std()) > 0.05
    assert torch.equal(ours, monais)


def test_spade_norm_plain_is_another_network_than_monais(tiny_spade: Maker) -> None:
    ours, monais = outputs(tiny_spade, "plain")
    assert not torch.allclose(ours, monais, atol=0.05)


def test_an_unknown_spade_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="'plain' or 'monai', got 'batch'"):
        SPADEDiffusionModelUNet(2, 1, 1, CLASSES, spade_norm="batch")


class Recorder(nn.Module):
    """Returns its input and remembers what it was called with."""

    def forward(
        self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor | None = None, **extra: torch.Tensor
    ) -> torch.Tensor:
        self.x, self.timesteps, self.context, self.extra = x, timesteps, context, extra
        return x


def test_patches_are_folded_into_channels_and_back_without_loss() -> None:
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    recorder = Recorder()
    output = PatchUNet(recorder, patch_size=4)(x, torch.tensor([1, 2]))
    assert recorder.x.shape == (2, 48, 2, 3)
    assert torch.equal(output, x)


def test_a_patch_holds_neighbouring_pixels() -> None:
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    recorder = Recorder()
    PatchUNet(recorder)(x, torch.tensor([1]))
    assert recorder.x[0, :, 1, 2].tolist() == [16.0, 17.0, 22.0, 23.0]


def test_a_patch_network_receives_time_context_and_full_resolution_segmentation() -> None:
    recorder = Recorder()
    timesteps, context, seg = torch.tensor([7]), torch.ones(1, 2, 5), torch.ones(1, CLASSES, 4, 6)
    PatchUNet(recorder)(torch.zeros(1, 1, 4, 6), timesteps, context, seg)
    assert recorder.timesteps is timesteps
    assert recorder.context is context
    assert recorder.extra["seg"] is seg


def test_a_patch_network_without_segmentation_is_not_given_one() -> None:
    recorder = Recorder()
    PatchUNet(recorder)(torch.zeros(1, 1, 4, 6), torch.tensor([7]))
    assert recorder.extra == {}


def test_patches_of_one_pixel_change_nothing(tiny_unet: Maker) -> None:
    network = tiny_unet()
    x = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(PatchUNet(network, 1)(x, torch.tensor([5])), network(x, torch.tensor([5])))


def test_an_image_that_patches_do_not_tile_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 4, got \(8, 10\); pad the image"):
        PatchUNet(Recorder(), 4)(torch.zeros(1, 1, 8, 10), torch.tensor([1]))


def test_an_image_that_the_network_cannot_halve_is_refused(tiny_unet: Maker) -> None:
    network = PatchUNet(tiny_unet(4, 4), 2)
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 8, 12), torch.tensor([1])).shape == (1, 1, 8, 12)
        with pytest.raises(ValueError, match=r"multiples of 4, got \(8, 10\); pad the image"):
            network(torch.zeros(1, 1, 8, 10), torch.tensor([1]))


def test_a_patch_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        PatchUNet(Recorder(), 0)
