"""Whether synthetic images show what their label maps ask for."""

from monai_bmaps.metrics.obedience.measuring import measure_obedience

__all__ = ["measure_obedience"]
