"""What an installation does, on stand-ins for Slicer's pip and for its PyTorch extension."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from SlicerBMapDiffusionLib.setup import install, packages
from SlicerBMapDiffusionLib.setup.install import InstallDeclined, InstallError

SLICER = {"numpy": "2.0.2", "SimpleITK": "2.5.0", "requests": "2.32.5", "pillow": "12.0.0", "pydicom": "3.0.1"}
READY = {"torch": "2.9.0+cu128", "torchvision": "0.24.0", "monai": "1.5.1", "nibabel": "5.3.2", "einops": "0.8.1"}
READY |= {"fire": "0.7.1", "pytorch-ignite": "0.5.3", "tqdm": "4.67.1", "monai-bmaps": "0.1.0"}


class Slicer:
    """Slicer's Python: what is installed in it, and what was done to it."""

    def __init__(self) -> None:
        self.installed = dict(SLICER)
        self.calls: list[str] = []
        self.constraints: list[dict[str, str]] = []
        self.pip_fails = self.waits = False
        self.torch_is_declined = False
        self.arguments: list[list[str]] = []

    @contextmanager
    def wait_cursor(self) -> Iterator[None]:
        self.waits = True
        yield
        self.waits = False

    def constrained(self, file: str) -> None:
        lines = Path(file.removeprefix("file://")).read_text().splitlines()
        self.constraints.append(dict(line.split("==") for line in lines))

    def pip_install(self, arguments: list[str]) -> None:
        self.calls.append("pip_install")
        self.arguments.append(arguments)
        if self.pip_fails:
            raise subprocess.CalledProcessError(1, "pip install")
        if "--constraint" in arguments:
            self.constrained(arguments[arguments.index("--constraint") + 1])
        self.installed |= READY

    def pip_ensure(
        self, requirements: list[Requirement], *, constraints: str, prompt_install: bool, requester: str
    ) -> None:
        assert all(isinstance(requirement, Requirement) for requirement in requirements)
        assert not prompt_install
        assert requester == "B-Map Diffusion"
        self.calls.append("pip_ensure")
        self.arguments.append([str(requirement) for requirement in requirements])
        if self.pip_fails:
            raise subprocess.CalledProcessError(1, "pip install")
        self.constrained(constraints)
        self.installed |= {name: version for name, version in READY.items() if name != "monai-bmaps"}

    def install_torch(self, *, askConfirmation: bool, torchVersionRequirement: str) -> object:  # noqa: N803
        assert not askConfirmation
        assert torchVersionRequirement == ">=2.4"
        self.calls.append("installTorch")
        self.constrained(os.environ["PIP_CONSTRAINT"])
        if self.torch_is_declined:
            return None
        self.installed |= {"torch": READY["torch"], "torchvision": READY["torchvision"]}
        return object()


def module(name: str, **contents: object) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(contents)
    return made


@pytest.fixture(params=["5.10", "5.12"])
def slicer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Slicer:
    """Slicer without and with ``slicer.packaging``, with the PyTorch extension and a wheel, nothing else installed."""
    made = Slicer()
    util = module("slicer.util", pip_install=made.pip_install, WaitCursor=made.wait_cursor)
    packaging = module("slicer.packaging", pip_ensure=made.pip_ensure) if request.param == "5.12" else None
    logic = type("PyTorchUtilsLogic", (), {"installTorch": staticmethod(made.install_torch)})
    monkeypatch.setitem(sys.modules, "slicer.util", util)
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module("PyTorchUtils", PyTorchUtilsLogic=logic))
    monkeypatch.setattr(packages, "_version", made.installed.get)
    ours = tmp_path / "monai_bmaps-0.1.0-py3-none-any.whl"
    monkeypatch.setattr(packages, "_wheel_to_install", lambda: None if "monai-bmaps" in made.installed else ours)
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return made


def agree(question: str) -> bool:
    return True


def test_a_fresh_slicer_gets_torch_then_the_rest_then_our_wheel(slicer: Slicer) -> None:
    asked: list[str] = []
    assert install.ensure(lambda question: bool(asked.append(question)) or True)
    pip = slicer.calls[1]
    assert slicer.calls == ["installTorch", pip, "pip_install"]
    assert [line.partition(">=")[0].partition(" ")[0] for line in asked[0].splitlines()] == [
        "PyTorch",
        "einops",
        "fire",
        "monai",
        "nibabel",
        "pytorch-ignite",
        "tqdm",
        "monai_bmaps-0.1.0",
    ]
    assert slicer.arguments[1][:2] == ["--no-deps", "--no-index"]
    assert packages.missing() == []


