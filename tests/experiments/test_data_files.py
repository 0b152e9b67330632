"""IDX and CIFAR-10's three layouts, whole and damaged, and where files are found."""

import gzip
import hashlib
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rewire.experiments import data
from rewire.experiments.data import cifar, places, sources
from rewire.experiments.data.idx import read_idx
from rewire.experiments.errors import DataError

SHAPE = (5, 4, 3)
VALUES = np.arange(60, dtype=np.uint8).reshape(SHAPE)


def idx(values=VALUES, *, type_code=8, dims=None):
    dims = values.shape if dims is None else dims
    return struct.pack(f">HBB{len(dims)}I", 0, type_code, len(dims), *dims) + values.tobytes()


# --- IDX


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_plain_and_gzipped_and_proved_by_checksum(tmp_path, suffix):
    path, content = tmp_path / f"images{suffix}", idx()
    path.write_bytes(gzip.compress(content) if suffix else content)
    read = read_idx(path, SHAPE, sha256=hashlib.sha256(content).hexdigest())
    assert read.dtype == np.uint8
    assert np.array_equal(read, VALUES)


DAMAGED_IDX = {
    "empty": (b"", "not an IDX file: it begins with nothing"),
    "text": (b"<html>not found</html>", "not an IDX file: it begins with 3c 68 74 6d"),
    "magic": (b"\0\1" + idx()[2:], "not an IDX file: it begins with 00 01 08 03"),
    "type": (idx(type_code=0x0D), "values of type float, expected unsigned byte"),
    "labels for images": (idx(VALUES.ravel()), "has 1 dimensions, expected 3"),
    "short header": (idx()[:9], "ends inside its header, after 9 bytes"),
    "shape": (idx(dims=(5, 3, 4)), "has shape 5 x 3 x 4, expected 5 x 4 x 3"),
    "huge claim": (idx(dims=(2**32 - 1,) * 3), "has shape 4294967295 x"),
    "cut short": (idx()[:-1], "announces 60 bytes of values, only 59 follow"),
    "trailing": (idx() + b"\0", "announces 60 bytes of values, more follow"),
    "flipped bit": (idx()[:-1] + b"\x7f", "its content has sha256"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(("content", "message"), DAMAGED_IDX.values(), ids=DAMAGED_IDX)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path, content, message, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, SHAPE, sha256=hashlib.sha256(idx()).hexdigest(), remedy="Replace it.")
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith("Replace it.")


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: idx(),  # not gzipped at all
        lambda whole: whole[:-12],  # cut inside the compressed stream
        lambda whole: whole[:-8] + b"\0\0\0\0" + whole[-4:],  # another CRC
        lambda whole: whole[:12] + bytes(b ^ 0xFF for b in whole[12:20]) + whole[20:],
    ],
    ids=["plain", "cut", "crc", "stream"],
)
def test_a_damaged_gzip_stream_is_refused(tmp_path, damage):
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(idx())))
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(path, SHAPE)


def test_an_absent_idx_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read.*No such file"):
        read_idx(tmp_path / "none", SHAPE)


def test_a_compressed_bomb_is_never_inflated_beyond_its_announced_size(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx() + bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(DataError, match="more follow"):
        read_idx(path, SHAPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


# --- CIFAR-10


SIDE = 3
ROWS = SIDE**2


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 10, ROWS, dtype=np.uint8),
        rng.integers(0, 256, (ROWS, 3, 32, 32), dtype=np.uint8),
    )


def binary(labels, pixels):
    return np.concatenate([labels[:, None], pixels.reshape(len(labels), -1)], 1).tobytes()


def write_binary(folder, labels, pixels):
    (folder / "b.bin").write_bytes(binary(labels, pixels))


def write_sprite(folder, labels, pixels, side=SIDE):
    image = pytest.importorskip("PIL.Image")
    tiles = pixels.reshape(side, side, 3, 32, 32).transpose(0, 3, 1, 4, 2)
    sprite = image.fromarray(np.ascontiguousarray(tiles.reshape(32 * side, 32 * side, 3)))
    sprite.save(folder / "b.webp", lossless=True)
    lines = "".join(f"{label}\tname_{i}.png\n" for i, label in enumerate(labels))
    (folder / "b.tsv.gz").write_bytes(gzip.compress(lines.encode()))


