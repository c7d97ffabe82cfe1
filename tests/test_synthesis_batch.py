"""A share of each batch drawn at once: what is exchanged, that it repeats, and how MONAI's trainer calls it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import DataLoader, MetaTensor, decollate_batch
from monai.engines import PrepareBatchExtraInput, SupervisedTrainer
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.utils import set_determinism
from synthesis_items import CLASSES, FAN, GRID, SHAPE, item, model
from torch import nn

from monai_bmaps.handlers import ResumableCheckpoint
from monai_bmaps.transforms import (
    BMapSynthesisMix,
    BMapSynthesisMixD,
    BMapSynthesisMixd,
    BMapSynthesisMixDict,
    RandBMapSynthesisd,
    SynthesisMixPrepareBatch,
)
from monai_bmaps.transforms.synthesis.frames import FrameSynthesis


def batch(count: int = 4, **more: Any) -> dict[str, Any]:
    items = [item(k) for k in range(count)]
    return {**next(iter(DataLoader(items, batch_size=count))), **more}


def mixer(seed: int = 0, **options: Any) -> BMapSynthesisMixd:
    made = BMapSynthesisMixd("image", options.pop("drawing", None) or model(), **options)
    made.set_random_state(seed=seed)
    return made


def plain(images: Any) -> torch.Tensor:
    return torch.as_tensor(images).as_subclass(torch.Tensor)


def changed(images: Any, real: Any) -> list[bool]:
    return [not torch.equal(a, b) for a, b in zip(plain(images), plain(real), strict=True)]


def test_a_share_of_the_batch_is_exchanged_and_says_so() -> None:
    real = batch()
    made = mixer(share=0.5)(real)["image"]
    assert sum(changed(made, real["image"])) == 2
    assert made.meta["synthesis"]["synthetic"].tolist() == changed(made, real["image"])
    assert [seed < 0 for seed in made.meta["synthesis"]["seed"].tolist()] == [
        not x for x in changed(made, real["image"])
    ]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_none_or_all_are_exchanged(share: float) -> None:
    real = batch(3)
    assert changed(mixer(share=share)(real)["image"], real["image"]) == [share == 1.0] * 3


def test_a_share_of_less_than_an_image_holds_over_batches() -> None:
    change = mixer(share=0.3).mixer
    counts = []
    for _ in range(200):
        change.randomize(2)
        counts.append(len(change.chosen))
    assert set(counts) == {0, 1}
    assert sum(counts) == pytest.approx(120, abs=21)  # 3 standard deviations


def test_an_image_is_what_its_own_seed_draws_for_its_item_alone() -> None:
    drawing, real = model(), batch()
    made = mixer(drawing=drawing, share=1.0)(real)["image"]
    frames = FrameSynthesis(drawing)
    for k, seed in enumerate(made.meta["synthesis"]["seed"].tolist()):
        alone = frames.drawn([frames.condition(item(k))], [item(k)["image"]], [seed])[0]
        torch.testing.assert_close(plain(made)[k], alone, atol=1e-5, rtol=0)  # sums in another order


def test_the_given_batch_stays_as_it_was() -> None:
    real = batch()
    before = plain(real["image"]).clone()
    mixer(share=1.0)(real)
    assert torch.equal(plain(real["image"]), before)
    assert "synthesis" not in real["image"].meta


def test_mixed_batches_can_be_taken_apart_with_what_each_image_says() -> None:
    made = mixer(share=0.5)(batch())
    apart = decollate_batch(made)
    told = [bool(one["image"].meta["synthesis"]["synthetic"]) for one in apart]
    assert told == made["image"].meta["synthesis"]["synthetic"].tolist()


def test_what_items_said_before_is_kept() -> None:
    change = RandBMapSynthesisd("image", model(), prob=1.0).set_random_state(seed=0)
    items = [change(item(k)) for k in range(3)]
    collated = next(iter(DataLoader(items, batch_size=3)))
    made = mixer(share=0.0)(collated)["image"].meta["synthesis"]
    assert made["seed"].tolist() == [one["image"].meta["synthesis"]["seed"] for one in items]
    assert made["model"] == ["tiny"] * 3


def test_a_batch_without_images_is_drawn_whole() -> None:
    real = batch()
    del real["image"]
    made = mixer(share=0.0, intensity_range=(0, 1))(real)["image"]
    assert made.shape == (4, 1, *SHAPE)
    assert made.meta["synthesis"]["synthetic"].all()


def test_grey_levels_of_eight_bits_stay_so() -> None:
    real = batch()
    real["image"] = (real["image"] * 255).to(torch.uint8)
    assert mixer(share=1.0)(real)["image"].dtype == torch.uint8


def test_mixture_and_strength_are_as_for_items() -> None:
    real = batch()
    synthetic, half = (plain(mixer(share=1.0, mix=x)(real)["image"]) for x in (1.0, 0.5))
    torch.testing.assert_close(half, (synthetic + plain(real["image"])) / 2)
    assert changed(mixer(share=1.0, strength=0.5)(real)["image"], synthetic) == [True] * 4


def test_a_beam_for_all_does_without_depth_maps() -> None:
    real = batch()
    short = {key: real[key] for key in ("image", "label")}
    made = mixer(share=1.0, beam=FAN)(short)["image"]
    assert torch.equal(plain(made), plain(mixer(share=1.0)(real)["image"]))


def test_the_tensor_version_draws_the_same() -> None:
    real = batch()
    change = BMapSynthesisMix(model(), share=0.5).set_random_state(seed=0)
    made = change(real["image"], real["label"], depth=real["depth"], sector=real["sector"])
    assert torch.equal(plain(made), plain(mixer(share=0.5)(real)["image"]))
    again = change(real["image"], real["label"], depth=real["depth"], sector=real["sector"], randomize=False)
    assert torch.equal(plain(again), plain(made))


def test_the_state_decides_and_pickling_keeps_it() -> None:
    real = batch()
    first, second, other = (plain(mixer(seed, share=0.5)(real)["image"]) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(plain(pickle.loads(pickle.dumps(mixer(1, share=0.5)))(real)["image"]), first)


def test_the_aliases_are_the_class() -> None:
    assert BMapSynthesisMixD is BMapSynthesisMixDict is BMapSynthesisMixd


# in MONAI's engines


def trainer_of(seed: int, seen: list[torch.Tensor], handlers: Any = None, epochs: int = 1) -> SupervisedTrainer:
    """A trainer of two iterations an epoch that notes the batches it sees; handlers get what checkpoints hold."""
    torch.manual_seed(0)
    network = nn.Conv2d(1, len(CLASSES) + 1, 3, padding=1)
    with torch.no_grad():
        network.weight.fill_(0.01)
    items = [item(k) for k in range(4)]
    prepare_batch = SynthesisMixPrepareBatch(mixer(9, share=0.5), seed=seed)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(items, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=lambda output, label: nn.functional.cross_entropy(output, label[:, 0].long()),
        prepare_batch=prepare_batch,
        train_handlers=handlers and handlers({"network": network, "prepare_batch": prepare_batch}),
        decollate=False,
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: seen.append(plain(engine.state.output["image"]))
    )
    return trainer


def trained(seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Batches that a trainer saw in two iterations, and the network's first weights after them."""
    seen: list[torch.Tensor] = []
    trainer = trainer_of(seed, seen)
    trainer.run()
    return seen, trainer.network.weight.detach().clone()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_trainer_trains_on_half_synthetic_batches_and_repeats() -> None:
    first, weights = trained(seed=1)
    second, again = trained(seed=1)
    other, _ = trained(seed=2)
    real = [torch.stack([plain(item(k)["image"]) for k in pair]) for pair in ((0, 1), (2, 3))]
    assert [sum(changed(a, b)) for a, b in zip(first, real, strict=True)] == [1, 1]
    assert torch.equal(torch.stack(first), torch.stack(second))
    assert torch.equal(weights, again)
    assert not torch.equal(torch.stack(first), torch.stack(other))
    assert float((weights - 0.01).abs().max()) > 1e-4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_resumed_training_goes_on_with_the_images_it_would_have_had(tmp_path: Path) -> None:
    whole: list[torch.Tensor] = []
    trainer_of(1, whole, epochs=3).run()
    assert not torch.equal(whole[0], whole[2])  # the same items in the next epoch, other images

    seen: list[torch.Tensor] = []
    trainer_of(1, seen, lambda state: [ResumableCheckpoint(tmp_path / "c.pt", state)]).run()
    trainer_of(5, seen, lambda state: [ResumableCheckpoint(tmp_path / "c.pt", state)], epochs=3).run()
    assert torch.equal(torch.stack(seen), torch.stack(whole))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_monais_own_checkpoints_hold_it_too(tmp_path: Path) -> None:
    whole: list[torch.Tensor] = []
    trainer_of(1, whole, epochs=2).run()
    seen: list[torch.Tensor] = []
    trainer_of(
        1, seen, lambda state: [CheckpointSaver(str(tmp_path), state, save_final=True, final_filename="c.pt")]
    ).run()
    state: dict[str, Any] = {}
    second = trainer_of(5, seen, lambda parts: state.update(parts) or [])
    CheckpointLoader(str(tmp_path / "c.pt"), state, map_location="cpu").attach(second)
    second.run()
    assert torch.equal(torch.stack(seen), torch.stack(whole))


