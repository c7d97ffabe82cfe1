"""MONAI's scheduler contract over per-pixel noise levels."""

from monai_bmaps.schedulers.ddim import BMapDDIMScheduler
from monai_bmaps.schedulers.ddpm import BMapDDPMScheduler
from monai_bmaps.schedulers.dpm_solver import BMapDPMSolverScheduler

__all__ = ["BMapDDIMScheduler", "BMapDDPMScheduler", "BMapDPMSolverScheduler"]
