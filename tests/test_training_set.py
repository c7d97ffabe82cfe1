"""A synthetic data set, drawn once: what is in it, that trainings read it, and what keeps images out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_data import BUNDLES, ROOT, TINY, environment, write_phantoms
from bundle_data import command as bundle_command
from monai.bundle import ConfigParser
from PIL import Image
from tiny_bundle import CONFIG, SIZE, command, run_here, small_options

from monai_bmaps.data import list_items, load_datalist
from monai_bmaps.geometry import beam_from_dict
from monai_bmaps.handlers import DatasetList, TrainingSet, layout_for
from monai_bmaps.metrics.memorisation.screening import CopyScreen
from monai_bmaps.pictures import Pixels
from monai_bmaps.provenance import read_record
from monai_bmaps.transforms import DrawingFrames, TrainingFrames

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config
LISTED = {"training": 3, "validation": 2}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """As for other generations, with the hearts as five patients of two splits."""
    small = small_options(tmp_path_factory.mktemp("small"))
    path = Path(small["dataset_dir"]) / "dataset.json"
    listing = json.loads(path.read_text())
    entries = [{**entry, "patient": f"patient{k}"} for k, entry in enumerate(listing.pop("test"))]
    path.write_text(json.dumps({**listing, "training": entries[:3], "validation": entries[3:]}))
    return {**small, "as_dataset": True}


@pytest.fixture(scope="module")
def drawn(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both splits, two images with new anatomy for each label map."""
    folder = tmp_path_factory.mktemp("drawn")
    for split in LISTED:
        run_here(folder, options, split=split, variants=2, new_anatomy=True)
    return folder


def pixels(path: str | Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("images/*.png")}


# what is in it


def test_images_labels_and_sectors_are_of_one_size_and_listed_by_split(drawn: Path) -> None:
    assert {path.name for path in drawn.iterdir()} == {
        *("images", "labels", "sectors", "dataset.json", "overview.png", *(f"report_{split}.md" for split in LISTED))
    }
    for split, count in LISTED.items():
        items = load_datalist(drawn / "dataset.json", split)
        assert len(items) == 2 * count
        for item in items:
            assert {pixels(item[key]).shape for key in ("image", "label", "sector")} == {SIZE}
            assert pixels(item["image"])[pixels(item["sector"]) == 0].max() == 0


def test_an_item_tells_patient_weights_seed_steps_attenuation_and_label(drawn: Path, options: dict[str, Any]) -> None:
    item = load_datalist(drawn / "dataset.json", "validation")[1]
    told = item["provenance"]
    assert (item["synthetic"], item["patient"], item["name"]) == (True, "patient3", "heart_4_2")
    assert (told["Steps"], told["Attenuation in dB"], told["Seed"]) == ("4", "44.0", "2")
    assert told["Weights"] == json.loads(Path(options["weights"]).with_suffix(".json").read_text())["weights_sha256"]
    assert told["Source"]["label"]["path"].endswith("hearts/labels/heart_4.png")
    record = read_record(Path(item["image"])) or {}
    assert {key: told[key] for key in ("Condition", "Pixels")} == {key: record[key] for key in ("Condition", "Pixels")}


def test_the_beam_is_that_of_the_images_pixels(drawn: Path) -> None:
    item = load_datalist(drawn / "dataset.json", "training")[0]
    inside, sector = beam_from_dict(item["beam"]).mask(SIZE).numpy(), pixels(item["sector"]) > 0
    assert (inside & sector).sum() / (inside | sector).sum() > 0.93  # half a pixel of the rim of so small a fan


def test_the_label_beside_an_image_is_the_one_it_was_drawn_for(drawn: Path, options: dict[str, Any]) -> None:
    source = load_datalist(Path(options["dataset_dir"]) / "dataset.json", "training", variants=2)
    chain = DrawingFrames(SIZE, 3, new_anatomy=True)
    for item, made in zip(source, load_datalist(drawn / "dataset.json", "training"), strict=True):
        classes = chain(item)["seg"].argmax(0).numpy()
        assert np.array_equal(pixels(made["label"]), np.where(classes == 4, 0, classes))
        assert np.array_equal(pixels(made["sector"]), classes > 0)


