"""SegThy's volumes, cut into frames along the sweep, a slab of slices in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from monai_bmaps.data import segthy
from monai_bmaps.data.prepare.frames import Frame, Item, LeftOut
from monai_bmaps.data.prepare.orientation import AS_PLACED, Orientation, volume_layout
from monai_bmaps.data.prepare.pairs import check_same, item_of, label_of
from monai_bmaps.data.prepare.reading import open_volume
from monai_bmaps.data.prepare.values import LabelRule, grey_of
from monai_bmaps.geometry import BeamKind

_LEAST_CONTENT = 0.01  # share of a slice that must not be black


@dataclass(frozen=True)
class SegThySource:
    """SegThy's volumes, cut into slices along the sweep.

    Args:
        root: the downloaded folder.
        classes_kept: ``"all"`` five; ``"collapsed"``: thyroid, carotid, jugular, whichever side; ``"thyroid"`` only.
        every: keep every n-th slice.
        window: values of the volumes that become 0 and 255; ``None``: they lie in [0, 255].
        orientation: the user's word about array axes.
        beam: which beam to fit.

    Raises:
        ValueError: ``every`` below 1.
    """

    root: Path
    classes_kept: Literal["all", "collapsed", "thyroid"] = "all"
    every: int = 1
    window: tuple[float, float] | None = None
    orientation: Orientation = AS_PLACED
    beam: BeamKind = "linear"
    name: str = field(default="segthy", init=False)
    terms: str = field(default=segthy.TERMS, init=False)
    private: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}; 1 keeps every slice")

    @property
    def classes(self) -> Mapping[int, str]:
        """What the labels mean."""
        return {"all": segthy.CLASSES, "collapsed": segthy.COLLAPSED, "thyroid": {1: "thyroid"}}[self.classes_kept]

    @property
    def rule(self) -> LabelRule:
        """What becomes of SegThy's five labels."""
        mapping = {
            "all": {value: value for value in segthy.CLASSES},
            "collapsed": {1: 1, 2: 2, 3: 3, 4: 2, 5: 3},
            "thyroid": {1: 1, 2: 0, 3: 0, 4: 0, 5: 0},
        }
        return LabelRule(mapping=mapping[self.classes_kept])

    def items(self) -> list[Item]:
        """Every volume."""
        return [item_of(each) for each in segthy.list_items(self.root)]

    def frames(self, item: Item, scratch: Path) -> Iterator[Frame | LeftOut]:
        """Slices that show the thyroid, as the paper took them."""
        image = open_volume(Path(item.found["image"]), scratch / "image")
        label = open_volume(label_of(item), scratch / "label")
        layout = volume_layout(image.affine, self.orientation)
        check_same(image, layout, label, volume_layout(label.affine, self.orientation))
        pairs = zip(image.planes(layout), label.planes(layout), strict=True)
        for index, (plane, values) in enumerate(pairs):
            name = f"{item.name}_{index:04d}"
            if index % self.every:
                yield LeftOut(name, f"not every {self.every}th slice")
            elif not (values == 1).any():
                yield LeftOut(name, "slice without a thyroid label")
            elif np.count_nonzero(plane) < _LEAST_CONTENT * plane.size:
                yield LeftOut(name, "empty slice")
            else:
                yield Frame(
                    name=name,
                    image=grey_of(plane, image.path, self.window),
                    label=self.rule.apply(values, label.path),
                    spacing=image.plane_spacing(layout),
                    attributes={"view": item.found["view"], "slice": index},
                )
