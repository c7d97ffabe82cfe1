"""Files of drawn images, resumable, and a run over nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Events
from torch.utils.data import Subset

from monai_bmaps import ranks
from monai_bmaps.bmaps import BMap
from monai_bmaps.handlers.layouts import Layout, Pictures
from monai_bmaps.handlers.samples import colour_b_map
from monai_bmaps.pictures import Pixels, colour_labels, side_by_side, to_grey
from monai_bmaps.provenance import Record, read_pixels, record_of, write_png

_OVERVIEW = {"Overview": "of synthetic images; the file of each tells how it was drawn"}


class Items(Protocol):
    """Anything that holds items by number, as data sets do."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """One of them."""


class SynthesisWriter:
    """Handler that writes what an evaluator synthesised: PNG and more per image, one overview picture.

    Every file says that it is synthetic: the PNG's text, a comment of the NIfTI's header and the NRRD's fields tell
    everything that decides which image is drawn (:mod:`monai_bmaps.provenance`). The PNG comes last, so where it is,
    all is.

    Args:
        folder: where ``overview.png`` goes.
        dataset: the prepared items, each with ``name``, ``seg`` and ``depth``, and its ``seed``, if it has one.
        b_map: drawn in the overview.
        num_train_timesteps: T, for the B-map.
        provenance: added to the records: model and settings that decide how images look.
        overview: how many images the overview shows at most, from the first on.
        layout: where the other files go; ``None``: ``NAME.png`` and ``NAME.nii.gz`` in the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        dataset: Items,
        b_map: BMap,
        num_train_timesteps: int,
        provenance: Mapping[str, object] | None = None,
        overview: int = 4,
        layout: Layout | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.dataset = dataset
        self.b_map = b_map
        self.num_train_timesteps = num_train_timesteps
        self.provenance = dict(provenance or {})
        self.overview = overview
        self.layout = layout or Pictures(folder)
        self._count = 0
        self._table = b_map.tabulate(num_train_timesteps)

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    @cached_property
    def records(self) -> dict[str, Record]:
        """What each item's image says, by the item's name."""
        items = (self.dataset[index] for index in range(len(self.dataset)))
        return {item["name"]: record_of(item, self.provenance) for item in items}

    def missing(self, resume: bool | str = True) -> Subset[Mapping[str, Any]]:
        """The items still to be drawn: those whose files are not there, or say something else than they would now.

        Args:
            resume: ``False`` draws all of them; the words true and false are taken for what they say.

        Raises:
            ValueError: ``resume`` is something else.
        """
        if str(resume).lower() not in ("true", "false"):
            raise ValueError(f"resume must be true or false, got {resume!r}")
        resume = str(resume).lower() == "true"
        # without a seed of its own an image depends on the batch it is drawn in
        kept = [
            resume and record["Seed"] != "None" and self.layout.has(name, record)
            for name, record in self.records.items()
        ]
        log = logging.getLogger(__name__)
        log.info(f"{sum(kept)} of {len(kept)} images are in {self.folder} already, {len(kept) - sum(kept)} to draw")
        return Subset(self.dataset, [index for index, there in enumerate(kept) if not there])  # type: ignore[arg-type]

    def start(self, engine: Any) -> None:
        """Begin to count."""
        self._count = 0
        self.layout.begin(list(self.records))

    def write(self, engine: Any) -> None:
        """Write the images of one batch."""
        batch = engine.state.batch
        for image, seg, name in zip(engine.state.output["pred"].cpu(), batch["seg"], batch["name"], strict=True):
            self.layout.write(name, to_grey(image[0]), seg, self.records[name])
            self._count += 1

    def finish(self, engine: Any) -> None:
        """Let the first process write the overview, of images drawn now or before; say where everything is."""
        columns = [self._column(self.dataset[k]) for k in range(min(self.overview, len(self.dataset)))]
        if columns and ranks.is_first():
            titles = ["labels", f"B-map, 0 to {self._decibels():.0f} dB", "given", "synthetic"]
            edited = len(columns[0]) == len(titles)
            picture = side_by_side(columns, titles if edited else [*titles[:2], titles[-1]])
            write_png(self.folder / "overview.png", np.asarray(picture), _OVERVIEW)
        if len(self.dataset) > 0:
            self.layout.end({key: str(value) for key, value in self.provenance.items()})
        engine.logger.info(f"wrote {self._count} images to {self.folder}")

    def _column(self, item: Mapping[str, Any]) -> list[Pixels]:
        seg, depth = (item[key].as_subclass(torch.Tensor) for key in ("seg", "depth"))
        given = [to_grey(item["image"][0].as_subclass(torch.Tensor))] if "image" in item else []
        drawn = read_pixels(self.layout.picture(item["name"]))
        return [colour_labels(seg), colour_b_map(self._table, depth[0], 1 - seg[0]), *given, drawn]

    def _decibels(self) -> float:
        return self.b_map.total_attenuation_db(self.num_train_timesteps)


def run_evaluator(evaluator: Any) -> None:
    """Run an evaluator; without any item, which ignite refuses, its handlers start and finish all the same."""
    if len(evaluator.data_loader) > 0:
        evaluator.run()
        return
    for event in (Events.STARTED, Events.COMPLETED):
        evaluator.fire_event(event)
