"""From a download to a prepared set: orientation, labels, splits, resume, bad input, and the source untouched."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import list_data_collate, load_decathlon_datalist
from PIL import Image
from trees import (
    BAND,
    FAN,
    SHAPE,
    camus_metaimage,
    camus_nifti,
    camus_sequence,
    fingerprint,
    flat,
    frame,
    itk,
    labels,
    nifti,
    png,
    segthy,
)

import monai_bmaps.data.prepare.reading as reading
from monai_bmaps.data import list_items, load_datalist
from monai_bmaps.data.prepare import (
    CamusSource,
    FolderSource,
    Frame,
    Item,
    LabelRule,
    Orientation,
    Prepared,
    SegThySource,
    prepare,
)
from monai_bmaps.data.prepare.command import main
from monai_bmaps.data.prepare.engine import explain
from monai_bmaps.data.split import split_of
from monai_bmaps.geometry import LinearBeam, beam_from_dict
from monai_bmaps.transforms import BeamDepthd, LoadFramed

EXACT: dict[str, Any] = {"size": None, "progress": False}  # phantoms are 1 mm: no pixel changes


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def listing(output: Path) -> dict[str, Any]:
    return json.loads((output / "dataset.json").read_text())


def entries(output: Path) -> list[dict[str, Any]]:
    """Of all splits, by name."""
    content = listing(output)
    every = [entry for split in ("training", "validation", "test") for entry in content[split]]
    return sorted(every, key=lambda entry: entry["name"])


def visible(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.relative_to(folder).parts[0].startswith(".")]


def halves(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith((".partial", "scratch"))]


# CAMUS


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PLS", "ARI", "SPL", "LIP"])
def test_camus_comes_out_upright_however_it_is_stored(tmp_path: Path, axes: str) -> None:
    source = camus_nifti(tmp_path / "in", 1, axes)
    assert not prepare(CamusSource(source), tmp_path / "out", **EXACT).failures
    name = "patient0001_4CH_ED.png"
    assert np.array_equal(pixels(tmp_path / "out" / "images" / name), frame(seed=12))
    assert np.array_equal(pixels(tmp_path / "out" / "labels" / name), labels())


def test_the_older_layout_comes_out_the_same(tmp_path: Path) -> None:
    prepare(CamusSource(camus_metaimage(tmp_path / "in")), tmp_path / "out", **EXACT)
    found = entries(tmp_path / "out")
    assert [(e["patient"], e["view"]) for e in found] == [(f"patient000{n}", v) for n in (1, 2) for v in ("2CH", "4CH")]
    assert np.array_equal(pixels(tmp_path / "out" / found[2]["image"]), frame(seed=2))
    assert np.array_equal(pixels(tmp_path / "out" / found[2]["label"]), labels())


def test_anisotropic_pixels_become_square_and_keep_their_millimetres(tmp_path: Path) -> None:
    source = camus_nifti(tmp_path / "in", 1, spacing=(0.2, 0.4))
    prepare(CamusSource(source), tmp_path / "out", size=52, progress=False)
    entry = entries(tmp_path / "out")[0]
    height, width = pixels(tmp_path / "out" / entry["image"]).shape
    assert (height, width) == (30, 52)
    assert [height * entry["spacing"][0], width * entry["spacing"][1]] == pytest.approx([60 * 0.2, 52 * 0.4])


def test_the_fitted_fan_is_the_one_that_was_drawn(tmp_path: Path) -> None:
    prepare(CamusSource(camus_nifti(tmp_path / "in", 1)), tmp_path / "out", **EXACT)
    for entry in entries(tmp_path / "out"):
        drawn, fitted = FAN.mask(SHAPE), beam_from_dict(entry["beam"]).mask(SHAPE)
        assert (drawn & fitted).sum() / (drawn | fitted).sum() > 0.98
        assert np.array_equal(pixels(tmp_path / "out" / entry["sector"]) > 0, fitted.numpy())


def test_a_wrong_affine_is_told_by_its_fan_and_the_rest_goes_on(tmp_path: Path) -> None:
    source = camus_nifti(tmp_path / "in", 2)
    stem = source / "database_nifti" / "patient0001" / "patient0001_2CH_ED"
    for path, content in ((f"{stem}.nii.gz", frame()), (f"{stem}_gt.nii.gz", labels())):
        nibabel.save(nibabel.Nifti1Image(content.T[..., None], np.eye(4)), path)  # says: towards the front
    done = prepare(CamusSource(source), tmp_path / "out", **EXACT)
    assert list(done.failures) == ["patient0001_2CH_ED"]
    assert "opens upwards" in done.failures["patient0001_2CH_ED"]
    assert "--stored-order" in done.failures["patient0001_2CH_ED"]
    told = CamusSource(source, orientation=Orientation(use_affine=False))
    assert not prepare(told, tmp_path / "out", **EXACT).failures
    assert np.array_equal(pixels(tmp_path / "out" / "images" / "patient0001_2CH_ED.png"), frame())


def test_sequences_bring_the_frames_between_the_stills(tmp_path: Path) -> None:
    source = camus_sequence(camus_nifti(tmp_path / "in", 1))
    done = prepare(CamusSource(source, sequences=True), tmp_path / "out", **EXACT)
    names = [e["name"] for e in entries(tmp_path / "out") if "half_sequence" in e["name"]]
    assert names == [f"patient0001_2CH_half_sequence_{n:03d}" for n in (1, 2, 3)]
    assert done.left_out == 2
    image = tmp_path / "out" / "images" / "patient0001_2CH_half_sequence_002.png"
    assert np.array_equal(pixels(image), frame(seed=92))


def test_an_unlabelled_sequence_is_listed_without_labels(tmp_path: Path) -> None:
    source = camus_sequence(camus_nifti(tmp_path / "in", 1), labelled=False)
    prepare(CamusSource(source, sequences=True), tmp_path / "out", **EXACT)
    assert [("label" in e) for e in entries(tmp_path / "out") if "half_sequence" in e["name"]] == [False] * 3


def test_official_lists_decide_and_a_patient_in_none_fails(tmp_path: Path) -> None:
    source = camus_nifti(tmp_path / "in", 4)
    for name, patient in (("training", 3), ("validation", 1), ("testing", 2)):
        path = source / "database_split" / f"subgroup_{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"patient{patient:04d}\n")
    done = prepare(CamusSource(source), tmp_path / "out", **EXACT)
    assert done.frames == {"training": 4, "validation": 4, "test": 4}
    assert {e["patient"] for e in listing(tmp_path / "out")["test"]} == {"patient0002"}
    assert len(done.failures) == 4
    assert all("in none of the official lists" in reason for reason in done.failures.values())


# SegThy


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PLS", "SPL", "RSA"])
def test_segthy_is_sliced_across_the_sweep_however_it_is_stored(tmp_path: Path, axes: str) -> None:
    done = prepare(SegThySource(segthy(tmp_path / "in", axes=axes)), tmp_path / "out", **EXACT)
    assert not done.failures
    found = entries(tmp_path / "out")
    assert [e["name"] for e in found] == [
        f"{v}_{n:04d}" for v in ("001_P1_1_left", "002_P2_1_right") for n in (1, 3, 4)
    ]
    assert np.array_equal(pixels(tmp_path / "out" / found[1]["image"]), frame(BAND, seed=3))
    assert np.array_equal(pixels(tmp_path / "out" / found[1]["label"]), labels(BAND, values=(1, 2, 3, 4, 5)))
    assert found[1]["spacing"] == [0.5, 0.5]
    assert beam_from_dict(found[1]["beam"]).top == pytest.approx(BAND.top, abs=1)


def test_slices_without_thyroid_or_echoes_are_left_out_and_counted(tmp_path: Path) -> None:
    done = prepare(SegThySource(segthy(tmp_path / "in")), tmp_path / "out", **EXACT)
    assert done.left_out == 6
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| 4 | slice without a thyroid label | 001_P1_1_left_0000 |" in report
    assert "| 2 | empty slice | 001_P1_1_left_0002 |" in report


@pytest.mark.parametrize(
    ("kept", "expected"), [("all", {0, 1, 2, 3, 4, 5}), ("collapsed", {0, 1, 2, 3}), ("thyroid", {0, 1})]
)
def test_segthy_classes_are_kept_collapsed_or_reduced(tmp_path: Path, kept: Any, expected: set[int]) -> None:
    prepare(SegThySource(segthy(tmp_path / "in"), classes_kept=kept), tmp_path / "out", **EXACT)
    drawn = pixels(tmp_path / "out" / entries(tmp_path / "out")[0]["label"])
    assert set(np.unique(drawn)) == expected
    assert len(listing(tmp_path / "out")["labels"]) == len(expected)
    boxes = labels(BAND, values=(1, 2, 3, 4, 5))
    if kept == "collapsed":
        assert np.array_equal(drawn == 2, np.isin(boxes, (2, 4)))


def test_every_nth_slice_is_kept(tmp_path: Path) -> None:
    prepare(SegThySource(segthy(tmp_path / "in", slices=9), every=3), tmp_path / "out", **EXACT)
    assert [e["slice"] for e in entries(tmp_path / "out")] == [3, 6, 3, 6]


def test_a_compressed_volume_comes_out_the_same_and_leaves_nothing_behind(tmp_path: Path) -> None:
    source = segthy(tmp_path / "in", names=("001_P1_1_left",))
    (plain,) = (source / "US_volunteer_dataset" / "ground_truth_data" / "US").iterdir()
    nibabel.save(nibabel.load(plain), f"{plain}.gz")
    plain.unlink()
    assert not prepare(SegThySource(source), tmp_path / "out", **EXACT).failures
    image = tmp_path / "out" / "images" / "001_P1_1_left_0003.png"
    assert np.array_equal(pixels(image), frame(BAND, seed=3))
    assert halves(tmp_path / "out") == []


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_is_read_a_slab_at_a_time_along_any_axis(
    tmp_path: Path, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (23, 31, 17)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    monkeypatch.setattr(reading, "_SLAB", 2000)
    sizes: list[int] = []
    whole = np.array
    monkeypatch.setattr(reading.np, "array", lambda x, *a, **k: sizes.append(x.nbytes) or whole(x, *a, **k))
    stored = reading.open_volume(tmp_path / "a.nii", tmp_path)
    row, column = (a for a in range(3) if a != axis)
    planes = list(stored.planes(reading.Layout(row, column, axis, False, False)))
    assert all(np.array_equal(plane, volume.take(index, axis)) for index, plane in enumerate(planes))
    assert len(planes) == volume.shape[axis]
    assert max(sizes[-len(planes) :]) <= 2000


# any folder


@pytest.mark.parametrize("suffix", [".png", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_every_lossless_format_comes_out_exactly(tmp_path: Path, suffix: str) -> None:
    for kind, content in (("images", frame()), ("labels", labels())):
        path = tmp_path / "in" / kind / f"a{suffix}"
        {".png": png, ".nii": nifti, ".nii.gz": nifti}.get(suffix, itk)(path, content)
    assert not prepare(FolderSource(tmp_path / "in"), tmp_path / "out", **EXACT).failures
    assert np.array_equal(pixels(tmp_path / "out" / "images" / "a.png"), frame())
    assert np.array_equal(pixels(tmp_path / "out" / "labels" / "a.png"), labels())


def test_jpeg_masks_are_binarised(tmp_path: Path) -> None:
    for kind, content in (("images", frame()), ("labels", np.where(labels() > 0, 255, 0).astype(np.uint8))):
        (tmp_path / "in" / kind).mkdir(parents=True)
        Image.fromarray(content).save(tmp_path / "in" / kind / "a.jpg", quality=95)
    done = prepare(FolderSource(tmp_path / "in"), tmp_path / "out", **EXACT)
    assert "binarise with --label-threshold 127" in done.failures["a"]
    prepare(FolderSource(tmp_path / "in", rule=LabelRule(threshold=127)), tmp_path / "out", **EXACT)
    assert ((pixels(tmp_path / "out" / "labels" / "a.png") == 1) == (labels() > 0)).mean() > 0.99


def test_an_inset_band_starts_at_its_transducer_face(tmp_path: Path) -> None:
    prepare(FolderSource(flat(tmp_path / "in", 1, BAND)), tmp_path / "out", **EXACT)
    entry = entries(tmp_path / "out")[0]
    depth = beam_from_dict(entry["beam"]).depth_map(SHAPE)
    assert int((depth[:, 25] > 0).int().argmax()) == BAND.top + 1
    assert float(depth[int(BAND.top)].max()) == 0


def test_label_values_are_mapped_and_unknown_ones_refused(tmp_path: Path) -> None:
    source = flat(tmp_path / "in", 2)
    png(source / "labels" / "exam01.png", np.where(labels() == 2, 200, labels()).astype(np.uint8))
    rule = LabelRule(mapping={1: 4, 2: 0, 3: 2})
    done = prepare(FolderSource(source, rule=rule), tmp_path / "out", **EXACT)
    assert "label values 200; known are 0..3; map them, for example --map 255=1" in done.failures["exam01"]
    expected = np.array([0, 4, 0, 2], np.uint8)[labels()]
    assert np.array_equal(pixels(tmp_path / "out" / "labels" / "exam00.png"), expected)


def test_label_numbers_of_a_palette_are_kept(tmp_path: Path) -> None:
    source = flat(tmp_path / "in", 1)
    painted = Image.fromarray(labels())
    painted.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    painted.save(source / "labels" / "exam00.png")
    prepare(FolderSource(source), tmp_path / "out", **EXACT)
    assert np.array_equal(pixels(tmp_path / "out" / "labels" / "exam00.png"), labels())


def test_wide_grey_ranges_need_a_window(tmp_path: Path) -> None:
    nifti(tmp_path / "in" / "images" / "a.nii", (frame().astype(np.int16) * 16))
    source = FolderSource(tmp_path / "in", labels=None)
    done = prepare(source, tmp_path / "out", **EXACT)
    assert "not 0 to 255; say which to show: --window LOW HIGH" in done.failures["a"]
    prepare(FolderSource(tmp_path / "in", labels=None, window=(0, 255 * 16)), tmp_path / "out", **EXACT)
    assert np.array_equal(pixels(tmp_path / "out" / "images" / "a.png"), frame())


def test_spacing_and_view_come_from_the_index(tmp_path: Path) -> None:
    source = flat(tmp_path / "in", 2)
    (source / "index.csv").write_text("name,mm,exam,plane\nexam00,0.5,x,a\nexam01,none,x,b\n")
    given = FolderSource(source, spacing_column="mm", group_column="exam", view_column="plane")
    done = prepare(given, tmp_path / "out", **EXACT)
    (entry,) = entries(tmp_path / "out")
    assert (entry["spacing"], entry["view"], entry["patient"]) == ([0.5, 0.5], "a", "x")
    assert "its mm in index.csv is 'none', no pixel size" in done.failures["exam01"]


def test_names_a_list_cannot_hold_are_changed(tmp_path: Path) -> None:
    png(tmp_path / "in" / "images" / "My frame (1).png", frame())
    prepare(FolderSource(tmp_path / "in", labels=None), tmp_path / "out", **EXACT)
    assert entries(tmp_path / "out")[0]["name"] == "My_frame__1_"


def test_convex_frames_are_squared_and_those_in_shadow_left_out(tmp_path: Path) -> None:
    dark = frame()
    dark[14:] = np.minimum(dark[14:], 1)
    for name, content in (("bright", frame()), ("dark", dark)):
        png(tmp_path / "in" / f"{name}.png", content)
    source = FolderSource(tmp_path / "in", images=".", labels=None, beam="sector")
    done = prepare(source, tmp_path / "out", size=64, square=True, most_shadow=0.5, progress=False)
    assert [e["name"] for e in entries(tmp_path / "out")] == ["bright"]
    assert done.left_out == 1
    assert "more than 50% in shadow | dark" in (tmp_path / "out" / "report.md").read_text()
    assert pixels(tmp_path / "out" / "images" / "bright.png").shape == (64, 64)


def test_frames_without_a_beam_are_dropped_or_kept(tmp_path: Path) -> None:
    odd = np.zeros((60, 60), np.uint8)
    odd[5:50, :12] = odd[30:58, 48:] = 80
    png(tmp_path / "in" / "images" / "odd.png", odd)
    source = FolderSource(tmp_path / "in", labels=None, beam="linear")
    assert prepare(source, tmp_path / "out", **EXACT).left_out == 1
    assert entries(tmp_path / "out") == []
    prepare(source, tmp_path / "out", unfitted="keep", **EXACT)
    assert [("beam" in e, "sector" in e) for e in entries(tmp_path / "out")] == [(False, False)]


def test_nifti_output_keeps_pixels_and_spacing(tmp_path: Path) -> None:
    source = camus_nifti(tmp_path / "in", 1, "ARI")
    prepare(CamusSource(source), tmp_path / "out", file_format="nifti", **EXACT)
    entry = entries(tmp_path / "out")[0]
    item = LoadFramed(["image", "label"])({key: tmp_path / "out" / entry[key] for key in ("image", "label")})
    assert np.array_equal(item["image"][0], frame(seed=10))
    assert np.array_equal(item["label"][0], labels())
    assert item["image"].pixdim[:2].tolist() == [1.0, 1.0]


# what is written


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients of CAMUS, prepared."""
    root = tmp_path_factory.mktemp("prepared")
    prepare(CamusSource(camus_nifti(root / "in", 6)), root / "out", deform=2, seed=3, **EXACT)
    return root / "out"


