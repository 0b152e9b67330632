"""CIFAR-10 in its three layouts, all proved to be the same 60,000 images.

- ``cifar-10-batches-bin``: the official binary layout, rows of 1 label byte + 3072 bytes (C, H, W);
- ``cifar-10-packed``: a batch as one lossless WebP sprite and a gzipped table of labels;
- ``cifar-10-batches-py``: pickles, opened only if their md5 is the official one.

Whatever the layout, the sha256 of a batch is that of its official ``.bin`` file.
"""

import gzip
import hashlib
import io
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import DataError

CLASSES, SHAPE, ROWS = 10, (3, 32, 32), 10_000
PIXELS = 3 * 32 * 32
SPRITE_SIDE = 100  # images per row and per column of a sprite
MOST_BYTES = 64 << 20  # no file of any layout is half as large

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
BATCHES = (*TRAIN, "test_batch")
SHA256 = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
MD5_PYTHON = {  # as published on the data set's page
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}

Batch = tuple[np.ndarray, np.ndarray]  # labels (N,) uint8, pixels (N, 3, 32, 32) uint8


def read_binary(folder: Path, name: str, *, rows: int = ROWS, sha256: str | None = None) -> Batch:
    """One batch of the official binary layout.

    Raises:
        DataError: wrong size, a label above 9, or another ``sha256``.
    """
    path = folder / f"{name}.bin"
    data = _bytes(path, exactly=rows * (1 + PIXELS))
    table = np.frombuffer(data, np.uint8).reshape(rows, 1 + PIXELS)
    return _proved(path, table[:, 0], table[:, 1:].reshape(rows, *SHAPE), sha256)


def read_sprite(
    folder: Path, name: str, *, side: int = SPRITE_SIDE, sha256: str | None = None
) -> Batch:
    """One batch of the packed layout: ``side`` x ``side`` images in row-major order.

    Raises:
        DataError: Pillow or its WebP support is missing, the sprite is not a lossless-sized WebP,
            the table does not fit it, a label is above 9, or another ``sha256``.
    """
    path, table = folder / f"{name}.webp", folder / f"{name}.tsv.gz"
    try:
        from PIL import Image, features
    except ImportError as error:
        raise DataError(f'{path} needs Pillow: pip install "neurorewire[data]".') from error
    if not features.check("webp"):
        raise DataError(f"{path}: this Pillow was built without WebP; install a standard one.")
    _bytes(path, exactly=None)
    try:
        with Image.open(path, formats=["WEBP"]) as image:
            if image.size != (32 * side, 32 * side):
                raise _wrong(path, f"is {image.size} pixels, expected {(32 * side, 32 * side)}")
            sprite = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's broken header
        raise _wrong(path, f"is not a readable WebP image ({error})") from error
    tiles = sprite.reshape(side, 32, side, 32, 3).transpose(0, 2, 4, 1, 3)
    return _proved(path, _labels(table, side**2), tiles.reshape(-1, *SHAPE), sha256)


def read_python(folder: Path, name: str, *, md5: str, sha256: str | None = None) -> Batch:
    """One batch of the pickled layout, unpickled only once its bytes are proved to be official.

    Raises:
        DataError: the md5 is another one: the file is then not opened at all.
    """
    path = folder / name
    data = _bytes(path, exactly=None)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if digest != md5:
        raise _wrong(path, f"has md5 {digest}, the official file's is {md5}; it was not unpickled")
    batch = _OnlyArrays(path, data).load()
    return _proved(
        path, np.array(batch[b"labels"], np.uint8), batch[b"data"].reshape(-1, *SHAPE), sha256
    )


LAYOUTS: dict[str, tuple[Callable[[Path, str], Batch], str]] = {
    "cifar-10-batches-bin": (lambda f, n: read_binary(f, n, sha256=SHA256[n]), "{}.bin"),
    "cifar-10-packed": (lambda f, n: read_sprite(f, n, sha256=SHA256[n]), "{}.webp"),
    "cifar-10-batches-py": (
        lambda f, n: read_python(f, n, md5=MD5_PYTHON[n], sha256=SHA256[n]),
        "{}",
    ),
}


class _OnlyArrays(pickle.Unpickler):
    """An unpickler that can build what CIFAR's files hold, numpy arrays, and nothing else."""

    def __init__(self, path: Path, data: bytes):
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.path = path

    def find_class(self, module: str, name: str):
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise _wrong(self.path, f"asks for {module}.{name}, which no CIFAR file contains")
        return allowed[module, name]


def _bytes(path: Path, exactly: int | None) -> bytes:
    """The content of a file whose size is checked before a byte of it is read."""
    try:
        size = path.stat().st_size
        if exactly is not None and size != exactly:
            raise _wrong(path, f"has {size:,} bytes, expected {exactly:,}")
        if size > MOST_BYTES:
            raise _wrong(path, f"has {size:,} bytes, far more than any CIFAR-10 file")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _wrong(path, "is missing, though its folder is there") from error
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error})") from error


def _labels(path: Path, rows: int) -> np.ndarray:
    """First column of a gzipped table of ``label<TAB>file name``, (rows,) uint8."""
    most = 100 * rows  # bytes; a line has about 30
    try:
        with gzip.open(path) as file:
            text = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _wrong(path, f"cannot be read ({error})") from error
    lines = text.splitlines()
    if len(text) > most or len(lines) != rows:
        raise _wrong(path, f"has {len(lines):,} lines, expected {rows:,}")
    first = [line.split(b"\t", 1)[0] for line in lines]
    strange = next((i for i, f in enumerate(first) if not f.isdigit() or len(f) > 1), None)
    if strange is not None:
        raise _wrong(path, f"line {strange + 1} begins with {first[strange]!r}, expected a label")
    return np.array(first, np.uint8)


def _proved(path: Path, labels: np.ndarray, pixels: np.ndarray, sha256: str | None) -> Batch:
    """The batch, if its labels are in range and, as a ``.bin`` file, it would have ``sha256``."""
    if labels.max() >= CLASSES:
        row = int(np.argmax(labels >= CLASSES))
        raise _wrong(path, f"row {row} has label {labels[row]}, expected 0 to {CLASSES - 1}")
    if sha256 is not None:
        table = np.concatenate([labels[:, None], pixels.reshape(len(labels), -1)], axis=1)
        digest = hashlib.sha256(table).hexdigest()
        if digest != sha256:
            raise _wrong(path, f"holds rows with sha256 {digest}, the official ones' is {sha256}")
    return labels, pixels


def _wrong(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what}. Remove or replace {path.parent.name}/ (`rewire data fetch cifar10` "
        "downloads a checked copy into the cache folder)."
    )
