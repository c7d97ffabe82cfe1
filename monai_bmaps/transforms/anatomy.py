"""New anatomy for a fan that stays: label maps deformed at random, and drawn again where no heart looks so.

:class:`RandBeamDeform` moves everything, fan and depth map too, since an image must move as a whole. A label map that
an image is still to be drawn for need not: here anatomy alone moves, by the same kind of field, and the beam stays
true. What is refused: structures pushed out of the sector, torn into more pieces, much changed in area, or with a
straight end where the sector's edge cut them off, which no longer lies there.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import TransformBackends, convert_to_dst_type

from monai_bmaps.transforms.beam_field import AnyBeam, FieldKeys, check_probability, inside_beam
from monai_bmaps.transforms.deform import RandBeamDeform

_SPECK = 0.01  # of a structure's area: smaller pieces are no pieces


@dataclass(frozen=True)
class Plausible:
    """What a deformation may do to each structure, the pixels of one label above 0.

    Args:
        max_lost: greatest share of a structure's area inside the sector that may leave it, in [0, 1].
        max_area_factor: greatest factor by which its area inside the sector may grow or shrink, at least 1.
        max_cut: how much of its outline may be where the sector's edge had cut it off: a share of the circumference of
            a circle of its area, at least 0.

    Raises:
        ValueError: an argument outside its range.
    """

    max_lost: float = 0.1
    max_area_factor: float = 1.6
    max_cut: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_lost <= 1.0:
            raise ValueError(f"max_lost must lie in [0, 1], got {self.max_lost}; 1 lets anatomy leave the sector")
        if not self.max_area_factor >= 1.0:
            raise ValueError(f"max_area_factor must be at least 1, got {self.max_area_factor}; infinity allows any")
        if not self.max_cut >= 0.0:
            raise ValueError(f"max_cut must be at least 0, got {self.max_cut}; infinity lets cuts show")

    def refusal(
        self, before: torch.Tensor, after: torch.Tensor, inside: torch.Tensor, shown: torch.Tensor
    ) -> str | None:
        """Why the deformed labels are not plausible, ``None`` if they are.

        Args:
            before: label map ``(H, W)``.
            after: the label map deformed, ``(H, W)``, not yet cut to the sector.
            inside: ``(H, W)``, true inside the sector.
            shown: ``(H, W)``, how much of ``before`` inside the sector each pixel of ``after`` shows, in pixels; 0
                where it shows what is beyond.
        """
        beside_unseen = _grown(inside & (shown == 0) & (after == 0))
        for label in torch.unique(before[inside]).tolist():
            if label == 0:
                continue
            was, now = (before == label) & inside, (after == label) & inside
            area, new_area = int(was.sum()), int(now.sum())
            lost = 1.0 - float(shown[now].sum()) / area
            if lost > self.max_lost:
                return f"{lost:.0%} of label {label:g} leave the sector"
            if not area <= self.max_area_factor * new_area <= self.max_area_factor**2 * area:
                return f"label {label:g} has {new_area / area:.2f} of its area"
            cut = int((now & beside_unseen).sum()) / (2 * math.sqrt(math.pi * new_area))
            if cut > self.max_cut:
                return f"a cut shows along {cut:.0%} of label {label:g}"
            if pieces(now) > pieces(was):
                return f"label {label:g} falls into {pieces(now)} pieces"
        return None


class RandAnatomyDeform(RandomizableTransform):  # type: ignore[misc]
    """Deform a label map inside its sector, which stays.

    Fields are drawn until the anatomy is :class:`Plausible`, each a little weaker than the one before: anatomy that
    fills its sector allows small changes only. If none of ``attempts`` is plausible, the label map stays as it was.
    Labels outside the sector are dropped. Not invertible.

    Args:
        deform: what to draw fields from; ``None`` is ``RandBeamDeform(scale=(0.9, 1.15))``.
        max_lost: see :class:`Plausible`.
        max_area_factor: see there.
        max_cut: see there.
        attempts: how many fields to draw at most, at least 1; the k-th moves by ``1 - k / attempts`` of what was drawn.
        beam: where the sound goes, in the label maps' pixels, for calls without a sector.
        prob: of deforming at all.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> label = torch.zeros(1, 40, 60)
        >>> label[:, 10:30, 20:40] = 1
        >>> new = RandAnatomyDeform().set_random_state(seed=0)(label, torch.ones(1, 40, 60))
        >>> bool((new != label).any()), new.unique()
        (True, tensor([0., 1.]))
    """

    backend = (TransformBackends.TORCH,)

    def __init__(
        self,
        deform: RandBeamDeform | None = None,
        max_lost: float = 0.1,
        max_area_factor: float = 1.6,
        max_cut: float = 0.1,
        attempts: int = 10,
        beam: AnyBeam | None = None,
        prob: float = 1.0,
    ) -> None:
        RandomizableTransform.__init__(self, check_probability(prob))
        if attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {attempts}; 10 reach a tenth of the field")
        if deform is not None and deform.prob != 1.0:
            raise ValueError(f"deform must have prob=1, got {deform.prob}; give the probability as prob=... here")
        self.deform = deform or RandBeamDeform(scale=(0.9, 1.15))
        self.plausible = Plausible(max_lost, max_area_factor, max_cut)
        self.attempts, self.beam = attempts, beam
        self.refusals: tuple[str | None, ...] = ()
        self.strength = 1.0

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandAnatomyDeform:
        """Set the seed or state of the draws."""
        super().set_random_state(seed, state)
        self.deform.set_random_state(seed, state)
        return self

    def randomize(self, data: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Draw a field for a label map ``(1, H, W)`` and its sector; ``refusals`` says what was drawn in vain."""
        super().randomize(None)
        refusals = self._refusals(*data) if self._do_transform else iter(())
        self.refusals = tuple(takewhile(lambda refusal: refusal is not None, refusals))

    def __call__(self, label: torch.Tensor, sector: Any = None, randomize: bool = True) -> torch.Tensor:
        """Deform a label map.

        Args:
            label: ``(1, H, W)``, whole numbers, 0 is background; its type stays.
            sector: ``(1, H, W)``, positive inside the beam, as depth is; may be left out if the transform has a beam.
            randomize: whether to draw a field first.

        Raises:
            ValueError: no sector, or one of another size; labels that are no whole numbers.
        """
        return self.applied(label, inside_beam(label.shape, sector, self.beam, name="label"), randomize)

    def applied(self, label: torch.Tensor, inside: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        """The label map deformed inside ``(1, H, W)``, or as it was."""
        check_labels(label)
        if randomize:
            self.randomize((label, inside))
        if not self._do_transform or len(self.refusals) == self.attempts:
            return label
        plain = torch.as_tensor(label).as_subclass(torch.Tensor)[0].cpu()
        seen = inside[0].cpu()
        moved = torch.where(seen, _read(plain, self._positions(label)), 0)
        out: torch.Tensor = convert_to_dst_type(moved[None], dst=label)[0]
        return out

    def _positions(self, label: torch.Tensor) -> torch.Tensor:
        """Where each pixel reads: the field drawn last, at its strength."""
        drawn = self.deform.positions(torch.as_tensor(label))
        still = torch.meshgrid(*(torch.arange(n, dtype=drawn.dtype) for n in drawn.shape[1:]), indexing="ij")
        return torch.lerp(torch.stack(still), drawn, self.strength)

    def _refusals(self, label: torch.Tensor, inside: torch.Tensor) -> Iterator[str | None]:
        """Fields one after another: why each is refused."""
        before, seen = torch.as_tensor(label).as_subclass(torch.Tensor)[0].cpu(), inside[0].cpu()
        for attempt in range(self.attempts):
            self.deform.randomize()
            self.strength = 1.0 - attempt / self.attempts
            positions = self._positions(label)
            shown = torch.where(_read(seen, positions), stretch(positions), 0.0)
            yield self.plausible.refusal(before, _read(before, positions), seen, shown)


class RandAnatomyDeformd(Randomizable, MapTransform):  # type: ignore[misc]
    """Dictionary version of :class:`RandAnatomyDeform`: one label map; sector, depth and beam of the item stay.

    For items without an image, or before a transform that draws one. The sector is the item's, else depth above 0, else
    the beam's.

    Args:
        keys: the label map; more are moved by the field that is plausible for the first.
        deform: and the following: see :class:`RandAnatomyDeform`.
        max_lost: see there.
        max_area_factor: see there.
        max_cut: see there.
        attempts: see there.
        beam: see there.
        image_key: an image would show the anatomy that was: an item that has one is refused. ``None`` lets it pass,
            for what replaces it afterwards.
        depth_key: where an item has its depth map.
        sector_key: where an item has its field of view.
        beam_key: where an item has its beam.
        prob: see there.
        allow_missing_keys: skip keys an item lacks.

    Raises:
        KeyError: an item without sector, depth and beam, or without a key.
        ValueError: an item with an image; and see :class:`RandAnatomyDeform`.
    """

    backend = RandAnatomyDeform.backend

    def __init__(
        self,
        keys: KeysCollection = "label",
        deform: RandBeamDeform | None = None,
        max_lost: float = 0.1,
        max_area_factor: float = 1.6,
        max_cut: float = 0.1,
        attempts: int = 10,
        beam: AnyBeam | None = None,
        image_key: str | None = "image",
        depth_key: str = "depth",
        sector_key: str = "sector",
        beam_key: str = "beam",
        prob: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.image_key = image_key
        self.fields = FieldKeys(depth_key, sector_key, beam_key)
        self.anatomy = RandAnatomyDeform(deform, max_lost, max_area_factor, max_cut, attempts, beam, prob)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandAnatomyDeformd:
        """Set the seed or state of the draws."""
        self.anatomy.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with new anatomy."""
        item = dict(data)
        if self.image_key is not None and item.get(self.image_key) is not None:
            raise ValueError(
                f"{self.image_key!r} would show the anatomy that was; remove it before (DeleteItemsd), deform both "
                "with RandBeamDeformd, or say image_key=None if a synthesised image replaces it"
            )
        for number, key in enumerate(self.key_iterator(item)):
            inside = self.fields.inside(item, key, self.anatomy.beam)
            item[key] = self.anatomy.applied(item[key], inside, randomize=number == 0)
        return item


def check_labels(label: torch.Tensor) -> None:
    """Refuse anything but one channel of whole numbers from 0.

    Raises:
        ValueError: another shape, or values that are none of a label map.
    """
    values = torch.as_tensor(label).as_subclass(torch.Tensor)
    if values.ndim != 3 or len(values) != 1:
        raise ValueError(f"label must be (1, H, W), got {tuple(values.shape)}; deform before one-hot encoding")
    if not bool(((values >= 0) & (values == values.floor())).all()):
        known = ", ".join(f"{x:g}" for x in torch.unique(values)[:8].tolist())
        raise ValueError(f"labels must be whole numbers from 0, got {known}; resize label maps with mode='nearest'")


def stretch(positions: torch.Tensor) -> torch.Tensor:
    """Area, in pixels, between the positions ``(2, H, W)`` that neighbouring pixels read: ``(H, W)``."""
    (row_down, row_right), (column_down, column_right) = (torch.gradient(axis) for axis in positions)
    area: torch.Tensor = (row_down * column_right - row_right * column_down).abs()
    return area


def pieces(mask: torch.Tensor, least: float = _SPECK) -> int:
    """How many 8-connected pieces a mask ``(H, W)`` has that hold more than a share of its area."""
    parents: list[int] = []
    areas: list[int] = []
    above: list[tuple[int, int, int]] = []
    for row in np.asarray(mask.bool()):
        runs = []
        for start, end in np.flatnonzero(np.diff(row, prepend=False, append=False)).reshape(-1, 2).tolist():
            name = len(parents)
            parents.append(name)
            areas.append(end - start)
            for left, right, other in above:
                if left <= end and start <= right:  # corners touch
                    parents[_root(parents, other)] = _root(parents, name)
            runs.append((start, end, name))
        above = runs
    total: dict[int, int] = {}
    for name, area in enumerate(areas):
        root = _root(parents, name)
        total[root] = total.get(root, 0) + area
    return sum(area > least * sum(areas) for area in total.values())


def _read(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Values ``(H, W)`` at the pixels nearest to positions; 0 beyond the edges."""
    rows, columns = (torch.round(axis).long() for axis in positions)
    height, width = values.shape
    known = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return torch.where(known, values[rows.clamp(0, height - 1), columns.clamp(0, width - 1)], 0).to(values.dtype)


def _grown(mask: torch.Tensor) -> torch.Tensor:
    """A mask ``(H, W)`` and the pixels beside it."""
    return torch.nn.functional.max_pool2d(mask[None, None].float(), 3, 1, 1)[0, 0] > 0


def _root(parents: list[int], name: int) -> int:
    while parents[name] != name:
        parents[name] = name = parents[parents[name]]
    return name


RandAnatomyDeformD = RandAnatomyDeformDict = RandAnatomyDeformd
