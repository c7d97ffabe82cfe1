"""Large sets: the same images whatever the number of processes; a killed generation goes on where it was."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import run
from PIL import Image
from tiny_bundle import CONFIG, COUNT, SIZE, command, run_here, small_options

from monai_bmaps.data.phantoms import write_items
from monai_bmaps.handlers import layouts
from monai_bmaps.provenance import read_record

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Overrides for five small hearts and a tiny network that is not silent."""
    return small_options(tmp_path_factory.mktemp("small"))


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("heart_*.png"))}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("heart_*")}


def assert_same_images(first: Path, second: Path) -> None:
    """File by file to a grey level, which half precision in another batch may cost."""
    ours, theirs = pictures(first), pictures(second)
    assert list(ours) == list(theirs) == [f"heart_{number + 1}.png" for number in range(COUNT)]
    for name, pixels in ours.items():
        assert np.abs(pixels - theirs[name]).max() <= 1, name
    assert max(pixels.std() for pixels in ours.values()) > 10


@pytest.fixture(scope="module")
def alone(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set, drawn by one process."""
    folder = tmp_path_factory.mktemp("alone")
    run_here(folder, options)
    return folder


# ranks


def test_two_processes_draw_the_images_of_one(options: dict[str, Any], alone: Path, tmp_path: Path) -> None:
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    both = subprocess.run(
        command(tmp_path, options, *launcher), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert both.returncode == 0, both.stderr
    shares = [f"0 of {share} images are in {tmp_path} already, {share} to draw" for share in (3, 2)]
    assert all(share in both.stdout for share in shares)
    assert_same_images(tmp_path, alone)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in alone.iterdir()}


def test_a_process_without_items_does_nothing(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "6")
    monkeypatch.setenv("WORLD_SIZE", "7")
    run_here(tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_a_later_process_leaves_the_overview_to_the_first(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "4")
    monkeypatch.setenv("WORLD_SIZE", "5")
    run_here(tmp_path, options)
    assert {path.name for path in tmp_path.iterdir()} == {"heart_5.png", "heart_5.nii.gz"}


def test_every_process_refuses_bad_items_of_its_own_before_it_writes(options: dict[str, Any], tmp_path: Path) -> None:
    write_items(tmp_path / "hearts", 2, shape=SIZE)
    Image.fromarray(np.full(SIZE, 7, np.uint8)).save(tmp_path / "hearts" / "labels" / "heart_2.png")
    with pytest.raises(RuntimeError) as refusal:
        run_here(tmp_path / "out", options, dataset_dir=str(tmp_path / "hearts"))
    assert "whole numbers 0..3, got 7" in str(causes(refusal.value))
    assert not (tmp_path / "out").exists()


def causes(error: BaseException | None) -> list[str]:
    return [] if error is None else [str(error), *causes(error.__cause__ or error.__context__)]


# resuming


def draw_and_die(folder: Path, options: dict[str, Any]) -> None:
    """Run the bundle; at the third picture write half a file, then SIGKILL."""
    whole, pictures = layouts.write_png, itertools.count(1)

    def write(path: Path, pixels: np.ndarray, record: dict[str, str]) -> None:
        if next(pictures) == 3:
            path.with_name(f".partial-{path.name}").write_bytes(b"\x89PNG half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        whole(path, pixels, record)

    layouts.write_png = write
    run(config_file=str(CONFIG), output_dir=str(folder), **options)


def test_a_killed_generation_goes_on_and_gives_the_same_set(
    options: dict[str, Any], alone: Path, tmp_path: Path
) -> None:
    script = (
        "import json, pathlib, sys, test_generation as t\n"
        "t.draw_and_die(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]))\n"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    arguments = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), json.dumps(options)]
    killed = subprocess.run(arguments, env=environment, stdout=subprocess.DEVNULL, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {path.name for path in tmp_path.glob("heart_*.png")} == {"heart_1.png", "heart_2.png"}
    written = times(tmp_path)

    workflow = run_here(tmp_path, options)
    assert len(workflow.dataset) == COUNT
    assert len(workflow.evaluator.data_loader.dataset) == COUNT - 2
    finished = [f"heart_{number}{suffix}" for number in (1, 2) for suffix in (".png", ".nii.gz")]
    assert [times(tmp_path)[name] for name in finished] == [written[name] for name in finished]
    assert_same_images(tmp_path, alone)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in alone.iterdir()}
    overviews = (np.asarray(Image.open(folder / "overview.png")).astype(int) for folder in (tmp_path, alone))
    assert np.abs(next(overviews) - next(overviews)).max() <= 3  # a grey level, and what resizing makes of it


@pytest.fixture
def copy(alone: Path, tmp_path: Path) -> Path:
    """The finished set in a folder of its own."""
    for path in alone.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        os.utime(tmp_path / path.name, ns=(0, 0))
    return tmp_path


def redrawn(folder: Path) -> set[str]:
    return {name for name, moment in times(folder).items() if moment > 0}


ALL = {f"heart_{number + 1}{suffix}" for number in range(COUNT) for suffix in (".png", ".nii.gz")}


def test_a_finished_set_is_left_as_it_is(options: dict[str, Any], copy: Path) -> None:
    run_here(copy, options)
    assert redrawn(copy) == set()


def test_an_overview_that_is_lost_is_made_of_the_images_that_are_there(
    options: dict[str, Any], alone: Path, copy: Path
) -> None:
    (copy / "overview.png").unlink()
    run_here(copy, options)
    assert redrawn(copy) == set()
    assert (copy / "overview.png").read_bytes() == (alone / "overview.png").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"num_inference_steps": 3},
        {"guidance": 1.5},
        {"seed": 1},
        {"scheduler::algorithm": "sde"},
        {"scheduler::step_grid": "uniform"},
        {"resume": False},
        {"resume": "false"},
    ],
    ids=lambda change: " ".join(f"{key}={value}" for key, value in change.items()),
)
def test_other_settings_draw_everything_anew(options: dict[str, Any], copy: Path, change: dict[str, Any]) -> None:
    run_here(copy, options, **change)
    assert redrawn(copy) == ALL


def test_other_weights_draw_everything_anew(options: dict[str, Any], copy: Path) -> None:
    run_here(copy, small_options(Path(options["weights"]).parent, seed=1))
    assert redrawn(copy) == ALL


@pytest.mark.parametrize("spoil", ["no PNG", "no NIfTI", "half a PNG", "another label map", "another beam"])
def test_only_what_is_missing_or_differs_is_drawn(
    options: dict[str, Any], copy: Path, tmp_path_factory: pytest.TempPathFactory, spoil: str
) -> None:
    hearts = tmp_path_factory.mktemp("hearts")
    write_items(hearts, COUNT, shape=SIZE)
    if spoil == "another label map":
        Image.fromarray(np.ones(SIZE, np.uint8)).save(hearts / "labels" / "heart_2.png")
    elif spoil == "another beam":
        listing = json.loads((hearts / "dataset.json").read_text())
        listing["test"][1]["beam"]["half_angle_deg"] -= 5
        (hearts / "dataset.json").write_text(json.dumps(listing))
    elif spoil == "half a PNG":
        (copy / "heart_2.png").write_bytes((copy / "heart_2.png").read_bytes()[:-30])
    else:
        (copy / f"heart_2.{'png' if spoil == 'no PNG' else 'nii.gz'}").unlink()
    run_here(copy, options, dataset_dir=str(hearts))
    assert redrawn(copy) == {"heart_2.png", "heart_2.nii.gz"}


def test_resume_is_true_or_false(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as refusal:
        run_here(tmp_path, options, resume="maybe")
    assert "resume must be true or false, got 'maybe'" in str(causes(refusal.value))


# what the pictures say


def test_a_picture_tells_weights_attenuation_sampler_and_label(options: dict[str, Any], alone: Path) -> None:
    card = json.loads(Path(options["weights"]).with_suffix(".json").read_text())
    record = read_record(alone / "heart_1.png")
    assert record is not None
    assert record["Weights"] == card["weights_sha256"]
    assert (record["Attenuation in dB"], record["Label"], record["Steps"]) == ("44.0", "heart_1.png", "4")
    assert "'step_grid': 'l2'" in record["Sampler"]
