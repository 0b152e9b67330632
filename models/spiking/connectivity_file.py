"""A topographic map's connectivity in a MATLAB file, as Bamford et al. (2010) wrote theirs down.

The file that the runs of Bogdan et al. (2018) start from is ``InitialConnectivity.mat`` of their
repository (github.com/pabogdan/neurogenesis, folder ``simulation_statistics``). It is not part of
this package.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .matlab_file import NotMatlab, matrices

SOURCES, WEIGHTS = "ConnPostToPre", "WeightPostToPre"  # its variables, (slots, size) each
MOST_BYTES = 1 << 24  # the published one has 10,735


class ConnectivityFileError(Exception):
    """A file of connectivity is missing, or is not what its name says."""


@dataclass(frozen=True, eq=False)
class Connectivity:
    """What sits in each slot.

    sources: (size, slots) a source's number, a target's + size, or -1 for an empty slot.
    weights: (size, slots), 0 in empty slots.
    """

    sources: np.ndarray
    weights: np.ndarray


def digest_of(path: str | Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises ConnectivityFileError where it cannot be read."""
    return hashlib.sha256(_bytes(Path(path))).hexdigest()


def read(
    path: str | Path, *, size: int, slots: int, w_max: float, sha256: str = ""
) -> Connectivity:
    """The connectivity of a map with ``size`` sources and as many targets.

    ``ConnPostToPre`` numbers the partners of each target from 1, sources first and then targets; 0
    is an empty slot. ``WeightPostToPre`` has their weights.

    Args:
        path: of the file, MATLAB 5.
        slots: of each target, as many as the file has.
        w_max: the largest weight that the map allows.
        sha256: what the file must be; "" for any.

    Raises:
        ConnectivityFileError: no such file, another than ``sha256`` says, or no such connectivity.
    """
    path = Path(path)
    content = _bytes(path)
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise ConnectivityFileError(
            f"{path} is not the file that this simulation started from (sha256 {sha256[:12]}...): "
            "bring that file back, or run the experiment anew."
        )
    partners, weights = _variables(path, content, (slots, size))
    if not np.array_equal(partners, partners.round()) or not _within(partners, 2 * size):
        raise ConnectivityFileError(
            f"{path}: {SOURCES} must number partners from 1 to {2 * size}, or be 0; it goes from "
            f"{partners.min():g} to {partners.max():g}."
        )
    if not _within(weights, w_max):
        raise ConnectivityFileError(
            f"{path}: {WEIGHTS} must lie from 0 to g_max = {w_max}; it goes from "
            f"{weights.min():g} to {weights.max():g}."
        )
    sources = partners.astype(np.int64) - 1
    return Connectivity(sources, np.where(sources < 0, 0.0, weights))


def _within(values: np.ndarray, most: float) -> bool:
    """Whether all lie in [0, most]; NaN does not."""
    return bool(((values >= 0) & (values <= most)).all())


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConnectivityFileError(
                f"{path} has {path.stat().st_size} bytes, more than connectivity of a map takes "
                f"({MOST_BYTES}): name the file {SOURCES} is in."
            )
        return path.read_bytes()
    except OSError as error:
        raise ConnectivityFileError(
            f"{path} cannot be read ({error.strerror}): start_file names a copy of "
            "InitialConnectivity.mat of github.com/pabogdan/neurogenesis."
        ) from None


def _variables(path: Path, content: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays, each transposed to (size, slots)."""
    try:
        arrays = matrices(content, MOST_BYTES)
    except NotMatlab as error:
        raise ConnectivityFileError(
            f"{path} is no MATLAB 5 file that can be read: {error}."
        ) from None
    for name in (SOURCES, WEIGHTS):
        if name not in arrays or arrays[name].shape != shape:
            says = f"is {arrays[name].shape}" if name in arrays else "is missing"
            raise ConnectivityFileError(
                f"{path}: {name} must be a matrix of {shape} real numbers (slots, targets), "
                f"but {says}."
            )
    return np.asarray(arrays[SOURCES], float).T, np.asarray(arrays[WEIGHTS], float).T
