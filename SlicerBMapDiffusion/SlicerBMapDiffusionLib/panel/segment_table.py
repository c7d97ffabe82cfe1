"""The table in which the user says which segment is which class of the model, and which covers which."""

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib.models.class_table import ClassTable


class SegmentTable:
    """Shows a :class:`ClassTable` in a QTableWidget and tells of the user's changes.

    Args:
        widget: the QTableWidget.
        changed: called with the new table after the user changed it.
    """

    def __init__(self, widget: Any, changed: Callable[[ClassTable], None]) -> None:
        self.widget, self.changed = widget, changed
        self.table = ClassTable()
        self.classes: tuple[str, ...] = ()
        self.names: dict[str, str] = {}
        self.choices: list[Any] = []
        widget.setColumnCount(2)
        widget.setHorizontalHeaderLabels([_("Segment"), _("Structure of the model")])
        widget.verticalHeader().setVisible(False)
        header = widget.horizontalHeader()
        for column in (0, 1):
            header.setSectionResizeMode(column, qt.QHeaderView.Stretch)

    def show(self, table: ClassTable, segmentation: Any, classes: tuple[str, ...]) -> None:
        """Show the table; rows are only made anew where something else is to be seen."""
        held: Any = segmentation.GetSegmentation() if segmentation else None
        rows = table.rows if held is not None else ()
        segments = [held.GetSegment(identifier) for identifier, _name in rows]
        names = {identifier: segment.GetName() for (identifier, _name), segment in zip(rows, segments, strict=True)}
        if (table, classes, names) == (self.table, self.classes, self.names):
            return
        self.table, self.classes, self.names = table, classes, names
        chosen = self.widget.currentRow()
        self.choices = []
        self.widget.setRowCount(0)
        self.widget.setRowCount(len(rows))
        for row, ((identifier, name), segment) in enumerate(zip(rows, segments, strict=True)):
            self.widget.setItem(row, 0, _named(segment))
            self.widget.setCellWidget(row, 1, self._choice(identifier, name))
        if 0 <= chosen < len(table.rows):
            self.widget.selectRow(chosen)

    def move(self, by: int) -> None:
        """Draw the chosen segment earlier (negative) or later."""
        row = self.widget.currentRow()
        moved = self.table.moved(row, by)
        if moved != self.table:
            self.changed(moved)
            self.widget.selectRow(row + by)

    def _choice(self, identifier: str, name: str) -> Any:
        choice = qt.QComboBox()
        choice.addItem(_("(left out)"))
        for known in self.classes:
            choice.addItem(known)
        choice.setCurrentIndex(self.classes.index(name) + 1 if name in self.classes else 0)
        choice.setToolTip(
            _("What this segment is for the model. Segments that are left out are drawn as other tissue.")
        )
        choice.connect("currentIndexChanged(int)", lambda index, segment=identifier: self._chosen(segment, index))
        self.choices.append(choice)
        return choice

    def _chosen(self, segment: str, index: int) -> None:
        self.changed(self.table.with_class(segment, self.classes[index - 1] if index > 0 else ""))


def _named(segment: Any) -> Any:
    swatch = qt.QPixmap(14, 14)
    swatch.fill(qt.QColor.fromRgbF(*segment.GetColor()))
    item = qt.QTableWidgetItem(segment.GetName())
    item.setIcon(qt.QIcon(swatch))
    return item
