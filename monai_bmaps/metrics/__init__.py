"""How far synthetic images are from real ones."""

from monai_bmaps.metrics.frechet import FeatureStatistics, InceptionStem, frechet_distance, stem_features

__all__ = ["FeatureStatistics", "InceptionStem", "frechet_distance", "stem_features"]
