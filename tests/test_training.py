"""Tasks, dropped labels and repeatable draws; the learning rate; released weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.engines import SupervisedTrainer
from torch import nn

from monai_bmaps import BMap, BMapDDIMScheduler, BMapDDPMScheduler, BMapDiffusionInferer
from monai_bmaps import training as module
from monai_bmaps.losses import BMapDiffusionLoss
from monai_bmaps.training import BMapPrepareBatch, linear_anneal, load_weights, save_weights

Maker = Callable[..., nn.Module]
SHAPE = (8, 12)
CLASSES = 3
MAP = BMap.from_attenuation(db=44.0)


def batch_of(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, SHAPE[0]).reshape(1, 1, -1, 1).expand(count, 1, *SHAPE)
    return {
        "image": MetaTensor(torch.rand(count, 1, *SHAPE, generator=generator) * 2 - 1),
        "depth": MetaTensor(ramp * torch.linspace(0.4, 1.0, count).reshape(-1, 1, 1, 1)),
        "seg": MetaTensor(torch.rand(count, CLASSES, *SHAPE, generator=generator) + 0.1),
    }


def scheduler_for(prediction_type: str) -> BMapDDPMScheduler:
    return BMapDDPMScheduler(num_train_timesteps=100, b_map=MAP, prediction_type=prediction_type)


# PrepareBatch


def scales(scheduler: BMapDDPMScheduler, keywords: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Signal and noise scale from the schedule's own products, in float64."""
    t, depth = keywords["timesteps"], keywords["depth"].double()
    maps = torch.stack(
        [MAP.step_log_maps(one[0], 100).cumsum(0)[int(step)] for one, step in zip(depth, t, strict=True)]
    )
    retained = scheduler.log_alphas_cumprod.exp()[t].reshape(-1, 1, 1, 1) * maps[:, None].exp()
    return retained.sqrt(), (1 - retained).sqrt()


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_the_target_is_the_prediction_types_own_at_every_pixel(prediction_type: str) -> None:
    scheduler, batch = scheduler_for(prediction_type), batch_of(4)
    torch.manual_seed(0)
    images, task, _, keywords = BMapPrepareBatch(scheduler)(batch)
    a, s = scales(scheduler, keywords)
    expected = {
        "epsilon": keywords["noise"].double(),
        "sample": images.double(),
        "v_prediction": a * keywords["noise"] - s * images,
    }[prediction_type]
    torch.testing.assert_close(task.target.double(), expected, atol=1e-6, rtol=1e-5)  # the target is float32


def test_images_depth_and_segmentation_are_the_batchs_as_plain_tensors() -> None:
    batch = batch_of(3)
    images, task, positional, keywords = BMapPrepareBatch(scheduler_for("epsilon"))(batch)
    assert torch.equal(images, batch["image"].as_tensor())
    assert torch.equal(keywords["depth"], batch["depth"].as_tensor())
    assert torch.equal(keywords["seg"], batch["seg"].as_tensor())
    assert positional == ()
    assert {type(x) for x in (images, task.target, *keywords.values())} == {torch.Tensor}


def test_unconditional_training_has_no_segmentation() -> None:
    keywords = BMapPrepareBatch(scheduler_for("epsilon"), seg_name=None)(batch_of(1))[3]
    assert set(keywords) == {"noise", "timesteps", "depth"}


def test_keys_can_be_renamed() -> None:
    batch = batch_of(2)
    renamed = {"image": batch["image"], "d": batch["depth"], "s": batch["seg"]}
    keywords = BMapPrepareBatch(scheduler_for("epsilon"), seg_name="s", depth_name="d")(renamed)[3]
    assert torch.equal(keywords["depth"], batch["depth"].as_tensor())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_of_this_share_of_images_are_blanked_as_a_whole(share: float) -> None:
    batch = {key: torch.cat([value.as_tensor()] * 100) for key, value in batch_of(4).items()}
    torch.manual_seed(0)
    seg = BMapPrepareBatch(scheduler_for("epsilon"), label_dropout=share)(batch)[3]["seg"]
    blank = (seg == 0).flatten(1).all(1)
    assert torch.equal(seg[~blank], batch["seg"][~blank])
    spread = (share * (1 - share) / 400) ** 0.5
    assert float(blank.float().mean()) == pytest.approx(share, abs=4 * spread)  # four standard deviations


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"label_dropout must lie in \[0, 1\], got {share}"):
        BMapPrepareBatch(scheduler_for("epsilon"), label_dropout=share)


