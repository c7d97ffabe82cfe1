"""Downloads from a server on this machine that behaves well, badly, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slicer_module.file_server import Server
from SlicerBMapDiffusionLib import places
from SlicerBMapDiffusionLib.models import downloads
from SlicerBMapDiffusionLib.models.downloads import DownloadError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server(CONTENT)
    yield running
    running.stop()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "grüße [1].zip"


def parts(target: Path) -> list[Path]:
    return [path for path in target.parent.iterdir() if path.name.endswith(".part")]


def started(target: Path, count: int, sha256: str = HASH) -> Path:
    """What a download that stopped after ``count`` bytes leaves."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{sha256[:12]}.part")
    part.write_bytes(CONTENT[:count])
    return part


def test_a_file_arrives_whole_and_leaves_no_part(server: Server, target: Path) -> None:
    assert downloads.fetch(server.url, HASH.upper(), target) == target
    assert target.read_bytes() == CONTENT
    assert not parts(target)


def test_progress_rises_to_the_size_that_the_server_said(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    downloads.fetch(server.url, HASH, target, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_what_is_there_is_not_downloaded_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    downloads.fetch(server.url, HASH, target)
    assert server.ranges == []


def test_a_download_goes_on_where_it_stopped(server: Server, target: Path) -> None:
    started(target, 300_000)
    seen: list[int] = []
    downloads.fetch(server.url, HASH, target, progress=lambda done, total: seen.append(done))
    assert server.ranges == ["bytes=300000-"]
    assert seen[0] == 300_000
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server: Server, target: Path) -> None:
    started(target, 300_000)
    server.knows_ranges = False
    downloads.fetch(server.url, HASH, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_nothing_more(server: Server, target: Path) -> None:
    started(target, len(CONTENT))
    downloads.fetch(server.url, HASH, target)
    assert server.ranges == [f"bytes={len(CONTENT)}-"]
    assert target.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_starts_over(server: Server, target: Path) -> None:
    started(target, 0).write_bytes(CONTENT + b"garbage")
    downloads.fetch(server.url, HASH, target)
    assert server.ranges == [f"bytes={len(CONTENT) + 7}-", None]
    assert target.read_bytes() == CONTENT


def test_the_part_of_another_version_is_not_continued(server: Server, target: Path) -> None:
    started(target, 300_000, sha256="0" * 64)
    downloads.fetch(server.url, HASH, target)
    assert server.ranges == [None]


def test_another_file_than_expected_is_refused_and_the_old_one_stays(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"the version before")
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match=r"not the expected file.*nothing was installed.*ask for a newer extension"):
        downloads.fetch(server.url, HASH, target)
    assert target.read_bytes() == b"the version before"
    assert not parts(target)


def test_after_a_wrong_file_the_next_attempt_starts_over(server: Server, target: Path) -> None:
    started(target, 0).write_bytes(b"x" * 300_000)
    with pytest.raises(DownloadError, match="not the expected file"):
        downloads.fetch(server.url, HASH, target)
    downloads.fetch(server.url, HASH, target)
    assert server.ranges == ["bytes=300000-", None]
    assert target.read_bytes() == CONTENT


def test_a_connection_that_ends_early_keeps_what_came(server: Server, target: Path) -> None:
    server.stops_after = 400_000
    with pytest.raises(DownloadError, match=r"(after 400000 of 1048576 bytes|broke).*go on from there"):
        downloads.fetch(server.url, HASH, target)
    assert not target.exists()
    server.stops_after = None
    downloads.fetch(server.url, HASH, target)
    assert server.ranges == [None, "bytes=400000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_that_says_no_length_is_understood(server: Server, target: Path) -> None:
    server.says_length = False
    totals: set[int | None] = set()
    downloads.fetch(server.url, HASH, target, progress=lambda done, total: totals.add(total))
    assert totals == {None}
    assert target.read_bytes() == CONTENT


def test_without_a_length_the_hash_notices_an_early_end(server: Server, target: Path) -> None:
    server.says_length = False
    server.stops_after = 400_000
    with pytest.raises(DownloadError, match="not the expected file"):
        downloads.fetch(server.url, HASH, target)
    assert not target.exists()


def test_a_silent_server_is_given_up(server: Server, target: Path) -> None:
    server.stops_after = server.silent_after = 100_000
    begin = time.monotonic()
    with pytest.raises(DownloadError, match=r"fell silent; try again.*web browser and choose 'Install a model"):
        downloads.fetch(server.url, HASH, target, timeout_s=0.3)
    assert time.monotonic() - begin < 5
    assert parts(target)[0].read_bytes() == CONTENT[:100_000]


def test_without_a_network_the_user_reads_how_to_go_on(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DownloadError, match=r"cannot be reached.*network and the proxy.*'Install a model from a file'"):
        downloads.fetch("http://127.0.0.1:9/model.zip", HASH, target)
    assert list(target.parent.iterdir()) == []


def test_a_missing_file_is_named_with_the_answer(server: Server, target: Path) -> None:
    server.status = 404
    with pytest.raises(DownloadError, match="answered 404 Not Found"):
        downloads.fetch(server.url, HASH, target)


def test_a_full_disk_is_noticed_before_anything_is_written(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(target.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(DownloadError, match=r"disk of .*models is full; free some space"):
        downloads.fetch(server.url, HASH, target)
    assert list(target.parent.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_keeps_what_came(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(done: int, total: int | None) -> None:
        if done > 200_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DownloadError, match=r"disk of .* is full"):
        downloads.fetch(server.url, HASH, target, progress=full)
    assert not target.exists()
    downloads.fetch(server.url, HASH, target)
    assert server.ranges[1] is not None
    assert target.read_bytes() == CONTENT


HOLD = """
import sys, time
from pathlib import Path
from SlicerBMapDiffusionLib import places
from SlicerBMapDiffusionLib.models import downloads
with downloads._locked(downloads._part(Path(sys.argv[1]), sys.argv[2])):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_two_slicers_do_not_write_into_one_file_and_one_that_crashed_blocks_nobody(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(places.module_folder()))
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target), HASH], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(DownloadError, match="Another Slicer is downloading"):
            downloads.fetch(server.url, HASH, target)
        other.kill()
    downloads.fetch(server.url, HASH, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://example.org/model.zip", "file:///etc/passwd", "model.zip", "https://"])
def test_only_encrypted_addresses_are_asked(url: str, target: Path) -> None:
    with pytest.raises(ValueError, match="must start with https"):
        downloads.fetch(url, HASH, target)


@pytest.mark.parametrize("sha256", ["", HASH[:-1], HASH + "0", "g" * 64])
def test_a_hash_that_can_be_none_is_refused(sha256: str, target: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        downloads.fetch("https://example.org/model.zip", sha256, target)


def test_removing_says_what_became_free_and_takes_parts_along(target: Path) -> None:
    started(target, 1000)
    target.write_bytes(CONTENT)
    neighbour = target.with_name("grüße 1.zip")
    neighbour.write_bytes(b"stays")
    assert downloads.remove(target) == 1000 + len(CONTENT)
    assert list(target.parent.iterdir()) == [neighbour]
    assert downloads.remove(target) == 0


def test_removing_a_model_removes_its_folder(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "models").mkdir(parents=True)
    (model / "models" / "model.pt").write_bytes(CONTENT)
    assert downloads.remove(model) == len(CONTENT)
    assert not model.exists()
