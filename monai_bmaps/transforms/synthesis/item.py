"""Synthetic ultrasound in a MONAI pipeline: an item's image replaced by, mixed with or restyled as its label map says.

The fast road is per batch, see :mod:`monai_bmaps.transforms.synthesis.batch`; this one fits anywhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import MAX_SEED, TransformBackends

from monai_bmaps.geometry import Beam
from monai_bmaps.transforms.synthesis.frames import (
    FrameKeys,
    FrameSynthesis,
    Range,
    check_share,
    frame_keys,
    share_range,
)
from monai_bmaps.transforms.synthesis.model import SynthesisModel
from monai_bmaps.transforms.synthesis.record import SynthesisRecord, real_record, recorded, synthetic_record


class RandBMapSynthesis(RandomizableTransform):  # type: ignore[misc]
    """Replace an image, at random, by one drawn for its label map, or mix the two.

    Where images are ``MetaTensor``, the result's ``meta["synthesis"]`` says ``synthetic`` (true or false), ``model``,
    ``weights`` (SHA-256), ``seed``, ``steps``, ``guidance``, ``strength`` and ``mix``. Real images have the same
    entries, so that batches keep them. There is nothing to invert: ``Compose.inverse`` passes over it.

    Args:
        model: what draws, shared by all copies of the transform.
        prob: of a synthetic image, in [0, 1]. Without an image there is always one.
        strength: 1 draws from noise; less restyles the real image, over this share of the steps, see
            :class:`~monai_bmaps.inferers.editing.Edit`. Two numbers: drawn evenly between them.
        mix: weight of the synthetic image, the rest is the real one; likewise.
        label_mapping: the item's label values -> the model's classes, by number or name; 0 stays 0 unless told.
            ``None``: they are the model's. Any other value is refused.
        beam: one beam for all items, in pixels of the item; ``None`` takes the item's own.
        intensity_range: (black, white) of the images; ``None`` takes for each the first of (0, 1), (-1, 1) and
            (0, 255) that it fits in. Needed where there is no image.
        spacing_tolerance: the factor by which the size of a pixel in mm may differ from the model's, where both are
            known; 1 x 1 mm, which frames without a spacing have, counts as unknown.

    Raises:
        ValueError: a number out of its range, or a mapping to classes that the model has not.
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        model: SynthesisModel,
        prob: float = 0.1,
        strength: float | Range = 1.0,
        mix: float | Range = 1.0,
        label_mapping: Mapping[int, int | str] | None = None,
        beam: Beam | Mapping[str, Any] | None = None,
        intensity_range: Range | None = None,
        spacing_tolerance: float = 1.5,
    ) -> None:
        RandomizableTransform.__init__(self, check_share("prob", prob))
        self.strength = share_range("strength", strength)
        self.mix = share_range("mix", mix)
        self.frames = FrameSynthesis(model, FrameKeys(), label_mapping, beam, intensity_range, spacing_tolerance)
        self._drawn = (0, 1.0, 1.0)

    def randomize(self, data: Any = None) -> None:
        """Draw whether to synthesise, and seed, strength and weight, always all of them."""
        super().randomize(None)
        seed = int(self.R.randint(MAX_SEED, dtype="uint32"))
        self._drawn = (seed, float(self.R.uniform(*self.strength)), float(self.R.uniform(*self.mix)))

    def __call__(
        self,
        img: torch.Tensor | None,
        label: torch.Tensor | None = None,
        depth: torch.Tensor | None = None,
        sector: torch.Tensor | None = None,
        beam: Beam | Mapping[str, Any] | None = None,
        randomize: bool = True,
    ) -> torch.Tensor:
        """A real or a synthetic image, of the type and in the range of the given one.

        Args:
            img: ``(1, H, W)``; ``None`` is always drawn, as float32, where the label map lies.
            label: label map ``(1, H, W)``; a model without classes needs none.
            depth: depth map ``(1, H, W)``.
            sector: field of view ``(1, H, W)``; without it, where depth is above 0.
            beam: to make both from, in pixels of the image.
            randomize: whether to draw anew; otherwise as drawn last.

        Raises:
            KeyError: too little to draw from.
            ValueError: unknown label values, shapes, spacing or intensities that do not fit.
        """
        if randomize:
            self.randomize()
        values = {"image": img, "label": label, "depth": depth, "sector": sector, "beam": beam}
        named = zip(self.frames.keys, values.values(), strict=True)
        return self.of_item({key: value for key, value in named if value is not None})[0]

    def of_item(self, item: Mapping[Hashable, Any]) -> tuple[torch.Tensor, SynthesisRecord]:
        """The image of an item as drawn last, and what it says of itself; ``frames.keys`` tells the item's names."""
        keys, model = self.frames.keys, self.frames.model
        image = item.get(keys.image)
        if image is not None and not self._do_transform:
            return unchanged(image)
        seed, strength, weight = self._drawn
        if image is None:
            strength, weight = 1.0, 1.0
        condition = self.frames.condition(item)
        given = None if image is None else torch.as_tensor(image)
        drawn = self.frames.drawn([condition], [given], [seed], strength, [weight])[0]
        like = torch.as_tensor(item.get(keys.label, condition.sector)).float() if image is None else image
        record = synthetic_record(model, seed, strength, weight)
        return recorded(drawn, like, record), record


