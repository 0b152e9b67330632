"""Where data files live: ``$REWIRE_DATA`` if it is set and has them, else the cache folder."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError

VARIABLE = "REWIRE_DATA"


@dataclass(frozen=True)
class Place:
    """Where a data set was found (``path``, None if nowhere) and every place that was looked at."""

    path: Path | None
    looked: tuple[str, ...]


def cache_folder() -> Path:
    """Where ``fetch`` puts files: ``$XDG_CACHE_HOME/rewire``, or ``~/.cache/rewire``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification says to ignore a relative path
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "rewire"


def given_folder() -> Path | None:
    """The folder that ``$REWIRE_DATA`` names, or None where the variable is unset or empty."""
    value = os.environ.get(VARIABLE, "")
    return Path(value).expanduser() if value else None


def find(folders: Iterable[str], files: Iterable[str]) -> Place:
    """The first of ``folders`` (relative to the roots) that holds at least one of ``files``.

    One file is enough to settle on a folder: half a data set there is an error to report, not a
    reason to go on and quietly use another copy.
    """
    folders, files = tuple(folders), tuple(files)
    own = given_folder()
    candidates = [r / f for r in (own, cache_folder()) if r is not None for f in folders]
    for folder in candidates:
        if any((folder / file).is_file() for file in files):
            return Place(folder, tuple(map(str, candidates)))
    return Place(None, tuple(map(str, candidates)))


def missing(name: str, place: Place, *, fetched: bool = True) -> DataError:
    """The error for a data set that is in none of its places; ``fetched``: it can be downloaded."""
    folder = given_folder()
    where = ", ".join(place.looked)
    if folder is None:
        hint = f"${VARIABLE} is not set"
    elif not folder.is_dir():
        hint = f"${VARIABLE} = {folder} is not a folder"
    else:
        hint = f"${VARIABLE} = {folder} does not hold it"
    fetch = f", or run `rewire data fetch {name}`" if fetched else ""
    return DataError(
        f"{name} is not on this machine: looked in {where} ({hint}). "
        f"Point ${VARIABLE} at a folder that has it{fetch}."
    )


def content(path: Path, sha256: str, remedy: str) -> bytes:
    """The bytes of a file of that digest; ``remedy`` ends the message for another one.

    Raises DataError for a file that cannot be read, or is another one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). Remove or replace it.") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise DataError(
            f"{path}: has sha256 {digest}, expected {sha256}. Remove or replace it{remedy}."
        )
    return data
