"""What an evaluator says about drawn images: metrics in ignite's form, and the report of them."""

try:
    import ignite as _ignite  # noqa: F401
except ImportError as error:
    raise ImportError("monai_bmaps.evaluation needs ignite: pip install 'monai-bmaps[bundle]'") from error

from monai_bmaps.evaluation.frechet import FrechetDistance
from monai_bmaps.evaluation.report import EvaluationReport
from monai_bmaps.metrics.findings import Measured

__all__ = ["EvaluationReport", "FrechetDistance", "Measured"]
