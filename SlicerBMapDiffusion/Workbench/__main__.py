"""Serve the workbench to this computer only: ``python SlicerBMapDiffusion/Workbench [--port 8080] [--server]``.

Jobs run in the interpreter that the environment variable BMAP_WORKER_PYTHON names: it has monai_bmaps.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Serve until it is interrupted."""
    # trame reads the command line, too: what is not named here is refused, above all another --host.
    parser = argparse.ArgumentParser(prog="Workbench", description="The B-map diffusion workbench.", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--server", action="store_true", help="open no browser")
    given = parser.parse_args()
    worker = os.environ.get("BMAP_WORKER_PYTHON")
    if not worker:
        parser.error("BMAP_WORKER_PYTHON must name a Python that has monai_bmaps; `make workbench` does that")
    import application

    slicer_app = application.start()
    # The library finds the application's scene when it is imported.
    from bench import Bench
    from page import Page

    page = Page(slicer_app, Bench(worker))
    page.server.start(host="127.0.0.1", port=given.port, open_browser=not given.server, timeout=0)


if __name__ == "__main__":
    main()
