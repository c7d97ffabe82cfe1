"""A job is a folder: what to draw goes in, a child process draws it, and the images come out of it.

In: ``dataset.json``, ``labels/``, perhaps ``images/``, ``settings.json`` (what the bundle reads) and ``request.json``
(what the user asked for). Out: ``output/images.npy`` and last ``output/result.json``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SlicerBMapDiffusionLib.jobs.messages import Message
from SlicerBMapDiffusionLib.jobs.png import write_png
from SlicerBMapDiffusionLib.jobs.request import Request

__all__ = ["Job", "Message", "Request", "Result", "new_job_folder", "write_job"]

Frames = NDArray[np.uint8]

_RESULT_VERSION = 1
_MEANT = "#@%$"
_CMD_PLAIN = re.compile(r"[A-Za-z0-9_.:/\\-]+")
_CONFIGS = ("configs/inference.json", "configs/job.json")


@dataclass(frozen=True, eq=False)
class Result:
    """What a job made.

    Args:
        images: ``(N, rows, columns)`` uint8: all frames of the first variant, then of the second, ...
        seeds: of each image.
        record: what decided how the images look, by name.
    """

    images: Frames
    seeds: tuple[int, ...]
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A written job folder.

    Args:
        folder: the folder.
        request: what it is to make.
        digest: identifies all that goes in; the result repeats it.
    """

    folder: Path
    request: Request
    digest: str

    @property
    def output(self) -> Path:
        """Where the child process writes."""
        return self.folder / "output"

    def command(self, python: str | Path, bundle: str | Path | None = None) -> list[str]:
        """The child process's arguments; it must run in the bundle's folder, :meth:`directory`.

        Args:
            python: the interpreter, ``PythonSlicer`` in Slicer.
            bundle: the bundle's folder if it is no longer where the request says.
        """
        configs = [*_CONFIGS, str(self.folder / "settings.json")]
        start = [str(python), "-X", "utf8", "-W", "ignore", "-m", "monai.bundle", "run"]
        return [*start, "--config_file", f"[{', '.join(map(_single_quoted, configs))}]"]

    def directory(self, bundle: str | Path | None = None) -> Path:
        """Where the child process runs: the bundle's folder."""
        return Path(bundle or self.request.bundle)

    def terminal_line(self, python: str | Path, bundle: str | Path | None = None, windows: bool | None = None) -> str:
        """The line that makes the same images in a terminal, as long as the folder is there.

        On Windows it is for cmd.exe, which replaces ``%NAME%`` in a path, in quotes too, if there is such a variable.

        Args:
            python: the interpreter.
            bundle: as for :meth:`command`.
            windows: for ``cmd.exe`` instead of a POSIX shell; ``None``: this system's.
        """
        folder, command = str(self.directory(bundle)), self.command(python, bundle)
        if os.name == "nt" if windows is None else windows:
            return f'cd /d "{folder}" && {" ".join(map(_quoted_for_cmd, command))}'
        return f"cd {shlex.quote(folder)} && {shlex.join(command)}"

    def read_result(self) -> Result:
        """The images, checked against the manifest and the request.

        Raises:
            ValueError: no result, half of one, or one of another job.
        """
        manifest = self._manifest()
        expected = (self.request.variants * self.request.shape[0], *self.request.shape[1:])
        path = self.output / "images.npy"
        try:
            images = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"the images {path} are missing or damaged ({error}). Make them again") from error
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != expected:
            got = f"{getattr(images, 'shape', '?')} {getattr(images, 'dtype', '?')}"
            raise ValueError(f"the images {path} should be {expected} uint8, but are {got}. Make them again")
        if hashlib.sha256(images.tobytes()).hexdigest() != manifest["sha256"]:
            raise ValueError(f"the images {path} are not those that were written: the file is damaged. Make them again")
        if manifest["seeds"] != self.request.seeds:
            raise ValueError("the images were drawn with other seeds than asked for. Make them again")
        return Result(images, tuple(manifest["seeds"]), dict(manifest["record"]))

    def _manifest(self) -> dict[str, Any]:
        path = self.output / "result.json"
        if not path.is_file():
            raise ValueError("the program ended without a result. Look at its log, and try again")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            version, job = manifest["version"], manifest["job"]
            missing = {"sha256", "seeds", "record"} - set(manifest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the manifest {path} is damaged ({error!r}). Make the images again") from error
        if version != _RESULT_VERSION or missing:
            raise ValueError(
                f"the package monai-bmaps wrote a manifest of version {version}, but the module reads "
                f"{_RESULT_VERSION}. Install the packages again, so that they fit the extension"
            )
        if job != self.digest:
            raise ValueError(f"the result in {self.output} is of another job. Make the images again")
        return dict(manifest)

    def read_preview(self, name: str = "preview.npy") -> Frames | None:
        """The running estimate ``(rows, columns)`` uint8; ``None`` where there is none that can be read."""
        try:
            preview = np.load(self.output / name, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        fits = isinstance(preview, np.ndarray) and preview.dtype == np.uint8 and preview.shape == self.request.shape[1:]
        return preview if fits else None

    def remove(self) -> None:
        """Delete the folder; what cannot be deleted now stays, without an error."""
        shutil.rmtree(self.folder, ignore_errors=True)


def new_job_folder(parent: str | Path | None = None) -> Path:
    """A new empty folder that no other process uses, under ``parent`` or the system's temporary folder."""
    if parent is not None:
        Path(parent).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="bmap-", dir=parent))


