"""Models that the user adds, installs, downloads and removes by the menu beside their list."""

from __future__ import annotations

import hashlib
import json
import operator
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PySide6", reason="PySide6 is not installed here; `make test-slicer` runs these")

from slicer_module import panels
from slicer_module.file_server import Server


def answer(text: str) -> None:
    from slicer_module import pythonqt

    pythonqt.QFileDialog.answers = [text]


def test_another_model_brings_its_own_defaults(opened: panels.Opened) -> None:
    opened.parameters.steps = 3
    opened.ui.modelSelector.currentIndex = 1
    model = opened.panel.logic.shelf.models["thyroid_bmap_sdm"]
    assert (opened.parameters.steps, opened.parameters.attenuation_db) == (model.steps, model.attenuation_db)
    assert (opened.parameters.rows, opened.parameters.row_mm) == (model.image_size[0], model.spacing_mm[0])
    assert opened.parameters.beam_kind.value == "linear"


@pytest.fixture
def trust(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Says OK to every question; the questions."""
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: asked.append(text) is None)
    return asked


@pytest.fixture
def own_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def copied_bundle(opened: panels.Opened, folder: Path) -> Path:
    """A bundle with small weights, which its card describes."""
    source = opened.panel.logic.shelf.models["thyroid_bmap_sdm"].folder
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.pt"))
    weights, card = folder / "models" / "model.pt", folder / "models" / "model.json"
    weights.write_bytes(b"weights")
    described = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(described | {"weights_sha256": hashlib.sha256(b"weights").hexdigest()}), "utf-8")
    return folder


def zipped(opened: panels.Opened, tmp_path: Path, name: str) -> Path:
    copied_bundle(opened, tmp_path / "zipped" / name)
    return Path(shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "zipped"))


def address(text: str) -> None:
    from slicer_module import pythonqt

    pythonqt.QInputDialog.answers = [text]


def test_a_bundle_is_added_by_its_folder_and_remembered(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.models.add()
    opened.settle()
    assert opened.parameters.model == "my thyroid"
    assert "trust" in trust[0]
    opened.panel.logic.shelf.find()
    assert "my thyroid" in opened.panel.logic.shelf.models


def test_an_added_model_is_forgotten_and_its_folder_stays(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.models.add()
    opened.settle()
    assert opened.panel.models.remove_action.enabled
    opened.panel.models.remove()
    opened.settle()
    assert opened.parameters.model == "cardiac_bmap_sdm"
    assert "my thyroid" not in opened.panel.logic.shelf.models
    assert (tmp_path / "my thyroid" / "configs").is_dir()
    assert not opened.panel.models.remove_action.enabled


def test_a_model_is_installed_from_a_file_and_deleted(
    opened: panels.Opened, tmp_path: Path, trust: list[str], own_models: Path
) -> None:
    answer(str(zipped(opened, tmp_path, "thyroid_new")))
    opened.panel.models.install()
    opened.until(lambda: not opened.panel.logic.busy)
    assert opened.parameters.model == "thyroid_new"
    folder = opened.panel.logic.shelf.models["thyroid_new"].folder
    assert folder.is_relative_to(own_models)
    opened.panel.models.remove()
    assert not folder.exists()
    assert list((own_models / "SlicerBMapDiffusion" / "Models").iterdir()) == []


def test_a_model_is_downloaded_and_chosen(
    opened: panels.Opened, tmp_path: Path, trust: list[str], own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = zipped(opened, tmp_path, "thyroid_new").read_bytes()
    server = Server(content)
    try:
        address(f"{server.url}#sha256={hashlib.sha256(content).hexdigest()}")
        opened.panel.models.download()
        assert opened.panel.logic.busy
        opened.until(lambda: not opened.panel.logic.busy)
    finally:
        server.stop()
    assert opened.parameters.model == "thyroid_new"
    assert "trust" in trust[0]
    assert sorted(path.name for path in (own_models / "SlicerBMapDiffusion").rglob("*.zip*")) == []


def test_a_download_is_cancelled_and_its_part_stays_to_go_on_from(
    opened: panels.Opened, trust: list[str], own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = bytes(3_000_000)
    server = Server(content)
    server.stops_after = server.silent_after = 2_000_000
    try:
        address(f"{server.url}#sha256={hashlib.sha256(content).hexdigest()}")
        opened.panel.models.download()
        opened.until(lambda: "2 of 3 MB" in opened.status)
        opened.ui.cancelButton.click()
    finally:
        server.stop()
    assert opened.status == "Stopped; the scene is as it was."
    assert [path.suffix for path in (own_models / "SlicerBMapDiffusion").rglob("*") if path.is_file()] == [".part"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://models.example/heart.zip", "must end in #sha256="),
        ("https://models.example/heart.zip#sha256=123", "64 hexadecimal digits"),
        ("ftp://models.example/heart.zip#sha256=" + 64 * "0", "must start with https://"),
    ],
)
def test_an_address_that_cannot_be_checked_is_refused(
    opened: panels.Opened, trust: list[str], given: str, words: str
) -> None:
    address(given)
    opened.panel.models.download()
    assert words in opened.status
    assert not opened.panel.logic.busy


def test_a_model_that_cannot_be_used_is_told_with_the_reason(opened: panels.Opened, own_models: Path) -> None:
    (own_models / "SlicerBMapDiffusion" / "Models" / "old" / "configs").mkdir(parents=True)
    opened.panel.logic.shelf.find()
    opened.settle()
    assert "&#9888; A model cannot be used" in opened.ui.modelLabel.text
    assert "old is no bundle: it has no configs/inference.json" in opened.ui.modelLabel.toolTip


def test_a_shipped_model_cannot_be_removed(opened: panels.Opened, trust: list[str]) -> None:
    opened.panel.models.remove()
    assert trust == []
    assert len(opened.panel.logic.shelf.models) == 3


def test_who_does_not_trust_a_model_gets_none(opened: panels.Opened, tmp_path: Path, monkeypatch: Any) -> None:
    import slicer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: False)
    answer(str(copied_bundle(opened, tmp_path / "my thyroid")))
    opened.panel.models.add()
    assert "my thyroid" not in opened.panel.logic.shelf.models


def test_a_second_model_of_the_same_name_is_refused(opened: panels.Opened, tmp_path: Path, trust: list[str]) -> None:
    answer(str(copied_bundle(opened, tmp_path / "thyroid_bmap_sdm")))
    opened.panel.models.add()
    assert opened.status == "There is a model named thyroid_bmap_sdm already; rename the folder."


def test_a_folder_that_is_no_bundle_is_refused_with_a_remedy(
    opened: panels.Opened, tmp_path: Path, trust: list[str]
) -> None:
    answer(str(tmp_path))
    opened.panel.models.add()
    assert "is no bundle" in opened.status
    assert "Choose the folder" in opened.status


@pytest.mark.parametrize("action", ["models.add", "models.install", "models.download", "find_beam"])
def test_cancelling_a_file_dialog_changes_nothing(opened: panels.Opened, action: str, trust: list[str]) -> None:
    opened.parameters.beam_source = type(opened.parameters.beam_source).FILE
    answer("")
    address("")
    before = opened.parameters.parameterNode.GetParameterNamesAsCommaSeparatedList(), opened.parameters.model
    operator.attrgetter(action)(opened.panel)()
    assert (opened.parameters.parameterNode.GetParameterNamesAsCommaSeparatedList(), opened.parameters.model) == before
    assert trust == []