def test_the_list_loads_here_and_in_monai(prepared: Path) -> None:
    ours = load_datalist(prepared / "dataset.json", "training", required=["image", "label"])
    theirs = load_decathlon_datalist(str(prepared / "dataset.json"), True, "training")
    assert [(item["image"], item["label"]) for item in ours] == [(item["image"], item["label"]) for item in theirs]
    assert len(ours) == listing(prepared)["numTraining"]


def test_the_list_holds_what_a_reader_needs(prepared: Path) -> None:
    content = listing(prepared)
    assert content["labels"] == {
        "0": "background",
        "1": "left-ventricle cavity",
        "2": "myocardium",
        "3": "left atrium",
    }
    assert "CC BY-NC-SA 4.0" in content["licence"]
    entry = content["training"][0]
    assert {"name", "patient", "view", "phase", "quality", "image", "label", "sector", "spacing", "beam", "fit"} == set(
        entry
    )
    assert (entry["patient"], entry["view"], entry["phase"], entry["quality"]) == ("patient0001", "2CH", "ED", "Good")
    assert not Path(entry["image"]).is_absolute()


def test_the_bundles_listing_follows_the_prepared_split(prepared: Path) -> None:
    for split in ("training", "validation", "test"):
        items = list_items(prepared, split, source="camus", group_pattern=r"patient\d+", sectors="sectors")
        assert [item["name"] for item in items] == [entry["name"] for entry in listing(prepared)[split]]
    assert items[0]["spacing"] == [1.0, 1.0]


