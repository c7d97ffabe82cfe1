"""Which class a segment is: by code, then by name, and none where it could be wrong."""

from __future__ import annotations

import pytest

from SlicerBMapDiffusionLib.models.mapping import _STRUCTURES, SegmentInfo, guess_classes

HEART = ("left-ventricle cavity", "myocardium", "left atrium")
NECK = ("thyroid",)
CAVITY, WALL, ATRIUM = HEART
TISSUE = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~a~^^~^^"
)


def guess(name: str, classes: tuple[str, ...], terminology: str = "") -> str | None:
    return guess_classes([SegmentInfo("s", name, terminology)], classes)["s"]


def entry(kind: str, modifier: str = "^^", region: str = "^^", region_modifier: str = "^^") -> str:
    return f"list~SCT^123037004^Anatomical Structure~{kind}~{modifier}~codes~{region}~{region_modifier}"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("LV", CAVITY),
        ("lv cavity", CAVITY),
        ("Left Ventricle", CAVITY),
        ("LeftVentricle", CAVITY),
        ("left_ventricle_endo", CAVITY),
        ("LVendo", CAVITY),
        ("LV_endocardium", CAVITY),
        ("heart_ventricle_left", CAVITY),
        ("left ventricular cavity", CAVITY),
        ("myo", WALL),
        ("Myocardium", WALL),
        ("LV myocardium", WALL),
        ("left ventricular myocardium", WALL),
        ("LVmyo", WALL),
        ("LV wall", WALL),
        ("LA", ATRIUM),
        ("left atrium", ATRIUM),
        ("heart_atrium_left", ATRIUM),
        ("Left Atrial cavity", ATRIUM),
        ("RV", None),
        ("right ventricle", None),
        ("right atrium", None),
        ("RV myocardium", None),
        ("LV and LA", None),
        ("ventricle", None),
        ("atrium", None),
        ("left atrial appendage", None),
        ("left ventricle outflow", None),
        ("left lateral ventricle", None),
        ("larynx", None),
        ("scar myocardium", None),
        ("Segment_1", None),
        ("", None),
    ],
)
def test_parts_of_the_heart_are_known_by_name(name, known):
    assert guess(name, HEART) == known


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("thyroid", "thyroid"),
        ("Thyroid gland", "thyroid"),
        ("left thyroid lobe", "thyroid"),
        ("thyroid_gland_right", "thyroid"),
        ("glandula thyroidea", "thyroid"),
        ("Schilddrüse", "thyroid"),
        ("thyroid cartilage", None),
        ("parathyroid", None),
        ("thyroid nodule", None),
        ("papillary thyroid carcinoma", None),
        ("carotid", None),
    ],
)
def test_the_thyroid_is_known_by_name(name, known):
    assert guess(name, NECK) == known


@pytest.mark.parametrize(
    ("kind", "classes", "known"),
    [
        ("SCT^87878005^Left ventricle", HEART, CAVITY),
        ("SRT^T-32600^Left Ventricle", HEART, CAVITY),
        ("SCT^74281007^Myocardium", HEART, WALL),
        ("SCT^82471001^Left atrium", HEART, ATRIUM),
        ("SCT^53085002^Right ventricle", HEART, None),
        ("SCT^69748006^Thyroid gland", NECK, "thyroid"),
        ("99TEST^1^Left atrium", HEART, ATRIUM),
    ],
)
def test_codes_are_known_whatever_the_name(kind, classes, known):
    assert guess("Segment_1", classes, entry(kind)) == known


def test_codes_are_paired_as_in_dicoms_own_table():
    coding = pytest.importorskip("pydicom.sr.coding", reason="pydicom is not installed in this environment")
    pairs = [known.codes for known in _STRUCTURES.values() if len(known.codes) == 2]
    assert len(pairs) == 6
    for current, older in [*pairs, ("7771000", "G-A101"), ("24028007", "G-A100")]:
        assert coding.Code(older, "SRT", "") == coding.Code(current, "SCT", "")


def test_codes_mean_in_dicom_what_they_are_called_here():
    codes = pytest.importorskip("pydicom.sr.codedict", reason="pydicom is not installed in this environment").codes.SCT
    meant = {
        "left ventricle": codes.LeftVentricle,
        "left atrium": codes.LeftAtrium,
        "right ventricle": codes.RightVentricle,
        "right atrium": codes.RightAtrium,
        "thyroid": codes.Thyroid,
        "liver": codes.Liver,
    }
    assert {name: _STRUCTURES[name].codes[0] for name in meant} == {name: code.value for name, code in meant.items()}


def test_the_code_counts_more_than_the_name():
    assert guess("LA", HEART, entry("SCT^87878005^Left ventricle")) == CAVITY


def test_a_side_modifies_the_structure():
    assert guess("x", HEART, entry("99TEST^1^Atrium", "SCT^7771000^Left")) == ATRIUM
    assert guess("x", HEART, entry("99TEST^1^Atrium", "SCT^24028007^Right")) is None
    assert guess("x", HEART, entry("SRT^T-32100^Atrium", "SRT^G-A101^Left")) == ATRIUM
    assert guess("x", HEART, entry("SRT^T-32100^Atrium", "SRT^G-A100^Right")) is None


def test_a_tissue_is_known_by_its_region():
    assert guess("x", NECK, entry("SCT^85756007^Tissue", region="SCT^69748006^Thyroid")) == "thyroid"


def test_a_code_of_the_whole_says_nothing_of_the_part_and_the_name_counts():
    """TotalSegmentator's myocardium is coded as the heart."""
    assert guess("heart_myocardium", HEART, entry("SCT^80891009^Heart")) == WALL


def test_slicers_default_terminology_says_nothing_and_the_name_counts():
    assert guess("LV", HEART, TISSUE) == CAVITY
    assert guess("Segment_1", HEART, TISSUE) is None


@pytest.mark.parametrize("terminology", ["", "~", "^", "~~~~~~~~~", "a~b~c~d", "~^~^~^~^~^~^"])
def test_torn_terminology_is_passed_over(terminology):
    assert guess("LV", HEART, terminology) == CAVITY


def test_a_models_own_words_are_known_whatever_they_are():
    assert guess("Plaque_Type-2", ("plaque type 2", "lumen"), "") == "plaque type 2"


def test_a_name_that_fits_two_classes_fits_none():
    assert guess("thyroid", ("left thyroid lobe", "right thyroid lobe")) is None
    assert guess("LV", ("lv endo", "left-ventricle cavity")) is None


def test_two_lobes_are_one_gland():
    segments = [SegmentInfo("a", "left thyroid lobe"), SegmentInfo("b", "right thyroid lobe"), SegmentInfo("c", "neck")]
    assert guess_classes(segments, NECK) == {"a": "thyroid", "b": "thyroid", "c": None}
