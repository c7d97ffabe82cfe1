"""Draw the documentation's slice views: each sample phantom, and what its shipped model makes of its segments.

From tests/, in the environment with slicer-core; ``BMAP_WORKER_PYTHON`` is an interpreter with monai_bmaps:

    BMAP_WORKER_PYTHON=../.venv/bin/python python -m slicer_module.draw_slice_views ../SlicerBMapDiffusion/Screenshots
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "SlicerBMapDiffusion"))

from slicer_module import headless  # noqa: E402
from slicer_module.slice_view import SliceView, write_picture  # noqa: E402

MODELS = {"heart": "cardiac_bmap_sdm", "thyroid": "thyroid_bmap_sdm"}
COLOURS = ((0.95, 0.45, 0.35), (0.45, 0.85, 0.5), (0.45, 0.65, 1.0))
CAPTION = "drawn by the test harness"


def draw(application: Any, name: str, path: Path) -> None:
    """One phantom: its own image to the left, the synthetic one in its place to the right, both with the segments."""
    from SlicerBMapDiffusionLib import scene
    from SlicerBMapDiffusionLib.geometry.frames import FrameSize
    from SlicerBMapDiffusionLib.models.bundles import read_model
    from SlicerBMapDiffusionLib.models.mapping import guess_classes
    from SlicerBMapDiffusionLib.scene import sample_data

    model = read_model(ROOT / "bundles" / MODELS[name])
    volume, segmentation = sample_data.load(name)
    frame = scene.frame_from_slices(volume, FrameSize(*model.image_size, *model.spacing_mm))
    guessed = guess_classes(scene.segments_of(segmentation), model.classes)
    mapping = {key: model.classes.index(known) + 1 for key, known in guessed.items() if known}
    images = made(model, frame, scene.labels_in_frame(segmentation, mapping, frame))
    node = scene.add_result(images, frame, {"model": model.name}, f"{name} synthetic", volume)
    outline_segments(segmentation, mapping)
    view = SliceView(application, size=(480, 480))
    view.caption(CAPTION)
    view.ruler()
    scene.aim(view.node, frame)
    scene.show(volume)
    left = view.render()
    scene.show(node)
    scene.show_outline(frame, model.beam)
    write_picture(np.concatenate((left, view.render()), axis=1), path)


def made(model: Any, frame: Any, labels: np.ndarray) -> np.ndarray:
    """The synthetic images, by the same job that the module runs."""
    from SlicerBMapDiffusionLib.jobs.job import Request, new_job_folder, write_job

    request = Request(model.name, str(model.folder), frame.to_dict(), model.beam, model.classes, seed=7, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        job = write_job(new_job_folder(Path(folder)), request, labels)
        worker = os.environ["BMAP_WORKER_PYTHON"]
        subprocess.run(job.command(worker), cwd=job.directory(), check=True, stdout=subprocess.DEVNULL)
        return np.asarray(job.read_result().images)


def outline_segments(segmentation: Any, mapping: dict[str, int]) -> None:
    """Only the mapped segments, only their edges."""
    display = segmentation.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetSliceIntersectionThickness(2)
    for identifier in segmentation.GetSegmentation().GetSegmentIDs():
        display.SetSegmentVisibility(identifier, identifier in mapping)
        if identifier in mapping:
            colour = COLOURS[(mapping[identifier] - 1) % len(COLOURS)]
            segmentation.GetSegmentation().GetSegment(identifier).SetColor(*colour)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        application = headless.start(cache)
        # Views are shown by the application's layout, which is not there.
        slicer.util.setSliceViewerLayers = lambda **_: None
        for name in MODELS:
            draw(application, name, folder / f"{name}.png")
            application.close_scene()
            application.remove_views()


if __name__ == "__main__":
    main()
