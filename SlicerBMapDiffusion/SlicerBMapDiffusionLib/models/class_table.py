"""Which segment is which class of the model, in the order in which they are drawn: later rows cover earlier ones.

The table travels as text in the parameter node, so that it is saved with the scene.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from SlicerBMapDiffusionLib.models.mapping import SegmentInfo, guess_classes


@dataclass(frozen=True)
class ClassTable:
    """Rows of (segment's id, class's name); an empty name leaves the segment out.

    Args:
        model: the model whose classes these are.
        segmentation: the id of the segmentation node.
        rows: (segment's id, class's name) in drawing order.
    """

    model: str = ""
    segmentation: str = ""
    rows: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_text(cls, text: str) -> ClassTable:
        """Read the table back; text that is no table gives an empty one, which is then guessed anew."""
        try:
            data = json.loads(text)
            rows = tuple((str(segment), str(name)) for segment, name in data["rows"])
            return cls(str(data["model"]), str(data["segmentation"]), rows)
        except (ValueError, KeyError, TypeError):
            return cls()

    def to_text(self) -> str:
        """JSON that :meth:`from_text` reads back."""
        return json.dumps({"model": self.model, "segmentation": self.segmentation, "rows": self.rows})

    def updated(
        self, model: str, segmentation: str, segments: Sequence[SegmentInfo], classes: Sequence[str]
    ) -> ClassTable:
        """The table for these segments: choices are kept, new segments guessed, vanished ones dropped.

        Another model or segmentation starts anew, the last class first: a model names a cavity before its wall, and a
        wall that was segmented as a filled shape must not cover it.
        """
        guessed = guess_classes(segments, classes)
        if (model, segmentation) != (self.model, self.segmentation):
            rank = {name: -index for index, name in enumerate(classes)}
            rows = [(segment.id, guessed.get(segment.id) or "") for segment in segments]
            return ClassTable(model, segmentation, tuple(sorted(rows, key=lambda row: rank.get(row[1], -len(classes)))))
        present = {segment.id for segment in segments}
        kept = [(segment, name if name in classes else "") for segment, name in self.rows if segment in present]
        known = {segment for segment, _ in kept}
        new = [(segment.id, guessed.get(segment.id) or "") for segment in segments if segment.id not in known]
        return replace(self, rows=(*kept, *new))

    def with_class(self, segment: str, name: str) -> ClassTable:
        """The table with another class for one segment."""
        return replace(self, rows=tuple((other, name if other == segment else old) for other, old in self.rows))

    def moved(self, index: int, by: int) -> ClassTable:
        """The table with one row moved down by this many rows (up where negative); at the ends it stays."""
        rows = list(self.rows)
        target = index + by
        if not (0 <= index < len(rows) and 0 <= target < len(rows)):
            return self
        rows.insert(target, rows.pop(index))
        return replace(self, rows=tuple(rows))

    def labels(self, classes: Sequence[str]) -> dict[str, int]:
        """Segment's id to label value (1 for the first class), in drawing order, without those left out."""
        return {segment: classes.index(name) + 1 for segment, name in self.rows if name in classes}
