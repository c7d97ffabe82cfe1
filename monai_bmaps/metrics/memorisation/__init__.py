"""Whether a model draws new images or gives back the ones it was trained on, image set by image set or as it draws."""

from monai_bmaps.metrics.memorisation.detection import CopyDetector
from monai_bmaps.metrics.memorisation.measuring import measure_memorisation
from monai_bmaps.metrics.memorisation.screening import CopyScreen

__all__ = ["CopyDetector", "CopyScreen", "measure_memorisation"]
