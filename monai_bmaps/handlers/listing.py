"""``dataset.json`` of a synthetic data set, made of what its PNGs say, and a report of what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from monai_bmaps.data.folder import SYNTHETIC
from monai_bmaps.data.split import Split
from monai_bmaps.files import replacing
from monai_bmaps.provenance import Record, read_record

_SPLITS = get_args(Split)


class DatasetList:
    """Lists the images of one split that are there; other splits' lists stay.

    Each entry has ``image``, ``label`` and ``sector`` (paths relative to the list), ``beam`` in pixels, ``patient``:
    that of the label map it was drawn for, whose split it must share; ``synthetic`` and its ``provenance``.

    Args:
        names: of all images of the split, those of other processes too.
        split: which list they go to.
        classes: names of the labels 1, 2, ...; none: the model has no labels.
        name: of the data set.

    Raises:
        ValueError: a split that data sets do not have.
    """

    def __init__(self, names: Sequence[str], split: str, classes: Sequence[str], name: str) -> None:
        if split not in _SPLITS:
            raise ValueError(
                f"a data set has the lists {', '.join(_SPLITS)}, not {split!r}; rename it in the dataset.json that is "
                "drawn for"
            )
        self.names = tuple(names)
        self.split = split
        self.classes = tuple(classes)
        self.name = name
        self.report = f"report_{split}.md"
        self.maps = ("label", "sector") if self.classes else ("sector",)

    def write(self, folder: Path, settings: Mapping[str, str], screen: str | None) -> tuple[int, int]:
        """Write list and report of what is there; return how many images are listed, and how many kept out.

        Args:
            folder: of the data set.
            settings: what the records of its images must say; others are leftovers and are not listed.
            screen: what images were compared with, if they were.
        """
        found = None
        while found != (found := self._found(folder, settings)):  # another process may have ended meanwhile
            listed, flagged = found
            with replacing(folder / "dataset.json") as partial:
                partial.write_text(json.dumps(self._content(folder, listed), indent=1))
            with replacing(folder / self.report) as partial:
                partial.write_text(self._report(listed, flagged, screen))
        return len(listed), len(flagged)

    def _found(self, folder: Path, settings: Mapping[str, str]) -> tuple[dict[str, Record], dict[str, Record]]:
        """Records of the images that are listed, and of those kept out."""
        kinds: list[dict[str, Record]] = []
        for kind in ("images", "flagged"):
            told = {name: read_record(folder / kind / f"{name}.png") or {} for name in self.names}
            kinds.append(
                {name: record for name, record in told.items() if record and settings.items() <= record.items()}
            )
        listed, flagged = kinds
        return listed, {name: record for name, record in flagged.items() if name not in listed and "Flagged" in record}

    def _content(self, folder: Path, listed: Mapping[str, Record]) -> dict[str, Any]:
        lists = {split: _listed_before(folder, split) for split in _SPLITS}
        lists[self.split] = [self._entry(name, record) for name, record in listed.items()]
        return {
            "name": self.name,
            "source": self.name,
            "generator": SYNTHETIC,
            "description": "synthetic ultrasound: row 0 nearest the probe, square pixels, beams in pixels",
            "synthetic": True,
            "modality": {"0": "US"},
            "labels": {"0": "background", **{str(k): name for k, name in enumerate(self.classes, start=1)}},
            **{f"num{split.capitalize()}": len(lists[split]) for split in _SPLITS},
            **lists,
        }

    def _entry(self, name: str, record: Record) -> dict[str, Any]:
        source = json.loads(record.get("Source", "{}"))
        told = {key: value for key, value in record.items() if key not in ("Frame", "Source")}
        return {
            "name": name,
            "patient": source.get("patient", Path(record.get("Label", name)).stem),
            "image": f"images/{name}.png",
            **{kind: f"{kind}s/{name}.png" for kind in self.maps},
            **json.loads(record.get("Frame", "{}")),
            "synthetic": True,
            "provenance": {**told, "Source": {key: value for key, value in source.items() if key != "beam"}},
        }

    def _report(self, listed: Mapping[str, Record], flagged: Mapping[str, Record], screen: str | None) -> str:
        some = next(iter({**listed, **flagged}.values()), {})
        keys = ("Model", "Weights", "Attenuation in dB", "Steps", "Guidance", "Strength", "Precision")
        lines = [
            f"# {self.name}: synthetic ultrasound",
            "",
            f"{len(listed)} of {len(self.names)} images of the {self.split} split are listed; "
            f"{sum('Anatomy' in record for record in listed.values())} are for label maps with new anatomy.",
            "",
            *(f"* {key}: {some[key]}" for key in keys if key in some),
            "* Every PNG says what it is: `python -m monai_bmaps.provenance verify images/*.png`",
            "",
        ]
        if screen is None:
            return "\n".join([*lines, "Not compared with the images that the model was trained on.", ""])
        lines += [f"Compared with {screen}: {len(flagged)} kept out, in `flagged/`.", ""]
        table = [f"| {name} | {record['Flagged']} |" for name, record in flagged.items()]
        return "\n".join([*lines, *(["| image | why |", "|---|---|", *table, ""] if table else [])])


def _listed_before(folder: Path, split: str) -> list[dict[str, Any]]:
    """What the list had under another split, as far as it is still there."""
    path = folder / "dataset.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    return [entry for entry in content.get(split, []) if (folder / entry["image"]).is_file()]
