"""Zip archives with a model, and archives that no one should unpack."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from SlicerBMapDiffusionLib.models import archives
from SlicerBMapDiffusionLib.models.downloads import DownloadError


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def unpacked(archive: Path, models: Path, check: Callable[[Path], object] = lambda folder: None) -> Path:
    return archives.unpack(archive, models, models / ".new-1", check)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "Modèles de coeur"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_is_unpacked_into_its_folder(tmp_path: Path, models: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"heart/configs/metadata.json": b"{}", "heart/models/model.pt": b"weights"})
    assert unpacked(archive, models) == models / "heart"
    assert files(models) == {"heart/configs/metadata.json": b"{}", "heart/models/model.pt": b"weights"}


def test_a_newer_model_replaces_the_older_one_with_all_its_files(tmp_path: Path, models: Path) -> None:
    unpacked(packed(tmp_path / "a.zip", {"heart/old.json": b"1", "heart/model.pt": b"old"}), models)
    unpacked(packed(tmp_path / "b.zip", {"heart/model.pt": b"new"}), models)
    assert files(models) == {"heart/model.pt": b"new"}


def test_where_the_newer_one_cannot_be_put_the_older_one_stays(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked(packed(tmp_path / "a.zip", {"heart/model.pt": b"old"}), models)
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if target == models / "heart" and not Path(source).name.startswith(".old-"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(DownloadError, match="Permission denied"):
        unpacked(packed(tmp_path / "b.zip", {"heart/model.pt": b"new"}), models)
    assert files(models) == {"heart/model.pt": b"old"}


def test_a_newer_model_that_does_not_pass_the_check_leaves_the_older_one(tmp_path: Path, models: Path) -> None:
    unpacked(packed(tmp_path / "a.zip", {"heart/model.pt": b"old"}), models)
    looked_at = []

    def refuse(folder: Path) -> None:
        looked_at.append(files(folder))
        raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        unpacked(packed(tmp_path / "b.zip", {"heart/model.pt": b"new"}), models, refuse)
    assert looked_at == [{"model.pt": b"new"}]
    assert files(models) == {"heart/model.pt": b"old"}


def test_a_damaged_archive_leaves_nothing(tmp_path: Path, models: Path) -> None:
    archive = packed(tmp_path / "a.zip", {"heart/model.pt": os.urandom(10_000)})
    content = bytearray(archive.read_bytes())
    content[5_000] ^= 255
    archive.write_bytes(content)
    with pytest.raises(DownloadError, match="damaged"):
        unpacked(archive, models)
    assert list(models.iterdir()) == []


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, models: Path) -> None:
    (tmp_path / "a.zip").write_text("<html>please log in</html>")
    with pytest.raises(DownloadError, match="no zip archive"):
        unpacked(tmp_path / "a.zip", models)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "exactly one folder"),
        (["model.pt"], "exactly one folder"),
        (["heart/model.pt", "thyroid/model.pt"], "exactly one folder"),
        (["heart/../../model.pt"], "points out"),
        (["heart/..\\model.pt"], "points out"),
        (["../model.pt"], "points out"),
        (["/etc/passwd"], "points out"),
        (["C:/Windows/model.pt"], "points out"),
        ([".heart/model.pt"], "no model's name"),
    ],
)
def test_archives_that_reach_beyond_one_folder_are_refused(
    names: list[str], message: str, tmp_path: Path, models: Path
) -> None:
    with pytest.raises(DownloadError, match=message):
        unpacked(packed(tmp_path / "a.zip", dict.fromkeys(names, b"x")), models)
    assert list(models.iterdir()) == []


def test_links_in_an_archive_are_refused(tmp_path: Path, models: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("heart/model.pt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DownloadError, match="points out"):
        unpacked(tmp_path / "a.zip", models)


def test_an_archive_that_would_fill_the_disk_is_refused(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_LARGEST_ARCHIVE", 999)
    with pytest.raises(DownloadError, match="too much for a model"):
        unpacked(packed(tmp_path / "a.zip", {"heart/model.pt": bytes(1000)}), models)
