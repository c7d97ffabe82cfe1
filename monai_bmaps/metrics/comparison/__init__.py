"""Synthetic images compared with real ones by every family of measures, in one report."""

from monai_bmaps.metrics.comparison.comparing import compare
from monai_bmaps.metrics.comparison.report import Report
from monai_bmaps.metrics.comparison.settings import Settings
from monai_bmaps.metrics.comparison.store import Store, digest_of

__all__ = ["Report", "Settings", "Store", "compare", "digest_of"]
