"""What items to draw for remember of themselves, and new anatomy that follows from an item's seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.transforms import MapTransform, Transform

from monai_bmaps.geometry import Beam, LinearBeam, SectorBeam
from monai_bmaps.transforms.anatomy import RandAnatomyDeformd


class DrawnFromd(MapTransform):  # type: ignore[misc]
    """Note what an item is made from, before it is loaded: files with their SHA-256, beam, patient and spacing.

    It goes under ``drawn_from`` as JSON, which batches can hold: ``{"label": {"path": ..., "sha256": ...}, "beam":
    {...}, "patient": ..., "spacing": ...}``, so that the item can be made again.

    Args:
        keys: paths of files; those an item lacks are skipped.
        beam: one beam for all items; ``None``: each item's own, if it has one.
    """

    def __init__(self, keys: Sequence[str], beam: Beam | Mapping[str, Any] | None = None) -> None:
        super().__init__(keys, allow_missing_keys=True)
        self.beam = beam

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with its source."""
        item = dict(data)
        paths = {key: Path(item[key]) for key in self.keys if isinstance(item.get(key), (str, Path))}
        source: dict[str, Any] = {
            key: {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for key, path in paths.items()
        }
        beam = self.beam if self.beam is not None else item.get("beam")
        if beam is not None:
            source["beam"] = beam.to_dict() if isinstance(beam, (LinearBeam, SectorBeam)) else dict(beam)
        told = {"patient": item.get("patient", item.get("group")), "spacing": item.get("spacing")}
        source |= {key: value for key, value in told.items() if value is not None}
        item["drawn_from"] = json.dumps(source)
        return item


class SeededAnatomyd(Transform):  # type: ignore[misc]
    """Deform an item's label map by :class:`RandAnatomyDeformd`, as its own seed says.

    Under ``anatomy`` it is told whether it was ``"deformed"``, or stays ``"as it was"`` where no field was plausible.

    Args:
        key: the label map ``(1, H, W)``.
        seed_key: of the seed.
    """

    def __init__(self, key: str = "label", seed_key: str = "seed") -> None:
        self.key = key
        self.seed_key = seed_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item with new anatomy.

        Raises:
            KeyError: an item without a seed.
            ValueError: an item with an image, which would show the anatomy that was.
        """
        if self.seed_key not in data:
            raise KeyError(f"new anatomy needs the item's {self.seed_key!r}; list items with load_datalist")
        deform = RandAnatomyDeformd(self.key).set_random_state(seed=int(data[self.seed_key]))
        item = deform(data)
        found = len(deform.anatomy.refusals) < deform.anatomy.attempts
        return {**item, "anatomy": "deformed" if found else "as it was"}