def test_the_newer_pip_is_used_where_slicer_has_it(slicer: Slicer, request: pytest.FixtureRequest) -> None:
    install.ensure(agree)
    expected = {"5.10": "pip_install", "5.12": "pip_ensure"}[request.node.callspec.params["slicer"]]
    assert slicer.calls[1] == expected


def test_the_cursor_is_busy_after_the_answer_until_all_is_installed(
    slicer: Slicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: list[bool] = []
    monkeypatch.setattr(install, "_install", lambda todo: busy.append(slicer.waits))
    install.ensure(lambda question: busy.append(slicer.waits) is None)
    assert [*busy, slicer.waits] == [False, True, False]


def test_what_slicer_has_is_pinned_while_torch_and_the_rest_are_installed(slicer: Slicer) -> None:
    install.ensure(agree)
    while_torch, while_rest = slicer.constraints
    assert while_torch == SLICER
    assert while_rest == SLICER | {"torch": READY["torch"], "torchvision": READY["torchvision"]}
    assert "PIP_CONSTRAINT" not in os.environ


def test_an_address_for_pip_has_no_spaces(tmp_path: Path, slicer: Slicer, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = tmp_path / "Ann Smith"
    spaced.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spaced))
    seen: list[str] = []
    monkeypatch.setattr(slicer, "constrained", seen.append)
    install.ensure(agree)
    assert "Ann%20Smith" in seen[0]
    assert list(spaced.iterdir()) == []


def test_a_users_own_constraints_come_back(slicer: Slicer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONSTRAINT", "mine.txt")
    install.ensure(agree)
    assert os.environ["PIP_CONSTRAINT"] == "mine.txt"


def test_nothing_is_asked_where_nothing_is_missing(slicer: Slicer) -> None:
    slicer.installed |= READY
    assert not install.ensure(lambda question: pytest.fail("asked"))
    assert slicer.calls == []


def test_declining_changes_nothing(slicer: Slicer) -> None:
    with pytest.raises(InstallDeclined, match="were not installed"):
        install.ensure(lambda question: False)
    assert slicer.calls == []
    assert slicer.installed == SLICER


def test_without_the_pytorch_extension_the_user_reads_where_to_get_it(
    slicer: Slicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(InstallError, match=r"Install 'PyTorch' in the Extensions Manager, restart Slicer"):
        install.ensure(lambda question: pytest.fail("asked for what cannot be done"))
    assert slicer.calls == []


def test_with_torch_there_the_extension_is_not_needed(slicer: Slicer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    slicer.installed["torch"] = "2.4"
    install.ensure(agree)
    assert "installTorch" not in slicer.calls


def test_an_old_torch_is_replaced(slicer: Slicer) -> None:
    slicer.installed |= READY | {"torch": "2.3.1+cpu"}
    assert packages.missing() == ["PyTorch>=2.4 (large: some GB)"]
    install.ensure(agree)
    assert slicer.calls == ["installTorch"]
    assert "torch" not in slicer.constraints[0]


def test_torch_that_was_not_installed_after_all_stops_the_rest(slicer: Slicer) -> None:
    slicer.torch_is_declined = True
    with pytest.raises(InstallError, match="PyTorch was not installed"):
        install.ensure(agree)
    assert slicer.calls == ["installTorch"]


def test_a_failing_pip_is_explained_and_nothing_goes_on(slicer: Slicer) -> None:
    slicer.pip_fails = True
    with pytest.raises(InstallError, match=r"Installing .*monai>=1.5.* failed \(exit code 1\).*proxy"):
        install.ensure(agree)
    assert slicer.calls[2:] == []


def test_pip_never_runs_beside_the_main_thread(slicer: Slicer) -> None:
    raised: list[Exception] = []

    def beside() -> None:
        try:
            install.ensure(agree)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert "main thread only" in str(raised[0])
    assert slicer.calls == []


# the worker's Python


def test_the_workers_python_is_slicers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert install.python_executable() == sys.executable
    (tmp_path / "PythonSlicer").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.python_executable() == str(tmp_path / "PythonSlicer")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    with pytest.raises(InstallError, match="PythonSlicer was not found"):
        install.python_executable()