def test_without_draws_every_call_draws_anew() -> None:
    torch.manual_seed(0)
    prepare = BMapPrepareBatch(scheduler_for("epsilon"))
    first, second = (prepare(batch_of(8))[3] for _ in range(2))
    assert not torch.equal(first["noise"], second["noise"])
    assert not torch.equal(first["timesteps"], second["timesteps"])


@pytest.mark.parametrize("drawn", [False, True])
def test_steps_cover_the_whole_chain_evenly(drawn: bool) -> None:
    torch.manual_seed(0)
    batch = {"image": torch.zeros(5000, 1, 1, 1), "depth": torch.zeros(1, 1, 1, 1), "draw": torch.arange(5000)}
    prepare = BMapPrepareBatch(scheduler_for("epsilon"), seg_name=None)
    steps = prepare({key: value for key, value in batch.items() if drawn or key != "draw"})[3]["timesteps"]
    assert (int(steps.min()), int(steps.max())) == (0, 99)
    assert float(steps.double().mean()) == pytest.approx(49.5, abs=1.7)  # four standard errors of a uniform mean


def drawn_batch(seeds: list[int]) -> dict[str, torch.Tensor]:
    return {
        **{key: value[:1].expand(len(seeds), -1, -1, -1) for key, value in batch_of(2).items()},
        "draw": torch.tensor(seeds),
    }


def test_a_draw_has_the_same_noise_step_and_label_in_any_batch_whatever_was_drawn_before() -> None:
    prepare = BMapPrepareBatch(scheduler_for("v_prediction"), label_dropout=0.5)
    whole = prepare(drawn_batch([5, 6, 7, 8]))[3]
    torch.manual_seed(1)
    parts = [prepare(drawn_batch(seeds))[3] for seeds in ([5], [6, 7], [8])]
    for key in ("noise", "timesteps", "seg"):
        assert torch.equal(whole[key], torch.cat([part[key] for part in parts]))


def test_other_draws_have_other_noise() -> None:
    keywords = BMapPrepareBatch(scheduler_for("epsilon"))(drawn_batch([3, 4]))[3]
    assert not torch.equal(keywords["noise"][0], keywords["noise"][1])


# a training


def test_a_few_iterations_of_training_lower_the_loss_at_fixed_noise_and_steps(tiny_unet: Maker) -> None:
    torch.manual_seed(0)
    scheduler = BMapDDIMScheduler(num_train_timesteps=100, b_map=MAP)
    inferer = BMapDiffusionInferer(scheduler, noise_level_channel=True)
    network, batch = tiny_unet(1 + CLASSES + 1), batch_of(8)

    def loss() -> float:
        images, task, _, keywords = BMapPrepareBatch(scheduler)({**batch, "draw": torch.arange(8)})
        with torch.no_grad():
            return float(BMapDiffusionLoss()(inferer(images, network, **keywords), task))

    before = loss()
    SupervisedTrainer(
        device="cpu",
        max_epochs=25,
        train_data_loader=DataLoader([{key: value[k] for key, value in batch.items()} for k in range(8)], batch_size=8),
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=5e-3),
        loss_function=BMapDiffusionLoss(),
        inferer=inferer,
        prepare_batch=BMapPrepareBatch(scheduler, label_dropout=0.1),
        decollate=False,
    ).run()
    assert loss() < 0.8 * before  # 0.64 measured


# the learning rate


def test_the_rate_rises_over_the_warm_up_and_falls_to_its_end() -> None:
    factor = linear_anneal(total_iterations=12, warm_up=4, final=0.2)
    assert [factor(n) for n in (0, 1, 3, 4)] == [0.25, 0.5, 1.0, 1.0]
    assert factor(8) == pytest.approx(0.6)
    assert factor(12) == pytest.approx(0.2)


