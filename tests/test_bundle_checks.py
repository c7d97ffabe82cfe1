"""What MONAI's model zoo asks of a bundle, for every folder in bundles/, as its own tools ask it, offline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import traced_on_purpose
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    create_workflow,
    load,
    verify_metadata,
    verify_net_in_out,
)
from monai.data import MetaTensor

BUNDLES = sorted(path.parents[1] for path in Path(__file__).parents[1].glob("bundles/*/configs/metadata.json"))
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
each_kind = pytest.mark.parametrize("kind", ["train", "inference"])
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config

TEXT, VERSION = {"type": "string", "minLength": 1}, {"type": "string", "pattern": r"^\d+\.\d+(\.\d+)?$"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
FORMAT = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data"],
    "properties": {
        "type": TEXT,
        "format": TEXT,
        "modality": TEXT,
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "minItems": 2, "items": {"type": ["integer", "string"]}},
        "dtype": {"enum": ["float32", "float16"]},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "propertyNames": {"pattern": r"^\d+$"}, "additionalProperties": TEXT},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"),
        *("required_packages_version", "task", "description", "authors", "copyright", "network_data_format"),
        *("name", "data_source", "data_type", "image_classes", "eval_metrics", "intended_use", "references"),
    ],
    "properties": {
        "schema": {"type": "string", "pattern": r"^https://.+/meta_schema_\w+\.json$"},
        "version": VERSION,
        "changelog": {**TEXTS, "minProperties": 1, "propertyNames": {"pattern": r"^\d+\.\d+\.\d+$"}},
        **{f"{name}_version": VERSION for name in ("monai", "pytorch", "numpy")},
        "required_packages_version": {**TEXTS, "required": ["monai-bmaps"]},
        "supported_apps": TEXTS,
        **dict.fromkeys(("name", "task", "description", "authors", "copyright", "intended_use"), TEXT),
        "eval_metrics": {"type": "object", "additionalProperties": {"type": "number"}},
        "references": {"type": "array", "items": TEXT},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"type": "object", "required": ["image"], "additionalProperties": FORMAT},
                "outputs": {"type": "object", "required": ["pred"], "additionalProperties": FORMAT},
            },
        },
    },
}
"""What the zoo's schema demands of a metadata file, in our words, and that this package is named."""