def test_a_split_that_divides_a_patient_is_refused(prepared: Path, tmp_path: Path) -> None:
    content = listing(prepared)
    content["test"].append(content["training"][0])
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has patient0001 in training and test; a split must not divide a patient"):
        list_items(tmp_path, source="camus")


def test_only_training_frames_are_deformed_and_bring_their_depth(prepared: Path) -> None:
    content = listing(prepared)
    deformed = [entry for entry in content["training"] if "depth" in entry]
    assert len(deformed) == 2 * (len(content["training"]) - len(deformed))
    assert not any("depth" in entry for split in ("validation", "test") for entry in content[split])
    assert all("beam" not in entry for entry in deformed)


def test_a_deformed_depth_map_follows_its_sector_and_stays_as_written(prepared: Path) -> None:
    items = [item for item in list_items(prepared, "training", source="camus", sectors="sectors") if "depth" in item]
    keys = ["image", "label", "sector", "depth"]
    item = BeamDepthd()(LoadFramed(keys)(items[0]))
    depth = np.asarray(nibabel.load(items[0]["depth"]).dataobj)[..., 0].T
    assert depth.dtype == np.float32
    assert np.array_equal(item["depth"][0], depth)
    assert ((item["depth"] > 0) <= (item["sector"] > 0)).all()
    assert float(item["depth"].max()) > 0.9


