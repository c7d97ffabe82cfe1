"""What an image says of itself in ``meta["synthesis"]``: whether it is synthetic, and how it can be drawn again."""

from __future__ import annotations

from typing import Any, TypedDict

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.utils import convert_to_dst_type

from monai_bmaps.transforms.synthesis.model import SynthesisModel

RECORD_KEY = "synthesis"


class SynthesisRecord(TypedDict):
    """Entries of one type each, for real images too, so that batches keep them.

    ``seed`` is -1 for a real image; ``mix`` is the weight of the synthetic one, ``weights`` a SHA-256.
    """

    synthetic: bool
    model: str
    weights: str
    seed: int
    steps: int
    guidance: float
    strength: float
    mix: float


def real_record() -> SynthesisRecord:
    """Of a real image."""
    return SynthesisRecord(synthetic=False, model="", weights="", seed=-1, steps=0, guidance=1.0, strength=0.0, mix=0.0)


def synthetic_record(model: SynthesisModel, seed: int, strength: float, mix: float) -> SynthesisRecord:
    """Of an image that a model drew."""
    return SynthesisRecord(
        synthetic=True,
        model=model.name,
        weights=model.weights_sha256,
        seed=seed,
        steps=model.steps,
        guidance=1.0 if model.sampler.cfg is None else float(model.sampler.cfg),
        strength=strength,
        mix=mix,
    )


def recorded(values: NdarrayOrTensor, like: NdarrayOrTensor, record: SynthesisRecord) -> Any:
    """Values as another image is: type, numbers, device and ``meta``, to which the record is added.

    ``like`` stays as it is. What was done to it in space counts for the values too, and can be undone.
    """
    whole = not torch.as_tensor(like).is_floating_point()
    rounded = torch.as_tensor(values).round() if whole else values
    image = convert_to_dst_type(rounded, dst=like)[0]
    if not isinstance(image, MetaTensor):
        return image
    operations = list(image.applied_operations)
    return MetaTensor(image.as_tensor(), meta={**image.meta, RECORD_KEY: record}, applied_operations=operations)
