"""``report.md``: what is there, what was left out and why, how well the beams fit, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from monai_bmaps.data.prepare.frames import Source
from monai_bmaps.data.prepare.listing import Lists
from monai_bmaps.data.split import Split
from monai_bmaps.files import replacing

_WORST = 10


def write_report(
    path: Path,
    source: Source,
    lists: Lists,
    left_out: Mapping[str, tuple[int, str]],
    remarks: Mapping[str, tuple[int, str]],
    failures: Mapping[str, str],
    command: str,
) -> None:
    """Write the report.

    Args:
        path: where to.
        source: what was prepared.
        lists: the entries of each split.
        left_out: reason -> how many frames, and the first of them.
        remarks: what is worth saying -> how many frames, and the first of them.
        failures: item -> what is wrong, with the file and the remedy; files are not named for a private source.
        command: how to make it again.

    Raises:
        OSError: it cannot be written.
    """
    entries = [entry for split in get_args(Split) for entry in lists[split]]
    parts = [
        [f"# {source.name}, prepared", "", f"    {command}", ""],
        _counts(lists),
        _views(lists),
        _spacings(entries),
        _numbered("Left out", "reason", left_out),
        *([_numbered("Remarks", "remark", remarks)] if remarks else []),
        _beams(entries),
        _failures(failures, source.private),
        ["## Terms", "", source.terms, ""],
    ]
    with replacing(path) as partial:
        partial.write_text("\n".join(line for part in parts for line in part))


def _table(head: list[str], rows: list[list[Any]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def _counts(lists: Lists) -> list[str]:
    rows: list[list[Any]] = []
    for split in get_args(Split):
        groups = Counter(entry["patient"] for entry in lists[split])
        labelled = sum("label" in entry for entry in lists[split])
        span = f"{min(groups.values())} to {max(groups.values())}" if groups else "-"
        rows.append([split, len(lists[split]), labelled, len(groups), span])
    total = [sum(row[column] for row in rows) for column in (1, 2, 3)]
    head = ["split", "frames", "labelled", "groups (patients, sweeps or exams)", "frames of one group"]
    return ["## Frames", "", *_table(head, [*rows, ["all", *total, ""]])]


def _views(lists: Lists) -> list[str]:
    views = sorted({str(entry["view"]) for split in lists for entry in lists[split] if "view" in entry})
    if not views:
        return []
    splits = get_args(Split)
    rows = [[v, *(sum(str(e.get("view")) == v for e in lists[split]) for split in splits)] for v in views]
    return ["## Views", "", *_table(["view", *splits], rows)]


def _spacings(entries: list[dict[str, Any]]) -> list[str]:
    sides = [sum(entry["spacing"]) / 2 for entry in entries if "spacing" in entry]
    unknown = len(entries) - len(sides)
    lines = [f"Pixels are {min(sides):.3g} to {max(sides):.3g} mm wide and square."] if sides else []
    if unknown:
        lines.append(f"{unknown} frames are uncalibrated: their pixels were taken as square, of unknown size.")
    return ["## Pixel size", "", *lines, ""]


def _numbered(title: str, head: str, counts: Mapping[str, tuple[int, str]]) -> list[str]:
    rows = [[count, words, first] for words, (count, first) in sorted(counts.items())]
    lines = _table(["frames", head, "for example"], rows) if rows else ["Nothing.", ""]
    return [f"## {title}", "", *lines]


def _beams(entries: list[dict[str, Any]]) -> list[str]:
    fitted = sorted((entry for entry in entries if "fit" in entry), key=lambda entry: entry["fit"])
    if not fitted:
        return ["## Beams", "", "None.", ""]
    fits = [entry["fit"] for entry in fitted]
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(e["beam"]["kind"] for e in fitted).most_common())
    rows = [[entry["name"], entry["beam"]["kind"], entry["fit"]] for entry in fitted[:_WORST]]
    return [
        "## Beams",
        "",
        f"{kinds}. Overlap (IoU) of the fitted beam with the field of view: median {np.median(fits):.4f}, "
        f"worst {fits[0]:.4f}. Look at the worst in preview.png.",
        "",
        *_table(["worst", "kind", "overlap"], rows),
    ]


def _failures(failures: Mapping[str, str], private: bool) -> list[str]:
    if not failures:
        return ["## Failures", "", "None.", ""]
    shown = dict.fromkeys(failures, "not repeated here, where file names may identify a patient: see the terminal")
    rows = [[name, reason] for name, reason in (shown if private else failures).items()]
    return ["## Failures", "", *_table(["item", "what is wrong, and what to do"], rows)]