def test_new_anatomy_differs_between_seeds_and_from_what_it_came_from(drawn: Path, options: dict[str, Any]) -> None:
    first, second = (pixels(drawn / "labels" / f"heart_2_{k}.png") for k in (1, 2))
    before = pixels(Path(options["dataset_dir"]) / "labels" / "heart_2.png")
    told = [read_record(drawn / "images" / f"heart_2_{k}.png") or {} for k in (1, 2)]
    assert [record["Anatomy"] for record in told] == ["deformed"] * 2
    assert (first != second).any()
    assert (first != before).any()
    assert set(np.unique(first)) == set(np.unique(before))


def test_without_new_anatomy_the_label_maps_stay(options: dict[str, Any], tmp_path: Path) -> None:
    run_here(tmp_path, options, split="validation")
    before = Path(options["dataset_dir"]) / "labels" / "heart_4.png"
    sector = pixels(tmp_path / "sectors" / "heart_4.png")
    assert np.array_equal(pixels(tmp_path / "labels" / "heart_4.png"), pixels(before) * sector)
    assert "Anatomy" not in (read_record(tmp_path / "images" / "heart_4.png") or {})


def test_the_report_says_how_many_and_of_what_model(drawn: Path) -> None:
    report = (drawn / "report_validation.md").read_text()
    assert "4 of 4 images of the validation split are listed; 4 are for label maps with new anatomy" in report
    assert "* Model: cardiac_bmap_sdm" in report
    assert "Not compared with the images that the model was trained on" in report


# resuming and sharing


def test_a_finished_set_is_left_as_it_is_and_what_is_lost_comes_back(options: dict[str, Any], tmp_path: Path) -> None:
    run_here(tmp_path, options, split="validation")
    before = times(tmp_path)
    (tmp_path / "labels" / "heart_5.png").unlink()
    (tmp_path / "dataset.json").unlink()
    run_here(tmp_path, options, split="validation")
    assert {name for name, moment in times(tmp_path).items() if moment > before[name]} == {"heart_5.png"}
    assert len(load_datalist(tmp_path / "dataset.json", "validation")) == 2


def test_an_image_whose_pixels_were_changed_is_drawn_again(options: dict[str, Any], tmp_path: Path) -> None:
    run_here(tmp_path, options, split="validation")
    path, before = tmp_path / "images" / "heart_4.png", times(tmp_path)
    tampered(path)
    run_here(tmp_path, options, split="validation")
    assert {name for name, moment in times(tmp_path).items() if moment > before[name]} == {"heart_4.png"}


def tampered(path: Path) -> None:
    """One pixel brighter, the text as it was."""
    from monai_bmaps.provenance import write_png

    record, values = read_record(path) or {}, pixels(path).astype(np.uint8)
    values[-1, 0] += 1
    write_png(path, values, record)


def test_leftovers_of_other_settings_are_not_listed(options: dict[str, Any], tmp_path: Path) -> None:
    run_here(tmp_path, options, split="validation", variants=2)
    run_here(tmp_path, options, split="validation", num_inference_steps=3)
    assert [item["name"] for item in load_datalist(tmp_path / "dataset.json", "validation")] == ["heart_4", "heart_5"]


