"""Draws an image again from its record: the bundle is run on the one item that the record tells of.

What a file says of itself is not to be trusted: of its record only numbers, names of known settings and paths of files
to read enter the bundle's configuration, never an expression that it would evaluate.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_bmaps.pictures import Pixels
from monai_bmaps.provenance.formats import read_pixels, read_record
from monai_bmaps.provenance.record import SOURCE_FILES, Record, digest_of, source_of

_NAME = "redrawn"
_NUMBERS = {
    "Steps": "num_inference_steps",
    "Guidance": "guidance",
    "Guidance interval": "guidance_interval",
    "Strength": "strength",
    "Repeats": "edit_repeats",
    "Seed": "seed",
}
"""Entries of a record that are numbers, a list of them or ``None`` -> ids of the configuration."""
_SOLVER = ("step_grid", "algorithm", "solver_order", "lower_order_final", "dynamic_threshold")
"""Of ``Sampler``, what can be set under ``scheduler::`` as it stands."""
_PRECISIONS = {
    "auto": "auto",
    "None": None,
    **{f"torch.{name}": f"$torch.{name}" for name in ("float16", "bfloat16", "float32")},
}


def redraw(
    record: Record,
    size: tuple[int, int],
    item: Mapping[str, Any],
    bundle: Path,
    configs: Sequence[Path] = (),
    output: Path | None = None,
) -> tuple[Pixels, Record]:
    """The image that a bundle draws for a record, and what that says of itself.

    Args:
        record: of the image.
        size: height and width of the image.
        item: files and beam, as :func:`source_item` finds them.
        bundle: its folder. Its configuration can run any code: give only bundles that you trust.
        configs: files on top of its ``configs/inference.json``.
        output: folder to keep it in.

    Raises:
        FileNotFoundError: no bundle there.
        ValueError: a record that cannot be drawn from.
        RuntimeError: what the bundle refuses.
    """
    config = bundle / "configs" / "inference.json"
    if not config.is_file():
        raise FileNotFoundError(f"{config} does not exist; give the folder of the bundle that drew the image")
    with tempfile.TemporaryDirectory() as temporary:
        listing = Path(temporary) / "dataset.json"
        listing.write_text(json.dumps({_NAME: [{"name": _NAME, **item}]}))
        folder = output or Path(temporary)
        settings = {
            **settings_of(record),
            "bundle_root": str(bundle),
            "datalist": str(listing),
            "split": _NAME,
            "output_dir": str(folder),
            "image_size": [*size],
            "keep": "keep" in item,
            "overview": 0,
            "sampler::verbose": False,
            "handlers": ["@writer"],
            "batch_size": 1,
            "resume": False,
        }
        _run([config, *configs], settings)
        path = folder / f"{_NAME}.png"
        return read_pixels(path), read_record(path) or {}


def settings_of(record: Mapping[str, str]) -> dict[str, Any]:
    """The configuration's entries that a record tells.

    Raises:
        ValueError: an entry that is missing, or is not what it should be.
    """
    found: dict[str, Any] = {key: _numbers(record, name) for name, key in _NUMBERS.items()}
    sampler = _literal(record, "Sampler")
    if not isinstance(sampler, dict) or not all(_is_word(sampler.get(key)) for key in _SOLVER):
        raise ValueError(f"the record's Sampler is {record['Sampler']!r}, not the settings of one")
    found |= {f"scheduler::{key}": sampler[key] for key in _SOLVER if key in sampler}
    precision = record.get("Precision", "None")
    if precision not in _PRECISIONS:
        raise ValueError(f"the record's Precision is {precision!r}, not one of {', '.join(_PRECISIONS)}")
    return {**found, "amp_dtype": _PRECISIONS[precision], "new_anatomy": "Anatomy" in record}


def source_item(record: Mapping[str, str], folder: Path, labels: Path | None = None) -> dict[str, Any]:
    """Files and beam that an image was drawn for.

    Args:
        record: of the image.
        folder: that the image lies in.
        labels: where the files are now, if not where the record says: a file, for the label map alone, or a folder.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is another than it was, or the record names none.
    """
    source = source_of(record)
    item: dict[str, Any] = {} if source.get("beam") is None else {"beam": source["beam"]}
    for key in SOURCE_FILES:
        if key not in source:
            continue
        told = Path(source[key]["path"])
        path = _moved(told, key, labels) or folder / told
        if not path.is_file():
            raise FileNotFoundError(f"its {key}, {path}, is not there; say where it is with --labels")
        if digest_of(path) != source[key]["sha256"]:
            raise ValueError(f"its {key}, {path}, is another file than the one it was drawn for; give that one")
        item[key] = str(path.absolute())
    if not set(item) - {"beam"}:
        raise ValueError("it does not say what it was drawn for; an older version drew it")
    return item


def _moved(told: Path, key: str, labels: Path | None) -> Path | None:
    """Where a file is to be looked for, if not where the record says."""
    if labels is None or (labels.is_file() and key != "label"):
        return None
    if labels.is_file():
        return labels
    places = (labels / f"{key}s" / told.name, labels / told.name)
    return next((place for place in places if place.is_file()), places[-1])


def _run(configs: Sequence[Path], settings: Mapping[str, Any]) -> None:
    from monai.bundle import ConfigWorkflow

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # MONAI's notice on every config
        log = logging.getLogger(ConfigWorkflow.__module__)
        log.addFilter(_is_no_notice)
        try:
            workflow = ConfigWorkflow(
                [str(config) for config in configs], logging_file=False, workflow_type="inference", **settings
            )
        finally:
            log.removeFilter(_is_no_notice)
        workflow.initialize()
        workflow.run()


def _is_no_notice(record: logging.LogRecord) -> bool:
    """Anything but MONAI's warnings of what is meant: no logging file, files on top of the bundle's from elsewhere."""
    return not record.getMessage().startswith(("Logging file is set to", "Not all config files are in"))


def _literal(record: Mapping[str, str], name: str) -> Any:
    if name not in record:
        raise ValueError(f"the record has no {name}; it cannot be drawn from")
    try:
        return ast.literal_eval(record[name])
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"the record's {name} is {record[name]!r}, which means nothing here") from error


def _numbers(record: Mapping[str, str], name: str) -> Any:
    value = _literal(record, name)
    each = value if isinstance(value, (list, tuple)) else [value]
    if not all(number is None or isinstance(number, (int, float)) for number in each):
        raise ValueError(f"the record's {name} is {value!r}, not a number")
    return list(value) if isinstance(value, tuple) else value


def _is_word(value: object) -> bool:
    """A number, nothing, or a plain word: no expression or reference of a configuration."""
    return value is None or isinstance(value, (int, float)) or (isinstance(value, str) and bool(_WORD.fullmatch(value)))


_WORD = re.compile(r"\w+")
