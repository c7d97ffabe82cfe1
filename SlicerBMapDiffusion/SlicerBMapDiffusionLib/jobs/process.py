"""Child processes that are watched, never waited for: a timer polls them, and nothing of them is left when they end.

Threads read their output, so that a full pipe stops no child and no read stops the application.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from SlicerBMapDiffusionLib.jobs.hints import hint
from SlicerBMapDiffusionLib.jobs.messages import Message, parse_line
from SlicerBMapDiffusionLib.jobs.process_tree import grouped, has_ended, kill_tree

ENDED = ("done", "failed", "cancelled", "timed out")

_TAIL = 40  # lines
_SEARCHED = 400  # lines: where a chain of errors is long, its first one, which matters, stands far above the last
_KEPT = 5000  # lines and messages between two polls; a child that floods its output loses the oldest
_LONGEST_LINE = 2**16
_UNWATCHED_S = 5.0  # between two polls: the application was busy itself, and let no thread of Python hear anything
_PATIENCE_S = 1.0  # for output that is still in the pipes of a child that has ended
_UNWANTED = (
    # of the application's own Python
    *("PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT", "PYTHONEXECUTABLE", "PYTHONBREAKPOINT", "__PYVENV_LAUNCHER__"),
    # of torchrun: the child is alone
    *("RANK", "WORLD_SIZE", "LOCAL_RANK"),
)


def worker_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process.

    Args:
        base: what to begin with: in Slicer ``slicer.util.startupEnvironment()``, since Slicer's own environment has
            its libraries first; ``None`` is this process's.
    """
    environment = {name: value for name, value in (base or os.environ).items() if name not in _UNWANTED}
    return environment | {
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "PYTHONFAULTHANDLER": "1",
        "OMP_WAIT_POLICY": environment.get("OMP_WAIT_POLICY", "PASSIVE"),  # spinning threads slow the application down
        "BMAP_PARENT_HOLDS_STDIN": "1",
    }


class JobProcess:
    """A command that runs beside the application.

    Args:
        command: its arguments.
        cwd: where it runs.
        env: its environment, as :func:`worker_environment` makes it; ``None``: that of this process.
        timeout_s: seconds it may take in all; ``None`` is no limit.
        idle_timeout_s: seconds it may go without a word; ``None`` is no limit. Loading libraries for the first time
            after an installation takes minutes on some computers.
        check: called when it has ended with exit code 0. What it returns is :attr:`result`; a ``ValueError`` or
            ``OSError`` is a failure, told to the user.
        explain: from another exit code and its last lines to :attr:`failure`.

    Its standard input is a pipe that stays open as long as this process lives, so that it can end with it.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: str | Path,
        env: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        idle_timeout_s: float | None = 300.0,
        check: Callable[[], Any] | None = None,
        explain: Callable[[int, Iterable[str]], str] = hint,
    ) -> None:
        self.command = list(command)
        self.cwd = Path(cwd)
        self.env = dict(worker_environment() if env is None else env)
        self.timeout_s = timeout_s
        self.idle_timeout_s = idle_timeout_s
        self.check = check
        self.explain = explain
        self.state = "waiting"
        self.failure: str | None = None
        self.result: Any = None
        self.returncode: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._readers: list[threading.Thread] = []
        self._news: deque[Message | str] = deque(maxlen=_KEPT)
        self._tail: deque[str] = deque(maxlen=_SEARCHED)
        self._started_at = self._heard_at = self._looked_at = self._ended_at = 0.0

    @property
    def tail(self) -> list[str]:
        """The last lines that are no messages, oldest first."""
        return list(self._tail)[-_TAIL:]

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it. Where that fails, the state is ``"failed"`` and :attr:`failure` says why.

        Raises:
            RuntimeError: it was started before.
        """
        if self.state != "waiting":
            raise RuntimeError(f"a process starts once, this one is {self.state}; make a new one")
        self._started_at = self._heard_at = self._looked_at = time.monotonic()
        try:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                self.command, cwd=self.cwd, env=self.env, stdin=pipe, stdout=pipe, stderr=pipe, **grouped()
            )
        except (OSError, ValueError) as error:
            self._end("failed", f"The program {self.command[0]} cannot be started in {self.cwd}: {error}")
            return
        self.state = "running"
        self._news.append(Message("state", {"state": "starting"}))
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None  # pipes were asked for
            reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
            reader.start()
            self._readers.append(reader)

    def poll(self) -> list[Message | str]:
        """What it said since the last call, and no waiting. Sets :attr:`state` when it has ended or took too long."""
        if self.state == "running" and self._process is not None:
            self._look(self._process)
        return [self._news.popleft() for _ in range(len(self._news))]

    def cancel(self) -> None:
        """End it and all that it started, within two seconds. Does nothing once it has ended."""
        if self.state == "waiting":
            self._end("cancelled", None)
        elif self.state == "running":
            self._kill()
            self._end("cancelled", None)

    def wait(self, interval_s: float = 0.02) -> list[Message | str]:
        """Poll until it has ended: for tests and scripts, never in an application with windows."""
        said = self.poll()
        while self.state not in ENDED:
            time.sleep(interval_s)
            said += self.poll()
        return said

    def _look(self, process: subprocess.Popen[bytes]) -> None:
        now = time.monotonic()
        if now - self._looked_at > _UNWATCHED_S:
            self._heard_at = now
        self._looked_at = now
        if has_ended(process):
            self._ended_at = self._ended_at or now
            # a grandchild may hold the pipes open for ever: it goes when the patience does
            if any(reader.is_alive() for reader in self._readers) and now - self._ended_at < _PATIENCE_S:
                return
            self._kill()
            self._judge(process.returncode)
        elif self.timeout_s is not None and now - self._started_at > self.timeout_s:
            self._stop(f"It took longer than {self.timeout_s:g} seconds and was ended. Ask for fewer images or steps.")
        elif self.idle_timeout_s is not None and now - self._heard_at > self.idle_timeout_s:
            self._stop(
                f"Nothing was heard of it for {self.idle_timeout_s:g} seconds, so it was ended. Try again; if that "
                "happens every time, choose the device CPU or install the packages again."
            )

    def _stop(self, reason: str) -> None:
        self._kill()
        self._end("timed out", reason)

    def _judge(self, returncode: int) -> None:
        """Success is exit code 0 and a result that holds."""
        if returncode != 0:
            self._end("failed", self.explain(returncode, self._tail))
            return
        try:
            self.result = None if self.check is None else self.check()
        except (ValueError, OSError) as error:
            text = str(error)
            self._end("failed", text[:1].upper() + text[1:].rstrip(".") + ".")
        else:
            self._end("done", None)

    def _end(self, state: str, failure: str | None) -> None:
        self.state, self.failure = state, failure

    def _kill(self) -> None:
        """No process of it is left afterwards, and no thread or pipe here; with a slow taskkill, soon after."""
        process = self._process
        if process is None:
            return
        kill_tree(process)
        self.returncode = process.returncode
        for reader in self._readers:
            reader.join(timeout=0.2)
        if process.stdin is not None and process.returncode is not None:
            _close(process.stdin)

    def _read(self, stream: IO[bytes]) -> None:
        """In a thread: turn one pipe into lines until its other end closes, then close this one."""
        try:
            while chunk := stream.readline(_LONGEST_LINE):
                self._heard_at = time.monotonic()
                # a progress bar returns to the line's start instead of ending it
                for line in chunk.decode("utf-8", errors="replace").rstrip("\r\n").split("\r"):
                    self._take(line)
        except OSError:
            pass  # a broken pipe has ended, too
        finally:
            _close(stream)

    def _take(self, line: str) -> None:
        message = parse_line(line)
        if message is None and line.strip():
            self._tail.append(line)
        if message is not None or line.strip():
            self._news.append(message or line)


