"""MONAI's scheduler contract over per-pixel noise levels."""

from monai_bmaps.schedulers.ddim import BMapDDIMScheduler
from monai_bmaps.schedulers.ddpm import BMapDDPMScheduler

__all__ = ["BMapDDIMScheduler", "BMapDDPMScheduler"]
