"""A model comes as a zip file, looked at by the child process before it takes its place, or it does not come."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slicer_module.conftest import ROOT
from slicer_module.file_server import Server
from slicer_module.workers import is_alive, until
from SlicerBMapDiffusionLib import places
from SlicerBMapDiffusionLib.jobs.process import JobProcess
from SlicerBMapDiffusionLib.models import installation as model_installation
from SlicerBMapDiffusionLib.models.installation import ModelInstallation

BUNDLE = ROOT / "bundles" / "thyroid_bmap_sdm"


def archive(folder: Path, name: str = "thyroid", weights: bytes = b"weights", leave_out: str = "") -> Path:
    """A zip of a bundle with small weights, which its card describes as b"weights"."""
    bundle = folder / "source" / name
    shutil.copytree(BUNDLE, bundle, ignore=shutil.ignore_patterns("*.pt"))
    card = json.loads((bundle / "models" / "model.json").read_text(encoding="utf-8"))
    described = card | {"weights_sha256": hashlib.sha256(b"weights").hexdigest()}
    (bundle / "models" / "model.json").write_text(json.dumps(described), encoding="utf-8")
    (bundle / "models" / "model.pt").write_bytes(weights)
    if leave_out:
        (bundle / leave_out).unlink()
    made = Path(shutil.make_archive(str(folder / "model"), "zip", folder / "source"))
    shutil.rmtree(folder / "source")
    return made


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "cache dir" / "Models"


def wanted(source: object, models: Path, taken: tuple[str, ...] = ()) -> ModelInstallation:
    folder = models.parent.parent / "job"
    folder.mkdir()
    return ModelInstallation(str(source), models, folder, taken)


def ended(installation: ModelInstallation) -> JobProcess:
    process = JobProcess(installation.command(sys.executable), places.module_folder(), check=installation.read_result)
    process.start()
    process.wait()
    installation.remove()
    return process


def test_a_model_comes_whole_and_nothing_else_stays(tmp_path: Path, models: Path) -> None:
    installation = wanted(archive(tmp_path), models)
    process = ended(installation)
    assert (process.state, process.result) == ("done", "thyroid")
    assert (models / "thyroid" / "models" / "model.pt").read_bytes() == b"weights"
    assert [path.name for path in models.iterdir()] == ["thyroid"]
    assert not installation.folder.exists()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"weights": b"others"}, "damaged or were exchanged"),
        ({"leave_out": "models/model.pt"}, "are missing"),
        ({"leave_out": "configs/job.json"}, "cannot run: it has no configs/job.json"),
        ({"name": "cardiac"}, "There is a model named cardiac already. Rename the folder in model.zip."),
    ],
)
def test_a_model_that_cannot_be_used_leaves_the_older_one(
    tmp_path: Path, models: Path, fault: dict[str, object], words: str
) -> None:
    (models / "thyroid").mkdir(parents=True)
    process = ended(wanted(archive(tmp_path, **fault), models, taken=("cardiac",)))
    assert process.state == "failed"
    assert words in process.failure
    assert ".new-" not in process.failure
    assert [path.name for path in models.iterdir()] == ["thyroid"]
    assert list((models / "thyroid").iterdir()) == []


def test_a_download_of_unknown_length_is_not_silent(tmp_path: Path, models: Path) -> None:
    content = archive(tmp_path).read_bytes()
    server = Server(content)
    server.says_length = False
    try:
        source = f"{server.url}#sha256={hashlib.sha256(content).hexdigest()}"
        installation = wanted(source, models)
        command = installation.command(sys.executable)
        process = JobProcess(command, places.module_folder(), check=installation.read_result)
        process.start()
        said = process.wait()
    finally:
        server.stop()
    assert process.result == "thyroid"
    assert f"{len(content)} bytes" in said


def test_a_file_that_is_gone_is_named(tmp_path: Path, models: Path) -> None:
    process = ended(wanted(tmp_path / "gone.zip", models))
    assert process.state == "failed"
    assert "gone.zip" in process.failure


def test_what_a_killed_installation_left_is_removed(tmp_path: Path, models: Path) -> None:
    installation = wanted(archive(tmp_path), models)
    (installation.staging / "thyroid").mkdir(parents=True)
    installation.remove()
    assert list(models.iterdir()) == []


def test_an_installation_ends_with_the_program_that_started_it(tmp_path: Path, models: Path) -> None:
    """A server that never answers keeps the child busy; the parent's end of the pipe closes as when it dies."""
    waits = (
        "import sys; from SlicerBMapDiffusionLib import model_installation as m;"
        "m.install = lambda *_: __import__('time').sleep(60); m.main('a.zip', 'b', 'c', sys.argv[1])"
    )
    command = [sys.executable, "-c", waits, str(tmp_path / "result")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=places.module_folder()) as child:
        assert is_alive(child.pid)
        child.stdin.close()
        assert until(lambda: not is_alive(child.pid))
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("text", ["", "{", '{"error": "the disk is full"}'])
def test_a_result_that_is_none_is_an_error(tmp_path: Path, models: Path, text: str) -> None:
    installation = wanted("a.zip", models)
    (installation.folder / "model.json").write_text(text)
    with pytest.raises(ValueError, match=r"without a result|disk is full"):
        installation.read_result()


def test_an_address_has_a_hash_that_can_be_one() -> None:
    model_installation.check_address("https://models.example/a.zip#sha256=" + 64 * "a")
    for wrong in ("https://models.example/a.zip", "https://models.example/a.zip#sha256=1", "a.zip#sha256=" + 64 * "a"):
        with pytest.raises(ValueError, match=r"sha256|SHA-256|https://"):
            model_installation.check_address(wrong)
