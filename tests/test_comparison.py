"""The comparison as a whole: report, going on, planted faults, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_bmaps.metrics import Findings, InceptionStem, Measured, Report, Settings, compare
from monai_bmaps.metrics.command import main
from monai_bmaps.metrics.comparison.families import FAMILIES
from monai_bmaps.metrics.comparison.store import Store, digest_of
from monai_bmaps.metrics.images.image_set import ImageSet

SIZE = (33, 40)


def speckle(count: int, seed: int, blur: int = 0) -> torch.Tensor:
    """Textures with a depth trend, a stand-in for frames."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 1, *SIZE, generator=generator).square() * torch.linspace(1, 0.3, SIZE[0])[:, None]
    for _ in range(blur):
        images = torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    return images


def a_set(name: str, count: int, seed: int, **options: Any) -> ImageSet:
    groups = tuple(f"patient{row // 2}" for row in range(count))
    return ImageSet(name, tuple(f"frame_{row}" for row in range(count)), speckle(count, seed, **options), groups=groups)


@pytest.fixture(scope="module")
def stem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "stem.npz"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        np.savez(path, **{name: value.numpy() for name, value in InceptionStem().state_dict().items()})
    return path


@pytest.fixture(scope="module")
def settings(stem: Path) -> Settings:
    return Settings(stem=stem, lpips=stem.with_name("absent.pth"), resamplings=5)


