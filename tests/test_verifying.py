"""A synthetic file is checked against its own record, and drawn again from it; what is not as it says is refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import BUNDLE, CHANNELS, SIZE, run_here, small_options

from monai_bmaps.data import load_datalist
from monai_bmaps.provenance import read_pixels, read_record, record_of, sealed, write_nifti, write_nrrd, write_png
from monai_bmaps.provenance.command import main
from monai_bmaps.provenance.redrawing import settings_of
from monai_bmaps.transforms import DrawingFrames
from monai_bmaps.transforms.frame import LoadFrame, frame_affine

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config
PIXELS = np.arange(35, dtype=np.uint8).reshape(5, 7)
AFFINE = frame_affine() @ np.diag([0.5, 0.25, 1.0, 1.0])
WRITERS = {".nii.gz": write_nifti, ".nii": write_nifti, ".nrrd": write_nrrd}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return small_options(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def config(options: dict[str, Any]) -> Path:
    """What the tiny network differs by from the bundle, as a file on top of its configuration."""
    path = Path(options["weights"]).parent / "tiny.json"
    path.write_text(json.dumps({"weights": options["weights"], "denoiser_def::network::channels": CHANNELS}))
    return path


@pytest.fixture(scope="module")
def originals(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with NRRD beside them, with new anatomy and guidance; and one of a restyled frame."""
    folder = tmp_path_factory.mktemp("originals")
    changes = {"volumes": ".nrrd", "new_anatomy": True, "guidance": 1.5, "seed": 7, "scheduler::algorithm": "sde"}
    run_here(folder, options, **changes)
    return folder


@pytest.fixture
def folder(originals: Path) -> Iterator[Path]:
    """A copy of them beside the originals: what they were drawn for is named by relative paths."""
    copy = originals.with_name("copy")
    shutil.copytree(originals, copy)
    yield copy
    shutil.rmtree(copy)


def redrawing(config: Path, *more: str | Path) -> list[str]:
    return ["--bundle", str(BUNDLE), "--config", str(config), *map(str, more)]


