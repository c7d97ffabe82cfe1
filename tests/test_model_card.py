"""A checkpoint tells what it is: other weights, another noise process and other classes are refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_bmaps import (
    BMap,
    BMapDDIMScheduler,
    BMapDDPMScheduler,
    BMapDPMSolverScheduler,
    LinearBeam,
    SectorBeam,
    files,
)
from monai_bmaps.model_card import BeamCard, ModelCard, NetworkCard, NoiseCard, card_path, sha256_of
from monai_bmaps.networks import PatchUNet
from monai_bmaps.schedulers.base import BMapScheduler
from monai_bmaps.training import load_weights, save_weights

CLASSES = ("lumen", "wall")
BEAM = SectorBeam(apex=(0, 2.5), radii=(0, 4), half_angle_deg=40)


def scheduler(kind: type[BMapScheduler] = BMapDPMSolverScheduler, **changes: Any) -> BMapScheduler:
    settings = {"num_train_timesteps": 100, "b_map": BMap.from_attenuation(db=44.0), **changes}
    return kind(**settings)


def card(**changes: Any) -> ModelCard:
    settings = {
        "network": nn.Linear(3, 2),
        "scheduler": scheduler(),
        "classes": CLASSES,
        "beam_kind": "sector",
        "image_size": [5, 7],
        **changes,
    }
    return ModelCard.of(**settings)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_weights(nn.Linear(3, 2), tmp_path / "model.pt", card=card())


# the file


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = card(spacing=[0.5, 0.25], beam=BEAM, training={"iterations": 7, "data": ["a", "b"]})
    whole.for_weights(__file__).write(tmp_path / "model.json")
    assert ModelCard.read(tmp_path / "model.json").to_json() == whole.for_weights(__file__).to_json()
    assert ModelCard.read(tmp_path / "model.json").differences(whole) == []


def test_a_card_tells_the_noise_process_with_all_its_numbers(saved: Path) -> None:
    content = json.loads(card_path(saved).read_text())
    assert content["noise"] == {
        "schedule": "cosine",
        "schedule_arguments": {"s": 0.008},
        "num_train_timesteps": 100,
        "b_map": "BMap.from_attenuation(db=44)",
        "total_attenuation_db": 44.0,
        "prediction_type": "v_prediction",
        "variance_type": None,
    }


def test_a_card_tells_classes_sizes_beam_and_versions(tmp_path: Path) -> None:
    content = json.loads(card(spacing=[0.5, 0.25], beam=BEAM).to_json())
    assert content["classes"] == [*CLASSES]
    assert (content["image_size"], content["spacing_mm"]) == ([5, 7], [0.5, 0.25])
    assert content["beam"] == {"kind": "sector", "reference": BEAM.to_dict()}
    assert {*content["versions"]} == {"monai_bmaps", "monai", "torch", "numpy"}
    assert torch.__version__.startswith(content["versions"]["torch"].split("+")[0])


def test_a_card_has_the_hash_of_the_weights_beside_it(saved: Path) -> None:
    assert json.loads(card_path(saved).read_text())["weights_sha256"] == sha256_of(saved)


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "abc") == known


def test_entries_of_later_versions_are_passed_over(saved: Path) -> None:
    content = json.loads(card_path(saved).read_text())
    content["later"], content["noise"]["later"] = 1, 2
    card_path(saved).write_text(json.dumps(content))
    load_weights(nn.Linear(3, 2), saved, card())


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.pop(key)


@pytest.mark.parametrize(
    "spoil",
    [
        without("classes"),
        without("noise"),
        lambda content: content["noise"].pop("schedule"),
        lambda content: content["noise"].update(total_attenuation_db="44 dB"),
        lambda content: content["noise"].update(schedule_arguments=[1]),
        lambda content: content.update(classes="lumen"),
        lambda content: content.update(classes=["lumen", "lumen"]),
        lambda content: content.update(image_size=[5]),
        lambda content: content.update(spacing_mm=["a", "b"]),
        lambda content: content["beam"].update(kind="round"),
        lambda content: content["beam"].update(reference=LinearBeam().to_dict()),
        lambda content: content.update(network=None),
    ],
)
def test_a_card_that_is_none_is_refused(saved: Path, spoil: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(card_path(saved).read_text())
    spoil(content)
    card_path(saved).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"model\.json is no model card \(.*\); fetch it again with its weights"):
        load_weights(nn.Linear(3, 2), saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\ud800"], ids=["empty", "half", "list", "null", "no UTF-8"])
def test_a_file_that_is_no_json_object_is_refused(saved: Path, text: str) -> None:
    card_path(saved).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="is no model card"):
        load_weights(nn.Linear(3, 2), saved)


# the hash


def test_weights_with_their_card_load(saved: Path) -> None:
    network = nn.Linear(3, 2)
    weight = torch.load(saved, weights_only=True)["weight"]
    assert torch.equal(load_weights(network, saved, card()).weight.half(), weight)


@pytest.mark.parametrize("configured", [None, card()], ids=["nothing configured", "configured"])
@pytest.mark.parametrize("change", ["exchanged", "damaged"])
def test_weights_that_are_not_those_of_the_card_are_refused(
    saved: Path, change: str, configured: ModelCard | None
) -> None:
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    if change == "exchanged":
        torch.save(nn.Linear(3, 2).state_dict(), saved)
    else:
        saved.write_bytes(content)
    message = r"model\.pt is not the file that model\.json beside it describes .* fetch or save both again"
    with pytest.raises(ValueError, match=message):
        load_weights(nn.Linear(3, 2), saved, configured)


def test_weights_without_a_card_load_and_one_warning_says_that_nothing_was_checked(tmp_path: Path) -> None:
    path = save_weights(nn.Linear(3, 2), tmp_path / "model.pt")
    with pytest.warns(UserWarning, match=r"model\.pt has no model\.json beside it: .* could not be checked") as told:
        load_weights(nn.Linear(3, 2), path, card())
    assert len(told) == 1


def test_weights_saved_without_a_card_take_the_old_card_away(saved: Path) -> None:
    save_weights(nn.Linear(3, 2), saved)
    load_weights(nn.Linear(3, 2), saved)
    assert not card_path(saved).exists()


def test_saving_again_replaces_both(saved: Path) -> None:
    network = nn.Linear(3, 2)
    save_weights(network, saved, torch.float32, card=card())
    assert torch.equal(load_weights(nn.Linear(3, 2), saved, card()).weight, network.weight)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model.json", "model.pt"]


def test_a_save_cut_off_between_weights_and_card_is_noticed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = files.os.replace

    def once(source: Path, target: Path) -> None:
        move(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", once)
        with pytest.raises(KeyboardInterrupt):
            save_weights(nn.Linear(3, 2), saved, card=card())
    with pytest.raises(ValueError, match="saving was cut off; fetch or save both again"):
        load_weights(nn.Linear(3, 2), saved, card())


def test_a_disk_that_fills_at_the_card_leaves_the_old_pair(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="disk full"):
            save_weights(nn.Linear(3, 2), saved, card=card())
    assert {path.name: path.read_bytes() for path in saved.parent.iterdir()} == before


# the configuration


OTHERS = {
    "classes": (
        {"classes": ["wall", "lumen"]},
        r"classes: the checkpoint has \[lumen, wall\], the configuration \[wall",
    ),
    "fewer classes": ({"classes": ["lumen"]}, r"classes: .*, the configuration \[lumen\]"),
    "schedule": (
        {"scheduler": scheduler(schedule="linear_beta")},
        r"schedule: the checkpoint has cosine\(s=0.008\), the configuration linear_beta\(beta_end=0.02, beta_start",
    ),
    "schedule's arguments": ({"scheduler": scheduler(s=0.01)}, r"schedule: .*, the configuration cosine\(s=0.01\)"),
    "T": ({"scheduler": scheduler(num_train_timesteps=50)}, "num_train_timesteps: the checkpoint has 100, .* 50"),
    "prediction": ({"scheduler": scheduler(prediction_type="epsilon")}, "prediction_type: .* v_prediction, .* epsilon"),
    "attenuation": (
        {"scheduler": scheduler(b_map=BMap.from_attenuation(db=30.0))},
        "B-map: the checkpoint has 44 dB at full depth, .*, the configuration 30 dB at full depth",
    ),
    "no B-map": ({"scheduler": scheduler(b_map=None)}, "B-map: .* 44 dB .*, the configuration 0 dB .* no B-map"),
    "kind of beam": ({"beam_kind": "linear"}, "beam: the checkpoint has sector, the configuration linear"),
    "network": (
        {"network": nn.Linear(3, 1)},
        r"network: .* Linear with 8 parameters \(\w{8}\), .* with 4 ",
    ),
}


@pytest.mark.parametrize(("change", "told"), OTHERS.values(), ids=OTHERS)
def test_another_configuration_is_refused_and_the_difference_told(
    saved: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told) as refusal:
        load_weights(nn.Linear(3, 2), saved, card(**change))
    assert len(str(refusal.value).splitlines()) == 3
    assert "Give the overrides that it was trained with, or run the bundle" in str(refusal.value)


def test_every_difference_is_told() -> None:
    other = card(classes=["thyroid"], scheduler=scheduler(num_train_timesteps=50, prediction_type="sample"))
    names = [line.partition(":")[0] for line in card().differences(other)]
    assert names == ["classes", "num_train_timesteps", "prediction_type"]


def test_maps_of_one_attenuation_that_grow_otherwise_differ() -> None:
    paper = BMap(minimum=0.97)
    same = BMap.from_attenuation(db=paper.total_attenuation_db(100))
    ours, theirs = (card(scheduler=scheduler(b_map=b_map)) for b_map in (paper, same))
    assert [line.partition(":")[0] for line in ours.differences(theirs)] == ["B-map"]


@pytest.mark.parametrize(
    "same",
    [
        scheduler(step_grid="uniform", algorithm="sde", solver_order=1, clip_sample=False),
        scheduler(BMapDDIMScheduler),
        scheduler(BMapDDPMScheduler, variance_type="fixed_large"),
        scheduler(s=8e-3),
    ],
    ids=["settings", "sampler", "fixed variance", "a default spelt out"],
)
def test_what_is_free_when_sampling_is_not_compared(same: BMapScheduler) -> None:
    assert card().differences(card(scheduler=same, image_size=[8, 8], spacing=[1, 1], training={"a": 1})) == []


@pytest.mark.parametrize("none", [None, BMap(minimum=1.0), BMap.from_attenuation(db=0.0)])
def test_all_ways_to_have_no_b_map_are_one(none: BMap | None) -> None:
    plain = scheduler(b_map=BMap.from_attenuation(nats=0.0))
    assert card(scheduler=plain).differences(card(scheduler=scheduler(b_map=none))) == []


def test_a_presumed_number_of_steps_is_no_part_of_the_map() -> None:
    presets = [BMap.preset("paper"), BMap(minimum=0.97, ramp="sqrt")]
    first, second = (card(scheduler=scheduler(num_train_timesteps=2000, b_map=b_map)) for b_map in presets)
    assert first.differences(second) == []


def test_a_learned_variance_is_compared_where_it_is_read() -> None:
    learned = card(scheduler=scheduler(BMapDDPMScheduler, variance_type="learned_range"))
    fixed = card(scheduler=scheduler(BMapDDPMScheduler))
    assert learned.differences(fixed) == []
    assert fixed.differences(learned) == [
        "variance_type: the checkpoint has fixed_small, the configuration learned_range"
    ]


# the network


class Renamed(nn.Linear):
    """Another class of the same state dict."""


def test_a_wrapper_that_changes_no_name_changes_no_digest() -> None:
    assert card().differences(card(network=Renamed(3, 2))) == []


def test_buffers_and_names_count_for_the_digest() -> None:
    with_buffer = Renamed(3, 2)
    with_buffer.register_buffer("seen", torch.zeros(1))
    named = nn.Sequential(nn.Linear(3, 2))
    assert len({NetworkCard.of(net).digest for net in (nn.Linear(3, 2), with_buffer, named)}) == 3


def test_a_wrapped_network_is_named_with_its_wrapper() -> None:
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    found = NetworkCard.of(PatchUNet(inner))
    assert (found.classes, found.parameters) == (("PatchUNet", "Sequential"), 2 * (4 * 4 + 4))


def test_the_devices_and_precision_of_a_network_are_no_part_of_it() -> None:
    assert NetworkCard.of(nn.Linear(3, 2).half().to("meta")) == NetworkCard.of(nn.Linear(3, 2))


# what cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["a", "a"]}, "classes must be different names"),
        ({"classes": [""]}, "classes must be different names"),
        ({"image_size": [0, 7]}, r"image_size must be two positive numbers, \(row, column\), got \(0, 7\)"),
        ({"spacing": [-1, 1]}, "spacing_mm must be two positive numbers"),
        ({"beam_kind": "round"}, "beam kind must be one of auto, sector, linear, got 'round'"),
        ({"beam": LinearBeam()}, "the reference beam is linear, but the kind sector; make them agree"),
    ],
)
def test_impossible_cards_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        card(**change)


def test_a_beam_of_either_kind_may_stand_for_both() -> None:
    assert BeamCard("auto", BEAM.to_dict()).kind == "auto"


def test_arguments_that_were_given_stand_beside_the_defaults() -> None:
    given = NoiseCard.of(BMapDDPMScheduler(100, schedule="sigmoid_beta", sig_range=4))
    assert given.schedule_arguments == {"beta_start": 1e-4, "beta_end": 0.02, "sig_range": 4}
