"""Image sets from folders of pictures, from data sets, and from what a bundle drew."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader
from PIL import Image

from monai_bmaps import BMap
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.geometry import SectorBeam
from monai_bmaps.handlers import SynthesisWriter
from monai_bmaps.metrics.images.conditions import with_conditions
from monai_bmaps.metrics.images.data_set import is_data_set
from monai_bmaps.metrics.images.frames import ReadingOptions
from monai_bmaps.metrics.images.picture_folder import read_pictures
from monai_bmaps.metrics.images.reading import read_images
from monai_bmaps.transforms import DrawingFrames, TrainingFrames

SIZE = (48, 56)
SMALLER = (24, 28)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def grey(seed: int = 0, size: tuple[int, int] = (5, 7)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def data_set(root: Path, count: int = 3, prepared: bool = True) -> Path:
    """Phantoms of two patients, as the prepare command lays them out."""
    entries = []
    for index in range(count):
        generator = torch.Generator().manual_seed(index)
        beam = heart_beam(SIZE, generator=generator)
        labels = heart_labels(SIZE, beam=beam, generator=generator)
        name = f"patient{index // 2:02d}_{index}"
        image = speckle_image(labels, beam, generator=generator)
        save(root / "images" / f"{name}.png", (image * 255).round().byte().numpy())
        save(root / "labels" / f"{name}.png", labels.byte().numpy())
        save(root / "sectors" / f"{name}.png", beam.mask(SIZE).byte().numpy())
        paths = {key: f"{key}s/{name}.png" for key in ("image", "label", "sector")}
        entry = {"name": name, "patient": name.split("_")[0], "beam": beam.to_dict(), "spacing": [0.5, 0.5], **paths}
        entries.append(entry)
    if prepared:
        names = {"0": "background", "1": "cavity", "2": "muscle", "3": "atrium"}
        index = {"generator": "monai_bmaps.data.prepare", "source": "phantom", "labels": names, "test": entries}
        (root / "dataset.json").write_text(json.dumps(index))
    return root


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_set(tmp_path_factory.mktemp("hearts"))


def drawn(folder: Path, root: Path, size: tuple[int, int] = SMALLER) -> Path:
    """What a bundle's inference writes for a data set, with noise for images."""
    from monai_bmaps.data import load_datalist

    chain = DrawingFrames(size, 3)
    items = [chain(item) for item in load_datalist(root / "dataset.json", variants=2)]
    writer = SynthesisWriter(folder, items, BMap.from_attenuation(db=30.0), 100, {"Model": "none"}, overview=1)
    loader = DataLoader(items, batch_size=len(items))

    class Engine:
        state = type("State", (), {})()
        logger = logging.getLogger("quiet")
        data_loader = loader

    generator = torch.Generator().manual_seed(0)
    engine = Engine()
    engine.state.batch = next(iter(loader))
    engine.state.output = {"pred": torch.rand(len(items), 1, *size, generator=generator) * 2 - 1}
    for step in (writer.start, writer.write, writer.finish):
        step(engine)
    return folder


# Folders of pictures


def test_grey_colour_deep_and_nifti_pictures_of_one_image_are_one_image(tmp_path: Path) -> None:
    pixels = grey()
    save(tmp_path / "a.png", pixels)
    save(tmp_path / "b.png", np.repeat(pixels[..., None], 3, -1))
    save(tmp_path / "c.png", pixels.astype(np.uint16) * 257)
    nibabel.save(nibabel.Nifti1Image(pixels.T[..., None], np.eye(4)), tmp_path / "d.nii.gz")
    fractions = (pixels.T[..., None] / 255).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(fractions, np.eye(4)), tmp_path / "e.nii.gz")
    found = read_pictures(tmp_path, "real")
    assert found.names == ("a", "b", "c", "d", "e")
    for image in found.images:
        np.testing.assert_allclose(image[0], pixels / 255, atol=1e-6)
    assert found.notes == ()


def test_a_coloured_picture_is_averaged_and_told_of(tmp_path: Path) -> None:
    save(tmp_path / "doppler.png", np.dstack([grey(0), grey(1), grey(2)]))
    found = read_pictures(tmp_path, "real")
    np.testing.assert_allclose(found.images[0, 0], np.mean([grey(k) / 255.0 for k in range(3)], axis=0), atol=1e-6)
    assert found.notes == ("1 of 1 pictures have colour, averaged to grey: doppler.png",)


