"""A segmenter of ultrasound frames, the instrument of obedience and of the downstream task, and how it is judged."""

from monai_bmaps.metrics.segmentation.overlap import dice_per_structure, hausdorff_per_structure
from monai_bmaps.metrics.segmentation.segmenter import SegmenterSettings, train_segmenter

__all__ = ["SegmenterSettings", "dice_per_structure", "hausdorff_per_structure", "train_segmenter"]
