"""A process together with all that it started: begun as a group, ended as a whole, on all three systems."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

_POSIX = os.name == "posix"
_KILL_S = 1.5
_SLOW_S = 60.0  # for a taskkill on a computer that is busy or whose virus scanner looks at it first


def grouped() -> dict[str, Any]:
    """Arguments of ``subprocess.Popen`` for a process whose tree can be ended."""
    if _POSIX:
        return {"start_new_session": True}
    flags = ("CREATE_NEW_PROCESS_GROUP", "CREATE_NO_WINDOW")  # which only Windows has
    return {"creationflags": sum(getattr(subprocess, name, 0) for name in flags)}


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has, asked without waiting.

    Where that can be known without collecting its exit status, whatever is left of its group is ended first: until
    the status is collected, no other group can have its number.
    """
    if process.returncode is None and hasattr(os, "waitid"):
        with suppress(ChildProcessError):
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            _kill_group(process.pid)
    return process.poll() is not None


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and its descendants, those in other sessions too.

    All of it takes less than two seconds. On Windows, what a slow taskkill has not ended by then it ends later.
    """
    if process.poll() is not None:
        return
    if _POSIX:
        _kill_all(process.pid)
    elif not _taskkill(process):
        return  # it finds the descendants by way of the process, which therefore must not end before, nor its input
    with suppress(OSError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_KILL_S)


def _kill_all(root: int) -> None:
    descendants = _descendants(root)
    _kill_group(root)
    for pid in descendants:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _kill_group(group: int) -> None:
    with suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def _taskkill(process: subprocess.Popen[bytes]) -> bool:
    """Let Windows end a tree; whether it came to its end in time. If not, it goes on by itself."""
    command, nothing = ["taskkill", "/F", "/T", "/PID", str(process.pid)], subprocess.DEVNULL
    try:
        killer = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, **grouped())
    except OSError:
        return True
    try:
        killer.wait(timeout=_KILL_S)
    except subprocess.TimeoutExpired:
        threading.Thread(target=_let_finish, args=(killer, process), daemon=True).start()
        return False
    return True


def _let_finish(killer: subprocess.Popen[bytes], process: subprocess.Popen[bytes]) -> None:
    """In a thread: wait for a slow taskkill, then make sure of the process itself."""
    with suppress(subprocess.TimeoutExpired):
        killer.wait(timeout=_SLOW_S)
    with suppress(OSError):
        process.kill()
    process.wait()
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()


def _descendants(root: int) -> list[int]:
    """Numbers of all processes that descend from one, as far as their parents still live."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid, parent in _parents():
        children[parent].append(pid)
    found, waiting = [], [root]
    while waiting:
        next_ones = children.pop(waiting.pop(), [])
        found += next_ones
        waiting += next_ones
    return found


def _parents() -> list[tuple[int, int]]:
    """(process, its parent) of all processes: from /proc, else from ps."""
    if Path("/proc/self/stat").is_file():
        return [pair for folder in Path("/proc").iterdir() if folder.name.isdecimal() and (pair := _stat(folder))]
    with suppress(OSError, subprocess.TimeoutExpired, ValueError):
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, timeout=_KILL_S / 3, check=False)
        return [(int(pid), int(parent)) for pid, parent in map(str.split, listed.stdout.decode().splitlines())]
    return []


def _stat(folder: Path) -> tuple[int, int] | None:
    with suppress(OSError, ValueError, IndexError):
        # the second field is the program's name in brackets, with whatever characters
        after_name = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(folder.name), int(after_name[1])
    return None
