"""Every bundle trains, survives SIGKILL without a trace, and shares its work over processes; with real processes."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_data import BUNDLES, TINY, Bundle, command, environment, write_phantoms
from monai.bundle import ConfigParser
from monai.inferers import DiffusionInferer
from monai.networks.schedulers import DDPMScheduler
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config
each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
CARDIAC = BUNDLES[0]
# Adam magnifies rounding: a gradient near 0 turns it into a step of its own size
DESCENT = "{'_target_': 'torch.optim.SGD', 'params': '$@network.parameters()', 'lr': 0.02}"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {bundle.name: write_phantoms(bundle, tmp_path_factory.mktemp(bundle.name)) for bundle in BUNDLES}


def training(
    bundle: Bundle, data: Path, output: Path, *options: str, epochs: int = 4, processes: int | None = None
) -> list[str]:
    configs = ["'configs/train.json'", *(["'configs/multi_gpu_train.json'"] if processes else [])]
    fixed = ["--dataset_dir", str(data), "--output_dir", str(output), "--max_epochs", str(epochs)]
    return command("--config_file", f"[{','.join(configs)}]", *fixed, *TINY, *options, processes=processes)


def run(bundle: Bundle, arguments: list[str]) -> str:
    done = subprocess.run(arguments, cwd=bundle.folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def uninterrupted(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four epochs of five iterations of every bundle."""
    folders = {bundle.name: tmp_path_factory.mktemp(f"run_{bundle.name}") for bundle in BUNDLES}
    for bundle in BUNDLES:
        run(bundle, training(bundle, data[bundle.name], folders[bundle.name]))
    return folders


def assert_same(first: Any, second: Any) -> None:
    """Bit for bit, through nested containers."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert first == second


def curve(folder: Path, name: str) -> dict[int, float]:
    """Points of a curve by step; of several files in one folder, all."""
    points: dict[int, float] = {}
    for file in sorted(folder.glob("events.*")):
        events = EventAccumulator(str(file))
        events.Reload()
        if name in events.Tags()["scalars"]:
            points |= {point.step: point.value for point in events.Scalars(name)}
    return points


@each_bundle
def test_a_training_killed_and_resumed_is_the_uninterrupted_one_bit_for_bit(
    bundle: Bundle, data: dict[str, Path], uninterrupted: dict[str, Path], tmp_path: Path
) -> None:
    arguments, checkpoint = training(bundle, data[bundle.name], tmp_path), tmp_path / "checkpoint.pt"
    first = subprocess.Popen(
        arguments, cwd=bundle.folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not checkpoint.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    reached = torch.load(checkpoint, weights_only=True)["iteration"]
    assert 0 < reached < 20, "killed too late to show anything"

    assert f"resumed from {checkpoint} at iteration {reached}" in run(bundle, arguments)
    whole = torch.load(uninterrupted[bundle.name] / "checkpoint.pt", weights_only=True)
    assert_same(torch.load(checkpoint, weights_only=True), whole)
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (tmp_path, uninterrupted[bundle.name])]
    assert_same(*weights)


@each_bundle
def test_training_leaves_weights_curves_and_pictures(bundle: Bundle, uninterrupted: dict[str, Path]) -> None:
    folder = uninterrupted[bundle.name]
    assert (folder / "model.pt").exists()
    assert sorted(path.name for path in folder.glob("samples_*.png")) == [
        f"samples_0000{n:02d}.png" for n in (5, 10, 15, 20)
    ]
    assert list(curve(folder, "train_loss")) == [10, 20]
    assert list(curve(folder, "val_loss")) == [1, 2, 3, 4]


def model(folder: Path) -> list[str]:
    """Options that make inference, evaluation and export use the tiny network trained there."""
    size = ["--image_size", "[16,32]", "--denoiser_def::network::channels", "[8,8,16]", "--num_inference_steps", "2"]
    return [*size, "--weights", str(folder / "model.pt")]


@each_bundle
def test_trained_weights_are_evaluated_on_held_out_frames(
    bundle: Bundle, data: dict[str, Path], uninterrupted: dict[str, Path], tmp_path: Path
) -> None:
    """Without the Inception's weights the report says so; the distances themselves are tested elsewhere."""
    missing = ["--stem", str(tmp_path / "absent.npz"), "--required", "False"]
    where = ["--dataset_dir", str(data[bundle.name]), "--output_dir", str(tmp_path)]
    options = [*model(uninterrupted[bundle.name]), *missing, *where, "--batch_size", "2"]
    run(bundle, command("--config_file", "['configs/train.json','configs/evaluate.json']", *options))
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert math.isfinite(report["measured"]["denoising_loss"]["value"])
    assert "absent.npz" in (tmp_path / "evaluation.md").read_text()
    assert (tmp_path / "evaluation.png").exists()


