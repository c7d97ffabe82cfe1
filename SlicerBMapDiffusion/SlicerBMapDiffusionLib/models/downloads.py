"""Files from the network: whole and with the expected SHA-256, or not there at all.

Nothing here runs by itself: a person asks for a model. A download goes into ``<name>.<start of the hash>.part`` beside
its destination and takes the final name once the hash is right, so what was stopped can go on and two versions never
mix. A lock on that file keeps two Slicers apart; it ends with the process that holds it.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import importlib
import os
import re
import shutil
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes there so far and the size in the end, None where the server does not say."""

_CHUNK = 1 << 18
_BY_HAND = "Or download {url} with a web browser and choose 'Install a model from a file'."


class DownloadError(OSError):
    """Why there is no file, and what to do; what was there before is as it was."""


def fetch(
    url: str,
    sha256: str,
    destination: Path,
    progress: Progress = lambda done, total: None,
    timeout_s: float = 30.0,
) -> Path:
    """Download a file unless it is there, going on where an earlier attempt stopped.

    Args:
        url: https address (http for this machine only).
        sha256: hash of the whole file, 64 hexadecimal digits.
        destination: the file to make; folders on the way are made.
        progress: told after each chunk.
        timeout_s: longest silence of the server.

    Returns:
        ``destination``.

    Raises:
        DownloadError: no network, no such file, silence, an early end, another hash, no space, another Slicer at it.
        ValueError: an address or a hash that can be none.
    """
    check_address(url)
    sha256 = checked_hash(sha256)
    if destination.is_file() and _hash_of(destination) == sha256:
        return destination
    with explained(url, destination.parent), _locked(_part(destination, sha256)) as part:
        _receive(url, part, progress, timeout_s)
        return _finish(part, sha256, destination, f"What {url} sent")


def remove(path: Path) -> int:
    """Remove a downloaded file or model folder and what unfinished downloads of it left.

    Returns:
        The bytes that became free; 0 where there was nothing.
    """
    freed = 0
    for item in (path, *path.parent.glob(f"{_escaped(path.name)}.*.part")):
        if item.is_dir() and not item.is_symlink():
            freed += sum(file.stat().st_size for file in item.rglob("*") if file.is_file())
            shutil.rmtree(item)
        elif item.exists():
            freed += item.stat().st_size
            item.unlink()
    return freed


# how a file arrives


def _receive(url: str, part: BinaryIO, progress: Progress, timeout_s: float, resume: bool = True) -> None:
    """Append what is missing to ``part``."""
    start = part.seek(0, os.SEEK_END) if resume else 0
    part.truncate(start)
    headers = {"User-Agent": "SlicerBMapDiffusion", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers | ({"Range": f"bytes={start}-"} if start else {}))
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=_authorities()) as response:
            if start and not _goes_on(response, start):
                start = 0
                part.seek(0)
                part.truncate()
            _append(response, part, start, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if _size_in(error.headers.get("Content-Range")) != start:  # else all of it had arrived before
            _receive(url, part, progress, timeout_s, resume=False)


def _append(response: http.client.HTTPResponse, part: BinaryIO, start: int, progress: Progress) -> None:
    length = response.headers.get("Content-Length")
    total = start + int(length) if length and length.isdigit() else None
    _check_space(Path(part.name).parent, (total or 0) - start)
    done = start
    progress(done, total)
    # read1 returns what is there: a slow line still moves the bar
    while chunk := response.read1(_CHUNK):
        part.write(chunk)
        done += len(chunk)
        progress(done, total)
    if total is not None and done < total:
        raise DownloadError(f"The connection ended after {done} of {total} bytes; try again to go on from there.")


def _goes_on(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends the rest: some answer with the whole file, or with another part of it."""
    said = response.headers.get("Content-Range", "")
    return response.status == http.HTTPStatus.PARTIAL_CONTENT and said.startswith(f"bytes {start}-")


def _size_in(content_range: str | None) -> int | None:
    """The 10 of ``bytes */10``."""
    size = (content_range or "").rpartition("/")[2]
    return int(size) if size.isdigit() else None


def _finish(part: BinaryIO, sha256: str, destination: Path, what: str) -> Path:
    part.flush()
    os.fsync(part.fileno())
    path = Path(part.name)
    found = _hash_of(path)
    if found != sha256:
        part.truncate(0)
        raise DownloadError(
            f"{what} is not the expected file: its SHA-256 is {found[:12]}..., expected {sha256[:12]}...; nothing was "
            "installed. Try again; if it stays so, the file on the server has changed: ask for a newer extension."
        )
    if os.name == "nt":  # an open file cannot be renamed there; the lock ends a moment early
        part.close()
    os.replace(path, destination)
    return destination


def _authorities() -> ssl.SSLContext:
    """Whom to believe: a Python that was built on another computer may know no one, certifi does."""
    context = ssl.create_default_context()
    with suppress(ImportError):
        context.load_verify_locations(importlib.import_module("certifi").where())
    return context


# the file that grows


def _part(destination: Path, sha256: str) -> Path:
    return destination.with_name(f"{destination.name}.{sha256[:12]}.part")


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a part for this process alone; an empty one is removed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as part:
        if not _lock(part, path):
            raise DownloadError(f"Another Slicer is downloading {path.name}; wait until it is done, then try again.")
        try:
            yield part
        finally:
            part.close()
            if path.is_file() and path.stat().st_size == 0:
                path.unlink()


def _lock(file: IO[bytes], path: Path) -> bool:
    """Take the lock that the system drops when this process ends; False where another has it, or just finished."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 40)  # locked bytes cannot be read there, so lock one that will never exist
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


# checks and words


def check_address(url: str) -> None:
    """Refuse what is no address of an encrypted line.

    Raises:
        ValueError: neither https, nor http on this machine.
    """
    parts = urllib.parse.urlsplit(url)
    here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if not (parts.scheme == "https" or (parts.scheme == "http" and here)) or not parts.hostname:
        raise ValueError(f"a model's address must start with https://, got {url!r}")


def checked_hash(sha256: str) -> str:
    """A SHA-256 in lower case.

    Raises:
        ValueError: it can be none.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"a SHA-256 has 64 hexadecimal digits, got {sha256!r}; it is listed beside the download")
    return sha256.lower()


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _check_space(folder: Path, needed: int) -> None:
    if needed > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def explained(source: str, folder: Path) -> Iterator[None]:
    """What libraries raise while ``source`` comes into ``folder``, as a DownloadError that names the remedy."""
    by_hand = _BY_HAND.format(url=source) if "://" in source else ""
    try:
        yield
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{source} answered {error.code} {error.reason}. {by_hand}".strip()) from error
    except TimeoutError as error:
        raise DownloadError(f"{source} fell silent; try again to go on from there. {by_hand}".strip()) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise DownloadError(f"{source} does not answer; try again later. {by_hand}".strip()) from error
        raise DownloadError(
            f"{source} cannot be reached ({error.reason}); check the network and the proxy. {by_hand}".strip()
        ) from error
    except http.client.HTTPException as error:
        raise DownloadError(f"The connection to {source} broke; try again to go on from there.") from error
    except ConnectionError as error:
        raise DownloadError(f"The connection to {source} broke; try again to go on from there.") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DownloadError(f"The disk of {folder} is full; free some space and try again.") from error
        raise DownloadError(f"{folder} or {source} cannot be used: {error.strerror or error}.") from error


def _escaped(name: str) -> str:
    """A name in which ``glob`` finds nothing special."""
    return re.sub(r"([*?[])", r"[\1]", name)