def write_python(folder, labels, pixels):
    content = {
        b"batch_label": b"batch",
        b"labels": labels.tolist(),
        b"data": pixels.reshape(len(labels), -1),
    }
    # numpy 2 names numpy._core, CIFAR's files numpy.core; protocol 2 would bring in _codecs
    text = pickle.dumps(content, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    (folder / "b").write_bytes(text)
    return hashlib.md5(text).hexdigest()


def test_the_three_layouts_hold_the_same_batch(tmp_path, batch):
    sha256 = hashlib.sha256(binary(*batch)).hexdigest()
    write_binary(tmp_path, *batch)
    write_sprite(tmp_path, *batch)
    md5 = write_python(tmp_path, *batch)
    for labels, pixels in (
        cifar.read_binary(tmp_path, "b", rows=ROWS, sha256=sha256),
        cifar.read_sprite(tmp_path, "b", side=SIDE, sha256=sha256),
        cifar.read_python(tmp_path, "b", md5=md5, sha256=sha256),
    ):
        assert np.array_equal(labels, batch[0])
        assert np.array_equal(pixels, batch[1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d[:-1], r"b\.bin: has 27,656 bytes, expected 27,657"),
        (lambda d: d + b"\0", r"b\.bin: has 27,658 bytes"),
        (lambda d: d[:3073] + b"\x0a" + d[3074:], "row 1 has label 10, expected 0 to 9"),
        (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "holds rows with sha256"),
    ],
    ids=["cut", "trailing", "label", "flipped bit"],
)
def test_a_damaged_binary_batch_is_refused(tmp_path, batch, damage, message):
    whole = binary(*batch)
    (tmp_path / "b.bin").write_bytes(damage(whole))
    with pytest.raises(DataError, match=message) as error:
        cifar.read_binary(tmp_path, "b", rows=ROWS, sha256=hashlib.sha256(whole).hexdigest())
    assert "rewire data fetch cifar10" in str(error.value)