def metadata(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def configs(bundle: Path, *names: str) -> list[str]:
    return [str(bundle / "configs" / f"{name}.json") for name in names]


def verify(path: str | Path, folder: Path) -> None:
    """MONAI's check; where it finds a schema it does not fetch its own."""
    schema = folder / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    digest = hashlib.sha256(schema.read_bytes()).hexdigest()
    verify_metadata(meta_file=str(path), filepath=str(schema), hash_val=digest, hash_type="sha256")


# files and metadata


def test_there_are_bundles_to_check() -> None:
    assert "cardiac_bmap_sdm" in [bundle.name for bundle in BUNDLES]


@each_bundle
def test_a_bundle_has_the_files_the_zoo_asks_for(bundle: Path) -> None:
    needed = ["LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf"]
    needed += [f"configs/{name}.json" for name in ("metadata", "train", "inference")]
    assert [name for name in needed if not (bundle / name).is_file()] == []
    assert (bundle / "models" / "model.pt").is_file() or (bundle / "large_files.yml").is_file()


@each_bundle
def test_the_version_has_a_changelog_entry(bundle: Path) -> None:
    assert metadata(bundle)["version"] in metadata(bundle)["changelog"]


@each_bundle
def test_the_metadata_and_the_page_tell_the_same_distances(bundle: Path) -> None:
    told = metadata(bundle)["eval_metrics"]
    page = (bundle / "docs" / "README.md").read_text()
    bold = [line for line in page.splitlines() if line.startswith("| **")]
    assert [f"**{told[f'frechet_distance_max_pool_{k}']}**" in bold[0] for k in (1, 2)] == [True, True]


@each_bundle
def test_the_training_is_as_long_as_that_of_the_shipped_weights(bundle: Path) -> None:
    training = json.loads((bundle / "configs" / "train.json").read_text())
    shipped = json.loads((bundle / "models" / "model.json").read_text())["training"]["iterations"]
    assert training["epoch_length"] * training["max_epochs"] == shipped


@each_bundle
def test_the_metadata_passes_monais_check(bundle: Path, tmp_path: Path) -> None:
    verify(*configs(bundle, "metadata"), tmp_path)


@pytest.mark.parametrize("key", SCHEMA["required"])
def test_metadata_that_lack_a_key_do_not_pass(key: str, tmp_path: Path) -> None:
    lacking = metadata(BUNDLES[0])
    del lacking[key]
    (tmp_path / "metadata.json").write_text(json.dumps(lacking))
    with pytest.raises(ValueError, match=key):
        verify(tmp_path / "metadata.json", tmp_path)


@each_bundle
def test_each_input_channel_has_a_name(bundle: Path) -> None:
    image = metadata(bundle)["network_data_format"]["inputs"]["image"]
    assert list(image["channel_def"]) == [str(channel) for channel in range(image["num_channels"])]


# workflows

ITEMS = "$[{'image': torch.zeros(1, 16, 16), 'seg': torch.zeros(2, 16, 16), 'depth': torch.zeros(1, 16, 16)}]"
WITHOUT_DATA = {"train::dataset": ITEMS, "validate::dataset": ITEMS}
WITHOUT_TEST_DATA = {**WITHOUT_DATA, "dataset": ITEMS, "real": ITEMS, "floor": ITEMS}


def workflows() -> Iterator[Any]:
    """Each bundle's workflows: config files, the kind MONAI takes them for, and what stands for absent data."""
    for bundle in BUNDLES:
        names = {"train": ["train"], "inference": ["inference"], "evaluate": ["train", "evaluate"]}
        for kind, files in names.items():
            if all((bundle / "configs" / f"{name}.json").is_file() for name in files):
                given = {"train": WITHOUT_DATA, "inference": {}, "evaluate": WITHOUT_TEST_DATA}[kind]
                taken_for = "train" if kind == "train" else "inference"
                yield pytest.param(bundle, files, taken_for, given, id=f"{bundle.name}-{kind}")


@pytest.mark.parametrize(("bundle", "files", "kind", "given"), [*workflows()])
def test_a_workflow_has_every_property_monai_asks_for(
    bundle: Path, files: list[str], kind: str, given: dict[str, str]
) -> None:
    workflow = create_workflow(
        config_file=configs(bundle, *files), workflow_type=kind, bundle_root=str(bundle), **given
    )
    assert isinstance(workflow, ConfigWorkflow)
    assert workflow.check_properties() == []


@each_kind
@each_bundle
def test_monai_loads_a_bundle_with_its_weights(bundle: Path, kind: str) -> None:
    network = load(name=bundle.name, bundle_dir=str(bundle.parent), workflow_type=kind, source="monaihosting")
    shipped = torch.load(bundle / "models" / "model.pt", weights_only=True)
    loaded = {name: value.half() for name, value in network.state_dict().items()}
    assert list(loaded) == list(shipped)
    assert all(torch.equal(loaded[name], shipped[name]) for name in shipped)


@each_bundle
def test_deployment_finds_what_it_calls(bundle: Path) -> None:
    """MONAI Deploy and MONAI Label: parts by these names, ``inferer(inputs, network)``, then postprocessing."""
    parser = ConfigParser()
    parser.read_config(configs(bundle, "inference"))
    parser.update({"bundle_root": str(bundle), "num_inference_steps": 2})
    parts = {name: parser.get_parsed_content(name) for name in ("preprocessing", "postprocessing", "inferer")}
    network = parser.get_parsed_content("network_def").eval()
    drawn = parts["inferer"](condition(bundle, 1), network)
    finished = parts["postprocessing"]({"pred": MetaTensor(drawn[0])})["pred"]
    assert callable(parts["preprocessing"])
    assert finished.dtype == torch.uint8
    assert torch.equal(finished.as_tensor(), ((drawn[0] + 1) * 127.5).round().to(torch.uint8))


# exports


def condition(bundle: Path, batch: int, shape: tuple[int, int] = (8, 8)) -> torch.Tensor:
    channels = metadata(bundle)["network_data_format"]["inputs"]["image"]["num_channels"]
    classes = torch.randint(channels, (batch, *shape), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.one_hot(classes, channels).movedim(-1, 1).float()


def seeded(network: Any, seg: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(3)
    with torch.no_grad():
        return network(seg)


@each_bundle
def test_shapes_and_types_are_those_of_the_metadata(bundle: Path) -> None:
    verify_net_in_out("network_def", *configs(bundle, "metadata", "inference"), device="cpu")


@traced_on_purpose
@each_bundle
def test_a_traced_bundle_draws_what_the_bundle_draws(bundle: Path, tmp_path: Path) -> None:
    fewer = {"num_inference_steps": 3, "amp_dtype": None}
    path, weights = tmp_path / bundle.name / "model.ts", bundle / "models" / "model.pt"
    path.parent.mkdir()
    ckpt_export(
        "network_def",
        str(path),
        str(weights),
        *configs(bundle, "metadata", "inference"),
        use_trace=True,
        input_shape=list(condition(bundle, 1).shape),
        converter_kwargs={"check_trace": False},  # which compares two runs of different noise
        **fewer,
    )
    traced, written, _ = load(
        bundle.name, bundle_dir=str(tmp_path), model_file="model.ts", load_ts_module=True, device="cpu"
    )
    parser = ConfigParser()
    parser.read_config(configs(bundle, "inference"))
    parser.update(fewer)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    assert written["version"] == metadata(bundle)["version"]
    for seg in (condition(bundle, 1), condition(bundle, 3, (16, 24))):
        expected = seeded(network, seg)
        assert float(expected.std()) > 0.1
        assert torch.allclose(seeded(traced, seg), expected, atol=1e-4)
