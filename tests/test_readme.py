"""What the README shows runs, and what it names exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "bundles").glob("*/docs/*.md"))]


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def test_the_python_example_runs_and_ends_with_noisier_deep_pixels() -> None:
    names: dict[str, object] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    retained = names["view"].log_retained(names["timesteps"])  # type: ignore[attr-defined]
    assert retained[0, 0, 100, 64] < retained[0, 0, 20, 64]


def test_the_examples_on_sampling_run_in_their_order() -> None:
    names: dict[str, object] = {}
    for block in blocks("python", (ROOT / "docs" / "sampling.md").read_text()):
        exec(compile(block, "sampling.md", "exec"), names)
    assert names["changed"].shape == (1, 1, 32, 48)  # type: ignore[attr-defined]


def test_equations_are_numbered_once() -> None:
    tags = re.findall(r"\\tag\{(\w+)\}", (ROOT / "docs" / "maths.md").read_text())
    assert len(set(tags)) == len(tags) > 10


def test_the_dataset_example_is_json() -> None:
    assert json.loads(blocks("json")[0])["test"][0]["beam"]["kind"] == "sector"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
