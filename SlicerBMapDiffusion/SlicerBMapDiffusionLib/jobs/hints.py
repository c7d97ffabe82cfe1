"""From how a child process ended to what the user can do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KILLED, _CRASHED = {-9, 137}, {-11, 139, -6, 134, -7, -4, 0xC0000005, 0xC0000409, -1073741819, -1073740791}
_INTERRUPTED = {-2, -15, 130, 143, 0xC000013A, -1073741510}

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        "The graphics card has too little free memory. Close other programs that use it, or choose the device CPU.",
    ),
    (
        r"can't allocate memory|not enough memory|\bMemoryError\b|Cannot allocate memory",
        "The computer has too little free memory. Close other programs, or ask for fewer or smaller images.",
    ),
    (
        r"No space left on device|\[Errno 28\]|not enough space on the disk|Disk quota exceeded|"
        r"\d+ requested and \d+ written",
        "The disk is full. Free some space on the disk of the temporary folder (Edit > Application Settings), and try "
        "again.",
    ),
    (
        r"No module named '?([\w.]+)|needs (ignite|fire)\b|PackageNotFoundError",
        "A Python package is missing ({0}). Press Generate, which offers to install what is missing; if it offers "
        "nothing, restart Slicer and try again.",
    ),
    (
        r"is not the file that \S+ beside it describes|is damaged or no file of weights",
        "The model's weights are damaged. Install the extension again, or the model if you added it yourself.",
    ),
    (
        r"model\.pt does not exist",
        "The model's weights are missing. Install the extension again, or the model if you added it yourself.",
    ),
    (
        r"was trained with other settings|holds weights of another network",
        "The model's weights do not belong to its settings. Install the extension again, or the model if you added it "
        "yourself.",
    ),
    (
        r"sees no graphics card|there is no device|CUDA driver|no kernel image is available|not compiled with CUDA",
        "The graphics card cannot be used by PyTorch. Choose the device CPU or automatic, or install a PyTorch that "
        "fits the card.",
    ),
    (r"Permission denied|\[Errno 13\]", "A file or folder may not be written or read. Check who may use it."),
)
_KILLED_ADVICE = (
    "The program was killed from outside, most often because the computer ran out of memory. Close other programs, or "
    "ask for fewer or smaller images."
)
_CRASHED_ADVICE = "The program crashed. Try again with the device CPU; if it crashes there too, install PyTorch again."

# PythonSlicer starts Python as a child of its own, and ends with 1 whatever signal ended that.
_FATAL = "Fatal Python error"
_LAUNCHER = re.compile(r"^error: \[.*\] exit abnormally")
_PASSING = re.compile(r"RuntimeError: Failed to (instantiate|evaluate)")
_ERROR = re.compile(r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Warning): .+")


def hint(returncode: int | None, last_lines: Iterable[str]) -> str:
    """What happened and what to do, in one or two English sentences.

    Args:
        returncode: of the process; negative for a signal, ``None`` if it did not start.
        last_lines: the end of its output, oldest first.
    """
    lines = [line.strip() for line in last_lines]
    for line in reversed(lines):  # the last error is what ended it; its causes stand above
        for pattern, advice in _KNOWN:
            if found := re.search(pattern, line):
                return advice.format(next((group for group in found.groups() if group), "see the log"))
    return (
        _from_code(returncode)
        or _from_launcher(lines)
        or _from_error(lines)
        or "The program ended without a word. Look at the log."
    )


def last_error(lines: Iterable[str]) -> str | None:
    """The last line that names an error, or else the last one; ``None`` where there is none.

    A crash is named above a listing of where it happened.
    """
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if _ERROR.match(line) or line.startswith(_FATAL)]
    return next(reversed(errors or said), None)


def _from_code(returncode: int | None) -> str | None:
    if returncode in _KILLED:
        return _KILLED_ADVICE
    if returncode in _CRASHED:
        return _CRASHED_ADVICE
    if returncode in _INTERRUPTED:
        return "The program was ended from outside. Try again."
    return None


def _from_launcher(lines: list[str]) -> str | None:
    if not any(_LAUNCHER.search(line) for line in lines):
        return None
    return _CRASHED_ADVICE if any(line.startswith(_FATAL) for line in lines) else _KILLED_ADVICE


def _from_error(lines: list[str]) -> str | None:
    """The first of the errors that followed from each other, without MONAI's, which only says where it passed."""
    errors = [line for line in lines if _ERROR.match(line)]
    errors = [line for line in errors if not _PASSING.search(line)] or errors
    return f"The program ended with an error: {errors[0]}" if errors else None
