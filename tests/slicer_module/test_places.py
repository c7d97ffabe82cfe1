"""Where things lie, in a checkout; test_packaging.py asks the same of the installed tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from SlicerBMapDiffusionLib import places

ROOT = Path(__file__).parents[2]


def test_a_checkout_uses_the_bundles_at_its_root() -> None:
    assert places.bundles_folder() == ROOT / "bundles"
    assert (places.resources_folder() / "requirements.txt").is_file()


def test_of_several_wheels_the_newest_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_MODULE", tmp_path / "module")
    monkeypatch.setattr(places, "_CHECKOUT", tmp_path)
    assert places.wheel() is None
    (tmp_path / "dist").mkdir()
    for version in ("0.10.0", "0.9.0"):
        (tmp_path / "dist" / f"monai_bmaps-{version}-py3-none-any.whl").touch()
    os.utime(tmp_path / "dist" / "monai_bmaps-0.9.0-py3-none-any.whl", (0, 0))
    assert places.wheel() == tmp_path / "dist" / "monai_bmaps-0.10.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", "cache/SlicerBMapDiffusion"),
        ("win32", "local/SlicerBMapDiffusion"),
        ("darwin", "home/Library/Caches/SlicerBMapDiffusion"),
    ],
)
def test_downloads_lie_where_the_system_wants_them(
    platform: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert places.downloads_folder() == tmp_path / expected
    assert not places.downloads_folder().exists()