def test_two_processes_list_all_images_together(options: dict[str, Any], tmp_path: Path) -> None:
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    both = subprocess.run(
        command(tmp_path, options, *launcher, split="training"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert both.returncode == 0, both.stderr
    names = [item["name"] for item in load_datalist(tmp_path / "dataset.json", "training")]
    assert names == ["heart_1", "heart_2", "heart_3"]


def test_a_list_that_another_process_changed_meanwhile_is_written_again(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [item["name"] for item in load_datalist(drawn / "dataset.json", "validation")]
    late = drawn / "images" / f"{names[0]}.png"
    (tmp_path / "images").mkdir()
    for name in names[1:]:
        os.link(drawn / "images" / f"{name}.png", tmp_path / "images" / f"{name}.png")
    listing = DatasetList(names, "validation", ["a", "b", "c"], "late")
    content = listing._content

    def another_ends(folder: Path, listed: Any) -> dict[str, Any]:
        if not (folder / "images" / late.name).exists():
            os.link(late, folder / "images" / late.name)
        return content(folder, listed)

    monkeypatch.setattr(listing, "_content", another_ends)
    assert listing.write(tmp_path, {}, None) == (4, 0)
    assert len(json.loads((tmp_path / "dataset.json").read_text())["validation"]) == 4


@pytest.mark.parametrize("split", ["test", "demo"])
def test_lists_that_data_sets_do_not_have_are_refused(split: str) -> None:
    if split == "test":
        assert DatasetList(["a"], split, [], "x").split == split
        return
    with pytest.raises(ValueError, match="lists training, validation, test, not 'demo'; rename it"):
        DatasetList(["a"], split, [], "x")


# training on it


def test_it_is_listed_as_prepared_data_are_alone_or_beside_them(drawn: Path) -> None:
    items = list_items(drawn, "training", source="camus", sectors="sectors", classes=_classes(drawn))
    assert [item["group"] for item in items] == [f"patient{k}" for k in (0, 0, 1, 1, 2, 2)]
    frame = TrainingFrames((16, 32), 3, kind="sector")(items[0])
    assert frame["seg"].shape == (5, 16, 32)
    assert float(frame["image"].std()) > 0.1


def _classes(folder: Path) -> list[str]:
    labels = json.loads((folder / "dataset.json").read_text())["labels"]
    return [labels[key] for key in ("1", "2", "3")]


def test_a_bundle_trains_on_real_and_synthetic_frames(drawn: Path, tmp_path: Path) -> None:
    real, bundle = write_phantoms(BUNDLES[0], tmp_path / "real"), BUNDLES[0]
    both = f"$@items(split='training') + @items(root='{drawn}', split='training')"
    arguments = bundle_command(
        *("--config_file", "configs/train.json", "--dataset_dir", str(real), "--output_dir", str(tmp_path / "out")),
        *("--train::dataset::data", both, "--max_epochs", "1", *TINY),
    )
    done = subprocess.run(arguments, cwd=bundle.folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["training"]["frames"] == 5 + 6


def test_a_bundle_trains_on_synthetic_frames_alone(drawn: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(ROOT / "bundles" / "cardiac_bmap_sdm" / "configs" / "train.json")
    parser.update({"dataset_dir": str(drawn), "image_size": [16, 32]})
    items = parser.get_parsed_content("items")
    assert [len(items(split=split)) for split in ("training", "validation")] == [6, 4]


# what keeps images out


class Bright:
    """Keeps out what is bright."""

    name = "brightness"

    def __call__(self, pixels: Pixels, inside: Pixels) -> str | None:
        return "too bright" if pixels[inside > 0].mean() > 100 else None


def condition() -> torch.Tensor:
    """An image all inside the beam but its first row, with one label."""
    seg = torch.zeros(3, 12, 14)
    seg[0, :1], seg[1, 3:6], seg[2] = 1, 1, 1
    seg[2] -= seg[0] + seg[1]
    return seg


def training_set(folder: Path, screen: Any) -> TrainingSet:
    return TrainingSet(folder, DatasetList(["dark", "bright"], "training", ["vessel"], "tiny"), screen)


def written(folder: Path, screen: Any) -> TrainingSet:
    made = training_set(folder, screen)
    for name, grey in (("dark", 50), ("bright", 200)):
        made.write(name, np.full((12, 14), grey, np.uint8), condition(), {"Synthetic": "true", "Seed": "1"})
    made.end({})
    return made


def flagged_names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("flagged/*.png"))


@pytest.mark.parametrize("screened", ["as it is drawn", "later"])
def test_what_the_screen_flags_is_put_aside_with_the_reason_and_not_listed(tmp_path: Path, screened: str) -> None:
    made = written(tmp_path, Bright() if screened == "as it is drawn" else None)
    if screened == "later":
        assert flagged_names(tmp_path) == []
        made = training_set(tmp_path, Bright())
        made.begin(["dark", "bright"])
        made.end({})
    assert flagged_names(tmp_path) == ["bright"]
    assert [path.stem for path in (tmp_path / "images").iterdir()] == ["dark"]
    assert (read_record(tmp_path / "flagged" / "bright.png") or {})["Flagged"] == "too bright"
    assert [item["name"] for item in load_datalist(tmp_path / "dataset.json", "training")] == ["dark"]
    assert "Compared with brightness: 1 kept out" in (tmp_path / "report_training.md").read_text()
    assert "| bright | too bright |" in (tmp_path / "report_training.md").read_text()


def test_what_was_flagged_is_not_drawn_again_while_it_is_screened(tmp_path: Path) -> None:
    made = written(tmp_path, Bright())
    record = {"Synthetic": "true", "Seed": "1"}
    assert made.has("bright", record)
    assert not training_set(tmp_path, None).has("bright", record)


def test_what_is_drawn_anew_and_no_longer_flagged_leaves_nothing_behind(tmp_path: Path) -> None:
    written(tmp_path, Bright())
    written(tmp_path, None)
    assert flagged_names(tmp_path) == []


def speckled(seed: int, shape: tuple[int, int] = (48, 48)) -> Pixels:
    """Smooth noise that no other seed has."""
    values = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(values, size=shape, mode="bilinear")[0, 0]
    return np.asarray((smooth * 255).round().to(torch.uint8))


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of 24 training and 24 held-out frames, all inside the beam."""
    root = tmp_path_factory.mktemp("trained_on")
    lists: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for number in range(48):
        split = "training" if number < 24 else "validation" if number < 30 else "test"
        name = f"frame{number}"
        for key, values in (("image", speckled(number)), ("sector", np.ones((48, 48), np.uint8))):
            (root / f"{key}s").mkdir(exist_ok=True)
            Image.fromarray(values).save(root / f"{key}s" / f"{name}.png")
        paths = {key: f"{key}s/{name}.png" for key in ("image", "sector")}
        lists[split].append({"name": name, "patient": name, **paths})
    index = {"generator": "monai_bmaps.data.prepare", "source": "noise", "labels": {"0": "background"}, **lists}
    (root / "dataset.json").write_text(json.dumps(index))
    return root


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda pixels: pixels,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "with noise": lambda pixels: np.clip(pixels + np.random.default_rng(0).normal(0, 5, pixels.shape), 0, 255).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_training_frame_is_kept_out_and_named(trained_on: Path, how: str) -> None:
    screen = CopyScreen(trained_on, (48, 48), kind="linear")
    reason = screen(COPIES[how](speckled(7)), np.ones((48, 48), np.uint8))
    assert reason is not None
    assert "to training frame frame7, below" in reason


def test_few_new_images_and_no_held_out_frames_are_kept_out(trained_on: Path) -> None:
    screen, everywhere = CopyScreen(trained_on, (48, 48), kind="linear"), np.ones((48, 48), np.uint8)
    flagged = [screen(speckled(number), everywhere) is not None for number in range(1000, 1030)]
    assert sum(flagged) <= 5  # 4 % of new ones are expected: the nearest of 24 sets the threshold
    assert [screen(speckled(number), everywhere) for number in range(24, 48)] == [None] * 24
    assert screen.name.startswith("the 24 training frames of trained_on")


def test_the_bundle_screens_against_the_data_set_it_is_given(trained_on: Path, options: dict[str, Any]) -> None:
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser.update({**options, "screen_against": str(trained_on)})
    screen = parser.get_parsed_content("screen")
    assert (screen.root, screen.options.size, screen.options.kind) == (trained_on, SIZE, "sector")


def test_a_screen_without_a_prepared_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset.json does not exist; give the prepared data set"):
        CopyScreen(tmp_path, SIZE)


# what is refused


def test_a_screen_without_a_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="screen_against keeps images out of a data set: say as_dataset True"):
        layout_for(tmp_path, screen=Bright())


def test_nrrd_without_simpleitk_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"writing .nrrd needs SimpleITK; install it with pip install"):
        layout_for(tmp_path, ".nrrd")


def test_volumes_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"volumes must end in .nii.gz, .nii, .nrrd, got '.mha'"):
        layout_for(tmp_path, volumes=".mha")


@pytest.mark.parametrize("settings", [{"num_labels": 0}, {"edit": True}, {"keep": True}])
def test_new_anatomy_without_labels_or_with_given_images_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="new_anatomy deforms label maps to draw new images for"):
        DrawingFrames(SIZE, **{"num_labels": 3, "new_anatomy": True, **settings})
