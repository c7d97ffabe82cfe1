"""Whether synthetic images help a segmenter that is trained on few real ones, on many, or on none."""

from monai_bmaps.metrics.downstream.measuring import measure_downstream
from monai_bmaps.metrics.downstream.plan import Plan

__all__ = ["Plan", "measure_downstream"]
