"""How far synthetic images are from real ones."""

from monai_bmaps.metrics.compare import compare
from monai_bmaps.metrics.compared import Settings
from monai_bmaps.metrics.cumulative import DistributionMetric, PairMetric
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.frechet import FeatureStatistics, InceptionStem, frechet_distance, stem_features
from monai_bmaps.metrics.images import ImageSet, ReadingOptions, read_images
from monai_bmaps.metrics.kernel import KernelDistance
from monai_bmaps.metrics.manifold import manifold_measures
from monai_bmaps.metrics.perceptual import Lpips, peak_signal_to_noise, structural_similarity
from monai_bmaps.metrics.report import Report

__all__ = [
    "DistributionMetric",
    "FeatureStatistics",
    "Findings",
    "ImageSet",
    "InceptionStem",
    "KernelDistance",
    "Lpips",
    "Measured",
    "PairMetric",
    "ReadingOptions",
    "Report",
    "Settings",
    "compare",
    "frechet_distance",
    "manifold_measures",
    "peak_signal_to_noise",
    "read_images",
    "stem_features",
    "structural_similarity",
]