def test_a_depth_of_another_size_is_refused() -> None:
    item = {"image": torch.zeros(1, 4, 5), "depth": torch.zeros(1, 4, 4), "sector": torch.ones(1, 4, 5)}
    with pytest.raises(ValueError, match=r"needs depth as a tensor of \(4, 5\) pixels"):
        BeamDepthd()(item)


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config
@pytest.mark.parametrize("file_format", ["png", "nifti"])
def test_the_cardiac_bundle_trains_on_a_prepared_set_without_further_code(tmp_path: Path, file_format: Any) -> None:
    source = CamusSource(camus_nifti(tmp_path / "in", 1, "RAS"))
    prepare(source, tmp_path / "out", file_format=file_format, deform=1, **EXACT)
    parser = ConfigParser()
    parser.read_config(Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm" / "configs" / "train.json")
    parser["dataset_dir"], parser["image_size"] = str(tmp_path / "out"), [48, 48]
    transform = parser.get_parsed_content("train::preprocessing")
    batch = list_data_collate([transform(item) for item in parser.get_parsed_content("items")(split="training")])
    assert batch["image"].shape == batch["depth"].shape == (8, 1, 48, 48)
    assert batch["seg"].shape == (8, 5, 48, 48)
    assert all(float(depth.max()) > 0.9 for depth in batch["depth"])


def test_spacing_of_the_list_reaches_the_loaded_frame(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", frame())
    item = LoadFramed("image")({"image": path, "spacing": [0.25, 0.5]})
    assert item["image"].pixdim[:2].tolist() == [0.25, 0.5]
    assert "spacing" not in item


def test_the_report_counts_and_the_sheet_shows(prepared: Path) -> None:
    report = (prepared / "report.md").read_text()
    content = listing(prepared)
    for split in ("training", "validation", "test"):
        groups = {entry["patient"] for entry in content[split]}
        assert f"| {split} | {len(content[split])} | {len(content[split])} | {len(groups)} |" in report
    assert re.search(r"Overlap \(IoU\) .*: median 0\.9\d+, worst 0\.9\d+", report)
    sheet = pixels(prepared / "preview.png")
    assert sheet.shape == (3 * SHAPE[0], 12 * SHAPE[1], 3)
    outline = (sheet == (255, 196, 0)).all(-1)
    assert outline[: SHAPE[0]].any()
    assert not outline[SHAPE[0] :].any()


# groups


@dataclass(frozen=True)
class _ManyFrames:
    """A source of many frames of few groups, drawn in memory."""

    root: Path
    groups: tuple[str, ...]
    name: str = "phantom"
    beam: Any = "sector"
    classes: dict[int, str] = field(default_factory=dict)
    terms: str = "none"
    private: bool = False

    def items(self) -> list[Item]:
        return [Item(f"f{index}", group, ()) for index, group in enumerate(self.groups)]

    def frames(self, item: Item, scratch: Path) -> Iterator[Frame]:
        yield Frame(item.name, SMALL)


SMALL = frame()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=st.lists(st.text("abcXYZ019_", min_size=1, max_size=3), min_size=1, max_size=6))
def test_no_group_crosses_a_split(groups: list[str], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    prepare(_ManyFrames(tmp_path / "in", tuple(groups)), tmp_path / "out", **EXACT)
    home = {}
    for split in ("training", "validation", "test"):
        for entry in listing(tmp_path / "out")[split]:
            assert home.setdefault(entry["patient"], split) == split == split_of("phantom", entry["patient"])
    assert len(entries(tmp_path / "out")) == len(groups)


def test_two_splits_for_one_group_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Divided(_ManyFrames):
        def items(self) -> list[Item]:
            return [Item("a", "p", (), "training"), Item("b", "p", (), "test")]

    with pytest.raises(ValueError, match="p is in training and in test; a split must not divide a patient"):
        prepare(Divided(tmp_path / "in", ()), tmp_path / "out", **EXACT)
    assert not (tmp_path / "out").exists()


def test_names_that_differ_in_case_alone_are_refused(tmp_path: Path) -> None:
    class Alike(_ManyFrames):
        def items(self) -> list[Item]:
            return [Item("a", "p", ()), Item("A", "q", ())]

    with pytest.raises(ValueError, match="holds a and A: one file name; rename one"):
        prepare(Alike(tmp_path / "in", ()), tmp_path / "out", **EXACT)


# again


def test_a_second_run_does_nothing_and_changes_nothing(tmp_path: Path) -> None:
    source = FolderSource(flat(tmp_path / "in"))
    prepare(source, tmp_path / "out", **EXACT)
    before = fingerprint(tmp_path / "out" / "images")
    assert prepare(source, tmp_path / "out", **EXACT).done_before == 3
    assert fingerprint(tmp_path / "out" / "images") == before


def test_changed_files_options_and_lost_results_are_done_again(tmp_path: Path) -> None:
    root = flat(tmp_path / "in")
    prepare(FolderSource(root), tmp_path / "out", **EXACT)
    png(root / "images" / "exam01.png", frame(seed=50))
    (tmp_path / "out" / "labels" / "exam02.png").unlink()
    assert prepare(FolderSource(root), tmp_path / "out", **EXACT).done_before == 1
    assert np.array_equal(pixels(tmp_path / "out" / "images" / "exam01.png"), frame(seed=50))
    assert prepare(FolderSource(root), tmp_path / "out", size=32, progress=False).done_before == 0
    assert prepare(FolderSource(root, beam="sector"), tmp_path / "out", size=32, progress=False).done_before == 0


def test_what_the_source_no_longer_has_is_removed(tmp_path: Path) -> None:
    root = flat(tmp_path / "in")
    prepare(FolderSource(root), tmp_path / "out", **EXACT)
    (root / "images" / "exam01.png").unlink()
    prepare(FolderSource(root), tmp_path / "out", **EXACT)
    assert [p.name for p in (tmp_path / "out" / "labels").iterdir() if p.name == "exam01.png"] == []
    assert [e["name"] for e in entries(tmp_path / "out")] == ["exam00", "exam02"]


def test_what_fails_now_is_no_longer_there(tmp_path: Path) -> None:
    root = flat(tmp_path / "in")
    prepare(FolderSource(root), tmp_path / "out", **EXACT)
    (root / "images" / "exam01.png").write_bytes(b"no picture")
    done = prepare(FolderSource(root), tmp_path / "out", **EXACT)
    assert list(done.failures) == ["exam01"]
    assert not (tmp_path / "out" / "images" / "exam01.png").exists()


def test_processes_write_what_one_process_writes(tmp_path: Path) -> None:
    source = FolderSource(flat(tmp_path / "in", 4))
    prepare(source, tmp_path / "one", **EXACT)
    prepare(source, tmp_path / "two", workers=2, **EXACT)
    first, second = (
        {p.relative_to(o): p.read_bytes() for p in visible(o)} for o in (tmp_path / "one", tmp_path / "two")
    )
    assert first == second


def test_a_killed_run_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    flat(tmp_path / "in", 40)
    output = tmp_path / "out"
    command = [sys.executable, "-W", "ignore", "-m", "monai_bmaps.data", "prepare", "folder", str(tmp_path / "in")]
    command += [str(output), "--native-size", "--workers", "0", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    first = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 120
    while len(list((output / ".prepared").glob("*.json"))) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    for path in visible(output):
        pixels(path)  # whole, or not there

    (output / "images" / ".partial-exam39.png").write_bytes(b"half")
    done = prepare(FolderSource(tmp_path / "in"), output, **EXACT)
    assert 3 <= done.done_before < 40
    assert halves(output) == []
    prepare(FolderSource(tmp_path / "in"), tmp_path / "whole", **EXACT)
    assert entries(output) == entries(tmp_path / "whole")
    assert {p.name: p.read_bytes() for p in (output / "images").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "whole" / "images").iterdir()
    }


# where to


def test_an_output_in_the_source_is_refused(tmp_path: Path) -> None:
    root = flat(tmp_path / "in")
    for output in (root, root / "out", root / "images" / ".." / "x"):
        with pytest.raises(ValueError, match="which stays untouched; choose a folder elsewhere"):
            prepare(FolderSource(root), output, **EXACT)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds files that this command did not write"):
        prepare(FolderSource(flat(tmp_path / "in")), tmp_path / "out", **EXACT)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ValueError, match="choose a new or empty folder"):
        prepare(FolderSource(flat(tmp_path / "in")), tmp_path / "out", **EXACT)


# bad input


def outcome(root: Path, output: Path, **options: Any) -> Prepared:
    """Prepare, and see that the source is untouched and nothing half-written remains."""
    before = fingerprint(root)
    done = prepare(FolderSource(root, **options), output, **EXACT)
    assert fingerprint(root) == before
    assert halves(output) == []
    return done


def test_bad_files_are_named_with_a_remedy_and_the_rest_is_prepared(tmp_path: Path) -> None:
    root = flat(tmp_path / "in", 2)
    images, maps = root / "images", root / "labels"
    whole = (images / "exam00.png").read_bytes()
    (images / "cut.png").write_bytes(whole[:200])
    (images / "text.png").write_text("no picture")
    png(images / "unlabelled.png", frame())
    png(images / "other_shape.png", frame())
    png(maps / "other_shape.png", labels()[:-3])
    nifti(images / "spaced.nii", frame(), (0.5, 0.5))
    nifti(maps / "spaced.nii", labels(), (0.5, 0.6))
    nifti(images / "turned.nii", frame(), axes="RAS")
    nibabel.save(nibabel.Nifti1Image(labels().T[..., None], np.diag([-1.0, -1, 1, 1])), maps / "turned.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 5, 5, 5), np.uint8), np.eye(4)), images / "four.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.uint8), np.eye(4)), images / "volume.nii")
    nifti(images / "nan.nii", np.where(frame() > 120, np.nan, frame()))
    for name in ("cut.png", "text.png", "four.nii", "volume.nii", "nan.nii"):
        shutil.copy(maps / "exam00.png", maps / f"{name.split('.')[0]}.png")
    done = outcome(root, tmp_path / "out")
    expected = {
        "cut": "fetch it again",
        "text": "fetch it again",
        "unlabelled": "add the label, or take the image out",
        "other_shape": "export both on one grid",
        "spaced": "export both on one grid",
        "turned": "ignore both with --stored-order",
        "four": "export volumes or single frames",
        "volume": "export single frames",
        "nan": "no finite numbers; repair it",
    }
    assert set(done.failures) == set(expected)
    for name, remedy in expected.items():
        assert name in done.failures[name].split(" ")[0]  # the file comes first
        assert remedy in done.failures[name]
    assert [e["name"] for e in entries(tmp_path / "out")] == ["exam00", "exam01"]
    assert all(f"| {name} |" in (tmp_path / "out" / "report.md").read_text() for name in expected)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = flat(tmp_path / "in", 2)
    opened = Image.open

    def locked(path: Any, *arguments: Any, **options: Any) -> Any:
        if Path(path).name == "exam01.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Image, "open", locked)
    done = prepare(FolderSource(root), tmp_path / "out", **EXACT)
    assert "exam01.png: Permission denied; make it readable" in done.failures["exam01"]