def test_sizes_that_differ_are_refused_with_the_option_that_fits_them(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey())
    save(tmp_path / "b.png", grey(size=(10, 7)))
    with pytest.raises(ValueError, match=r"5 x 7 \(a\.png\) and 10 x 7 \(b\.png\) .*--size HEIGHT WIDTH"):
        read_pictures(tmp_path, "real")
    found = read_pictures(tmp_path, "real", (10, 14))
    assert found.size == (10, 14)
    assert float(found.images[1, 0, :, :3].max()) == 0  # true to scale: the narrow picture gets black sides
    assert float(found.images[1, 0, :, 4:10].mean()) == pytest.approx(grey(size=(10, 7))[:, 1:].mean() / 255, abs=0.1)


@pytest.mark.parametrize("kind", ["nothing", "text", "palette", "broken", "values", "nan"])
def test_pictures_that_mean_nothing_are_refused(tmp_path: Path, kind: str) -> None:
    messages = {
        "nothing": "holds no .png, .nii, .nii.gz file",
        "text": "holds no .png",
        "palette": "pixels of kind P, not grey or RGB",
        "broken": "cannot be read as a picture",
        "values": "has values -1000 to 400, not grey levels 0 to 255",
        "nan": "without NaN, which 1 of 1 do not: bad",
    }
    if kind == "text":
        (tmp_path / "read.me").write_text("no image")
    elif kind == "palette":
        Image.fromarray(grey()).convert("P").save(tmp_path / "bad.png")
    elif kind == "broken":
        (tmp_path / "bad.png").write_bytes(save(tmp_path / "good.png", grey(size=(50, 70))).read_bytes()[:900])
    elif kind in ("values", "nan"):
        values = np.full((7, 5, 1), np.nan, np.float32) if kind == "nan" else np.array([[[-1000]], [[400]]], np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "bad.nii.gz")
    with pytest.raises((ValueError, FileNotFoundError), match=messages[kind]):
        read_pictures(tmp_path, "real")


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent does not exist; give a folder of synthetic images"):
        read_images(tmp_path / "absent", "synthetic")


