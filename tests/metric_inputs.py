"""Small inputs of the measures: textures, noise on them, boxes with labels, features, a trunk of LPIPS."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_bmaps.metrics.distributions import Features, from_rows

SHARED = Path(__file__).parents[2] / "shared"
STEM = SHARED / "weights" / "fid_inception_2015_stem_bnfolded.npz"
FRAMES = SHARED / "data" / "camus_apical" / "images"
needs_weights = pytest.mark.skipif(not STEM.is_file(), reason="needs ../shared/weights (the folded FID Inception)")
needs_frames = pytest.mark.skipif(not FRAMES.is_dir(), reason="needs ../shared/data/camus_apical")


def textures(count: int, seed: int = 0, size: tuple[int, int] = (33, 35)) -> torch.Tensor:
    return torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(seed))


def noisy(images: torch.Tensor, amount: float = 0.1) -> torch.Tensor:
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(9))
    return (images + amount * noise).clamp(0, 1)


def boxes(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright boxes on dark speckle, one label."""
    images = 0.3 * torch.rand(count, 1, 16, 20, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(count, 16, 20, dtype=torch.int64)
    for index in range(count):
        labels[index, 4 : 9 + index, 5:12] = 1
    return images + 0.6 * labels[:, None], labels


def drawn_features(count: int, seed: int, shift: float = 0.0) -> Features:
    """Like an Inception's: the variances of the later features are ever smaller."""
    scale = torch.logspace(0, -2, 256, dtype=torch.float64)
    rows = torch.randn(count, 256, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return from_rows(scale * rows + shift * scale)


def write_trunk(path: Path) -> Path:
    """AlexNet's features with random weights, as torchvision names them."""
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path