class RandBMapSynthesisd(Randomizable, MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`RandBMapSynthesis`.

    Put it after ``BeamDepthd`` and the spatial transforms, before intensities are normalised. An item without the
    image is always given one; there ``prob`` is not asked.

    Args:
        keys: the image, one key.
        model: see :class:`RandBMapSynthesis`, as for all not told here.
        prob: see there.
        strength: see there.
        mix: see there.
        label_mapping: see there.
        beam: see there.
        intensity_range: see there.
        spacing_tolerance: see there.
        label_key: label map of the item; a model without classes needs none.
        depth_key: depth map, as ``BeamDepthd`` makes it.
        sector_key: field of view, likewise; without it, where depth is above 0. Without depth a beam is fitted to it.
        beam_key: a beam, in pixels of the item.
        record_key: where the item is to hold what ``meta`` says too, for images without ``meta``; ``None``: nowhere.
        allow_missing_keys: leave an item as it is that has no label map, or nothing to make a depth map from.
    """

    backend = RandBMapSynthesis.backend

    def __init__(
        self,
        keys: KeysCollection,
        model: SynthesisModel,
        prob: float = 0.1,
        strength: float | Range = 1.0,
        mix: float | Range = 1.0,
        label_mapping: Mapping[int, int | str] | None = None,
        beam: Beam | Mapping[str, Any] | None = None,
        intensity_range: Range | None = None,
        spacing_tolerance: float = 1.5,
        label_key: str = "label",
        depth_key: str = "depth",
        sector_key: str = "sector",
        beam_key: str = "beam",
        record_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.synthesis = RandBMapSynthesis(
            model, prob, strength, mix, label_mapping, beam, intensity_range, spacing_tolerance
        )
        self.synthesis.frames.keys = frame_keys(self.keys, label_key, depth_key, sector_key, beam_key)
        self.record_key = record_key

    @classmethod
    def from_bundle(
        cls,
        path: str | Path,
        keys: KeysCollection = "image",
        *,
        steps: int | None = None,
        guidance: float | None = None,
        device: str | torch.device = "cpu",
        **options: Any,
    ) -> RandBMapSynthesisd:
        """With the model of a bundle, see :meth:`SynthesisModel.from_bundle`; its configuration can run any code.

        Args:
            path: folder of the bundle.
            keys: the image.
            steps: network evaluations per image; ``None`` is the bundle's.
            guidance: guidance weight; ``None`` is the bundle's.
            device: where to draw.
            options: all others of the class, by name.
        """
        return cls(keys, SynthesisModel.from_bundle(path, steps=steps, guidance=guidance, device=device), **options)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandBMapSynthesisd:
        """Set the seed or state of the draws."""
        self.synthesis.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw anew."""
        self.synthesis.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with a real or a synthetic image."""
        item, key = dict(data), self.keys[0]
        self.randomize()
        missing = self.synthesis.frames.lacks(item)
        if missing and not self.allow_missing_keys:
            raise KeyError(f"the item has no {missing}; it has {', '.join(map(str, item))}")
        if missing and key not in item:
            return item
        item[key], record = unchanged(item[key]) if missing else self.synthesis.of_item(item)
        if self.record_key is not None:
            item[self.record_key] = record
        return item


def unchanged(image: Any) -> tuple[Any, SynthesisRecord]:
    """A real image that says so."""
    record = real_record()
    return recorded(image, image, record), record


RandBMapSynthesisD = RandBMapSynthesisDict = RandBMapSynthesisd
