"""Readers open no pixels and name what is missing; a patient is in one split only, everywhere the same."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from monai_bmaps.data import is_test, list_items, load_datalist, seeded, select_split
from monai_bmaps.data.folder import GENERATOR, stem_of
from monai_bmaps.data.split import split_of

CAMUS = Path(__file__).parents[2] / "shared" / "data" / "camus_apical"
needs_camus = pytest.mark.skipif(not CAMUS.is_dir(), reason="needs ../shared/data/camus_apical")


def lay_out(root: Path, **folders: list[str]) -> Path:
    """Empty files: whoever opened one as a picture would fail."""
    for folder, names in folders.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


# the split


@pytest.mark.parametrize("source", ["camus", "segthy"])
def test_a_group_is_test_exactly_where_its_hash_is_divisible_by_five(source: str) -> None:
    groups = [f"patient{number:04d}" for number in range(200)]
    expected = [int(hashlib.sha1(f"{source}/{group}".encode()).hexdigest(), 16) % 5 == 0 for group in groups]
    assert [is_test(source, group) for group in groups] == expected
    assert 20 < sum(expected) < 60


def test_a_known_patient_stays_where_it_is() -> None:
    known = {"patient0004": "training", "patient0005": "test", "patient0019": "validation"}
    assert {group: split_of("camus", group) for group in known} == known


def test_one_in_ten_of_the_rest_is_validation() -> None:
    counts = Counter(split_of("phantom", str(number)) for number in range(5000))
    assert counts["test"] / 5000 == pytest.approx(0.2, abs=0.02)  # 3.5 standard deviations of a binomial
    assert counts["validation"] / (5000 - counts["test"]) == pytest.approx(0.1, abs=0.017)  # likewise


def test_the_source_is_part_of_the_hash() -> None:
    groups = [str(number) for number in range(100)]
    assert [is_test("camus", group) for group in groups] != [is_test("segthy", group) for group in groups]


def test_splits_divide_the_items_in_their_order() -> None:
    items = [{"source": "camus", "group": f"patient{number // 2:04d}", "name": str(number)} for number in range(60)]
    parts = [select_split(items, split) for split in ("training", "validation", "test")]
    assert all(parts)
    assert sorted((item for part in parts for item in part), key=lambda item: int(item["name"])) == items
    for part in parts:
        names = [int(item["name"]) for item in part]
        assert names == sorted(names)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="one of training, validation, test, all, got 'train'"):
        select_split([], "train")


@needs_camus
def test_61_of_the_312_camus_frames_are_test() -> None:
    find = {"source": "camus", "group_pattern": r"patient\d+", "sectors": "sectors"}
    assert len(list_items(CAMUS, **find)) == 312
    assert len(list_items(CAMUS, "test", **find)) == 61


@needs_camus
def test_no_camus_patient_is_in_two_splits() -> None:
    groups = [
        {item["group"] for item in list_items(CAMUS, split, source="camus", group_column="patient")}
        for split in ("training", "validation", "test")
    ]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups))


@needs_camus
def test_the_index_and_the_file_names_agree_on_the_camus_patients() -> None:
    by_column = list_items(CAMUS, source="camus", group_column="patient")
    assert by_column == list_items(CAMUS, source="camus", group_pattern=r"patient\d+")


# list_items


def test_items_hold_name_source_group_and_paths_sorted_by_name(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["b_1.png", "a_1.nii.gz"], labels=["a_1.png", "b_1.nii"], notes=["x.txt"])
    assert list_items(root, source="s", group_pattern="^[a-z]") == [
        {
            "name": name,
            "source": "s",
            "group": name[0],
            "image": str(root / "images" / image),
            "label": str(root / "labels" / label),
        }
        for name, image, label in (("a_1", "a_1.nii.gz", "a_1.png"), ("b_1", "b_1.png", "b_1.nii"))
    ]


def test_the_first_parenthesis_of_the_pattern_is_the_group(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["x12_ED.png"])
    assert list_items(root, source="s", group_pattern=r"x(\d+)_", labels=None)[0]["group"] == "12"


def test_without_pattern_or_column_each_file_is_its_own_group(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png", "b.png"])
    assert [item["group"] for item in list_items(root, source="s", labels=None)] == ["a", "b"]


@pytest.mark.parametrize("only", ["images", "labels", "sectors"])
def test_one_kind_of_file_is_enough(tmp_path: Path, only: str) -> None:
    root = lay_out(tmp_path, **{only: ["a.png"]})
    folders = dict.fromkeys(("images", "labels", "sectors")) | {only: only}
    (item,) = list_items(root, source="s", **folders)
    assert item[only.removesuffix("s")] == str(root / only / "a.png")


def test_other_files_beside_the_pictures_are_passed_over(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png", "README.md", "a.json"])
    assert len(list_items(root, source="s", labels=None)) == 1


def test_groups_come_from_a_column_of_the_index(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png", "b.png"])
    (root / "index.csv").write_text("name,patient\nb,p1\na,p2\nc,p3\n")
    items = list_items(root, source="s", group_column="patient", labels=None)
    assert [item["group"] for item in items] == ["p2", "p1"]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("name,patient\na,p1\n", "lacks 1 names, for example b"),
        ("name,exam\na,1\nb,1\n", "no column 'patient'; it has name, exam"),
        ("file,patient\na,1\nb,1\n", "no column 'name'"),
    ],
)
def test_an_index_that_lacks_a_name_or_a_column_is_refused(tmp_path: Path, index: str, message: str) -> None:
    root = lay_out(tmp_path, images=["a.png", "b.png"])
    (root / "index.csv").write_text(index)
    with pytest.raises(ValueError, match=message):
        list_items(root, source="s", group_column="patient", labels=None)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png"])
    with pytest.raises(FileNotFoundError, match="labels is not a folder; check the data root"):
        list_items(root, source="s")


def test_an_empty_folder_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.jpg"])
    with pytest.raises(FileNotFoundError, match=r"images holds no \.png, \.nii, \.nii\.gz file"):
        list_items(root, source="s", labels=None)


def test_frames_without_a_label_are_counted_and_the_first_three_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=[f"{name}.png" for name in "abcdef"], labels=["a.png"])
    with pytest.raises(FileNotFoundError, match=r"5 of 6 files .* no label .* b, c, d; add them or pass labels=None"):
        list_items(root, source="s")


def test_a_label_without_its_frame_is_passed_over(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png"], labels=["a.png", "b.png"])
    assert [item["name"] for item in list_items(root, source="s")] == ["a"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png", "a.nii.gz"])
    with pytest.raises(ValueError, match=r"holds a twice: a\.nii\.gz and a\.png; keep one"):
        list_items(root, source="s", labels=None)


def test_a_name_without_the_pattern_is_named(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["patient1.png", "volunteer.png"])
    with pytest.raises(ValueError, match=r"'patient\\\\d\+' does not occur in volunteer"):
        list_items(root, source="s", group_pattern=r"patient\d+", labels=None)


def test_a_pattern_that_is_none_is_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png"])
    with pytest.raises(ValueError, match=r"group_pattern '\(a' is no regular expression"):
        list_items(root, source="s", group_pattern="(a", labels=None)


def test_pattern_and_column_together_are_refused(tmp_path: Path) -> None:
    root = lay_out(tmp_path, images=["a.png"])
    with pytest.raises(ValueError, match="not both"):
        list_items(root, source="s", group_pattern="a", group_column="b", labels=None)


def test_no_kind_of_file_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one of images, labels and sectors"):
        list_items(tmp_path, source="s", images=None, labels=None)


# classes


def listed(root: Path, labels: Any) -> Path:
    """A prepared set of one frame that says this of its labels."""
    entry = {"name": "a", "patient": "p", "image": "images/a.png", "label": "labels/a.png"}
    content = {"generator": GENERATOR, "source": "s", "labels": labels, "training": [entry]}
    return datalist(root, {name: value for name, value in content.items() if value is not None}).parent


READERS = {
    "list_items": lambda root, classes: list_items(root, source="s", classes=classes),
    "load_datalist": lambda root, classes: load_datalist(root / "dataset.json", "training", classes=classes),
}
each_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@each_reader
@pytest.mark.parametrize(
    "labels",
    [{"0": "background", "1": "lumen", "2": "wall"}, {"2": "wall", "1": "lumen"}, {"0": "background"}, {}, None],
    ids=["the same", "in another order of the file", "background only", "none", "unsaid"],
)
def test_a_set_of_the_models_classes_is_read(tmp_path: Path, read: Any, labels: Any) -> None:
    assert [item["name"] for item in read(listed(tmp_path, labels), ["lumen", "wall"])] == ["a"]


@each_reader
@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"0": "background", "1": "thyroid"}, r"\[1 thyroid\]"),
        ({"0": "background", "1": "wall", "2": "lumen"}, r"\[1 wall, 2 lumen\]"),
        ({"1": "lumen", "2": "wall", "3": "clot"}, r"\[1 lumen, 2 wall, 3 clot\]"),
        ({"1": "lumen", "3": "wall"}, r"\[1 lumen, 3 wall\]"),
    ],
    ids=["others", "swapped", "more", "other values"],
)
def test_a_set_of_other_classes_is_refused_and_both_are_told(tmp_path: Path, read: Any, labels: Any, told: str) -> None:
    message = rf"dataset\.json has the classes {told}, the model \[1 lumen, 2 wall\]; map the data set"
    with pytest.raises(ValueError, match=message):
        read(listed(tmp_path, labels), ["lumen", "wall"])


@each_reader
@pytest.mark.parametrize("labels", [["lumen", "wall"], {"one": "lumen"}, "lumen"])
def test_labels_that_name_no_values_are_refused(tmp_path: Path, read: Any, labels: Any) -> None:
    with pytest.raises(ValueError, match=r'"labels" in .*dataset\.json must be like \{"0": "background"'):
        read(listed(tmp_path, labels), ["lumen", "wall"])


@each_reader
def test_whoever_asks_for_no_classes_reads_any_set(tmp_path: Path, read: Any) -> None:
    assert len(read(listed(tmp_path, {"1": "thyroid"}), None)) == 1


# load_datalist


def datalist(root: Path, content: Any) -> Path:
    lay_out(root, labels=["a.png", "b.nii.gz"], images=["a.png"])
    path = root / "dataset.json"
    path.write_text(json.dumps(content))
    return path


TWO = {"test": [{"label": "labels/a.png", "beam": {"kind": "linear"}}, {"label": "labels/b.nii.gz", "name": "second"}]}


def test_paths_become_absolute_names_are_made_and_seeds_count_up(tmp_path: Path) -> None:
    first, second = load_datalist(datalist(tmp_path, TWO), seed=5)
    label = str(tmp_path / "labels" / "a.png")
    assert first == {"label": label, "beam": {"kind": "linear"}, "name": "a", "seed": 5}
    assert second == {"label": str(tmp_path / "labels" / "b.nii.gz"), "name": "second", "seed": 6}


def test_each_variant_has_its_own_name_and_seed(tmp_path: Path) -> None:
    items = load_datalist(datalist(tmp_path, TWO), seed=5, variants=2)
    assert [(item["name"], item["seed"]) for item in items] == [
        ("a_1", 5),
        ("a_2", 7),
        ("second_1", 6),
        ("second_2", 8),
    ]


def test_further_variants_leave_the_first_ones_seeds_as_they_are(tmp_path: Path) -> None:
    path = datalist(tmp_path, TWO)
    alone = [item["seed"] for item in load_datalist(path, seed=5)]
    assert [item["seed"] for item in load_datalist(path, seed=5, variants=3)][::3] == alone


def test_items_of_a_folder_get_seeds_as_those_of_a_list_do(tmp_path: Path) -> None:
    listed = load_datalist(datalist(tmp_path, TWO), seed=5, variants=3)
    found = seeded(list_items(tmp_path, source="x", images=None), seed=5, variants=3)
    assert [item["seed"] for item in found] == [item["seed"] for item in listed]
    assert [item["name"] for item in found] == ["a_1", "a_2", "a_3", "b_1", "b_2", "b_3"]


def test_no_variant_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="variants must be at least 1, got 0"):
        seeded([{"name": "a"}], variants=0)


def test_an_item_without_a_required_key_is_named(tmp_path: Path) -> None:
    path = datalist(tmp_path, {"training": [{"image": "images/a.png"}]})
    with pytest.raises(ValueError, match=r"a in .* has no label; add it"):
        load_datalist(path, "training", required=["label"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_names_that_would_leave_the_output_folder_are_refused(tmp_path: Path, name: str) -> None:
    path = datalist(tmp_path, {"training": [{"image": "images/a.png", "name": name}]})
    with pytest.raises(ValueError, match="is no file name"):
        load_datalist(path, "training")


def test_a_list_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset\.json is not JSON"):
        load_datalist(tmp_path / "dataset.json")


def test_names_keep_their_dots() -> None:
    assert [stem_of(Path(f"1.2.840.1{suffix}")) for suffix in (".png", ".nii", ".nii.gz")] == ["1.2.840.1"] * 3


def test_another_list_of_the_file_can_be_asked_for(tmp_path: Path) -> None:
    path = datalist(tmp_path, {"training": [{"image": "images/a.png"}]})
    assert load_datalist(path, "training")[0]["image"] == str(tmp_path / "images" / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": [{"label": "labels/a.png"}]}, "no items under 'test'; it has training"),
        ({"test": []}, "no items under 'test'; it has test"),
        ({}, "it has nothing"),
        ([{"label": "labels/a.png"}], "it has list"),
        ({"test": [{"beam": {}}]}, "names none of image, label, sector"),
        ({"test": [{"label": "labels/a.png"}, {"image": "images/a.png"}]}, "names a more than once"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_what_it_has(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_datalist(datalist(tmp_path, content))


def test_a_file_the_list_names_but_nobody_brought_is_named(tmp_path: Path) -> None:
    path = datalist(tmp_path, {"test": [{"label": "labels/z.png"}]})
    with pytest.raises(FileNotFoundError, match=r"z\.png, the label of an item of .*dataset\.json, does not exist"):
        load_datalist(path)


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"other\.json does not exist; give the dataset\.json"):
        load_datalist(tmp_path / "other.json")


def test_fewer_than_one_variant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        load_datalist(datalist(tmp_path, TWO), variants=0)
