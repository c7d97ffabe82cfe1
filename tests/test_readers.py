"""CAMUS and SegThy as downloaded: which files, whose, in which split; nothing is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_bmaps.data import camus, list_items, segthy
from monai_bmaps.data.split import split_of


def touch(root: Path, *names: str) -> Path:
    """Empty files: whoever opened one as a picture would fail."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def patient(number: int, *stems: str, suffix: str = ".nii.gz") -> list[str]:
    name = f"patient{number:04d}"
    return [f"{name}/{name}_{stem}{suffix}" for stem in stems]


STILLS = [f"{view}_{phase}{end}" for view in ("2CH", "4CH") for phase in ("ED", "ES") for end in ("", "_gt")]


# CAMUS


@pytest.mark.parametrize("base", ["", "database_nifti/", "training/"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd"])
def test_both_camus_layouts_are_listed_from_the_download_or_the_patients_folder(
    tmp_path: Path, base: str, suffix: str
) -> None:
    touch(tmp_path, *(base + name for name in patient(7, *STILLS, suffix=suffix)))
    items = camus.list_items(tmp_path)
    assert [item["name"] for item in items] == [f"patient0007_{s}" for s in STILLS if not s.endswith("_gt")]
    assert items[0] == {
        "name": "patient0007_2CH_ED",
        "source": "camus",
        "group": "patient0007",
        "view": "2CH",
        "phase": "ED",
        "image": str(tmp_path / f"{base}patient0007/patient0007_2CH_ED{suffix}"),
        "label": str(tmp_path / f"{base}patient0007/patient0007_2CH_ED_gt{suffix}"),
    }


def test_views_phases_and_sequences_are_chosen(tmp_path: Path) -> None:
    touch(tmp_path, *patient(1, *STILLS, "2CH_half_sequence", "2CH_half_sequence_gt"))
    names = [i["name"] for i in camus.list_items(tmp_path, views=["2CH"], phases=["ES"], sequences=True)]
    assert names == ["patient0001_2CH_ES", "patient0001_2CH_half_sequence"]


def test_without_official_lists_the_projects_split_counts(tmp_path: Path) -> None:
    touch(tmp_path, *(name for n in range(1, 30) for name in patient(n, "2CH_ED", "2CH_ED_gt")))
    for split in ("training", "validation", "test"):
        groups = {item["group"] for item in camus.list_items(tmp_path, split)}
        assert groups == {g for n in range(1, 30) if split_of("camus", g := f"patient{n:04d}") == split}


@pytest.mark.parametrize("where", ["", "database_split/"])
def test_official_lists_count_where_they_are_there(tmp_path: Path, where: str) -> None:
    touch(tmp_path, *(f"database_nifti/{name}" for n in (1, 2, 3, 4) for name in patient(n, "2CH_ED", "2CH_ED_gt")))
    for name, numbers in (("training", (2, 3)), ("validation", (4,)), ("testing", (1,))):
        path = tmp_path / where / f"subgroup_{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(f"patient{n:04d}" for n in numbers))
    found = {s: [i["group"][-1] for i in camus.list_items(tmp_path, s)] for s in ("training", "validation", "test")}
    assert found == {"training": ["2", "3"], "validation": ["4"], "test": ["1"]}
    own = camus.list_items(tmp_path, official_split=False)
    assert not any("split" in item for item in own)


def test_a_patient_in_two_official_lists_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, *patient(1, "2CH_ED"))
    for name in ("training", "testing"):
        (tmp_path / f"subgroup_{name}.txt").write_text("patient0001\n")
    with pytest.raises(ValueError, match=r"patient0001 is in two of the lists .* take it out of one"):
        camus.list_items(tmp_path)


def test_a_patient_in_no_official_list_has_no_split(tmp_path: Path) -> None:
    touch(tmp_path, *patient(1, "2CH_ED"), *patient(2, "2CH_ED"))
    (tmp_path / "subgroup_training.txt").write_text("patient0001\n")
    assert [item["split"] for item in camus.list_items(tmp_path)] == ["training", None]


def test_the_older_testing_folder_holds_other_patients_of_the_same_numbers(tmp_path: Path) -> None:
    touch(tmp_path, *(f"training/{n}" for n in patient(1, "2CH_ED", "2CH_ED_gt", suffix=".mhd")))
    touch(tmp_path, *(f"testing/{n}" for n in patient(1, "2CH_ED", "2CH_ED_gt", "4CH_ED", suffix=".mhd")))
    items = camus.list_items(tmp_path)
    assert [(i["name"], i["group"], i.get("split")) for i in items] == [
        ("patient0001_2CH_ED", "patient0001", None),
        ("testing_patient0001_2CH_ED", "testing_patient0001", "test"),  # the one without a label is not listed
    ]


def test_image_quality_is_read_and_nothing_else_of_the_info(tmp_path: Path) -> None:
    touch(tmp_path, *patient(1, "2CH_ED", "4CH_ED"))
    (tmp_path / "patient0001" / "Info_2CH.cfg").write_bytes(b"Sex: F\nAge: 56\nImageQuality: Poor\n\xff")
    assert [item.get("quality") for item in camus.list_items(tmp_path)] == ["Poor", None]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no folder patient0001"),
        (["notes.txt"], "holds no folder patient0001"),
        (["patient0001/readme.txt"], "no patient in .* has a frame ED or ES of 2CH or 4CH"),
    ],
)
def test_a_camus_without_frames_is_refused_with_what_was_looked_for(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        camus.list_items(touch(tmp_path, *names))


def test_no_such_folder_and_no_such_view_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder; give the folder that CAMUS was unpacked to"):
        camus.list_items(tmp_path / "none")
    with pytest.raises(ValueError, match="CAMUS has 2CH and 4CH, not 3CH"):
        camus.list_items(tmp_path, views=["3CH"])


def test_a_patient_found_twice_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, *patient(1, "2CH_ED"), *(f"database_nifti/{n}" for n in patient(1, "2CH_ED")))
    with pytest.raises(ValueError, match="holds patient0001 twice"):
        camus.list_items(tmp_path)