def rewritten(path: Path, **changes: str | None) -> Path:
    """The file with another record around the same pixels."""
    record = {**(read_record(path) or {}), **changes}
    write_png(path, read_pixels(path), {key: value for key, value in record.items() if value is not None})
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What the command says of a file that it must refuse."""
    capsys.readouterr()
    assert main(["verify", *map(str, arguments)]) == 1
    return capsys.readouterr().out


# formats


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_tells_the_record_and_gives_the_pixels_back(tmp_path: Path, ending: str) -> None:
    record = {"Synthetic": "true", "Attenuation in dB": "44.0", "Note": "größer, 漢", "Source": '{"label": "a b=c"}'}
    path = tmp_path / f"a{ending}"
    WRITERS[ending](path, PIXELS, record, AFFINE)
    assert read_record(path) == record
    assert np.array_equal(read_pixels(path), PIXELS)


def test_nrrd_lies_where_nifti_does(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    for ending in (".nii.gz", ".nrrd"):
        WRITERS[ending](tmp_path / f"a{ending}", PIXELS, {"Synthetic": "true"}, AFFINE)
    nifti, nrrd = (sitk.ReadImage(str(tmp_path / f"a{ending}")) for ending in (".nii.gz", ".nrrd"))
    for index in ((0, 0, 0), (6, 0, 0), (0, 4, 0)):
        assert nrrd.TransformIndexToPhysicalPoint(index) == pytest.approx(nifti.TransformIndexToPhysicalPoint(index))
        assert nrrd[index] == nifti[index] == PIXELS[index[1], index[0]]


def test_a_nifti_with_a_record_is_read_as_any_other(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", PIXELS, {"Synthetic": "true"}, AFFINE)
    frame = LoadFrame()(tmp_path / "a.nii.gz")
    assert np.array_equal(frame[0].numpy(), PIXELS)
    assert np.allclose(frame.affine.numpy(), AFFINE)


@pytest.mark.parametrize("ending", [".png", *WRITERS])
def test_half_a_file_has_no_record(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    noise = np.random.default_rng(0).integers(0, 255, (50, 70)).astype(np.uint8)
    if ending == ".png":
        write_png(path, noise, {"Synthetic": "true"})
    else:
        WRITERS[ending](path, noise, {"Synthetic": "true"}, AFFINE)
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 3])
    assert read_record(path) is None


def test_a_sealed_record_names_its_source_from_where_the_image_lies(tmp_path: Path) -> None:
    label = tmp_path / "data" / "labels" / "heart.png"
    source = json.dumps({"label": {"path": str(label), "sha256": "x"}})
    record = sealed({"Seed": "1", "Source": source}, PIXELS, tmp_path / "set" / "images")
    assert json.loads(record["Source"])["label"]["path"] == "../../data/labels/heart.png"


def test_an_item_remembers_its_files_beam_and_patient(options: dict[str, Any]) -> None:
    item = {**load_datalist(Path(options["dataset_dir"]) / "dataset.json")[0], "patient": "p1", "spacing": [0.5, 0.5]}
    source = json.loads(record_of(DrawingFrames(SIZE, 3)(item), {})["Source"])
    assert source["label"]["path"] == item["label"]
    assert (source["beam"], source["patient"], source["spacing"]) == (item["beam"], "p1", [0.5, 0.5])


# what is as it says


@pytest.mark.parametrize("ending", [".png", ".nrrd"])
def test_a_file_is_verified_and_says_what_it_is(folder: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder / f"heart_1{ending}")]) == 0
    said = capsys.readouterr().out
    assert "synthetic, by cardiac_bmap_sdm, weights" in said
    assert "seed 7, 4 steps, B-map 44.0 dB, guidance 1.5, strength None" in said
    assert "hearts/labels/heart_1.png (new anatomy: deformed)" in said
    assert "its pixels are those that were written" in said


@pytest.mark.parametrize("ending", [".png", ".nrrd"])
def test_an_image_is_drawn_again_from_its_file_alone(
    folder: Path, config: Path, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / f"heart_2{ending}"
    assert main(["verify", str(path), *redrawing(config, "--output", tmp_path / "kept")]) == 0
    assert "drawn again: the same image" in capsys.readouterr().out
    again = read_pixels(tmp_path / "kept" / path.name / "redrawn.png")
    assert np.abs(again.astype(int) - read_pixels(path)).max() <= 1


def test_drawing_again_warns_of_nothing_that_is_meant(
    folder: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    log = logging.getLogger("monai.bundle.workflows")
    log.addHandler(handler)
    try:
        assert main(["verify", str(sorted(folder.glob("heart*.png"))[0]), *redrawing(config)]) == 0
    finally:
        log.removeHandler(handler)
    assert said == []


def test_an_image_of_a_restyled_frame_is_drawn_again(options: dict[str, Any], config: Path, tmp_path: Path) -> None:
    hearts = Path(options["dataset_dir"])
    shutil.copytree(hearts, tmp_path / "hearts")
    listing = json.loads((hearts / "dataset.json").read_text())
    entry = {**listing["test"][0], "image": "frame.png", "keep": "keep.png"}
    (tmp_path / "hearts" / "dataset.json").write_text(json.dumps({"test": [entry]}))
    noise = np.random.default_rng(0).integers(0, 255, SIZE).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "hearts" / "frame.png")
    Image.fromarray((np.indices(SIZE)[1] < 8).astype(np.uint8)).save(tmp_path / "hearts" / "keep.png")
    changes = {"dataset_dir": str(tmp_path / "hearts"), "strength": 0.6, "keep": True, "edit_repeats": 2}
    run_here(tmp_path / "out", options, **changes)
    path = str(tmp_path / "out" / "heart_1.nii.gz")
    assert main(["verify", path, *redrawing(config)]) == 0
    (tmp_path / "hearts" / "frame.png").write_bytes((tmp_path / "hearts" / "keep.png").read_bytes())
    assert main(["verify", path, *redrawing(config)]) == 1


def test_label_maps_that_moved_are_found_where_they_are_said_to_be(
    folder: Path, config: Path, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "elsewhere" / "heart_3.png"
    image.parent.mkdir()
    image.write_bytes((folder / "heart_3.png").read_bytes())
    assert "heart_3.png, is not there; say where it is with --labels" in refusal(capsys, image, *redrawing(config))
    hearts = Path(options["dataset_dir"])
    for labels in (hearts, hearts / "labels", hearts / "labels" / "heart_3.png"):
        assert main(["verify", str(image), *redrawing(config, "--labels", labels)]) == 0


# what is not


def test_a_file_that_does_not_say_that_it_is_synthetic_is_refused(
    folder: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    real = Path(options["dataset_dir"]) / "labels" / "heart_1.png"
    said = refusal(capsys, folder / "heart_1.png", real)
    assert f"{real}: REFUSED\n  it does not say that it is synthetic" in said
    assert said.endswith("1 of 2 files are what they say\n")


def test_an_overview_is_told_from_the_images_it_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "an overview of synthetic images, not one of them" in refusal(capsys, folder / "overview.png")


def test_files_that_are_missing_or_no_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in refusal(capsys, tmp_path / "none.png")
    (tmp_path / "text.nii").write_text("no image")
    assert "cannot be read as PNG, NIfTI or NRRD" in refusal(capsys, tmp_path / "text.nii")


@pytest.mark.parametrize("ending", [".png", ".nrrd"])
def test_a_changed_pixel_is_refused(folder: Path, ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / f"heart_1{ending}"
    record, pixels = read_record(path) or {}, read_pixels(path).copy()
    pixels[-1, 0] += 1
    if ending == ".png":
        write_png(path, pixels, record)
    else:
        write_nrrd(path, pixels, record, AFFINE)
    assert "its pixels are not those that were written" in refusal(capsys, path)


def test_pixels_and_digest_of_another_image_are_refused_once_it_is_drawn(
    folder: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = folder / "heart_1.png", folder / "heart_2.png"
    record = {**(read_record(path) or {}), "Pixels": (read_record(other) or {})["Pixels"]}
    write_png(path, read_pixels(other), record)
    assert main(["verify", str(path)]) == 0
    assert "drawn again it is another image" in refusal(capsys, path, *redrawing(config))


def test_other_weights_are_refused(
    folder: Path, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(options["weights"]).parent
    small_options(root, seed=1)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"weights": str(root / "model_1.pt"), "denoiser_def::network::channels": CHANNELS}))
    said = refusal(capsys, folder / "heart_1.png", *redrawing(other))
    assert "the bundle does not draw it: Weights is" in said


def test_another_seed_in_the_record_is_refused(folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = rewritten(folder / "heart_1.png", Seed="8")
    assert "is another image" in (said := refusal(capsys, path, *redrawing(config))) or "Condition is" in said


def test_another_label_map_is_refused(
    folder: Path, config: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(options["dataset_dir"]) / "labels" / "heart_2.png"
    said = refusal(capsys, folder / "heart_1.png", *redrawing(config, "--labels", other))
    assert "is another file than the one it was drawn for" in said


def test_another_beam_in_the_record_is_refused(folder: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = json.loads((read_record(folder / "heart_1.png") or {})["Source"])
    source["beam"]["half_angle_deg"] -= 5
    path = rewritten(folder / "heart_1.png", Source=json.dumps(source))
    assert "Condition is" in refusal(capsys, path, *redrawing(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Pixels": None}, "an older version drew it"),
        ({"Source": None}, "it does not say what it was drawn for"),
        ({"Source": '{"label": 3}'}, "which names no files"),
        ({"Source": "[]"}, "which names no files"),
        ({"Seed": "None"}, "drawn without a seed of its own"),
        ({"Steps": None}, "the record has no Steps"),
        ({"Precision": "float7"}, "the record's Precision is 'float7', not one of auto"),
    ],
    ids=["no digest", "no source", "no file", "a list", "no seed", "no steps", "unknown precision"],
)
def test_a_record_that_lacks_something_is_refused(
    folder: Path, config: Path, changes: dict[str, str | None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(capsys, rewritten(folder / "heart_1.png", **changes), *redrawing(config))


@pytest.mark.parametrize(
    "changes",
    [
        {"Steps": "$__import__('os').abort()"},
        {"Guidance": "'$1/0'"},
        {"Guidance interval": "['$1/0', 1]"},
        {"Sampler": "{'step_grid': '$1/0'}"},
        {"Sampler": "{'algorithm': '@weights'}"},
        {"Precision": "$1/0"},
    ],
    ids=str,
)
def test_a_record_cannot_run_code(originals: Path, changes: dict[str, str]) -> None:
    record = {**(read_record(originals / "heart_1.png") or {}), **changes}
    with pytest.raises(ValueError, match="the record's"):
        settings_of(record)


def test_a_folder_that_is_no_bundle_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, folder / "heart_1.png", "--bundle", tmp_path)
    assert "inference.json does not exist; give the folder of the bundle that drew the image" in said


@pytest.mark.parametrize("name", ["thyroid_bmap_sdm", "liver_bmap_gd"])
def test_every_bundle_writes_a_data_set_whose_images_it_draws_again(name: str, tmp_path: Path) -> None:
    bundle = BUNDLE.parent / name
    demo = json.loads((bundle / "demo" / "dataset.json").read_text())
    kept = {**demo, "test": [{**demo["test"][0], **_absolute(demo["test"][0], bundle / "demo")}]}
    (tmp_path / "dataset.json").write_text(json.dumps(kept))
    run_here(
        tmp_path / "set",
        {"bundle_root": str(bundle), "dataset_dir": str(tmp_path), "num_inference_steps": 2},
        config=bundle / "configs" / "inference.json",
        as_dataset=True,
    )
    item = load_datalist(tmp_path / "set" / "dataset.json")[0]
    assert ("label" in item) == (name == "thyroid_bmap_sdm")
    assert item["beam"]["kind"] == kept["test"][0]["beam"]["kind"]
    assert main(["verify", item["image"], "--bundle", str(bundle)]) == 0


def _absolute(entry: dict[str, Any], folder: Path) -> dict[str, str]:
    return {key: str(folder / entry[key]) for key in ("label", "sector") if key in entry}
