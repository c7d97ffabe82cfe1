"""Job folders without a child process: what is written, what is said, what is read back."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SlicerBMapDiffusionLib.jobs import job as job_module
from SlicerBMapDiffusionLib.jobs.fitting import write_fit
from SlicerBMapDiffusionLib.jobs.hints import hint
from SlicerBMapDiffusionLib.jobs.job import Job, Request, new_job_folder, write_job
from SlicerBMapDiffusionLib.jobs.messages import parse_line
from SlicerBMapDiffusionLib.jobs.png import write_png

SHAPE = (2, 5, 7)
RNG = np.random.default_rng(3)


def request(bundle: Path, **changes: Any) -> Request:
    count, rows, columns = SHAPE
    settings: dict[str, Any] = {
        "model": "thyroid",
        "bundle": str(bundle),
        "frame": {"rows": rows, "columns": columns, "count": count, "ijk_to_ras": np.eye(4).tolist()},
        "beam": {"kind": "linear", "top": 0, "bottom": 4},
        "classes": ("thyroid",),
        "mapping": {"thyroid": ["Schilddrüse links", "right"]},
        "seed": 7,
    }
    return Request(**{**settings, **changes})


@pytest.fixture
def labels() -> Any:
    return RNG.integers(0, 2, SHAPE, dtype=np.uint8)


@pytest.fixture
def written(tmp_path: Path, labels: Any) -> Job:
    return write_job(tmp_path / "job", request(tmp_path), labels)


def finish(written: Job, images: Any = None, **changes: Any) -> None:
    """Leave what a child process would."""
    images = RNG.integers(0, 255, SHAPE, dtype=np.uint8) if images is None else images
    manifest = {
        "version": 1,
        "job": written.digest,
        "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "seeds": written.request.seeds,
        "record": {"Model": "thyroid"},
    }
    written.output.mkdir(exist_ok=True)
    np.save(written.output / "images.npy", images)
    (written.output / "result.json").write_text(json.dumps(manifest | changes))


# requests


def test_a_request_comes_back_from_its_json_as_it_was(tmp_path: Path) -> None:
    asked = request(tmp_path, steps=11, guidance=1.5, attenuation_db=30.0, variants=3, preview=True, device="cpu")
    assert Request.from_json(asked.to_json()) == asked


def test_a_request_of_another_version_is_refused_with_a_remedy(tmp_path: Path) -> None:
    text = json.dumps(json.loads(request(tmp_path).to_json()) | {"version": 99})
    with pytest.raises(ValueError, match=r"another version of B-Map Diffusion \(record 99, this one reads 1\). Update"):
        Request.from_json(text)


@pytest.mark.parametrize("text", ["", "3", "[]", "{}", "null", '{"version": 1}', '{"version": 1, "model": "a"'])
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"record of a request|record of the request"):
        Request.from_json(text)


def test_frames_of_a_sweep_share_a_seed_and_variants_do_not(tmp_path: Path) -> None:
    assert request(tmp_path, variants=2, shared_noise=True).seeds == [7, 7, 8, 8]
    assert request(tmp_path, variants=2, shared_noise=False).seeds == [7, 8, 9, 10]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("steps", 0, "steps must be a whole number from 1 to 1000, got 0"),
        ("steps", 2.5, "steps must be a whole number"),
        ("seed", -1, "seed must be a whole number from 0"),
        ("variants", 0, "variants must be"),
        ("guidance", 0.0, "guidance must lie above 0"),
        ("strength", 1.5, "strength must lie above 0 and at most at 1, got 1.5"),
        ("strength", float("nan"), "strength must lie"),
        ("attenuation_db", -3.0, "attenuation_db must lie in"),
        ("device", "tpu", "device must be one of auto, cpu, cuda"),
        ("beam", {"kind": "round"}, "beam must be a linear or sector beam"),
        ("frame", {"rows": 5, "columns": 0, "count": 1}, "frame columns must be a whole number"),
    ],
)
def test_values_out_of_range_are_refused_by_name(tmp_path: Path, name: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        request(tmp_path, **{name: value})


# writing


def test_a_png_reads_back_as_it_was(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(np.asarray(pillow.open(tmp_path / "a.png")), pixels)


def test_one_item_is_written_for_each_variant_of_each_frame(tmp_path: Path, labels: Any) -> None:
    job = write_job(tmp_path / "job", request(tmp_path, variants=2), labels)
    items = json.loads((job.folder / "dataset.json").read_text())["test"]
    assert [item["label"][-8:] for item in items] == ["0000.png", "0001.png"] * 2
    assert len({item["name"] for item in items}) == 4


def test_what_was_not_chosen_is_left_to_the_bundle(written: Job) -> None:
    settings = json.loads((written.folder / "settings.json").read_text())
    assert not {"num_inference_steps", "guidance", "drawn_attenuation_db", "strength"} & set(settings)


def test_other_labels_make_another_job(tmp_path: Path, labels: Any, written: Job) -> None:
    assert write_job(tmp_path / "second", request(tmp_path), 1 - labels).digest != written.digest
    assert write_job(tmp_path / "third", request(tmp_path), labels).digest == written.digest


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: x[:1], r"labels must be \(2, 5, 7\) uint8 as the frame is, got \(1, 5, 7\)"),
        (lambda x: x.astype(int), "got .* int64"),
        (lambda x: x * 0, "no segment lies inside the frame"),
        (lambda x: x + 1, "labels go up to 2, but the model has 1 classes"),
        (lambda x: None, "draws from a segmentation"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: Any, change: Any, told: str) -> None:
    labels[0, 0, 0] = 1
    with pytest.raises(ValueError, match=told):
        write_job(tmp_path / "job", request(tmp_path), change(labels))
    assert not (tmp_path / "job").exists()


def test_strength_and_images_belong_together(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(ValueError, match="belong together"):
        write_job(tmp_path / "job", request(tmp_path, strength=0.5), labels)


def test_a_bundle_that_is_gone_is_refused(tmp_path: Path, labels: Any) -> None:
    with pytest.raises(ValueError, match=r"is not there any more. Choose the model again"):
        write_job(tmp_path / "job", request(tmp_path / "gone"), labels)


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path, labels: Any, written: Job) -> None:
    before = sorted(path.name for path in written.folder.rglob("*"))
    with pytest.raises(ValueError, match=r"holds something already. Take a new one for each job"):
        write_job(written.folder, request(tmp_path), labels)
    assert sorted(path.name for path in written.folder.rglob("*")) == before


@pytest.mark.parametrize("existed", [True, False])
def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, labels: Any, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    def full(path: Path, pixels: Any) -> None:
        Path(path).write_bytes(b"half")
        if "0001" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job_module, "write_png", full)
    folder = tmp_path / "job"
    if existed:
        folder.mkdir()
    with pytest.raises(OSError, match=r"The disk of .* is full. Free some space, or choose another temporary folder"):
        write_job(folder, request(tmp_path), labels)
    assert folder.exists() == existed
    assert not existed or not list(folder.iterdir())


def test_a_parent_that_is_a_file_is_told_of(tmp_path: Path, labels: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written to .* Choose another"):
        write_job(tmp_path / "file" / "job", request(tmp_path), labels)


def test_two_applications_under_one_temporary_folder_never_share_a_job_folder(tmp_path: Path) -> None:
    assert len({new_job_folder(tmp_path / "cache") for _ in range(20)}) == 20


# commands


def test_the_terminal_line_is_the_command_in_the_bundle_s_folder(written: Job) -> None:
    folder, _, command = written.terminal_line("/opt/my slicer/PythonSlicer", windows=False).partition(" && ")
    assert shlex.split(folder) == ["cd", written.request.bundle]
    assert shlex.split(command) == written.command("/opt/my slicer/PythonSlicer")


def test_the_windows_line_changes_the_drive_and_quotes_for_cmd(written: Job) -> None:
    line = written.terminal_line(r"C:\Program Files\Slicer\PythonSlicer.exe", r"D:\my bundles\heart", windows=True)
    assert line.startswith(r'cd /d "D:\my bundles\heart" && "C:\Program Files\Slicer\PythonSlicer.exe" -X utf8 ')


@pytest.mark.parametrize("name", ["Ann & Bob", "a^b", "(x86)", "a|b<c>d", "O'Brien & Söhne", "a,b;c=d", "tail\\"])
def test_what_cmd_would_read_as_its_own_lies_in_quotes(written: Job, name: str) -> None:
    job = replace(written, folder=Path("C:\\Users") / name)
    line = job.terminal_line(rf"C:\{name}\python.exe", rf"D:\{name}\heart", windows=True)
    folder, _, command = line.partition(" && ")
    outside = "".join(line.split('"')[::2]).replace(" && ", "")
    assert not set(outside) & set("&|<>^()'")
    assert folder == rf'cd /d "D:\{name}\heart"'
    assert shlex.split(command.replace("\\", "\\\\")) == job.command(rf"C:\{name}\python.exe")


def test_a_backslash_at_an_argument_s_end_does_not_take_the_quote_with_it(written: Job) -> None:
    line = written.terminal_line("C:\\R&D\\", windows=True)
    assert ' && "C:\\R&D\\\\" -X utf8 ' in line


def test_the_configurations_survive_the_way_the_command_line_is_read(tmp_path: Path, labels: Any) -> None:
    parse = pytest.importorskip("fire.parser").DefaultParseValue
    job = write_job(tmp_path / """it's "ü" #1, [x] {y} $z""", request(tmp_path), labels)
    assert parse(job.command("python")[-1])[-1] == str(job.folder / "settings.json")