def _close(stream: IO[bytes]) -> None:
    with suppress(OSError):  # the other end is gone, with something still unwritten
        stream.close()


class JobQueue:
    """Runs processes one after the other, in the order in which they came."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()

    def __len__(self) -> int:
        """How many run or wait."""
        return len(self._entries)

    @property
    def running(self) -> JobProcess | None:
        """The process whose turn it is."""
        return self._entries[0].process if self._entries else None

    def add(
        self,
        process: JobProcess,
        on_output: Callable[[JobProcess, Message | str], object] = lambda process, said: None,
        on_end: Callable[[JobProcess], object] = lambda process: None,
    ) -> None:
        """Let a process run when all before it have ended; at once if there is none.

        Args:
            process: not started.
            on_output: told of each message and line.
            on_end: told once, when it has ended in whatever way.
        """
        self._entries.append(_Entry(process, on_output, on_end))
        self._start_next()

    def poll(self) -> None:
        """Pass on what the running process said, and start the next one when it has ended. For a timer."""
        if not self._entries:
            return
        entry = self._entries[0]
        for each in entry.process.poll():
            if entry in self._entries:  # whoever was told may have cancelled it
                entry.on_output(entry.process, each)
        if entry.process.state in ENDED and entry in self._entries:
            self._leave(entry)

    def cancel(self, process: JobProcess) -> None:
        """Cancel one, running or waiting."""
        for entry in list(self._entries):
            if entry.process is process:
                process.cancel()
                self._leave(entry)

    def cancel_all(self) -> None:
        """Cancel all, those that wait first, so that none of them starts."""
        for entry in reversed(list(self._entries)):
            entry.process.cancel()
        while self._entries:
            self._leave(self._entries[0])

    def _leave(self, entry: _Entry) -> None:
        """Take it out before anybody is told: who hears of it may cancel the rest, and whatever they do, it goes on."""
        self._entries.remove(entry)
        try:
            entry.on_end(entry.process)
        finally:
            self._start_next()

    def _start_next(self) -> None:
        if self._entries and self._entries[0].process.state == "waiting":
            self._entries[0].process.start()


class _Entry:
    def __init__(
        self,
        process: JobProcess,
        on_output: Callable[[JobProcess, Message | str], object],
        on_end: Callable[[JobProcess], object],
    ) -> None:
        self.process = process
        self.on_output = on_output
        self.on_end = on_end
