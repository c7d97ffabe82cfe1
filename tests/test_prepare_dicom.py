"""DICOM prepared: nobody can be told from what is written, and text beside the beam is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("pydicom", reason="reading DICOM needs the extra 'data'")

from test_dicom import WHO, dataset, region
from trees import FAN, SHAPE, fingerprint, frame

from monai_bmaps.data.prepare import DicomSource, prepare, read_or_make_key
from monai_bmaps.data.prepare.command import main

KEY = bytes(range(32))
EXACT: dict[str, Any] = {"size": None, "progress": False}
CALIBRATED = {
    "RegionLocationMinX0": 0,
    "RegionLocationMinY0": 0,
    "RegionLocationMaxX1": SHAPE[1] - 1,
    "RegionLocationMaxY1": SHAPE[0] - 1,
    "PhysicalDeltaX": 0.04,
    "PhysicalDeltaY": 0.04,
}


def save(path: Path, pixels: np.ndarray, calibrated: bool = True, **attributes: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = dataset(pixels, **attributes)
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        ds.NumberOfFrames = len(pixels)
    if calibrated:
        ds.SequenceOfUltrasoundRegions = [region(**CALIBRATED)]
    ds.save_as(path, enforce_file_format=True)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Two patients; names and folders say who they are."""
    root = tmp_path / "DOE_JANE"
    labelled = frame()
    labelled[1:5, 1:12] = 255  # burned-in text, beside the beam
    save(root / "MRN-4711" / "still.dcm", labelled)
    save(root / "MRN-4711" / "loop.dcm", np.stack([frame(seed=n) for n in range(3)]))
    save(root / "other.dcm", frame(seed=9), PatientID="MRN-4712", PatientName="ROE^RICHARD")
    return root


def entries(output: Path) -> list[dict[str, Any]]:
    content = json.loads((output / "dataset.json").read_text())
    return [entry for split in ("training", "validation", "test") for entry in content[split]]


def test_frames_have_their_millimetres_and_one_pseudonym_for_each_patient(clinic: Path, tmp_path: Path) -> None:
    done = prepare(DicomSource(clinic, KEY, beam="sector"), tmp_path / "out", **EXACT)
    assert not done.failures
    found = entries(tmp_path / "out")
    assert len(found) == 5
    assert {tuple(entry["spacing"]) for entry in found} == {(0.4, 0.4)}
    groups = [entry["patient"] for entry in found]
    assert sorted(groups.count(group) for group in set(groups)) == [1, 4]


def test_nothing_that_is_written_identifies_a_patient(clinic: Path, tmp_path: Path) -> None:
    (clinic / "MRN-4711" / "broken.dcm").write_bytes((clinic / "other.dcm").read_bytes()[:900])
    before = fingerprint(clinic)
    output = tmp_path / "out"
    status = main(["prepare", "dicom", str(clinic), str(output), "--workers", "0", "--quiet", "--beam", "sector"])
    assert status == 1
    secret = [
        *WHO.values(),
        "MRN-4712",
        "ROE^RICHARD",
        "DOE",
        "still",
        "loop",
        "broken",
        (tmp_path / "out.key").read_text(),
    ]
    written = [p for p in output.rglob("*") if p.is_file()]
    assert len(written) > 15
    for path in written:
        content = path.read_bytes()
        for word in secret:
            assert word.encode() not in content, path
            assert word not in str(path.relative_to(output))
    assert fingerprint(clinic) == before


def test_the_terminal_names_the_file_that_failed(
    clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clinic / "broken.dcm").write_bytes(b"no DICOM")
    main(["prepare", "dicom", str(clinic), str(tmp_path / "out"), "--workers", "0", "--quiet"])
    assert "broken.dcm is no DICOM file; remove it" in capsys.readouterr().err
    assert "see the terminal" in (tmp_path / "out" / "report.md").read_text()


def test_text_beside_the_beam_is_black(clinic: Path, tmp_path: Path) -> None:
    prepare(DicomSource(clinic, KEY, beam="sector"), tmp_path / "out", **EXACT)
    for entry in entries(tmp_path / "out"):
        image = np.asarray(Image.open(tmp_path / "out" / entry["image"]))
        sector = np.asarray(Image.open(tmp_path / "out" / entry["sector"]))
        assert image[sector == 0].max() == 0
        assert (sector > 0)[FAN.mask(SHAPE).numpy()].mean() > 0.95


@pytest.mark.parametrize("unfitted", ["drop", "keep"])
def test_a_frame_whose_text_cannot_be_told_from_the_image_is_never_written(tmp_path: Path, unfitted: Any) -> None:
    full = np.random.default_rng(0).integers(30, 90, SHAPE).astype(np.uint8)
    save(tmp_path / "in" / "a.dcm", full, calibrated=False)
    save(tmp_path / "in" / "b.dcm", np.zeros(SHAPE, np.uint8), PatientID="b")
    done = prepare(DicomSource(tmp_path / "in", KEY), tmp_path / "out", unfitted=unfitted, **EXACT)
    assert entries(tmp_path / "out") == []
    assert done.left_out == 2


def test_uncalibrated_frames_are_called_so(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.dcm", frame(), calibrated=False)
    prepare(DicomSource(tmp_path / "in", KEY, beam="sector"), tmp_path / "out", **EXACT)
    (entry,) = entries(tmp_path / "out")
    assert "spacing" not in entry
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| 1 | uncalibrated: the file marks no two-dimensional region |" in report
    assert "1 frames are uncalibrated" in report


def test_every_nth_frame_and_no_colour_on_request(tmp_path: Path) -> None:
    save(tmp_path / "in" / "loop.dcm", np.stack([frame(seed=n) for n in range(5)]))
    colour = np.stack([frame(), frame() // 2, frame() // 4], -1)
    save(tmp_path / "in" / "doppler.dcm", colour, PatientID="other")
    source = DicomSource(tmp_path / "in", KEY, every=2, most_colour=0.2, beam="sector")
    done = prepare(source, tmp_path / "out", **EXACT)
    assert [entry["frame"] for entry in entries(tmp_path / "out")] == [0, 2, 4]
    assert done.left_out == 3


def test_the_same_key_gives_the_same_names_and_another_one_others(clinic: Path, tmp_path: Path) -> None:
    names = []
    for number, key in enumerate((KEY, KEY, KEY[::-1])):
        prepare(DicomSource(clinic, key, beam="sector"), tmp_path / str(number), **EXACT)
        names.append({(entry["name"], entry["patient"]) for entry in entries(tmp_path / str(number))})
    assert names[0] == names[1]
    assert not names[0] & names[2]


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    key = read_or_make_key(tmp_path / "a.key")
    assert len(key) == 32
    assert read_or_make_key(tmp_path / "a.key") == key
    assert (tmp_path / "a.key").stat().st_mode & 0o077 == 0


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.key").write_text("secret")
    with pytest.raises(ValueError, match="holds no key"):
        read_or_make_key(tmp_path / "a.key")


def test_a_key_among_the_data_is_refused(clinic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (clinic / "x.key", tmp_path / "out" / "x.key"):
        assert main(["prepare", "dicom", str(clinic), str(tmp_path / "out"), "--key-file", str(place)]) == 2
        assert "would lie among the data" in capsys.readouterr().err
        assert not place.exists()