# SegThy

GROUND = "US_volunteer_dataset/ground_truth_data"


@pytest.mark.parametrize("above", ["", "US_volunteer_dataset", GROUND])
def test_segthy_is_listed_from_any_of_its_folders(tmp_path: Path, above: str) -> None:
    touch(tmp_path, f"{GROUND}/US/003_P2_1_right_US.nii", f"{GROUND}/US_thyroid_label/003_P2_1_right.nii")
    assert segthy.list_items(tmp_path / above) == [
        {
            "name": "003_P2_1_right",
            "source": "segthy",
            "group": "003",
            "view": "right",
            "image": str(tmp_path / f"{GROUND}/US/003_P2_1_right_US.nii"),
            "label": str(tmp_path / f"{GROUND}/US_thyroid_label/003_P2_1_right.nii"),
        }
    ]


def test_a_label_may_have_the_volumes_name_and_may_be_missing(tmp_path: Path) -> None:
    touch(tmp_path, f"{GROUND}/US/1_a_1_left_US.nii.gz", f"{GROUND}/US/1_a_2_left_US.nii")
    touch(tmp_path, f"{GROUND}/US_thyroid_label/1_a_1_left_US.nii")
    assert ["label" in item for item in segthy.list_items(tmp_path)] == [True, False]


def test_every_volume_of_a_volunteer_is_in_one_split(tmp_path: Path) -> None:
    names = [f"{v:03d}_P{p}_1_{s}_US.nii" for v in range(30) for p in (1, 2) for s in ("left", "right")]
    touch(tmp_path, *(f"{GROUND}/US/{name}" for name in names))
    parts = [{i["group"] for i in segthy.list_items(tmp_path, s)} for s in ("training", "validation", "test")]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], FileNotFoundError, "has no US_volunteer_dataset/ground_truth_data/US"),
        ([f"{GROUND}/US/readme.txt"], FileNotFoundError, "holds no .nii or .nii.gz"),
        ([f"{GROUND}/US/volume.nii"], ValueError, "is not named volunteer_physician_number_left_US.nii"),
        ([f"{GROUND}/US/1_a_1_left_US.nii", f"{GROUND}/US/1_a_1_left_US.nii.gz"], ValueError, "1_a_1_left twice"),
    ],
)
def test_what_is_not_segthy_is_refused(tmp_path: Path, names: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        segthy.list_items(touch(tmp_path, *names))


# folders


def test_other_endings_are_listed_on_request(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.mha", "labels/a.png", "labels/b.nrrd")
    items = list_items(tmp_path, source="s", suffixes=(".jpg", ".png", ".mha", ".nrrd"))
    assert [item["name"] for item in items] == ["a", "b"]


def test_incomplete_frames_are_kept_on_request(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "labels/a.png")
    items = list_items(tmp_path, source="s", incomplete="keep")
    assert ["label" in item for item in items] == [True, False]


def test_columns_of_the_index_come_along(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png")
    (tmp_path / "index.csv").write_text("name,view,mm\na,2CH,0.3\n")
    (item,) = list_items(tmp_path, source="s", labels=None, columns=["view", "mm"])
    assert (item["view"], item["mm"]) == ("2CH", "0.3")


def test_an_index_that_is_no_text_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png")
    (tmp_path / "index.csv").write_bytes(b"name,view\na,\xff\xfe\n")
    with pytest.raises(ValueError, match="is no CSV in UTF-8"):
        list_items(tmp_path, source="s", labels=None, columns=["view"])