def test_a_damaged_sprite_is_refused(tmp_path, batch):
    labels, pixels = batch
    sha256 = hashlib.sha256(binary(*batch)).hexdigest()

    def refused(message):
        with pytest.raises(DataError, match=message):
            cifar.read_sprite(tmp_path, "b", side=SIDE, sha256=sha256)

    write_sprite(tmp_path, labels, pixels)
    whole = (tmp_path / "b.webp").read_bytes()
    (tmp_path / "b.webp").write_bytes(whole[: len(whole) // 2])
    refused(r"b\.webp: is not a readable WebP image")
    (tmp_path / "b.webp").write_bytes(b"\x89PNG\r\n\x1a\n" + whole)
    refused(r"b\.webp: is not a readable WebP image")
    write_sprite(tmp_path, labels, pixels[:, ::-1])
    refused("holds rows with sha256")
    write_sprite(tmp_path, labels[:4], pixels[:4], side=2)
    refused(r"is \(64, 64\) pixels, expected \(96, 96\)")
    (tmp_path / "b.webp").unlink()
    refused(r"b\.webp: is missing, though its folder is there")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"1\ta\n", "has 1 lines, expected 9"),
        (b"1\ta\n" * 8 + b"x\tb\n", "line 9 begins with b'x', expected a label"),
        (b"1\ta\n" * 8 + b"10\tb\n", "line 9 begins with b'10'"),
        (b"1\ta\n" * 100_000, "lines, expected 9"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_table_of_labels_is_refused(tmp_path, batch, table, message):
    write_sprite(tmp_path, *batch)
    (tmp_path / "b.tsv.gz").write_bytes(b"nonsense" if table is None else gzip.compress(table))
    with pytest.raises(DataError, match=rf"b\.tsv\.gz: .*{message}"):
        cifar.read_sprite(tmp_path, "b", side=SIDE)


class Trap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_is_not_the_official_one_is_never_opened(tmp_path):
    (tmp_path / "b").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    with pytest.raises(DataError, match="has md5 .* official file's is c99c.*not unpickled"):
        cifar.read_python(tmp_path, "b", md5=cifar.MD5_PYTHON["data_batch_1"])
    assert not (tmp_path / "sprung").exists()


def test_even_with_its_md5_a_pickle_builds_nothing_but_arrays(tmp_path):
    text = pickle.dumps(Trap(tmp_path / "sprung"), protocol=2)
    (tmp_path / "b").write_bytes(text)
    with pytest.raises(DataError, match=r"asks for posix\.mkdir, which no CIFAR file contains"):
        cifar.read_python(tmp_path, "b", md5=hashlib.md5(text).hexdigest())
    assert not (tmp_path / "sprung").exists()


def test_a_file_far_too_large_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "b", "wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    with pytest.raises(DataError, match="1,099,511,627,776 bytes, far more than any"):
        cifar.read_python(tmp_path, "b", md5="0" * 32)


# --- where files are found


@pytest.fixture
def roots(tmp_path, monkeypatch):
    given, cache = tmp_path / "given", tmp_path / "cache" / "rewire"
    given.mkdir()
    cache.mkdir(parents=True)
    monkeypatch.setenv("REWIRE_DATA", str(given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return given, cache


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_the_given_folder_goes_before_the_cache_and_quick_layouts_before_slow_ones(roots):
    given, cache = roots
    assert sources.locate_cifar10().path is None
    touch(cache / "cifar-10-batches-bin/data_batch_1.bin")
    assert sources.locate_cifar10().path == cache / "cifar-10-batches-bin"
    touch(given / "cifar-10-batches-py/test_batch")
    assert sources.locate_cifar10().path == given / "cifar-10-batches-py"
    touch(given / "cifar-10-packed/test_batch.webp")
    assert sources.locate_cifar10().path == given / "cifar-10-packed"


def test_an_empty_folder_in_the_given_place_does_not_hide_the_cache(roots):
    given, cache = roots
    (given / "MNIST/raw").mkdir(parents=True)
    touch(cache / "MNIST/raw/t10k-labels-idx1-ubyte")
    assert data.available()["mnist"].path == str(cache / "MNIST/raw")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/train-labels-idx1-ubyte.gz"),
        ("fashion-mnist", "FashionMNIST/raw/train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-bin/data_batch_3.bin"),
    ],
)
def test_damage_in_the_given_folder_is_an_error_even_if_the_cache_has_the_data(
    name, file, roots, monkeypatch
):
    given, cache = roots
    touch(cache / file)
    touch(given / file)
    with pytest.raises(DataError) as error:
        data.load(name)
    assert str(error.value).startswith(str(given))
    assert f"rewire data fetch {name}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("mnist", "MNIST/raw", "t10k-images-idx3-ubyte"),
        ("fashion-mnist", "FashionMNIST/raw", "train-labels-idx1-ubyte"),
    ],
)
def test_one_flipped_bit_in_a_real_file_is_found(name, folder, file, tmp_path, monkeypatch):
    path = data.available()[name].path
    if path is None:
        pytest.skip(f"{name} is not on this machine: set $REWIRE_DATA")
    copy = tmp_path / folder
    copy.mkdir(parents=True)
    for real in Path(path).iterdir():
        (copy / real.name).symlink_to(real)
    whole = sources.source(name).read()  # so that what follows is about the bit alone
    part, other = ("test", "x") if file.startswith("t10k") else ("train", "y")
    values = bytearray(getattr(whole, f"{other}_{part}").tobytes())
    values[-1] ^= 1
    shape = sources.IdxFiles.SHAPES[file]
    (copy / file).unlink(missing_ok=True)
    (copy / file).write_bytes(idx(np.frombuffer(values, np.uint8).reshape(shape)))
    monkeypatch.setenv("REWIRE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{file}: its content has sha256"):
        data.load(name)


def test_without_the_variable_only_the_cache_is_looked_at(roots, monkeypatch):
    monkeypatch.delenv("REWIRE_DATA")
    assert all(place.startswith(str(roots[1])) for place in data.available()["cifar10"].looked)
    monkeypatch.setenv("REWIRE_DATA", "")
    assert places.given_folder() is None


def test_the_cache_follows_xdg_only_where_it_is_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert data.cache_folder() == tmp_path / ".cache" / "rewire"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert data.cache_folder() == Path("/elsewhere/rewire")
