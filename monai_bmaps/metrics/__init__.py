"""How far synthetic images are from real ones.

``images`` are what is compared, ``findings`` what comes of it. Between them stand the families of measures:
``distributions``, ``pairs``, ``realism``, ``memorisation`` and ``obedience``; ``comparison`` makes one report of all.
``downstream`` trains segmenters with and without synthetic images; ``segmentation`` is the segmenter of both.
"""

from monai_bmaps.metrics.comparison import Report, Settings, compare
from monai_bmaps.metrics.distributions import (
    DistributionMetric,
    FeatureStatistics,
    InceptionStem,
    KernelDistance,
    frechet_distance,
    manifold_measures,
    stem_features,
)
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet, ReadingOptions, read_images
from monai_bmaps.metrics.pairs import Lpips, PairMetric, peak_signal_to_noise, structural_similarity

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
