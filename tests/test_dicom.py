"""DICOM ultrasound: what the pixels become, where the region and spacing come from, and that no patient gets out."""

from __future__ import annotations

import dataclasses
import logging
import random
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom", reason="reading DICOM needs the extra 'data'")

from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import convert_color_space, pixel_array  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    MediaStorageDirectoryStorage,
    RLELossless,
    UltrasoundImageStorage,
    generate_uid,
)

from monai_bmaps.data.dicom import DicomFrame, list_dicoms, read_frames  # noqa: E402
from monai_bmaps.data.dicom.headers import read_header  # noqa: E402

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (11, 14)).astype(np.uint8)
WHO = {
    "PatientName": "DOE^JANE",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19620229",
    "InstitutionName": "St Elsewhere",
    "AccessionNumber": "ACC-0815",
    "ReferringPhysicianName": "WHO^DOCTOR",
    "OperatorsName": "SMITH^SONO",
    "StudyInstanceUID": "1.2.840.99999.1",
    "StudyDate": "20240131",
    "DeviceSerialNumber": "SN-2718",
}


def dataset(pixels: np.ndarray = PIXELS, **attributes: Any) -> Dataset:
    """An ultrasound file; ``pixels`` are (rows, columns), with a last axis of 3 for colour."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Modality = "US"
    colour = pixels.ndim > 2 and pixels.shape[-1] == 3
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = 0
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in (WHO | attributes).items():
        setattr(ds, name, value)
    return ds


def region(**attributes: Any) -> Dataset:
    """A calibrated region of tissue, rows 2 to 7 and columns 3 to 12, of 0.4 x 0.3 mm."""
    ds = Dataset()
    values = {
        "RegionSpatialFormat": 1, "RegionDataType": 1, "RegionFlags": 0,
        "RegionLocationMinX0": 3, "RegionLocationMinY0": 2, "RegionLocationMaxX1": 12, "RegionLocationMaxY1": 7,
        "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.03, "PhysicalDeltaY": 0.04,
    }  # fmt: skip
    for name, value in (values | attributes).items():
        setattr(ds, name, value)
    return ds


def saved(folder: Path, ds: Dataset, name: str = "a.dcm") -> Path:
    ds.save_as(folder / name, enforce_file_format=True)
    return folder / name


def only(path: Path, **options: Any) -> DicomFrame:
    (frame,) = read_frames(path, **options)
    return frame


def shipped(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} comes with pydicom-data, which is not installed")
    return Path(path)


# pixels


def test_monochrome2_comes_as_it_is(tmp_path: Path) -> None:
    frame = only(saved(tmp_path, dataset()))
    assert frame.image.dtype == np.uint8
    assert np.array_equal(frame.image, PIXELS)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(only(path).image, 255 - PIXELS)


def test_twelve_bits_are_scaled_from_their_stored_range(tmp_path: Path) -> None:
    deep = (PIXELS.astype(np.uint16) << 4) | (PIXELS >> 4)
    path = saved(tmp_path, dataset(deep, BitsStored=12, HighBit=11))
    assert np.array_equal(only(path).image, PIXELS)


def test_twelve_bits_with_a_window_are_shown_through_it(tmp_path: Path) -> None:
    deep = np.array([[999, 1000, 1255], [1256, 1127, 4095]], dtype=np.uint16)
    window = {"WindowCenter": [1128.0, 9.0], "WindowWidth": [256.0, 9.0]}  # 1000 is black and 1255 white
    path = saved(tmp_path, dataset(deep, BitsStored=12, HighBit=11, **window))
    assert only(path).image.tolist() == [[0, 0, 255], [255, 127, 255]]


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    colour = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [77, 77, 77]]], dtype=np.uint8)
    assert only(saved(tmp_path, dataset(colour))).image.tolist() == [[76, 150, 29, 77]]


def test_the_share_of_coloured_pixels_is_that_of_the_crop(tmp_path: Path) -> None:
    colour = np.repeat(PIXELS[..., None], 3, -1)
    colour[4, 3:8] = (200, 40, 0)  # 5 pixels of 60
    colour[0] = (0, 0, 255)  # outside
    frame = only(saved(tmp_path, dataset(colour, SequenceOfUltrasoundRegions=[region()])))
    assert frame.colour_share == pytest.approx(5 / 60)


def test_a_ybr_file_and_its_rgb_twin_look_alike(tmp_path: Path) -> None:
    colour = RNG.integers(60, 200, (6, 8, 3)).astype(np.uint8)
    ybr = convert_color_space(colour, "RGB", "YBR_FULL")
    first = only(saved(tmp_path, dataset(colour))).image
    second = only(saved(tmp_path, dataset(ybr, PhotometricInterpretation="YBR_FULL"), "b.dcm")).image
    assert np.abs(first.astype(int) - second).max() <= 1  # rounding on the way there and back


def test_ybr_with_halved_colour_keeps_its_luminance(tmp_path: Path) -> None:
    grey = RNG.integers(0, 256, (6, 8)).astype(np.uint8)
    pairs = np.full((6, 4, 4), 128, dtype=np.uint8)  # Y, Y, Cb, Cr of two neighbours
    pairs[..., 0], pairs[..., 1] = grey[:, ::2], grey[:, 1::2]
    ds = dataset(np.repeat(grey[..., None], 3, -1), PhotometricInterpretation="YBR_FULL_422")
    ds.PixelData = pairs.tobytes()
    assert np.array_equal(only(saved(tmp_path, ds)).image, grey)


@pytest.mark.parametrize(("bits", "shift"), [(8, 0), (16, 8)])
def test_a_palette_is_looked_up(tmp_path: Path, bits: int, shift: int) -> None:
    ds = dataset(PhotometricInterpretation="PALETTE COLOR")
    table = 255 - np.arange(256)
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
        values = (table << shift).astype(np.uint16) if bits == 16 else table.astype(np.uint8)
        setattr(ds, f"{colour}PaletteColorLookupTableData", values.tobytes())
    assert np.array_equal(only(saved(tmp_path, ds)).image, 255 - PIXELS)


def test_rle_gives_the_pixels_back(tmp_path: Path) -> None:
    ds = dataset()
    ds.compress(RLELossless)
    assert np.array_equal(only(saved(tmp_path, ds)).image, PIXELS)


def jpeg_file(folder: Path, count: int = 1) -> Path:
    smooth = np.add.outer(np.arange(16) * 6, np.arange(24) * 4).astype(np.uint8)
    codes = []
    for number in range(count):
        Image.fromarray(smooth + np.uint8(number)).save(stream := BytesIO(), "jpeg", quality=95)
        codes.append(stream.getvalue())
    ds = dataset(smooth, NumberOfFrames=count)
    ds.PixelData = encapsulate(codes)
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return saved(folder, ds)


def test_jpeg_comes_close(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(16) * 6, np.arange(24) * 4)
    assert np.abs(only(jpeg_file(tmp_path)).image.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"])
def test_lossless_codings_of_sixteen_bits_agree_with_the_uncompressed_file(tmp_path: Path, name: str) -> None:
    frames = []
    for source in (name, "MR_small.dcm"):
        ds = pydicom.dcmread(shipped(source))
        ds.Modality = "US"
        frames.append(only(saved(tmp_path, ds, source)).image)
    assert np.array_equal(*frames)
    assert frames[0].std() > 10


def test_deflated_files_are_read(tmp_path: Path) -> None:
    ds = dataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    assert np.array_equal(only(saved(tmp_path, ds)).image, PIXELS)


def test_a_coding_without_a_decoder_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    path = shipped("JPGLosslessP14SV1_1s_1f_8b.dcm")
    decoder = pydicom.pixels.get_decoder(pydicom.uid.JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})  # whatever else this machine has
    with pytest.raises(ValueError, match=r"no installed decoder reads; .* store it uncompressed \(dcmdjpeg"):
        list(read_frames(path))


@pytest.mark.parametrize(
    ("name", "plugin"), [("examples_ybr_color.dcm", "pillow"), ("MR_small_jpeg_ls_lossless.dcm", "pyjpegls")]
)
def test_decoders_that_hide_damage_are_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, plugin: str
) -> None:
    asked = []
    whole = pydicom.pixels.iter_pixels
    monkeypatch.setattr(
        pydicom.pixels, "iter_pixels", lambda path, **options: asked.append(options) or whole(path, **options)
    )
    ds = pydicom.dcmread(shipped(name))
    ds.Modality = "US"
    next(read_frames(saved(tmp_path, ds)))
    assert asked == [{"decoding_plugin": plugin}]


# several frames


def clip(count: int = 5) -> np.ndarray:
    return (PIXELS[None] + np.arange(count)[:, None, None]).astype(np.uint8)


def test_a_clip_gives_its_frames_in_order(tmp_path: Path) -> None:
    frames = list(read_frames(saved(tmp_path, dataset(clip(), NumberOfFrames=5))))
    assert [(frame.index, frame.count) for frame in frames] == [(i, 5) for i in range(5)]
    assert np.array_equal(np.stack([frame.image for frame in frames]), clip())


@pytest.mark.parametrize("coding", ["native", "jpeg"])
def test_a_clip_is_decoded_one_frame_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str) -> None:
    path = jpeg_file(tmp_path, 5) if coding == "jpeg" else saved(tmp_path, dataset(clip(), NumberOfFrames=5))
    decoded = []
    whole = pydicom.pixels.iter_pixels

    def counted(*given: Any, **options: Any) -> Any:
        for frame in whole(*given, **options):
            decoded.append(1)
            yield frame

    monkeypatch.setattr(pydicom.pixels, "iter_pixels", counted)
    frames = read_frames(path)
    next(frames)
    next(frames)
    assert len(decoded) == 2


def test_a_clip_cut_short_gives_what_is_whole_or_nothing_and_then_says_so(tmp_path: Path) -> None:
    path = jpeg_file(tmp_path, 3)
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x08\x00IS\x02\x003 ", b"\x28\x00\x08\x00IS\x02\x005 "))
    with pytest.raises(ValueError, match=r"a\.dcm.*cut short"):
        list(read_frames(path))


# regions and spacing


def test_a_frame_is_cropped_to_its_region_and_has_its_spacing_in_mm(tmp_path: Path) -> None:
    frame = only(saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region()])))
    assert frame.region == (2, 3, 8, 13)
    assert np.array_equal(frame.image, PIXELS[2:8, 3:13])
    assert frame.spacing == pytest.approx((0.4, 0.3))
    assert frame.remark == ""


def test_without_regions_the_whole_frame_comes_uncalibrated(tmp_path: Path) -> None:
    frame = only(saved(tmp_path, dataset(PixelSpacing=[0.1, 0.1])))
    assert (frame.region, frame.spacing) == (None, None)
    assert frame.remark.startswith("uncalibrated")


@pytest.mark.parametrize(
    "change",
    [{"PhysicalUnitsXDirection": 4}, {"PhysicalUnitsYDirection": 0}, {"PhysicalDeltaX": 0.0}],
    ids=lambda change: next(iter(change)),
)
def test_a_region_without_a_size_is_cropped_but_stays_uncalibrated(tmp_path: Path, change: dict[str, Any]) -> None:
    frame = only(saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region(**change)])))
    assert frame.region == (2, 3, 8, 13)
    assert frame.spacing is None
    assert "no size in cm" in frame.remark


def test_a_region_of_another_image_size_is_not_believed(tmp_path: Path) -> None:
    frame = only(saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region(RegionLocationMaxX1=27)])))
    assert (frame.region, frame.spacing) == (None, None)
    assert "outside its frame" in frame.remark


def test_a_last_column_one_too_many_is_forgiven(tmp_path: Path) -> None:
    frame = only(saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region(RegionLocationMaxX1=14)])))
    assert frame.region == (2, 3, 8, 14)


SMALL = {"RegionLocationMinX0": 0, "RegionLocationMaxX1": 2}
OTHER = {
    "graphics": {"RegionSpatialFormat": 5},
    "m-mode": {"RegionSpatialFormat": 2},
    "doppler": {"RegionSpatialFormat": 3, "RegionDataType": 3},
    "flow": {"RegionDataType": 2},
}


@pytest.mark.parametrize("kind", OTHER)
def test_a_larger_region_of_another_kind_is_ignored(tmp_path: Path, kind: str) -> None:
    regions = [region(**OTHER[kind]), region(**SMALL)]
    assert only(saved(tmp_path, dataset(SequenceOfUltrasoundRegions=regions))).region == (2, 0, 8, 3)


def test_of_two_images_side_by_side_the_larger_or_the_wanted_one_is_taken(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region(**SMALL), region(), region(**OTHER["m-mode"])]))
    assert only(path).region == (2, 3, 8, 13)
    assert only(path, region=0).region == (2, 0, 8, 3)
    with pytest.raises(ValueError, match=r"region 2 is no two-dimensional image; of 3 regions these are: \[0, 1\]"):
        read_frames(path, region=2)


@pytest.mark.parametrize("kind", ["m-mode", "doppler"])
def test_a_file_without_a_two_dimensional_image_is_refused(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region(**OTHER[kind])]))
    with pytest.raises(ValueError, match=r"a\.dcm: it shows M-mode or spectral Doppler only.*leave it out"):
        read_frames(path)


# the patient

FULL_OF_NAMES = dict.fromkeys(("Manufacturer", "SeriesDescription", "StudyDescription", "StationName"), "DOE^JANE")


def texts_of(frame: DicomFrame) -> str:
    rest = {name.name: getattr(frame, name.name) for name in dataclasses.fields(frame) if name.name != "image"}
    return repr(frame) + repr(rest)


def test_nothing_returned_holds_an_identifier(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset(SequenceOfUltrasoundRegions=[region()], **FULL_OF_NAMES))
    text = texts_of(only(path)).casefold()
    parts = {part for value in WHO.values() for part in (str(value), *str(value).split("^"))}
    assert [part for part in parts if part.casefold() in text] == []


def test_identifiers_but_the_patients_and_the_studys_are_not_even_read(tmp_path: Path) -> None:
    header = read_header(saved(tmp_path, dataset(**FULL_OF_NAMES)))
    assert {name for name in (*WHO, *FULL_OF_NAMES) if name in header} == {"PatientID", "StudyInstanceUID"}


def test_the_pixel_attributes_of_a_frame_hold_no_pydicom_object(tmp_path: Path) -> None:
    frame = only(saved(tmp_path, dataset()))
    assert type(frame.image) is np.ndarray
    assert frame.image.base is None or type(frame.image.base) is np.ndarray


@pytest.mark.parametrize("attribute", ["Modality", "PhotometricInterpretation", "NumberOfFrames", "WindowCenter"])
def test_a_name_in_the_wrong_place_reaches_no_message_warning_or_log(
    tmp_path: Path, attribute: str, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        ds = dataset(np.zeros((4, 6), np.uint16), BitsStored=12, HighBit=11, WindowWidth="10", WindowCenter="1")
        ds.SOPClassUID = ds.StudyInstanceUID = "JANE.DOE"
        element = pydicom.DataElement(ds[attribute].tag if attribute in ds else attribute, "LO", "DOE^JANE")
        ds[element.tag] = element
        path = saved(tmp_path, ds)
    caplog.clear()
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=r"a\.dcm") as refusal:
        list(read_frames(path))
    everything = str(refusal.value) + caplog.text + "".join(str(w.message) for w in recwarn)
    assert "JANE" not in everything
    assert refusal.value.__suppress_context__


def test_one_patient_has_one_group_and_another_another(tmp_path: Path) -> None:
    given = ("MRN-4711", " mrn-4711", "MRN-4712")
    groups = [only(saved(tmp_path, dataset(PatientID=x), f"{i}.dcm")).group for i, x in enumerate(given)]
    assert groups[0] == groups[1] != groups[2]


def test_without_a_patient_the_study_is_the_group_and_without_that_the_folder(tmp_path: Path) -> None:
    bare = {"PatientID": "", "StudyInstanceUID": ""}
    (tmp_path / "b").mkdir()
    study = only(saved(tmp_path, dataset(PatientID=""), "s.dcm")).group
    folder = [only(saved(tmp_path, dataset(**bare), name)).group for name in ("1.dcm", "2.dcm", "b/1.dcm")]
    assert folder[0] == folder[1]
    assert len({study, *folder}) == 3


def test_a_group_depends_on_the_key_and_on_nothing_else(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset())
    assert only(path, key=b"k").group == only(path, key=b"k").group != only(path, key=b"l").group
    assert only(path).group == only(path).group  # one key in one process


# refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "it is not ultrasound"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.2"}, "an ultrasound volume"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels; allowed are 1 to 16384"),
        ({"Rows": 16000, "Columns": 16000}, "16000 x 16000 pixels"),
        ({"Rows": 0}, "0 x 14 pixels"),
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "its pixels are none of MONOCHROME1"),
        ({"BitsAllocated": 32}, "neither 8 nor 16 bits"),
        ({"Rows": 200}, "its pixels are missing, cut short"),
        ({"NumberOfFrames": 7}, "cut short"),
        ({"PixelData": None}, "its pixels are missing, cut short"),
    ],
    ids=str,
)
def test_what_is_no_ultrasound_frame_is_refused_with_its_file(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    ds = dataset(**{name: value for name, value in change.items() if value is not None})
    for name in (name for name, value in change.items() if value is None):
        delattr(ds, name)
    with pytest.raises(ValueError, match=rf"a\.dcm.*{message}"):
        list(read_frames(saved(tmp_path, ds)))


@pytest.mark.parametrize("content", [b"", b"\x89PNG" + bytes(400), bytes(128) + b"DICM", b"DICM" * 99])
def test_what_is_no_dicom_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.dcm"):
        read_frames(tmp_path / "x.dcm")


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_frames(tmp_path / "none.dcm")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("coding", ["native", "jpeg"])
def test_a_truncated_file_is_refused(tmp_path: Path, coding: str, share: float) -> None:
    path = jpeg_file(tmp_path) if coding == "jpeg" else saved(tmp_path, dataset())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"a\.dcm"):
        list(read_frames(path))


@pytest.mark.parametrize("coding", ["jpeg", "rle"])
def test_compressed_pixels_without_their_end_are_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    path = jpeg_file(tmp_path, 2)
    if coding == "rle":
        ds = dataset()
        ds.compress(RLELossless)
        path = saved(tmp_path, ds)
    path.write_bytes(path.read_bytes()[:-9])  # the delimiter's eight bytes, and one of the pixels'
    monkeypatch.setattr(pydicom.pixels, "iter_pixels", None)
    with pytest.raises(ValueError, match=r"a\.dcm: its pixels are cut short; copy or export it again"):
        list(read_frames(path))


def test_a_deflated_bomb_is_refused_before_it_goes_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = dataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    path = saved(tmp_path, ds)
    content = path.read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:start] + deflate.compress(bytes(2**24)) + deflate.flush())
    assert path.stat().st_size < 2**16
    monkeypatch.setattr("monai_bmaps.data.dicom.headers._MAX_INFLATED", 2**22)
    monkeypatch.setattr(zlib, "decompress", None)  # how pydicom would inflate it
    with pytest.raises(ValueError, match="inflates to more than 4 MiB"):
        read_frames(path)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, dataset())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"pip install monai-bmaps\[data\]"):
        read_frames(path)


def damages() -> list[Callable[[random.Random, bytearray], bytearray]]:
    def cut(draw: random.Random, content: bytearray) -> bytearray:
        return content[: draw.randrange(len(content))]

    def flip(draw: random.Random, content: bytearray) -> bytearray:
        for _ in range(draw.choice((1, 5, 40))):
            content[draw.randrange(132, len(content))] = draw.randrange(256)
        return content

    def swap(draw: random.Random, content: bytearray) -> bytearray:
        first, second = sorted(draw.randrange(132, len(content)) for _ in range(2))
        return content[:first] + content[second:] + content[first:second]

    return [cut, flip, swap]


@pytest.mark.parametrize("damage", damages(), ids=lambda damage: damage.__name__)
def test_damaged_files_give_frames_or_a_value_error_and_nothing_else(
    tmp_path: Path, damage: Callable[[random.Random, bytearray], bytearray]
) -> None:
    sources = [jpeg_file(tmp_path, 2).read_bytes()]
    rle = dataset(SequenceOfUltrasoundRegions=[region()])
    rle.compress(RLELossless)
    sources += [saved(tmp_path, ds).read_bytes() for ds in (dataset(SequenceOfUltrasoundRegions=[region()]), rle)]
    draw, refused, whole = random.Random(3), 0, 0
    for number in range(60):
        path = tmp_path / "damaged.dcm"
        path.write_bytes(damage(draw, bytearray(sources[number % 3])))
        try:
            frames = list(read_frames(path))
        except ValueError as refusal:
            refused += str(path) in str(refusal)
        else:
            whole += all(frame.image.dtype == np.uint8 and frame.image.ndim == 2 for frame in frames)
    assert refused + whole == 60
    assert refused > 5


# finding files


def test_files_are_found_by_their_content_in_a_tree(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    expected = [saved(tmp_path, dataset(), name) for name in ("IM0001", "deep/b.dcm", "deep/er/IM0002")]
    (tmp_path / "broken.dcm").write_bytes(b"not at all")
    (tmp_path / "notes.txt").write_text("x" * 500)
    (tmp_path / ".hidden").write_bytes(expected[0].read_bytes())
    directory = dataset()
    directory.file_meta.MediaStorageSOPClassUID = directory.SOPClassUID = MediaStorageDirectoryStorage
    saved(tmp_path, directory, "DICOMDIR")
    assert list_dicoms(tmp_path) == sorted([*expected, tmp_path / "broken.dcm"])
    assert list_dicoms(tmp_path / "DICOMDIR") == list_dicoms(tmp_path)
    assert list_dicoms(expected[0]) == [expected[0]]


def test_a_dicomdir_has_no_frames(tmp_path: Path) -> None:
    ds = dataset()
    ds.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    with pytest.raises(ValueError, match="is a DICOMDIR; give its folder"):
        read_frames(saved(tmp_path, ds, "DICOMDIR"))


def test_a_file_from_before_preambles_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path, dataset())
    (tmp_path / "old").write_bytes(path.read_bytes()[132:])
    assert tmp_path / "old" in list_dicoms(tmp_path)
    assert np.array_equal(only(tmp_path / "old").image, PIXELS)


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_place_without_dicom_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no DICOM file|does not exist"):
        list_dicoms(tmp_path / name)


# real ultrasound files


@pytest.mark.parametrize(
    ("name", "shape", "count", "spacing"),
    [
        ("examples_jpeg2k.dcm", (480, 640), 1, None),
        ("examples_rgb_color.dcm", (240, 320), 1, None),
        ("examples_palette.dcm", (350, 800), 1, None),  # cut: its region reaches below it
        ("examples_ybr_color.dcm", (240, 320), 30, None),  # shrunk: its region is that of 640 x 480
        ("OBXXXX1A.dcm", (459, 680), 1, 0.26229),
        ("OBXXXX1A_rle_2frame.dcm", (459, 680), 2, 0.26229),
        ("color3d_jpeg_baseline.dcm", (384, 512), 120, 0.51050),
        ("gdcm-US-ALOKA-16.dcm", (392, 304), 1, 0.38265),
    ],
)
def test_real_files_are_read(name: str, shape: tuple[int, int], count: int, spacing: float | None) -> None:
    frames = list(read_frames(shipped(name)))
    assert len(frames) == count
    assert {frame.image.shape for frame in frames} == {shape}
    assert frames[0].spacing == (None if spacing is None else pytest.approx((spacing, spacing), abs=1e-5))
    assert all(frame.image.std() > 5 for frame in frames)


def test_a_real_palette_file_is_what_a_viewer_shows() -> None:
    ds = pydicom.dcmread(shipped("OBXXXX1A.dcm"))
    colour = pydicom.pixels.apply_color_lut(pixel_array(ds), ds)[60:519, 120:800] / 257
    luminance = colour @ [0.299, 0.587, 0.114]
    assert np.abs(only(shipped("OBXXXX1A.dcm")).image - luminance).max() <= 1.5


def test_two_images_side_by_side_in_a_real_file_are_both_there() -> None:
    path = shipped("gdcm-US-ALOKA-16.dcm")
    left, right = (only(path, region=number) for number in (0, 1))
    assert (left.region, right.region) == ((24, 32, 416, 336), (24, 336, 416, 640))
    assert not np.array_equal(left.image, right.image)
