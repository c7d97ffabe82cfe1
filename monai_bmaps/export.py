"""A bundle's denoiser as an ONNX file, for programs without PyTorch; checked against PyTorch before it is written.

``python -m monai_bmaps.export --bundle DIR --output FILE``. One evaluation is exported, in single precision, for any
number of images and any size that the network takes; the sampling loop around it is a few products per step
(``docs/maths.md``).
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_bmaps.files import replacing
from monai_bmaps.inferers import SynthesisNetwork
from monai_bmaps.training import load_weights

Multiples = tuple[int, int]
"""Height and width are multiples of these."""

TOLERANCE = 1e-4
"""Largest difference that passes, relative to the largest output."""


def export_denoiser(denoiser: nn.Module, path: str | Path, channels: Mapping[str, int], multiples: Multiples) -> float:
    """Write a denoiser as ONNX and return how far it is from PyTorch at most.

    The file's inputs are ``x`` ``(N, C, H, W)``, ``timesteps`` ``(N,)`` int64 and, where there is one, ``seg``; N, H
    and W are free. It is compared at other sizes than it was exported at, and written only if it agrees.

    Args:
        denoiser: in any precision and on any device; a copy in float32 on the CPU is exported.
        path: the file, replaced as a whole.
        channels: channels of the inputs that are images, by name: ``{"x": 7}`` or ``{"x": 2, "seg": 5}``.
        multiples: what height and width must be multiples of.

    Returns:
        The largest absolute difference from PyTorch's output.

    Raises:
        ImportError: onnx, onnxruntime or onnxscript is not installed.
        RuntimeError: the exported network differs by more than rounding.
    """
    runtime = _runtime()
    plain = copy.deepcopy(denoiser).to("cpu", torch.float32).eval()
    with replacing(path) as partial, torch.no_grad(), torch.autocast("cpu", enabled=False):
        _write(plain, partial, _inputs(channels, 2, (2 * multiples[0], 3 * multiples[1])), multiples)
        session = runtime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        differences = []
        for batch, shape in ((1, multiples), (3, (3 * multiples[0], 2 * multiples[1]))):
            given = _inputs(channels, batch, shape)
            expected = plain(**given)
            found = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in given.items()})[0])
            differences.append(float((found - expected).abs().max()))
            if not differences[-1] <= TOLERANCE * max(1.0, float(expected.abs().max())):
                raise RuntimeError(f"the exported network differs from PyTorch by {differences[-1]:.2g}: not written")
    return max(differences)


def export_bundle(bundle: str | Path, path: str | Path) -> float:
    """As :func:`export_denoiser`, for the network of a bundle's ``configs/inference.json`` with its weights.

    Configurations can run code: export bundles that you trust.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(Path(bundle, "configs", "inference.json"))
    parser.read_meta(Path(bundle, "configs", "metadata.json"))
    parser["bundle_root"] = str(bundle)
    network = load_weights(parser.get_parsed_content("network_def"), parser.get_parsed_content("weights"))
    if not isinstance(network, SynthesisNetwork):
        raise ValueError(f"network_def of {bundle} must be a SynthesisNetwork, got {type(network).__name__}")
    image = parser.get("_meta_::network_data_format::inputs::image")
    channels = _channels(network, image["num_channels"])
    return export_denoiser(network.denoiser, path, channels, _multiples(image["spatial_shape"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status, 2 if there is no bundle or an extra is missing."""
    parser = argparse.ArgumentParser(prog="python -m monai_bmaps.export", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--output", type=Path, required=True, help="file to write, for example denoiser.onnx")
    chosen = parser.parse_args(arguments)
    try:
        difference = export_bundle(chosen.bundle, chosen.output)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {chosen.output}: differs from PyTorch by {difference:.1e} at most")
    return 0


def _runtime() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"ONNX export needs {error.name}: pip install 'monai-bmaps[onnx]'") from error
    return onnxruntime


def _channels(network: SynthesisNetwork, condition: int) -> dict[str, int]:
    interface, images = network.sampler.inferer.interface, network.sampler.num_channels
    level = int(interface.noise_level_channel)
    if interface.conditioning == "spade":
        return {"x": images + level, "seg": condition}
    return {"x": images + condition + level}


def _multiples(spatial_shape: Sequence[str]) -> Multiples:
    found = [re.fullmatch(r"(\d+)\*n", str(size)) for size in spatial_shape]
    if len(found) != 2 or None in found:
        raise ValueError(f'spatial_shape in metadata.json must be like ["8*n", "8*n"], got {spatial_shape}')
    height, width = (int(size[1]) for size in found if size is not None)
    return height, width


def _inputs(channels: Mapping[str, int], batch: int, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = {name: torch.randn(batch, count, *shape, generator=generator) for name, count in channels.items()}
    return {**images, "timesteps": torch.randint(1000, (batch,), generator=generator)}


def _write(denoiser: nn.Module, path: Path, given: dict[str, torch.Tensor], multiples: Multiples) -> None:
    batch, height, width = (torch.export.Dim(name, min=1) for name in ("batch", "height", "width"))
    free = {0: batch, 2: multiples[0] * height, 3: multiples[1] * width}
    shapes = {name: free if value.ndim == 4 else {0: batch} for name, value in given.items()}
    with warnings.catch_warnings():
        # of two inputs with the same free size it can name only one after it
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        program = torch.onnx.export(
            denoiser,
            kwargs=given,
            input_names=list(given),
            output_names=["output"],
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing; update PyTorch to 2.6 or newer")
    program.save(path)


if __name__ == "__main__":
    sys.exit(main())
