"""Results of a comparison kept on disk by what they were computed from, so that a stopped one goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from monai_bmaps.files import replacing
from monai_bmaps.metrics.distributions import Features, as_rows, from_rows
from monai_bmaps.metrics.findings import Findings, Measured
from monai_bmaps.metrics.images import ImageSet


class Store:
    """A folder of results by key.

    Args:
        folder: made when the first result comes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def features(self, key: str, compute: Callable[[], Features]) -> Features:
        """The features under this key, computed if they are not there."""
        path = self.folder / f"features-{key}.npy"
        if path.is_file():
            return from_rows(torch.from_numpy(np.load(path, allow_pickle=False)))
        found = compute()
        with replacing(path) as partial_path:
            np.save(partial_path, as_rows(found).numpy(), allow_pickle=False)
        return found

    def findings(self, key: str, measure: Callable[[], Findings]) -> Findings:
        """The findings under this key, measured if they are not there; their figures are drawn and kept beside them."""
        path = self.folder / f"findings-{key}.json"
        if not path.is_file():
            found = measure()
            for name, draw in found.figures.items():
                with replacing(self._figure(key, name)) as partial_path:
                    draw(partial_path)
            with replacing(path) as partial_path:  # last: where it is, all is
                partial_path.write_text(json.dumps(_content(found), allow_nan=False))
        content = json.loads(path.read_text())
        return Findings(
            content["title"],
            [_measured(row) for row in content["rows"]],
            {name: partial(_copy, self._figure(key, name)) for name in content["figures"]},
            content["notes"],
        )

    def _figure(self, key: str, name: str) -> Path:
        return self.folder / f"figure-{key}-{name}"


def digest_of(*parts: object) -> str:
    """First 20 digits of the SHA-256 of image sets, files (paths) and anything whose ``repr`` tells it."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, ImageSet):
            _add(digest, part)
        elif isinstance(part, Path):
            digest.update(part.read_bytes() if part.is_file() else b"absent")
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:20]


def _add(digest: hashlib._Hash, images: ImageSet) -> None:
    entries = (images.name, images.names, images.items, images.groups, images.classes, images.spacing, images.notes)
    digest.update(repr((entries, [None if beam is None else beam.to_dict() for beam in images.beams])).encode())
    for maps in (images.images, images.labels, images.depth, images.inside):
        digest.update(b"none" if maps is None else maps.contiguous().numpy().tobytes())


def _content(found: Findings) -> Mapping[str, object]:
    rows = [{"key": row.key, **row.to_dict()} for row in found.rows]
    return {"title": found.title, "rows": rows, "figures": [*found.figures], "notes": found.notes}


def _measured(row: Mapping[str, object]) -> Measured:
    low_high = row.get("interval_95")
    return Measured(
        key=str(row["key"]),
        name=str(row["name"]),
        value=row.get("value"),  # type: ignore[arg-type]
        interval=None if low_high is None else tuple(low_high),  # type: ignore[arg-type]
        counts=row.get("images", {}),  # type: ignore[arg-type]
        left_out=row.get("left_out"),  # type: ignore[arg-type]
    )


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
