"""A set of images of one size with what is known about each: labels, depth, beam, pixel size, patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from monai_bmaps.geometry import Beam

Spacing: TypeAlias = tuple[float, float]
"""Pixel size (row, column) in millimetres."""


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images to compare, on one pixel grid, with what is known about them.

    Args:
        name: what it is in a report: ``"real"``, ``"synthetic"`` or ``"training"``.
        names: of the images, each once.
        images: ``(N, 1, H, W)`` float32 in [0, 1].
        labels: ``(N, H, W)`` int64; 0 is no label.
        depth: ``(N, H, W)`` float32 in [0, 1]: depth along the beam, 0 outside it.
        inside: ``(N, H, W)`` bool: inside the beam.
        spacing: of each image, ``None`` where unknown; empty: of none.
        beams: of each image in its pixels, ``None`` where unknown; empty: of none.
        groups: patient, sweep or exam of each image; empty: every image is its own.
        classes: names of the labels 1, 2, ...
        items: item of the data set that each image shows or was drawn for; empty: the images' own names.
        notes: what to know about how they were read.

    Raises:
        ValueError: no images, a shape or type that is not the above, values out of range or NaN (the images are named).
    """

    name: str
    names: tuple[str, ...]
    images: torch.Tensor
    labels: torch.Tensor | None = None
    depth: torch.Tensor | None = None
    inside: torch.Tensor | None = None
    spacing: tuple[Spacing | None, ...] = ()
    beams: tuple[Beam | None, ...] = ()
    groups: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = (None,) * len(self.names)
        object.__setattr__(self, "spacing", self.spacing or unknown)
        object.__setattr__(self, "beams", self.beams or unknown)
        object.__setattr__(self, "groups", self.groups or self.names)
        object.__setattr__(self, "items", self.items or self.names)
        self._check_images()
        self._check_maps()
        for what in ("spacing", "beams", "groups", "items"):
            entries = getattr(self, what)
            if len(entries) != len(self):
                raise ValueError(f"{what} must have one entry for each of {len(self)} images, got {len(entries)}")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        """Name what it holds, not its pixels."""
        known = [what for what in ("labels", "depth", "inside") if getattr(self, what) is not None]
        with_maps = f" with {', '.join(known)}" if known else ""
        return f"ImageSet({len(self)} {self.name} images of {self.size[0]} x {self.size[1]}{with_maps})"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    @property
    def known_labels(self) -> torch.Tensor:
        """The label maps, ``(N, H, W)`` int64, where there must be some.

        Raises:
            ValueError: there are none.
        """
        if self.labels is None:
            raise ValueError(f"the {self.name} images have no label maps; give them")
        return self.labels

    @property
    def field_of_view(self) -> torch.Tensor:
        """``(N, 1, H, W)`` float32: 1 inside the beam, 0 outside; where it is not known, all of the image."""
        return torch.ones_like(self.images) if self.inside is None else self.inside[:, None].float()

    def chosen(self, rows: Sequence[int], name: str | None = None) -> ImageSet:
        """The images at these places, in this order, each place at most once.

        Args:
            rows: 0-based.
            name: of the new set; as before unless given.
        """
        picked = torch.as_tensor(list(rows), dtype=torch.int64)

        def of(maps: torch.Tensor | None) -> torch.Tensor | None:
            return None if maps is None else maps[picked]

        return ImageSet(
            name=name or self.name,
            names=tuple(self.names[row] for row in rows),
            images=self.images[picked],
            labels=of(self.labels),
            depth=of(self.depth),
            inside=of(self.inside),
            spacing=tuple(self.spacing[row] for row in rows),
            beams=tuple(self.beams[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
            classes=self.classes,
            items=tuple(self.items[row] for row in rows),
            notes=self.notes,
        )

    def _check_images(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[1] != 1 or 0 in shape or shape[0] != len(self.names):
            raise ValueError(
                f"images must have shape (N, 1, H, W) with a name for each and N at least 1, got {shape} and "
                f"{len(self.names)} names"
            )
        if self.images.dtype != torch.float32:
            raise ValueError(f"images must be float32 in [0, 1], got {self.images.dtype}; divide 8-bit images by 255")
        if len(set(self.names)) < len(self.names):
            twice = sorted({name for name in self.names if self.names.count(name) > 1})
            raise ValueError(f"every image needs a name of its own, {', '.join(twice[:3])} came more than once")
        flat = self.images.flatten(1)
        good = (flat >= 0).all(1) & (flat <= 1).all(1)  # false of NaN
        if not bool(good.all()):
            bad = [name for name, fine in zip(self.names, good.tolist(), strict=True) if not fine]
            raise ValueError(
                f"{self.name} images must lie in [0, 1] without NaN, which {len(bad)} of {len(self.names)} do not: "
                f"{', '.join(bad[:3])}; take them out or write them again"
            )

    def _check_maps(self) -> None:
        shape = (len(self), *self.size)
        kinds = {"labels": torch.int64, "depth": torch.float32, "inside": torch.bool}
        for what, kind in kinds.items():
            maps: torch.Tensor | None = getattr(self, what)
            if maps is not None and (tuple(maps.shape) != shape or maps.dtype != kind):
                raise ValueError(f"{what} must be {kind} {shape}, got {maps.dtype} {tuple(maps.shape)}")
        if self.depth is not None and not bool(((self.depth >= 0) & (self.depth <= 1)).all()):
            raise ValueError("depth must lie in [0, 1]; take it from monai_bmaps.transforms.BeamDepthd")
        if self.labels is not None and bool((self.labels < 0).any()):
            raise ValueError("labels must be 0 (none) or positive")
