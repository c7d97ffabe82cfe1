"""The real child process with the shipped bundles: the whole road from a job folder to images, and what breaks it.

Runs with the interpreter of the environment variable BMAP_WORKER_PYTHON, else with this one.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slicer_module.workers import is_alive, until
from SlicerBMapDiffusionLib.jobs.fitting import write_fit
from SlicerBMapDiffusionLib.jobs.job import Job, Message, Request, Result, new_job_folder, write_job
from SlicerBMapDiffusionLib.jobs.process import JobProcess, worker_environment
from SlicerBMapDiffusionLib.models.bundles import Model, read_model

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("BMAP_WORKER_PYTHON", sys.executable)
pytestmark = [
    pytest.mark.skipif(
        "BMAP_WORKER_PYTHON" not in os.environ and importlib.util.find_spec("torch") is None,
        reason="PyTorch is not installed here; set BMAP_WORKER_PYTHON to an interpreter that has the package",
    ),
    pytest.mark.skipif(os.name != "posix", reason="the faults are injected with POSIX's means"),
]


def environment(*first: Path) -> dict[str, str]:
    paths = os.pathsep.join(map(str, [*first, ROOT]))
    return worker_environment({**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths})


def model_named(name: str, folder: Path = ROOT / "bundles") -> Model:
    return read_model(folder / name)


def blob(shape: tuple[int, int], row: float, column: float) -> Any:
    """A round segment."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (np.hypot(rows - row, columns - column) < 0.18 * shape[0]).astype(np.uint8)


def request_for(model: Model, count: int, size: tuple[int, int] | None = None, **changes: Any) -> Request:
    rows, columns = size or model.image_size
    frame = {"rows": rows, "columns": columns, "count": count}
    settings: dict[str, Any] = {"frame": frame, "beam": model.beam, "classes": model.classes, "device": "cpu"}
    return Request(model.name, str(model.folder), **{**settings, **changes})


def start(job: Job, *first_paths: Path, **options: Any) -> JobProcess:
    process = JobProcess(
        job.command(PYTHON), job.directory(), environment(*first_paths), check=job.read_result, **options
    )
    process.start()
    return process


def thyroid_sweep(folder: Path) -> Job:
    """Three frames, the first two of them alike."""
    model = model_named("thyroid_bmap_sdm")
    labels = np.stack([blob(model.image_size, 50, 60), blob(model.image_size, 50, 60), blob(model.image_size, 50, 64)])
    return write_job(new_job_folder(folder), request_for(model, 3, steps=3, seed=5, preview=True), labels)


Road = tuple[Job, list["Message | str"], Result, list[Any], float]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder, with a name that not every program likes, that two applications share."""
    return tmp_path_factory.mktemp("it's shared") / "Größe #1 $x @y %z & 心"


@pytest.fixture(scope="module")
def roads(shared: Path) -> tuple[Road, Job]:
    """The same request twice at the same time: by the module, and by its terminal line in a shell."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = before.ru_utime + before.ru_stime
    first, second = thyroid_sweep(shared), thyroid_sweep(shared)
    line, nothing = second.terminal_line(PYTHON, windows=False), subprocess.DEVNULL
    own = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, shell=True, env=own, stdin=nothing, stdout=nothing, stderr=nothing) as terminal:
        process = start(first)
        said, previews = [], []
        while process.state == "running":
            news = process.poll()
            said += news
            if any(isinstance(each, Message) and each.event == "preview" for each in news):
                previews.append(first.read_preview())
            time.sleep(0.02)
        said += process.poll()
        assert process.state == "done", process.tail
        road = first, said, process.result, previews
        assert terminal.wait(timeout=120) == 0
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (*road, used.ru_utime + used.ru_stime - spent), second


def test_the_whole_road_takes_less_than_a_minute_of_one_core(roads: tuple[Road, Job]) -> None:
    both = roads[0][4]  # seconds of computing, which other programs on the machine do not stretch
    assert both / 2 < 60


def test_every_denoising_step_is_told(roads: tuple[Road, Job]) -> None:
    messages = [each for each in roads[0][1] if isinstance(each, Message)]
    assert [each["step"] for each in messages if each.event == "progress"] == [1, 2, 3]
    assert [each["state"] for each in messages if each.event == "state"] == [
        "starting",
        "loading",
        "drawing",
        "writing",
    ]
    assert messages[-1] == Message("done", {"images": 3})
    fractions = [each.fraction for each in messages if each.fraction is not None]
    assert fractions == sorted(fractions)


def test_a_preview_shows_the_frame_while_it_is_drawn(roads: tuple[Road, Job]) -> None:
    previews = [each for each in roads[0][3] if each is not None]
    assert previews
    assert previews[0].shape == (128, 128)
    assert previews[0].std() > 1


def test_the_images_lie_in_the_beam_and_are_no_empty_ones(roads: tuple[Road, Job]) -> None:
    images = roads[0][2].images
    assert images.shape == (3, 128, 128)
    assert not images[:, 102:].any()  # below the typical thyroid beam
    assert images[:, :102].std() > 10


def test_the_record_says_what_decided_the_images(roads: tuple[Road, Job]) -> None:
    result = roads[0][2]
    assert result.seeds == (5, 5, 5)
    assert result.record["Model"] == "thyroid_bmap_sdm"
    assert result.record["Weights"] == model_named("thyroid_bmap_sdm").weights_sha256
    assert (result.record["Steps"], result.record["Attenuation in dB"]) == (3, 44.0)