def write_job(folder: str | Path, request: Request, labels: Frames | None, images: Frames | None = None) -> Job:
    """Write what the child process needs.

    Args:
        folder: new or empty.
        request: what to make.
        labels: ``(count, rows, columns)`` uint8, 0 unlabelled and 1, 2, ... the request's classes; ``None`` for a model
            without classes.
        images: as ``labels``, grey levels to begin with, where the request has a strength.

    Returns:
        The job.

    Raises:
        ValueError: labels or images that do not fit the request, or a folder in use.
        OSError: the folder cannot be written to, the disk is full for example. It is then as it was.
    """
    folder = Path(folder).absolute()
    _check_labels(request, labels)
    _check_images(request, images)
    if not Path(request.bundle).is_dir():
        raise ValueError(f"the bundle {request.bundle} is not there any more. Choose the model again")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"the folder {folder} holds something already. Take a new one for each job")
    existed = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _write(folder, request, labels, images)
    except OSError as error:
        _empty(folder, existed)
        raise _explained(error, folder) from error


def _write(folder: Path, request: Request, labels: Frames | None, images: Frames | None) -> Job:
    count = request.shape[0]
    kind, maps = ("labels", labels) if request.classes else ("sectors", np.ones(request.shape, np.uint8))
    given = {kind: maps, **({} if images is None else {"images": images})}
    digest = hashlib.sha256(request.to_json().encode())
    for name, frames in given.items():
        assert frames is not None  # for the type checker: _check_labels saw to it
        (folder / name).mkdir()
        for index, frame in enumerate(frames):
            write_png(folder / name / f"frame_{index:04d}.png", frame)
        digest.update(np.ascontiguousarray(frames).tobytes())
    items = [
        {"name": f"image_{variant:04d}_{index:04d}"} | {name[:-1]: f"{name}/frame_{index:04d}.png" for name in given}
        for variant in range(request.variants)
        for index in range(count)
    ]
    names = {str(number): name for number, name in enumerate(("background", *request.classes))}
    job = Job(folder, request, digest.hexdigest()[:32])
    _write_json(folder / "dataset.json", {"labels": names, "test": items})
    _write_json(folder / "settings.json", _settings(job))
    (folder / "request.json").write_text(request.to_json(), encoding="utf-8")
    return job


def _settings(job: Job) -> dict[str, Any]:
    """What overrides the bundle's configuration; what was not chosen stays the bundle's."""
    request = job.request
    chosen = {
        "num_inference_steps": request.steps,
        "guidance": request.guidance,
        "drawn_attenuation_db": request.attenuation_db,
        "strength": request.strength,
    }
    return {
        "job": job.digest,
        "dataset_dir": _literal(job.folder),
        "output_dir": _literal(job.output),
        "frame_size": list(request.shape[1:]),
        "beam": dict(request.beam),
        "seeds": request.seeds,
        "device_name": request.device,
        "preview": request.preview,
        **{name: value for name, value in chosen.items() if value is not None},
    }


def _literal(path: Path) -> str:
    """A path as a value of a bundle's configuration, where ``#``, ``@``, ``%`` and ``$`` mean something."""
    text = str(path)
    if not set(text) & set(_MEANT):
        return text
    quoted = ascii(text)
    for sign in _MEANT:
        quoted = quoted.replace(sign, f"\\x{ord(sign):02x}")
    return "$" + quoted


def _single_quoted(text: str) -> str:
    """A Python literal without double quotes of its own, which would end cmd.exe's quoting of the whole list."""
    return "'" + repr('"' + text)[2:]


def _quoted_for_cmd(argument: str) -> str:
    """An argument in double quotes where cmd.exe or the program's own start would read anything but letters in it."""
    if _CMD_PLAIN.fullmatch(argument):
        return argument
    text = subprocess.list2cmdline([argument])
    if text.startswith('"'):
        return text
    backslashes = len(text) - len(text.rstrip("\\"))  # the last ones would escape the quote behind them
    return '"' + text + "\\" * backslashes + '"'


def _write_json(path: Path, content: object) -> None:
    """In ASCII, which every system's locale reads alike."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=True), encoding="ascii")


def _check_labels(request: Request, labels: Frames | None) -> None:
    if not request.classes:
        return
    if labels is None:
        raise ValueError("this model draws from a segmentation. Choose one and map its segments to the classes")
    _check_frames("labels", request, labels)
    if (highest := int(labels.max())) > len(request.classes):
        raise ValueError(f"labels go up to {highest}, but the model has {len(request.classes)} classes. Map them anew")
    if highest == 0:
        raise ValueError("no segment lies inside the frame. Move the frame, or map the segments to classes")


def _check_images(request: Request, images: Frames | None) -> None:
    if (images is None) != (request.strength is None):
        raise ValueError("a strength and images to begin with belong together. Give both or neither")
    if images is not None:
        _check_frames("images", request, images)


def _check_frames(name: str, request: Request, frames: Sequence[Any] | NDArray[Any]) -> None:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.shape != request.shape:
        raise ValueError(f"{name} must be {request.shape} uint8 as the frame is, got {frames.shape} {frames.dtype}")


def _empty(folder: Path, existed: bool) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if existed:
        folder.mkdir(exist_ok=True)


def _explained(error: OSError, folder: Path) -> OSError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return OSError(
            error.errno, f"The disk of {folder} is full. Free some space, or choose another temporary folder"
        )
    return OSError(error.errno, f"The folder {folder} cannot be written to ({error.strerror or error}). Choose another")