def test_a_call_is_a_function_of_its_number_and_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    real, prepare = batch(), SynthesisMixPrepareBatch(mixer(share=1.0), seed=3)
    first, second = (plain(prepare(real, "cpu")[0]) for _ in range(2))
    assert not torch.equal(first, second)
    prepare.load_state_dict({"seed": 3, "next_iteration": 0})
    assert torch.equal(plain(prepare(real, "cpu")[0]), first)
    assert prepare.state_dict() == {"seed": 3, "next_iteration": 1}
    monkeypatch.setattr("monai_bmaps.transforms.synthesis.batch._rank", lambda: 1)
    prepare.load_state_dict({"seed": 3, "next_iteration": 0})
    assert not torch.equal(plain(prepare(real, "cpu")[0]), first)


def test_set_determinism_seeds_it_where_no_seed_is_given() -> None:
    real = batch()
    made = []
    for seed in (3, 3, 4):
        set_determinism(seed)
        made.append(SynthesisMixPrepareBatch(BMapSynthesisMixd("image", model(), share=1.0))(real, "cpu")[0])
    set_determinism(None)
    assert torch.equal(plain(made[0]), plain(made[1]))
    assert not torch.equal(plain(made[0]), plain(made[2]))


def test_any_other_prepare_batch_gets_the_mixed_batch() -> None:
    real = batch()
    inner = PrepareBatchExtraInput(["depth"])
    image, label, extra, _ = SynthesisMixPrepareBatch(mixer(share=1.0), inner, seed=0)(real, "cpu")
    assert changed(image, real["image"]) == [True] * 4
    assert torch.equal(plain(label), plain(real["label"]))
    assert torch.equal(plain(extra[0]), plain(real["depth"]))


# what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 2.0}, r"share must lie in \[0, 1\], got 2.0"),
        ({"strength": -1.0}, r"strength must be .*got -1.0"),
        ({"label_mapping": {9: 9}}, "label_mapping has 9 -> 9"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixer(**options)


def test_unknown_labels_in_a_batch_are_named() -> None:
    with pytest.raises(ValueError, match="'label' has the value 8, and tiny knows"):
        mixer(share=1.0)(batch(label=torch.full((4, 1, *SHAPE), 8)))


def test_missing_keys_are_named_or_passed_over() -> None:
    real = {"image": MetaTensor(torch.rand(2, 1, *GRID))}
    with pytest.raises(KeyError, match="the batch has no 'label', the label map to draw for; it has image"):
        mixer()(real)
    assert mixer(allow_missing_keys=True)(real)["image"] is real["image"]
