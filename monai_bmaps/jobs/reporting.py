"""The handler of a job: lines while it draws, then its images in one file, and last the manifest that vouches for it.

``images.npy`` is ``(N, rows, columns)`` uint8, in the order of the items. ``result.json`` holds its SHA-256, the seeds
and all that decides how the images look. It is written last, so where it is, all is.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from PIL import Image as PillowImage

from monai_bmaps.files import replacing
from monai_bmaps.geometry import Shape, beam_from_dict
from monai_bmaps.jobs.grids import FrameGrid
from monai_bmaps.jobs.lines import announce
from monai_bmaps.pictures import Pixels, to_grey

VERSION = 1


class JobReport:
    """Handler that tells of every denoising step, and leaves the images of a job in its folder.

    Its :meth:`step` is the sampler's callback. Images come on the frame's grid and are black outside the beam; where
    images are changed, they stay there as they were given.

    Args:
        folder: where ``images.npy``, ``result.json`` and ``preview.npy`` go.
        items: as listed, each with its ``seed``, and the path of its ``image`` where images are changed.
        dataset: the same items, prepared; their ``seg`` knows the drawn image's grid.
        size: (rows, columns) of the frames.
        beam: of all frames, in their pixels.
        record: what decides how the images look; goes into the manifest.
        job: an identifier that the manifest repeats.
        preview: whether to write ``preview.npy``, the running estimate of the first image of each batch.
        preview_interval: seconds between two previews at least.
        edited: whether images are changed rather than drawn.
    """

    def __init__(
        self,
        folder: str | Path,
        items: Sequence[Mapping[str, Any]],
        dataset: Sequence[Mapping[str, Any]],
        size: Shape,
        beam: Mapping[str, Any],
        record: Mapping[str, object],
        job: str | None = None,
        preview: bool = False,
        preview_interval: float = 0.2,
        edited: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.items = items
        self.dataset = dataset
        self.size = (int(size[0]), int(size[1]))
        self.beam = dict(beam)
        self.record = dict(record)
        self.job = job
        self.preview = preview
        self.preview_interval = preview_interval
        self.edited = edited
        self._inside = beam_from_dict(self.beam).mask(self.size).numpy()
        self._images: list[Pixels] = []
        self._last_preview = -float("inf")

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Any) -> None:
        """Begin to count; a manifest of an earlier run vouches for nothing any more."""
        self._images = []
        self._last_preview = -float("inf")
        (self.folder / "result.json").unlink(missing_ok=True)
        announce("state", state="drawing", images=len(self.items))

    def step(self, done: int, steps: int, clean: torch.Tensor) -> None:
        """Tell of a denoising step, as the sampler's callback."""
        announce("progress", image=len(self._images), images=len(self.items), batch=len(clean), step=done, steps=steps)
        now = time.monotonic()
        if self.preview and now - self._last_preview >= self.preview_interval:
            self._last_preview = now
            self._write_preview(clean[0, 0])

    def _write_preview(self, clean: torch.Tensor) -> None:
        index = len(self._images)
        path = self.folder / "preview.npy"
        with suppress(OSError):  # a reader may hold the last one open, which Windows does not replace; the job goes on
            with replacing(path) as partial:
                np.save(partial, self._framed(clean, index))
            announce("preview", file=path.name, image=index)

    def collect(self, engine: Any) -> None:
        """Keep the images of one batch."""
        for image in engine.state.output["pred"]:
            self._images.append(self._framed(image[0], len(self._images)))

    def _framed(self, image: torch.Tensor, index: int) -> Pixels:
        """Grey levels on the frame's grid."""
        pixels = to_grey(FrameGrid(self.size, self.dataset[index]["seg"].affine)(image.float().cpu()))
        return np.where(self._inside, pixels, self._outside(index))

    def _outside(self, index: int) -> Any:
        if not self.edited:
            return np.uint8(0)
        with PillowImage.open(self.items[index]["image"]) as picture:
            return np.asarray(picture.convert("L"))

    def finish(self, engine: Any) -> None:
        """Write the images, then the manifest, then say so."""
        announce("state", state="writing")
        images = np.stack(self._images)
        with replacing(self.folder / "images.npy") as partial:
            np.save(partial, images)
        manifest = {
            "version": VERSION,
            "job": self.job,
            "shape": list(images.shape),
            "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
            "seeds": [int(item["seed"]) for item in self.items],
            "synthetic": True,
            "record": {key: _plain(value) for key, value in self.record.items()},
        }
        with replacing(self.folder / "result.json") as partial:
            partial.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        announce("done", images=len(images))


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (int, float)) else str(value)
