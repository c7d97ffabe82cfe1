"""``evaluation.json``, ``evaluation.md`` and a sheet of samples: what an evaluation found, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
from ignite.engine import Events

from monai_bmaps.evaluation.sheet import Sheet
from monai_bmaps.files import replacing
from monai_bmaps.metrics.findings import Measured, table

_SHEET = "evaluation.png"


class Detailed(Protocol):
    """A metric that keeps more than its key number."""

    details: Sequence[Measured]


class EvaluationReport:
    """Handler that writes what the metrics of an evaluator found, and shows what was drawn.

    Attach it to an evaluator with ``decollate=False``. Of several ranks the first writes; its sheet shows its share.

    Args:
        folder: where ``evaluation.json``, ``evaluation.md`` and ``evaluation.png`` go.
        metrics: the evaluator's metrics by name, as in ``key_val_metric``; of each, its ``details`` are reported.
        numbers: further numbers by name, for example a validation loss, or functions that give them. These are called
            before anything is drawn; the numbers also go to ``engine.state.metrics``.
        provenance: what was evaluated, for example model, weights, steps and sampler.
        side: the sheet has ``side`` times ``side`` samples, spread evenly over the set.

    Raises:
        ValueError: when the engine starts: a further number that is not finite.
    """

    def __init__(
        self,
        folder: str | Path,
        metrics: Mapping[str, Detailed],
        numbers: Mapping[str, float | Callable[[], float]] | None = None,
        provenance: Mapping[str, object] | None = None,
        side: int = 5,
    ) -> None:
        self.folder = Path(folder)
        self.metrics = dict(metrics)
        self.numbers = dict(numbers or {})
        self.provenance = dict(provenance or {})
        self.side = side
        self._found: dict[str, float] = {}
        self._sheet = Sheet(0, side)

    def attach(self, engine: Any) -> None:
        """Register with an ignite engine."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Any) -> None:
        """Read the further numbers and make the folder: what fails, fails before anything is drawn."""
        self._found = {name: float(number() if callable(number) else number) for name, number in self.numbers.items()}
        for name, value in self._found.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number to report, got {value}; look for what made it so")
        engine.state.metrics.update(self._found)
        self.folder.mkdir(parents=True, exist_ok=True)
        loader = engine.data_loader
        self._sheet = Sheet(len(getattr(loader, "sampler", loader)), self.side)

    def collect(self, engine: Any) -> None:
        """Take a batch's images for the sheet."""
        self._sheet.add(engine.state.batch, engine.state.output["pred"])

    def finish(self, engine: Any) -> None:
        """Write everything and say where."""
        if idist.get_rank() != 0:
            return
        if (picture := self._sheet.picture()) is not None:
            with replacing(self.folder / _SHEET) as partial:
                picture.save(partial)
        with replacing(self.folder / "evaluation.json") as partial:
            partial.write_text(json.dumps(self._content(), indent=2, allow_nan=False, default=str) + "\n")
        with replacing(self.folder / "evaluation.md") as partial:
            partial.write_text(self._page())
        engine.logger.info(f"wrote evaluation.md, evaluation.json and {_SHEET} to {self.folder}")

    def _rows(self) -> dict[str, Measured]:
        """All details by a name that is unique over metrics, as in ``engine.state.metrics``."""
        rows = {f"{name}_{row.key}": row for name, metric in self.metrics.items() for row in metric.details}
        return rows | {name: Measured(name, name, value) for name, value in self._found.items()}

    def _content(self) -> dict[str, Any]:
        measured = {key: row.to_dict() for key, row in self._rows().items()}
        return {"provenance": self.provenance, "measured": measured}

    def _page(self) -> str:
        lines = [f"* {name}: {value}" for name, value in self.provenance.items()]
        lines += ["", *table(self._rows().values())]
        if any(row.interval for row in self._rows().values()):
            lines += ["", "Intervals are bootstrap intervals over images; frames of one patient count as independent."]
        if caption := self._sheet.caption():
            lines += ["", f"![Samples spread over the set; in each cell: {caption}]({_SHEET})"]
        return "\n".join(["# Evaluation", "", *lines, ""])
