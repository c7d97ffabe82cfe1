"""Child processes that are polled, cancelled and queued; and a table of the ways in which they fail.

The children are a few lines of Python each; test_worker.py has the real one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from slicer_module.workers import SAY, fake, is_alive, until
from SlicerBMapDiffusionLib.jobs import process_tree
from SlicerBMapDiffusionLib.jobs.messages import Message
from SlicerBMapDiffusionLib.jobs.process import ENDED, JobProcess, JobQueue, worker_environment

PROGRESS = """say('BMAP {"event": "progress", "image": 0, "images": 1, "step": %d, "steps": 4}')"""

posix = pytest.mark.skipif(os.name != "posix", reason="signals and sessions are POSIX's")


def raise_no_result() -> None:
    raise ValueError("the program ended without a result. Look at its log, and try again")


def test_the_first_message_is_there_before_the_child_has_said_anything(tmp_path: Path) -> None:
    process = fake("time.sleep(60)", tmp_path)
    started = time.monotonic()
    process.start()
    said = process.poll()
    assert time.monotonic() - started < 1
    assert said == [Message("state", {"state": "starting"})]
    process.cancel()


def test_messages_and_log_lines_come_in_order_and_success_carries_the_result(tmp_path: Path) -> None:
    process = fake(f"say('log'); {PROGRESS % 1}; {PROGRESS % 2}; say('bye')", tmp_path, check=lambda: 42)
    process.start()
    said = process.wait()
    assert [x if isinstance(x, str) else x.event for x in said] == ["state", "log", "progress", "progress", "bye"]
    assert (process.state, process.result, process.returncode, process.failure) == ("done", 42, 0, None)
    assert process.tail == ["log", "bye"]


def test_a_poll_never_waits(tmp_path: Path) -> None:
    process = fake("time.sleep(60)", tmp_path)
    process.start()
    began = time.monotonic()
    for _ in range(100):
        process.poll()
    assert time.monotonic() - began < 1
    process.cancel()


def test_output_that_nobody_polls_for_does_not_stop_the_child(tmp_path: Path) -> None:
    process = fake("say('x' * 100 + chr(10) * 1) if 0 else [say('y' * 1000) for _ in range(3000)]", tmp_path)
    process.start()
    assert until(lambda: not is_alive(process.pid or 0))
    process.wait()
    assert process.state == "done"


def test_a_process_starts_once(tmp_path: Path) -> None:
    process = fake("", tmp_path)
    process.start()
    process.wait()
    with pytest.raises(RuntimeError, match="a process starts once, this one is done"):
        process.start()


# the table of faults: what the child does, and what the user reads


NO_PROGRAM = "cannot be started in"
FAULTS = {
    "no output, no result": ("", "The program ended without a result. Look at its log, and try again."),
    "says done, writes nothing": ("""say('BMAP {"event": "done", "images": 1}')""", "ended without a result"),
    "error": ("raise ValueError('the beam covers no pixel')", "ended with an error: ValueError: the beam covers no p"),
    "exit status": ("sys.exit(3)", "ended without a word"),
    "missing package": ("import no_such_package", "missing (no_such_package). Press Generate, which offers to install"),
    "disk full": ("open('/dev/full', 'w').write('x' * 10**6)", "The disk is full. Free some space"),
    "memory": ("raise MemoryError", "too little free memory. Close other programs, or ask for fewer"),
    "graphics memory": (
        "raise RuntimeError('CUDA out of memory. Tried to allocate 20.00 GiB')",
        "The graphics card has too little free memory. Close other programs that use it, or choose the device CPU.",
    ),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "killed from outside, most often because the computer ran out"),
    "segmentation fault": (
        "import faulthandler; faulthandler._sigsegv()",
        "The program crashed. Try again with the device CPU; if it crashes there too, install PyTorch again.",
    ),
    "abort": ("os.abort()", "The program crashed."),
    "garbage": ("os.write(1, os.urandom(200_000))", "ended without a result"),
    "invalid UTF-8": (r"""os.write(1, b'BMAP {"event": "\xff\xfe\n\xc3\n')""", "ended without a result"),
    "half a line": ("""os.write(1, b'BMAP {"event": "progress", "image"')""", "ended without a result"),
    "a line without end": ("os.write(1, b'x' * 10_000_000)", "ended without a result"),
    "closed output": ("os.close(1); os.close(2)", "ended without a result"),
    "null bytes": (r"os.write(2, b'\0' * 1000 + b'\n'); sys.exit(1)", "ended without a word"),
}


@posix
@pytest.mark.parametrize("fault", FAULTS)
def test_a_child_that_fails_is_explained(tmp_path: Path, fault: str) -> None:
    program, told = FAULTS[fault]
    process = fake(program, tmp_path, check=raise_no_result)
    process.start()
    process.wait()
    assert process.state == "failed"
    assert told in str(process.failure)
    assert process.result is None


def test_an_interpreter_that_is_not_there_is_a_failure_not_an_exception(tmp_path: Path) -> None:
    process = JobProcess([str(tmp_path / "no python")], tmp_path)
    process.start()
    assert (process.state, process.poll()) == ("failed", [])
    assert NO_PROGRAM in str(process.failure)


def test_a_bundle_s_folder_that_is_gone_is_a_failure_not_an_exception(tmp_path: Path) -> None:
    process = fake("", tmp_path / "gone")
    process.start()
    assert NO_PROGRAM in str(process.failure)


def test_a_child_that_hangs_is_ended_when_nothing_was_heard_of_it(tmp_path: Path) -> None:
    process = fake("say('alive'); time.sleep(60)", tmp_path, idle_timeout_s=0.5)
    process.start()
    process.wait()
    assert process.state == "timed out"
    assert "Nothing was heard of it for 0.5 seconds, so it was ended. Try again" in str(process.failure)
    assert not is_alive(process.pid or 0)


def test_a_child_that_speaks_is_not_idle(tmp_path: Path) -> None:
    process = fake("for _ in range(8): say('.'); time.sleep(0.2)", tmp_path, idle_timeout_s=1.0)
    process.start()
    process.wait()
    assert process.state == "done"


def test_silence_does_not_count_while_the_application_does_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slicer loads a large scene, say: its event loop rests, and with it every thread of Python."""
    process, clock, later = fake("time.sleep(60)", tmp_path), time.monotonic, [0.0]
    monkeypatch.setattr("SlicerBMapDiffusionLib.jobs.process.time.monotonic", lambda: clock() + later[0])
    process.start()
    later[0] = 1000.0
    process.poll()
    assert process.state == "running"
    for _second in range(301):
        later[0] += 1.0
        process.poll()
    assert process.state == "timed out"


