"""What a segmenter's training frames go through: labels move along, shapes and black stay."""

from __future__ import annotations

import pytest
import torch
from metric_inputs import boxes

from monai_bmaps.metrics.segmentation.augmentation import Augmentation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


STILL = Augmentation(False, 0, 0, 0, 0, 0, 0, 0)


def test_without_a_range_frames_stay_as_they_are() -> None:
    images, labels = boxes()
    same, truth = STILL(images, labels, generator=generator())
    torch.testing.assert_close(same, images)
    assert torch.equal(truth, labels)


def test_labels_move_with_their_images() -> None:
    """An image that is its own label map stays that, whatever the pose."""
    _, labels = boxes(16)
    poses = Augmentation(gamma=0, gain=0, depth_gain=0, noise=0)
    images, truth = poses(labels[:, None].float(), labels, generator=generator())
    moved = float((truth != labels).float().mean())
    # corners are rounder in an interpolated image
    assert float(((images[:, 0] > 0.5).long() != truth).float().mean()) < 0.05 * moved


def test_half_of_the_frames_are_mirrored_left_to_right() -> None:
    ramp = torch.linspace(0, 1, 20).expand(200, 1, 16, 20).contiguous()
    flips = Augmentation(True, 0, 0, 0, 0, 0, 0, 0)
    images, _ = flips(ramp, torch.zeros(200, 16, 20).long(), generator=generator())
    mirrored = images[:, 0, 0, 0] > 0.5
    assert 0.35 < float(mirrored.float().mean()) < 0.65
    torch.testing.assert_close(images[mirrored], ramp[mirrored].flip(-1))


def test_a_turn_keeps_shapes_in_images_that_are_not_square() -> None:
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(32.0), indexing="ij")
    disc = (((rows - 23.5).square() + (columns - 15.5).square()) < 100)[None, None].float().expand(8, 1, 48, 32)
    turned, _ = Augmentation(False, 90, 0, 0, 0, 0, 0, 0)(disc, disc[:, 0].long(), generator=generator())
    assert float((turned - disc).abs().mean()) < 0.02


def test_black_stays_black_and_nothing_leaves_the_range() -> None:
    images, labels = boxes()
    images[:, :, :, :3] = 0
    gains = Augmentation(False, 0, 0, 0, gamma=0.4, gain=1, depth_gain=1, noise=0.5)
    changed, _ = gains(images, labels, generator=generator())
    assert float(changed[:, :, :, :3].max()) < 1 / 255
    assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
    assert not torch.allclose(changed, images, atol=0.05)


def test_ranges_below_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="gamma must not be negative, got -1"):
        Augmentation(gamma=-1)
    with pytest.raises(ValueError, match=r"scaling must lie in \[0, 1\), got 1"):
        Augmentation(scaling=1)
