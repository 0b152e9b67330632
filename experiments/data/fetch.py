"""Download a data set into the cache folder, checked before anything is put in place."""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError, StoreError
from . import places
from .sources import Remote, Source, source

CHUNK = 1 << 20
Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in all


class _Failed(Exception):
    """One mirror did not deliver; the next one may."""


def fetch(
    name: str,
    *,
    mirrors: tuple[str, ...] | None = None,
    timeout: float = 30.0,
    progress: Progress | None = None,
) -> Path:
    """Make sure that ``load(name)`` will work, downloading what is missing; the data's folder.

    A set that lies in ``$REWIRE_DATA`` or inside an installed package is read through as a check
    and left where it is. Else each file comes from the first of ``mirrors`` (base URLs) that
    delivers exactly the known bytes; files that are already whole in the cache are kept. A file
    appears under its name complete or not at all. ``timeout`` is in seconds of silence.

    Raises:
        ConfigError: no such data set.
        DataError: no mirror delivered, or what is already here is damaged.
        StoreError: the cache folder cannot be written.
    """
    chosen = source(name)
    place, cache = chosen.place(), places.cache_folder()
    if not chosen.remotes or (place.path is not None and cache not in place.path.parents):
        chosen.read()
        return place.path or cache
    try:
        for remote in chosen.remotes:
            _fetch_one(chosen, remote, cache, mirrors or chosen.mirrors, timeout, progress)
    except OSError as error:
        raise StoreError(f"cannot write {name} into {cache}: {error}") from error
    return chosen.place().path or cache


def _fetch_one(
    chosen: Source,
    remote: Remote,
    folder: Path,
    mirrors: tuple[str, ...],
    timeout: float,
    progress: Progress | None,
) -> None:
    members = remote.members or {remote.file: (remote.sha256, remote.size)}
    if all(_is_whole(folder / file, *what) for file, what in members.items()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for mirror in mirrors:
        url = mirror.rstrip("/") + "/" + Path(remote.file).name
        try:
            with _temporary(folder) as (temporary, file):
                _download(url, remote, file, timeout, progress)
                if remote.members:
                    _unpack(temporary, remote, folder)
                else:
                    _put(temporary, folder / remote.file)
            return
        except _Failed as failure:
            reasons.append(f"{url}: {failure}")
    raise DataError(
        f"cannot fetch {chosen.name}: {'; '.join(reasons)}. Try again later, or put the files into "
        f"{(folder / next(iter(members))).parent} (or such a folder in ${places.VARIABLE}) by hand."
    )


def _download(
    url: str, remote: Remote, file: BinaryIO, timeout: float, progress: Progress | None
) -> None:
    """Write exactly the bytes of ``remote`` into ``file``, or raise _Failed."""
    digest, received = hashlib.sha256(), 0
    for chunk in _chunks(url, timeout):
        received += len(chunk)
        if received > remote.size:
            raise _Failed(f"sent more than the {remote.size:,} bytes expected")
        digest.update(chunk)
        file.write(chunk)
        if progress is not None:
            progress(remote.file, received, remote.size)
    if received < remote.size:
        raise _Failed(f"ended after {received:,} of {remote.size:,} bytes")
    if digest.hexdigest() != remote.sha256:
        raise _Failed(f"sent a file of sha256 {digest.hexdigest()}, expected {remote.sha256}")
    file.flush()
    os.fsync(file.fileno())


def _chunks(url: str, timeout: float) -> Iterator[bytes]:
    if not url.startswith(("https://", "http://")):
        raise _Failed("only http and https addresses are fetched")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "rewire"})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            while chunk := response.read(CHUNK):
                yield chunk
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and resets
        raise _Failed(str(getattr(error, "reason", "") or error) or type(error).__name__) from error


def _unpack(archive: Path, remote: Remote, folder: Path) -> None:
    """Put the members we know in place; names inside the archive never decide where to write."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name, (sha256, size) in remote.members.items():
                member = tar.getmember(name)
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or member.size != size:
                    raise _Failed(f"{name} inside it has {member.size:,} bytes, expected {size:,}")
                data = content.read(size)
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise _Failed(f"{name} inside it is not the official file")
                with _temporary(folder) as (temporary, file):
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                    _put(temporary, folder / name)
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise _Failed(f"is not the archive expected ({error})") from error


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A file in ``folder`` that is gone afterwards, unless it was put in place."""
    handle, name = tempfile.mkstemp(prefix=".fetch-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield Path(name), file
    finally:
        Path(name).unlink(missing_ok=True)


def _put(temporary: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary.chmod(0o644)
    os.replace(temporary, target)


def _is_whole(path: Path, sha256: str, size: int) -> bool:
    if not path.is_file() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