# messages


@pytest.mark.parametrize(
    ("line", "event", "fraction"),
    [
        ('BMAP {"event": "progress", "image": 0, "images": 2, "step": 1, "steps": 4}', "progress", 0.125),
        ('BMAP {"event": "progress", "image": 8, "images": 10, "batch": 2, "step": 2, "steps": 4}', "progress", 0.9),
        ('BMAP {"event": "progress", "image": 0, "images": 0, "step": 0, "steps": 0}', "progress", 0.0),
        ('BMAP {"event": "state", "state": "loading"}', "state", None),
        ('BMAP {"event": "done", "images": 2, "later": "versions say more"}', "done", 1.0),
    ],
)
def test_a_message_tells_the_share_that_is_done(line: str, event: str, fraction: float | None) -> None:
    message = parse_line(line)
    assert message is not None
    assert (message.event, message.fraction) == (event, fraction)


@pytest.mark.parametrize(
    "line",
    [
        *("", "BMAP", "BMAP ", "BMAP {", "BMAP []", "BMAP null", "BMAP 3", 'BMAP {"event": 3}', 'BMAP {"event": []}'),
        'BMAP {"event": "unheard of"}',
        'BMAP {"event": "progress", "image": -1, "images": 2, "step": 1, "steps": 4}',
        'BMAP {"event": "progress", "image": true, "images": 2, "step": 1, "steps": 4}',
        'BMAP {"event": "progress", "image": 0, "images": NaN, "step": 1, "steps": 4}',
        'BMAP {"event": "preview", "file": "../../etc/passwd", "image": 0}',
        'BMAP {"event": "state", "state": "on fire"}',
        "BMAP " + "[" * 100_000,
        '2026 - INFO - BMAP {"event": "done", "images": 1}',
    ],
)
def test_all_other_text_is_no_message(line: str) -> None:
    assert parse_line(line) is None


