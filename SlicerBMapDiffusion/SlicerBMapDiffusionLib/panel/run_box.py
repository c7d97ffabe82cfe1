"""The part of the panel below the button: progress, preview, and the sentence that says what happened."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

_PREVIEW_PIXELS = 192
_BAD = "color: #c0392b;"


class RunBox:
    """Shows how a drawing goes on.

    Args:
        ui: the panel's widgets by name.

    Attributes:
        failed: whether the sentence tells of a failure, which stays until the next attempt.
    """

    def __init__(self, ui: Any) -> None:
        self.ui, self.failed = ui, False

    @property
    def text(self) -> str:
        """The sentence."""
        return str(self.ui.statusLabel.text)

    def say(self, text: str) -> None:
        """Show a sentence."""
        self._show(text, failed=False)

    def fail(self, text: str, details: str) -> None:
        """Show what happened in red, with the program's last lines below."""
        self.rest()
        self._show(text, failed=True)
        self.ui.logText.setPlainText(details)
        self.ui.logText.setVisible(bool(details))

    def progress(self, fraction: float | None, text: str) -> None:
        """Show how far it is; None is a bar that only moves. What failed meanwhile is not written over."""
        self.ui.progressBar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.ui.progressBar.setValue(round(1000 * fraction))
        if not self.failed:
            self.say(text)

    def preview(self, image: Any) -> None:
        """Show a grey image (rows, columns), uint8, as large as it is well seen."""
        self.ui.previewLabel.setPixmap(_pixmap(image))
        self.ui.previewLabel.setVisible(True)

    def busy(self, jobs: int) -> None:
        """Show the bar and Cancel while jobs run or wait."""
        self.ui.progressBox.setVisible(jobs > 0)
        self.ui.generateButton.setText(_("Generate another") if jobs else _("Generate"))

    def rest(self) -> None:
        """Nothing is being drawn: no preview, no old failure."""
        self.ui.previewLabel.setVisible(False)
        self.ui.progressBar.setRange(0, 0)
        self.forget()

    def forget(self) -> None:
        """Take the sentence and the program's lines away."""
        self.ui.logText.setVisible(False)
        self.say("")

    def _show(self, text: str, failed: bool) -> None:
        self.failed = failed
        self.ui.statusLabel.setStyleSheet(_BAD if failed else "")
        self.ui.statusLabel.setText(text)


def _pixmap(image: Any) -> Any:
    """By way of PGM, since PythonQt takes no buffers."""
    rows, columns = image.shape
    pixmap = qt.QPixmap()
    pixmap.loadFromData(b"P5 %d %d 255\n" % (columns, rows) + image.tobytes(), "PGM")
    return pixmap.scaled(_PREVIEW_PIXELS, _PREVIEW_PIXELS, qt.Qt.KeepAspectRatio, qt.Qt.SmoothTransformation)
