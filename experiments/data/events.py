"""Recordings of an event camera: N-MNIST's digits as events of pixels that grew brighter or darker.

The file is an npz archive of flat arrays, recording after recording: x, y (column, row), p (1 grew
brighter, 0 darker) and dt (microseconds since the event before, or since the start) of each event;
offset (N + 1,) where recordings begin; label and id (N,), N-MNIST's own numbers (above 60,000: of
the test set).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import DataError
from . import places
from .dataset import Raw
from .places import Place

SIDE, CLASSES = 34, 10
FIRST_TEST_ID = 60_001
FILE, BYTES = "nmnist-small/nmnist_small.npz", 11_728_125
SHA256 = "af2629384a09a0e484ee90aff0fb26573d7d939bbb8cd67e10272508bc17b41e"
KINDS = {"x": "u", "y": "u", "p": "u", "dt": "u", "offset": "iu", "label": "iu", "id": "iu"}


class Recording(NamedTuple):
    """One digit's events in order of time, all (E,): x, y, polarity uint8, t int64 microseconds."""

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    polarity: np.ndarray


@dataclass(frozen=True, eq=False)
class Events:
    """N recordings; ``events[i]`` is the i-th.

    x, y:      (E,) uint8, column and row of the pixel.
    t:         (E,) int64, microseconds since the recording began.
    polarity:  (E,) uint8, 1 where the pixel grew brighter.
    offset:    (N + 1,) int64: recording i is rows offset[i] to offset[i + 1].
    label, id: (N,) int64.
    """

    x: np.ndarray
    y: np.ndarray
    t: np.ndarray
    polarity: np.ndarray
    offset: np.ndarray
    label: np.ndarray
    id: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, i: int) -> Recording:
        if not -len(self) <= i < len(self):
            raise IndexError(f"there are {len(self)} recordings, and no number {i}.")
        rows = slice(*self.offset[[i % len(self), i % len(self) + 1]])
        return Recording(self.x[rows], self.y[rows], self.t[rows], self.polarity[rows])

    def counts(self) -> np.ndarray:
        """Events of each polarity at each pixel, at most 255, (N, 2, 34, 34) uint8."""
        recording = np.repeat(np.arange(len(self)), np.diff(self.offset))
        pixel = np.ravel_multi_index(
            (recording, self.polarity, self.y, self.x), (len(self), 2, SIDE, SIDE)
        )
        counts = np.bincount(pixel, minlength=len(self) * 2 * SIDE**2)
        return counts.clip(max=255).astype(np.uint8).reshape(len(self), 2, SIDE, SIDE)

    def part(self, chosen: np.ndarray) -> Events:
        """The recordings where ``chosen`` (N,) bool is true, in order."""
        lengths = np.diff(self.offset)
        rows = np.repeat(chosen, lengths)
        return Events(
            x=self.x[rows],
            y=self.y[rows],
            t=self.t[rows],
            polarity=self.polarity[rows],
            offset=np.concatenate([[0], lengths[chosen].cumsum()]),
            label=self.label[chosen],
            id=self.id[chosen],
        )


def locate_nmnist() -> Place:
    """The folder that holds the archive."""
    folder, _, file = FILE.partition("/")
    return places.find([folder], [file])


def load_events() -> tuple[Events, Events]:
    """The 1,000 training and 100 test recordings of N-MNIST that we know, file checked.

    Raises:
        DataError: the file is not there, or not the one that is known.
    """
    place = locate_nmnist()
    if place.path is None:
        raise places.missing("nmnist", place, fetched=False)
    everything = read_events(place.path / Path(FILE).name, size=BYTES, sha256=SHA256)
    test = everything.id >= FIRST_TEST_ID
    return everything.part(~test), everything.part(test)


def read_nmnist() -> Raw:
    """Each recording as a picture of two channels: how often each pixel grew darker, brighter."""
    train, test = load_events()
    return Raw(train.counts(), train.label, test.counts(), test.label)


def read_events(path: Path, *, size: int | None = None, sha256: str | None = None) -> Events:
    """The recordings of an archive; ``size`` and ``sha256`` are those of the file, if known.

    Raises:
        DataError: the file is unreadable, another one, or its arrays do not fit each other.
    """
    arrays = _arrays(path, size, sha256)
    x, y, p, dt, offset, label, number = (arrays[name] for name in KINDS)
    events, recordings = len(x), len(label)
    _require(path, len(y) == len(p) == len(dt) == events, "x, y, p and dt differ in length")
    _require(path, len(number) == recordings, "label and id differ in length")
    rises = len(offset) == recordings + 1 and (np.diff(offset.astype(np.int64)) >= 0).all()
    fits = rises and offset[0] == 0 and offset[-1] == events
    _require(path, fits, f"offset does not cut {events:,} events into {recordings:,} recordings")
    if events:
        _require(path, max(x.max(), y.max()) < SIDE, f"a pixel lies outside {SIDE} x {SIDE}")
        _require(path, p.max() <= 1, "a polarity is neither 0 nor 1")
    if recordings:
        _require(path, 0 <= label.min() and label.max() < CLASSES, "a label is no digit")
    offset = offset.astype(np.int64)
    total = np.concatenate([[0], dt.cumsum(dtype=np.int64)])
    return Events(
        x.astype(np.uint8),
        y.astype(np.uint8),
        total[1:] - np.repeat(total[offset[:-1]], np.diff(offset)),
        p.astype(np.uint8),
        offset,
        label.astype(np.int64),
        number.astype(np.int64),
    )


def _arrays(path: Path, size: int | None, sha256: str | None) -> dict[str, np.ndarray]:
    """The arrays of an archive whose bytes are proved before it is opened; never a pickle."""
    try:
        size_here = path.stat().st_size
        _require(path, size in (None, size_here), f"has {size_here:,} bytes, expected {size}")
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        _require(path, sha256 in (None, digest), f"has sha256 {digest}, expected {sha256}")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in KINDS if name in archive}
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise _wrong(path, f"cannot be read ({error})") from error
    for name, kinds in KINDS.items():
        _require(path, name in arrays, f"has no array {name}")
        array = arrays[name]
        good = array.ndim == 1 and array.dtype.kind in kinds
        _require(path, good, f"{name} is {array.dtype} of shape {array.shape}")
    return arrays


def _require(path: Path, good: bool | np.bool, otherwise: str) -> None:
    if not good:
        raise _wrong(path, otherwise)


def _wrong(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}. Remove or replace {path.parent.name}/.")