# results


def test_a_finished_job_gives_its_images_seeds_and_record(written: Job) -> None:
    images = RNG.integers(0, 255, SHAPE, dtype=np.uint8)
    finish(written, images)
    result = written.read_result()
    assert np.array_equal(result.images, images)
    assert (result.seeds, result.record) == ((7, 7), {"Model": "thyroid"})


def damaged(change: Any) -> Any:
    """Finish, then change the file of images."""

    def damage(job: Job) -> None:
        finish(job)
        path = job.output / "images.npy"
        path.write_bytes(change(path.read_bytes()))

    return damage


def pickled(job: Job) -> None:
    finish(job)
    np.save(job.output / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def unmanifested(text: str) -> Any:
    def damage(job: Job) -> None:
        finish(job)
        (job.output / "result.json").write_text(text)

    return damage


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param(lambda job: None, "ended without a result. Look at its log", id="nothing"),
        pytest.param(damaged(lambda data: data[:-9]), "images .* are missing or damaged", id="cut off"),
        pytest.param(damaged(lambda data: b""), "images .* are missing or damaged", id="empty"),
        pytest.param(damaged(lambda data: data[:60]), "images .* are missing or damaged", id="half a header"),
        pytest.param(damaged(lambda data: data[:-1] + b"\xff"), "the file is damaged. Make them again", id="a byte"),
        pytest.param(pickled, "images .* are missing or damaged", id="pickle"),
        pytest.param(lambda job: finish(job, np.zeros((2, 5, 8), np.uint8)), r"are \(2, 5, 8\) uint8", id="shape"),
        pytest.param(lambda job: finish(job, np.zeros(SHAPE)), "are .* float64", id="type"),
        pytest.param(lambda job: finish(job, job="0" * 32), "is of another job", id="another job"),
        pytest.param(lambda job: finish(job, seeds=[1, 2]), "with other seeds", id="seeds"),
        pytest.param(lambda job: finish(job, version=2), "of version 2, .* Install the packages again", id="version"),
        pytest.param(unmanifested("{"), "manifest .* is damaged", id="half a manifest"),
        pytest.param(unmanifested("[]"), "manifest .* is damaged", id="no manifest"),
        pytest.param(lambda job: (finish(job), (job.output / "images.npy").unlink()), "missing or damaged", id="gone"),
    ],
)
def test_a_result_that_is_not_whole_is_refused(written: Job, fault: Any, told: str) -> None:
    fault(written)
    with pytest.raises(ValueError, match=told):
        written.read_result()


