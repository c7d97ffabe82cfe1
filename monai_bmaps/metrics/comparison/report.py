"""``report.md``, ``report.json`` and figures: what a comparison found, family by family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_bmaps.files import replacing
from monai_bmaps.metrics.findings import Findings, Measured, table

INTERVALS = (
    "Intervals are 95 % bootstrap intervals over patients, sweeps or exams where these are known, else over images. A "
    "value means something beside its floor only: what the same measure gives between real images."
)


@dataclass(frozen=True)
class Report:
    """What a comparison found.

    Args:
        findings: of each family, by its name.
        provenance: what was compared and how.
    """

    findings: Mapping[str, Findings]
    provenance: Mapping[str, object]

    def __getitem__(self, family: str) -> Findings:
        """The findings of a family: ``report["frechet"]``."""
        return self.findings[family]

    def measured(self, family: str, key: str) -> Measured:
        """One number: ``report.measured("frechet", "max_pool_2").value``.

        Raises:
            KeyError: no such number.
        """
        rows = {row.key: row for row in self.findings[family].rows}
        if key not in rows:
            raise KeyError(f"{family} has no {key!r}; it has {', '.join(rows)}")
        return rows[key]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        families = {
            family: {
                "title": found.title,
                "measured": {row.key: row.to_dict() for row in found.rows},
                "figures": [*found.figures],
                "notes": found.notes,
            }
            for family, found in self.findings.items()
        }
        return {"provenance": dict(self.provenance), "families": families}

    def page(self) -> str:
        """The report in Markdown."""
        lines = ["# Synthetic images compared with real ones", ""]
        lines += [f"* {name}: {value}" for name, value in self.provenance.items()]
        lines += ["", INTERVALS]
        for found in self.findings.values():
            lines += ["", f"## {found.title}", ""]
            lines += [*table(found.rows), ""] if found.rows else []
            lines += [f"* {note}" for note in found.notes]
            lines += [f"\n![{found.title}]({name})" for name in found.figures]
        return "\n".join([*lines, ""])

    def write(self, folder: str | Path) -> None:
        """Write ``report.md``, ``report.json`` and the figures."""
        folder = Path(folder)
        for found in self.findings.values():
            for name, draw in found.figures.items():
                with replacing(folder / name) as partial:
                    draw(partial)
        with replacing(folder / "report.json") as partial:
            partial.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False, default=str) + "\n")
        with replacing(folder / "report.md") as partial:
            partial.write_text(self.page())
