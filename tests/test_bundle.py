"""The cardiac bundle: its properties, its configs, a training that is killed and resumed, and inference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from bundle_data import BUNDLES, write_phantoms
from monai.bundle import ConfigParser
from PIL import Image

from monai_bmaps.data.camus import CLASSES
from monai_bmaps.data.folder import GENERATOR
from monai_bmaps.data.phantoms import heart_beam, heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.model_card import ModelCard, check_weights

CARDIAC = BUNDLES[0]
BUNDLE = CARDIAC.folder
CONFIGS = BUNDLE / "configs"
SPLITS = ("training", "validation")
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config


def config(name: str) -> dict[str, object]:
    return json.loads((CONFIGS / name).read_text())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *arguments]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in the layout of the training config."""
    return write_phantoms(CARDIAC, tmp_path_factory.mktemp("phantoms"))


@pytest.mark.parametrize(
    "key",
    [
        *("denoiser_def", "b_map", "scheduler", "diffusion_inferer", "attenuation_db", "num_train_timesteps"),
        *("image_size", "classes", "num_labels", "beam_kind", "crop_to_beam"),
    ],
)
def test_training_and_inference_define_the_same_model(key: str) -> None:
    assert config("train.json")[key] == config("inference.json")[key]


def test_the_network_that_is_trained_is_the_one_that_draws() -> None:
    assert config("train.json")["network_def"] == "@denoiser_def" == config("inference.json")["network_def"]["denoiser"]


def test_the_metadata_names_every_channel_and_the_classes_as_the_configs_do() -> None:
    image = config("metadata.json")["network_data_format"]["inputs"]["image"]
    names = [image["channel_def"][str(channel)] for channel in range(image["num_channels"])]
    assert names == ["outside the beam", *config("train.json")["classes"], "inside the beam, unlabelled"]


def test_the_classes_are_those_of_a_prepared_data_set() -> None:
    assert config("train.json")["classes"] == [*CLASSES.values()]


def test_the_shipped_card_is_that_of_the_weights_and_the_configuration() -> None:
    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.json")
    card = ModelCard.read(BUNDLE / "models" / "model.json")
    check_weights(BUNDLE / "models" / "model.pt", card, parser.get_parsed_content("card"))
    assert list(card.image_size) == config("inference.json")["image_size"]


@pytest.mark.parametrize("name", ["train.json", "inference.json"])
def test_both_configs_make_the_card_of_the_shipped_weights(name: str, phantoms: Path, tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config(CONFIGS / name)
    parser["dataset_dir"], parser["output_dir"] = str(phantoms), str(tmp_path)
    assert ModelCard.read(BUNDLE / "models" / "model.json").differences(parser.get_parsed_content("card")) == []


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("attenuation_db", 30.0, "B-map: the checkpoint has 44 dB at full depth"),
        ("scheduler::schedule", "linear_beta", "schedule: the checkpoint has cosine"),
        ("classes", ["myocardium", "left-ventricle cavity", "left atrium"], "classes: the checkpoint has [left-ven"),
    ],
)
def test_shipped_weights_are_refused_by_another_configuration(key: str, value: object, told: str) -> None:
    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.json")
    parser["bundle_root"], parser[key] = str(BUNDLE), value
    with pytest.raises(RuntimeError) as refusal:  # MONAI's, around ours
        parser.get_parsed_content("network")
    assert told in str(refusal.value.__cause__)


def test_a_data_set_of_other_classes_is_not_trained_on(tmp_path: Path) -> None:
    listing = {"generator": GENERATOR, "source": "segthy", "labels": {"0": "background", "1": "thyroid"}}
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    parser = ConfigParser()
    parser.read_config(CONFIGS / "train.json")
    parser["dataset_dir"] = str(tmp_path)
    with pytest.raises(ValueError, match=r"has the classes \[1 thyroid\], the model \[1 left-ventricle cavity, 2"):
        parser.get_parsed_content("items")(split="training")


