"""What a benchmark hands over, and the table and document made of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import monai
import torch

from monai_bmaps.acceleration import fast_dtype

QUALITY, PICTURE = "benchmark_quality.json", "benchmark_quality.png"


@dataclass(frozen=True)
class Row:
    """One figure beside its reference, measured in the same run.

    Args:
        what: what was measured.
        ours: with its unit.
        reference: with its unit, and its name unless ``how`` has it.
        ratio: of the two, in words that say which way it goes: ``12 x faster``.
        how: what ran, what was extrapolated.

    Raises:
        ValueError: an empty cell or a figure that is not a number.
    """

    what: str
    ours: str
    reference: str
    ratio: str
    how: str

    def __post_init__(self) -> None:
        for column in fields(self):
            words = str(getattr(self, column.name)).lower().split()
            if not words or (column.name != "how" and {"nan", "inf", "-inf"} & set(words)):
                raise ValueError(f"the {column.name} of {self.what!r} is {' '.join(words)!r}; a figure is needed")


def table(sections: Mapping[str, Sequence[Row]]) -> str:
    """All rows as one Markdown table, padded to be read as it is; a section is a row with its title in bold."""
    names = [column.name for column in fields(Row)]
    lines = [names]
    for title, rows in sections.items():
        lines += [[f"**{title}**", "", "", "", ""], *([getattr(row, name) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names) - 1)] + [3]
    rule = ["-" * width for width in widths]
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in [names, rule, *lines[1:]]
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def machine() -> str:
    """The processor, accelerator and versions that figures belong to."""
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "; no GPU"
    native = fast_dtype(torch.device("cpu"))
    precision = "no native half precision" if native is None else f"native {str(native).removeprefix('torch.')}"
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores ({precision}), {torch.get_num_threads()} threads{gpu}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, MONAI {monai.__version__}"
    )


def document(sections: Mapping[str, Sequence[Row]], notes: Sequence[str], folder: Path) -> str:
    """The page of all figures.

    Args:
        sections: rows by title.
        notes: how the run went: machine, load, duration.
        folder: where the page goes, which may hold the quality figures.
    """
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`. Every figure stands beside a reference that ran in the same process, in turns",
            "with it; times are medians, their ratios medians over rounds. To measure one section again,",
            "without writing it here: `python benchmarks/run.py --only NAME`.",
            "",
            *(f"* {note}" for note in notes),
            "",
            table(sections),
            "",
            "## Quality of the shipped cardiac model",
            "",
            *quality(folder),
            "",
        ]
    )


def quality(folder: Path) -> list[str]:
    """Lines about ``make bench-quality``'s report, if the folder has it."""
    path = folder / QUALITY
    if not path.exists():
        return ["Not measured yet: `make bench-quality` (hours) writes the report that this section is made from."]
    found: dict[str, Any] = json.loads(path.read_text())
    floor = " / ".join(f"{x:.3g}" for x in found["training_frames_against_held_out"])
    lines = [
        f"Frechet distances of {found['samples']} samples to {found['held_out_frames']} frames of held-out patients at "
        f"{' / '.join(found['distances_at'])}, with 95 % bootstrap intervals (`make bench-quality`). Real training "
        f"frames against the same: {floor}. The last column is the interval of the difference to "
        f"`{found['reference']}`, whose samples are resampled alike.",
        "",
        "| sampler:evaluations | distance | interval | difference to the reference |",
        "| --- | --- | --- | --- |",
    ]
    for run, row in found["runs"].items():
        distance = " / ".join(f"{x:.3g}" for x in row["distance"])
        cells = (distance, _intervals(row["interval"]), _intervals(row.get("minus_reference_interval", [])))
        lines.append(f"| {run} | {' | '.join(cells)} |")
    return [*lines, "", f"![Frechet distance against network evaluations]({PICTURE})"]


def _intervals(pairs: Sequence[Sequence[float]]) -> str:
    return " / ".join(f"{low:.3g} to {high:.3g}" for low, high in pairs)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