def test_a_child_that_speaks_for_ever_is_ended_when_its_time_is_up(tmp_path: Path) -> None:
    process = fake("while True: say('.'); time.sleep(0.01)", tmp_path, timeout_s=0.7)
    process.start()
    process.wait()
    assert process.state == "timed out"
    assert "took longer than 0.7 seconds and was ended. Ask for fewer images or steps." in str(process.failure)


def test_a_result_that_cannot_be_read_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    def unreadable() -> None:
        raise OSError("disk removed")

    process = fake("", tmp_path, check=unreadable)
    process.start()
    process.wait()
    assert (process.state, process.failure) == ("failed", "Disk removed.")


def test_the_end_of_a_long_log_is_kept(tmp_path: Path) -> None:
    process = fake("[say(n) for n in range(1000)]", tmp_path)
    process.start()
    process.wait()
    assert process.tail == [str(number) for number in range(960, 1000)]


def test_a_flood_of_output_does_not_fill_the_memory(tmp_path: Path) -> None:
    process = fake("for n in range(50_000): print(n)", tmp_path)
    process.start()
    until(lambda: not is_alive(process.pid or 0))
    assert len(process.wait()) <= 5000


# cancelling

TREE = """
child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])
apart = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], start_new_session=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)
say(f'{child.pid} {apart.pid}'); time.sleep(60)
"""


def pids_told(process: JobProcess) -> list[int]:
    told: list[str] = []
    assert until(lambda: told.extend(x for x in process.poll() if isinstance(x, str)) or told)
    return [int(number) for number in told[0].split()]


@posix
def test_cancelling_leaves_neither_child_nor_grandchildren_within_two_seconds(tmp_path: Path) -> None:
    process = fake(TREE, tmp_path)
    process.start()
    family = [process.pid or 0, *pids_told(process)]
    assert all(map(is_alive, family))
    began = time.monotonic()
    process.cancel()
    assert until(lambda: not any(map(is_alive, family)), 2 - (time.monotonic() - began))
    assert process.state == "cancelled"


@posix
def test_a_child_that_ends_leaves_no_grandchild_behind(tmp_path: Path) -> None:
    program = TREE.replace('time.sleep(60)\n"', "").replace("; time.sleep(60)\n", "\n")
    program = program.replace("start_new_session=True", "start_new_session=False")
    process = fake(program, tmp_path)
    process.start()
    grandchildren = pids_told(process)
    process.wait()
    assert process.state == "done"
    assert until(lambda: not any(map(is_alive, grandchildren)), 2)


