"""What decides the numbers of a comparison beside the images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from monai_bmaps.metrics.pairs import Net
from monai_bmaps.metrics.segmentation import SegmenterSettings


@dataclass(frozen=True)
class Settings:
    """What decides the numbers beside the images.

    Args:
        stem: file of the Inception's weights; ``None``: pytorch-fid's, downloaded on first use.
        lpips: file of LPIPS' trunk; ``None``: torchvision's, downloaded on first use.
        lpips_net: trunk of LPIPS; ``None``: what the file holds, AlexNet without one.
        resamplings: bootstrap samples.
        dynamic_range_db: from black to white, assumed where speckle is measured.
        segmenter: how the segmenter of obedience is trained.
        segmenters: folder where trained segmenters are kept for other comparisons; it changes no number. ``None``:
            beside the other results.
    """

    stem: Path | None = None
    lpips: Path | None = None
    lpips_net: Net | None = None
    resamplings: int = 200
    dynamic_range_db: float = 60.0
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    segmenters: Path | None = field(default=None, compare=False, repr=False)
