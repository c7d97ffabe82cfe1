"""What has been done already, in ``OUTPUT/.prepared``: one small file for each item, written after its frames.

An item is done again when a file of it changed (size or time), or an option did.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from monai_bmaps.data.prepare.frames import Item, Source
from monai_bmaps.data.prepare.writing import PATH_KEYS, Options, files_of
from monai_bmaps.data.split import Split
from monai_bmaps.files import replacing

_VERSION = 1  # of what is written for the same input: count up when it changes
_FOLDER = ".prepared"


@dataclass(frozen=True)
class Record:
    """The outcome of one item.

    Args:
        key: fingerprint of its files and of the options.
        entries: of the frames that were written.
        left_out: reason -> how many frames, and the first of them.
        remarks: what the report should say -> how many frames, and the first of them.
    """

    key: str
    entries: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)
    remarks: dict[str, tuple[int, str]] = field(default_factory=dict)

    def leave_out(self, name: str, reason: str) -> None:
        """Count a frame that is not prepared."""
        _count(self.left_out, reason, name)

    def remark(self, name: str, words: str) -> None:
        """Count a frame of which the report should say something."""
        _count(self.remarks, words, name)


def _count(counts: dict[str, tuple[int, str]], words: str, name: str) -> None:
    number, first = counts.get(words, (0, name))
    counts[words] = (number + 1, first)


class Records:
    """The records of one prepared folder.

    Args:
        output: the folder; made if it is not there.
        root: the source, which must not hold it.

    Raises:
        ValueError: a folder inside the source, or one with files that this command did not write.
        OSError: it cannot be made.
    """

    def __init__(self, output: Path, root: Path) -> None:
        target, origin = output.resolve(), root.resolve()
        if target == origin or origin in target.parents:
            raise ValueError(f"{output} lies in the source {root}, which stays untouched; choose a folder elsewhere")
        self.output = output
        self.folder = output / _FOLDER
        if output.exists() and not self.folder.is_dir() and (not output.is_dir() or any(output.iterdir())):
            raise ValueError(f"{output} holds files that this command did not write; choose a new or empty folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._clean()

    def read(self, name: str, key: str) -> Record | None:
        """The record of an item, if it is of this key and its files are all there."""
        record = self._load(self._path(name))
        if record is None or record.key != key:
            return None
        return record if all(path.is_file() for path in self._files_of(record)) else None

    def write(self, name: str, record: Record) -> None:
        """Note that an item is done, and remove what an earlier run wrote for it and this one did not."""
        self._forget(self._load(self._path(name)), keep=set(self._files_of(record)))
        with replacing(self._path(name)) as partial:
            partial.write_text(json.dumps({"name": name, **asdict(record)}))

    def keep_only(self, names: set[str]) -> None:
        """Remove what was written for all other items: they failed, or are no longer in the source."""
        kept = {self._path(name) for name in names}
        for path in set(self.folder.glob("*.json")) - kept:
            self._forget(self._load(path), keep=set())
            path.unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _load(self, path: Path) -> Record | None:
        try:
            content = json.loads(path.read_text())
            return Record(**{each.name: content[each.name] for each in fields(Record)})
        except (OSError, ValueError, KeyError, TypeError):
            return None  # no record, or a damaged one: the item is done again

    def _files_of(self, record: Record) -> list[Path]:
        return [path for entry in record.entries for path in files_of(self.output, entry)]

    def _forget(self, record: Record | None, keep: set[Path]) -> None:
        for path in self._files_of(record) if record is not None else ():
            if path not in keep:
                path.unlink(missing_ok=True)

    def _clean(self) -> None:
        """Remove what a killed run left half-written."""
        for scratch in self.folder.glob("scratch-*"):
            shutil.rmtree(scratch, ignore_errors=True)
        for folder in (self.output, self.folder, *(self.output / f"{key}s" for key in PATH_KEYS)):
            for partial in folder.glob(".partial-*"):
                partial.unlink(missing_ok=True)


def key_of(source: Source, item: Item, split: Split, options: Options) -> str:
    """Fingerprint of everything that decides what is written for an item.

    Raises:
        OSError: a file of the item cannot be looked at.
    """
    settings = {each.name: getattr(source, each.name) for each in fields(source) if each.name != "root"}  # type: ignore[arg-type]
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in item.files]
    found: Mapping[str, Any] = {k: v for k, v in item.found.items() if k not in PATH_KEYS}
    parts = (_VERSION, sorted(settings.items()), options, split, item.name, item.group, sorted(found.items()), files)
    return hashlib.sha1(repr(parts).encode()).hexdigest()
