"""Benchmarks and examples that ask for a data set get what they need from one."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_data import BUNDLES, write_phantoms
from PIL import Image

from benchmarks import cardiac_quality, training_step
from benchmarks.cardiac import load_cardiac
from examples import editing
from monai_bmaps.metrics import InceptionStem

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(BUNDLES[0], tmp_path_factory.mktemp("camus"))


@pytest.fixture(scope="module")
def patient(data: Path) -> Path:
    """The phantoms, each also at end-systole."""
    for folder in ("images", "labels", "sectors"):
        for path in sorted((data / folder).glob("*_ED.png")):
            Image.open(path).save(path.with_name(path.name.replace("_ED", "_ES")))
    return data


def test_the_quality_benchmark_draws_for_held_out_frames_and_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    items = cardiac_quality.held_out(str(data), "test")
    chosen = argparse.Namespace(work=tmp_path, precision=None, weights=None)
    stem = InceptionStem()
    kept = cardiac_quality.sample("ode:1", 1, items[:1], stem, chosen)
    assert kept["features"].shape == (1, 256)
    assert kept["images"].shape == (1, 128, 128)
    again = cardiac_quality.sample("ode:1", 1, items[:1], None, chosen)  # type: ignore[arg-type]
    assert np.array_equal(again["features"], kept["features"])


def test_the_training_step_benchmark_compares_two_steps_that_run() -> None:
    cardiac = load_cardiac()
    images = torch.rand(training_step.BATCH, 1, *cardiac.depth.shape[2:]) * 2 - 1
    network = training_step.Answered(images)
    for forward in (training_step.with_b_maps(cardiac, images), training_step.without_b_maps(cardiac, images)):
        output, target = forward(network)
        assert output.shape == target.shape == images.shape


def test_the_editing_example_takes_a_real_heart_in_both_phases(patient: Path) -> None:
    found = editing.real(str(patient))
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        "image": (1, 1, 128, 128),
        "depth": (1, 1, 128, 128),
        "ED": (1, 5, 128, 128),
        "ES": (1, 5, 128, 128),
    }
