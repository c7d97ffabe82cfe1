"""The commands ``python -m monai_bmaps.metrics compare`` and ``downstream``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monai_bmaps.metrics.comparison import command as comparison
from monai_bmaps.metrics.downstream import command as downstream


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0: a report was written, 2: nothing could be compared."""
    given = parser().parse_args(arguments)
    try:
        given.run(given)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Read {given.output / 'report.md'}.")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    whole = argparse.ArgumentParser(prog="python -m monai_bmaps.metrics", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "compare",
        help="synthetic images with real ones",
        description="Compare synthetic images with real ones: report.md, report.json and figures. Run it again after a "
        "kill: it goes on. Offline, give --stem and --lpips.",
    )
    comparison.add_arguments(command)
    command.set_defaults(run=comparison.run)
    task = commands.add_parser(
        "downstream",
        help="whether synthetic images help a segmenter",
        description="Train one segmenter on real, synthetic and both kinds of images, over shares of the patients and "
        "seeds, and test it on held-out patients. Run it again after a kill: it goes on.",
    )
    downstream.add_arguments(task)
    task.set_defaults(run=downstream.run)
    return whole