def test_the_terminal_line_makes_the_same_pixels_beside_it(roads: tuple[Road, Job]) -> None:
    (first, _, result, *_), second = roads
    assert first.folder.parent == second.folder.parent
    assert np.array_equal(second.read_result().images, result.images)


def test_frames_alike_with_shared_noise_do_not_flicker(roads: tuple[Road, Job]) -> None:
    images = roads[0][2].images.astype(int)
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[1], images[2])


def test_a_heart_is_drawn_over_a_given_image_on_a_larger_frame_with_another_b_map(tmp_path: Path) -> None:
    model, size = model_named("cardiac_bmap_sdm"), (160, 200)
    beam = {"kind": "sector", "apex": [12, 99.5], "radii": [0, 140], "half_angle_deg": 38, "steering_deg": 0}
    given = np.random.default_rng(1).integers(0, 256, (1, *size), dtype=np.uint8)
    asked = request_for(model, 1, size, beam=beam, steps=6, strength=0.5, attenuation_db=20.0)
    job = write_job(tmp_path / "job", asked, blob(size, 80, 100)[None], given)
    process = start(job)
    said = process.wait()
    assert process.state == "done", process.tail
    image = process.result.images[0]
    assert sum(isinstance(each, Message) and each.event == "progress" for each in said) == 3
    assert np.array_equal(image[:, :5], given[0, :, :5])  # outside the beam it stays as it was
    assert np.abs(image[60:100, 80:120].astype(int) - given[0, 60:100, 80:120]).mean() > 10
    assert process.result.record["Attenuation in dB"] == 20.0


def test_cancelling_in_the_midst_of_drawing_leaves_no_process_within_two_seconds(tmp_path: Path) -> None:
    model = model_named("cardiac_bmap_sdm")
    job = write_job(tmp_path / "job", request_for(model, 1, steps=500), blob(model.image_size, 60, 60)[None])
    process = start(job)
    steps: list[Message] = []

    def drawing() -> bool:
        steps.extend(x for x in process.poll() if isinstance(x, Message) and x.event == "progress")
        return len(steps) >= 2

    assert until(drawing, 180), process.tail
    began = time.monotonic()
    process.cancel()
    assert time.monotonic() - began < 2
    assert process.state == "cancelled"
    assert not is_alive(process.pid or 0)
    job.remove()
    assert not job.folder.exists()


def copied_bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(ROOT / "bundles" / "thyroid_bmap_sdm", folder, ignore=shutil.ignore_patterns("demo"))
    return folder


def damage_weights(tmp_path: Path) -> tuple[Path, list[Path]]:
    folder = copied_bundle(tmp_path)
    weights = bytearray((folder / "models" / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 1
    (folder / "models" / "model.pt").write_bytes(weights)
    return folder, []


def remove_weights(tmp_path: Path) -> tuple[Path, list[Path]]:
    folder = copied_bundle(tmp_path)
    (folder / "models" / "model.pt").unlink()
    return folder, []


def hide_package(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A folder that comes first on the path, whose ``ignite`` is as good as none."""
    (tmp_path / "first" / "ignite").mkdir(parents=True)
    text = "raise ModuleNotFoundError(\"No module named 'ignite'\", name='ignite')\n"
    (tmp_path / "first" / "ignite" / "__init__.py").write_text(text)
    return ROOT / "bundles" / "thyroid_bmap_sdm", [tmp_path / "first"]


def fill_disk(tmp_path: Path) -> tuple[Path, list[Path]]:
    """What is written before it is moved to its place goes to a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    output = tmp_path / "job" / "output"
    output.mkdir(parents=True)
    (output / ".partial-images.npy").symlink_to("/dev/full")
    return ROOT / "bundles" / "thyroid_bmap_sdm", []


@pytest.mark.parametrize(
    ("inject", "told"),
    [
        (damage_weights, "The model's weights are damaged. Install the extension again"),
        (remove_weights, "The model's weights are missing. Install the extension again"),
        (hide_package, "A Python package is missing (ignite). Press Generate, which offers to install"),
        (fill_disk, "The disk is full. Free some space"),
    ],
)
def test_a_fault_is_told_in_a_sentence_and_leaves_no_result(tmp_path: Path, inject: Any, told: str) -> None:
    folder, first_paths = inject(tmp_path)
    model = read_model(folder)
    job = write_job(tmp_path / "written", request_for(model, 1, steps=1), blob(model.image_size, 50, 60)[None])
    if inject is fill_disk:
        shutil.move(tmp_path / "job" / "output", job.output)
    process = start(job, *first_paths)
    process.wait()
    assert process.state == "failed"
    assert told in str(process.failure), process.tail
    assert process.result is None
    with pytest.raises(ValueError, match="without a result"):
        job.read_result()


def test_the_beam_of_an_image_comes_back_from_a_child(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:90, :120]
    radius, angle = np.hypot(rows - 4, columns - 60), np.degrees(np.arctan2(columns - 60, rows - 4))
    speckle = np.random.default_rng(0).integers(40, 200, rows.shape, dtype=np.uint8)
    image = np.where((radius <= 80) & (np.abs(angle) <= 35), speckle, np.uint8(0))
    job = write_fit(tmp_path / "Fächer 1", image, "sector")
    process = JobProcess(job.command(PYTHON), job.folder, environment(), check=job.read_result)
    process.start()
    process.wait()
    assert process.state == "done", process.tail
    assert process.result["apex"] == pytest.approx([4, 60], abs=1)
    assert process.result["half_angle_deg"] == pytest.approx(35, abs=1)
