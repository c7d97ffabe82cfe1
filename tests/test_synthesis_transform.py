"""One item's image replaced, mixed or restyled: what is drawn, what it says of itself, and what is refused."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.transforms as mt
import numpy as np
import pytest
import torch
from bundle_data import ROOT
from conftest import small_unet
from monai.data import MetaTensor
from monai.utils import set_determinism
from synthesis_items import CLASSES, FAN, GRID, SHAPE, item, model, sampler
from torch import nn

from monai_bmaps import LabelToCondition, SynthesisNetwork
from monai_bmaps.transforms import (
    RandBMapSynthesis,
    RandBMapSynthesisD,
    RandBMapSynthesisd,
    RandBMapSynthesisDict,
    SynthesisModel,
)
from monai_bmaps.transforms.synthesis.frames import FrameSynthesis

CARDIAC = ROOT / "bundles" / "cardiac_bmap_sdm"


def transform(seed: int = 0, drawing: SynthesisModel | None = None, **options: Any) -> RandBMapSynthesisd:
    made = RandBMapSynthesisd("image", drawing or model(), **{"prob": 1.0, **options})
    made.set_random_state(seed=seed)
    return made


def plain(frame: Any) -> torch.Tensor:
    return torch.as_tensor(frame).as_subclass(torch.Tensor)


# what is drawn


def test_on_the_models_grid_the_image_is_what_the_sampler_draws_from_the_recorded_seed() -> None:
    drawing, frame = model(), item(shape=GRID)
    made = transform(drawing=drawing)(frame)["image"]
    seg = LabelToCondition(2)(frame["label"], frame["sector"]).as_tensor()[None]
    depth = frame["depth"].as_tensor()[None]
    drawn = sampler(verbose=False)(seg, drawing.network, depth=depth, seeds=[made.meta["synthesis"]["seed"]])
    torch.testing.assert_close(plain(made), (drawn[0] + 1) / 2)
    inside = frame["sector"].as_tensor() > 0
    assert float(plain(made)[inside].std()) > 0.05


def test_another_label_map_gives_another_image_of_the_same_seed() -> None:
    frame = item()
    other = {**frame, "label": MetaTensor(2 - frame["label"].as_tensor())}
    difference = plain(transform()(frame)["image"]) - plain(transform()(other)["image"])
    assert float(difference.abs().mean()) > 0.01


def test_outside_the_field_of_view_it_is_black() -> None:
    frame = item(shape=(41, 57))
    made = plain(transform()(frame)["image"])
    assert made.shape == (1, 41, 57)
    assert bool((made[frame["sector"].as_tensor() == 0] == 0).all())


def test_the_given_item_stays_as_it_was() -> None:
    frame = item()
    before = copy.deepcopy(frame)
    transform()(frame)
    assert set(frame) == set(before)
    assert torch.equal(plain(frame["image"]), plain(before["image"]))
    assert "synthesis" not in frame["image"].meta


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_intensities_are_in_the_range_of_the_image(low: float, high: float) -> None:
    frame = item()
    scaled = {**frame, "image": frame["image"] * (high - low) + low}
    expected = plain(transform()(frame)["image"]) * (high - low) + low
    torch.testing.assert_close(plain(transform()(scaled)["image"]), expected, atol=1e-4, rtol=1e-4)  # float32 of 255


def test_a_given_range_counts_for_images_of_any_other() -> None:
    frame = item()
    unusual = {**frame, "image": frame["image"] * 40 - 60}
    made = plain(transform(intensity_range=(-60, -20))(unusual)["image"])
    torch.testing.assert_close(made, plain(transform()(frame)["image"]) * 40 - 60, atol=1e-4, rtol=0)  # float32 of 60


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16])
def test_the_type_of_numbers_is_the_images(dtype: torch.dtype) -> None:
    frame = item()
    scale = 255 if dtype == torch.uint8 else 1
    made = transform()({**frame, "image": (frame["image"] * scale).to(dtype)})["image"]
    assert made.dtype == dtype
    difference = plain(made).double() / scale - plain(transform()(frame)["image"]).double()
    assert float(difference.abs().max()) < 0.6 / 255  # rounded to a grey level, or to float16


@pytest.mark.parametrize("kind", [np.asarray, lambda x: x.as_tensor()])
def test_plain_tensors_and_arrays_come_out_as_they_came_in(kind: Callable[[Any], Any]) -> None:
    frame = item()
    expected = plain(transform()(frame)["image"])
    made = transform()({key: kind(value) for key, value in frame.items()})["image"]
    assert type(made) is type(kind(frame["image"]))
    assert torch.equal(torch.as_tensor(made), expected)


# replaced, mixed, restyled


@pytest.mark.parametrize("weight", [0.25, 0.0])
def test_a_mixture_has_the_stated_shares(weight: float) -> None:
    frame = item()
    synthetic, mixed = (plain(transform(mix=x)(frame)["image"]) for x in (1.0, weight))
    torch.testing.assert_close(mixed, weight * synthetic + (1 - weight) * plain(frame["image"]))


def test_strength_zero_gives_the_real_image_on_the_models_grid() -> None:
    frame = item(shape=GRID)
    torch.testing.assert_close(plain(transform(strength=0.0)(frame)["image"]), plain(frame["image"]))


def test_less_strength_stays_nearer_to_the_real_image() -> None:
    frame = item()
    made = [plain(transform(drawing=model(steps=4), strength=x)(frame)["image"]) for x in (0.25, 0.75, 1.0)]
    distances = [float((image - plain(frame["image"])).abs().mean()) for image in made]
    assert distances[0] < distances[1]
    assert not torch.equal(made[1], made[2])


def test_strength_and_weight_are_drawn_within_their_ranges() -> None:
    change = transform(drawing=model(steps=4), strength=(0.3, 0.6), mix=(0.2, 0.9))
    records = [change(item())["image"].meta["synthesis"] for _ in range(6)]
    for name, low, high in (("strength", 0.3, 0.6), ("mix", 0.2, 0.9)):
        values = [record[name] for record in records]
        assert low <= min(values) < max(values) <= high


def test_as_many_items_are_changed_as_prob_says() -> None:
    change = transform(drawing=model(steps=1), prob=0.5)
    changed = [change(item())["image"].meta["synthesis"]["synthetic"] for _ in range(40)]
    assert 10 <= sum(changed) <= 30  # 3 standard deviations of 40 draws


def test_a_real_image_stays_and_says_that_it_is_real() -> None:
    frame = item()
    made = transform(prob=0.0)(frame)["image"]
    assert torch.equal(plain(made), plain(frame["image"]))
    assert made.meta["synthesis"]["synthetic"] is False


# items without an image, and other fields of view


def test_an_item_without_an_image_is_always_given_one() -> None:
    frame = item()
    expected = plain(transform()(frame)["image"])
    del frame["image"]
    made = transform(prob=0.0, intensity_range=(0, 1), strength=0.2, mix=0.1)(frame)["image"]
    assert made.dtype == torch.float32
    assert torch.equal(plain(made), expected)
    assert torch.equal(made.affine, frame["label"].affine)


def test_what_was_done_to_the_label_map_in_space_can_be_undone_for_the_image_drawn_for_it() -> None:
    frame = item()
    del frame["image"]
    keys = ["image", "label", "sector", "depth"]
    flip = mt.Flipd(keys, spatial_axis=1, allow_missing_keys=True)
    chain = mt.Compose([flip, transform(intensity_range=(0, 1))])
    made = chain(frame)
    undone = chain.inverse(dict(made))
    assert torch.equal(plain(undone["image"]), plain(made["image"]).flip(-1))
    assert torch.equal(plain(undone["label"]), plain(frame["label"]))


@pytest.mark.parametrize("given", ["transform", "beam", "depth", "both"])
def test_the_field_of_view_comes_from_a_beam_or_from_the_item(given: str) -> None:
    frame = item()
    kept = {key: frame[key] for key in ("image", "label")}
    more = {
        "transform": {},
        "beam": {"beam": FAN},
        "depth": {"depth": frame["depth"]},
        "both": {key: frame[key] for key in ("depth", "sector")},
    }[given]
    made = plain(transform(beam=FAN if given == "transform" else None)({**kept, **more})["image"])
    difference = (made - plain(transform()(frame)["image"])).abs()
    if given == "depth":  # the face of the transducer, depth 0, is lost
        difference = difference[frame["depth"].as_tensor() > 0.3]
        assert float(difference.mean()) < 0.05
    else:
        assert float(difference.max()) == 0


def test_labels_are_mapped_by_number_and_by_name() -> None:
    frame = item()
    other = {**frame, "label": MetaTensor(frame["label"].as_tensor() * 85)}
    expected = plain(transform()(frame)["image"])
    for mapping in ({85: 1, 170: 2}, {85: "cavity", 170: "wall"}):
        assert torch.equal(plain(transform(label_mapping=mapping)(other)["image"]), expected)


def test_two_values_may_become_one_class_and_a_value_none() -> None:
    frame = item()
    merged = {**frame, "label": MetaTensor((frame["label"].as_tensor() == 1).float())}
    mapped = transform(label_mapping={1: 1, 2: 0})(frame)["image"]
    assert torch.equal(plain(mapped), plain(transform()(merged)["image"]))


def test_a_model_without_classes_needs_no_label_map() -> None:
    frame = item()
    del frame["label"]
    made = plain(transform(drawing=model(classes=()))(frame)["image"])
    assert float(made[frame["sector"].as_tensor() > 0].std()) > 0.05


def test_keys_can_be_renamed() -> None:
    frame = item()
    names = {"image": "us", "label": "seg", "depth": "d", "sector": "fov", "beam": "probe"}
    options = {f"{key}_key": names[key] for key in ("label", "depth", "sector", "beam")}
    change = RandBMapSynthesisd("us", model(), prob=1.0, **options).set_random_state(seed=0)
    made = change({names[key]: value for key, value in frame.items()})
    assert torch.equal(plain(made["us"]), plain(transform()(frame)["image"]))
    assert set(made) == {"us", "seg", "d", "fov"}


def test_the_array_version_draws_the_same() -> None:
    frame = item()
    change = RandBMapSynthesis(model(), prob=1.0).set_random_state(seed=0)
    made = change(frame["image"], frame["label"], depth=frame["depth"], sector=frame["sector"])
    assert torch.equal(plain(made), plain(transform()(frame)["image"]))
    again = change(frame["image"], frame["label"], depth=frame["depth"], sector=frame["sector"], randomize=False)
    assert torch.equal(plain(again), plain(made))


# what it says of itself


def test_metadata_stay_and_say_how_it_was_drawn() -> None:
    affine = torch.diag(torch.tensor([0.5, 0.4, 1.0, 1.0], dtype=torch.float64))
    frame = item()
    frame["image"] = MetaTensor(frame["image"].as_tensor(), affine=affine, meta={"filename_or_obj": "a.png"})
    made = transform(drawing=model(steps=3), mix=0.5)(frame)["image"]
    record = made.meta["synthesis"]
    assert torch.equal(made.affine, affine)
    assert made.meta["filename_or_obj"] == "a.png"
    assert {key: record[key] for key in ("synthetic", "model", "weights", "steps", "strength", "mix")} == {
        "synthetic": True,
        "model": "tiny",
        "weights": "abc",
        "steps": 3,
        "strength": 1.0,
        "mix": 0.5,
    }


def test_images_without_metadata_say_it_in_the_item() -> None:
    frame = {key: value.as_tensor() for key, value in item().items()}
    made = transform(record_key="how")(frame)
    assert made["how"]["synthetic"] is True
    assert transform(record_key="how", prob=0.0)(frame)["how"]["synthetic"] is False


# MONAI's conventions


def test_the_aliases_are_the_class() -> None:
    assert RandBMapSynthesisD is RandBMapSynthesisDict is RandBMapSynthesisd


def test_the_same_state_draws_the_same_and_another_one_another() -> None:
    first, second, other = (plain(transform(seed)(item())["image"]) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_two_calls_draw_two_images() -> None:
    change = transform()
    assert not torch.equal(plain(change(item())["image"]), plain(change(item())["image"]))


def test_torchs_global_state_is_neither_asked_nor_changed() -> None:
    drawing = model()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = plain(transform(drawing=drawing)(item())["image"])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(plain(transform(drawing=drawing)(item())["image"]), first)


def test_compose_is_deterministic_under_its_own_state_and_under_set_determinism() -> None:
    def chain() -> mt.Compose:
        return mt.Compose([RandBMapSynthesisd("image", drawing, prob=0.5)])

    drawing = model(steps=1)
    own = [
        [plain(c(item(k))["image"]) for k in range(4)] for c in (chain().set_random_state(seed=s) for s in (1, 1, 2))
    ]
    assert torch.equal(torch.stack(own[0]), torch.stack(own[1]))
    assert not torch.equal(torch.stack(own[0]), torch.stack(own[2]))
    together = []
    for seed in (1, 1, 2):
        set_determinism(seed)
        made = chain()
        together.append(torch.stack([plain(made(item(k))["image"]) for k in range(4)]))
    set_determinism(None)
    assert torch.equal(together[0], together[1])
    assert not torch.equal(together[0], together[2])


def test_inverse_passes_over_it_and_undoes_the_rest() -> None:
    frame = item()
    chain = mt.Compose([mt.Flipd(["image", "label", "depth", "sector"], spatial_axis=1), transform()])
    made = chain(frame)
    undone = chain.inverse(dict(made))
    assert torch.equal(plain(undone["label"]), plain(frame["label"]))
    assert torch.equal(plain(undone["image"]), plain(made["image"]).flip(-1))


def test_lazy_neighbours_are_applied_before_it() -> None:
    keys = ["image", "label", "depth", "sector"]

    def made(lazy: bool) -> torch.Tensor:
        chain = mt.Compose([mt.Rotate90d(keys, k=2), transform()], lazy=lazy)
        return plain(chain.set_random_state(seed=0)(item())["image"])

    assert torch.equal(made(True), made(False))
    assert torch.equal(made(True) > 0, made(True) * plain(item()["sector"]).flip(-1, -2) > 0)


def test_pickled_it_draws_the_same() -> None:
    change = transform()
    again = pickle.loads(pickle.dumps(change))
    assert torch.equal(plain(again(item())["image"]), plain(change(item())["image"]))


def test_no_copy_of_the_transform_copies_the_network() -> None:
    change = transform()
    for copied in (copy.deepcopy(change), copy.copy(change), mt.Compose([change]).flatten().transforms[0]):
        assert copied.synthesis.frames.model.network is change.synthesis.frames.model.network


def test_compose_with_threading_shares_the_network() -> None:
    seen = []

    class Watched(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, *args: Any, **keywords: Any) -> torch.Tensor:
            seen.append(id(self.inner))
            return self.inner(*args, **keywords)  # type: ignore[no-any-return]

    network = small_unet(6, channels=(4, 8), norm_num_groups=2)
    drawing = SynthesisModel(Watched(network).eval(), sampler(), classes=CLASSES, image_size=GRID)
    change = transform(drawing=drawing)
    mt.Compose([change])(item(), threading=True)
    assert set(seen) == {id(network)}


def test_missing_keys_are_passed_over_if_allowed() -> None:
    frame = item()
    without = {key: value for key, value in frame.items() if key != "label"}
    made = transform(allow_missing_keys=True)(without)
    assert torch.equal(plain(made["image"]), plain(frame["image"]))
    assert made["image"].meta["synthesis"]["synthetic"] is False
    assert transform(allow_missing_keys=True)({"name": "a"}) == {"name": "a"}


# models


def test_a_network_that_brings_its_sampler_needs_no_other() -> None:
    first = model()
    whole = SynthesisNetwork(first.network, sampler(), FAN.depth_map(GRID)).eval()
    second = SynthesisModel(whole, classes=CLASSES, image_size=GRID)
    made = [plain(transform(drawing=drawing)(item())["image"]) for drawing in (first, second)]
    assert torch.equal(*made)


def test_the_given_sampler_is_not_changed() -> None:
    given = sampler(steps=3, verbose=True)
    drawing = SynthesisModel(model().network, given, classes=CLASSES, image_size=GRID, steps=5, guidance=2.0)
    transform(drawing=drawing, strength=0.5)(item())
    assert (drawing.steps, drawing.sampler.cfg) == (5, 2.0)
    assert (len(given.scheduler.timesteps), given.cfg, given.strength, given.verbose) == (3, None, 1.0, True)


def test_an_option_that_the_class_has_not_is_refused_with_a_bundle_too() -> None:
    with pytest.raises(TypeError, match="probability"):
        RandBMapSynthesisd.from_bundle(CARDIAC, steps=1, probability=0.3)


def test_options_given_with_a_bundle_reach_the_transform() -> None:
    given = {"prob": 0.3, "mix": (0.1, 0.2), "strength": 0.5, "beam_key": "fan", "record_key": "told"}
    made = RandBMapSynthesisd.from_bundle(CARDIAC, "frame", steps=1, label_key="mask", depth_key="z", **given)
    synthesis = made.synthesis
    assert (synthesis.prob, synthesis.mix, synthesis.strength, made.record_key) == (0.3, (0.1, 0.2), (0.5, 0.5), "told")
    assert synthesis.frames.keys == ("frame", "mask", "z", "sector", "fan")


def test_a_bundle_draws_with_its_checked_weights() -> None:
    change = RandBMapSynthesisd.from_bundle(CARDIAC, steps=1, prob=1.0)
    change.set_random_state(seed=0)
    made = change(item())["image"]
    record = made.meta["synthesis"]
    card = json.loads((CARDIAC / "models" / "model.json").read_text())
    assert (record["model"], record["weights"], record["steps"]) == (CARDIAC.name, card["weights_sha256"], 1)
    assert float(plain(made).std()) > 0.02


def test_exchanged_weights_of_a_bundle_are_refused(tmp_path: Path) -> None:
    shutil.copytree(CARDIAC, tmp_path / "bundle", ignore=shutil.ignore_patterns("runs", "eval"))
    card = tmp_path / "bundle" / "models" / "model.json"
    card.write_text(card.read_text().replace("0a2a9317", "ffffffff"))
    with pytest.raises(ValueError, match=r"not the file that model\.json beside it describes"):
        SynthesisModel.from_bundle(tmp_path / "bundle")
    card.unlink()
    with pytest.raises(FileNotFoundError, match=r"model.json does not exist: it tells what the weights are"):
        SynthesisModel.from_bundle(tmp_path / "bundle")
    with pytest.raises(FileNotFoundError, match=r"inference.json does not exist; give the folder of a bundle"):
        SynthesisModel.from_bundle(tmp_path)


def test_a_gpu_in_a_forked_process_is_refused_with_the_three_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = model()
    monkeypatch.setattr(SynthesisModel, "device", torch.device("cuda"))
    drawing.check_process()
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    with pytest.raises(
        RuntimeError, match=r"(?s)num_workers=0 or .*ThreadDataLoader.*as files.*SynthesisMixPrepareBatch"
    ):
        drawing.check_process()
    pickle.loads(pickle.dumps(drawing)).check_process()  # a spawned worker has a network of its own


# what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prob": 1.5}, r"prob must lie in \[0, 1\], got 1.5"),
        ({"prob": -0.1}, r"prob must lie in \[0, 1\], got -0.1"),
        ({"strength": 1.2}, r"strength must be one number in \[0, 1\].* got 1.2"),
        ({"strength": (0.7, 0.3)}, r"strength must be .*\(least, greatest\) .*got \(0.7, 0.3\)"),
        ({"mix": (-0.5, 1.0)}, r"mix must be one number in \[0, 1\].*got \(-0.5, 1.0\)"),
        ({"label_mapping": {1: 5}}, r"label_mapping has 1 -> 5, which is no class of the model.* cavity, wall"),
        ({"label_mapping": {1: "lung"}}, r"label_mapping has 1 -> 'lung'"),
        ({"intensity_range": (1, 0)}, r"intensity_range must be \(black, white\).*got \(1, 0\)"),
        ({"spacing_tolerance": 0.5}, r"spacing_tolerance must be a factor of at least 1, got 0.5"),
        ({"label_key": "image"}, "need keys of their own"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(**options)


def test_two_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"keys must name one image, got \('image', 'other'\)"):
        RandBMapSynthesisd(["image", "other"], model())


def wide() -> dict[str, Any]:
    return {key: value[:, 2:8].clone() for key, value in item().items()}


def scaled(**metres: float) -> dict[str, Any]:
    frame, affine = item(), torch.diag(torch.tensor([0.9, 0.9, 1.0, 1.0], dtype=torch.float64))
    return {key: MetaTensor(value.as_tensor(), affine=affine) for key, value in frame.items()}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            lambda: item(label=torch.full((1, *SHAPE), 7.0)),
            r"'label' has the value 7, and tiny knows .*label_mapping=\{7",
        ),
        (lambda: item(label=torch.full((1, *SHAPE), 0.5)), r"'label' has the value 0.5.*mode='nearest'"),
        (lambda: item(label=torch.zeros(1, 5, 7)), r"one size.*'label': \(1, 5, 7\).*resize them together"),
        (lambda: item(image=torch.zeros(3, *SHAPE)), r"one channel.*'image': \(3, 20, 28\).*average colours"),
        (
            lambda: item(image=torch.randn(1, *SHAPE) * 3),
            r"'image' has values from .*give intensity_range=\(black, white\)",
        ),
        (lambda: item(image=torch.full((1, *SHAPE), 900)), r"'image' has values from 900 to 900"),
        (wide, r"'label' is a frame of 6 x 28, .*than the 16 x 24 of tiny, .* at most 2 fits; crop or pad"),
        (scaled, r"'label' has pixels of 1.\d+ x 1.\d+ mm .*trained on 0.3 x 0.3 mm.*spacing_tolerance=math.inf"),
    ],
)
def test_items_that_do_not_fit_are_refused(frame: Callable[[], dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(drawing=model(spacing_mm=(0.3, 0.3)))(frame())


def test_another_spacing_passes_if_told_to_or_if_either_is_unknown() -> None:
    drawing = model(steps=1, spacing_mm=(0.3, 0.3))
    transform(drawing=drawing, spacing_tolerance=float("inf"))(scaled())
    transform(drawing=drawing)(item())
    transform(drawing=model(steps=1))(scaled())


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["label"], "the item has no 'label', the label map to draw for; it has .*sector"),
        (["depth", "sector"], "the item has no 'depth', nor 'sector' or 'beam' to make it from: run BeamDepthd"),
    ],
)
def test_missing_keys_are_named(gone: list[str], message: str) -> None:
    frame = {key: value for key, value in item().items() if key not in gone}
    with pytest.raises(KeyError, match=message):
        transform()(frame)


def test_without_an_image_the_range_must_be_told() -> None:
    frame = item()
    del frame["image"]
    with pytest.raises(ValueError, match=r"no 'image' to take the range of intensities from; give intensity_range"):
        transform()(frame)


def test_a_network_in_training_mode_or_without_a_sampler_is_refused() -> None:
    network = model().network
    with pytest.raises(ValueError, match="needs a sampler: give a BMapSynthesisInferer"):
        SynthesisModel(network, classes=CLASSES, image_size=GRID)
    with pytest.raises(ValueError, match=r"in training mode; call its eval\(\) first"):
        SynthesisModel(network.train(), sampler(), classes=CLASSES, image_size=GRID)


def test_conditions_are_those_of_the_item() -> None:
    frame = item()
    condition = FrameSynthesis(model()).condition(frame)
    assert torch.equal(condition.classes, plain(frame["label"]).long())
    assert torch.equal(condition.depth, plain(frame["depth"]))
