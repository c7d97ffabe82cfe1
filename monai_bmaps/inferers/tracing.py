"""What sampling does differently while ``torch.jit.trace`` records it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]


def is_traced() -> bool:
    """Whether a trace is being recorded."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def without_gradients() -> AbstractContextManager[object]:
    """Inference mode, or, for a trace, what it can hold."""
    return torch.no_grad() if is_traced() else torch.inference_mode()


@contextmanager
def checks_left_out() -> Iterator[None]:
    """This package's checks of shapes and ranges hold for the inputs that are traced; a trace cannot hold them.

    Nothing that is computed depends on what they convert to Python: the tests run traces at other numbers, sizes and
    depth maps. Warnings from elsewhere, the network for example, come through.
    """
    if not is_traced():
        yield
        return
    with warnings.catch_warnings():
        for message in ("Converting a tensor to a Python", "Using len to get tensor shape"):
            warnings.filterwarnings("ignore", message, TracerWarning, module=r"monai_bmaps\.")
        yield
