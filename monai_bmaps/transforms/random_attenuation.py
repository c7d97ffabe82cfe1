"""Random gain along the beam: :class:`~monai_bmaps.transforms.DepthAttenuation` of a strength drawn anew each time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils.enums import TraceKeys

from monai_bmaps.transforms.attenuation import DepthAttenuation
from monai_bmaps.transforms.beam_field import (
    AnyBeam,
    FieldKeys,
    Range,
    beam_field,
    check_probability,
    check_range,
)


class RandDepthAttenuation(RandomizableTransform, InvertibleTransform):  # type: ignore[misc]
    """Attenuate an image ``(C, *spatial)`` along the beam by a random number of dB.

    Args:
        attenuation_db: least and greatest at full depth, uniform between them; negative brightens.
        dynamic_range_db: and the following: see :class:`DepthAttenuation`.
        compressed: see there.
        value_range: see there.
        clip: see there.
        beam: see there.
        invertible: see there.
        prob: of changing anything.

    Raises:
        ValueError: an argument outside its range.
    """

    backend = DepthAttenuation.backend

    def __init__(
        self,
        attenuation_db: Range = (-6.0, 12.0),
        dynamic_range_db: float = 60.0,
        compressed: bool = True,
        value_range: Range = (-1.0, 1.0),
        clip: bool = True,
        beam: AnyBeam | None = None,
        invertible: bool = True,
        prob: float = 0.1,
    ) -> None:
        RandomizableTransform.__init__(self, check_probability(prob))
        self.range_db = check_range("attenuation_db", attenuation_db)
        self.attenuate = DepthAttenuation(0.0, dynamic_range_db, compressed, value_range, clip, beam, invertible)
        self.attenuation_db = 0.0

    def randomize(self, data: Any = None) -> None:
        """Draw whether, and ``attenuation_db``."""
        super().randomize(None)
        self.attenuation_db = float(self.R.uniform(*self.range_db))

    def __call__(
        self, img: torch.Tensor, depth: Any = None, sector: Any = None, randomize: bool = True
    ) -> torch.Tensor:
        """Attenuate, or not; see :meth:`DepthAttenuation.__call__`.

        Args:
            img: ``(C, *spatial)``, in ``value_range``.
            depth: ``(1, *spatial)`` in [0, 1].
            sector: ``(1, *spatial)``, positive inside the beam.
            randomize: whether to draw first.
        """
        if randomize:
            self.randomize()
        field = beam_field(img.shape, depth, sector, self.attenuate.beam)
        # a copy either way: the trace belongs to the result, not to the image that was given
        out, trace = self.attenuate.applied(img, field, self.attenuation_db if self._do_transform else 0.0)
        if self.attenuate.invertible:
            self.push_transform(out, extra_info=trace)
        return out

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Take back what this transform did last to a ``MetaTensor``."""
        if not self.attenuate.invertible:
            return data
        trace = self.pop_transform(data)
        return self.attenuate.taken_back(data, trace[TraceKeys.EXTRA_INFO]) if trace[TraceKeys.DO_TRANSFORM] else data


class RandDepthAttenuationd(RandomizableTransform, MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Dictionary version of :class:`RandDepthAttenuation`: all keys by the same dB.

    The depth is that of the beam given here, else the item's depth map, else of its beam (in the image's pixels).

    Args:
        keys: images.
        attenuation_db: and the following: see :class:`RandDepthAttenuation`.
        dynamic_range_db: see there.
        compressed: see there.
        value_range: see there.
        clip: see there.
        beam: see there.
        invertible: see there.
        depth_key: where an item has its depth map ``(1, *spatial)``.
        sector_key: where an item has its field of view ``(1, *spatial)``, if it has one.
        beam_key: where an item has its beam, if it has no depth map.
        prob: see there.
        allow_missing_keys: skip keys an item lacks.

    Raises:
        KeyError: an item without depth map and beam, or without a key.
        ValueError: see :class:`DepthAttenuation`.
    """

    backend = DepthAttenuation.backend

    def __init__(
        self,
        keys: KeysCollection,
        attenuation_db: Range = (-6.0, 12.0),
        dynamic_range_db: float = 60.0,
        compressed: bool = True,
        value_range: Range = (-1.0, 1.0),
        clip: bool = True,
        beam: AnyBeam | None = None,
        invertible: bool = True,
        depth_key: str = "depth",
        sector_key: str = "sector",
        beam_key: str = "beam",
        prob: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, check_probability(prob))
        self.fields = FieldKeys(depth_key, sector_key, beam_key)
        self.attenuation = RandDepthAttenuation(
            attenuation_db, dynamic_range_db, compressed, value_range, clip, beam, invertible, prob=1.0
        )

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandDepthAttenuationd:
        """Set the seed or state of the draws."""
        super().set_random_state(seed, state)
        self.attenuation.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw whether, and the dB."""
        super().randomize(None)
        self.attenuation.randomize()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item attenuated, or as it was."""
        item = dict(data)
        self.randomize()
        attenuate = self.attenuation.attenuate
        decibels = self.attenuation.attenuation_db if self._do_transform else 0.0
        for key in self.key_iterator(item):
            field = self.fields.field(item, key, attenuate.beam)
            item[key], trace = attenuate.applied(item[key], field, decibels, str(key))
            if attenuate.invertible:
                self.push_transform(item[key], extra_info=trace)
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with the attenuation taken back."""
        item = dict(data)
        attenuate = self.attenuation.attenuate
        for key in self.key_iterator(item) if attenuate.invertible else ():
            trace = self.pop_transform(item[key])
            if trace[TraceKeys.DO_TRANSFORM]:
                item[key] = attenuate.taken_back(item[key], trace[TraceKeys.EXTRA_INFO])
        return item


RandDepthAttenuationD = RandDepthAttenuationDict = RandDepthAttenuationd
