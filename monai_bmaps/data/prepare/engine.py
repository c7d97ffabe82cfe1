"""Preparing a data set: list, open, resample, fit, write; whatever is done stays done.

One bad item spoils nothing: it is reported, and the rest is prepared.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tqdm import tqdm

from monai_bmaps.data.prepare.frames import Item, LeftOut, Source
from monai_bmaps.data.prepare.listing import write_listing
from monai_bmaps.data.prepare.preview import write_preview
from monai_bmaps.data.prepare.records import Record, Records, key_of
from monai_bmaps.data.prepare.report import write_report
from monai_bmaps.data.prepare.resampling import Size
from monai_bmaps.data.prepare.writing import Options, remove_files, write_frame
from monai_bmaps.data.split import Split, split_of


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Args:
        frames: how many frames each split has.
        left_out: how many frames were left out.
        failures: item -> what is wrong, with the file and the remedy.
        done_before: how many items an earlier run had done.
    """

    frames: dict[Split, int]
    left_out: int
    failures: dict[str, str]
    done_before: int


def prepare(
    source: Source,
    output: str | Path,
    *,
    size: Size = 256,
    square: bool = False,
    file_format: Literal["png", "nifti"] = "png",
    unfitted: Literal["drop", "keep"] = "drop",
    least_fit: float = 0.8,
    most_shadow: float | None = None,
    deform: int = 0,
    seed: int = 0,
    workers: int = 0,
    progress: bool = True,
    command: str = "monai_bmaps.data.prepare.prepare(...)",
) -> Prepared:
    """Prepare a data set for every bundle: ``images/``, ``labels/``, ``sectors/`` and ``dataset.json``.

    Run again, it goes on where it stopped, and does anew what changed. The source is only read.

    Args:
        source: the data set as it was downloaded.
        output: a new or empty folder, or one that an earlier run made.
        size: pixels along the longest side; or (height, width), which the frame fills as far as its shape allows, in
            the middle of black; or ``None``: as fine as the source. Pixels become square in any case.
        square: pad to a square, evenly left and right, or at the bottom.
        file_format: ``"png"`` or ``"nifti"``; both lossless.
        unfitted: ``"drop"`` leaves out frames to which no beam could be fitted, ``"keep"`` lists them without one.
        least_fit: overlap (IoU) with the field of view below which a beam does not count; 0.8 is the least.
        most_shadow: share of the beam in shadow above which a frame is left out; the paper's liver set: 0.5.
        deform: deformed copies of each training frame, with their depth maps; the paper's CAMUS protocol: 5.
        seed: of the deformations.
        workers: processes to use; 0: this one.
        progress: whether to draw a bar.
        command: what to call it in the report.

    Returns:
        Counts and failures; with failures the rest is prepared all the same.

    Raises:
        FileNotFoundError: the source is not there, or empty.
        ValueError: an option, a source or an output folder that cannot be used.
        OSError: the output cannot be written to.

    Example:
        >>> prepare(CamusSource(Path("CAMUS_public")), "prepared/camus")  # doctest: +SKIP
    """
    options = Options(size, square, file_format, unfitted, least_fit, most_shadow, deform, seed)
    items = source.items()
    splits = _splits(source, items)
    records = Records(Path(output), source.root)
    done, failures, before = _prepare_items(source, items, splits, records, options, workers, progress)
    records.keep_only(set(done))
    lists: dict[Split, list[dict[str, Any]]] = {split: [] for split in get_args(Split)}
    for item in items:
        lists[splits[item.group]] += done[item.name].entries if item.name in done else []
    left_out = _summed([record.left_out for record in done.values()])
    remarks = _summed([record.remarks for record in done.values()])
    write_listing(records.output / "dataset.json", source, lists)
    write_preview(records.output / "preview.png", records.output, [e for part in lists.values() for e in part])
    write_report(records.output / "report.md", source, lists, left_out, remarks, failures, command)
    frames = {split: len(entries) for split, entries in lists.items()}
    return Prepared(frames, sum(count for count, _ in left_out.values()), failures, before)


def _summed(counts: list[dict[str, tuple[int, str]]]) -> dict[str, tuple[int, str]]:
    """Words -> how many frames in all, and the first of them."""
    total: dict[str, tuple[int, str]] = {}
    for each in counts:
        for words, (number, first) in each.items():
            before, example = total.get(words, (0, first))
            total[words] = (before + number, example)
    return total


