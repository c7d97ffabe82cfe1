"""The example of a segmentation trained on real and synthetic frames: short, and it runs on what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from bundle_data import BUNDLES, ROOT, write_phantoms
from monai.utils import set_determinism

from examples import segmentation

FILE = ROOT / "examples" / "segmentation.py"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    segmentation.main(["--iterations", "2", "--steps", "1", *arguments])
    set_determinism(None)
    return capsys.readouterr().out.splitlines()


def test_it_is_one_file_of_less_than_60_lines() -> None:
    assert len(FILE.read_text().splitlines()) < 60
    assert ast.get_docstring(ast.parse(FILE.read_text()))


def test_it_trains_on_phantoms_with_some_synthetic_and_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "--prob", "0.5")
    assert "True" in "".join(lines[:2])
    assert "False" in "".join(lines[:2])
    assert lines[2].startswith("Dice of 8 held-out frames: 0.")
    assert run(capsys, "--prob", "0.5") == lines


def test_it_trains_on_a_folder_of_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "--data", str(write_phantoms(BUNDLES[0], tmp_path)), "--prob", "0")
    assert "True" not in "".join(lines)
    assert lines[2].startswith("Dice of 2 held-out frames")
