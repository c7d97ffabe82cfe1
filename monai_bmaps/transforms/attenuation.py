"""Gain along the beam as an augmentation: an attenuation in dB that grows linearly with depth.

The loss at depth d in [0, 1] is ``attenuation_db d``. In a log-compressed image of a stated dynamic range it is a shift
of grey levels, ``attenuation_db d / dynamic_range_db`` of the range from black to white; in an envelope image it is a
factor ``10^(-attenuation_db d / 20)``. Negative attenuation is gain.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TransformBackends, convert_to_dst_type
from monai.utils.enums import TraceKeys

from monai_bmaps.transforms.beam_field import (
    AnyBeam,
    BeamField,
    FieldKeys,
    Range,
    as_given,
    beam_field,
    check_intensities,
    check_value_range,
    working,
)


class DepthAttenuation(InvertibleTransform):  # type: ignore[misc]
    """Attenuate an image ``(C, *spatial)`` along the beam; type and range stay the input's.

    Of a ``MetaTensor`` the depth map is kept in its trace, and :meth:`inverse` takes the attenuation back: exactly
    (to rounding) with ``clip=False``. What was clipped to black or white is lost: there the inverse is off by up to the
    change itself, and warns.

    Args:
        attenuation_db: at full depth; negative brightens.
        dynamic_range_db: from black to white of a log-compressed image.
        compressed: whether images are log-compressed, as on screen; else they are envelopes, 0 amplitude at black.
        value_range: black and white of the images.
        clip: cut what leaves the range; without it values may, for floating point only.
        beam: where the sound goes, in the images' pixels, for calls without a depth map.
        invertible: leave a trace. ``Invertd`` takes predictions back by the image's trace, and a segmentation has no
            gain: say ``False`` where it is used, and the inverse leaves everything as it is.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> attenuate = DepthAttenuation(attenuation_db=12.0, dynamic_range_db=60.0, value_range=(0.0, 1.0))
        >>> depth = torch.tensor([[0.0, 0.5, 1.0]])
        >>> attenuate(torch.full((1, 1, 3), 0.5), depth)
        tensor([[[0.5000, 0.4000, 0.3000]]])
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        attenuation_db: float,
        dynamic_range_db: float = 60.0,
        compressed: bool = True,
        value_range: Range = (-1.0, 1.0),
        clip: bool = True,
        beam: AnyBeam | None = None,
        invertible: bool = True,
    ) -> None:
        if not math.isfinite(attenuation_db):
            raise ValueError(f"attenuation_db must be finite, got {attenuation_db}; 0 changes nothing")
        if not 0.0 < dynamic_range_db < math.inf:
            raise ValueError(f"dynamic_range_db must be finite and above 0, got {dynamic_range_db}; scanners show 60")
        self.attenuation_db, self.dynamic_range_db, self.compressed = attenuation_db, dynamic_range_db, compressed
        self.value_range = check_value_range(value_range)
        self.clip, self.beam, self.invertible = clip, beam, invertible

    def __call__(self, img: torch.Tensor, depth: Any = None, sector: Any = None) -> torch.Tensor:
        """Attenuate.

        Args:
            img: ``(C, *spatial)``, in ``value_range``.
            depth: ``(1, *spatial)`` in [0, 1]; may be left out if the transform has a beam.
            sector: ``(1, *spatial)``, positive inside the beam; outside nothing changes.

        Raises:
            ValueError: values that are not finite or outside ``value_range`` (without clipping: farther out than it is
                wide), or no depth map of the image's size.
        """
        field = beam_field(img.shape, depth, sector, self.beam)
        out, trace = self.applied(img, field, self.attenuation_db)
        if self.invertible:
            self.push_transform(out, extra_info=trace)
        return out

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Take back what this transform did last to a ``MetaTensor``."""
        return self.taken_back(data, self.pop_transform(data)[TraceKeys.EXTRA_INFO]) if self.invertible else data

    def applied(
        self, img: torch.Tensor, field: BeamField, attenuation_db: float, name: str = "image"
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The image attenuated, and what :meth:`taken_back` needs; ``name`` is for messages."""
        pixels = torch.as_tensor(img)
        check_intensities(pixels, self.value_range, self.clip, name)
        wanted = self._changed(working(pixels), field.depth, attenuation_db)
        low, high = self.value_range
        cut = self.clip and bool((((wanted < low) | (wanted > high)) & (field.depth.to(wanted) > 0)).any())
        out = self._finished(wanted, img, field.depth)
        return out, {"attenuation_db": attenuation_db, "depth": field.depth, "clipped": cut}

    def taken_back(self, img: torch.Tensor, trace: Mapping[str, Any]) -> torch.Tensor:
        """The image with the attenuation of a trace taken back."""
        if trace["clipped"]:
            warnings.warn(
                "pixels that depth attenuation had clipped to black or white do not come back exactly; clip=False "
                "keeps them",
                stacklevel=2,
            )
        values = self._changed(working(torch.as_tensor(img)), trace["depth"], -trace["attenuation_db"])
        return self._finished(values, img, trace["depth"])

    def _finished(self, values: torch.Tensor, img: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        """Values in the image's type, and the image itself where nothing is lost."""
        pixels = torch.as_tensor(img).as_subclass(torch.Tensor)
        values = as_given(values, pixels, self.value_range, self.clip)
        out: torch.Tensor = convert_to_dst_type(torch.where(depth.to(pixels.device) > 0, values, pixels), dst=img)[0]
        return out

    def _changed(self, values: torch.Tensor, depth: torch.Tensor, attenuation_db: float) -> torch.Tensor:
        loss = attenuation_db * depth.to(values)
        low, high = self.value_range
        if self.compressed:
            return values - loss / self.dynamic_range_db * (high - low)
        return low + (values - low) * 10 ** (-loss / 20)


class DepthAttenuationd(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Dictionary version of :class:`DepthAttenuation`.

    The depth is that of the beam given here, else the item's depth map, else of its beam (in the image's pixels).

    Args:
        keys: images.
        attenuation_db: and the following: see :class:`DepthAttenuation`.
        dynamic_range_db: see there.
        compressed: see there.
        value_range: see there.
        clip: see there.
        beam: see there.
        invertible: see there.
        depth_key: where an item has its depth map ``(1, *spatial)``.
        sector_key: where an item has its field of view ``(1, *spatial)``, if it has one.
        beam_key: where an item has its beam, if it has no depth map.
        allow_missing_keys: skip keys an item lacks.

    Raises:
        KeyError: an item without depth map and beam, or without a key.
        ValueError: see :class:`DepthAttenuation`.
    """

    backend = DepthAttenuation.backend

    def __init__(
        self,
        keys: KeysCollection,
        attenuation_db: float,
        dynamic_range_db: float = 60.0,
        compressed: bool = True,
        value_range: Range = (-1.0, 1.0),
        clip: bool = True,
        beam: AnyBeam | None = None,
        invertible: bool = True,
        depth_key: str = "depth",
        sector_key: str = "sector",
        beam_key: str = "beam",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.fields = FieldKeys(depth_key, sector_key, beam_key)
        self.attenuate = DepthAttenuation(
            attenuation_db, dynamic_range_db, compressed, value_range, clip, beam, invertible
        )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item attenuated."""
        item = dict(data)
        for key in self.key_iterator(item):
            field = self.fields.field(item, key, self.attenuate.beam)
            item[key], trace = self.attenuate.applied(item[key], field, self.attenuate.attenuation_db, str(key))
            if self.attenuate.invertible:
                self.push_transform(item[key], extra_info=trace)
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with the attenuation taken back."""
        item = dict(data)
        for key in self.key_iterator(item) if self.attenuate.invertible else ():
            item[key] = self.attenuate.taken_back(item[key], self.pop_transform(item[key])[TraceKeys.EXTRA_INFO])
        return item


DepthAttenuationD = DepthAttenuationDict = DepthAttenuationd
