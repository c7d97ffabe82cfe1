"""The table of a report: one line a number, with its interval, its floor and the sizes of the sets."""

from __future__ import annotations

from collections.abc import Iterable

from monai_bmaps.metrics.findings.measured import Measured


def table(rows: Iterable[Measured]) -> list[str]:
    """Lines of a Markdown table of numbers; what was left out says why.

    A floor stands beside its number instead of in a line of its own: ``floor_NAME`` is that of ``NAME``, ``NAME_floor``
    that of ``NAME_distance``.
    """
    rows = [*rows]
    by_key = {row.key: row for row in rows}
    floors = {key: by_key[floor] for key in by_key for floor in _floor_keys(key) if floor in by_key}
    shown = [row for row in rows if all(row is not floor for floor in floors.values())]
    head = ["measure", "value", "95 % interval", *["floor"] * bool(floors), "images"]
    lines = [head, ["---"] * len(head), *(_cells(row, floors) for row in shown)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _floor_keys(key: str) -> list[str]:
    distance = key.endswith("_distance")
    return [f"floor_{key}", *[f"{key.removesuffix('_distance')}_floor"] * distance]


def _cells(row: Measured, floors: dict[str, Measured]) -> list[str]:
    floor = floors.get(row.key)
    beside = [_value(floor) + (f" ({_interval(floor)})" if floor.interval else "")] if floor else [""] * bool(floors)
    return [row.name, _value(row), _interval(row), *beside, _counts(row)]


def _value(row: Measured) -> str:
    return f"left out: {row.left_out}".replace("|", "/") if row.value is None else f"{row.value:.4g}"


def _interval(row: Measured) -> str:
    return "" if row.interval is None else "{:.4g} to {:.4g}".format(*row.interval)


def _counts(row: Measured) -> str:
    return ", ".join(f"{count} {name}" for name, count in row.counts.items())