def test_a_preview_that_cannot_be_read_is_none(written: Job) -> None:
    written.output.mkdir()
    assert written.read_preview() is None
    (written.output / "preview.npy").write_bytes(b"\x93NUMPY")
    assert written.read_preview() is None
    np.save(written.output / "preview.npy", np.full((5, 7), 9, np.uint8))
    assert (preview := written.read_preview()) is not None
    assert preview[0, 0] == 9


def test_a_removed_job_is_gone_and_removing_it_again_is_no_error(written: Job) -> None:
    written.remove()
    written.remove()
    assert not written.folder.exists()


# hints


@pytest.mark.parametrize(
    ("code", "lines", "told"),
    [
        (1, ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"], "graphics card has too little"),
        (
            1,
            ["RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"],
            "too little free m",
        ),
        (1, ["MemoryError"], "computer has too little free memory"),
        (1, ["OSError: [Errno 28] No space left on device: 'x'"], "The disk is full"),
        (1, ["OSError: 49152 requested and 8064 written"], "The disk is full"),
        (1, ["ModuleNotFoundError: No module named 'monai'"], r"missing \(monai\). Press Generate"),
        (1, ["ImportError: monai_bmaps.handlers needs ignite: pip install"], r"missing \(ignite\)"),
        (1, ["ValueError: m.pt is not the file that model.json beside it describes"], "weights are damaged"),
        (1, ["FileNotFoundError: /b/models/model.pt does not exist; train"], "weights are missing"),
        (
            1,
            ["ValueError: the device cuda was asked for, but this PyTorch sees no graphics card"],
            "device CPU or auto",
        ),
        (-9, [], "killed from outside, most often because the computer ran out of memory"),
        (137, ["..."], "killed from outside"),
        (-11, ["Fatal Python error: Segmentation fault"], "crashed. Try again with the device CPU"),
        (0xC0000005, [], "crashed"),
        (1, ["error: [/Slicer/bin/python-real] exit abnormally - Report the problem."], "killed from outside"),
        (
            1,
            [
                "Fatal Python error: Segmentation fault",
                "error: [C:/Slicer/bin/python-real.exe] exit abnormally - Report the problem.",
            ],
            "crashed. Try again with the device CPU",
        ),
        (-15, [], "ended from outside"),
        (3, [], "ended without a word"),
        (None, ["noise"], "ended without a word"),
        (1, ["ValueError: beam covers no pixel", "", "RuntimeError: Failed to instantiate x"], "beam covers no pixel"),
        (1, ["No module named 'a'", "MemoryError"], "too little free memory"),
    ],
)
def test_an_end_is_explained_in_a_sentence_that_says_what_to_do(code: int | None, lines: list[str], told: str) -> None:
    assert re.search(told, hint(code, lines))


# fits of a beam


def test_a_beam_that_did_not_come_back_is_told_of(tmp_path: Path) -> None:
    job = write_fit(tmp_path / "fit", np.zeros((5, 7), np.uint8), "linear")
    for text in (None, "", "[]", '{"beam": {"kind": "round"}}', '{"beam": 3}'):
        if text is not None:
            (job.folder / "beam.json").write_text(text)
        with pytest.raises(ValueError, match=r"no beam came back .* Choose another image, or set the beam by hand"):
            job.read_result()


def test_a_beam_of_an_unknown_kind_cannot_be_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind must be one of auto, sector, linear, got 'round'"):
        write_fit(tmp_path, np.zeros((5, 7), np.uint8), "round")  # type: ignore[arg-type]