def test_a_full_disk_is_told_and_the_rest_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, saved = flat(tmp_path / "in", 3), Image.Image.save

    def full(self: Image.Image, path: Any, *arguments: Any, **options: Any) -> None:
        if "exam01" in str(path) and "sectors" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        saved(self, path, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    done = outcome(root, tmp_path / "out")
    assert "free some space and run the command again: it goes on where it stopped" in done.failures["exam01"]
    assert [p.name for p in visible(tmp_path / "out") if "exam01" in p.name] == []
    assert [e["name"] for e in entries(tmp_path / "out")] == ["exam00", "exam02"]
    monkeypatch.undo()
    assert prepare(FolderSource(root), tmp_path / "out", **EXACT).done_before == 2


def test_a_volume_that_fails_late_leaves_no_slice(tmp_path: Path) -> None:
    source = segthy(tmp_path / "in")
    (path, _) = sorted((source / "US_volunteer_dataset" / "ground_truth_data" / "US_thyroid_label").iterdir())
    image = nibabel.load(path)
    content = np.asarray(image.dataobj).copy()
    content[3, 4, 4] = 9
    nibabel.save(nibabel.Nifti1Image(content, image.affine), path)
    done = prepare(SegThySource(source), tmp_path / "out", **EXACT)
    assert "label values 9; known are 0..5" in done.failures["001_P1_1_left"]
    assert {e["patient"] for e in entries(tmp_path / "out")} == {"002"}
    assert not any("001_P1" in p.name for p in visible(tmp_path / "out") if p.suffix == ".png")


def test_a_header_may_not_take_its_pixels_from_elsewhere(tmp_path: Path) -> None:
    itk(tmp_path / "in" / "images" / "a.mhd", frame())
    header = tmp_path / "in" / "images" / "a.mhd"
    (tmp_path / "secret.raw").write_bytes(frame().tobytes())
    header.write_text(header.read_text().replace("a.raw", "../../secret.raw"))
    done = outcome(tmp_path / "in", tmp_path / "out", labels=None)
    assert "takes its pixels from ../../secret.raw, not from beside it" in done.failures["a"]


def test_a_header_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "in" / "images" / "a.nii.gz", frame())
    header = nibabel.load(path).header
    header["dim"][1:4] = 30000
    path.write_bytes(gzip.compress(header.binaryblock + b"\0" * 400))
    done = outcome(tmp_path / "in", tmp_path / "out", labels=None)
    assert "too many for a frame or sequence" in done.failures["a"]


