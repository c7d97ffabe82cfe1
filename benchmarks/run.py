"""All benchmarks, one table: every figure beside a named reference measured in the same run.

    python benchmarks/run.py [--only NAME ...] [--output docs/benchmarks.md]

Ends with status 1 and says which, if a benchmark or one of its references could not run; then nothing is written.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, Python looks in this folder only

from benchmarks.report import Row, document, machine, table
from benchmarks.timing import use_processor_time
from monai_bmaps.files import replacing

Benchmark = Callable[[], list[Row]]

TITLES = {
    name: f"{words} (`--only {name}`)"
    for name, words in {
        "schedule": "Schedule",
        "training_step": "Training step",
        "overhead": "Overhead around the network",
        "exact_denoiser": "Exact denoiser: Frechet error of samplers",
        "per_evaluation": "One network evaluation",
        "synthesis_roads": "Synthesis in a training",
        "growth": "Growth of the scheduler's own cost",
    }.items()
}
"""Of each section: what it measures, and how to have it alone."""


def measured(
    names: Sequence[str], load: Callable[[str], Callable[[], list[Row]]]
) -> tuple[dict[str, list[Row]], list[str]]:
    """Rows of each benchmark by title, and what failed; one that fails does not keep the others from running."""
    sections, failures = {}, []
    for name in names:
        start = time.perf_counter()
        try:
            sections[TITLES[name]] = load(name)()
        except Exception as error:
            traceback.print_exc()
            failures.append(f"{name}: {error}")
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return sections, failures


def benchmark(name: str) -> Benchmark:
    """The function ``rows`` of a module of this folder."""
    found: Benchmark = importlib.import_module(f"benchmarks.{name}").rows
    return found


def load_average() -> str:
    return " ".join(f"{x:.1f}" for x in os.getloadavg())


def write(sections: Mapping[str, Sequence[Row]], notes: Sequence[str], path: Path) -> None:
    with replacing(path) as partial:
        partial.write_text(document(sections, notes, path.parent))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(TITLES), metavar="NAME", help=", ".join(TITLES))
    parser.add_argument("--output", type=Path)
    parser.add_argument(
        "--processor-time", action="store_true", help="count processor time of one thread, for a machine that is busy"
    )
    chosen = parser.parse_args(arguments)
    if chosen.only and chosen.output:
        parser.error("--output is for all benchmarks: a page of some would pass for the whole")
    if chosen.processor_time:
        use_processor_time()
    before, start = load_average(), time.perf_counter()
    sections, failures = measured(chosen.only or list(TITLES), benchmark)
    minutes = (time.perf_counter() - start) / 60
    notes = [
        machine(),
        f"load average {before} at the start, {load_average()} at the end, of which this run is 1 to 2",
        f"{'processor' if chosen.processor_time else 'wall'} time; the run took {minutes:.1f} minutes",
    ]
    print("\n".join([table(sections), "", *notes]))
    if failures:
        print("\n".join(["", "FAILED, nothing was written:", *failures]), file=sys.stderr)
        return 1
    if chosen.output:
        write(sections, notes, chosen.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
