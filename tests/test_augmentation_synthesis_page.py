"""What the page on synthesis shows runs, and what it names exists."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from bundle_data import ROOT
from monai.utils import set_determinism

from monai_bmaps.transforms import RandBMapSynthesisd

PAGE = (ROOT / "docs" / "augmentation.md").read_text().partition("## Synthesis inside a pipeline")[2]


def test_the_examples_run_in_their_order_and_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "augmentation.md", "exec"), names)
    set_determinism(None)
    assert 0 < int(names["how"]["synthetic"].sum()) < 4
    assert int(names["images"].meta["synthesis"]["synthetic"].sum()) == 2


def test_the_table_names_arguments_that_exist() -> None:
    named = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert len(named) == 8
    assert set(named) <= set(inspect.signature(RandBMapSynthesisd.__init__).parameters)


def test_the_options_of_a_data_set_are_those_of_every_bundle() -> None:
    named = set(re.findall(r"`?--(\w+) ", PAGE.partition("## A synthetic data set")[2].partition("## Is it")[0]))
    assert {"as_dataset", "new_anatomy", "screen_against", "variants"} <= named
    for config in ROOT.glob("bundles/*/configs/inference.json"):
        known = json.loads(config.read_text())
        assert named - {"config_file", "train"} <= set(known), config


def test_the_example_it_names_is_there() -> None:
    assert Path(ROOT / "examples" / "segmentation.py").is_file()