def test_patients_come_from_the_name(tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b", "p2_a"):
        save(tmp_path / f"{name}.png", grey())
    found = read_pictures(tmp_path, "real", group_pattern=r"(p\d)_")
    assert found.groups == ("p1", "p1", "p2")
    with pytest.raises(ValueError, match=r"does not occur in p1_a, p1_b, p2_a"):
        read_pictures(tmp_path, "real", group_pattern="sweep")


# Data sets


def test_frames_of_a_data_set_are_those_that_training_sees(hearts: Path) -> None:
    found = read_images(hearts, options=ReadingOptions(SMALLER, kind="sector"))
    items = {key: str(hearts / f"{key}s" / f"{found.names[1]}.png") for key in ("image", "label", "sector")}
    expected = TrainingFrames(SMALLER, 3, kind="sector")(dict(items))
    torch.testing.assert_close(found.images[1] * 2 - 1, expected["image"].as_tensor(), atol=1e-6, rtol=0)
    assert found.depth is not None
    assert found.inside is not None
    assert found.labels is not None
    assert torch.equal(found.depth[1], expected["depth"].as_tensor()[0])
    assert torch.equal(found.inside[1], expected["sector"].as_tensor()[0] > 0)
    classes = expected["seg"].argmax(0)
    assert torch.equal(found.labels[1], torch.where((classes == 0) | (classes == 4), 0, classes).long().as_tensor())
    assert float(found.images[1, 0][~found.inside[1]].max()) == 0


def test_what_is_known_of_a_frame_comes_with_it(hearts: Path) -> None:
    found = read_images(hearts, options=ReadingOptions(SMALLER))
    assert found.groups == ("patient00", "patient00", "patient01")
    assert found.classes == ("cavity", "muscle", "atrium")
    assert found.spacing[0] == pytest.approx((1.0, 1.0))  # half as many pixels, twice as large
    beam = found.beams[0]
    assert isinstance(beam, SectorBeam)
    assert found.inside is not None
    assert torch.equal(beam.mask(SMALLER), found.inside[0])
    assert found.size == SMALLER


def test_a_data_set_that_was_not_prepared_needs_a_name_for_its_split(tmp_path: Path) -> None:
    root = data_set(tmp_path, prepared=False)
    everything = read_images(root, options=ReadingOptions(group_pattern=r"patient\d+"))
    assert len(everything) == 3
    assert everything.size == SIZE
    assert everything.groups[0] == everything.groups[1] != everything.groups[2]
    with pytest.raises(ValueError, match="split 'training' needs the data set's name: --source"):
        read_images(root, split="training")


def test_a_data_set_without_sectors_has_images_and_labels_only(tmp_path: Path) -> None:
    root = data_set(tmp_path, prepared=False)
    for file in (root / "sectors").iterdir():
        file.unlink()
    (root / "sectors").rmdir()
    found = read_images(root, options=ReadingOptions(SMALLER))
    assert found.depth is found.inside is None
    assert found.labels is not None
    assert set(found.labels.unique().tolist()) == {0, 1, 2, 3}
    assert "has no sectors/: depth and beam are unknown" in found.notes[0]


def test_deep_frames_of_a_data_set_are_refused_instead_of_cut_off(tmp_path: Path) -> None:
    root = data_set(tmp_path, count=1, prepared=False)
    file = next((root / "images").iterdir())
    save(file, grey(size=SIZE).astype(np.uint16) * 257)
    with pytest.raises(ValueError, match=r"pixels of kind I;16, frames of a data set have 8 bits; .*--window"):
        read_images(root)


def test_a_split_without_items_is_refused(hearts: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no item in its validation split"):
        read_images(hearts, split="validation")


# What a bundle drew


@pytest.fixture(scope="module")
def samples(hearts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn(tmp_path_factory.mktemp("samples"), hearts)


def test_each_drawn_image_is_read_once_and_the_overview_is_none(samples: Path) -> None:
    assert (samples / "overview.png").is_file()
    found = read_images(samples, "synthetic")
    assert found.names == tuple(f"patient{k // 2:02d}_{k}_{v}" for k in range(3) for v in (1, 2))
    assert found.items == tuple(f"patient{k // 2:02d}_{k}" for k in range(3) for _ in (1, 2))


def test_drawn_images_get_what_they_were_conditioned_on(samples: Path, hearts: Path) -> None:
    found = read_images(samples, "synthetic", labels=hearts)
    item = {**json.loads((hearts / "dataset.json").read_text())["test"][1]}
    item |= {key: str(hearts / item[key]) for key in ("label", "sector")}
    expected = DrawingFrames(SMALLER, 3)(item)
    assert found.depth is not None
    assert found.labels is not None
    for row in (2, 3):
        assert torch.equal(found.depth[row], expected["depth"].as_tensor()[0])
        seg = expected["seg"].as_tensor().argmax(0)
        assert torch.equal(found.labels[row], torch.where((seg == 0) | (seg == 4), 0, seg))
    assert found.groups == ("patient00",) * 4 + ("patient01",) * 2
    assert found.classes == ("cavity", "muscle", "atrium")
    assert found.spacing[0] == pytest.approx((1.0, 1.0))
    assert all(isinstance(beam, SectorBeam) for beam in found.beams)


def test_other_label_maps_than_the_images_were_drawn_for_are_told_of(
    samples: Path, hearts: Path, tmp_path: Path
) -> None:
    assert read_images(samples, "synthetic", labels=hearts).notes == ()
    other = data_set(tmp_path / "other")
    files = sorted((other / "labels").iterdir())
    changed = np.asarray(Image.open(files[0])).copy()
    changed[changed == 1] = 2
    save(files[0], changed)
    found = read_images(samples, "synthetic", labels=other)
    assert found.notes == (
        "2 of 6 images say that they were drawn for another condition than the labels in other give, for example "
        "patient00_0_1; check --labels and --crop-to-beam",
    )


def test_a_list_or_a_folder_of_label_maps_serves_as_well(samples: Path, hearts: Path) -> None:
    whole = read_images(samples, "synthetic", labels=hearts)
    listed = read_images(samples, "synthetic", labels=hearts / "dataset.json")
    assert whole.depth is not None
    assert listed.depth is not None
    assert torch.equal(whole.depth, listed.depth)
    bare = read_images(samples, "synthetic", labels=hearts / "labels")
    assert bare.depth is None
    assert bare.labels is not None
    assert set(bare.labels.unique().tolist()) == {0, 1, 2, 3}


def test_images_that_no_label_belongs_to_are_named(samples: Path, tmp_path: Path) -> None:
    save(tmp_path / "labels" / "stranger.png", grey())
    with pytest.raises(ValueError, match=r"6 of 6 synthetic images have no item in .*patient00_0_1, .*with --labels"):
        with_conditions(read_images(samples, "synthetic"), tmp_path)


def test_a_data_set_is_told_from_pictures(samples: Path, hearts: Path) -> None:
    assert is_data_set(hearts)
    assert not is_data_set(samples)
