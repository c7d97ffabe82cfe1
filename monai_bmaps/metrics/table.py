"""The table of a report: one line a number, with its interval and the sizes of the sets."""

from __future__ import annotations

from collections.abc import Iterable

from monai_bmaps.metrics.measured import Measured


def table(rows: Iterable[Measured]) -> list[str]:
    """Lines of a Markdown table of numbers; what was left out says why."""
    return ["| measure | value | 95 % interval | images |", "| --- | --- | --- | --- |", *map(_line, rows)]


def _line(row: Measured) -> str:
    value = f"left out: {row.left_out}".replace("|", "/") if row.value is None else f"{row.value:.4g}"
    interval = "" if row.interval is None else "{:.4g} to {:.4g}".format(*row.interval)
    counts = ", ".join(f"{count} {name}" for name, count in row.counts.items())
    return f"| {row.name} | {value} | {interval} | {counts} |"
