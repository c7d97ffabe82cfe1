"""Small programs that behave like a child process, or misbehave like one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from SlicerBMapDiffusionLib.jobs.process import JobProcess

SAY = "import os, sys, time, signal, subprocess\nsay = lambda text: print(text, flush=True)\n"


def fake(program: str, folder: Path, *arguments: object, **options: Any) -> JobProcess:
    """A process that runs a few lines of Python; ``say`` prints at once."""
    command = [sys.executable, "-S", "-c", SAY + program, *map(str, arguments)]
    return JobProcess(command, folder, **options)


def until(condition: Callable[[], object], seconds: float = 10.0) -> bool:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not (met := bool(condition())) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not collected does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if sys.platform == "linux":
            return False
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"
