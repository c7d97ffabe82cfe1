"""How alike corresponding images are: a synthetic one beside the real one of the same label map."""

from monai_bmaps.metrics.pairs.measuring import measure_pairs, pairs_of
from monai_bmaps.metrics.pairs.pair_metric import PairMetric
from monai_bmaps.metrics.pairs.perceptual import Lpips, Net, peak_signal_to_noise, structural_similarity

__all__ = [
    "Lpips",
    "Net",
    "PairMetric",
    "measure_pairs",
    "pairs_of",
    "peak_signal_to_noise",
    "structural_similarity",
]