@each_bundle
def test_trained_weights_draw_the_demo(bundle: Bundle, uninterrupted: dict[str, Path], tmp_path: Path) -> None:
    options = [*model(uninterrupted[bundle.name]), "--output_dir", str(tmp_path), "--batch_size", "2"]
    run(bundle, command("--config_file", "configs/inference.json", *options))
    listed = json.loads((bundle.folder / "demo" / "dataset.json").read_text())["test"]
    expected = {f"{item['name']}{suffix}" for item in listed for suffix in (".png", ".nii.gz")} | {"overview.png"}
    assert {path.name for path in tmp_path.iterdir()} == expected


@each_bundle
def test_weights_of_another_bundle_are_refused(bundle: Bundle, uninterrupted: dict[str, Path], tmp_path: Path) -> None:
    other = BUNDLES[(BUNDLES.index(bundle) + 1) % len(BUNDLES)]
    options = [*model(uninterrupted[other.name]), "--output_dir", str(tmp_path / "out"), "--batch_size", "2"]
    arguments = command("--config_file", "configs/inference.json", *options)
    done = subprocess.run(arguments, cwd=bundle.folder, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "classes: the checkpoint has" in done.stderr
    assert not (tmp_path / "out").exists()


def test_two_processes_train_as_one_with_the_doubled_batch(
    data: dict[str, Path], uninterrupted: dict[str, Path], tmp_path: Path
) -> None:
    """To float32: each process's mean is over its half, and gloo adds the halves. bfloat16 would hide it."""
    precise = ("--amp_dtype", "$None", "--checkpoint_interval", "20", "--optimizer", DESCENT)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    run(CARDIAC, training(CARDIAC, data[CARDIAC.name], alone, *precise))
    run(CARDIAC, training(CARDIAC, data[CARDIAC.name], shared, *precise, "--batch_size", "2", processes=2))
    for name in ("train_loss", "val_loss"):
        one, two = curve(alone, name), curve(shared, name)
        assert one.keys() == two.keys()
        assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-5)
    first, second = (torch.load(folder / "checkpoint.pt", weights_only=True)["network"] for folder in (alone, shared))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


def test_accumulated_batches_are_one_large_batch(data: dict[str, Path], tmp_path: Path) -> None:
    """Two iterations of half the batch take the same draws, and their mean gradient is the whole one's."""
    small = ("--amp_dtype", "$None", "--warm_up", "0", "--final_learning_rate", "1.0", "--optimizer", DESCENT)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(CARDIAC, training(CARDIAC, data[CARDIAC.name], whole, *small, epochs=1))
    split = ("--batch_size", "2", "--accumulation_steps", "2", "--epoch_length", "10")
    run(CARDIAC, training(CARDIAC, data[CARDIAC.name], halves, *small, *split, epochs=1))
    first, second = (torch.load(folder / "checkpoint.pt", weights_only=True)["network"] for folder in (whole, halves))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-6)


def parsed(bundle: Bundle, data: Path, *files: str, **changes: Any) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_files([str(bundle.folder / "configs" / file) for file in files]))
    tiny = {key.removeprefix("--"): value for key, value in zip(TINY[::2], TINY[1::2], strict=True)}
    fixed = {"image_size": [16, 32], "batch_size": 4, "denoiser_def::network::channels": [8, 8, 16]}
    assert fixed.keys() <= tiny.keys()
    for key, value in {"bundle_root": str(bundle.folder), "dataset_dir": str(data), **fixed, **changes}.items():
        parser[key] = value
    return parser


def trained(network: torch.nn.Module, losses: Iterable[Callable[[torch.nn.Module], torch.Tensor]]) -> list[float]:
    """A few steps of AdamW on these losses."""
    optimizer, values = torch.optim.AdamW(network.parameters(), lr=1e-3), []
    for loss in losses:
        optimizer.zero_grad()
        value = loss(network)
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values


