"""How far apart the distributions of image sets are, in features of the FID's Inception."""

from monai_bmaps.metrics.distributions.distribution_metric import DistributionMetric
from monai_bmaps.metrics.distributions.feature_sets import Contrast, FeatureSet, contrasts
from monai_bmaps.metrics.distributions.features import POOLS, Features, as_rows, file_features, from_rows
from monai_bmaps.metrics.distributions.frechet import (
    FeatureStatistics,
    distances,
    frechet_distance,
    resampled_distances,
)
from monai_bmaps.metrics.distributions.inception import InceptionStem, stem_features
from monai_bmaps.metrics.distributions.kernel import KernelDistance
from monai_bmaps.metrics.distributions.manifold import manifold_measures
from monai_bmaps.metrics.distributions.measuring import measure_frechet, measure_kernel, measure_manifold
from monai_bmaps.metrics.distributions.rows import distribution_rows

__all__ = [
    "POOLS",
    "Contrast",
    "DistributionMetric",
    "FeatureSet",
    "FeatureStatistics",
    "Features",
    "InceptionStem",
    "KernelDistance",
    "as_rows",
    "contrasts",
    "distances",
    "distribution_rows",
    "file_features",
    "frechet_distance",
    "from_rows",
    "manifold_measures",
    "measure_frechet",
    "measure_kernel",
    "measure_manifold",
    "resampled_distances",
    "stem_features",
]
