"""Denoisers as ONNX files: what they compute, in which precision, and that a wrong one is not written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import LABELS
from torch import nn

from monai_bmaps import export
from monai_bmaps.export import export_denoiser, main
from monai_bmaps.networks import PatchUNet

Maker = Callable[..., nn.Module]
BUNDLE = Path(__file__).parents[1] / "bundles" / "cardiac_bmap_sdm"
ATTENTION = {"attention_levels": (False, True), "num_head_channels": 8, "use_flash_attention": True}

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX export is an extra: pip install 'monai-bmaps[onnx]'")


class Linear(nn.Module):
    """A denoiser of one weight, which exports at once."""

    def __init__(self, factor: float = 0.3) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.factor.reshape(1, 1, 1, 1)) + timesteps.reshape(-1, 1, 1, 1) / 1000


def run(path: Path, **given: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in given.items()})[0])


def test_an_exported_network_computes_what_pytorch_does_at_any_size(tiny_unet: Maker, tmp_path: Path) -> None:
    network = PatchUNet(tiny_unet(12, 4, **ATTENTION))
    difference = export_denoiser(network, tmp_path / "net.onnx", {"x": 3}, (4, 4))
    given = {"x": torch.randn(5, 3, 12, 28), "timesteps": torch.tensor([0, 3, 700, 20, 999])}
    with torch.no_grad():
        expected = network(**given)
    assert float(expected.std()) > 0.1
    assert torch.allclose(run(tmp_path / "net.onnx", **given), expected, atol=1e-4)
    assert difference < 1e-4


def test_a_spade_network_takes_its_segmentation_as_an_input(tiny_spade: Maker, tmp_path: Path) -> None:
    network = tiny_spade()
    export_denoiser(network, tmp_path / "net.onnx", {"x": 1, "seg": LABELS}, (2, 2))
    seg = torch.nn.functional.one_hot(torch.randint(LABELS, (1, 6, 8)), LABELS).movedim(-1, 1).float()
    given = {"x": torch.randn(1, 1, 6, 8), "timesteps": torch.tensor([30]), "seg": seg}
    with torch.no_grad():
        expected = network(**given)
    assert torch.allclose(run(tmp_path / "net.onnx", **given), expected, atol=1e-4)


def test_half_precision_and_autocast_do_not_reach_the_file(tmp_path: Path) -> None:
    network = Linear().half()
    with torch.autocast("cpu", torch.bfloat16):
        export_denoiser(network, tmp_path / "net.onnx", {"x": 1}, (1, 1))
    drawn = run(tmp_path / "net.onnx", x=torch.full((1, 1, 2, 3), 1 / 3), timesteps=torch.tensor([1]))
    assert torch.allclose(drawn, network.factor.detach().float() / 3 + 1e-3, atol=1e-7)
    assert network.factor.dtype == torch.float16


def test_a_network_that_differs_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write = export._write
    monkeypatch.setattr(export, "_write", lambda _, *rest: write(Linear(0.31).eval(), *rest))
    with pytest.raises(RuntimeError, match=r"differs from PyTorch by .*: not written"):
        export_denoiser(Linear(), tmp_path / "net.onnx", {"x": 1}, (1, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"needs onnxscript: pip install 'monai-bmaps\[onnx\]'"):
        export_denoiser(Linear(), tmp_path / "net.onnx", {"x": 1}, (1, 1))


@pytest.mark.parametrize("shape", [["*", "*"], [128, 128], ["8*n"]])
def test_sizes_that_are_not_free_are_refused(shape: list[str]) -> None:
    with pytest.raises(ValueError, match=r"spatial_shape in metadata.json must be like"):
        export._multiples(shape)


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI's notice on every config
def test_the_command_exports_a_bundle_and_tells_the_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def recorded(*arguments: object) -> float:
        asked.append(arguments)
        return 2e-6

    monkeypatch.setattr(export, "export_denoiser", recorded)
    main(["--bundle", str(BUNDLE), "--output", str(tmp_path / "net.onnx")])
    denoiser, path, channels, multiples = asked[0]
    shipped = torch.load(BUNDLE / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value.half(), shipped[name]) for name, value in denoiser.state_dict().items())
    assert (path, channels, multiples) == (tmp_path / "net.onnx", {"x": 7}, (8, 8))
    assert capsys.readouterr().out.endswith("differs from PyTorch by 2.0e-06 at most\n")


def test_the_command_without_its_extra_says_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(*_: object) -> float:
        raise ImportError("ONNX export needs onnx: pip install 'monai-bmaps[onnx]'")

    monkeypatch.setattr(export, "export_bundle", without)
    assert main(["--bundle", str(BUNDLE), "--output", str(tmp_path / "net.onnx")]) == 2
    assert capsys.readouterr().err == "error: ONNX export needs onnx: pip install 'monai-bmaps[onnx]'\n"