def test_the_baseline_trains_as_monais_own_diffusion_does(data: dict[str, Path]) -> None:
    """Same network, draws and optimiser; noise, target and network call are stock MONAI's."""
    parser = parsed(CARDIAC, data[CARDIAC.name], "train.json", "baseline.json", amp_dtype=None)
    ours = parser.get_parsed_content("network").train()
    theirs = copy.deepcopy(ours)
    prepare, inferer = parser.get_parsed_content("train::prepare_batch"), parser.get_parsed_content("diffusion_inferer")
    loss, loader = parser.get_parsed_content("loss"), parser.get_parsed_content("train::dataloader")
    prepared = [prepare(batch) for batch in islice(loader, 3)]
    stock = DDPMScheduler(1000, schedule="cosine", prediction_type="v_prediction")

    def our_loss(images: Any, task: Any, _: Any, keywords: Any) -> Callable[[torch.nn.Module], torch.Tensor]:
        return lambda network: loss(inferer(images, network, **keywords), task)

    def their_loss(images: Any, task: Any, _: Any, keywords: Any) -> Callable[[torch.nn.Module], torch.Tensor]:
        t, noise = keywords["timesteps"], keywords["noise"]
        abar = stock.alphas_cumprod[t].reshape(-1, 1, 1, 1)
        level = (torch.log(abar / (1 - abar)).clamp(-10, 10) / 10).expand(-1, 1, *images.shape[2:])
        condition, target = torch.cat([keywords["seg"], level], dim=1), stock.get_velocity(images, noise, t)
        call = DiffusionInferer(stock)
        return lambda network: functional.mse_loss(call(images, network, noise, t, condition, mode="concat"), target)

    values = trained(ours, (our_loss(*batch) for batch in prepared))
    expected = trained(theirs, (their_loss(*batch) for batch in prepared))
    assert values == pytest.approx(expected, rel=2e-4)  # MONAI's float32 cosine table loses three digits early
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=2e-3)  # of steps of 1e-3, normalised by Adam


@each_bundle
@pytest.mark.parametrize("override", ["paper.json", "baseline.json", "small.json", "spade.json"])
def test_overrides_define_the_same_model_for_training_and_inference(bundle: Bundle, override: str) -> None:
    if not (bundle.folder / "configs" / override).exists():
        pytest.skip("an unlabelled bundle has no label to modulate by")
    merged = [
        ConfigParser.load_config_files(
            [str(bundle.folder / "configs" / name), str(bundle.folder / "configs" / override)]
        )
        for name in ("train.json", "inference.json")
    ]
    for key in ("denoiser_def", "b_map", "scheduler", "image_size", "num_train_timesteps", "weights"):
        if key in ConfigParser.load_config_file(str(bundle.folder / "configs" / override)) or key != "weights":
            assert merged[0][key] == merged[1][key]
    assert merged[0]["diffusion_inferer"]["conditioning"] == merged[1]["diffusion_inferer"]["conditioning"]


@each_bundle
@pytest.mark.parametrize("override", ["paper.json", "baseline.json"])
def test_an_override_trains_a_step_and_draws_at_full_size(
    bundle: Bundle, override: str, data: dict[str, Path], tmp_path: Path
) -> None:
    short = [
        "--epoch_length",
        "1",
        "--max_epochs",
        "1",
        "--batch_size",
        "1",
        "--val_passes",
        "1",
        "--sample_steps",
        "1",
    ]
    where = ["--output_dir", str(tmp_path), "--weights", str(tmp_path / "model.pt")]
    files = f"['configs/train.json','configs/{override}']"
    run(bundle, command("--config_file", files, "--dataset_dir", str(data[bundle.name]), *short, *where))
    drawing = ["--num_inference_steps", "1", "--batch_size", "1", "--datalist", str(tmp_path / "one.json")]
    listed = json.loads((bundle.folder / "demo" / "dataset.json").read_text())
    item = {
        key: str(bundle.folder / "demo" / value) if key in ("label", "sector") else value
        for key, value in listed["test"][0].items()
    }
    (tmp_path / "one.json").write_text(json.dumps({**listed, "test": [item]}))
    run(bundle, command("--config_file", files.replace("train", "inference"), *drawing, *where))
    pixels = np.asarray(Image.open(tmp_path / f"{item['name']}.png"))
    configs = [str(bundle.folder / "configs" / name) for name in ("train.json", override)]
    assert list(pixels.shape) == ConfigParser.load_config_files(configs)["image_size"]
