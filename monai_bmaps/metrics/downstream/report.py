"""``report.md``, ``report.json`` and the figure of a downstream experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_bmaps.files import replacing
from monai_bmaps.metrics.downstream.measuring import findings_of
from monai_bmaps.metrics.downstream.results import MEAN, CellResult, gain_key, of_structure
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet


def write_report(results: Sequence[CellResult], real: ImageSet, plan: Mapping[str, Any], folder: str | Path) -> None:
    """Write ``report.md``, ``report.json`` and ``downstream.png``.

    Args:
        results: of all cells.
        real: the held-out images.
        plan: what decided how cells were trained, for the record.
        folder: where to.
    """
    found = findings_of(results, real)
    for name, draw in found.figures.items():
        with replacing(Path(folder) / name) as partial_:
            draw(partial_)
    cells = [
        {name: value for name, value in result.to_dict().items() if name not in ("dice", "hausdorff")}
        for result in results
    ]
    content = {"plan": plan, "measured": {row.key: row.to_dict() for row in found.rows}, "cells": cells}
    with replacing(Path(folder) / "report.json") as partial_:
        partial_.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    with replacing(Path(folder) / "report.md") as partial_:
        partial_.write_text(_page(found, results, real))


def _page(found: Findings, results: Sequence[CellResult], real: ImageSet) -> str:
    lines = [f"# {found.title}", "", f"On {len(real)} held-out real images of {len(set(real.groups))} patients."]
    for measure, title in (("dice", "Dice"), ("hausdorff", f"Hausdorff-95 ({results[0].unit})")):
        lines += ["", *_table(measure, title, found, results, real.classes)]
    lines += ["", "![Dice and Hausdorff-95 of every seed](downstream.png)", "", *(f"* {note}" for note in found.notes)]
    return "\n".join([*lines, ""])


def _table(
    measure: str, title: str, found: Findings, results: Sequence[CellResult], classes: Sequence[str]
) -> list[str]:
    """A line for each setting and gain that was measured, a column for each structure."""
    rows = {row.key: row for row in found.rows}
    settings = list(dict.fromkeys(result.setting for result in results))
    heads = {f"{measure}_{setting.key}": setting.name for setting in settings}
    shares = sorted({share for arm, share in settings if arm == "both"})
    heads |= {gain_key(measure, share): f"real + synthetic minus real only, {share:.0%}" for share in shares}
    names = [MEAN, *classes]
    lines = [
        f"| {title}: mean ± SD over seeds (95 % interval over patients) | {' | '.join(names)} |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for head, name in heads.items():
        if head in rows:
            lines.append(f"| {name} | {' | '.join(_cell(rows, of_structure(head, each)) for each in names)} |")
    return lines


def _cell(rows: Mapping[str, Measured], key: str) -> str:
    row, spread = rows[key], rows.get(f"{key}_seeds")
    if row.value is None:
        return "left out"
    interval = "" if row.interval is None else " ({:.3f} to {:.3f})".format(*row.interval)
    return f"{row.value:.3f}" + ("" if spread is None else f" ± {spread.value:.3f}") + interval