def test_the_rate_stays_at_its_end_after_the_last_iteration() -> None:
    assert linear_anneal(10, final=0.1)(25) == pytest.approx(0.1)


def test_without_warm_up_the_rate_starts_whole() -> None:
    assert linear_anneal(10)(0) == 1.0


def test_the_rate_drives_a_lambda_scheduler() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, linear_anneal(4))
    rates = []
    for _ in range(4):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert rates == [2.0, 1.5, 1.0, 0.5]


# weights


def test_weights_are_stored_in_half_precision_and_read_by_the_restricted_loader(
    tiny_unet: Maker, tmp_path: Path
) -> None:
    path = save_weights(tiny_unet(), tmp_path / "models" / "model.pt")
    weights = torch.load(path, weights_only=True)
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_loaded_weights_are_the_saved_ones_to_half_precision_in_the_networks_own(
    tiny_unet: Maker, tmp_path: Path
) -> None:
    saved, loaded = tiny_unet(), tiny_unet()
    for parameter in loaded.parameters():
        nn.init.zeros_(parameter)
    load_weights(loaded, save_weights(saved, tmp_path / "model.pt"))
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, saved.state_dict()[name], atol=1e-6, rtol=2**-11)  # float16 has 11 bits


def test_whole_numbers_are_not_made_halves(tmp_path: Path) -> None:
    network = nn.BatchNorm1d(3)
    network.num_batches_tracked.fill_(100_001)  # beyond what float16 holds
    loaded = load_weights(nn.BatchNorm1d(3), save_weights(network, tmp_path / "model.pt"))
    assert int(loaded.num_batches_tracked) == 100_001


def test_another_precision_can_be_asked_for(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    path = save_weights(network, tmp_path / "model.pt", torch.float32)
    assert torch.equal(torch.load(path, weights_only=True)["weight"], network.weight)


def test_a_loaded_network_is_in_evaluation_mode(tmp_path: Path) -> None:
    network = nn.Linear(3, 2).train()
    assert not load_weights(network, save_weights(network, tmp_path / "model.pt")).training


def test_nothing_is_left_beside_the_saved_file(tmp_path: Path) -> None:
    save_weights(nn.Linear(3, 2), tmp_path / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = nn.Linear(3, 2)
    path = save_weights(old, tmp_path / "model.pt", torch.float32)

    def break_off(content: Any, target: Path) -> None:
        Path(target).write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(module.torch, "save", break_off)
    with pytest.raises(OSError, match="disk full"):
        save_weights(nn.Linear(3, 2), path)
    assert torch.equal(load_weights(nn.Linear(3, 2), path).weight, old.weight)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_missing_weights_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.pt does not exist; train the bundle, or point to"):
        load_weights(nn.Linear(3, 2), tmp_path / "model.pt")


@pytest.mark.parametrize(
    "content",
    [
        {"weight": torch.zeros(5, 3), "bias": torch.zeros(5)},
        {"network": {"weight": torch.zeros(2, 3)}},
    ],
    ids=["other shape", "checkpoint"],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt holds weights of another network than the configured one"):
        load_weights(nn.Linear(3, 2), tmp_path / "model.pt")


@pytest.mark.parametrize("keep", [0, 40, 900])
def test_a_damaged_file_is_refused_before_it_is_read_as_weights(tmp_path: Path, keep: int) -> None:
    path = save_weights(nn.Linear(3, 2), tmp_path / "model.pt")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        ValueError, match=rf"model\.pt \({keep} bytes\) is damaged or no file of weights; fetch it again"
    ):
        load_weights(nn.Linear(3, 2), path)


def test_a_pointer_to_weights_kept_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\nsize 12345\n")
    with pytest.raises(ValueError, match="no file of weights; fetch it again"):
        load_weights(nn.Linear(3, 2), tmp_path / "model.pt")


def test_a_batch_without_its_depth_says_what_it_has() -> None:
    batch = batch_of(1)
    del batch["depth"]
    with pytest.raises(KeyError, match="no 'depth'; it has image, seg"):
        BMapPrepareBatch(scheduler_for("epsilon"))(batch)
