"""CAMUS as it was downloaded: apical 2- and 4-chamber frames of the left heart, in both official layouts.

NIfTI: ``database_nifti/patient0001/patient0001_2CH_ED.nii.gz`` with ``..._ED_gt.nii.gz``, ``..._half_sequence.nii.gz``,
``Info_2CH.cfg`` and, beside it, ``database_split/subgroup_training.txt``. MetaImage, the older one:
``training/patient0001/patient0001_2CH_ED.mhd`` with ``..._ED_gt.mhd``; its ``testing`` folder numbers other patients
from 1 again and has no labels. Leclerc et al. 2019, https://doi.org/10.1109/TMI.2019.2900516.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from monai_bmaps.data.split import Split, select_split

CLASSES = {1: "left-ventricle cavity", 2: "myocardium", 3: "left atrium"}
TERMS = (
    "CAMUS, CC BY-NC-SA 4.0, non-commercial scientific research only. Cite: Leclerc et al., Deep Learning for "
    "Segmentation using an Open Large-Scale Dataset in 2D Echocardiography, IEEE TMI 38(9), 2198-2210, 2019, "
    "doi 10.1109/TMI.2019.2900516."
)
SUFFIXES = (".nii.gz", ".nii", ".mhd", ".mha")
VIEWS = ("2CH", "4CH")
PHASES = ("ED", "ES")

_LISTS: dict[str, Split] = {"training": "training", "validation": "validation", "testing": "test"}
_PATIENT = re.compile(r"patient\d{4}")


def list_items(
    root: str | Path,
    split: Split | Literal["all"] = "all",
    *,
    views: Sequence[str] = VIEWS,
    phases: Sequence[str] = PHASES,
    sequences: bool = False,
    official_split: bool = True,
) -> list[dict[str, Any]]:
    """Frames of CAMUS, with their labels where there are any. No pixel is read.

    Args:
        root: the downloaded folder, or the one that holds the patients' folders.
        split: ``"training"``, ``"validation"``, ``"test"`` or ``"all"``.
        views: of ``"2CH"`` and ``"4CH"``.
        phases: of ``"ED"`` and ``"ES"``; none for sequences only.
        sequences: also list ``half_sequence`` files, which hold the frames from one phase to the other.
        official_split: follow ``subgroup_*.txt`` where there are such lists; otherwise the project's split.

    Returns:
        Dictionaries with ``name``, ``source``, ``group`` (the patient), ``view``, ``phase``, the path under ``image``,
        and where they exist ``label``, ``quality`` (from ``Info_*.cfg``) and ``split`` (the official one; ``None`` for
        a patient that no list names). Patients of the older layout's ``testing`` folder have groups of their own, are
        test, and are listed only where they have labels.

    Raises:
        FileNotFoundError: no patient, or no frame of these views and phases.
        ValueError: an unknown view or phase, or a patient in two of the official lists.
    """
    for given, known in ((views, VIEWS), (phases, PHASES)):
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"CAMUS has {' and '.join(known)}, not {', '.join(unknown)}; leave it out")
    root = Path(root)
    folders = _patients(root)
    lists = _official(root) if official_split else {}
    wanted = [*phases, *(["half_sequence"] if sequences else [])]
    items = []
    for group, folder in sorted(folders.items()):
        for item in _frames_of(folder, group, views, wanted):
            if group.startswith("testing_"):
                item["split"] = "test"
            elif lists:
                item["split"] = lists.get(group)
            items.append(item)
    if not items:
        raise FileNotFoundError(
            f"no patient in {root} has a frame {' or '.join(wanted)} of {' or '.join(views)}; is the download complete?"
        )
    if split == "all":
        return items
    own = [item for item in items if "split" in item]
    return [i for i in own if i["split"] == split] + select_split((i for i in items if "split" not in i), split)


def _patients(root: Path) -> dict[str, Path]:
    """Each patient's folder; those of ``testing`` are other people than those of ``training``."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give the folder that CAMUS was unpacked to")
    found: dict[str, Path] = {}
    for base, prefix in (
        (root, "testing_" if root.name == "testing" else ""),
        (root / "database_nifti", ""),
        (root / "training", ""),
        (root / "testing", "testing_"),
    ):
        for folder in sorted(base.iterdir()) if base.is_dir() else ():
            if not (_PATIENT.fullmatch(folder.name) and folder.is_dir()):
                continue
            group = prefix + folder.name
            if group in found:
                raise ValueError(
                    f"{root} holds {group} twice, {found[group]} and {folder}; give one of the two folders"
                )
            found[group] = folder
    if not found:
        raise FileNotFoundError(
            f"{root} holds no folder patient0001, patient0002, ..., nor has database_nifti, training or testing; give "
            "the folder that CAMUS was unpacked to"
        )
    return found


def _frames_of(folder: Path, group: str, views: Sequence[str], wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    files = {path.name.lower(): path for path in sorted(folder.iterdir())}
    for view in views:
        for phase in wanted:
            stem = f"{folder.name}_{view}_{phase}"
            image, label = (
                next((files[f"{name}{s}".lower()] for s in SUFFIXES if f"{name}{s}".lower() in files), None)
                for name in (stem, f"{stem}_gt")
            )
            if image is None or (label is None and group.startswith("testing_")):
                continue
            item = {
                "name": f"{group}_{view}_{phase}",
                "source": "camus",
                "group": group,
                "view": view,
                "phase": phase,
                "image": str(image),
            }
            if label is not None:
                item["label"] = str(label)
            if quality := _quality(files.get(f"info_{view.lower()}.cfg")):
                item["quality"] = quality
            yield item


def _quality(path: Path | None) -> str | None:
    """``ImageQuality: Good`` of an info file."""
    if path is None:
        return None
    found = re.search(r"^ImageQuality\s*:\s*(\w+)", path.read_text(errors="replace"), re.MULTILINE)
    return found.group(1) if found else None


def _official(root: Path) -> dict[str, Split]:
    """Each patient's split by the official lists, if there are any."""
    lists: dict[str, Split] = {}
    for base in (root, root / "database_split", root.parent, root.parent / "database_split"):
        paths = {base / f"subgroup_{name}.txt": split for name, split in _LISTS.items()}
        for path, split in paths.items():
            for patient in _PATIENT.findall(path.read_text(errors="replace")) if path.is_file() else ():
                if lists.setdefault(patient, split) != split:
                    raise ValueError(
                        f"{patient} is in two of the lists in {base}, {lists[patient]} and {split}; take it out of one"
                    )
        if lists:
            return lists
    return lists
