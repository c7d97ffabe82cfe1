"""SegThy as it was downloaded: tracked 3D ultrasound of the thyroid of volunteers, and its labels.

``US_volunteer_dataset/ground_truth_data/US/{volunteer}_{physician}_{n}_{left|right}_US.nii`` with
``ground_truth_data/US_thyroid_label/{volunteer}_{physician}_{n}_{left|right}.nii``.
Krönke, Eilers et al. 2022 (PLoS ONE), https://doi.org/10.1371/journal.pone.0268550.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from monai_bmaps.data.split import Split, select_split

CLASSES = {1: "thyroid", 2: "left carotid", 3: "left jugular", 4: "right carotid", 5: "right jugular"}
COLLAPSED = {1: "thyroid", 2: "carotid", 3: "jugular"}
TERMS = (
    "SegThy, for research; read the terms on https://www.cs.cit.tum.de/camp/publications/segthy-dataset/. Cite: "
    "Krönke, Eilers et al., PLoS ONE 17(7), e0268550, 2022, doi 10.1371/journal.pone.0268550."
)

_NAME = re.compile(r"(?P<stem>(?P<volunteer>[^_]+)_.+_(?P<side>left|right))(?:_US)?(?:_label)?\.nii(?:\.gz)?", re.I)


def list_items(root: str | Path, split: Split | Literal["all"] = "all") -> list[dict[str, Any]]:
    """Volumes of SegThy and their labels. No pixel is read.

    Args:
        root: the downloaded folder, or ``US_volunteer_dataset`` or ``ground_truth_data`` in it.
        split: ``"training"``, ``"validation"``, ``"test"`` or ``"all"``, by volunteer.

    Returns:
        Dictionaries with ``name``, ``source``, ``group`` (the volunteer), ``view`` (``"left"`` or ``"right"``) and the
        paths under ``image`` and, where it exists, ``label``; sorted by name.

    Raises:
        FileNotFoundError: no folder ``ground_truth_data/US``, or no volume in it.
        ValueError: a volume's name that is not SegThy's, or one volume twice.
    """
    root = Path(root)
    base = _base(root)
    labels = _named(base / "US_thyroid_label")
    items = []
    for stem, (path, match) in sorted(_named(base / "US").items()):
        item = {"name": stem, "source": "segthy", "group": match["volunteer"], "view": match["side"].lower()}
        item["image"] = str(path)
        if stem in labels:
            item["label"] = str(labels[stem][0])
        items.append(item)
    if not items:
        raise FileNotFoundError(f"{base / 'US'} holds no .nii or .nii.gz file; is the download complete?")
    return select_split(items, split)


def _base(root: Path) -> Path:
    places = [root / place for place in (".", "ground_truth_data", "US_volunteer_dataset/ground_truth_data")]
    places += [root / "US_data" / "US_volunteer_dataset" / "ground_truth_data"]
    for place in places:
        if (place / "US").is_dir():
            return place
    raise FileNotFoundError(
        f"{root} has no US_volunteer_dataset/ground_truth_data/US; give the folder that US_data was unpacked to"
    )


def _named(folder: Path) -> dict[str, tuple[Path, re.Match[str]]]:
    """Volumes or labels by what their names share: ``001_P1_1_left``."""
    found: dict[str, tuple[Path, re.Match[str]]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.lower().endswith((".nii", ".nii.gz")):
            continue
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path} is not named volunteer_physician_number_left_US.nii (or right); rename it")
        if match["stem"] in found:
            raise ValueError(f"{folder} holds {match['stem']} twice: {found[match['stem']][0].name} and {path.name}")
        found[match["stem"]] = (path, match)
    return found