def test_shipped_weights_are_small_half_precision_and_safe_to_load() -> None:
    path = BUNDLE / "models" / "model.pt"
    weights = torch.load(path, weights_only=True)
    assert path.stat().st_size <= 12e6
    assert {value.dtype for value in weights.values()} == {torch.float16}


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda bundle: bundle.name)
def augmented(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
    """Training items as prepared and as augmented, several times each."""
    bundle = request.param
    parser = ConfigParser()
    parser.read_config(bundle.folder / "configs" / "train.json")
    root = write_phantoms(bundle, tmp_path_factory.mktemp(bundle.name))
    parser["dataset_dir"], parser["image_size"] = str(root), [32, 48]
    prepare, augment = (parser.get_parsed_content(key) for key in ("preprocessing", "train::preprocessing"))
    augment.set_random_state(seed=0)
    return [
        (prepare(item), augment(item))
        for item in parser.get_parsed_content("items")(split="training")
        for _ in range(5)
    ]


def test_augmentation_moves_some_items(augmented: list[tuple[dict[str, torch.Tensor], ...]]) -> None:
    moved = [not torch.equal(before["sector"], after["sector"]) for before, after in augmented]
    assert 0 < sum(moved) < len(moved)


def test_augmented_images_are_black_outside_the_sector(augmented: list[tuple[dict[str, torch.Tensor], ...]]) -> None:
    for _, after in augmented:
        # pixels along the edge are mixed by the image's bilinear interpolation; beyond them nothing is
        far = torch.nn.functional.max_pool2d(after["sector"].as_tensor(), 5, 1, 2) == 0
        assert bool((after["image"].as_tensor()[far] == -1).all())


def test_augmentation_invents_no_depth(augmented: list[tuple[dict[str, torch.Tensor], ...]]) -> None:
    for before, after in augmented:
        assert bool(torch.isin(after["depth"].as_tensor(), before["depth"].as_tensor()).all())


def test_augmented_depth_is_zero_outside_the_sector(augmented: list[tuple[dict[str, torch.Tensor], ...]]) -> None:
    assert all(bool((after["depth"][after["sector"] == 0] == 0).all()) for _, after in augmented)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle's demo items, drawn in three steps."""
    folder = tmp_path_factory.mktemp("drawn")
    arguments = ["--config_file", "configs/inference.json", "--output_dir", str(folder), "--num_inference_steps", "3"]
    subprocess.run(command(*arguments), cwd=BUNDLE, check=True, timeout=300, stdout=subprocess.DEVNULL)
    return folder


def names() -> list[str]:
    return [item["name"] for item in json.loads((BUNDLE / "demo" / "dataset.json").read_text())["test"]]


def test_inference_writes_png_nifti_and_overview(drawn: Path) -> None:
    expected = {f"{name}{suffix}" for name in names() for suffix in (".png", ".nii.gz")} | {"overview.png"}
    assert {path.name for path in drawn.iterdir()} == expected


def test_drawn_images_are_black_outside_the_beam(drawn: Path) -> None:
    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.json")
    parser["bundle_root"] = str(BUNDLE)
    for item in parser.get_parsed_content("dataset"):
        pixels = np.asarray(Image.open(drawn / f"{item['name']}.png"))
        assert pixels[item["sector"][0].numpy() == 0].max() == 0


def test_the_nifti_holds_the_pixels_of_the_png(drawn: Path) -> None:
    pixels = np.asarray(Image.open(drawn / f"{names()[0]}.png"))
    volume = np.asarray(nibabel.load(drawn / f"{names()[0]}.nii.gz").dataobj)
    assert np.array_equal(volume[..., 0].T, pixels)


def test_a_label_the_model_does_not_know_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    Image.fromarray(np.full((16, 24), 7, np.uint8)).save(data / "odd.png")
    (data / "dataset.json").write_text(json.dumps({"test": [{"label": "odd.png", "beam": {"kind": "linear"}}]}))
    arguments = [
        "--config_file",
        "configs/inference.json",
        "--dataset_dir",
        str(data),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    run = subprocess.run(command(*arguments), cwd=BUNDLE, capture_output=True, text=True, timeout=300)
    assert run.returncode != 0
    assert "labels must be whole numbers 0..3, got 0, 7" in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two items with a frame to change and a mask of what stays."""
    root = tmp_path_factory.mktemp("editable")
    beam, items = heart_beam((128, 128)), []
    keep = np.zeros((128, 128), np.uint8)
    keep[:, 64:] = 255
    Image.fromarray(keep).save(root / "keep.png")
    for index in range(2):
        generator = torch.Generator().manual_seed(index)
        labels = heart_labels((128, 128), beam=beam, generator=generator)
        frame = speckle_image(labels, beam, generator=generator)
        Image.fromarray((frame * 255).round().to(torch.uint8).numpy()).save(root / f"image_{index}.png")
        Image.fromarray(labels.to(torch.uint8).numpy()).save(root / f"label_{index}.png")
        files = {"image": f"image_{index}.png", "label": f"label_{index}.png", "keep": "keep.png"}
        items.append({"name": f"heart_{index}", "beam": beam.to_dict(), **files})
    (root / "dataset.json").write_text(json.dumps({"test": items}))
    return root


def edited(data: Path, folder: Path, *options: str) -> np.ndarray:
    fixed = ("--dataset_dir", str(data), "--output_dir", str(folder), "--num_inference_steps", "4")
    run = command("--config_file", "configs/inference.json", *fixed, *options)
    subprocess.run(run, cwd=BUNDLE, check=True, timeout=300, stdout=subprocess.DEVNULL)
    return np.asarray(Image.open(folder / "heart_1.png"))


def test_an_edit_of_no_strength_returns_the_frames(editable: Path, tmp_path: Path) -> None:
    given = np.asarray(Image.open(editable / "image_1.png"))
    assert np.array_equal(edited(editable, tmp_path, "--strength", "0.0"), given)


def test_the_kept_part_stays_and_the_rest_changes(editable: Path, tmp_path: Path) -> None:
    given = np.asarray(Image.open(editable / "image_1.png"))
    drawn = edited(editable, tmp_path, "--keep", "True", "--edit_repeats", "2")
    assert np.array_equal(drawn[:, 64:], given[:, 64:])
    assert np.abs(drawn[:, :64].astype(int) - given[:, :64]).mean() > 2


def test_images_of_the_list_are_not_looked_at_without_an_edit(editable: Path, tmp_path: Path) -> None:
    drawn = edited(editable, tmp_path)
    assert np.abs(drawn.astype(int) - np.asarray(Image.open(editable / "image_1.png"))).mean() > 2


def test_an_edit_without_images_is_refused(tmp_path: Path) -> None:
    run = subprocess.run(
        command("--config_file", "configs/inference.json", "--output_dir", str(tmp_path), "--strength", "0.5"),
        cwd=BUNDLE,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode != 0
    assert "heart_1 in" in run.stderr
    assert "has no image" in run.stderr
