"""The browser workbench, clicked through in headless Chromium, with the shipped models and real child processes."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_REASON = "{} is not installed here; `make test-workbench` runs these"
pytest.importorskip("trame_slicer", reason=_REASON.format("trame-slicer"))
sync_api = pytest.importorskip("playwright.sync_api", reason=_REASON.format("playwright"))

import numpy as np  # noqa: E402

WORKBENCH = Path(__file__).parents[2] / "SlicerBMapDiffusion" / "Workbench"
WORKER = os.environ.get("BMAP_WORKER_PYTHON")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = os.environ.get("WORKBENCH_PICTURES")  # a folder for the documentation's
_PATIENCE_S = 300.0

pytestmark = [
    pytest.mark.skipif(not WORKER, reason="BMAP_WORKER_PYTHON names no Python with monai_bmaps"),
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed here; CHROMIUM may name it"),
]


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    broken: Path  # while it is there, jobs are killed

    def children(self) -> set[int]:
        """Processes of the job, which leads a session of its own."""
        listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
        return {pid for pid, parent in pairs if parent == self.process.pid}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The workbench on a free port; Mesa draws where there is no display."""
    worker = tmp_path_factory.mktemp("worker") / "python"
    broken = worker.with_name("broken")
    worker.write_text(f'#!/bin/sh\n[ -e "{broken}" ] && exit 137\nexec "{WORKER}" "$@"\n')
    worker.chmod(0o755)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "BMAP_WORKER_PYTHON": str(worker)}
    if sys.platform == "linux":
        environment["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"
    command = [sys.executable, str(WORKBENCH), "--server", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=WORKBENCH.parent
    )
    said: list[str] = []
    assert process.stdout
    for line in process.stdout:
        said.append(line)
        if found := re.search(r"Local:\s+(http://\S+)", line):
            break
    else:
        pytest.fail("".join(said))
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield Server(process, found[1], broken)
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """What the page has asked for."""
    return []


@pytest.fixture(scope="module")
def page(server: Server, asked: list[str]) -> Iterator[Any]:
    """The page, opened once: every test loads its phantom anew. It is wide enough for two square views."""
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1280, "height": 640})
        page.set_default_timeout(1000 * _PATIENCE_S)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        page.wait_for_selector(".generate")
        yield page
        chromium.close()


def wait_for(page: Any, status: str) -> str:
    sync_api.expect(page.locator(".status")).to_contain_text(re.compile(status), timeout=1000 * _PATIENCE_S)
    return str(page.inner_text(".status"))


def load(page: Any, name: str, steps: int) -> None:
    page.fill(".steps input", "999")  # no phantom's own: the answer to the click cannot be missed
    page.click(f".load-{name}")
    sync_api.expect(page.locator(".steps input")).not_to_have_value("999")
    sync_api.expect(page.locator(".save")).to_have_count(0)
    page.fill(".steps input", str(steps))
    wait_for(page, "Press Generate")


def saved(page: Any) -> tuple[np.ndarray, str]:
    """The image that the page lets the user save, and its file's header."""
    with page.expect_download() as download:
        page.click(".save")
    head, _, data = Path(download.value.path()).read_bytes().partition(b"\n\n")
    header = head.decode()
    columns, rows, count = map(int, re.search(r"^sizes: (\d+) (\d+) (\d+)$", header, re.MULTILINE).groups())
    return np.frombuffer(gzip.decompress(data), np.uint8).reshape(count, rows, columns), header


def seen(page: Any, shape: tuple[int, int]) -> np.ndarray:
    """The right view's greys where the pixels of a square image lie that fills it up to its margin."""
    from PIL import Image

    taken = page.locator(".layout-grid-item").nth(1).screenshot()
    picture = np.asarray(Image.open(io.BytesIO(taken)).convert("L"), dtype=np.float64)
    side = min(picture.shape) / 1.1 / max(shape)
    rows, columns = (
        np.round((size - 1) / 2 + side * (np.arange(number) - (number - 1) / 2)).astype(int)
        for size, number in zip(picture.shape, shape, strict=True)
    )
    return picture[np.ix_(rows, columns)]


def test_another_address_than_this_computer_s_own_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(WORKBENCH), "--host", "0.0.0.0"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "unrecognized arguments: --host" in done.stderr


