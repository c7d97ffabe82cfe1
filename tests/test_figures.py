"""Figures: what is in them, and what is refused. Pictures are read back as pixels where that says something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_data import ROOT
from PIL import Image

from monai_bmaps import BMap, SectorBeam
from monai_bmaps.figures import PRESETS, Process, b_maps, chain, draw_b_maps, draw_forward, draw_panels
from monai_bmaps.figures.__main__ import main
from monai_bmaps.figures.grid import image_grid
from monai_bmaps.figures.panels import common_names

SHAPE = (24, 32)
BEAM = SectorBeam(apex=(0.0, 15.5), radii=(0.0, 23.0), half_angle_deg=40.0)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Two folders with three names in common, each with one of its own."""
    found = {"real": tmp_path / "a", "synthetic": tmp_path / "b"}
    for value, folder in enumerate(found.values()):
        folder.mkdir()
        for name in ("x", "y", "z", f"only_{value}"):
            Image.fromarray(np.full((6, 9), 100 + value, np.uint8)).save(folder / f"{name}.png")
    return found


def test_a_b_map_panel_holds_what_the_map_has_taken_by_then() -> None:
    depth, inside = BEAM.depth_map(SHAPE), BEAM.mask(SHAPE)
    process = Process(BMap.from_attenuation(db=44.0))
    panel = b_maps._gathered(process, depth, inside, 0.5)
    expected = 44.0 * depth.double().numpy() * 0.5**1.5
    assert np.allclose(panel[inside.numpy() > 0], expected[inside.numpy() > 0], atol=1e-5)
    assert np.isnan(panel[inside.numpy() == 0]).all()


def test_processes_without_a_map_are_not_drawn_and_alone_are_refused(tmp_path: Path) -> None:
    depth, inside = BEAM.depth_map(SHAPE), BEAM.mask(SHAPE)
    draw_b_maps(tmp_path / "maps.png", depth, inside)
    assert (tmp_path / "maps.png").is_file()
    with pytest.raises(ValueError, match="none of these processes"):
        draw_b_maps(tmp_path / "none.png", depth, inside, {"no B-map": PRESETS["no B-map"]})


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_figures_are_written_in_the_format_of_their_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"forward.{ending}"
    draw_forward(path, torch.zeros(SHAPE), BEAM.depth_map(SHAPE), BEAM.mask(SHAPE), shares=(0.0, 0.5))
    start = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert path.read_bytes().startswith(start)


def test_all_rows_of_the_forward_strip_take_the_same_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[list[np.ndarray]] = []
    monkeypatch.setattr(chain, "image_grid", lambda rows, *_: kept.extend(rows))
    monkeypatch.setattr(chain, "save", lambda figure, path: None)
    same = {"one": Process(BMap.preset("physical")), "two": Process(BMap.preset("physical"))}
    draw_forward("", torch.zeros(SHAPE), BEAM.depth_map(SHAPE), BEAM.mask(SHAPE), same, shares=(0.0, 0.3))
    assert np.array_equal(kept[0][1], kept[1][1])
    inside = BEAM.mask(SHAPE).numpy() > 0
    assert kept[0][1][~inside].max() == 0
    assert (kept[0][0][inside] == 128).all()


def test_the_last_panel_of_the_reverse_strip_is_the_image_that_is_drawn(tmp_path: Path) -> None:
    from monai_bmaps import BMapDiffusionInferer, BMapDPMSolverScheduler, BMapSynthesisInferer
    from monai_bmaps.pictures import to_grey

    scheduler = BMapDPMSolverScheduler(100, "cosine", BMap.preset("physical"))
    sampler = BMapSynthesisInferer(BMapDiffusionInferer(scheduler, "concat"), num_inference_steps=4, verbose=False)
    inside = BEAM.mask(SHAPE)
    seg, depth = torch.stack([~inside, inside]).float(), BEAM.depth_map(SHAPE)[None]

    def network(x: torch.Tensor, timesteps: torch.Tensor, **_: object) -> torch.Tensor:
        return x[:, :1] * 0.3

    row = chain.reverse_row(network, sampler, seg, depth, [1, 4], seed=3)
    drawn = sampler(seg[None], network, depth=depth[None], seeds=[3])
    assert np.abs(row[1].astype(int) - to_grey(drawn[0, 0]).astype(int)).max() <= 1
    with pytest.raises(ValueError, match="steps must lie from 1 to 4"):
        chain.reverse_row(network, sampler, seg, depth, [5])


def test_panels_are_of_names_that_all_folders_have(folders: dict[str, Path], tmp_path: Path) -> None:
    assert common_names(folders, 2) == ["x", "z"]
    draw_panels(tmp_path / "panels.png", folders, ["x", "y"])
    with pytest.raises(FileNotFoundError, match=r"only_0\.png is missing"):
        draw_panels(tmp_path / "panels.png", folders, ["only_0"])
    with pytest.raises(FileNotFoundError, match="no PNG of one name in common"):
        common_names({**folders, "empty": tmp_path / "nothing"}, 2)


def test_a_label_map_is_spread_over_the_grey_levels(tmp_path: Path) -> None:
    from monai_bmaps.figures.panels import _read

    Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8)).save(tmp_path / "labels.png")
    assert _read(tmp_path / "labels.png").tolist() == [[0, 85], [170, 255]]


def test_a_grid_with_other_titles_than_panels_is_refused() -> None:
    panel = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="as many titles"):
        image_grid([[panel, panel]], ["row"], ["only one column"])
    with pytest.raises(ValueError, match="equally many panels"):
        image_grid([[panel], [panel, panel]], ["a", "b"])


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_every_figure_is_one_command(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    commands = {
        "b-maps": ["--kind", "thyroid"],
        "forward": ["--kind", "convex"],
        "reverse": ["--steps", "1"],
        "panels": [f"--folder={name}={folder}" for name, folder in folders.items()],
    }
    for name, options in commands.items():
        path = tmp_path / f"{name}.png"
        assert main([name, "--output", str(path), *options]) == 0
        with Image.open(path) as picture:
            assert picture.width > 100
        assert f"wrote {path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forward", "--image", "frame.png"], "give --image and --sector together"),
        (["panels", "--folder", "untitled"], "every --folder is TITLE=FOLDER"),
    ],
)
def test_what_is_missing_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--output", "picture.png"]) == 2
    assert message in capsys.readouterr().err