def test_an_item_without_memory_is_explained() -> None:
    assert "needs more memory than there is" in explain(MemoryError(), Item("a", "p", (Path("a.nii"),)))


DAMAGES = 330


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """Cut short, emptied, overwritten in the header or anywhere, or with bytes left out."""
    kind, length = generator.integers(6), len(content)
    if kind == 0:
        return content[: generator.integers(length)]
    if kind == 1:
        return content[: generator.integers(min(400, length))]
    noisy = bytearray(content)
    region = min(400, length) if kind in (2, 3) else length
    for place in generator.integers(0, region, generator.integers(1, 30)):
        noisy[place] = generator.integers(256)
    if kind == 5:
        first = generator.integers(length)
        del noisy[first : first + generator.integers(1, 60)]
    return bytes(noisy)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes, bytes]]:
    """Ending, image and label of every format."""
    root = tmp_path_factory.mktemp("valid")
    found = []
    for suffix in (".png", ".jpg", ".nii", ".nii.gz", ".mha", ".nrrd"):
        pair = []
        for kind, content in (("i", frame()), ("l", labels())):
            path = root / f"{kind}{suffix}"
            if suffix == ".jpg":
                Image.fromarray(content if kind == "i" else np.zeros_like(content)).save(path, quality=95)
            else:
                {".png": png, ".nii": nifti, ".nii.gz": nifti}.get(suffix, itk)(path, content)
            pair.append(path.read_bytes())
        found.append((suffix, *pair))
    return found