@pytest.fixture(scope="module")
def compared(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("report") / "new"
    sets = (a_set("real", 8, 0), a_set("synthetic", 7, 1, blur=2), a_set("training", 10, 2))
    return folder, compare(*sets, settings=settings, output=folder)


def write_pngs(folder: Path, images: torch.Tensor) -> Path:
    folder.mkdir(parents=True)
    for row, image in enumerate(images):
        Image.fromarray((image[0] * 255).round().byte().numpy()).save(folder / f"frame_{row}.png")
    return folder


# The report


def test_the_files_tell_the_same_numbers(compared: tuple[Path, Report]) -> None:
    folder, report = compared
    content = json.loads((folder / "report.json").read_text())
    page = (folder / "report.md").read_text()
    assert [*content["families"]] == [*FAMILIES]
    for family, found in content["families"].items():
        assert f"## {found['title']}" in page
        for key, row in found["measured"].items():
            assert row.get("value") == report.measured(family, key).value
            assert (
                f"left out: {row['left_out']}".replace("|", "/") if "left_out" in row else f"{row['value']:.4g}"
            ) in page
    assert content["provenance"]["Images"] == "7 synthetic (4 groups), 8 real (4 groups), 10 training (5 groups)"


def test_every_figure_of_the_page_is_a_picture_beside_it(compared: tuple[Path, Report]) -> None:
    folder, report = compared
    names = [name for found in report.findings.values() for name in found.figures]
    assert {"samples.png", "frechet.png", "kernel.png", "pairs.png", "realism_overview.png"} <= set(names)
    for name in names:
        with Image.open(folder / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5
        assert f"({name})" in (folder / "report.md").read_text()


def test_what_could_not_be_measured_is_a_row_and_the_rest_is_there(compared: tuple[Path, Report]) -> None:
    report = compared[1]
    assert "no weights of LPIPS" in str(report.measured("pairs", "lpips").left_out)
    assert report.measured("pairs", "ssim").value is not None


def test_blurred_images_are_above_the_floor(compared: tuple[Path, Report]) -> None:
    report = compared[1]
    for family, key in (("frechet", "max_pool_1"), ("kernel", "kernel_max_pool_1")):
        value, floor = (report.measured(family, name).value for name in (key, f"floor_{key}"))
        assert value is not None
        assert floor is not None
        assert value > 3 * abs(floor)
    coverage, floor = (report.measured("manifold", f"{part}coverage_max_pool_1").value for part in ("", "floor_"))
    assert coverage is not None
    assert floor is not None
    assert coverage < floor


def test_an_unknown_number_is_refused_with_those_there_are(compared: tuple[Path, Report]) -> None:
    with pytest.raises(KeyError, match="frechet has no 'fid'; it has max_pool_2, max_pool_1"):
        compared[1].measured("frechet", "fid")


def test_without_training_frames_the_floor_is_of_halves_that_share_no_patient(settings: Settings) -> None:
    report = compare(a_set("real", 8, 0), a_set("synthetic", 7, 1), settings=settings, skip=["pairs", "images"])
    row = report.measured("frechet", "floor_max_pool_2")
    assert row.counts == {"real (one half)": 4, "real (other half)": 4}
    assert any("two halves" in note for note in report["frechet"].notes)


# Going on


def test_a_stopped_comparison_goes_on_where_it_was(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while neighbours are sought: what came before is not measured again, and the report is the same."""
    sets = (a_set("real", 8, 0), a_set("synthetic", 7, 1))
    whole = compare(*sets, settings=settings, output=tmp_path / "whole")
    measured: list[str] = []
    families = dict(FAMILIES)

    def counted(name: str) -> Callable[[Any], Findings]:
        def measure(compared: Any) -> Findings:
            measured.append(name)
            if name == "manifold" and measured.count(name) == 1:
                raise KeyboardInterrupt
            return families[name](compared)

        return measure

    for name in families:
        monkeypatch.setitem(FAMILIES, name, counted(name))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        compare(*sets, settings=settings, output=tmp_path / "cut")
    assert not (tmp_path / "cut" / "report.md").exists()
    again = compare(*sets, settings=settings, output=tmp_path / "cut")
    names = [*FAMILIES]
    cut = names.index("manifold")
    assert measured == [*names[: cut + 1], *names[cut:]]
    assert again.to_dict() == whole.to_dict()
    assert (tmp_path / "cut" / "frechet.png").read_bytes() == (tmp_path / "whole" / "frechet.png").read_bytes()


def test_other_images_or_settings_are_measured_anew(stem: Path, tmp_path: Path) -> None:
    real, synthetic = a_set("real", 8, 0), a_set("synthetic", 7, 1)
    first = digest_of(real, synthetic, Settings(stem=stem), stem)
    assert first == digest_of(a_set("real", 8, 0), synthetic, Settings(stem=stem), stem)
    changed = [
        digest_of(a_set("real", 8, 3), synthetic, Settings(stem=stem), stem),
        digest_of(real, a_set("synthetic", 6, 1), Settings(stem=stem), stem),
        digest_of(real, synthetic, Settings(stem=stem, resamplings=9), stem),
        digest_of(real, synthetic, Settings(stem=stem), tmp_path / "absent"),
    ]
    assert len({first, *changed}) == 5


def test_kept_findings_are_those_that_were_measured(tmp_path: Path) -> None:
    rows = [Measured("a", "A", 1.5, (1.0, 2.0), {"real": 3}), Measured("b", "B", left_out="no labels")]
    found = Findings("Title", rows, {"f.png": lambda path: path.write_text("drawn")}, ["note"])  # type: ignore[dict-item]
    store = Store(tmp_path)
    for measure in (lambda: found, lambda: pytest.fail("measured twice")):
        kept = store.findings("key", measure)
        assert (kept.title, kept.rows, kept.notes) == ("Title", rows, ["note"])
        kept.figures["f.png"](tmp_path / "copy.png")
        assert (tmp_path / "copy.png").read_text() == "drawn"


# Bad input


def test_sets_of_different_sizes_are_refused() -> None:
    small = ImageSet("synthetic", ("a", "b"), torch.zeros(2, 1, 5, 7))
    with pytest.raises(ValueError, match=r"one size, got 33 x 40 \(real\) and 5 x 7 \(synthetic\); .*--size"):
        compare(a_set("real", 8, 0), small)


def test_a_family_that_does_not_exist_cannot_be_skipped() -> None:
    with pytest.raises(ValueError, match="no family fid to skip; there are images, frechet"):
        compare(a_set("real", 8, 0), a_set("synthetic", 7, 1), skip=["fid"])


def test_one_image_leaves_out_every_distance_and_ends(settings: Settings) -> None:
    report = compare(a_set("real", 8, 0), a_set("synthetic", 1, 1), settings=settings)
    for family, key in (("frechet", "max_pool_2"), ("kernel", "kernel_max_pool_2"), ("manifold", "recall_max_pool_1")):
        assert "got 1 synthetic; give more" in str(report.measured(family, key).left_out)


def test_constant_images_are_named_and_give_no_infinite_number(settings: Settings, tmp_path: Path) -> None:
    blank = ImageSet("synthetic", tuple(f"frame_{row}" for row in range(7)), torch.full((7, 1, *SIZE), 0.5))
    report = compare(a_set("real", 8, 0), blank, settings=settings, output=tmp_path)  # its JSON refuses infinities
    row = report.measured("images", "synthetic_constant")
    assert row.value == 7
    assert "frame_0, frame_1, frame_2" in row.name
    assert report.measured("images", "synthetic_repeated").value == 6


def test_missing_weights_leave_out_what_needs_them(tmp_path: Path) -> None:
    settings = Settings(stem=tmp_path / "absent.npz", lpips=tmp_path / "absent.pth", resamplings=5)
    report = compare(a_set("real", 8, 0), a_set("synthetic", 7, 1), settings=settings, output=tmp_path / "report")
    for family in ("frechet", "kernel", "manifold"):
        assert "no weights at" in str(report.measured(family, family).left_out)
    assert report.measured("pairs", "psnr").value is not None
    # nor is the gap kept: with weights the same command fills it
    assert not list((tmp_path / "report").glob("cache/findings-frechet*"))


# The command


def test_the_command_compares_two_folders(stem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, synthetic = (write_pngs(tmp_path / name, speckle(6, seed)) for seed, name in enumerate(("R", "S")))
    arguments = ["compare", "--synthetic", str(synthetic), "--real", str(real), "--output", str(tmp_path / "O")]
    options = ["--stem", str(stem), "--resamplings", "3", "--quiet", "--skip", "pairs", "manifold"]
    assert main([*arguments, *options]) == 0
    assert f"Read {tmp_path / 'O' / 'report.md'}" in capsys.readouterr().out
    content = json.loads((tmp_path / "O" / "report.json").read_text())
    assert [*content["families"]] == [name for name in FAMILIES if name not in ("pairs", "manifold")]
    assert content["provenance"]["Synthetic"] == "S"


def test_folders_of_two_sizes_need_the_size_option(
    stem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = write_pngs(tmp_path / "R", speckle(4, 0))
    synthetic = write_pngs(tmp_path / "S", speckle(4, 1)[..., :30, :])
    arguments = ["compare", "--synthetic", str(synthetic), "--real", str(real), "--output", str(tmp_path / "O")]
    options = ["--stem", str(stem), "--resamplings", "3", "--quiet", "--skip", "pairs", "manifold"]
    assert main([*arguments, *options]) == 2
    assert "33 x 40 (real) and 30 x 40 (synthetic); fit them into one with --size" in capsys.readouterr().err
    assert main([*arguments, *options, "--size", "33", "40"]) == 0


def test_a_split_of_a_data_set_can_stand_in_for_synthetic_images(stem: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    for split, seed in (("training", 0), ("test", 1)):
        write_pngs(root / split, speckle(4, seed))
    (root / "images").mkdir()
    lists: dict[str, Any] = {"generator": "monai_bmaps.data.prepare", "source": "speckle"}
    for split in ("training", "test"):
        for file in (root / split).iterdir():
            file.rename(root / "images" / f"{split}_{file.name}")
        files = sorted((root / "images").glob(f"{split}_*"))
        entries = [{"name": file.stem, "patient": file.stem, "image": f"images/{file.name}"} for file in files]
        lists[split] = entries
    (root / "dataset.json").write_text(json.dumps(lists))
    arguments = ["compare", "--synthetic", str(root), "--synthetic-split", "training", "--real", str(root)]
    options = ["--stem", str(stem), "--resamplings", "3", "--quiet", "--skip", "pairs", "manifold"]
    assert main([*arguments, *options, "--output", str(tmp_path / "O")]) == 0
    content = json.loads((tmp_path / "O" / "report.json").read_text())
    assert content["families"]["frechet"]["measured"]["max_pool_1"]["images"] == {"synthetic": 4, "real": 4}
    assert content["families"]["frechet"]["measured"]["max_pool_1"]["value"] > 0


def test_an_empty_folder_ends_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "S").mkdir()
    folders = ["--synthetic", str(tmp_path / "S"), "--real", str(tmp_path / "S"), "--output", str(tmp_path / "O")]
    assert main(["compare", *folders]) == 2
    assert "give the folder with the synthetic images" in capsys.readouterr().err
    assert not (tmp_path / "O").exists()


def test_copies_and_obedience_need_the_training_images(stem: Path) -> None:
    real, synthetic = a_set("real", 6, 0), a_set("synthetic", 6, 1)
    report = compare(real, synthetic, settings=Settings(stem=stem, resamplings=3), skip=["pairs", "realism"])
    for family in ("obedience", "memorisation"):
        (row,) = report[family].rows
        assert row.value is None
        assert "--train" in str(row.left_out)


def test_copies_are_sought_in_pixels_and_in_features(stem: Path) -> None:
    training = a_set("training", 20, 2)
    training = replace(training, groups=tuple(f"other {group}" for group in training.groups))
    sets = a_set("real", 20, 0), a_set("synthetic", 4, 1), training
    settings = Settings(stem=stem, resamplings=3)
    report = compare(*sets, settings=settings, skip=["pairs", "realism", "obedience"])
    keys = {row.key.rsplit("_", 1)[1] for row in report["memorisation"].rows}
    assert keys == {"pixel", "feature"}
