"""Synthetic images into the scene: where they belong in space, and marked with all that made them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SlicerBMapDiffusionLib.geometry.frames import Frame

_PREFIX = "BMapDiffusion."


def add_result(
    images: NDArray[np.uint8],
    frame: Frame,
    record: Mapping[str, Any],
    name: str,
    beside: Any = None,
    variants: bool = False,
) -> Any:
    """Put images into the scene at their frame; on failure the scene is as it was.

    Args:
        images: (N, rows, columns), uint8; N is the frame's count, or a multiple of it with ``variants``.
        frame: where they lie.
        record: what made them; each entry becomes a node attribute ``BMapDiffusion.<key>``, saved with the scene.
            "request" is what :func:`record_of` reads back; a list "seeds", one for each variant
            or each image, gives every variant its own "seed".
        name: of the volume; made unique.
        beside: the node whose folder in the subject hierarchy the result joins.
        variants: one volume each in a Sequence, instead of one volume.

    Returns:
        The vtkMRMLScalarVolumeNode to show: for variants the one that the sequence browser changes.

    Raises:
        ValueError: the images do not fit the frame.
    """
    volumes = _stacks(images, frame, variants)
    with _all_or_nothing():
        unique = slicer.mrmlScene.GenerateUniqueName(name)
        if not variants:
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", unique)
            _fill(node, volumes[0], frame)
            _mark(node, record)
            made = [node]
        else:
            made = _add_sequence(volumes, frame, dict(record), unique)
            node = made[0]
        _display(node)
        for each in made:
            _file_beside(each, beside)
    return node


def record_of(node: Any) -> dict[str, Any] | None:
    """The request that made this result, for another run; None where the node is no result of ours."""
    text = node.GetAttribute(_PREFIX + "request") if node is not None else None
    try:
        request = json.loads(text) if text else None
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def is_synthetic(node: Any) -> bool:
    """Whether this node is marked as synthetic."""
    return node is not None and node.GetAttribute(_PREFIX + "synthetic") == "true"


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    before = {node.GetID() for node in _nodes()}
    try:
        yield
    except BaseException:
        for node in [node for node in _nodes() if node.GetID() not in before]:
            if node.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(node)
        raise


def _nodes() -> list[Any]:
    nodes = slicer.mrmlScene.GetNodes()
    return [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]


def _stacks(images: NDArray[np.uint8], frame: Frame, variants: bool) -> NDArray[np.uint8]:
    """(volumes, count, rows, columns)."""
    images = np.asarray(images)
    fits = images.ndim == 3 and len(images) > 0 and images.shape[1:] == (frame.rows, frame.columns)
    number = len(images) // frame.count if fits else 0
    if not fits or images.dtype != np.uint8 or number * frame.count != len(images) or (number > 1 and not variants):
        expected = f"{frame.count} x {frame.rows} x {frame.columns}"
        raise ValueError(
            _("Images of {got} do not fit a frame of {expected} (8-bit grey); make them again.").format(
                got=" x ".join(map(str, images.shape)), expected=expected
            )
        )
    return images.reshape(number, frame.count, frame.rows, frame.columns)


def _fill(node: Any, volume: NDArray[np.uint8], frame: Frame) -> None:
    slicer.util.updateVolumeFromArray(node, volume)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(frame.ijk_to_ras))


def _display(node: Any) -> None:
    """The generator's own grey values: no window guessed from an image's contents."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 255)


def _add_sequence(volumes: NDArray[np.uint8], frame: Frame, record: dict[str, Any], name: str) -> list[Any]:
    """The shown volume, the sequence that holds the variants, and the browser that steps through them."""
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(f"{name} variants"))
    sequence.SetIndexName("variant")
    sequence.SetIndexUnit("")
    # The browser's volume takes its attributes from the item it shows: they have to be on every item.
    for index, volume in enumerate(volumes):
        item = slicer.vtkMRMLScalarVolumeNode()
        item.SetName(name)
        _fill(item, volume, frame)
        _mark(item, record | _seed(record, index, len(volumes)))
        sequence.SetDataNodeAtValue(item, str(index + 1))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", scene.GenerateUniqueName(f"{name} browser"))
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetOverwriteProxyName(sequence, False)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    node = browser.GetProxyNode(sequence)
    node.SetName(name)
    _mark(sequence, record)
    return [node, sequence, browser]


def _seed(record: Mapping[str, Any], index: int, count: int) -> dict[str, Any]:
    """The seed of one of ``count`` volumes; "seeds" holds one for each volume, or for each of its images."""
    seeds = record.get("seeds") or []
    return {"seed": seeds[index * (len(seeds) // count)]} if len(seeds) >= count else {}


def _mark(node: Any, record: Mapping[str, Any]) -> None:
    for key, value in {"synthetic": "true", **record}.items():
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
            node.SetAttribute(_PREFIX + key, text)


def _file_beside(node: Any, beside: Any) -> None:
    """Into the same folder: the application gives nodes their items, 0 means that there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None or beside is None:
        return
    item, neighbour = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(beside)
    if item and neighbour:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(neighbour))