def _splits(source: Source, items: list[Item]) -> dict[str, Split]:
    """Each group's one split; refuses lists and names that contradict each other."""
    splits: dict[str, Split] = {}
    names: dict[str, str] = {}
    for item in items:
        split = item.split or split_of(source.name, item.group)
        if splits.setdefault(item.group, split) != split:
            raise ValueError(
                f"{item.group} is in {splits[item.group]} and in {split}; a split must not divide a patient: correct "
                "the data set's lists"
            )
        if item.name.casefold() in names:
            first = names[item.name.casefold()]
            raise ValueError(f"{source.root} holds {first} and {item.name}: one file name; rename one of them")
        names[item.name.casefold()] = item.name
    return splits


def _prepare_items(
    source: Source,
    items: list[Item],
    splits: dict[str, Split],
    records: Records,
    options: Options,
    workers: int,
    progress: bool,
) -> tuple[dict[str, Record], dict[str, str], int]:
    done: dict[str, Record] = {}
    failures: dict[str, str] = {}
    todo: list[Task] = []
    for item in items:
        try:
            split = splits[item.group]
            key = key_of(source, item, split, options)
        except OSError as error:
            failures[item.name] = explain(error, item)
            continue
        record = records.read(item.name, key)
        if record is None:
            todo.append((item, split, key))
        else:
            done[item.name] = record
    before = len(done)
    with tqdm(total=len(items), initial=len(items) - len(todo), disable=not progress, unit="item") as bar:
        for item, outcome in _outcomes(source, todo, records, options, workers):
            if isinstance(outcome, Record):
                try:
                    records.write(item.name, outcome)
                    done[item.name] = outcome
                except OSError as error:
                    outcome = explain(error, item)
            if isinstance(outcome, str):
                failures[item.name] = outcome
            bar.update()
    return done, failures, before


Task = tuple[Item, Split, str]
Outcome = Record | str


def _outcomes(
    source: Source, todo: list[Task], records: Records, options: Options, workers: int
) -> Iterator[tuple[Item, Outcome]]:
    """Each item's record, or what went wrong."""
    if workers < 1 or len(todo) < 2:
        for task in todo:
            yield task[0], prepare_item(source, *task, records.output, options)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(todo)), context, initializer=_end_with, initargs=(os.getpid(),)) as pool:
        futures: dict[Future[Outcome], Item] = {
            pool.submit(prepare_item, source, *task, records.output, options): task[0] for task in todo
        }
        try:
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except BrokenProcessPool:
                    yield futures[future], "a process died, perhaps for lack of memory; run again with --workers 0"
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed run leaves nobody behind who still writes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def prepare_item(source: Source, item: Item, split: Split, key: str, output: Path, options: Options) -> Outcome:
    """Write all frames of an item.

    Args:
        source: where it comes from.
        item: what to open.
        split: where it belongs.
        key: its fingerprint.
        output: folder of the prepared set.
        options: how to write it.

    Returns:
        Its record, or what is wrong with it, with the file and the remedy; then nothing of it remains.
    """
    record = Record(key)
    copies = options.deform if split == "training" else 0
    try:
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=output / ".prepared") as scratch:
            for frame in source.frames(item, Path(scratch)):
                if isinstance(frame, LeftOut):
                    record.leave_out(frame.name, frame.reason)
                    continue
                written = write_frame(frame, item.group, source.beam, output, options, copies)
                if isinstance(written, str):
                    record.leave_out(frame.name, written)
                    continue
                record.entries.extend(written)
                if frame.remark:
                    record.remark(frame.name, frame.remark)
    except (ValueError, OSError, MemoryError, ImportError) as error:
        for entry in record.entries:
            remove_files(output, entry)
        return explain(error, item)
    return record


def explain(error: Exception, item: Item) -> str:
    """What went wrong with an item, the file and the remedy, in one line."""
    file = item.files[0] if item.files else item.name
    if isinstance(error, MemoryError):
        return f"{file} needs more memory than there is; close other programs or use fewer --workers"
    if isinstance(error, OSError) and error.errno is not None:
        remedy = {
            errno.ENOSPC: "free some space and run the command again: it goes on where it stopped",
            errno.EDQUOT: "free some space and run the command again: it goes on where it stopped",
            errno.EACCES: "make it readable, and the output writable",
            errno.ENOENT: "it was there when the folder was listed: bring it back",
        }.get(error.errno, "check the disk, then run the command again")
        return f"{error.filename or file}: {error.strerror}; {remedy}"
    return " ".join(str(error).split())
