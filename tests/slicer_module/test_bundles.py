"""Bundles read as plain JSON: the shipped ones, and what is no usable bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from SlicerBMapDiffusionLib.models.bundles import check_weights, find_models, read_model

ROOT = Path(__file__).parents[2]
BUNDLES = ROOT / "bundles"
NAMES = ("cardiac_bmap_sdm", "liver_bmap_gd", "thyroid_bmap_sdm")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The thyroid bundle without its weights' bytes."""
    folder = tmp_path / "thyröid copy"
    shutil.copytree(BUNDLES / "thyroid_bmap_sdm", folder, ignore=shutil.ignore_patterns("*.pt", "demo"))
    return folder


def test_the_shipped_bundles_are_found_in_their_folder() -> None:
    assert [model.name for model in find_models([BUNDLES])] == [*NAMES]


def test_a_folder_named_twice_is_listed_once() -> None:
    folders = [BUNDLES / NAMES[0], BUNDLES, BUNDLES / "not there"]
    assert [model.name for model in find_models(folders)] == [*NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_fits_its_own_weights_and_says_what_they_may_be_used_for(name: str) -> None:
    model = read_model(BUNDLES / name)
    check_weights(model)
    assert "research" in model.licence.lower()
    assert model.licence_file is not None


@pytest.mark.parametrize("name", NAMES)
def test_the_typical_beam_ends_at_the_typical_depth_inside_the_frame(name: str) -> None:
    model = read_model(BUNDLES / name)
    near, far = model.beam["radii"] if model.beam_kind == "sector" else (model.beam["top"], model.beam["bottom"])
    assert (far - near) * model.spacing_mm[0] == pytest.approx(model.depth_mm, rel=0.01)
    top = model.beam["apex"][0] if model.beam_kind == "sector" else 0
    assert 0.5 * model.image_size[0] < top + far < model.image_size[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_s_settings_are_those_of_its_configuration(name: str) -> None:
    settings = json.loads((BUNDLES / name / "configs" / "inference.json").read_text())
    model = read_model(BUNDLES / name)
    assert [*model.classes] == settings["classes"]
    assert [*model.image_size] == settings["image_size"]
    assert (model.steps, model.attenuation_db) == (settings["num_inference_steps"], settings["attenuation_db"])
    assert model.labels == (name != "liver_bmap_gd")


def test_the_same_job_configuration_serves_all_bundles() -> None:
    assert len({(BUNDLES / name / "configs" / "job.json").read_text() for name in NAMES}) == 1


def test_a_folder_without_configs_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no bundle: it has no configs/inference.json. Choose the folder that"):
        read_model(tmp_path)


def test_a_bundle_without_a_job_configuration_is_of_another_version(copied: Path) -> None:
    (copied / "configs" / "job.json").unlink()
    with pytest.raises(ValueError, match=r"cannot run: it has no configs/job.json. Take the bundle's current version"):
        read_model(copied)


@pytest.mark.parametrize("text", ["", "[1]", "{", "\udcff"])
def test_damaged_metadata_are_refused(copied: Path, text: str) -> None:
    (copied / "configs" / "metadata.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=r"metadata.json (cannot be read|holds no settings).*Fetch the bundle again"):
        read_model(copied)


@pytest.mark.parametrize(
    ("key", "value"), [("training_geometry", None), ("training_geometry", {"spacing_mm": [1]}), ("name", ...)]
)
def test_metadata_that_lack_something_are_refused(copied: Path, key: str, value: object) -> None:
    path = copied / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content | ({} if value is ... else {key: value})))
    with pytest.raises(ValueError, match="lack something or hold something else than expected"):
        read_model(copied)


def test_a_bundle_that_cannot_be_used_is_told_of_and_left_out(copied: Path) -> None:
    (copied / "models" / "model.json").unlink()
    told: dict[str, str] = {}
    models = find_models([copied.parent], refused=lambda folder, reason: told.update({folder.name: reason}))
    assert models == []
    assert list(told) == [copied.name]
    assert "model.json is missing. Fetch the bundle again" in told[copied.name]


def test_missing_weights_are_to_be_downloaded(copied: Path) -> None:
    with pytest.raises(ValueError, match=r"model.pt are missing. Install the extension again"):
        check_weights(read_model(copied))


def test_weights_with_one_byte_changed_are_refused(copied: Path) -> None:
    weights = bytearray((BUNDLES / "thyroid_bmap_sdm" / "models" / "model.pt").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copied / "models" / "model.pt").write_bytes(weights)
    with pytest.raises(ValueError, match=r"damaged or were exchanged .* Install the extension again, or the model"):
        check_weights(read_model(copied))
