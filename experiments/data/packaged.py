"""Data sets that come inside other packages, read without importing those (0.1-1.8 s saved)."""

import gzip
import hashlib
import importlib.util
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from .dataset import Raw, shuffled, stratified
from .places import Place

SPLIT_SEED = 0  # never to change: it decides which images are test images
MOST_BYTES = 64 << 20  # of text; the larger table has 9 MB


@dataclass(frozen=True)
class Table:
    """A gzipped CSV file of images inside an installed package: pixels, then the label, a row each.

    ``test`` rows become the test set: stratified, drawn once and for all, the same whatever seed
    an experiment has. ``sha256`` is that of the parsed uint8 table, label column last.
    """

    package: str
    file: str
    rows: int
    shape: tuple[int, ...]
    test: int
    sha256: str

    def locate(self) -> Place:
        return _place(self.package, self.file)

    def read(self) -> Raw:
        """The table in an order shuffled once (the file is sorted by class), test rows cut off.

        Raises:
            DataError: the package is not installed, or its table is not the one we know.
        """
        path = _path(self.package, self.file)
        table = read_table(path, (self.rows, int(np.prod(self.shape)) + 1), self.sha256)
        table = table[shuffled(self.rows, SPLIT_SEED)]
        x, y = table[:, :-1].reshape(-1, *self.shape), table[:, -1]
        test = stratified(y, self.test, SPLIT_SEED)
        return Raw(x[~test], y[~test], x[test], y[test])


@dataclass(frozen=True)
class Numbers:
    """Two gzipped files of numbers inside an installed package: inputs and targets, a row each.

    ``test`` rows become the test set: the first of an order drawn once and for all. ``sha256`` is
    that of both tables as float64, inputs first.
    """

    package: str
    files: tuple[str, str]
    shape: tuple[int, int]  # rows, and columns of the inputs
    test: int
    sha256: str

    def locate(self) -> Place:
        return _place(self.package, self.files[0])

    def read(self) -> Raw:
        """Rows in an order shuffled once, test rows cut off.

        Raises:
            DataError: the package is not installed, or its tables are not the ones we know.
        """
        paths = [_path(self.package, file) for file in self.files]
        x, y = map(_numbers, paths)
        digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
        if digest != self.sha256 or x.shape != self.shape:
            raise DataError(
                f"{paths[0]}: its tables have sha256 {digest}, expected {self.sha256}. Reinstall "
                f"the package {self.package}."
            )
        order = shuffled(len(x), SPLIT_SEED)
        x, y = x[order].astype(np.float32), y[order]
        return Raw(x[self.test :], y[self.test :], x[: self.test], y[: self.test])


def _place(package: str, file: str) -> Place:
    """Where a file of an installed package is, and where it was looked for."""
    spec = importlib.util.find_spec(package)  # finds a top-level package, runs none of it
    folders = (spec.submodule_search_locations or []) if spec else []
    looked = tuple(str(Path(folder) / file) for folder in folders)
    path = next((Path(path) for path in looked if Path(path).is_file()), None)
    return Place(path, looked or (f"the package {package} (not installed)",))


def _path(package: str, file: str) -> Path:
    """The path of a file of an installed package; DataError where it is not there."""
    place = _place(package, file)
    if place.path is None:
        raise DataError(
            f"the package {package} does not hold {file} here (looked in "
            f'{", ".join(place.looked)}). Install it: pip install "neurorewire[data]".'
        )
    return place.path


def _numbers(path: Path) -> np.ndarray:
    """A gzipped table of numbers with spaces between them, float64 (rows, columns)."""
    try:
        with gzip.open(path) as file:
            return np.loadtxt(file.read(MOST_BYTES).decode("ascii").splitlines(), ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Reinstall the package it belongs to."
        ) from error


def read_table(path: Path, shape: tuple[int, int], sha256: str) -> np.ndarray:
    """A gzipped CSV file of whole numbers from 0 to 255 as uint8 (rows, columns).

    Raises:
        DataError: unreadable, not such numbers, another shape, or another ``sha256``.
    """
    remedy = f"Reinstall the package it belongs to: {path}"
    try:
        with gzip.open(path) as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise DataError(f"{path}: more than {MOST_BYTES:,} bytes of text. {remedy}")
        table = np.loadtxt(text.decode("ascii").splitlines(), np.uint8, delimiter=",", ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {remedy}") from error
    if table.shape != shape:
        raise DataError(f"{path}: has shape {table.shape}, expected {shape}. {remedy}")
    digest = hashlib.sha256(table.tobytes()).hexdigest()
    if digest != sha256:
        raise DataError(f"{path}: its table has sha256 {digest}, expected {sha256}. {remedy}")
    return table
