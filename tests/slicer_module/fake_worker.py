"""Stands in for the worker's Python: reads a job as the bundle does, and answers at once, or misbehaves when told to.

The images are the label maps times 40 plus the seed, so that a test sees which labels and seed came through.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np


def read_png(path: Path) -> np.ndarray:
    """The module's own 8-bit grey PNG files: one IDAT chunk, no filters."""
    data = path.read_bytes()
    columns, rows = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[start - 4 : start])
    rows_of_bytes = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8)
    return rows_of_bytes.reshape(rows, columns + 1)[:, 1:]


def say(**fields: object) -> None:
    print("BMAP " + json.dumps(fields), flush=True)


def draw(settings: dict) -> None:
    folder, output = Path(settings["dataset_dir"]), Path(settings["output_dir"])
    output.mkdir(parents=True, exist_ok=True)
    items = json.loads((folder / "dataset.json").read_text())["test"]
    images = []
    for index, (item, seed) in enumerate(zip(items, settings["seeds"], strict=True)):
        pixels = read_png(folder / item.get("label", item.get("sector")))
        images.append((pixels * 40 + seed % 40).astype(np.uint8))
        np.save(output / "preview.npy", images[-1])
        say(event="preview", file="preview.npy", image=index)
        say(event="progress", image=index, images=len(items), step=1, steps=2)
        time.sleep(float(os.environ.get("FAKE_WORKER_PAUSE", 0)))
    np.save(output / "images.npy", np.stack(images))
    digest = hashlib.sha256(np.stack(images).tobytes()).hexdigest()
    manifest = {"version": 1, "job": settings["job"], "sha256": digest, "seeds": settings["seeds"], "record": {}}
    (output / "result.json").write_text(json.dumps(manifest))
    say(event="done", images=len(images))


def check_packages(fault: str) -> None:
    if fault == "import":
        print("ModuleNotFoundError: No module named 'torch'", file=sys.stderr)
        sys.exit(1)
    if fault == "slow import":
        time.sleep(600)


def main() -> None:
    fault = os.environ.get("FAKE_WORKER_FAULT", "")
    if "SlicerBMapDiffusionLib.models.installation" in sys.argv:  # needs no package, so it is no work to fake
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    if "fit-beam" in sys.argv:
        beam = json.loads(os.environ.get("FAKE_WORKER_BEAM", "{}"))
        Path(sys.argv[sys.argv.index("--output") + 1]).write_text(json.dumps({"beam": beam, "overlap": 1.0}))
        return
    if "-c" in sys.argv:
        check_packages(fault)
        return
    settings = json.loads(Path(ast.literal_eval(sys.argv[-1])[-1]).read_text())
    say(event="state", state="loading")
    if fault == "memory":
        print("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB", file=sys.stderr)
        sys.exit(1)
    if fault == "hang":
        time.sleep(600)
    draw(settings)


if __name__ == "__main__":
    main()
