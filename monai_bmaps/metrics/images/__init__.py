"""Sets of images to compare: what is known about each, how they are read, and what must hold between them."""

from monai_bmaps.metrics.images import preconditions
from monai_bmaps.metrics.images.data_set import is_data_set
from monai_bmaps.metrics.images.frames import ReadingOptions
from monai_bmaps.metrics.images.image_set import ImageSet
from monai_bmaps.metrics.images.reading import read_images

__all__ = ["ImageSet", "ReadingOptions", "is_data_set", "preconditions", "read_images"]