@posix
def test_cancelling_ends_a_child_that_is_stopped(tmp_path: Path) -> None:
    process = fake("os.kill(os.getpid(), signal.SIGSTOP)", tmp_path)
    process.start()
    time.sleep(0.3)
    process.cancel()
    assert not is_alive(process.pid or 0)


WINDOWS = """#!{python}
import os, sys, time
sys.path.insert(0, {module!r})
from SlicerBMapDiffusionLib.jobs.process_tree import _descendants
assert sys.argv[1:4] == ["/F", "/T", "/PID"]
time.sleep({seconds})
root = int(sys.argv[4])
for pid in [*_descendants(root), root]:
    os.kill(pid, 9)
"""


def on_windows(folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """As if this were Windows, with a taskkill that takes its time before it looks for descendants."""
    program = folder / "taskkill"
    module = str(ROOT / "SlicerBMapDiffusion")
    program.write_text(WINDOWS.format(python=sys.executable, module=module, seconds=seconds))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(process_tree, "_POSIX", False)


@posix
def test_on_windows_taskkill_ends_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_windows(tmp_path, monkeypatch, seconds=0.0)
    process = fake(TREE, tmp_path)
    process.start()
    family = [process.pid or 0, *pids_told(process)]
    process.cancel()
    assert process.state == "cancelled"
    assert not any(map(is_alive, family))


@posix
def test_a_slow_taskkill_is_not_waited_for_and_ends_the_tree_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_windows(tmp_path, monkeypatch, seconds=1.0)
    monkeypatch.setattr(process_tree, "_KILL_S", 0.1)
    threads = threading.active_count()
    ends_with_its_input = TREE.removesuffix("time.sleep(60)\n") + "sys.stdin.read()"
    process = fake(ends_with_its_input, tmp_path)
    process.start()
    family = [process.pid or 0, *pids_told(process)]
    began = time.monotonic()
    process.cancel()
    assert time.monotonic() - began < 0.9
    assert process.state == "cancelled"
    assert all(map(is_alive, family))
    assert until(lambda: not any(map(is_alive, family)), 5)
    assert until(lambda: threading.active_count() == threads)


@posix
def test_without_taskkill_the_process_itself_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_windows(tmp_path, monkeypatch, seconds=0.0)
    monkeypatch.setenv("PATH", "")
    process = fake("time.sleep(60)", tmp_path)
    process.start()
    process.cancel()
    assert not is_alive(process.pid or 0)


def test_cancelling_twice_or_after_the_end_changes_nothing(tmp_path: Path) -> None:
    process = fake("", tmp_path)
    process.start()
    process.wait()
    process.cancel()
    assert process.state == "done"
    waiting = fake("", tmp_path)
    waiting.cancel()
    waiting.cancel()
    assert (waiting.state, waiting.pid) == ("cancelled", None)


def test_no_thread_and_no_open_file_is_left(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = held()
    for program in ("", "time.sleep(60)", "sys.exit(1)"):
        process = fake(program, tmp_path)
        process.start()
        if "sleep" in program:
            process.cancel()
        else:
            process.wait()
    assert held() == before


# the parent's end

PARENT = """
sys.path.insert(0, sys.argv[1])
from SlicerBMapDiffusionLib.jobs.process import JobProcess, worker_environment
process = JobProcess([sys.executable, '-c', sys.argv[2]], '.', worker_environment())
process.start()
while not (said := [x for x in process.poll() if isinstance(x, str)]): time.sleep(0.05)
say(said[0]); time.sleep(60)
"""
# what the child does with the pipe, without its libraries
CHILD = """
import importlib.util, os, subprocess, sys, time
spec = importlib.util.spec_from_file_location('watching', r'{watching}')
watching = importlib.util.module_from_spec(spec); spec.loader.exec_module(watching)
watching.end_with_parent()
grandchild = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], stdin=subprocess.DEVNULL)
print(os.getpid(), grandchild.pid, flush=True); time.sleep(60)
"""
ROOT = Path(__file__).parents[2]


@posix
def test_a_parent_that_is_killed_takes_its_children_with_it(tmp_path: Path) -> None:
    child = CHILD.format(watching=ROOT / "monai_bmaps" / "jobs" / "watching.py")
    command = [sys.executable, "-c", SAY + PARENT, str(ROOT / "SlicerBMapDiffusion"), child]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        family = [int(number) for number in parent.stdout.readline().split()]
        assert len(family) == 2
        assert all(map(is_alive, family))
        parent.kill()
    assert until(lambda: not any(map(is_alive, family)), 2)


# environment


def test_the_application_s_python_is_not_the_child_s() -> None:
    given = {"PYTHONHOME": "/slicer", "RANK": "3", "PATH": "/bin", "PYTHONPATH": "/mine", "OMP_WAIT_POLICY": "ACTIVE"}
    made = worker_environment(given)
    assert not {"PYTHONHOME", "RANK"} & set(made)
    assert {name: made[name] for name in ("PATH", "PYTHONPATH", "OMP_WAIT_POLICY")} == {
        "PATH": "/bin",
        "PYTHONPATH": "/mine",
        "OMP_WAIT_POLICY": "ACTIVE",
    }


def test_paths_with_spaces_and_letters_of_all_kinds_reach_the_child(tmp_path: Path) -> None:
    folder = tmp_path / "Ünï cödé 心 and 'spaces'"
    folder.mkdir()
    process = fake("say(sys.argv[1]); say(os.getcwd())", folder, "Größe ≤ 3 mm", env=worker_environment())
    process.start()
    assert process.wait()[1:] == ["Größe ≤ 3 mm", str(folder)]


# queue


def run(queue: JobQueue) -> None:
    assert until(lambda: (queue.poll(), len(queue) == 0)[1])


def test_a_queue_runs_one_after_the_other_in_order(tmp_path: Path) -> None:
    queue, events = JobQueue(), []
    for name in "ab":
        program = f"say('{name} in'); time.sleep(0.3); say('{name} out')"
        queue.add(
            fake(program, tmp_path),
            lambda process, said: events.append(said) if isinstance(said, str) else None,
            lambda process: events.append(process.state),
        )
    run(queue)
    assert events == ["a in", "a out", "done", "b in", "b out", "done"]


def test_cancelling_one_that_waits_leaves_the_others(tmp_path: Path) -> None:
    queue, processes, ended = JobQueue(), [fake("time.sleep(0.2)", tmp_path) for _ in range(3)], []
    for process in processes:
        queue.add(process, on_end=ended.append)
    queue.cancel(processes[1])
    run(queue)
    assert [process.state for process in processes] == ["done", "cancelled", "done"]
    assert ended == [processes[1], processes[0], processes[2]]


def test_cancelling_the_one_that_runs_starts_the_next(tmp_path: Path) -> None:
    queue, first, second = JobQueue(), fake("time.sleep(60)", tmp_path), fake("", tmp_path)
    queue.add(first)
    queue.add(second)
    queue.cancel(first)
    run(queue)
    assert (first.state, second.state) == ("cancelled", "done")


def test_cancelling_all_starts_none_of_those_that_wait(tmp_path: Path) -> None:
    queue, processes = JobQueue(), [fake("time.sleep(60)", tmp_path) for _ in range(3)]
    ended: list[JobProcess] = []
    for process in processes:
        queue.add(process, on_end=ended.append)
    queue.cancel_all()
    assert [process.state for process in processes] == ["cancelled"] * 3
    assert [process.pid is None for process in processes] == [False, True, True]
    assert len(ended) == 3
    assert not is_alive(processes[0].pid or 0)


def test_who_cancels_on_hearing_something_hears_no_more(tmp_path: Path) -> None:
    queue, process, heard = JobQueue(), fake("[say(n) for n in range(9)]; time.sleep(60)", tmp_path), []

    def cancel(process: JobProcess, said: Message | str) -> None:
        heard.append(said)
        queue.cancel(process)

    queue.add(process, cancel, lambda ended: heard.append(ended.state))
    time.sleep(0.5)
    run(queue)
    assert heard == [Message("state", {"state": "starting"}), "cancelled"]


def test_a_process_that_cannot_start_does_not_stop_the_queue(tmp_path: Path) -> None:
    queue, bad, good = JobQueue(), JobProcess(["/no/such/program"], tmp_path), fake("", tmp_path)
    queue.add(bad)
    queue.add(good)
    run(queue)
    assert (bad.state, good.state) == ("failed", "done")


def test_a_listener_that_fails_does_not_stop_the_queue(tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("node deleted")

    queue, second = JobQueue(), fake("", tmp_path)
    queue.add(fake("", tmp_path), on_end=fail)
    queue.add(second)
    with pytest.raises(RuntimeError, match="node deleted"):
        run(queue)
    run(queue)
    assert second.state in ENDED
