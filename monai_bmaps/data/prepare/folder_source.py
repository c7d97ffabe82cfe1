"""Any folder of frames, opened one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_bmaps.data import folder
from monai_bmaps.data.prepare.frames import Frame, Item, LeftOut
from monai_bmaps.data.prepare.orientation import AS_PLACED, Orientation
from monai_bmaps.data.prepare.pairs import item_of, label_of, labelled_frame
from monai_bmaps.data.prepare.values import LabelRule
from monai_bmaps.geometry import BeamKind


@dataclass(frozen=True)
class FolderSource:
    """A folder of frames, with label maps of the same names beside them or without labels.

    Args:
        root: the folder.
        name: of the data set, lower case; part of the split's hash.
        images: sub-folder of the frames; ``"."`` for the folder itself.
        labels: sub-folder of the label maps; ``None`` for unlabelled frames.
        sectors: sub-folder of field-of-view masks; ``None``: seen from the grey values.
        group_pattern: found in a name, its match or first parenthesis is the patient, sweep or exam.
        group_column: column of ``index.csv`` that names it instead.
        view_column: column of ``index.csv`` that names the view.
        spacing_column: column of ``index.csv`` with the side of a pixel in millimetres.
        spacing: (row, column) in millimetres of every frame, where the files state none.
        class_names: what the labels mean; labels that are not among them are refused.
        rule: which labels are found and what becomes of them; ``None``: those of ``class_names``.
        window: values that become 0 and 255; ``None``: they lie in [0, 255].
        orientation: the user's word about array axes.
        beam: which beam to fit.
        terms: licence and citation, for the report.

    Raises:
        ValueError: a pixel size given twice.
    """

    root: Path
    name: str = "folder"
    images: str = "images"
    labels: str | None = "labels"
    sectors: str | None = None
    group_pattern: str | None = None
    group_column: str | None = None
    view_column: str | None = None
    spacing_column: str | None = None
    spacing: tuple[float, float] | None = None
    class_names: Mapping[int, str] = field(default_factory=dict)
    rule: LabelRule | None = None
    window: tuple[float, float] | None = None
    orientation: Orientation = AS_PLACED
    beam: BeamKind = "auto"
    terms: str = "not stated; see where the data came from"
    private: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.spacing is not None and self.spacing_column is not None:
            raise ValueError("give the pixel size or its column in index.csv, not both")

    @property
    def classes(self) -> Mapping[int, str]:
        """What the labels mean, if anybody said so."""
        return self.class_names

    def items(self) -> list[Item]:
        """Every frame."""
        columns = [column for column in (self.view_column, self.spacing_column) if column is not None]
        found = folder.list_items(
            self.root,
            source=self.name,
            group_pattern=self.group_pattern,
            group_column=self.group_column,
            images=self.images,
            labels=self.labels,
            sectors=self.sectors,
            suffixes=folder.CONVERTIBLE,
            columns=columns,
            incomplete="keep",
        )
        return [item_of(each) for each in found]

    def frames(self, item: Item, scratch: Path) -> Iterator[Frame | LeftOut]:
        """The frame."""
        if self.labels is not None:
            label_of(item)
        rule = self.rule or LabelRule(known=frozenset(self.class_names) or None)
        attributes = {} if self.view_column is None else {"view": item.found[self.view_column]}
        yield labelled_frame(item, self.orientation, rule, attributes, self._spacing_of(item), self.window)

    def _spacing_of(self, item: Item) -> tuple[float, float] | None:
        if self.spacing_column is None:
            return self.spacing
        text = item.found[self.spacing_column]
        try:
            side = float(text)
        except ValueError:
            side = -1.0
        if not 0 < side < float("inf"):
            raise ValueError(f"{item.files[0]}: its {self.spacing_column} in index.csv is {text!r}, no pixel size")
        return side, side
