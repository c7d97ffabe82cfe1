"""``dataset.json``: the prepared frames in MONAI's (decathlon) style, by split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from monai_bmaps.data.folder import GENERATOR
from monai_bmaps.data.prepare.frames import Source
from monai_bmaps.data.split import Split
from monai_bmaps.files import replacing

Lists = Mapping[Split, list[dict[str, Any]]]


def write_listing(path: Path, source: Source, lists: Lists) -> None:
    """Write the list; paths are relative to it.

    Args:
        path: where to.
        source: what was prepared.
        lists: the entries of each split.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "name": source.name,
        "source": source.name,
        "generator": GENERATOR,
        "description": f"{source.name}, prepared: row 0 nearest the probe, square pixels, beams in pixels",
        "licence": source.terms,
        "modality": {"0": "US"},
        "labels": {"0": "background", **{str(value): name for value, name in source.classes.items()}},
        **{f"num{split.capitalize()}": len(lists[split]) for split in get_args(Split)},
        **{split: lists[split] for split in get_args(Split)},
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=1))
