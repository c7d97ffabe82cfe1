"""CAMUS frames and sequences, opened one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_bmaps.data import camus
from monai_bmaps.data.prepare.frames import Frame, Item, LeftOut
from monai_bmaps.data.prepare.orientation import AS_PLACED, Orientation, frame_layout
from monai_bmaps.data.prepare.pairs import check_same, item_of, labelled_frame
from monai_bmaps.data.prepare.reading import open_sequence
from monai_bmaps.data.prepare.values import LabelRule, grey_of
from monai_bmaps.geometry import BeamKind


@dataclass(frozen=True)
class CamusSource:
    """CAMUS, as :func:`monai_bmaps.data.camus.list_items` finds it.

    Args:
        root: the downloaded folder.
        views: of ``"2CH"`` and ``"4CH"``.
        phases: of ``"ED"`` and ``"ES"``.
        sequences: also the frames between the phases, labelled where their labels exist.
        official_split: follow the official lists where they are there.
        orientation: the user's word about array axes.
        beam: which beam to fit.
    """

    root: Path
    views: tuple[str, ...] = camus.VIEWS
    phases: tuple[str, ...] = camus.PHASES
    sequences: bool = False
    official_split: bool = True
    orientation: Orientation = AS_PLACED
    beam: BeamKind = "sector"
    name: str = field(default="camus", init=False)
    terms: str = field(default=camus.TERMS, init=False)
    private: bool = field(default=False, init=False)

    @property
    def classes(self) -> Mapping[int, str]:
        """What the labels mean."""
        return camus.CLASSES

    def items(self) -> list[Item]:
        """Every frame and, if asked for, sequence."""
        found = camus.list_items(
            self.root,
            views=self.views,
            phases=self.phases,
            sequences=self.sequences,
            official_split=self.official_split,
        )
        return [item_of(each) for each in found]

    def frames(self, item: Item, scratch: Path) -> Iterator[Frame | LeftOut]:
        """The frame, or the frames of a sequence without its ends, which are the stills of ED and ES."""
        found = item.found
        if "split" in found and found["split"] is None:
            raise ValueError(
                f"{item.group} is in none of the official lists; add it to one, or prepare with --project-split"
            )
        rule = LabelRule(known=frozenset(self.classes))
        attributes = {key: found[key] for key in ("view", "phase", "quality") if key in found}
        if found["phase"] != "half_sequence":
            yield labelled_frame(item, self.orientation, rule, attributes)
            return
        yield from self._sequence(item, rule, attributes)

    def _sequence(self, item: Item, rule: LabelRule, attributes: dict[str, Any]) -> Iterator[Frame | LeftOut]:
        image = open_sequence(Path(item.found["image"]))
        label = open_sequence(Path(item.found["label"]), label=True) if "label" in item.found else None
        layout = frame_layout(image.affine, self.orientation, image.stack)
        if label is not None:
            check_same(image, layout, label, frame_layout(label.affine, self.orientation, label.stack))
        last = image.array.shape[2] - 1
        labels = label.planes(layout) if label is not None else None
        for index, plane in enumerate(image.planes(layout)):
            values = next(labels) if labels is not None else None
            name = f"{item.name}_{index:03d}"
            if index in (0, last) and set(self.phases) == set(camus.PHASES):
                yield LeftOut(name, "end of a sequence: the same frame as the still of ED or ES")
                continue
            yield Frame(
                name=name,
                image=grey_of(plane, image.path),
                label=None if values is None or label is None else rule.apply(values, label.path),
                spacing=image.plane_spacing(layout),
                attributes=attributes,
            )
