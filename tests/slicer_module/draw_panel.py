"""Pictures of the panel for the documentation: ``python -m slicer_module.draw_panel FOLDER [STATE ...]`` in tests/.

They show the stand-in for PythonQt, not the application, and say so. ``BMAP_WORKER_PYTHON`` draws the images.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "SlicerBMapDiffusion"))

from slicer_module import headless, panels, pythonqt
from slicer_module.pythonqt import qt

_WIDTH = 470
_CAPTION = "test-harness render"


def main(folder: Path, names: list[str]) -> None:
    """Write a picture of each of these states, of all where none is named."""
    folder.mkdir(parents=True, exist_ok=True)
    application = headless.start(tempfile.mkdtemp())
    pythonqt.application.setFont(qt.QFont("DejaVu Sans", 9))
    worker = os.environ["BMAP_WORKER_PYTHON"]
    for name in names or STATES:
        state = STATES[name]
        opened = panels.Opened(application, worker)
        opened.widget.parent.resize(_WIDTH, 100)
        shoot = _shooter(opened, folder / f"{name}.png")
        state(opened, shoot)
        opened.close()
        application.close_scene()
        application.remove_views()


def _empty(opened: panels.Opened, shoot: Callable[[], None]) -> None:
    shoot()


def _ready(opened: panels.Opened, shoot: Callable[[], None]) -> None:
    opened.load("heart")
    shoot()


def _drawing(opened: panels.Opened, shoot: Callable[[], None]) -> None:
    opened.load("heart")
    opened.ui.generateButton.click()
    opened.until(lambda: "step 16 " in opened.status or not opened.panel.logic.busy, 300)
    shoot()


def _done(opened: panels.Opened, shoot: Callable[[], None]) -> None:
    opened.load("thyroid")
    opened.parameters.output_kind = type(opened.parameters.output_kind).SWEEP
    opened.parameters.sweep_count = 2
    opened.parameters.steps = 4
    opened.ui.generateButton.click()
    opened.until(lambda: not opened.panel.logic.busy, 300)
    opened.ui.resultsSection.collapsed = False
    shoot()


def _details(opened: panels.Opened, shoot: Callable[[], None]) -> None:
    volume, _segmentation = opened.load("heart")
    parameters = opened.parameters
    parameters.volume = volume
    parameters.frame_kind = type(parameters.frame_kind).SLICES
    parameters.beam_source = type(parameters.beam_source).IMAGE
    parameters.own_size, parameters.use_guidance = True, True
    for section in (opened.ui.anatomySection, opened.ui.outputSection):
        section.collapsed = True
    for section in (opened.ui.beamSection, opened.ui.advancedSection):
        section.collapsed = False
    shoot()


def _failed(opened: panels.Opened, shoot: Callable[[], None]) -> None:
    opened.load("heart")
    details = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 512.00 MiB free."
    hint = "The graphics card has too little free memory. Close other programs that use it, or choose the device CPU."
    opened.panel.on_failed(hint, details)
    shoot()


STATES: dict[str, Callable[[panels.Opened, Callable[[], None]], None]] = {
    "empty": _empty,
    "panel": _ready,
    "drawing": _drawing,
    "done": _done,
    "details": _details,
    "failed": _failed,
}


def _shooter(opened: panels.Opened, path: Path) -> Callable[[], None]:
    def shoot() -> None:
        window = opened.widget.parent
        opened.settle()
        window.show()
        for _ in range(3):  # wrapped labels know their height only after they were laid out once
            pythonqt.process_events()
            window.resize(_WIDTH, window.layout().heightForWidth(_WIDTH) + 12)
        pythonqt.grab(window, str(path))
        _caption(path)
        print(path)

    return shoot


def _caption(path: Path) -> None:
    picture = qt.QImage(str(path))
    painter = qt.QPainter(picture)
    painter.setPen(qt.QColor(150, 150, 150))
    painter.setFont(qt.QFont("DejaVu Sans", 7))
    corner = picture.rect().adjusted(0, 0, -6, -2)
    painter.drawText(corner, int(qt.Qt.AlignRight | qt.Qt.AlignBottom), _CAPTION)
    painter.end()
    picture.save(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
