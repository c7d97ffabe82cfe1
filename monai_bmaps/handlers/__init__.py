"""Handlers for MONAI's engines: trainings that resume, repeat and explain themselves; samples; files of images."""

try:
    import ignite as _ignite  # noqa: F401
except ImportError as error:
    raise ImportError("monai_bmaps.handlers needs ignite: pip install 'monai-bmaps[bundle]'") from error

from monai_bmaps.handlers.averaging import EMA
from monai_bmaps.handlers.checkpoint import ResumableCheckpoint, Stateful, WeightsSnapshots
from monai_bmaps.handlers.guarding import TrainingGuard
from monai_bmaps.handlers.layouts import Pictures, TrainingSet, layout_for
from monai_bmaps.handlers.listing import DatasetList
from monai_bmaps.handlers.progress import ImageProgress, LossOutput, TrainingProgress
from monai_bmaps.handlers.repeating import RepeatableIterations
from monai_bmaps.handlers.samples import SampleGrid
from monai_bmaps.handlers.writing import SynthesisWriter, run_evaluator

__all__ = [
    "EMA",
    "DatasetList",
    "ImageProgress",
    "LossOutput",
    "Pictures",
    "RepeatableIterations",
    "ResumableCheckpoint",
    "SampleGrid",
    "Stateful",
    "SynthesisWriter",
    "TrainingGuard",
    "TrainingProgress",
    "TrainingSet",
    "WeightsSnapshots",
    "layout_for",
    "run_evaluator",
]