def test_damaged_files_never_crash_nor_leave_halves(tmp_path: Path, valid: list[tuple[str, bytes, bytes]]) -> None:
    generator = np.random.default_rng(7)
    for folder in ("images", "labels"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for index in range(DAMAGES):
        suffix, image, label = valid[index % len(valid)]
        which = generator.integers(3)
        pair = (damaged(image, generator) if which != 1 else image, damaged(label, generator) if which else label)
        for folder, content in zip(("images", "labels"), pair, strict=True):
            (tmp_path / "in" / folder / f"f{index:03d}{suffix}").write_bytes(content)
    done = outcome(tmp_path / "in", tmp_path / "out")
    written = entries(tmp_path / "out")
    assert len(written) + done.left_out + len(done.failures) == DAMAGES
    assert len(done.failures) > DAMAGES // 3
    assert all(re.search(r"f\d{3}", reason) for reason in done.failures.values())
    for entry in written:
        assert pixels(tmp_path / "out" / entry["image"]).shape == pixels(tmp_path / "out" / entry["label"]).shape


# the command


def test_the_command_prepares_and_says_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = camus_nifti(tmp_path / "in", 2)
    arguments = ["prepare", "camus", str(root), str(tmp_path / "out"), "--size", "40", "48", "--views", "2CH"]
    assert main([*arguments, "--workers", "0", "--quiet"]) == 0
    assert "4 training, 0 validation, 0 test frames" in capsys.readouterr().out
    assert pixels(tmp_path / "out" / "images" / "patient0002_2CH_ES.png").shape == (40, 48)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "python -m monai_bmaps.data prepare camus" in report


def test_failures_end_the_command_with_1_and_refusals_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = flat(tmp_path / "in", 2)
    (root / "labels" / "exam00.png").unlink()
    arguments = ["prepare", "folder", str(root), str(tmp_path / "out"), "--native-size", "--workers", "0", "--quiet"]
    assert main(arguments) == 1
    assert "failed: exam00: " in capsys.readouterr().err
    assert main(["prepare", "folder", str(root), str(root / "out")]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["prepare", "segthy", str(root), str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_the_command_without_its_extra_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("monai_bmaps.data.prepare")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("monai_bmaps.data", run_name="__main__")
    assert capsys.readouterr().err.startswith("error: preparing data needs SciPy; install it with pip install")


def test_the_commands_options_reach_the_source(tmp_path: Path) -> None:
    root = flat(tmp_path / "in", 2, BAND)
    arguments = ["prepare", "folder", str(root), str(tmp_path / "out"), "--workers", "0", "--quiet", "--native-size"]
    arguments += ["--map", "1=3", "2=1", "3=0", "--classes", "3=gland", "1=vessel", "--spacing", "0.5", "0.5"]
    arguments += ["--beam", "linear", "--group-pattern", r"\d+", "--name", "mine", "--terms", "CC0"]
    assert main(arguments) == 0
    content = listing(tmp_path / "out")
    assert (content["name"], content["licence"]) == ("mine", "CC0")
    assert content["labels"] == {"0": "background", "3": "gland", "1": "vessel"}
    entry = entries(tmp_path / "out")[0]
    assert (entry["patient"], entry["spacing"]) == ("00", [0.5, 0.5])
    assert isinstance(beam_from_dict(entry["beam"]), LinearBeam)
    assert set(np.unique(pixels(tmp_path / "out" / entry["label"]))) == {0, 1, 3}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--size", "1", "2", "3"],
        ["--size", "0"],
        ["--window", "9", "1"],
        ["--depth-axis", "up"],
        ["--least-fit", "2"],
        ["--label-threshold", "1", "--map", "1=1"],
        ["--spacing", "1", "1", "--spacing-column", "mm"],
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = flat(tmp_path / "in", 1)
    assert main(["prepare", "folder", str(root), str(tmp_path / "out"), "--workers", "0", *wrong]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["camus", "segthy", "folder", "dicom"])
def test_every_data_set_has_its_help(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["prepare", kind, "--help"])
    assert exit_.value.code == 0
    assert "exit status: 0 all is prepared; 1 some items failed" in capsys.readouterr().out
