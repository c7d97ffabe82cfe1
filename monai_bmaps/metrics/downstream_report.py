"""What the cells of a downstream experiment say together: means, their spread over seeds, paired differences."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_bmaps.files import replacing
from monai_bmaps.metrics.findings import BLUE, GREEN, ORANGE, Findings, Measured, key_of, mean_by_group, new_figure
from monai_bmaps.metrics.images import ImageSet

_NAMES = {"real": "real only", "synthetic": "synthetic only", "both": "real + synthetic"}
_COLOURS = {"real": BLUE, "synthetic": ORANGE, "both": GREEN}
_NOTES = [
    "Intervals are bootstrap intervals over held-out patients of the mean over seeds; the spread over seeds is the "
    "standard deviation of the seeds' means. A gain counts where its interval leaves out 0 and its spread over seeds "
    "is small beside it.",
    "At a share below 1 the segmenter has less real data; the model that drew the synthetic images had what it was "
    "trained on. Where that is all of the real data, the synthetic images bring what the share holds back: for a "
    "claim about scarce data train the model on the same share.",
]


@dataclass(frozen=True, eq=False)
class CellResult:
    """What one segmenter reached on the held-out images.

    Args:
        arm: ``"real"``, ``"synthetic"`` or ``"both"``.
        share: of the real patients; 0 of synthetic images alone.
        seed: of the training.
        counts: training images by kind.
        seconds: that it took, on the clock.
        dice: ``(N, K)`` float64; NaN where the reference lacks the structure.
        hausdorff: as ``dice``, in ``unit``.
        unit: ``"pixels"`` or ``"mm"``.
    """

    arm: str
    share: float
    seed: int
    counts: Mapping[str, int]
    seconds: float
    dice: torch.Tensor
    hausdorff: torch.Tensor
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; NaN is null."""
        known = {name: getattr(self, name) for name in ("arm", "share", "seed", "counts", "seconds", "unit")}
        return known | {name: _listed(getattr(self, name)) for name in ("dice", "hausdorff")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> CellResult:
        """Read :meth:`to_dict` back."""
        tensors = {
            name: torch.tensor(
                [[np.nan if x is None else x for x in row] for row in content[name]], dtype=torch.float64
            )
            for name in ("dice", "hausdorff")
        }
        return cls(**{**content, **tensors})

    @property
    def setting(self) -> tuple[str, float]:
        """What it was trained on: all that seeds have in common."""
        return self.arm, self.share


def findings_of(results: Sequence[CellResult], real: ImageSet) -> Findings:
    """Return the numbers of finished cells.

    Args:
        results: of whole seeds or not; differences take the seeds that both arms have.
        real: the held-out images.
    """
    settings = list(dict.fromkeys(result.setting for result in results))
    rows = [row for setting in settings for row in _setting_rows(setting, results, real)]
    for share in sorted({share for arm, share in settings if arm == "both"}):
        rows += _gain_rows(share, results, real)
    figures: dict[str, Callable[[Path], None]] = {"downstream.png": partial(_draw, results)}
    return Findings("Downstream segmentation", rows, figures, _NOTES)


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


def _named(setting: tuple[str, float]) -> str:
    arm, share = setting
    return _NAMES[arm] if arm == "synthetic" else f"{_NAMES[arm]}, {share:.0%} of the real patients"


def _key(setting: tuple[str, float]) -> str:
    arm, share = setting
    return arm if arm == "synthetic" else f"{arm}_{key_of(f'{share:g}')}"


def _values(results: Sequence[CellResult], setting: tuple[str, float], measure: str) -> torch.Tensor:
    """Of every seed, image and structure: ``(seeds, N, K)``."""
    return torch.stack([getattr(result, measure) for result in results if result.setting == setting])


def _of_structures(values: torch.Tensor, real: ImageSet) -> dict[str, torch.Tensor]:
    """The mean over structures first, then each structure: ``(seeds, N)`` each."""
    return {"mean": values.nanmean(2)} | dict(zip(real.classes, values.unbind(2), strict=True))


def _measured(key: str, name: str, values: torch.Tensor, real: ImageSet, counts: Mapping[str, int]) -> list[Measured]:
    """The mean over seeds and images, and its spread over seeds."""
    mean, interval = mean_by_group(values.nanmean(0), real.groups)
    if np.isnan(mean):
        return [Measured(key, name, counts=counts, left_out="no held-out label map holds it; leave the class out")]
    rows = [Measured(key, name, mean, interval, counts)]
    if len(values) > 1:
        spread = float(values.nanmean(1).std())
        rows.append(Measured(f"{key}_seeds", f"{name}: standard deviation over seeds", spread, None, counts))
    return rows


def _setting_rows(setting: tuple[str, float], results: Sequence[CellResult], real: ImageSet) -> list[Measured]:
    mine = [result for result in results if result.setting == setting]
    counts = {**mine[0].counts, "real": len(real), "seeds": len(mine)}
    rows = []
    for measure, title in (("dice", "Dice"), ("hausdorff", f"Hausdorff-95 in {mine[0].unit}")):
        for structure, values in _of_structures(_values(results, setting, measure), real).items():
            key = f"{measure}_{_key(setting)}" + ("" if structure == "mean" else f"_{key_of(structure)}")
            rows += _measured(key, f"{title}, {structure}, {_named(setting)}", values, real, counts)
    return rows


def _gain_rows(share: float, results: Sequence[CellResult], real: ImageSet) -> list[Measured]:
    """What adding synthetic images changes, image by image and seed by seed."""
    by_seed = {(result.arm, result.seed): result for result in results if result.share == share}
    seeds = [seed for arm, seed in by_seed if arm == "both" and ("real", seed) in by_seed]
    if not seeds:
        return []
    counts = {"real": len(real), "seeds": len(seeds)}
    rows = []
    for measure, title in (("dice", "Dice"), ("hausdorff", "Hausdorff-95")):
        both, alone = (
            torch.stack([getattr(by_seed[arm, seed], measure) for seed in seeds]) for arm in ("both", "real")
        )
        gains = both - alone
        for structure, values in _of_structures(gains, real).items():
            key = f"gain_{measure}_{key_of(f'{share:g}')}" + ("" if structure == "mean" else f"_{key_of(structure)}")
            name = f"{title} that synthetic images add, {structure}, {share:.0%} of the real patients"
            rows += _measured(key, name, values, real, counts)
    return rows


def _page(found: Findings, results: Sequence[CellResult], real: ImageSet) -> str:
    rows = {row.key: row for row in found.rows}
    settings = list(dict.fromkeys(result.setting for result in results))
    names = ["mean", *real.classes]
    lines = [f"# {found.title}", "", f"On {len(real)} held-out real images of {len(set(real.groups))} patients."]
    for measure, title in (("dice", "Dice"), ("hausdorff", f"Hausdorff-95 ({results[0].unit})")):
        lines += [
            "",
            f"| {title}: mean ± SD over seeds (95 % interval over patients) | {' | '.join(names)} |",
            "| --- " * (len(names) + 1) + "|",
        ]
        heads = {f"{measure}_{_key(setting)}": _named(setting) for setting in settings}
        shares = sorted({share for arm, share in settings if arm == "both"})
        heads |= {
            f"gain_{measure}_{key_of(f'{share:g}')}": f"real + synthetic minus real only, {share:.0%}"
            for share in shares
        }
        for head, name in heads.items():
            keys = [head if structure == "mean" else f"{head}_{key_of(structure)}" for structure in names]
            if head in rows:
                lines.append(f"| {name} | {' | '.join(_cell(rows, key) for key in keys)} |")
    lines += ["", "![Dice and Hausdorff-95 of every seed](downstream.png)", "", *(f"* {note}" for note in found.notes)]
    return "\n".join([*lines, ""])


def _cell(rows: Mapping[str, Measured], key: str) -> str:
    row, spread = rows[key], rows.get(f"{key}_seeds")
    if row.value is None:
        return "left out"
    interval = "" if row.interval is None else " ({:.3f} to {:.3f})".format(*row.interval)
    return f"{row.value:.3f}" + ("" if spread is None else f" ± {spread.value:.3f}") + interval


def _draw(results: Sequence[CellResult], path: Path) -> None:
    """Every seed as a point, the mean of a setting as a line."""
    settings = list(
        dict.fromkeys(result.setting for result in sorted(results, key=lambda r: (r.share, r.arm != "real")))
    )
    figure = new_figure(9, 3.6)
    for axis, measure, label in zip(
        figure.subplots(1, 2),
        ("dice", "hausdorff"),
        ("Dice (1 is agreement)", f"Hausdorff-95 ({results[0].unit}; 0 is agreement)"),
        strict=True,
    ):
        for place, setting in enumerate(settings):
            means = _values(results, setting, measure).nanmean(2).nanmean(1).numpy()
            axis.plot(np.full(len(means), place), means, "o", color=_COLOURS[setting[0]], alpha=0.7)
            axis.hlines(means.mean(), place - 0.25, place + 0.25, color=_COLOURS[setting[0]], linewidth=2)
        ticks = [
            _NAMES[arm].replace(" ", "\n", 1) + ("" if arm == "synthetic" else f"\n{share:.0%}")
            for arm, share in settings
        ]
        axis.set_xticks(range(len(settings)), ticks, fontsize=8)
        axis.set(ylabel=label, xlim=(-0.5, len(settings) - 0.5))
        axis.grid(axis="y", alpha=0.3)
    figure.savefig(path)


def _listed(values: torch.Tensor) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(value, 6) for value in row] for row in values.tolist()]
