"""Jobs of other programs: what they say, what they leave, and the beam of a picture."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bundle_data import BUNDLES, Bundle
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from PIL import Image

from monai_bmaps import LinearBeam, SectorBeam
from monai_bmaps.data.phantoms import heart_labels
from monai_bmaps.data.speckle import speckle_image
from monai_bmaps.jobs import JobReport, announce, chosen_device, with_seeds
from monai_bmaps.jobs.fitting import main
from monai_bmaps.jobs.grids import FrameGrid
from monai_bmaps.jobs.watching import WATCHED, end_with_parent
from monai_bmaps.transforms import DrawingFrames
from monai_bmaps.transforms.frame import frame_affine

SIZE = (5, 7)
BEAM = LinearBeam(top=1, bottom=4)


def messages(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("BMAP ")) for line in text.splitlines() if line.startswith("BMAP ")]


# grids


def test_on_the_same_grid_not_a_bit_is_changed() -> None:
    image = torch.randn(SIZE)
    assert torch.equal(FrameGrid(SIZE, frame_affine())(image), image)


@pytest.mark.parametrize("crop_to_beam", [False, True])
@pytest.mark.parametrize("size", [(96, 60), (40, 90), (256, 256)])
def test_a_ramp_comes_back_to_its_place_from_the_model_s_grid(
    size: tuple[int, int], crop_to_beam: bool, tmp_path: Path
) -> None:
    """What lies at a place of the frame is found there again, whatever was cropped, resized and padded."""
    rows, columns = torch.meshgrid(*(torch.linspace(0, 200, n) for n in size), indexing="ij")
    ramps = {"rows": rows, "columns": columns}
    Image.fromarray(np.ones(size, np.uint8)).save(tmp_path / "label.png")
    beam = {"kind": "linear", "top": 8, "bottom": size[0] - 9, "left": 5, "right": size[1] - 12}
    inside = LinearBeam(10, size[0] - 11, 7, size[1] - 14).mask(size)
    for name, ramp in ramps.items():
        Image.fromarray(ramp.round().to(torch.uint8).numpy()).save(tmp_path / f"{name}.png")
        prepare = DrawingFrames((48, 64), 1, beam=beam, crop_to_beam=crop_to_beam, edit=True)
        item = prepare({"label": str(tmp_path / "label.png"), "image": str(tmp_path / f"{name}.png")})
        back = (FrameGrid(size, item["seg"].affine)(item["image"][0]) + 1) * 127.5
        pixel = 200 / (size[0] if name == "rows" else size[1])
        # half a pixel of the coarser of the two grids
        coarser = max(1.0, size[0] / 48, size[1] / 64)
        assert float((back - ramp)[inside].abs().max()) < 0.75 * pixel * coarser + 1


# seeds and devices


def test_seeds_of_the_job_replace_those_of_the_list() -> None:
    items = [{"name": "a", "seed": 1}, {"name": "b", "seed": 2}]
    assert [item["seed"] for item in with_seeds(items, [9, 9])] == [9, 9]
    assert with_seeds(items, None) == items


def test_seeds_must_be_as_many_as_images() -> None:
    with pytest.raises(ValueError, match="2 images need as many seeds, got 1"):
        with_seeds([{"name": "a"}, {"name": "b"}], [1])


def test_the_processor_is_a_device_everywhere() -> None:
    assert chosen_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a graphics card")
def test_a_graphics_card_that_is_not_there_is_told_of() -> None:
    assert chosen_device("auto") == torch.device("cpu")
    with pytest.raises(
        ValueError, match=r"the device cuda was asked for, .* sees no graphics card; choose cpu or auto"
    ):
        chosen_device("cuda")


def test_a_device_that_nobody_knows_is_told_of() -> None:
    with pytest.raises(ValueError, match="there is no device 'abacus'; choose auto, cpu or cuda"):
        chosen_device("abacus")


def test_nobody_watches_the_parent_unless_it_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WATCHED, raising=False)
    assert end_with_parent() is None


# reports


def report_of(folder: Path, **changes: Any) -> JobReport:
    items = [{"name": f"image_{k}", "seed": 3 + k} for k in range(3)]
    dataset = [{"seg": MetaTensor(torch.zeros(3, *SIZE), affine=frame_affine())} for _ in items]
    settings: dict[str, Any] = {"items": items, "dataset": dataset, "size": SIZE, "beam": BEAM.to_dict()}
    return JobReport(folder, **{**settings, "record": {"Steps": 2, "Sampler": {"a": 1}, "Guidance": None}, **changes})


def run_through(report: JobReport, images: torch.Tensor) -> None:
    """Two batches, of two images and of one, of two steps each."""
    report.start(None)
    for batch in images.split(2):
        for step in (1, 2):
            report.step(step, 2, batch)
        report.collect(SimpleNamespace(state=SimpleNamespace(output={"pred": batch})))
    report.finish(None)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 1, *SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_message_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    announce("state", state="ü\n")
    assert capsys.readouterr().out == 'BMAP {"event": "state", "state": "\\u00fc\\n"}\n'


def test_each_step_of_each_batch_is_told(
    tmp_path: Path, images: torch.Tensor, capsys: pytest.CaptureFixture[str]
) -> None:
    run_through(report_of(tmp_path), images)
    said = messages(capsys.readouterr().out)
    steps = [(x["image"], x["batch"], x["step"]) for x in said if x["event"] == "progress"]
    assert steps == [(0, 2, 1), (0, 2, 2), (2, 1, 1), (2, 1, 2)]
    assert said[-1] == {"event": "done", "images": 3}


def test_the_manifest_vouches_for_the_images(tmp_path: Path, images: torch.Tensor) -> None:
    run_through(report_of(tmp_path, job="abc"), images)
    written, manifest = np.load(tmp_path / "images.npy"), json.loads((tmp_path / "result.json").read_text())
    assert written.shape == (3, *SIZE)
    assert manifest["sha256"] == hashlib.sha256(written.tobytes()).hexdigest()
    assert (manifest["job"], manifest["seeds"], manifest["synthetic"]) == ("abc", [3, 4, 5], True)
    assert manifest["record"] == {"Steps": 2, "Sampler": "{'a': 1}", "Guidance": None}


def test_outside_the_beam_it_is_black(tmp_path: Path, images: torch.Tensor) -> None:
    run_through(report_of(tmp_path), images.clamp(min=0))
    written = np.load(tmp_path / "images.npy")
    assert not written[:, 0].any()
    assert written[:, 1:].all()


def test_a_changed_image_stays_as_it_was_outside_the_beam(tmp_path: Path, images: torch.Tensor) -> None:
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(tmp_path / "given.png")
    items = [{"name": str(k), "seed": k, "image": str(tmp_path / "given.png")} for k in range(3)]
    run_through(report_of(tmp_path, items=items, edited=True), images)
    assert (np.load(tmp_path / "images.npy")[:, 0] == 77).all()


def test_a_job_that_starts_again_vouches_for_nothing_until_it_ends(tmp_path: Path, images: torch.Tensor) -> None:
    report = report_of(tmp_path)
    run_through(report, images)
    report.start(None)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(("interval", "count"), [(0.0, 4), (1e9, 1)])
def test_previews_come_when_asked_for_and_not_too_often(
    tmp_path: Path, images: torch.Tensor, capsys: pytest.CaptureFixture[str], interval: float, count: int
) -> None:
    run_through(report_of(tmp_path, preview=True, preview_interval=interval), images)
    told = [x for x in messages(capsys.readouterr().out) if x["event"] == "preview"]
    assert len(told) == count
    assert np.load(tmp_path / "preview.npy").shape == SIZE


def test_no_preview_is_written_unless_asked_for(tmp_path: Path, images: torch.Tensor) -> None:
    run_through(report_of(tmp_path), images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "result.json"]


def test_a_preview_that_cannot_be_written_does_not_end_the_job(tmp_path: Path, images: torch.Tensor) -> None:
    (tmp_path / "preview.npy").mkdir()  # no file can take its place
    run_through(report_of(tmp_path, preview=True, preview_interval=0.0), images)
    assert (tmp_path / "result.json").is_file()


# the bundles' configuration


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_a_job_draws_with_the_network_s_own_process_unless_told(bundle: Bundle) -> None:
    parser = ConfigParser()
    parser.read_config([bundle.folder / "configs" / name for name in ("inference.json", "job.json")])
    drawing, trained = (parser.get_parsed_content(name) for name in ("drawing_scheduler", "scheduler"))
    assert drawing.sampling_settings == trained.sampling_settings
    assert drawing.b_map == trained.b_map
    assert torch.equal(drawing.log_alphas_cumprod, trained.log_alphas_cumprod)
    parser["drawn_attenuation_db"] = 12.0
    assert parser.get_parsed_content("drawn_b_map").total_attenuation_db(1000) == pytest.approx(12.0)
    assert parser.get_parsed_content("b_map").total_attenuation_db(1000) == pytest.approx(44.0)


# fitting


def test_the_beam_of_a_picture_is_found_and_written(tmp_path: Path) -> None:
    beam, size = SectorBeam(apex=(4, 63.5), radii=(0, 110), half_angle_deg=37), (128, 128)
    generator = torch.Generator().manual_seed(0)
    frame = speckle_image(heart_labels(size, beam=beam, generator=generator), beam, kind="heart", generator=generator)
    Image.fromarray((frame * 255).round().to(torch.uint8).numpy()).save(tmp_path / "frame.png")
    assert (
        main(["fit-beam", str(tmp_path / "frame.png"), "--kind", "sector", "--output", str(tmp_path / "b.json")]) == 0
    )
    found = json.loads((tmp_path / "b.json").read_text())
    assert found["overlap"] > 0.95
    assert found["beam"]["apex"] == pytest.approx([4, 63.5], abs=2)
    assert found["beam"]["half_angle_deg"] == pytest.approx(37, abs=1.5)


def test_a_picture_without_a_beam_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "black.png")
    assert main(["fit-beam", str(tmp_path / "black.png"), "--output", str(tmp_path / "b.json")]) == 2
    assert "no beam was found in the picture: it must be black outside the beam" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


def test_what_is_no_picture_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.png").write_text("no picture")
    assert main(["fit-beam", str(tmp_path / "text.png"), "--output", str(tmp_path / "b.json")]) == 2
    assert "cannot identify image file" in capsys.readouterr().err
