"""Interleaved timing: what is compared takes turns, so that a busy machine slows all of it alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.report import Row

_clock: Callable[[], float] = time.perf_counter


def now() -> float:
    """Seconds of the clock that benchmarks use."""
    return _clock()


def use_processor_time() -> None:
    """Count the time this process computes, in one thread, instead of the time that passes: for busy machines."""
    global _clock
    _clock = time.process_time
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Timings:
    """Seconds of one call, by name, round by round."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """Median over rounds, in seconds."""
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, reference: str) -> float:
        """Median over rounds of ``name / reference`` within a round."""
        return statistics.median(self._ratios(name, reference))

    def quartiles(self, name: str, reference: str) -> tuple[float, float]:
        """Quartiles of the rounds' ratios: how far the machine let the figure wander."""
        low, _, high = statistics.quantiles(self._ratios(name, reference), n=4, method="inclusive")
        return low, high

    def _ratios(self, name: str, reference: str) -> list[float]:
        return [one / other for one, other in zip(self.seconds[name], self.seconds[reference], strict=True)]


def milliseconds(seconds: float) -> str:
    """To three digits; seconds from one second on."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def compared(what: str, timings: Timings, name: str, reference: str, how: str, scale: float = 1.0) -> Row:
    """A row of two times: how many times the reference's ours is.

    Args:
        what: see :class:`~benchmarks.report.Row`.
        timings: of both.
        name: ours.
        reference: the other.
        how: as in a row; the quartiles of the ratio are added.
        scale: of what is shown to what was timed: 0.05 shows one of 20 steps.
    """
    low, high = timings.quartiles(name, reference)
    ours, other = (milliseconds(scale * timings.median(x)) for x in (name, reference))
    return Row(
        what,
        ours,
        other,
        f"{timings.ratio(name, reference):.3g} x the time",
        f"{how} (quartiles {low:.3g} to {high:.3g})",
    )


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 1) -> Timings:
    """Time calls in turns, after one call of each that is not timed.

    Args:
        calls: by name; every second round runs them in reverse.
        rounds: how often each is timed; at least 2.
        repeats: calls per timing, for calls of microseconds.

    Raises:
        RuntimeError: a call that fails, by its name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        try:
            call()
        except Exception as error:
            raise RuntimeError(f"{name} could not run: {error}") from error
    for number in range(rounds):
        for name in reversed(calls) if number % 2 else calls:
            _wait()
            start = now()
            for _ in range(repeats):
                calls[name]()
            _wait()
            seconds[name].append((now() - start) / repeats)
    return Timings({name: tuple(values) for name, values in seconds.items()})


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
