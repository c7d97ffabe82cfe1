"""The phantoms that come with the extension: registered, loadable, with names and codes that the models know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels


@pytest.fixture
def module(application: Any, scene: Any, tmp_path: Path) -> Iterator[Any]:
    opened = panels.Opened(application, panels.fake_python(tmp_path))
    yield opened.module
    opened.close()


@pytest.mark.parametrize(
    ("name", "shape", "segments", "spacing"),
    [
        ("heart", (13, 128, 128), ["Left ventricle", "Myocardium", "Left atrium"], (1.41, 1.41, 3.0)),
        ("thyroid", (13, 104, 128), ["Thyroid gland", "Carotid artery", "Jugular vein"], (0.39, 0.39, 2.0)),
    ],
)
def test_a_phantom_has_an_image_and_named_segments(
    module: Any, name: str, shape: tuple[int, ...], segments: list[str], spacing: tuple[float, ...]
) -> None:
    import slicer

    from SlicerBMapDiffusionLib import scene
    from SlicerBMapDiffusionLib.scene import sample_data

    volume, segmentation = sample_data.load(name)
    assert slicer.util.arrayFromVolume(volume).shape == shape
    assert volume.GetSpacing() == pytest.approx(spacing)
    assert [segment.name for segment in scene.segments_of(segmentation)] == segments
    assert all("SCT^" in segment.terminology for segment in scene.segments_of(segmentation))


def test_image_and_segments_lie_on_one_grid_face_to_the_front(module: Any) -> None:
    import slicer
    import vtk

    from SlicerBMapDiffusionLib import scene
    from SlicerBMapDiffusionLib.scene import sample_data

    volume, segmentation = sample_data.load("heart")
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix)[:3, :3], np.diag([-1.41, -1.41, 3.0]))
    frame = scene.frame_from_slices(volume)
    labels = scene.labels_in_frame(segmentation, {"Segment_1": 1, "Segment_2": 2, "Segment_3": 3}, frame)[0]
    image = scene.image_in_frame(volume, frame)[0]
    assert image[labels == 1].mean() < 0.7 * image[labels == 2].mean()
    depth = [np.argwhere(labels == label)[:, 0].mean() for label in (1, 3)]
    assert depth[0] < depth[1]


def test_both_are_registered_with_a_thumbnail_and_load_without_a_network(module: Any, scene: Any) -> None:
    import SampleData

    module.register_sample_data()
    sources = SampleData.SampleDataLogic.sources
    assert [source["sampleName"] for source in sources] == [
        "Heart phantom (B-map diffusion)",
        "Thyroid phantom (B-map diffusion)",
    ]
    for source in sources:
        assert Path(source["thumbnailFileName"]).read_bytes()[:4] == b"\x89PNG"
        volume, _segmentation = source["customDownloader"](source)
        assert volume.GetScene() is scene
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_registration_waits_until_slicer_has_started(module: Any) -> None:
    import slicer

    parent = type("Parent", (), {})()
    module.SlicerBMapDiffusion(parent)
    assert parent.title == "B-Map Diffusion"
    assert parent.categories == ["Ultrasound"]
    assert ("startupCompleted()", module.register_sample_data) in slicer.app.connected


def test_a_phantom_that_is_missing_leaves_the_scene_as_it_was(
    module: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from SlicerBMapDiffusionLib import places
    from SlicerBMapDiffusionLib.scene import sample_data

    folder = tmp_path / "SampleData"
    shutil.copytree(places.resources_folder() / "SampleData", folder)
    (folder / "heart.seg.nrrd").unlink()
    monkeypatch.setattr(places, "resources_folder", lambda: tmp_path)
    before = scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    with pytest.raises(OSError, match="install the extension again"):
        sample_data.load("heart")
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == before