def test_it_listens_to_this_computer_only(server: Server) -> None:
    port = int(server.url.rstrip("/").rpartition(":")[2])
    listening = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line}
    assert [place for place in listening if place.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_nothing_comes_from_another_computer(server: Server, page: Any, asked: list[str]) -> None:
    assert server.url in asked
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []


def test_a_heart_is_drawn_where_it_belongs_with_two_clicks(page: Any) -> None:
    steps = 20 if PICTURES else 6
    load(page, "heart", steps)
    page.click(".generate")
    wait_for(page, "Heart anatomy synthetic is ready: seed 1")
    (image,), header = saved(page)
    assert image.shape == (128, 128)
    assert image[0, 0] == image[0, -1] == image[-1, 0] == 0
    assert image[image > 0].std() > 5
    directions = re.search(r"^space directions: \((\S+),0,0\) \(0,(\S+),0\)", header, re.MULTILINE).groups()
    assert [float(step) for step in directions] == pytest.approx([-1.41, -1.41])
    assert "BMapDiffusion.synthetic:=true" in header
    assert f"BMapDiffusion.steps:={steps}" in header
    time.sleep(2)  # the still picture, sharper than those while something moves, comes last
    # outlines lie over it
    assert np.corrcoef(image.ravel(), seen(page, image.shape).ravel())[0, 1] > 0.8
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "workbench.png")


def test_the_beam_is_pulled_into_shape_with_the_mouse(page: Any) -> None:
    """Slicer's own markups widget takes the mouse; the handle in the middle of the far end is pulled half way up."""
    load(page, "heart", 20 if PICTURES else 3)
    page.locator(".by-hand input").click(force=True)
    assert page.inner_text(".beam") == "150.0 mm deep, 74.6\N{DEGREE SIGN} wide"
    time.sleep(2)  # what is still being drawn takes no mouse
    view = page.locator(".layout-grid-item").nth(0).bounding_box()
    side = min(view["width"], view["height"]) / 1.1 / 128  # of a pixel, as the view is aimed at the frame
    x, middle = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
    face, end = (middle + (millimetres / 1.41 - 63.5) * side for millimetres in (14.382, 14.382 + 150.024))
    page.mouse.move(x, end)
    page.mouse.down()
    page.mouse.move(x, end - 20, steps=4)
    page.mouse.move(x, (face + end) / 2, steps=4)
    page.mouse.up()
    sync_api.expect(page.locator(".beam")).to_have_text(re.compile(r"^7[3-7]\.\d mm deep, 74\.6"))
    page.click(".generate")
    wait_for(page, "Heart anatomy synthetic is ready")
    (image,), _header = saved(page)
    below = (14.382 + 80) / 1.41  # rows under the shorter beam are black, those above are not
    assert image[round(below) :].max() == 0
    assert image[: round(below) - 8].max() > 50
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "pulled.png")


def test_variants_of_a_thyroid_differ_and_can_be_stepped_through(page: Any) -> None:
    load(page, "thyroid", 1)
    page.locator(".images [role=slider]").press("ArrowRight")
    sync_api.expect(page.get_by_text("2 variants")).to_be_visible()
    page.click(".generate")
    wait_for(page, "Thyroid anatomy synthetic is ready")
    first, header = saved(page)
    page.locator(".variant [role=slider]").press("ArrowRight")
    sync_api.expect(page.get_by_text("Variant 2")).to_be_visible()
    second, other = saved(page)
    assert not np.array_equal(first, second)
    assert ("BMapDiffusion.seed:=1\n" in header, "BMapDiffusion.seed:=2\n" in other) == (True, True)


def test_cancelling_takes_two_seconds_and_leaves_no_process_and_no_image(page: Any, server: Server) -> None:
    load(page, "heart", 500)
    page.click(".generate")
    wait_for(page, "step [1-9]")
    assert server.children()
    begun = time.monotonic()
    page.click(".cancel")
    wait_for(page, "Cancelled")
    assert time.monotonic() - begun < 4.0  # the browser's own time is in it
    assert not server.children()
    assert page.locator(".save").count() == 0


def test_a_number_that_cannot_be_is_told_in_a_sentence(page: Any) -> None:
    load(page, "heart", 0)
    page.click(".generate")
    assert wait_for(page, "steps") == "steps must be a whole number from 1 to 1000, got 0"


def test_a_job_that_is_killed_is_told_in_a_sentence_and_the_next_one_may_run(page: Any, server: Server) -> None:
    load(page, "heart", 3)
    server.broken.touch()
    try:
        page.click(".generate")
        assert "ran out of memory" in wait_for(page, "killed from outside")
    finally:
        server.broken.unlink()
    assert page.is_enabled(".generate")
    assert page.locator(".save").count() == 0


def test_a_model_that_knows_none_of_the_segments_cannot_generate(page: Any) -> None:
    load(page, "heart", 3)
    page.locator(".model").click()
    page.get_by_role("option", name=re.compile("Thyroid")).click()
    assert wait_for(page, "which segment") == "Say in the table which segment is which structure of the model."
    assert page.is_disabled(".generate")
