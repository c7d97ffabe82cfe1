"""A job ends with the program that started it: nobody would read its images."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

WATCHED = "BMAP_PARENT_HOLDS_STDIN"
"""Environment variable that says that standard input is a pipe whose other end the parent holds."""

_STDIN = 0


def end_with_parent() -> threading.Thread | None:
    """Watch standard input, in a thread, where the parent said that it closes only when it ends.

    A pipe's end is the one sign of a parent's death that all systems give, also when it was killed. Without the
    environment variable, as in a terminal, nothing is watched.
    """
    if os.environ.get(WATCHED) != "1":
        return None
    watcher = threading.Thread(target=_wait_and_end, name="parent", daemon=True)
    watcher.start()
    return watcher


def _wait_and_end() -> None:
    with suppress(OSError):
        while os.read(_STDIN, 64):  # not sys.stdin: the interpreter waits for its lock when it ends
            pass
    if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():  # in a group of its own: with all of it
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
