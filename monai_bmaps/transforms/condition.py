"""Conditioning channels of a label map, in the project's class order.

Channel 0 is outside the beam, 1..K the anatomy, K + 1 inside the beam without a label. Anatomy wins inside the beam;
labels outside it are dropped.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends


class LabelToCondition(Transform):  # type: ignore[misc]
    """One-hot channels of a label map and its sector.

    Args:
        num_labels: number K of anatomical labels; the result has K + 2 channels. 0 leaves the field of view alone.

    Example:
        >>> labels, sector = torch.tensor([[[0, 1], [2, 1]]]), torch.tensor([[[1, 1], [1, 0]]])
        >>> LabelToCondition(num_labels=2)(labels, sector).argmax(0)
        tensor([[3, 1],
                [2, 0]])
    """

    backend = (TransformBackends.TORCH,)

    def __init__(self, num_labels: int) -> None:
        if num_labels < 0:
            raise ValueError(f"num_labels must be at least 0, got {num_labels}")
        self.num_labels = num_labels

    def __call__(self, label: torch.Tensor, sector: torch.Tensor) -> torch.Tensor:
        """Condition ``(K + 2, H, W)`` float32 of a label map ``(1, H, W)`` and its sector ``(1, H, W)``.

        Raises:
            ValueError: shapes that differ, or label values that are not 0..K.
        """
        if label.shape != sector.shape or label.shape[0] != 1:
            raise ValueError(
                f"label and sector must both be (1, H, W), got {tuple(label.shape)} and {tuple(sector.shape)}"
            )
        plain = label.as_subclass(torch.Tensor)
        values = plain.long()
        if not bool(((values >= 0) & (values <= self.num_labels) & (values == plain)).all()):
            known = ", ".join(f"{x:g}" for x in torch.unique(plain)[:8].tolist())
            raise ValueError(
                f"labels must be whole numbers 0..{self.num_labels}, got {known}; map them to the classes the model "
                "was trained on, and resize label maps with mode='nearest'"
            )
        unlabelled = self.num_labels + 1
        classes = torch.where(values == 0, unlabelled, values)
        classes = torch.where(sector.as_subclass(torch.Tensor) > 0.5, classes, 0)
        channels = torch.nn.functional.one_hot(classes[0], self.num_labels + 2).movedim(-1, 0).float()
        return MetaTensor(channels, affine=label.affine) if isinstance(label, MetaTensor) else channels


class LabelToConditiond(MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`LabelToCondition`.

    Args:
        keys: label maps.
        num_labels: number K of anatomical labels; with 0 an item needs no label map.
        sector_key: field of view of the item, from ``BeamDepthd``.
        output_key: where the condition goes; only with one key. ``None`` replaces the label map.
        allow_missing_keys: skip keys an item lacks.
    """

    backend = LabelToCondition.backend

    def __init__(
        self,
        keys: KeysCollection,
        num_labels: int,
        sector_key: str = "sector",
        output_key: str | None = "seg",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if output_key is not None and len(self.keys) != 1:
            raise ValueError(f"output_key needs exactly one key, got {self.keys}; pass output_key=None")
        self.sector_key = sector_key
        self.output_key = output_key
        self._convert = LabelToCondition(num_labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with its condition."""
        item = dict(data)
        if self._convert.num_labels == 0:
            item |= {key: torch.zeros_like(item[self.sector_key]) for key in self.keys}
        for key in self.key_iterator(item):
            item[self.output_key or key] = self._convert(item[key], item[self.sector_key])
        return item


LabelToConditionD = LabelToConditionDict = LabelToConditiond
